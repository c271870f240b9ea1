"""How an agent is started and read: which one plays a role, with which arguments and environment, and how its output is read.

What differs between clients is data (agents/agents.yaml); this is what is the same for all of them.
"""

import json
import os
import shutil
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from kin.errors import Invalid
from kin.model.agent import Agent
from kin.model.settings import Settings, StepSpec
from kin.model.task import Task
from kin.resources import shipped
from kin.store.roles import Role
from kin.store.text import reader as yaml
from kin.streams import READERS, StreamReader

COMMON = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TERM", "TZ", "TMPDIR", "COMPOSE_PROJECT_NAME"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "KIN_*"),
)
"""Environment variables that every agent sees; `NAME_*` is a prefix."""
NEVER = ("KIN_ALLOW_WRITE", "KIN_TRUST")
"""A person's leave is not an agent's."""
INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md")
"""A repository's own words to agents, for clients that are kept from reading its other files of that kind."""
MAX_INSTRUCTIONS = 64 * 1024


class Start(NamedTuple):
    """A client's process: arguments, its whole environment, and the file that is its standard input (None: nothing)."""

    argv: list[str]
    env: dict[str, str]
    stdin: str | None


@lru_cache(maxsize=1)
def built_in() -> Mapping[str, Agent]:
    """The agents that come with kin, by name."""
    path = os.path.join(shipped("agents"), "agents.yaml")
    with open(path, encoding="utf-8") as file:
        return {name: Agent.model_validate(entry) for name, entry in yaml.read(file.read(), path).items()}


def known(settings: Settings) -> Mapping[str, Agent]:
    """All agents that can be named here: the built-in ones, changed and added to by the settings."""
    agents = dict(built_in())
    for name, entry in settings.agents.items():
        agents[name] = agents[name].changed_by(entry) if name in agents else entry
    return agents


def candidates(spec: StepSpec, role: Role | None, task: Task | None, settings: Settings) -> tuple[str, ...]:
    """Who may play a step, in the order in which they are tried; the most special setting that names anybody decides.

    `command` for a step with `run`, () if nobody is named.
    """
    if spec.run is not None:
        return ("command",)
    about = settings.roles.get(spec.role)
    first = spec.agent or (about and about.agent) or (task and task.agent) or (role and role.agent) or settings.agent
    return (first,) if isinstance(first, str) else tuple(dict.fromkeys(first))


def find_program(agent: Agent, environ: Mapping[str, str]) -> str | None:
    """The absolute path of an agent's program; None if it is not installed."""
    return shutil.which(agent.argv[0], path=environ.get("PATH", os.defpath)) if agent.argv else None


def npm_version(program: str) -> str | None:
    """The version of a program that npm installed, as its package says; None for any other. Nothing is started."""
    above, _, below = os.path.realpath(program).rpartition("/node_modules/")
    package = below.split("/")[: 2 if below.startswith("@") else 1]
    try:
        with open(os.path.join(above, "node_modules", *package, "package.json"), encoding="utf-8") as file:
            version = json.load(file).get("version")
    except (OSError, ValueError, AttributeError):
        return None
    return str(version) if version else None


def environment(agent: Agent, environ: Mapping[str, str]) -> dict[str, str]:
    """Those of the caller's variables that the agent may see."""
    names = (*COMMON, *agent.env)
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    return {k: v for k, v in environ.items() if (k in names or k.startswith(prefixes)) and k not in NEVER}


def start(
    agent: Agent,
    *,
    access: str,
    model: str | None,
    prompt: str,
    home: str,
    environ: Mapping[str, str],
    session: str | None = None,
    usd: float | None = None,
    cwd: str = "",
) -> Start:
    """What starts `agent` on the prompt in the file `prompt`; `access` is `read` or `write`.

    `home` is a private folder of the step, `cwd` the worktree that it will work in: its instructions are read there. Raises
    Invalid if the program is not installed, or if the worktree holds a file that the client must not obey.
    """
    if (program := find_program(agent, environ)) is None:
        raise Invalid(f"{agent.argv[0]} is not on PATH", agent.install and f"`{agent.install}` installs it")
    for name in agent.unsafe:
        if os.path.lexists(os.path.join(cwd or os.curdir, name)):
            words = f"{os.path.basename(program)} would start programs, or send its key, as {name} in the worktree says"
            raise Invalid(words, "use another agent, or set the agent's `unsafe: []` in kin.yaml if you trust that file")
    house = instructions(cwd) if cwd else ""
    before = house if agent.instructions == "prompt" and session is None else ""
    told = {"home": home, "prompt": _adapted(agent, prompt, home, before), "model": model, "session": session}
    told |= {"usd": None if usd is None else f"{usd:.4f}", "instructions": os.path.join(home, "instructions.md")}
    parts = [*agent.argv[1:], *agent.extra, *(agent.read if access == "read" else agent.write)]
    for flags, value in ((agent.model, model), (agent.budget, usd), (agent.resume, session)):
        parts += flags if value is not None else ()
    _write(str(told["instructions"]), house)
    for name, text in agent.files.items():
        _write(os.path.join(home, name), _filled(text, told))
    return Start(
        [program, *(_filled(part, told) for part in parts)],
        environment(agent, environ) | {name: _filled(value, told) for name, value in agent.set.items()},
        told["prompt"] if agent.prompt == "stdin" else None,
    )


def reader(agent: Agent) -> StreamReader:
    """What reads the output of one run of `agent`."""
    return READERS[agent.format](agent)


def _filled(text: str, told: Mapping[str, str | None]) -> str:
    for name, value in told.items():
        text = text.replace("{" + name + "}", value or "")
    return text


def _adapted(agent: Agent, prompt: str, home: str, before: str) -> str:
    """The prompt's file; or a copy with `before` in front, and without the characters that are commands to this client."""
    if not agent.escape and not before:
        return prompt
    with open(prompt, encoding="utf-8") as file:
        text = "\n\n".join(filter(None, (before, file.read())))
    for plain, written in agent.escape.items():
        text = text.replace(plain, written)
    return _write(os.path.join(home, "prompt.md"), text)


def _write(path: str, text: str) -> str:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def instructions(root: str) -> str:
    """What a worktree's AGENTS.md and CLAUDE.md say, each once; files that lie outside of it are not followed."""
    inside, texts = os.path.realpath(root), dict[str, str]()
    for name in INSTRUCTIONS:
        path = os.path.realpath(os.path.join(root, name))
        if os.path.isfile(path) and path.startswith(inside + os.sep):
            with open(path, encoding="utf-8", errors="replace") as file:
                texts.setdefault(file.read(MAX_INSTRUCTIONS), name)
    return "\n\n".join(f"{name} of this repository says:\n\n{text}" for text, name in texts.items())
