"""Many tasks at once, all or none: what they call one another becomes ids, everything is checked, then they are written.

The stream is read twice, once to learn names and find faults and once to write, so that its texts are all that is in memory.
"""

import filecmp
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kin import faults
from kin.errors import Busy, Invalid, NotFound, Place, Usage
from kin.model.deps import circles
from kin.model.fields import Plain, Problem, data_of, dotted
from kin.model.ids import TASK_ID, identity
from kin.model.spelling import near_misses, spellings
from kin.model.status import TaskStatus
from kin.model.task import TASK_KEYS, Task, build_task
from kin.store import config, files, locks, numbers, schemas, tasks
from kin.store.project import Project
from kin.store.text import emit, reader
from kin.store.text.stream import Item, items, place_in

Tick = Callable[[int, int], None]
"""Told how many files were written, of how many."""

MOST = 50
"""Faults that are told at once."""

LARGEST = reader.TASK_BOUNDS.size
"""Bytes of a task's file; a character takes six of them at most."""

PATIENCE = 300.0
"""Seconds to wait for another `kin add --file`: 64 MiB take one minute, most of it the disk's."""

_TOO_LARGE = f"it would be a file of more than {LARGEST:,} bytes; keep long texts elsewhere"
_SPELLED = spellings(Task)


class Added(NamedTuple):
    """The new tasks' ids in the stream's order, and keys that look misspelled."""

    ids: list[str]
    warnings: list[str]


class _Named(NamedTuple):
    """A task of the stream: the id that it insists on, its title, the words by which it needs others, its line."""

    own_id: str | None
    title: str
    depends_on: tuple[str, ...]
    parent: str | None
    line: int


def add_all(
    project: Project,
    raw: bytes,
    path: str,
    *,
    today: str,
    defaults: Mapping[str, Plain],
    environ: Mapping[str, str],
    tick: Tick | None = None,
) -> Added:
    """Add the tasks of a stream (kin.store.text.stream), `defaults` filling in what one leaves open.

    Raises Invalid with the place of the first fault and all of them in `data["problems"]`. Whatever goes wrong, no task stays.
    """
    ids, texts, warnings = prepare(project, raw, path, today=today, defaults=defaults, environ=environ)
    write(project, texts, len(ids), tick)
    return Added(ids, warnings)


def prepare(
    project: Project, raw: bytes, path: str, *, today: str, defaults: Mapping[str, Plain], environ: Mapping[str, str]
) -> tuple[list[str], Iterator[tuple[str, str]], list[str]]:
    """As `add_all`, but nothing is written: the ids, which nobody else is given, path and content of each file, warnings."""
    config.refuse_newer_format(project)
    batch = _Batch(project, path, {"status": "todo", "created": today, **defaults}, environ)
    batch.learn(raw)
    needs = [batch.needs(number) for number in range(len(batch.named))]
    batch.refuse_circles(needs)
    ids = batch.take_ids()
    return ids, batch.texts(raw, ids, needs), batch.warnings


class _Batch:
    def __init__(self, project: Project, path: str, defaults: Mapping[str, Plain], environ: Mapping[str, str]) -> None:
        self.project, self.path, self.defaults, self.environ = project, path, defaults, environ
        self.named: list[_Named] = []
        self.names: dict[str, int] = {}
        self.titles: dict[str, int | None] = {}
        self.warnings: list[str] = []
        self.pipelines: dict[str, str] = {}
        self.existing: dict[str, str] = {}

    def learn(self, raw: bytes) -> None:
        """Read and check each task by itself. Raises Invalid."""
        faults: list[tuple[Item, Problem]] = []
        for item in items(raw, self.path):
            data, names = self.split(item.data)
            task, problems = build_task({"id": "KIN-1", **data})
            if task is not None:
                problems = [*self.faults(data, task), *self.name(names, task, "id" in data, item.begins)]
                self.warnings += self.misspelled(item, data)
            faults += [(item, problem) for problem in problems]
            if len(faults) >= MOST:
                break
        if faults:
            told = [f"{place_in(item, self.path, problem.path)}: {problem.message}" for item, problem in faults]
            item, problem = faults[0]
            hint = f"and {len(told) - 1} more; nothing was added" if len(told) > 1 else "nothing was added"
            raise Invalid(problem.message, hint, place_in(item, self.path, problem.path), problems=told)
        if not self.named:
            raise Usage(f"{self.path} holds no task", "`kin add --help` shows what it may hold")

    def split(self, said: dict[str, Plain]) -> tuple[dict[str, Plain], list[str]]:
        """The task's own keys over the defaults, and what others may call it: its `ref`, its `id`, which need not be one."""
        own = {key if _SPELLED.get(key, key) in said else _SPELLED.get(key, key): value for key, value in said.items()}
        ref, said_id = own.pop("ref", None), own.pop("id", None)
        names = dict.fromkeys(name for name in (ref, said_id) if isinstance(name, str))
        if isinstance(said_id, str) and TASK_ID.fullmatch(own_id := said_id.strip().upper()) and own_id[:2] != "D-":
            own["id"] = own_id
            names[own_id] = None
        return {key: value for key, value in {**self.defaults, **own}.items() if value is not None}, list(names)

    def faults(self, data: Mapping[str, Plain], task: Task) -> Iterator[Problem]:
        """What a person could not have typed either."""
        for key in ("depends_on", "acceptance"):
            if isinstance(held := data.get(key), list) and None in held:
                yield Problem((key,), f"{key} holds an empty item; in YAML a `#` begins a comment: quote what begins with one")
        if task.status == TaskStatus.review:
            yield Problem(("status",), "only a run sets the status review; make it todo")
        if len(repr(data)) > LARGEST // 6 and _is_too_large(emit.document(data_of(task), TASK_KEYS)):
            yield Problem((), _TOO_LARGE)
        if task.budget is not None:
            from kin.model.settings import Budget, problems_in

            yield from (p._replace(path=("budget", *p.path)) for p in problems_in(Budget, task.budget))
        if task.pipeline is not None:
            key = repr(task.pipeline)
            if key not in self.pipelines:
                self.pipelines[key] = config.fault_of_pipeline(self.project, task.pipeline, self.environ)
            if said := self.pipelines[key]:
                yield Problem(("pipeline",), said)

    def name(self, names: Sequence[str], task: Task, insists: bool, line: int) -> Iterator[Problem]:
        """Learn what a task is called."""
        for name in names:
            if self.names.setdefault(name, len(self.named)) != len(self.named):
                yield Problem(("ref",), f"two tasks of the stream are called '{name}'")
        self.titles[task.title] = None if task.title in self.titles else len(self.named)
        self.named.append(_Named(task.id if insists else None, task.title, task.depends_on, task.parent, line))

    def misspelled(self, item: Item, data: Mapping[str, Plain]) -> Iterator[str]:
        for keys, meant in near_misses(Task, data) if len(self.warnings) < MOST else ():
            yield f"{place_in(item, self.path, keys)}: `{dotted(keys)}` is no key that kin knows; did you mean `{meant}`?"

    def fault(self, number: int, words: str, hint: str = "") -> Invalid:
        hint = f"{hint}; nothing was added" if hint else "nothing was added"
        return Invalid(words, hint, Place(self.path, self.named[number].line))

    def needs(self, number: int) -> tuple[list[int | str], int | str | None]:
        """What a task depends on and its parent: numbers of the stream's tasks, ids of others. Raises Invalid."""
        one = self.named[number]
        parent = self.meant(number, one.parent) if one.parent is not None else None
        return [self.meant(number, word) for word in one.depends_on], parent

    def meant(self, number: int, word: str) -> int | str:
        """The task that a word means: one of the stream by `ref`, id, title or `#<place>`, else one that is there."""
        if word in self.names:
            return self.names[word]
        if word in self.titles:
            if (found := self.titles[word]) is None:
                raise self.fault(number, f"several tasks of the stream are called '{word}'", "give them a `ref:`")
            return found
        if word[:1] == "#" and word[1:].isdecimal() and 1 <= int(word[1:]) <= len(self.named):
            return int(word[1:]) - 1
        if word not in self.existing:
            try:
                self.existing[word] = tasks.resolve(self.project, word)
            except NotFound:
                raise self.fault(number, f"it needs '{word}', which is no task here nor in the stream") from None
        return self.existing[word]

    def refuse_circles(self, needs: Sequence[tuple[list[int | str], int | str | None]]) -> None:
        """Raise Invalid if tasks of the stream would wait for one another; a parent waits for its parts."""
        waits: dict[str, list[tuple[str, str]]] = {}
        for number, (others, parent) in enumerate(needs):
            waits.setdefault(str(number), []).extend((str(o), "depends on") for o in others if isinstance(o, int))
            if isinstance(parent, int):
                waits.setdefault(str(parent), []).append((str(number), "has the part"))
        for way in circles(waits):
            called = [(self.named[int(one)].title, how, self.named[int(other)].title) for one, how, other in way]
            words = ", ".join(f"'{one}' {how} '{other}'" for one, how, other in called)
            raise self.fault(int(way[0][0]), f"tasks wait for one another: {words}")

    def take_ids(self) -> list[str]:
        """The ids of all: those insisted on, and new ones. Raises Invalid for one that is taken."""
        there = {identity(one): one for one in tasks.ids(self.project)}
        for number, one in enumerate(self.named):
            if one.own_id is not None:
                if other := there.get(identity(one.own_id)):
                    raise self.fault(number, f"{other} is there already", "without `id` it gets a new one")
                there[identity(one.own_id)] = one.own_id
        key = config.quick(self.project).key
        new: list[str] = []
        while missing := sum(one.own_id is None for one in self.named) - len(new):
            new += [i for i in numbers.new_ids(self.project, key, "tasks", missing) if identity(i) not in there]
        rest = iter(new)
        return [one.own_id or next(rest) for one in self.named]

    def texts(
        self, raw: bytes, ids: Sequence[str], needs: Sequence[tuple[list[int | str], int | str | None]]
    ) -> Iterator[tuple[str, str]]:
        """The path and content of each file. Raises Invalid for one that would be too large."""
        head = schemas.first_line(self.project, "task")
        for number, item in enumerate(items(raw, self.path)):
            others, parent = needs[number]
            data = self.split(item.data)[0] | {
                "id": ids[number],
                "depends_on": [ids[o] if isinstance(o, int) else o for o in others],
                "parent": ids[parent] if isinstance(parent, int) else parent,
            }
            task, problems = build_task({key: value for key, value in data.items() if value is not None})
            if task is None:
                raise self.fault(number, problems[0].message)
            content = emit.document(data_of(tasks.canonical(task)), TASK_KEYS, head=head)
            if _is_too_large(content):
                raise self.fault(number, _TOO_LARGE)
            yield tasks.task_path(self.project, task.id), content


def _is_too_large(content: str) -> bool:
    return len(content) > LARGEST or len(content.encode()) > LARGEST


def write(project: Project, texts: Iterable[tuple[str, str]], total: int, tick: Tick | None = None) -> None:
    """Write new tasks' files, all or none: they are gathered in a folder, which gets another name once it holds all.

    Killed before that, none is there; killed after it, `finish` puts the rest in place. Raises Usage if a name is taken.
    """
    if not total:
        return
    folder = files.inside(project, os.path.join(project.store, "tasks"))
    gathering, whole = os.path.join(folder, files.GATHERING), os.path.join(folder, files.WHOLE)
    with locks.wait_lock(locks.lock_path(project.common, "add"), PATIENCE, what="adding many tasks"):
        _finish(folder)
        try:
            for number, (path, content) in enumerate(texts, 1):
                files.write_new(os.path.join(gathering, os.path.basename(path)), content, synced=False)
                if tick is not None:
                    tick(number, total)
            names = os.listdir(gathering)
            if not all(_is_free(os.path.join(gathering, name), os.path.join(folder, name)) for name in names):
                raise Usage("somebody took one of the ids meanwhile; nothing was added", "try again")
        except BaseException as error:
            shutil.rmtree(gathering, ignore_errors=True)  # what stays is never read, and the next one removes it
            if isinstance(error, OSError):
                raise Invalid(f"cannot be written: {error.strerror}", "nothing was added", Place(folder)) from error
            raise
        try:
            files.rename_whole(gathering, whole)
            taken = _finish(folder)
        except OSError as error:
            hint = "after `kin doctor --fix` all of them are there, or none"
            raise Invalid(f"new tasks cannot be put in place: {error.strerror}", hint, Place(folder)) from error
        if taken:
            raise Busy(f"somebody wrote {taken[0]} in the same moment; the others were added", "add that one again")


def finish(project: Project) -> list[str]:
    """End what a killed `write` began, unless one is at work; a line that says so."""
    folder = os.path.join(project.store, "tasks")
    left = [name for name in (files.GATHERING, files.WHOLE) if os.path.isdir(os.path.join(folder, name))]
    if not left or not (held := locks.try_lock(locks.lock_path(project.common, "add"))):
        return []
    with held:
        _finish(folder)
    return [f"a `kin add --file` was cut short: {'all its tasks are there now' if files.WHOLE in left else 'none was added'}"]


def _finish(folder: str) -> list[str]:
    """Remove what is not whole, put what is whole in place; names that others have taken."""
    gathering, whole = os.path.join(folder, files.GATHERING), os.path.join(folder, files.WHOLE)
    if os.path.isdir(gathering):
        shutil.rmtree(gathering)
    if not os.path.isdir(whole):
        return []
    taken = [name for name in sorted(os.listdir(whole)) if not _put(os.path.join(whole, name), os.path.join(folder, name))]
    files.sync_folder(whole)
    shutil.rmtree(whole)
    return taken


def _put(mine: str, path: str) -> bool:
    """Give a file its place; False if another one is there."""
    faults.point("bulk.put")
    try:
        os.link(mine, path)
    except FileExistsError:  # put there before the kill, if it is the same
        return filecmp.cmp(mine, path, shallow=False)
    except PermissionError:  # a file system without hard links: who takes the name between these two lines loses his file
        if os.path.lexists(path):
            return filecmp.cmp(mine, path, shallow=False)
        os.rename(mine, path)
    return True


def _is_free(mine: str, path: str) -> bool:
    return not os.path.lexists(path) or filecmp.cmp(mine, path, shallow=False)
