"""`kin list`: which tasks, in which order, as a table, JSON or CSV; and a task as every JSON document holds it."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, cells, clean, fit, pad
from kin.errors import Usage
from kin.model.ids import normalise, sort_key
from kin.model.status import OPEN, TaskStatus
from kin.model.task import STATUS_ALIASES, TASK_KEYS

if TYPE_CHECKING:
    from kin.store.view import Seen, View

SORTS = ("ready", "id", "priority", "created", "status", "title")
COLUMNS = ("id", "status", "priority", "title")
AT_REST = {"directory", "quiet", "verbose", "no_color"}
"""Options with which a list is what the index can tell by itself."""


def entry(seen: "Seen") -> dict[str, Any]:
    """A task as JSON: the file's keys, `status` as shown, and beside it what the file says, whether it is ready, its run."""
    task = seen.task
    out: dict[str, Any] = dict(zip(TASK_KEYS, task, strict=False))
    out["description"] = task.description or None
    out["status"] = seen.status
    out["stored_status"] = task.status
    out["ready"] = seen.ready
    out["run"] = seen.run
    if task.blocked is not None:
        out["blocked"] = task.blocked._asdict() if task.status == TaskStatus.blocked else None
    if task.extra:
        from kin.model.fields import data_of

        out.update((key, data_of(value)) for key, value in task.extra.items())
    return out


def list_(call: Call) -> Result:
    """List tasks, the open ones unless asked otherwise."""
    from kin.store.config import quick
    from kin.store.view import resting, see

    gc.disable()  # everything here lives until the process ends, and tens of thousands of tasks make no circles
    settings = quick(call.project)
    columns = _columns(call["columns"])
    form = call["format"] or "table"
    given = {name for name, value in call.values.items() if value is not None and value is not False and value != ()}
    if given <= AT_REST and (rows := resting(call.project)) is not None:
        cells = [rows.ids, rows.statuses, rows.priorities, list(map(_line, rows.titles))]
        lines = lambda screen: _drawn(cells, COLUMNS, list(rows.statuses), screen)  # noqa: E731
        return Result("task.list", None, lines, list(rows.ids), settings.warnings)
    bodies = call.screen.json or form == "jsonl" or bool(call["search"]) or "description" in columns
    view = see(call.project, bodies=bodies)
    found = select(view, call.values, settings.key)
    warnings = (*settings.warnings, *view.warnings)
    if form == "csv":
        return Result("task.list", lines=lambda screen: _csv(found, columns), warnings=warnings)
    if form == "jsonl":
        return Result("task.list", lines=lambda screen: _json_lines(found), warnings=warnings)
    return Result(
        "task.list",
        lambda: map(entry, found),
        lambda screen: _table(found, columns, screen),
        [seen.task.id for seen in found],
        warnings,
    )


def select(view: "View", wanted: Mapping[str, Any], key: str) -> list["Seen"]:
    """The tasks that pass every filter of `wanted` (the values of `kin list`), in the wanted order."""
    seen = list(_ordered(view, wanted.get("sort") or "ready"))
    for test in _tests(wanted, key):
        seen = [s for s in seen if test(s)]
    limit = wanted.get("limit")
    return seen if limit is None else seen[:limit]


def _ordered(view: "View", sort: str) -> Iterable["Seen"]:
    word, down = sort.removeprefix("-"), sort.startswith("-")
    if word not in SORTS:
        raise Usage(f"cannot sort by '{word}'", f"one of {', '.join(SORTS)}; `-` before it turns it round")
    if word == "ready":
        ids = view.order[::-1] if down else view.order
        return [view.seen[i] for i in ids]
    return sorted(view.seen.values(), key=_SORT_KEYS[word], reverse=down)


_STATUS_ORDER = {status: n for n, status in enumerate(TaskStatus)}
_SORT_KEYS: dict[str, Callable[["Seen"], Any]] = {
    "id": lambda s: sort_key(s.task.id),
    "priority": lambda s: (s.task.priority, sort_key(s.task.id)),
    "created": lambda s: (s.task.created or "", sort_key(s.task.id)),
    "status": lambda s: (_STATUS_ORDER[TaskStatus(s.status)], sort_key(s.task.id)),
    "title": lambda s: (s.task.title.casefold(), sort_key(s.task.id)),
}


def _tests(wanted: Mapping[str, Any], key: str) -> Iterator[Callable[["Seen"], bool]]:
    """One test for each filter that was given; a task must pass all."""
    get = wanted.get
    if statuses := _statuses(get("status") or ()):
        yield lambda s: s.status in statuses or s.task.status in statuses
    elif not get("all"):
        yield lambda s: s.task.status in OPEN
    if get("ready"):
        yield lambda s: s.ready
    if labels := set(_split(get("label") or ())):
        yield lambda s: labels <= set(s.task.labels)
    if modules := set(_split(get("module") or ())):
        yield lambda s: s.task.module in modules
    if priorities := _priorities(get("priority") or ()):
        yield lambda s: s.task.priority in priorities
    if (assignee := get("assignee")) is not None:
        yield lambda s: (s.task.assignee or "").casefold() == assignee.casefold()
    if depends_on := get("depends_on"):
        other = normalise(depends_on, key) or depends_on
        yield lambda s: other in s.task.depends_on
    if search := (get("search") or "").casefold():
        yield lambda s: search in "\n".join((s.task.id, s.task.title, s.task.description, *s.task.labels)).casefold()


def _split(words: Iterable[str]) -> list[str]:
    return [part.strip() for word in words for part in word.split(",") if part.strip()]


def _statuses(words: Iterable[str]) -> set[str]:
    found = set()
    for word in _split(words):
        plain = word.lower().replace("-", "_")
        plain = STATUS_ALIASES.get(plain, plain)
        if plain not in _STATUS_ORDER:
            raise Usage(f"no status is called '{word}'", f"one of {', '.join(TaskStatus)}")
        found.add(plain)
    return found


def _priorities(words: Iterable[str]) -> set[int]:
    found: set[int] = set()
    for word in _split(words):
        low, dash, high = word.lower().replace("p", "").partition("-")
        try:
            found.update(range(int(low), int(high if dash else low) + 1))
        except ValueError:
            raise Usage(f"'{word}' is no priority", "1 to 5, or a range such as 1-2") from None
    return found


def _columns(names: str | None) -> tuple[str, ...]:
    """The columns that a person named, or the usual ones."""
    columns = tuple(_split([names])) if names else COLUMNS
    for name in columns:
        if name not in (*TASK_KEYS, "stored_status", "ready", "run") and not name.startswith("x-"):
            raise Usage(f"no column is called '{name}'", f"one of {', '.join(TASK_KEYS)}, stored_status, ready, run, x-...")
    return columns


def _cells(found: Sequence["Seen"], column: str) -> list[str]:
    """What a column shows of each task, on one line each."""
    if column == "id":
        return [seen.task.id for seen in found]
    if column == "status":
        return [seen.shown for seen in found]
    if column in ("ready", "run"):
        return [_plain(getattr(seen, column)) for seen in found]
    if column == "stored_status":
        return [seen.task.status.value for seen in found]
    if column in TASK_KEYS:
        at = TASK_KEYS.index(column)
        values = [seen.task[at] for seen in found]
        return list(map(_line, values))
    return [_plain(seen.task.extra.get(column)) for seen in found]


def _line(value: Any) -> str:
    return value if type(value) is str and value.isprintable() else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value if value.isprintable() else clean(" ".join(value.split()))
    if type(value) is int:
        return str(value)
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, (tuple, list)):
        return ",".join(map(_plain, value))
    if isinstance(value, dict):
        return " ".join(f"{k}={_plain(v)}" for k, v in value.items())
    return str(value)


def _table(found: Sequence["Seen"], columns: tuple[str, ...], screen: Screen) -> Iterable[str]:
    """Plain lines, made a column at a time: a rich table of 10,000 rows takes 3.4 s, these take 15 ms."""
    return _drawn([_cells(found, name) for name in columns], columns, [seen.status for seen in found], screen)


def _drawn(texts: list[list[str]], columns: tuple[str, ...], statuses: Sequence[str], screen: Screen) -> Iterable[str]:
    if not statuses:
        return [screen.paint("No task.", "dim")] if screen.terminal else []
    if screen.terminal:
        for name, cell in zip(columns, texts, strict=True):
            cell.insert(0, name.upper())
    widths = _widths(texts, columns, screen.width)
    forms, padded = zip(*map(_padded, texts, widths), strict=True)
    if screen.color:
        painted = [[form % text for text in column] for form, column in zip(forms, padded, strict=True)]
        _paint(painted, columns, statuses, screen)
        return map("  ".join, zip(*painted, strict=True))
    return map(str.rstrip, map("  ".join(forms).__mod__, zip(*padded, strict=True)))


def _widths(texts: Sequence[list[str]], columns: Sequence[str], width: int) -> list[int]:
    """Each column as wide as its widest cell; on a terminal the title, else the last column, gives way to the others."""
    widths = [max(map(len if "".join(cell).isascii() else cells, cell)) for cell in texts]
    if width:
        free = columns.index("title") if "title" in columns else len(columns) - 1
        others = sum(widths) - widths[free] + 2 * (len(widths) - 1)
        widths[free] = max(min(widths[free], width - others), 12)
    return widths


def _padded(texts: list[str], width: int) -> tuple[str, list[str]]:
    """Cells that a `%` form pads, which is faster, or that are as wide as they must be."""
    if "".join(texts).isascii() and max(map(len, texts)) <= width:
        return f"%-{width}s", texts
    return "%s", [pad(fit(text, width), width) for text in texts]


def _paint(padded: list[list[str]], columns: Sequence[str], statuses: Sequence[str], screen: Screen) -> None:
    """The heading bold, statuses in their colours."""
    for name, texts in zip(columns, padded, strict=True):
        if name == "status":
            texts[1:] = [screen.status(status, text) for status, text in zip(statuses, texts[1:], strict=True)]
        texts[0] = screen.paint(texts[0], "bold")


def _csv(found: Sequence["Seen"], columns: Sequence[str]) -> list[str]:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(_cells(found, column) for column in columns), strict=True))
    return out.getvalue().splitlines()


def _json_lines(found: Iterable["Seen"]) -> Iterator[str]:
    from json import dumps

    return (dumps(entry(seen), ensure_ascii=False) for seen in found)
