"""`kin env`: the machines that the project runs on, and a sysadmin who looks at one and only looks."""

from typing import TYPE_CHECKING, Any

from kin.cli.output import Call, Result, fields
from kin.cli.screen import clean

if TYPE_CHECKING:
    from kin.model.environment import Environment


def env_list(call: Call) -> Result:
    """List the environments."""
    from kin.model.environment import ENVIRONMENTS
    from kin.store import entries

    held = entries.load(call.project, ENVIRONMENTS)
    data = [fields(one) for one in held.found.values()]
    lines = [f"{clean(one.name)}  {clean(one.address)}  {clean(one.purpose)}".rstrip() for one in held.found.values()]
    return Result("env.list", data, lines, list(held.found), held.faults)


def env_scan(call: Call) -> Result:
    """Make a task that looks at the machine, and run it."""
    from kin.cli.run import run_now
    from kin.model.environment import ENVIRONMENTS
    from kin.model.times import today
    from kin.runner.runs.begin import Asked
    from kin.runner.upkeep.watchdog import recover
    from kin.store import entries, tasks
    from kin.store.remembered import mark_scanned

    machine = entries.find(call.project, ENVIRONMENTS, call["name"])
    recovered = recover(call.project)
    task = tasks.add(call.project, _task(machine, call["run"]), today=today())
    mark_scanned(call.project, machine)
    return run_now(call, [task.id], Asked(started_by="env"), more_ready=False, warnings=recovered)


def _task(machine: "Environment", command: str | None) -> dict[str, Any]:
    """A task that reads and changes nothing; its findings become decisions that name the environment."""
    from kin.model.environment import TAG

    brief = (
        f"Log in with `{' '.join(machine.ssh)}` and look at the machine: what runs there, its versions, limits and "
        "oddities. Change nothing on it. Report each finding as a decision of kind gotcha or decision."
    )
    step: dict[str, Any] = {"role": "sysadmin", "access": "read", "brief": brief} | ({"run": command} if command else {})
    return {
        "title": f"Look at {machine.name} ({machine.address})"[:200],
        "status": "todo",
        "labels": [f"{TAG}{machine.name}"],
        "pipeline": [step],
        "description": machine.purpose,
    }
