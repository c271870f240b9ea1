"""`kin cost`: what runs have cost, added up from their records by task, role, agent, model or day.

Money that a client did not tell is unknown, and said to be: nothing is guessed from tokens.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, counted
from kin.errors import Usage

if TYPE_CHECKING:
    from kin.model.record import Run, StepRecord


class Sum(NamedTuple):
    """Steps added up. `unknown` counts those of a model whose client told no price; `seconds` is the time they took."""

    steps: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost_usd: float = 0.0
    unknown: int = 0
    seconds: float = 0.0

    def plus(self, step: "StepRecord") -> "Sum":
        """With one more step."""
        tokens = step.tokens or {}
        return Sum(
            self.steps + 1,
            self.tokens_in + tokens.get("in", 0),
            self.tokens_out + tokens.get("out", 0),
            self.tokens_cached + tokens.get("cached", 0),
            self.cost_usd + (step.cost_usd or 0.0),
            self.unknown + (step.cost_usd is None and bool(tokens)),
            self.seconds + step.seconds,
        )


def cost_(call: Call) -> Result:
    """Add up what runs have cost."""
    from kin.store import records, tasks

    wanted = {tasks.resolve(call.project, word) for word in call["ids"]}
    since = _since(call["since"])
    by = call["by"] or "task"
    sums: dict[str, Sum] = {}
    live, warnings = records.all_live(call.project)
    going_on = {run.run for run in live}  # of these the live record knows more
    for run in (*live, *(run for run in records.all_ended(call.project) if run.run not in going_on)):
        for step in run.steps if not wanted or run.task in wanted else ():
            if step.started and step.ended and step.started >= since:
                name = _name(by, run, step)
                sums[name] = sums.get(name, Sum()).plus(step)
    total = Sum(*map(sum, zip(*sums.values(), strict=True))) if sums else Sum()
    rows = sorted(sums.items(), key=lambda row: row[0] if by == "day" else (-row[1].cost_usd, -row[1].tokens_out, row[0]))
    data = {"by": by, "rows": [{by: name, **_data(row)} for name, row in rows], "total": _data(total)}
    return Result("cost", data, lambda screen: _lines(by, rows, total, screen), [name for name, _ in rows], warnings)


def _since(word: str | None) -> str:
    """The first moment that counts, as records spell it; a day, or a time that went by (`7d`)."""
    from datetime import UTC, datetime, timedelta

    from kin.model import times
    from kin.model.fields import seconds

    if not word:
        return ""
    try:
        return times.rfc3339(datetime.strptime(word, "%Y-%m-%d").replace(tzinfo=UTC))
    except ValueError:
        pass
    try:
        return times.rfc3339(times.now() - timedelta(seconds=seconds(word)))
    except (ValueError, OverflowError):
        raise Usage(f"--since {word} is neither a day nor a time", "`--since 2026-11-01`, `--since 7d`") from None


def _name(by: str, run: "Run", step: "StepRecord") -> str:
    day = (step.started or "")[:10]
    names = {"task": run.task, "role": step.role, "agent": step.agent or "command", "model": step.model or "none", "day": day}
    return names[by]


def _data(row: Sum) -> dict[str, Any]:
    """A sum for JSON: money is null if no part of it is known."""
    known = row.cost_usd or not row.unknown
    return {
        "steps": row.steps,
        "tokens": {"in": row.tokens_in, "out": row.tokens_out, "cached": row.tokens_cached},
        "cost_usd": round(row.cost_usd, 6) if known else None,
        "unknown": row.unknown,
        "seconds": round(row.seconds),
    }


def _lines(by: str, rows: list[tuple[str, Sum]], total: Sum, screen: Screen) -> Iterator[str]:
    if not rows:
        yield "Nothing has run yet."
        return
    named = [*rows, ("total", total)] if len(rows) > 1 else rows
    width = max(len(by), *(len(name) for name, _ in named))
    yield screen.paint(f"{by:{width}}  steps  {'in':>11}  {'out':>9}  {'cached':>11}  {'minutes':>7}  cost", "bold")
    for name, row in named:
        numbers = f"{row.steps:5}  {row.tokens_in:11,}  {row.tokens_out:9,}  {row.tokens_cached:11,}  {row.seconds / 60:7.1f}"
        yield f"{clean(name):{width}}  {numbers}  {money(row)}"


def money(row: Sum) -> str:
    """What is known of the price, and of how many steps it is not."""
    if not row.unknown:
        return f"${row.cost_usd:.2f}"
    return f"${row.cost_usd:.2f} and {counted(row.unknown, 'step')} unknown" if row.cost_usd else "unknown"
