"""`kin set`: fields of tasks, by the words that a person types (`priority=1`, `labels+=auto`, `assignee=`)."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from kin.cli.listing import entry, select, split
from kin.cli.output import Call, Result
from kin.cli.screen import Progress, clean
from kin.errors import KinError, NotFound, Usage
from kin.model.fields import Declared, KeyPath, Plain, dotted, fields_of, value_at
from kin.model.ids import sort_key
from kin.model.spelling import near, spellings
from kin.model.status import TaskStatus, check_hand_move
from kin.model.task import Task

if TYPE_CHECKING:
    from kin.store.project import Project
    from kin.store.text.splice import Change

_CHANGE = re.compile(r"([A-Za-z_][^=\s]*?)([+-]?=)(.*)", re.DOTALL)
FILTERS = ("label", "status", "module", "assignee", "priority")
"""What words begin with that select tasks instead of naming them."""
_FILTER = re.compile(f"(?:{'|'.join(FILTERS)}):")
_FIELDS = {d.name: d for d in fields_of(Task)}
_SPELLED = spellings(Task)
LISTS = ("labels", "depends_on", "touches", "acceptance")
PROSE = ("acceptance",)
"""Lists whose items may hold commas: `acceptance+=...` adds one item."""
MAPPINGS = ("blocked", "budget")
MANY = 20
"""Tasks that are changed without a question, where somebody can be asked."""


class Wish(NamedTuple):
    """One word of the command line: what to do (`=`, `+=`, `-=`) with the value at a path of keys."""

    path: KeyPath
    what: str
    value: str


class Edit(NamedTuple):
    """A value of a task that would be another; None: no such key. `key` is dotted."""

    task: str
    key: str
    old: Plain
    new: Plain

    def __str__(self) -> str:
        return clean(f"{self.key}: {_shown(self.old)} -> {_shown(self.new)}")


def set_(call: Call) -> Result:
    """Change fields of one or more tasks; all words are checked before the first file is written."""
    from kin.store.files import sync_folder
    from kin.store.tasks import change, resolve, task_path
    from kin.store.view import see

    project = call.project
    words, wishes = _read(call["words"])
    filters = [word for word in words if _FILTER.match(word)]
    ids = list(dict.fromkeys(resolve(project, word) for word in words if word not in filters))
    if filters:
        ids = list(dict.fromkeys([*ids, *_selected(call, filters)]))
    wanted = [_prepared(wish, call) for wish in wishes]
    changes = [change for wish in wanted for change in _changes(wish)]
    _refuse_cycles(project, ids, wanted)
    if filters or call["dry_run"] or len(ids) > MANY:
        edits = _planned(project, ids, changes)
        if call["dry_run"]:
            return Result("edit.list", [edit._asdict() for edit in edits], [f"{edit.task}  {edit}" for edit in edits])
        if not _agreed(call, edits):
            return Result("task.list", [], ["Nothing was changed."])
    done: list[str] = []
    with Progress(call.screen, "files changed") as tick:
        try:
            for task_id in ids:
                change(project, task_id, changes, synced=False)
                done.append(task_id)
                if tick:
                    tick(len(done), len(ids))
        except KinError as error:
            error.data["changed"] = done
            raise
        finally:
            if done:
                sync_folder(task_path(project, done[0]))  # once for all: a file's own text is durable already
    said = " ".join(f"{dotted(w.path)}{w.what}{w.value}" for w in wanted)

    def data() -> list[dict[str, Any]]:
        view = see(project)
        return [entry(view.seen[task_id]) for task_id in ids]

    return Result("task.list", data, [f"{task_id}  {said}" for task_id in ids], brief=())


def _read(words: Sequence[str]) -> tuple[list[str], list[Wish]]:
    """Ids and changes, told apart by the `=`; ids come first, so that a forgotten quote is noticed."""
    ids: list[str] = []
    wishes: list[Wish] = []
    for word in words:
        if (match := _CHANGE.fullmatch(word)) and not _FILTER.match(word):
            wishes.append(Wish(tuple(match[1].split(".")), match[2], match[3]))
        elif wishes:
            raise Usage(
                f"'{word}' is no change and stands behind one", f"quote values with spaces: '{_said(wishes[-1])} {word}'"
            )
        else:
            ids.append(word)
    if not ids or not wishes:
        raise Usage("which task, and what to change?", "`kin set 12 priority=1`")
    return ids, wishes


def _said(wish: Wish) -> str:
    return f"{dotted(wish.path)}{wish.what}{wish.value}"


def _prepared(wish: Wish, call: Call) -> Wish:
    """The wish with its field's own name and its value as files hold it. Raises Usage, or NotFound for a task's id."""
    name = _SPELLED.get(str(wish.path[0]), str(wish.path[0]))
    wish = wish._replace(path=(name, *wish.path[1:]))
    if name == "id":
        raise Usage("an id cannot be set: it is the file's name, and others refer to it")
    if name.startswith("x-"):
        return wish
    field = _FIELDS.get(name)
    if field is None:
        raise _unknown(name)
    if len(wish.path) > 1:
        if name not in MAPPINGS:
            raise Usage(f"{name} holds no fields of its own", f"`kin set ID {name}=...`")
        return _checked_inside(wish, field)
    if wish.what != "=" and name not in LISTS:
        raise Usage(f"{name} is no list", f"`kin set ID {name}=...` sets it")
    if not wish.value and wish.what == "=":
        if field.required:
            raise Usage(f"{name} cannot be removed: every task has one")
        return wish
    return wish._replace(value=_checked(field, wish, call))


def _unknown(name: str) -> Usage:
    meant = near(name, _SPELLED)
    guess = f"did you mean {_SPELLED[meant]}? " if meant else ""
    return Usage(f"no field is called '{name}'", f"{guess}fields of your own begin with x-")


def _checked(field: Declared, wish: Wish, call: Call) -> str:
    """The value as the file shall hold it: `high` becomes 1, `open` todo, `12` KIN-12."""
    from kin.store.tasks import resolve

    project = call.project
    if field.name in MAPPINGS:
        raise Usage(f"{field.name} is a mapping", f"`kin set ID {field.name}.KEY=...` sets one of its fields")
    if field.name == "parent":
        return resolve(project, wish.value)
    if field.name == "depends_on":
        if ":" in wish.value:
            from kin.store.linked import needed as resolve
        return ",".join(resolve(project, word) if wish.what != "-=" else _known(project, word) for word in _items(wish))
    if field.name == "pipeline":
        from kin.cli.tasks import refuse_pipeline

        refuse_pipeline(call, wish.value)
    try:
        typed = field.field.read(_items(wish) if field.name in LISTS else wish.value)
    except ValueError as error:
        raise Usage(f"{field.name}: {error}") from None
    return str(typed) if field.name in ("status", "priority", "mode", "plan") else wish.value


def _known(project: "Project", word: str) -> str:
    """An id to take away, which need not exist any more."""
    from kin.model.ids import normalise
    from kin.store.config import quick

    return normalise(word, quick(project).key) or word


def _checked_inside(wish: Wish, field: Declared) -> Wish:
    """A field of a mapping, checked as the mapping would be if it were set alone."""
    from kin.model.task import Blocked

    if field.name == "blocked" and wish.value:
        known = {d.name: d for d in fields_of(Blocked)}
        inner = known.get(str(wish.path[1]))
        if inner is None or len(wish.path) > 2:
            raise Usage(f"blocked has no field '{dotted(wish.path[1:])}'", f"it has {', '.join(known)}")
        try:
            inner.field.read(wish.value)
        except ValueError as error:
            raise Usage(f"blocked.{inner.name}: {error}") from None
    if wish.what != "=":
        raise Usage(f"{dotted(wish.path)} is no list", f"`kin set ID {dotted(wish.path)}=...` sets it")
    if field.name == "budget" and wish.value:
        from kin.model.settings import Budget, problems_in
        from kin.store.text.splice import Set, meant

        if problems := problems_in(Budget, value_at(meant({}, Set(wish.path, wish.value)), ("budget",))):
            raise Usage(f"budget.{problems[0].message}")
    return wish


def _items(wish: Wish) -> list[str]:
    if wish.path[0] in PROSE:
        return [wish.value] if wish.value else []
    return split([wish.value])


def _changes(wish: Wish) -> "list[Change]":
    """The wish as changes of a file's text."""
    from kin.store.text.splice import AddItem, DropItem, Remove, Set

    if wish.what == "+=":
        return [AddItem(wish.path, item) for item in _items(wish)]
    if wish.what == "-=":
        return [DropItem(wish.path, item) for item in _items(wish)]
    if not wish.value:
        return [Remove(wish.path)]
    return [Set(wish.path, _items(wish) if wish.path[0] in LISTS and len(wish.path) == 1 else wish.value)]


def _refuse_cycles(project: "Project", ids: Iterable[str], wishes: Iterable[Wish]) -> None:
    """Raise Usage if a task would, by these wishes, wait for itself; a parent waits for its parts."""
    links = (("depends_on",), ("parent",))
    added = [(w.path[0], other) for w in wishes if w.path in links and w.what != "-=" for other in _items(w)]
    if not added:
        return
    from kin.model.deps import needs
    from kin.model.ready import graph_of
    from kin.store.tasks import scan
    from kin.store.text.splice import meant

    tasks = scan(project, bodies=False).tasks
    changes = [change for wish in wishes for change in _changes(wish)]
    for task_id in tasks.keys() & ids:
        said: Any = {"depends_on": [*tasks[task_id].depends_on], "parent": tasks[task_id].parent}
        said = reduce(meant, changes, said)
        tasks[task_id] = tasks[task_id]._replace(depends_on=tuple(said.get("depends_on") or ()), parent=said.get("parent"))
    graph = graph_of(tasks)
    reached = cache(lambda start: {start, *(link.id for link in needs(graph, start))})
    for task_id in ids:
        for key, other in added:
            waits, needed = (task_id, other) if key == "depends_on" else (other, task_id)
            if waits in reached(needed):
                words = f"{task_id} cannot have {key} {other}: {other} already leads back to it"
                raise Usage(words, f"`kin deps {task_id}` shows what waits for what")


def _selected(call: Call, words: Iterable[str]) -> list[str]:
    """The ids of the tasks that pass all filters (`label:backend`), as `kin list` takes them: only open ones, unless a status
    is asked for. Raises NotFound if none does, Usage for a filter that says nothing.
    """
    from kin.store.config import quick
    from kin.store.view import see

    wanted: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition(":")
        if not value.strip(", ") and name != "assignee":  # would be no filter, and all tasks would change
            raise Usage(f"'{word}' says no {name}", f"{name}:WORD; only `assignee:` may be empty, for nobody")
        wanted[name] = value if name == "assignee" else (*wanted.get(name, ()), value)
    found = select(see(call.project, bodies=False), wanted, quick(call.project).key)
    if not found:
        raise NotFound(f"no task fits {' '.join(words)}", "`kin list` takes the same filters as options")
    return sorted((seen.task.id for seen in found), key=sort_key)


def _planned(project: "Project", ids: Sequence[str], changes: "Sequence[Change]") -> list[Edit]:
    """What the changes would do to each file. Raises Usage for a move of status that is refused, Invalid for a file that cannot
    be read, before anything is written.
    """
    from kin.store.tasks import load
    from kin.store.text.reader import read
    from kin.store.text.splice import Set, meant

    edits: list[Edit] = []
    for task_id in ids:
        task, text = load(project, task_id)
        old: Plain = {_SPELLED.get(key, key): value for key, value in read(text, "").items()}
        new = reduce(meant, changes, old)
        for path in dict.fromkeys(change.path for change in changes):
            before, after = value_at(old, path), value_at(new, path)
            if before != after:
                edits.append(Edit(task_id, dotted(path), before, after))
        for change in changes:
            if change.path == ("status",) and isinstance(change, Set):
                check_hand_move(task_id, task.status, TaskStatus(change.value))
    return edits


def _agreed(call: Call, edits: Sequence[Edit]) -> bool:
    """Whether so many files may change: yes, unless somebody can be asked and says no to the summary."""
    tasks = {edit.task for edit in edits}
    if len(tasks) <= MANY or not call.screen.may_ask:
        return True
    counted = Counter(map(str, edits))
    for words, number in counted.most_common(10):
        call.screen.err.write(f"{number:6,}  {words}\n")
    if len(counted) > 10:
        call.screen.err.write(f"        and {len(counted) - 10:,} other changes\n")
    return call.screen.ask(f"Change {len(tasks):,} files?")


def _shown(value: Plain) -> str:
    if value is None:
        return "nothing"
    return ", ".join(map(str, value)) if isinstance(value, list) else " ".join(str(value).split())[:60]
