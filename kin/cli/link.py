"""`kin link`: other projects that this one's tasks may depend on."""

from typing import Any

from kin.cli.output import Call, Result, fields
from kin.cli.screen import clean
from kin.errors import Invalid, Usage


def link_add(call: Call) -> Result:
    """Link another project."""
    from kin.model.link import LINKS
    from kin.store import entries, linked

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
    from kin.store import entries
    from kin.store.view import see

    name, view = call["name"], see(call.project, bodies=False)
    using = [i for i, seen in view.seen.items() if any((split(w) or ("",))[0] == name for w in seen.task.depends_on)]
    entries.drop(call.project, LINKS, name)
    warnings = [f"{', '.join(using)} depend on tasks of {name}"] if using else []
    return Result("link", {"name": name}, [f"{name}  removed"], [name], warnings)


def link_list(call: Call) -> Result:
    """All links and where each leads."""
    return _list(call, check=False)


def link_check(call: Call) -> Result:
    """All links; exit 7 if one leads nowhere or its entry is wrong."""
    return _list(call, check=True)


def _list(call: Call, *, check: bool) -> Result:
    from kin.model.link import LINKS
    from kin.store import entries, linked

    held = entries.load(call.project, LINKS)
    data: list[dict[str, Any]] = []
    for link in held.found.values():
        there = linked.project_at(call.project, link, call.environ)
        lost = there if isinstance(there, str) else None
        data.append(fields(link) | {"root": None if isinstance(there, str) else there.root, "lost": lost})
    lines = [f"{row['name']}  {clean(row['at'])}" + (f"  ({clean(row['lost'])})" if row["lost"] else "") for row in data]
    bad = check and (bool(held.wrong) or any(row["lost"] for row in data))
    return Result("link.list", data, lines, list(held.found), held.faults, Invalid.exit if bad else 0)
