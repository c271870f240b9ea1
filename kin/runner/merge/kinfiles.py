"""How the files of the store that a merge brings reach index and checkout beside a person's edits of the very same files.

git never moves them. A task's file gets one edit of its status, in the staged text and in the working copy alike, so what a
person changed in either survives and shows as theirs (rule 10). Other files are written where they are missing and removed
where nobody changed them; anything else is in the way. All is planned before anything changes, and the plan is journalled.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from kin import git
from kin.errors import Busy, KinError
from kin.git import Change, TreeEntry
from kin.model.status import TaskStatus, may_move
from kin.runner.merge.diffs import entry_at
from kin.runner.merge.taskfile import Standing, standing, task_path, with_standing
from kin.store import files
from kin.store.locks import store_lock
from kin.store.project import Project


class KinFile(NamedTuple):
    """One file's plan: the working copy before and after (None: no file), the index entry before and after."""

    path: str
    before: str | None
    after: str | None
    index_before: TreeEntry
    index_after: TreeEntry

    def to_data(self) -> list[Any]:
        return [self.path, self.before, self.after, *self.index_before, *self.index_after]

    @classmethod
    def from_data(cls, data: list[Any]) -> "KinFile":
        path, before, after, *index = data
        return cls(path, before, after, TreeEntry(*index[:2]), TreeEntry(*index[2:]))


class InTheWay(NamedTuple):
    """A file that stops the move, and why."""

    path: str
    why: str


def move_changes(work: str, old: str, new: str, task_id: str) -> list[Change]:
    """Every path that a move from `old` to `new` is about: what differs, and the task's own file in any case.

    Where a task that was done is reopened by hand and run again, both commits say `done`, and the working copy does not.
    """
    found, path = git.changes(work, old, new), task_path(task_id)
    if all(change.path != path for change in found) and (entry := entry_at(work, new, path)):
        found.append(Change(path, entry, entry))
    return found


def is_task_file(path: str) -> bool:
    """Whether a path is a task's, which kin edits by its status and never as a whole."""
    return path.startswith(".kin/tasks/") and path.endswith(".yaml")


def plan(
    work: str, changes: Iterable[Change], staged: Mapping[str, TreeEntry], task_id: str, run_id: str, hidden: frozenset[str]
) -> tuple[list[KinFile], list[InTheWay]]:
    """What becomes of the store's files among `changes` in worktree `work`, and what stops it.

    `staged` are index entries that differ from the old commit; `hidden` paths have no files (sparse checkout).
    """
    planned, blocked = [], []
    found = [(change, staged.get(change.path, change.old)) for change in changes]
    wanted = sorted({e.oid for change, index in found for e in (change.old, change.new, index) if e.there})
    held = dict(zip(wanted, git.blobs(work, wanted), strict=True))
    for change, index in found:
        try:
            if is_task_file(change.path) and change.new.there and (change.old.there or change.path == task_path(task_id)):
                planned.append(_plan_task(work, held, change, index, change.path in hidden))
            else:
                own = change.path == f".kin/pipelines/{task_id}/{run_id}.yaml"  # kin's alone: its earlier version gives way
                planned.append(_plan_other(work, held, change, index, own, change.path in hidden))
        except KinError as error:
            blocked.append(InTheWay(change.path, error.message))
    return planned, blocked


def _plan_task(work: str, held: Mapping[str, bytes], change: Change, index: TreeEntry, hidden: bool) -> KinFile:
    new = held[change.new.oid]
    wanted = standing(new, change.path)
    index_after = index
    if index in (change.old, change.new):
        index_after = change.new
    elif index.there:
        text = moved_on(held[index.oid], wanted, f"{change.path} (staged)")
        index_after = TreeEntry(index.mode, git.hash_object(work, text))
    if hidden:
        return KinFile(change.path, None, None, index, index_after)
    raw = _file(work, change.path)
    if raw is None:  # deleted by hand where the target holds it: it stays deleted, as any other edit stays
        return KinFile(change.path, None, None if change.old.there else _text(new), index, index_after)
    return KinFile(change.path, _text(raw), _text(moved_on(raw, wanted, change.path)), index, index_after)


def moved_on(raw: bytes, wanted: Standing, path: str) -> bytes:
    """A task's text with its new status. Raises Busy if the status that it has forbids the move: the file is the word."""
    now = standing(raw, path)
    # only an undo brings `todo`: a person's own word, and by hand every status may become it
    if now != wanted and not may_move(now.status, wanted.status, by_kin=wanted.status is not TaskStatus.todo):
        raise Busy(f"the file says `{now.status}`, which does not become `{wanted.status}`")
    return with_standing(raw, wanted, path)


def _plan_other(work: str, held: Mapping[str, bytes], change: Change, index: TreeEntry, own: bool, hidden: bool) -> KinFile:
    if index not in (change.old, change.new):
        raise Busy("another version of it is staged")
    raw = None if hidden else _file(work, change.path)
    new, old = (None if hidden else held.get(entry.oid) for entry in (change.new, change.old))
    if raw is not None and not own and not any(_same(raw, known) for known in (old, new)):
        raise Busy("another version of it is there")
    after = raw if new is not None and raw is not None and _same(raw, new) else new
    return KinFile(change.path, _text(raw), _text(after), index, change.new)


def _same(raw: bytes, blob: bytes | None) -> bool:
    return blob is not None and (raw == blob or raw.replace(b"\r\n", b"\n") == blob)


def _file(work: str, path: str) -> bytes | None:
    """A working copy's content, None if there is none. Raises Busy if something else than a file is in its place."""
    full = os.path.join(work, path)
    try:
        return files.read_stamped(full)[0]
    except FileNotFoundError:
        if os.path.islink(full):
            raise Busy("a dead symbolic link is in its place") from None
        return None
    except (IsADirectoryError, NotADirectoryError):
        raise Busy("something that is no file is in its place") from None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "surrogateescape")


def apply(project: Project, work: str, planned: Iterable[KinFile]) -> None:
    """Bring the working copies to their new state. Raises Busy if one was changed so that it stops the move.

    A task's edit is made on the text that its file has now, under the store's lock: a save since the plan is not lost.
    """
    here = project._replace(root=work, store=os.path.join(work, ".kin"))
    for file in planned:
        if file.before == file.after:
            continue
        if file.before is not None and file.after is not None and is_task_file(file.path):
            files.edit_file(here, os.path.join(work, file.path), _to_standing_of(file.after, file.path))
        else:
            _write(here, file.path, file.before, file.after)


def _write(here: Project, path: str, old: str | None, new: str | None) -> None:
    """Make a file that is `old` (None: not there) `new`. Raises Busy if it is something else by now."""
    full = os.path.join(here.root, path)
    if new is None:
        files.remove_file(here, full)
    elif old is not None:
        files.replace(here, full, new, expect=old.encode("utf-8", "surrogateescape"))
    else:
        try:
            files.write_new(full, new)
        except FileExistsError:
            raise Busy(f"{path} appeared meanwhile") from None


def _to_standing_of(after: str, path: str) -> Callable[[str], str]:
    wanted = standing(after.encode(), path)
    return lambda text: moved_on(text.encode(), wanted, path).decode()


def restore(project: Project, work: str, planned: Iterable[KinFile], *, forward: bool) -> list[str]:
    """Bring working copies to `after` (forward) or `before`, wherever a killed move left them; paths that were left alone.

    May be killed and called again: a file that is neither as before nor as after was changed by a person since, and only its
    status is put right.
    """
    here = project._replace(root=work, store=os.path.join(work, ".kin"))
    left = []
    for file in planned:
        _drop_temporary(here, file)
        start, end = (file.before, file.after) if forward else (file.after, file.before)
        if start == end:
            continue
        try:
            if not _restore(here, file, start, end):
                left.append(file.path)
        except KinError as error:
            left.append(f"{file.path} ({error.message})")
    return left


def _restore(here: Project, file: KinFile, start: str | None, end: str | None) -> bool:
    full = os.path.join(here.root, file.path)
    now = _text(_file(here.root, file.path))
    if now == end:
        return True
    if now == start:
        _write(here, file.path, now, end)
        with suppress(OSError):
            os.removedirs(os.path.dirname(full))  # as far as they are empty
        return True
    if now is None or start is None or end is None or not is_task_file(file.path):
        return False
    went, goes = standing(start.encode(), file.path), standing(end.encode(), file.path)

    def status_back(text: str) -> str:
        raw = text.encode()
        return with_standing(raw, goes, file.path).decode() if standing(raw, file.path).status == went.status else text

    files.edit_file(here, full, status_back)
    return True


def _drop_temporary(here: Project, file: KinFile) -> None:
    """Remove what a write that was killed left beside the file, if it holds nothing but what kin itself put there."""
    tmp = os.path.join(here.root, os.path.dirname(file.path), files.TEMPORARY)
    with store_lock(here.common), suppress(FileNotFoundError, NotADirectoryError):
        left = _text(files.read_stamped(tmp)[0]) or ""
        if any(known is not None and known.startswith(left) for known in (file.before, file.after)):
            os.unlink(tmp)
