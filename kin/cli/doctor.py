"""`kin doctor`: what is broken or left over in this clone; with --fix it mends what is safe to mend."""

from collections.abc import Iterator, Sequence

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, counted
from kin.runner.upkeep.case import Case, Row
from kin.runner.upkeep.ci_checks import CHECKS
from kin.runner.upkeep.doctor import examine, mend

STYLES = {"ok": "green", "warn": "yellow", "bad": "red"}
BROKEN = 7


def doctor_(call: Call) -> Result:
    """Look, and mend if asked to; exit 7 if something is broken."""
    mended = mend(call.project, call.environ) if call["fix"] else []
    rows = examine(Case(call.project, call.environ), CHECKS if call["ci"] else None)
    data = [{"name": row.name, "verdict": row.verdict, "words": row.words, "fix": row.fix or None} for row in rows]
    data = [{"name": "mended", "verdict": "ok", "words": line, "fix": None} for line in mended] + data
    broken = any(row.verdict == "bad" for row in rows)
    faults = [f"{row.name}: {row.words}" for row in rows if row.verdict != "ok"]
    return Result("doctor.list", data, lambda screen: _lines(rows, mended, screen), faults, exit=BROKEN if broken else 0)


def _lines(rows: Sequence[Row], mended: Sequence[str], screen: Screen) -> Iterator[str]:
    width = max(len(row.name) for row in rows)
    yield from (f"mended  {clean(line)}" for line in mended)
    for row in rows:
        yield f"{screen.paint(f'{row.verdict:4}', STYLES[row.verdict])}  {row.name:{width}}  {clean(row.words)}"
        if row.fix:
            yield f"{'':{width + 8}}{screen.paint(clean(row.fix), 'dim')}"
    found = sum(row.verdict != "ok" for row in rows)
    safe = any(row.mend for row in rows) or any("--fix" in row.fix for row in rows)
    if not found:
        yield "Nothing is broken."
    else:
        tail = "; `kin doctor --fix` mends what is safe to mend" if safe else ""
        yield f"{counted(found, 'finding')}{tail}."
