"""`kin agents`: which clients could play roles here, and whether one works."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kin.agents import candidates, environment, find_program, known, npm_version
from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean
from kin.errors import NotFound, Waits
from kin.model.agent import Agent
from kin.model.settings import Settings, StepSpec
from kin.runner.process.client import Tried, try_out
from kin.store.config import load_settings, settings_from_text
from kin.store.roles import load_role, role_names
from kin.store.trust import not_agreed, texts_here

VERSION_WITHIN = 10.0
"""Seconds in which a client must tell its version."""
EXITS = {"": 0, "limit": 6, "overload": 6, "login": 3}
"""Exit code of a trial by what went wrong; 7 for the rest."""


def agents_list(call: Call) -> Result:
    """All agents, found or not."""
    mine, here = _settings(call)
    agents = known(here)
    paths = {name: path for name, agent in agents.items() if (path := find_program(agent, call.environ))}
    roles = _roles(call, here, paths)
    # A version is asked of programs that kin or the person's own settings name, never of one that a repository names.
    versions = {name: npm_version(path) for name, path in paths.items()}
    asked = {name: agent for name, agent in known(mine).items() if agent.version and name in paths and not versions[name]}
    with ThreadPoolExecutor(len(asked) or 1) as threads:
        versions |= zip(asked, threads.map(lambda agent: _version(agent, call.environ), asked.values()), strict=True)
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "path": paths.get(name),
            "version": versions.get(name),
            "logged_in": _login_seen(agent, call.environ),
            "roles": roles.get(name, []),
            "install": agent.install or None,
        }
        for name, agent in agents.items()
    ]
    return Result("agent.list", rows, lambda screen: _lines(rows, screen), list(paths))


def _settings(call: Call) -> tuple[Settings, Settings]:
    """The person's own settings, and those that hold in this project; outside of one they are the same."""
    mine = settings_from_text("key: KIN\n", "config.yaml", call.environ)
    try:
        return mine, load_settings(call.project, call.environ)
    except NotFound:
        return mine, mine


def _roles(call: Call, settings: Settings, installed: Mapping[str, str]) -> dict[str, list[str]]:
    """The roles that each agent would play: the first of a role's candidates that is installed plays it."""
    try:
        store = call.project.store
    except NotFound:
        return {}
    played: dict[str, list[str]] = {}
    for role in role_names(store):
        names = candidates(StepSpec(role=role), load_role(store, role), None, settings)
        if player := next((name for name in names if name in installed), None):
            played.setdefault(player, []).append(role)
    return played


def _version(agent: Agent, environ: Mapping[str, str]) -> str | None:
    words, env = list(agent.version), environment(agent, environ)
    try:
        said = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=VERSION_WITHIN).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+\.\d+[\w.+-]*", said.decode("utf-8", "replace"))
    return found[0] if found else None


def _login_seen(agent: Agent, environ: Mapping[str, str]) -> str | None:
    """The variable or file that says that somebody is logged in; None if none does (a keychain may, which nobody asks)."""
    home = environ.get("HOME", "")
    files = {sign: os.path.join(home, sign[2:]) for sign in agent.logged_in if sign.startswith("~/")}
    return next((s for s in agent.logged_in if environ.get(s) or os.path.exists(files.get(s, ""))), None)


def _lines(rows: Sequence[Mapping[str, Any]], screen: Screen) -> Iterator[str]:
    for row in rows:
        if row["path"]:
            login = f"login: {row['logged_in']}" if row["logged_in"] else "no login seen"
            name = screen.paint(f"{clean(row['name']):10}", "bold")
            yield f"{name} {row['version'] or '':10} {clean(login):36} {clean(row['path'])}"
            if row["roles"]:
                yield f"{'':10} plays {clean(', '.join(row['roles']))}"
        else:
            install = f"not found; {row['install']}" if row["install"] else "not found"
            yield screen.paint(f"{clean(row['name']):10} {clean(install)}", "dim")
    if not any(row["roles"] for row in rows):
        yield "None of them plays a role here: name one as `agent:` in .kin/kin.yaml."
    yield "`kin agents test NAME` asks one a tiny question."


def agents_test(call: Call) -> Result:
    """Ask one a tiny question."""
    name = call["agent"]
    mine, here = _settings(call)
    if (agent := known(here).get(name)) is None:
        raise NotFound(f"no agent is called '{name}'", f"one of {', '.join(known(here))}")
    if here.agents.get(name) != mine.agents.get(name):  # whoever wrote that may not be the person
        from kin.cli.consent import trusts

        if not_agreed(call.project, texts_here(call.project), call.environ) and not trusts(call):
            raise Waits("this repository changes how the agent is started, and nobody agreed to that", "`kin trust` shows it")
    tried = try_out(agent, call["model"], call.environ)
    reading = tried.reading
    told = ("kind", "error", "until", "version", "model", "tokens", "cost_usd")
    data = {"name": name, "started": tried.started, "answered": reading.ok, "kept_off": tried.kept_off}
    data |= {key: getattr(reading, key) or None for key in told} | {"seconds": round(tried.seconds, 1)}
    code = EXITS.get(reading.kind, 7) if tried.kept_off else 7
    return Result("agent", data, lambda screen: _verdicts(data, tried, agent, screen), exit=code)


def _verdicts(data: Mapping[str, Any], tried: Tried, agent: Agent, screen: Screen) -> Iterator[str]:
    reading, name = tried.reading, clean(data["name"])
    yes, no = screen.paint("yes", "green"), screen.paint("no", "red")
    used = reading.tokens
    kept_off = "it wrote nothing, though it was asked to" if reading.ok else "unknown: it did not answer"
    cost = "unknown" if reading.cost_usd is None else f"{reading.cost_usd:.4f} USD"
    yield f"{'started':12}{yes if tried.started else no}"
    yield f"{'answered':12}{yes if reading.ok else no}, after {tried.seconds:.1f} s"
    yield f"{'read-only':12}{kept_off if tried.kept_off else no + ': it wrote a file'}"
    yield f"{'tokens':12}{used['in']} in, {used['cached']} cached, {used['out']} out; cost {cost}"
    if reading.error:
        yield clean(reading.error)
    match reading.kind:
        case "login":
            yield f"It is not logged in: `{agent.login}`." if agent.login else "It is not logged in."
        case "limit" | "overload":
            yield f"It goes on {f'at {reading.until}' if reading.until else 'later: no time was told'}."
        case "":
            yield f"{name} works." if tried.kept_off else f"{name} answers, but must not play a role that may only read."
