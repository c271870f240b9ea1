"""Who plays a step and what it may do: decided before anything starts, shown by `--dry-run` and where leave is asked.

A model's step has a cast: the agents that the project names for its role and that are installed, in the order in which they
are tried. A step with `run` has none; for a run of such steps nothing about agents is even imported.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kin.errors import Invalid
from kin.model.settings import Settings, StepSpec
from kin.model.task import Task
from kin.store.roles import Role, find_role, load_role

if TYPE_CHECKING:
    from kin.model.agent import Agent


class Cast(NamedTuple):
    """Agents by name, in the order in which they are tried. `model` is meant for the agent that was named first, `first`."""

    agents: "Mapping[str, Agent]"
    first: str
    model: str | None


def role_of(spec: StepSpec, store: str) -> Role:
    """The role of a step; a command may play one that the roster does not hold. Raises NotFound for a model's."""
    if spec.run is None:
        return find_role(store, spec.role)
    return load_role(store, spec.role) or Role(spec.role)


def access_of(spec: StepSpec, role: Role) -> str:
    """`read` or `write`: what the step says, else a command may write, else what the role says."""
    return spec.access or ("write" if spec.run is not None else role.access)


def may_write(spec: StepSpec, store: str) -> bool:
    """Whether a step may change files. Raises NotFound for a model's whose role the roster does not hold."""
    return access_of(spec, role_of(spec, store)) == "write"


def time_limit(spec: StepSpec, role: Role, settings: Settings) -> float:
    """Seconds that a step may take: what it says, else its role if a model plays it, else the project."""
    return spec.timeout or (role.timeout if spec.run is None else None) or settings.limits.step


def cast_all(
    specs: Sequence[StepSpec], task: Task, settings: Settings, store: str, environ: Mapping[str, str]
) -> tuple[Cast | None, ...]:
    """The cast of each step. Raises Invalid if nobody who is installed could play one, NotFound if it has no such role."""
    return tuple(None if spec.run is not None else cast(spec, task, settings, store, environ) for spec in specs)


def cast(spec: StepSpec, task: Task, settings: Settings, store: str, environ: Mapping[str, str]) -> Cast:
    """The cast of a model's step. Raises as `cast_all`."""
    from kin import agents

    role = role_of(spec, store)
    known = agents.known(settings)
    named = [name for name in agents.candidates(spec, role, task, settings) if name != "command"]
    if unknown := [name for name in named if name not in known]:
        raise Invalid(f"no agent is called '{unknown[0]}'", f"one of {', '.join(known)}, or describe it under `agents:`")
    found = {name: known[name] for name in named if agents.find_program(known[name], environ)}
    if found:
        return Cast(found, named[0], spec.model or (role.model if role.agent == named[0] else None))
    command = "or make the step a command: `run:` in the pipeline, `kin add TITLE --run CMD`"
    if named:
        how = known[named[0]].install
        raise Invalid(f"{' and '.join(named)}, to play {spec.role}, is not on PATH", f"{how or 'install it'}; {command}")
    there = [name for name, agent in known.items() if agents.find_program(agent, environ)]
    say = f"`agent: {there[0]}` in .kin/kin.yaml names one (installed: {', '.join(there)})" if there else ""
    none = f"install one ({', '.join(known)}) and name it with `agent:` in .kin/kin.yaml"
    raise Invalid(f"no agent is named that could play {spec.role}", f"{say or none}; {command}")


def flags_of(agent: "Agent", access: str) -> list[str]:
    """The program and the options that a person should see before it starts: those of its access among them."""
    return [*agent.argv, *(agent.read if access == "read" else agent.write)]


def credentials(casts: Sequence[Cast | None]) -> set[str]:
    """Environment names that agents are given and whose values nobody should read in a log."""
    names = {name for one in casts if one for agent in one.agents.values() for name in agent.env}
    return {name for name in names if name.endswith(("KEY", "TOKEN", "SECRET", "PASSWORD"))}
