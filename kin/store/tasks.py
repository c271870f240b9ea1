"""Task files: all of them through the index, one of them from the file itself, and the ways to change one.

Every change re-reads the file under the store lock and is checked against what it then says, so the file always wins over
what a command saw when it started.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from kin.errors import Busy, Invalid, NotFound, Place, Usage
from kin.model.fields import KeyPath, Plain, data_of, dotted, value_at
from kin.model.ids import TASK_ID, normalise, same_id
from kin.model.ready import graph_of, in_order
from kin.model.status import OPEN, BlockedKind, TaskStatus, check_hand_move, may_move
from kin.model.task import READ, TASK_KEYS, Blocked, Mode, Task, build_task
from kin.store import config, files, index
from kin.store.project import STORE, Project
from kin.store.resting import settings_now
from kin.store.text import reader


class Broken(NamedTuple):
    """A file in tasks/ that cannot be used, and why."""

    path: str
    error: Invalid


class Scan(NamedTuple):
    """All task files of the store: those that can be read, by id, and the others. `in_order`: the former in ready order."""

    tasks: dict[str, Task]
    broken: list[Broken]
    in_order: bool = False


def task_path(project: Project, task_id: str) -> str:
    return os.path.join(project.store, "tasks", task_id + ".yaml")


def shown_path(task_id: str) -> str:
    """The task's file as messages name it."""
    return f"{STORE}/tasks/{task_id}.yaml"


def parse(text: str, path: str) -> Task:
    """The task that a file's text is. Raises Invalid with the place of the first fault, all of them in `data["problems"]`."""
    return _typed(reader.read(text, path), text, path)


def _typed(data: dict[str, Plain], text: str, path: str) -> Task:
    task, problems = build_task(data)
    if task is None:
        raise reader.invalid(problems, text, path)
    reader.check_name(task.id, text, path)
    return task


def load(project: Project, task_id: str) -> tuple[Task, str]:
    """A task and its file's text, read now. Raises NotFound, or Invalid with the place of a fault."""
    shown = shown_path(task_id)
    text = files.read_text(task_path(project, task_id), shown)
    return parse(text, shown), text


def scan(project: Project, *, bodies: bool = True) -> Scan:
    """All task files, unchanged ones from the index. Without `bodies`, descriptions and acceptance are left empty: faster."""
    broken: list[Broken] = []

    def parse_one(path: str, name: str) -> tuple[index.Row, index.Row, bool] | None:
        shown = f"{STORE}/tasks/{name}"
        try:
            text = files.read_text(path, shown)
            if not TASK_ID.fullmatch(name.removesuffix(".yaml")):
                raise Invalid("the file's name is no task id", "name it <id>.yaml, or keep it elsewhere", Place(shown))
            fast = reader.read_fast(text)
            data = reader.read(text, shown) if fast is None else fast
            return *_to_rows(_typed(data, text, shown)), fast is None
        except NotFound:
            return None  # gone since the folder was listed
        except Invalid as error:
            broken.append(Broken(shown, error))
            return None

    folder = os.path.join(project.store, "tasks")
    found = index.scan(folder, index.cache_path(project.common, folder), parse_one, partial(_arrange, project), bodies=bodies)
    broken.sort(key=lambda one: one.path)
    return Scan(_from_rows(found.heads, found.bodies if bodies else {}), broken, found.arranged)


def _arrange(project: Project, heads: dict[str, index.Row]) -> tuple[list[str], tuple[Any, ...]]:
    """The files' names in the order in which their tasks are ready, which depends on nothing but what they say; a `Resting`."""
    names = {head[0]: name for name, head in heads.items()}
    tasks = _from_rows(heads, {})
    order = in_order(graph_of(tasks))
    shown = [task for task in map(tasks.__getitem__, order) if task.status in OPEN]
    columns = zip(*((t.id, t.status.value, str(t.priority), t.title) for t in shown), strict=True)
    bases = sorted({task.base for task in shown if task.base})
    labels = sorted({label for task in tasks.values() for label in task.labels})
    modules, assignees = (sorted({getattr(t, key) for t in tasks.values()} - {None}) for key in ("module", "assignee"))
    settings = settings_now(project)  # before what it says is read: an edit in between makes it stale, never too new
    quick = config.quick(project)
    more = (bases, labels, modules, assignees, b"" if quick.warnings else settings, quick.base)
    return [names[task_id] for task_id in order], (*(map(list, columns) if shown else ([], [], [], [])), *more)


_STATUS, _BLOCKED, _MODE, _BODY = map(TASK_KEYS.index, ("status", "blocked", "mode", "description"))
_NO_BODY: index.Row = ("", (), {})
_STATUSES: dict[str, TaskStatus] = {str(status.value): status for status in TaskStatus}
_MODES: dict[str | None, Mode | None] = {None: None} | {str(mode.value): mode for mode in Mode}


def _to_rows(task: Task) -> tuple[index.Row, index.Row]:
    """Head and body as marshal can hold them: texts for enums, a tuple for `blocked`."""
    row: list[Any] = list(task)
    row[_STATUS] = task.status.value
    row[_BLOCKED] = task.blocked and (task.blocked.kind.value, task.blocked.reason)
    row[_MODE] = task.mode and task.mode.value
    return tuple(row[:_BODY]), tuple(row[_BODY:])


def _from_rows(heads: Mapping[str, index.Row], bodies: Mapping[str, index.Row]) -> dict[str, Task]:
    """Tasks by id; those without a body get an empty one. Ten thousand times a list: no `_make`, no enum's call."""
    tasks: dict[str, Task] = {}
    new, statuses, body = tuple.__new__, _STATUSES, _NO_BODY
    for name, head in heads.items():
        if bodies:
            body = bodies[name]
        tasks[head[0]] = task = new(Task, (head[0], head[1], statuses[head[2]], *head[3:], *body))
        if head[_BLOCKED] is not None or head[_MODE] is not None:
            blocked = task.blocked and Blocked(BlockedKind(task.blocked[0]), task.blocked[1])
            tasks[head[0]] = task._replace(blocked=blocked, mode=_MODES[head[_MODE]])
    return tasks


def resolve(project: Project, word: str) -> str:
    """The id of the existing task that `word` means: case-blind, a bare number, a unique prefix of a random id.

    Raises NotFound that names near ones, Usage if a prefix fits several.
    """
    task_id = normalise(word, config.quick(project).key)
    if task_id and os.path.isfile(task_path(project, task_id)):
        return task_id
    known = ids(project)
    if task_id:
        same = [other for other in known if same_id(other, task_id)]
        if len(same) == 1:
            return same[0]
    prefix = word.strip().upper()
    numbers = ((other, other.rpartition("-")[2]) for other in known if prefix)
    fitting = [o for o, number in numbers if not number.isdigit() and (o.startswith(prefix) or number.startswith(prefix))]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise Usage(f"'{word}' may be {', '.join(sorted(fitting)[:5])}", "type more of it")
    raise NotFound(f"there is no task {task_id or word}", _near(task_id or prefix, known))


def ids(project: Project) -> list[str]:
    """The ids that files are named after, readable or not, in no order."""
    names = files.names_in(os.path.join(project.store, "tasks"), ".yaml")
    return [stem for name in names if TASK_ID.fullmatch(stem := name.removesuffix(".yaml"))]


def _near(word: str, known: Sequence[str]) -> str:
    import difflib

    if word.upper().startswith("D-"):
        return f"a decision's file is edited by hand, `kin decide ... --supersedes {word}` replaces it"
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.7)
    return f"did you mean {' or '.join(near)}?" if near else "`kin list --all` shows what there is"


def new_id(project: Project, category: str = "") -> str:
    """An id that nobody has been given."""
    from kin.store import numbers

    return numbers.new_ids(project, config.quick(project).key, "tasks", 1, category)[0]


def add(project: Project, data: Mapping[str, Plain], *, today: str, category: str = "") -> Task:
    """Write a new task file in kin's layout; `data` are plain values by key, `id` only to insist on one.

    Raises Usage for a value that does not fit or an id that is taken.
    """
    from kin.store import schemas
    from kin.store.text import emit

    config.refuse_newer_format(project)
    data = {"status": "todo", "created": today, **data}
    _built({"id": "KIN-1", **data})  # one that is refused uses up no number
    while True:
        task = _built({"id": data.get("id") or new_id(project, category), **data})
        try:
            head = schemas.first_line(project, "task")
            files.add_file(project, task_path(project, task.id), emit.document(data_of(task), TASK_KEYS, head=head))
            return task
        except FileExistsError:
            if data.get("id"):
                raise Usage(f"{task.id} is there already", f"`kin show {task.id}`") from None


def _built(data: Mapping[str, Any]) -> Task:
    task, problems = build_task({key: value for key, value in data.items() if value is not None})
    if task is None:
        raise Usage(problems[0].message, "", problems=[p.message for p in problems])
    if not TASK_ID.fullmatch(task.id):
        raise Usage(f"'{task.id}' is no task id", "KEY-<number>, or KEY-<CATEGORY>-<number>")
    return canonical(task)


def canonical(task: Task) -> Task:
    """The task as a new file holds it: sets sorted, as later items are put in their place. Two who append conflict in git."""
    sets: dict[str, Any] = {key: tuple(sorted(set(getattr(task, key)))) for key in ("labels", "depends_on", "touches")}
    return task._replace(**sets)


def change(project: Project, task_id: str, changes: Sequence[Any], *, synced: bool = True) -> Task:
    """Make `changes` (kin.store.text.splice) by a person's hand: the text of those values is replaced and nothing else.

    Raises Usage for a refused move of status or a value that does not fit; Busy, both values named, if one of the values was
    changed by somebody else while we were at it; Invalid if the file cannot be edited. The file is then as it was.
    """
    from kin.store.text.splice import as_spelled

    config.refuse_newer_format(project)
    shown = shown_path(task_id)
    seen: dict[KeyPath, Plain] = {}
    done: list[Task] = []

    def edit(text: str) -> str:
        data = reader.read(text, shown)
        spelled = [as_spelled(one, data) for one in changes]
        _check_unchanged(task_id, data, spelled, seen)
        new = _spliced(task_id, text, data, spelled)
        done[:] = [_checked(new, shown, spelled)]
        return new

    files.edit_file(project, task_path(project, task_id), edit, synced=synced)
    return done[0]


def _check_unchanged(task_id: str, data: Mapping[str, Plain], changes: Sequence[Any], seen: dict[KeyPath, Plain]) -> None:
    """On a second try: whoever wrote in between must not have written the same values. Items of lists do not collide."""
    from kin.store.text.splice import Remove, Set

    for one in changes:
        if isinstance(one, (Set, Remove)):
            now = value_at(data, one.path)
            before = seen.setdefault(one.path, now)
            if now != before:
                name, wanted = dotted(one.path), getattr(one, "value", None)
                raise Busy(
                    f"{task_id}: {name} was changed to '{now}' meanwhile, you wanted '{wanted}'",
                    "look at it and try again",
                    key=name,
                    theirs=now,
                    yours=wanted,
                )


def _spliced(task_id: str, text: str, data: Mapping[str, Plain], changes: Sequence[Any]) -> str:
    from kin.store.text import splice

    shown = shown_path(task_id)
    rest = []
    for one in changes:
        if one.path == ("status",) and isinstance(one, splice.Set):
            new = _status_of(one.value)
            if (old := _status_of(data.get("status"))) and new:
                check_hand_move(task_id, old, new)
            if new and new != old:
                text = splice.set_status(text, new, {"kind": "manual"} if new == TaskStatus.blocked else None, path=shown)
                continue
        rest.append(one)
    return splice.edit(text, rest, order=TASK_KEYS, path=shown) if rest else text


def _status_of(plain: Any) -> TaskStatus | None:
    try:
        return TaskStatus(READ["status"](plain))
    except ValueError:
        return None


def _checked(text: str, shown: str, changes: Sequence[Any]) -> Task:
    """The new text as a task; a fault in a value that the person gave is their words' fault, not the file's."""
    data = reader.read(text, shown)
    task, problems = build_task(data)
    if task is None:
        mine = [p for p in problems if any(p.path[:1] == one.path[:1] for one in changes)]
        if mine:
            raise Usage(mine[0].message, "", problems=[p.message for p in mine])
    return _typed(data, text, shown)


def set_status(project: Project, task_id: str, status: str, blocked: Mapping[str, str] | None = None) -> bool:
    """Move the task by kin's hand; False if it stands so already.

    Raises Usage if the file's own status forbids the move: a person has said something else meanwhile, and the file wins.
    """
    from kin.store.text import splice

    config.refuse_newer_format(project)
    new, shown = TaskStatus(status), shown_path(task_id)
    why = blocked if new == TaskStatus.blocked else None
    moved = False

    def edit(text: str) -> str:
        nonlocal moved
        task = parse(text, shown)
        wanted = Blocked(BlockedKind(why["kind"]), why.get("reason", "")) if why else None
        moved = (task.status, task.blocked) != (new, wanted)
        if not moved:
            return text
        if not may_move(task.status, new, by_kin=True):
            raise Usage(f"{task_id} is {task.status}, kin does not make it {new}", f"`kin show {task_id}`")
        return splice.set_status(text, new, why, path=shown)

    files.edit_file(project, task_path(project, task_id), edit)
    return moved
