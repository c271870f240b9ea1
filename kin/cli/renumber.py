"""`kin renumber`: another id for a task or decision, wherever it is named."""

from collections.abc import Iterator

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, counted
from kin.runner.upkeep.renumber import Renumbered, renumber


def renumber_(call: Call) -> Result:
    """Renumber, and print each change."""
    done = renumber(call.project, call["old"], call["new"], prose=call["prose"])
    changes = [{"file": c.file, "key": c.key or None, "from": c.old, "to": c.new} for c in done.changes]
    data = {"old": done.old, "new": done.new, "changes": changes, "mentions": done.mentions}
    return Result("renumber", data, lambda screen: _lines(done, screen), [done.new], done.warnings)


def _lines(done: Renumbered, screen: Screen) -> Iterator[str]:
    for change in done.changes:
        if change.key:
            yield clean(f"{change.file}  {change.key}: {change.old} -> {change.new}")
        else:
            yield clean(f"{change.file}  -> .kin/{change.new}")
    if done.mentions:
        names = ", ".join(map(clean, done.mentions[:5]))
        yield f"Left as it was in the prose of {counted(len(done.mentions), 'file')} (`--prose` changes that too): {names}"
    yield f"{done.old} is {done.new} now; commits and branches keep the old id."
