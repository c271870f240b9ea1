"""`kin edit`: a task in the person's editor, checked on leaving; whatever happens, nothing that they wrote is lost."""

import os
from contextlib import suppress

from kin.cli.editor import edit_copy, forget
from kin.cli.listing import entry
from kin.cli.output import Call, Result
from kin.errors import Busy, Invalid, KinError, Place, Usage
from kin.model.fields import Plain
from kin.model.status import check_hand_move
from kin.store.config import refuse_newer_format
from kin.store.files import edit_file, read_text
from kin.store.tasks import parse, resolve, task_path
from kin.store.text.reader import read
from kin.store.text.splice import Remove, Set, edit


def edit_(call: Call) -> Result:
    """Edit a copy of the task's file; put it in place if it is valid and nobody changed the same keys meanwhile."""
    project = call.project
    refuse_newer_format(project)
    task_id = resolve(project, call["id"])
    path = task_path(project, task_id)
    shown = os.path.relpath(path, project.root)
    before = read_text(path, shown)
    copy = edit_copy(project, f"{task_id}.yaml", before, call.environ)
    after = read_text(copy, copy)
    if after != before:
        try:
            _check(copy, before, after, task_id)
            edit_file(project, path, lambda now: after if now == before else _together(before, after, now, shown))
        except KinError as error:
            kept = f"the task is unchanged, what you wrote is in {copy}"
            error.hint = "; ".join(filter(None, (error.hint, kept)))
            error.data["kept"] = copy
            raise
    forget(copy)
    said = f"{task_id}: nothing changed" if after == before else f"{task_id}  {shown}"
    return Result("task", lambda: entry(call.task()[0]), [said], brief=())


def _check(copy: str, before: str, after: str, task_id: str) -> None:
    """Raise Invalid with a place in `copy`, or Usage for a move that a person may not make."""
    task = parse(after, copy)
    if task.id != task_id:
        raise Usage(f"the id of {task_id} cannot be changed: it is the file's name")
    with suppress(Invalid):  # it was broken before: being mended is what this edit is for
        check_hand_move(task_id, parse(before, copy).status, task.status)


def _together(before: str, mine: str, theirs: str, shown: str) -> str:
    """Their keys put into my text, which keeps my comments and order. Raises Busy if we changed the same key."""
    old, ours, other = (read(text, shown) for text in (before, mine, theirs))
    changed = _changed(old, other)
    clash = [key for key in changed if key in _changed(old, ours) and ours.get(key) != other.get(key)]
    if clash:
        key = clash[0]
        raise Busy(
            f"{key} was changed meanwhile to '{other.get(key)}', you wrote '{ours.get(key)}'", where=Place(shown), keys=clash
        )
    return edit(mine, [Set((key,), other[key]) if key in other else Remove((key,)) for key in changed], path=shown)


def _changed(old: dict[str, Plain], new: dict[str, Plain]) -> list[str]:
    return [key for key in {**old, **new} if old.get(key) != new.get(key) or (key in old) != (key in new)]
