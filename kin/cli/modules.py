"""The map of the code: `kin modules` lists it, proposes one, and says which module a path belongs to."""

import os
from collections.abc import Iterable, Iterator, Sequence

from kin.cli.output import Call, Result, fields
from kin.cli.screen import Screen, clean
from kin.errors import Usage
from kin.model.module import Module


def modules_list(call: Call) -> Result:
    """List the modules."""
    from kin.model.module import MODULES
    from kin.store import entries

    held = entries.load(call.project, MODULES)
    return _listed(held.found.values(), held.faults)


def modules_which(call: Call) -> Result:
    """Those that a path belongs to."""
    from kin.model.module import MODULES, which
    from kin.store import entries
    from kin.store.project import from_root

    held = entries.load(call.project, MODULES)
    return _listed(which(list(held.found.values()), from_root(call["path"], call.cwd, call.environ)), held.faults)


def _listed(found: Iterable[Module], warnings: Sequence[str] = ()) -> Result:
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
    from kin.store import config, entries, files
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
    return _listed(found)._replace(lines=[said])
