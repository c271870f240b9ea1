"""`kin board`: tasks in columns by status, as many side by side as the terminal holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from kin.cli.listing import entry, select
from kin.cli.output import Call, Result
from kin.cli.screen import STATUS_STYLES, Screen, cells, clean, fit, pad
from kin.model.ids import sort_key
from kin.model.status import OPEN, TaskStatus
from kin.store.config import quick
from kin.store.view import Seen, see

OPEN_LIMIT, ENDED_LIMIT = 40, 8
"""Tasks that a column shows unless it is asked for all; the newest of those that ended."""
NARROW, WIDE = 22, 40
"""Columns of text that a status gets at least and at most."""


def board_(call: Call) -> Result:
    """Show tasks in columns by status."""
    settings = quick(call.project)
    view = see(call.project, bodies=call.screen.json)
    found = select(view, {"all": True, "label": call["label"]}, settings.key)
    columns = {status: [s for s in found if s.status == status] for status in TaskStatus}
    for status in set(TaskStatus) - OPEN:
        columns[status].sort(key=lambda s: sort_key(s.task.id), reverse=True)
    limits = {s: None if call["all"] else OPEN_LIMIT if s in OPEN else ENDED_LIMIT for s in TaskStatus}
    shown = {s: seen for s, seen in columns.items() if seen}

    def data() -> list[dict[str, Any]]:
        return [{"status": status, "tasks": [entry(s) for s in seen]} for status, seen in columns.items()]

    return Result("board", data, lambda screen: _board(shown, limits, screen), warnings=(*settings.warnings, *view.warnings))


def _board(columns: Mapping[TaskStatus, list[Seen]], limits: Mapping[TaskStatus, int | None], screen: Screen) -> list[str]:
    """Columns side by side as many as fit, the rest below them; a card is an id and a title of at most two lines."""
    if not columns:
        return [screen.paint("No task.", "dim")]
    total = screen.width or 120
    most = max(1, min(len(columns), (total + 2) // (NARROW + 2)))
    names = list(columns)
    lines: list[str] = []
    for start in range(0, len(names), most):
        batch = names[start : start + most]
        width = min((total - 2 * (len(batch) - 1)) // len(batch), WIDE)
        cards = [_column(name, columns[name], limits[name], width, screen) for name in batch]
        height = max(map(len, cards))
        rows = zip(*(c + [("", "")] * (height - len(c)) for c in cards), strict=True)
        lines += ["  ".join(screen.paint(pad(text, width), style) for text, style in row).rstrip() for row in rows]
        lines.append("")
    return lines[:-1]


def _column(status: TaskStatus, seen: Sequence[Seen], limit: int | None, width: int, screen: Screen) -> list[tuple[str, str]]:
    """The lines of one column, each with its style."""
    style = STATUS_STYLES.get(status, "bold")
    lines = [(fit(f"{status.upper()} {len(seen)}", width), style), ("─" * width, "dim")]
    kept = seen[:limit]
    for one in kept:
        mark = "› " if one.ready else ""
        lines.append((fit(f"{mark}{one.task.id}", width), "bold"))
        lines += [(text, "") for text in _wrapped(clean(one.task.title), width, 2)]
        if one is not kept[-1]:
            lines.append(("", ""))
    if len(kept) < len(seen):
        lines.append((fit(f"and {len(seen) - len(kept)} more", width), "dim"))
    return lines


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """`text` broken at spaces into at most `most` lines of `width` columns; the last one is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if cells(longer) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) < most:
            lines.append(word)
        else:
            lines[-1] = longer
            break
    return [fit(line, width) for line in lines]
