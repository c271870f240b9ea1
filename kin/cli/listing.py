"""Which tasks, in which order, as a table, JSON or CSV; and a task as every JSON document holds it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kin.cli.output import Call, Result
from kin.cli.screen import Screen
from kin.cli.table import COLUMNS, drawn, line_of, plain
from kin.errors import Usage
from kin.model.ids import normalise, sort_key
from kin.model.status import OPEN, TaskStatus
from kin.model.task import READ, TASK_KEYS

if TYPE_CHECKING:
    from kin.store.view import Seen, View

SORTS = ("ready", "id", "priority", "created", "status", "title")


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
    out.update(task.extra)
    return out


def found(call: Call) -> Result:
    """The tasks that the options of a `kin list` ask for, in the form that they ask for."""
    from kin.store.config import quick
    from kin.store.view import see

    settings = quick(call.project)
    columns = _columns(call["columns"])
    form = "json" if call.screen.json else call["format"] or "table"
    bodies = form in ("json", "jsonl") or bool(call["search"]) or "description" in columns
    view = see(call.project, bodies=bodies)
    seen = select(view, call.values, settings.key)
    warnings = (*settings.warnings, *view.warnings)
    if form in ("csv", "jsonl"):
        return Result("task.list", lines=_csv(seen, columns) if form == "csv" else _json_lines(seen), warnings=warnings)
    return Result(
        "task.list",
        lambda: map(entry, seen),
        lambda screen: _table(seen, columns, screen),
        [one.task.id for one in seen],
        warnings,
    )


def select(view: "View", wanted: Mapping[str, Any], key: str) -> list["Seen"]:
    """The tasks that pass every filter of `wanted` (the values of `kin list`), in the wanted order."""
    seen = list(_ordered(view, wanted.get("sort") or "ready"))
    for test in _tests(view, wanted, key):
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


def _tests(view: "View", wanted: Mapping[str, Any], key: str) -> Iterator[Callable[["Seen"], bool]]:
    """One test for each filter that was given; a task must pass all."""
    get = wanted.get
    if statuses := _statuses(get("status") or ()):
        yield lambda s: s.status in statuses or s.task.status in statuses
    elif not get("all"):
        yield lambda s: s.task.status in OPEN
    if get("ready"):
        yield lambda s: s.ready
    if labels := set(split(get("label") or ())):
        yield lambda s: labels <= set(s.task.labels)
    if modules := set(split(get("module") or ())):
        yield lambda s: s.task.module in modules
    if priorities := _priorities(get("priority") or ()):
        yield lambda s: s.task.priority in priorities
    if (assignee := get("assignee")) is not None:
        yield lambda s: (s.task.assignee or "").casefold() == assignee.casefold()
    if depends_on := get("depends_on"):
        other = normalise(depends_on, key) or depends_on
        yield lambda s: any(other in need for need in view.graph.depends_on.get(s.task.id, ()))
    if search := (get("search") or "").casefold():
        yield lambda s: search in "\n".join((s.task.id, s.task.title, s.task.description, *s.task.labels)).casefold()


def split(words: Iterable[str]) -> list[str]:
    """The words between commas."""
    return [part.strip() for word in words for part in word.split(",") if part.strip()]


def _statuses(words: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for word in split(words):
        try:
            found.add(READ["status"](word))
        except ValueError:
            raise Usage(f"no status is called '{word}'", f"one of {', '.join(TaskStatus)}") from None
    return found


def _priorities(words: Iterable[str]) -> set[int]:
    found: set[int] = set()
    read = READ["priority"]
    for word in split(words):
        low, dash, high = word.partition("-")
        try:
            found.update(range(read(low), read(high if dash else low) + 1))
        except ValueError:
            raise Usage(f"'{word}' is no priority", "1 to 5, or a range such as 1-2") from None
    return found


def _columns(names: str | None) -> tuple[str, ...]:
    """The columns that a person named, or the usual ones."""
    columns = tuple(split([names])) if names else COLUMNS
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
        return [plain(getattr(seen, column)) for seen in found]
    if column == "stored_status":
        return [seen.task.status.value for seen in found]
    if column in TASK_KEYS:
        at = TASK_KEYS.index(column)
        values = [seen.task[at] for seen in found]
        return list(map(line_of, values))
    return [plain(seen.task.extra.get(column)) for seen in found]


def _table(found: Sequence["Seen"], columns: tuple[str, ...], screen: Screen) -> Iterable[str]:
    return drawn([_cells(found, name) for name in columns], columns, [seen.status for seen in found], screen)


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
