"""Files of named entries: `kin env` (machines, and a sysadmin who only looks), `kin link` (other projects), `kin modules`."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kin.cli.output import Call, Result, fields
from kin.cli.screen import Screen, clean
from kin.errors import Invalid, Usage
from kin.store import entries

if TYPE_CHECKING:
    from kin.model.environment import Environment
    from kin.model.module import Module


def env_list(call: Call) -> Result:
    """List the environments."""
    from kin.model.environment import ENVIRONMENTS

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
    from kin.store import tasks
    from kin.store.remembered import mark_scanned

    machine = entries.find(call.project, ENVIRONMENTS, call["name"])
    recovered = recover(call.project)
    task = tasks.add(call.project, _look_at(machine, call["run"]), today=today())
    mark_scanned(call.project, machine)
    return run_now(call, [task.id], Asked(started_by="env"), more_ready=False, warnings=recovered)


def _look_at(machine: "Environment", command: str | None) -> dict[str, Any]:
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


def link_add(call: Call) -> Result:
    """Link another project."""
    from kin.model.link import LINKS
    from kin.store import linked

    name = call["name"]
    entry = {"at": call["at"]} | ({"relation": call["relation"]} if call["relation"] else {})
    found, wrong = LINKS.build({name: entry})
    if wrong:
        raise Usage(f"{name}: {wrong[0].message}")
    entries.put(call.project, LINKS, name, entry)
    there = linked.project_at(call.project, found[name], call.environ)
    warnings = [f"{name} {there}"] if isinstance(there, str) else []
    return Result("link", fields(found[name]), [f"{name}  {LINKS.shown}"], [name], warnings)


def link_rm(call: Call) -> Result:
    """Link a project no longer."""
    from kin.model.link import LINKS, split
    from kin.store.view import see

    name, view = call["name"], see(call.project, bodies=False)
    using = [i for i, seen in view.seen.items() if any((split(w) or ("",))[0] == name for w in seen.task.depends_on)]
    entries.drop(call.project, LINKS, name)
    warnings = [f"{', '.join(using)} depend on tasks of {name}"] if using else []
    return Result("link", {"name": name}, [f"{name}  removed"], [name], warnings)


def link_check(call: Call) -> Result:
    """All links; exit 7 if one leads nowhere or its entry is wrong."""
    found = link_list(call)
    return found._replace(exit=Invalid.exit if found.warnings or any(row["lost"] for row in found.data) else 0)


def link_list(call: Call) -> Result:
    """All links and where each leads."""
    from kin.model.link import LINKS
    from kin.store import linked

    held = entries.load(call.project, LINKS)
    data: list[dict[str, Any]] = []
    for link in held.found.values():
        there = linked.project_at(call.project, link, call.environ)
        lost = there if isinstance(there, str) else None
        data.append(fields(link) | {"root": None if isinstance(there, str) else there.root, "lost": lost})
    lines = [f"{row['name']}  {clean(row['at'])}" + (f"  ({clean(row['lost'])})" if row["lost"] else "") for row in data]
    return Result("link.list", data, lines, list(held.found), held.faults)


def modules_list(call: Call) -> Result:
    """List the modules."""
    from kin.model.module import MODULES

    held = entries.load(call.project, MODULES)
    return _modules(held.found.values(), held.faults)


def modules_which(call: Call) -> Result:
    """Those that a path belongs to."""
    from kin.model.module import MODULES, which
    from kin.store.project import from_root

    held = entries.load(call.project, MODULES)
    return _modules(which(list(held.found.values()), from_root(call["path"], call.cwd, call.environ)), held.faults)


def _modules(found: "Iterable[Module]", warnings: Sequence[str] = ()) -> Result:
    rows = list(found)

    def lines(screen: Screen) -> Iterator[str]:
        for one in rows:
            owner = f", owner {one.owner}" if one.owner else ""
            yield f"{screen.paint(clean(one.name), 'bold')}  {clean(', '.join(one.paths))}{clean(owner)}"
            yield from (f"  {clean(line)}" for line in one.purpose.strip().splitlines())

    return Result("module.list", [fields(one) for one in rows], lines, [one.name for one in rows], warnings)


def modules_scan(call: Call) -> Result:
    """A proposal on standard output, or with --write as the file if there is none yet: a person's map is never touched."""
    from kin.model.module import MODULES
    from kin.store import config, files
    from kin.store.survey import propose

    found = propose(call.project)
    text = entries.text_of(call.project, MODULES, {one.name: fields(one) for one in found})
    said = text.rstrip("\n")
    if call["write"]:
        config.refuse_newer_format(call.project)
        said = f"{MODULES.shown}: {len(found)} modules; look at it before you commit it"
        try:
            files.add_file(call.project, os.path.join(call.project.store, MODULES.file), text)
        except FileExistsError:
            hint = "`kin modules scan` prints a proposal to compare it with"
            raise Usage(f"{MODULES.shown} is there already", hint) from None
    return _modules(found)._replace(lines=[said])
