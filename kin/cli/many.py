"""What `kin set` does to many tasks: which are selected, what would change in each, and the question before it happens."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from kin.cli.output import Call
from kin.cli.screen import clean
from kin.errors import NotFound, Usage
from kin.model.fields import Plain, dotted, value_at
from kin.model.ids import sort_key
from kin.model.spelling import spellings
from kin.model.status import TaskStatus, check_hand_move
from kin.model.task import Task

if TYPE_CHECKING:
    from kin.store.project import Project
    from kin.store.text.splice import Change

MANY = 20
"""Tasks that are changed without a question, where somebody can be asked."""


class Edit(NamedTuple):
    """A value of a task that would be another; None: no such key. `key` is dotted."""

    task: str
    key: str
    old: Plain
    new: Plain


def select(call: Call, words: Iterable[str]) -> list[str]:
    """The ids of the tasks that pass all filters (`label:backend`), as `kin list` takes them: only open ones, unless a status
    is asked for. Raises NotFound if none does, Usage for a filter that says nothing.
    """
    from kin.cli import listing
    from kin.store.config import quick
    from kin.store.view import see

    wanted: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition(":")
        if not value.strip(", ") and name != "assignee":  # would be no filter, and all tasks would change
            raise Usage(f"'{word}' says no {name}", f"{name}:WORD; only `assignee:` may be empty, for nobody")
        wanted[name] = value if name == "assignee" else (*wanted.get(name, ()), value)
    found = listing.select(see(call.project, bodies=False), wanted, quick(call.project).key)
    if not found:
        raise NotFound(f"no task fits {' '.join(words)}", "`kin list` takes the same filters as options")
    return sorted((seen.task.id for seen in found), key=sort_key)


def planned(project: "Project", ids: Sequence[str], changes: "Sequence[Change]") -> list[Edit]:
    """What the changes would do to each file. Raises Usage for a move of status that is refused, Invalid for a file that cannot
    be read, before anything is written.
    """
    from kin.store.tasks import load
    from kin.store.text.reader import read
    from kin.store.text.splice import Set, meant

    names = spellings(Task)
    edits: list[Edit] = []
    for task_id in ids:
        task, text = load(project, task_id)
        old: Plain = {names.get(key, key): value for key, value in read(text, "").items()}
        new = reduce(meant, changes, old)
        for path in dict.fromkeys(change.path for change in changes):
            before, after = value_at(old, path), value_at(new, path)
            if before != after:
                edits.append(Edit(task_id, dotted(path), before, after))
        for change in changes:
            if change.path == ("status",) and isinstance(change, Set):
                check_hand_move(task_id, task.status, TaskStatus(change.value))
    return edits


def lines(edits: Iterable[Edit]) -> Iterator[str]:
    """Each edit for a person."""
    for edit in edits:
        yield clean(f"{edit.task}  {edit.key}: {_shown(edit.old)} -> {_shown(edit.new)}")


def agreed(call: Call, edits: Sequence[Edit]) -> bool:
    """Whether so many files may change: yes, unless somebody can be asked and says no to the summary."""
    tasks = {edit.task for edit in edits}
    if len(tasks) <= MANY or not call.screen.may_ask:
        return True
    counted = Counter(f"{edit.key}: {_shown(edit.old)} -> {_shown(edit.new)}" for edit in edits)
    for words, number in counted.most_common(10):
        call.screen.err.write(clean(f"{number:6,}  {words}\n"))
    if len(counted) > 10:
        call.screen.err.write(f"        and {len(counted) - 10:,} other changes\n")
    return call.screen.ask(f"Change {len(tasks):,} files?")


def _shown(value: Plain) -> str:
    if value is None:
        return "nothing"
    return ", ".join(map(str, value)) if isinstance(value, list) else " ".join(str(value).split())[:60]
