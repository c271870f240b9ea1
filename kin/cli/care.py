"""Care for a clone: `kin doctor`, `gc`, `renumber`, and `merge-file`, which git calls."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, ago, clean, counted
from kin.errors import Invalid, Usage

if TYPE_CHECKING:
    from datetime import datetime

    from kin.runner.upkeep.case import Row
    from kin.runner.upkeep.collect import Old
    from kin.runner.upkeep.renumber import Renumbered

VERDICTS = {"ok": "green", "warn": "yellow", "bad": "red"}
USUALLY = "30d"
PLURALS = {"salvage": "salvages", "log": "logs", "record": "left-over records", "temporary": "temporary folders"}


def doctor_(call: Call) -> Result:
    """Look, and mend if asked to; exit 7 if something is broken."""
    from kin.runner.upkeep.case import Case
    from kin.runner.upkeep.ci_checks import CHECKS
    from kin.runner.upkeep.doctor import examine, mend

    mended = mend(call.project, call.environ) if call["fix"] else []
    rows = examine(Case(call.project, call.environ), CHECKS if call["ci"] else None)
    data = [{"name": row.name, "verdict": row.verdict, "words": row.words, "fix": row.fix or None} for row in rows]
    data = [{"name": "mended", "verdict": "ok", "words": line, "fix": None} for line in mended] + data
    broken = any(row.verdict == "bad" for row in rows)
    faults = [f"{row.name}: {row.words}" for row in rows if row.verdict != "ok"]
    return Result("doctor.list", data, lambda screen: _rows(rows, mended, screen), faults, exit=Invalid.exit if broken else 0)


def _rows(rows: "Sequence[Row]", mended: Sequence[str], screen: Screen) -> Iterator[str]:
    width = max(len(row.name) for row in rows)
    yield from (f"mended  {clean(line)}" for line in mended)
    for row in rows:
        yield f"{screen.paint(f'{row.verdict:4}', VERDICTS[row.verdict])}  {row.name:{width}}  {clean(row.words)}"
        if row.fix:
            yield f"{'':{width + 8}}{screen.paint(clean(row.fix), 'dim')}"
    found = sum(row.verdict != "ok" for row in rows)
    safe = any(row.mend for row in rows) or any("--fix" in row.fix for row in rows)
    if not found:
        yield "Nothing is broken."
    else:
        tail = "; `kin doctor --fix` mends what is safe to mend" if safe else ""
        yield f"{counted(found, 'finding')}{tail}."


def gc_(call: Call) -> Result:
    """Without --yes or a person's yes nothing is deleted."""
    from kin.model.fields import seconds
    from kin.model.times import now
    from kin.runner.upkeep.collect import delete, find

    older_than = USUALLY if call["older_than"] is None else call["older_than"]  # empty: a script's mistake, and it deletes
    try:
        bound = seconds(older_than)
    except ValueError as error:
        raise Usage(f"--older-than: {error}") from None
    moment, screen = now(), call.screen
    found = find(call.project, bound, moment, call.environ)
    shown = list(_old(found, moment, screen))
    if found and not call["yes"] and screen.may_ask:
        screen.out.write("\n".join([*shown, ""]))
        shown = []
    agreed = bool(found) and (call["yes"] or screen.ask(f"Delete {_counted(found)}?"))
    gone, left = delete(call.project, found) if agreed else ([], [])
    if found:
        tail = "" if agreed or screen.may_ask else "; `--yes` deletes it where nobody can be asked"
        shown.append(f"Deleted {_counted(gone)}." if agreed else f"Nothing was deleted{tail}.")
    data = {"older_than": bound, "deleted": agreed, "found": [old._asdict() for old in (gone if agreed else found)]}
    return Result("gc", data, shown or [f"Nothing is older than {older_than}."], brief=(), warnings=left)


def _old(found: "Sequence[Old]", moment: "datetime", screen: Screen) -> Iterator[str]:
    from kin.runner.upkeep.collect import in_words

    for old in found:
        age = screen.paint(f"{ago(old.at, moment)} ago".rjust(12), "dim")
        more = in_words(old.size) if old.size else f"commit {old.oid[:12]}" if old.oid else ""
        yield f"{old.kind:9}  {age}  {clean(old.name)}  {more}".rstrip()


def _counted(found: "Sequence[Old]") -> str:
    from kin.runner.upkeep.collect import KINDS, in_words

    numbers = {kind: sum(old.kind == kind for old in found) for kind in KINDS}
    parts = [f"{number} {kind if number == 1 else PLURALS[kind]}" for kind, number in numbers.items() if number]
    size = sum(old.size for old in found)
    return (", ".join(parts) or "nothing") + (f" ({in_words(size)})" if size else "")


def renumber_(call: Call) -> Result:
    """Renumber, and print each change."""
    from kin.runner.upkeep.renumber import renumber

    done = renumber(call.project, call["old"], call["new"], prose=call["prose"])
    changes = [{"file": c.file, "key": c.key or None, "from": c.old, "to": c.new} for c in done.changes]
    data = {"old": done.old, "new": done.new, "changes": changes, "mentions": done.mentions}
    return Result("renumber", data, lambda screen: _changes(done, screen), [done.new], done.warnings)


def _changes(done: "Renumbered", screen: Screen) -> Iterator[str]:
    for change in done.changes:
        if change.key:
            yield clean(f"{change.file}  {change.key}: {change.old} -> {change.new}")
        else:
            yield clean(f"{change.file}  -> .kin/{change.new}")
    if done.mentions:
        names = ", ".join(map(clean, done.mentions[:5]))
        yield f"Left as it was in the prose of {counted(len(done.mentions), 'file')} (`--prose` changes that too): {names}"
    yield f"{done.old} is {done.new} now; commits and branches keep the old id."


def merge_file_(call: Call) -> Result:
    """Merge THEIRS into OURS, in place; exit 1 if something is left to settle."""
    from kin.cli.editor import content
    from kin.store.text.merge import merge

    path = call["path"] or call["ours"]
    sides = [content(call[name]) for name in ("base", "ours", "theirs")]
    size = call["marker_size"] or 7
    merged = merge(*sides, cwd=call.cwd, path=path, marker=size)
    with open(call["ours"], "wb") as file:
        file.write(merged.content)
    said = [f"{path}: both sides changed {', '.join(merged.clashes)}"] if merged.clashes else []
    return Result("merge", {"path": path, "clashes": list(merged.clashes)}, warnings=said, exit=int(bool(merged.clashes)))
