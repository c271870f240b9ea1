"""The store's own files of a task after a merge into a branch that is checked out elsewhere, or nowhere.

The code is not where the store is, so the task must not look finished or waiting there: kin's own `review` or `blocked` goes
back to `todo`, and its untracked records and notes, which the merge brought to the target, go. What stayed would also make
`git switch` refuse, even the very same content. Views say `todo (done on main)`.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kin import git
from kin.errors import Busy, Invalid
from kin.model.status import TaskStatus
from kin.runner.merge.build import home
from kin.runner.merge.taskfile import Standing, standing, task_path, with_standing
from kin.store import files, journal, records
from kin.store.project import Project

OWED = "status edit"
"""Kind of the journal entries for edits that had to be put off."""
_KINS = (TaskStatus.review, TaskStatus.blocked)


def settle(project: Project, entry: dict[str, Any]) -> None:
    """Settle after the move of journal `entry`, or write down that it is owed: git or an editor may be at it just now."""
    if project.root and entry["path"] != project.root and not _try(project, entry):
        owed = {"kind": OWED, "task": entry["task"], "run": entry["run"], "ref": entry["ref"], "new": entry["new"]}
        journal.write(project, f"settle-{entry['task']}", owed)


def settle_owed(project: Project, owed: dict[str, Any]) -> str | None:
    """Make an edit that is owed, if it still is; a line if it cannot be made yet."""
    live = records.live(project, owed["task"])
    since = live is not None and live.run != owed["run"]  # another run has written the status that stands there now
    if not since and git.head_ref(project.root) != owed["ref"] and not _try(project, owed):
        return f"{owed['task']}: its file is to say `todo` once git or an editor is done with it"
    journal.remove(project, f"settle-{owed['task']}")
    return None


def _try(project: Project, entry: dict[str, Any]) -> bool:
    """Whether the files are as they should be, or a person's own affair."""
    path = task_path(entry["task"])
    full = os.path.join(project.root, path)
    try:
        doubles = list(_doubles(project, entry))
        edit = _is_to_go_back(project, entry["new"], path)
        if (doubles or edit) and git.under_way(project.gitdir):
            return False
        for double in doubles:
            files.remove_file(project, double)
            with suppress(OSError):
                os.removedirs(os.path.dirname(double))  # as far as they are empty
        if edit:
            files.edit_file(project, full, lambda text: _back(text, path))
    except (Busy, Invalid):
        return False
    return True


def _is_to_go_back(project: Project, new: str, path: str) -> bool:
    full = os.path.join(project.root, path)
    if not os.path.exists(full) or standing(files.read_stamped(full)[0], path).status not in _KINS:
        return False
    brought = git.blob(home(project), new, path)
    # a state other than `done` that was committed holds for the store too
    return brought is not None and standing(brought, path).status is TaskStatus.done


def _doubles(project: Project, entry: dict[str, Any]) -> Iterator[str]:
    """The task's untracked records and notes that the new commit holds, but for those that a person has changed since."""
    task = entry["task"]
    folders = [f".kin/{kind}/{task}" for kind in ("pipelines", "notes")]
    if not any(os.path.isdir(os.path.join(project.root, folder)) for folder in folders):
        return
    held = git.git(home(project), "ls-tree", "-r", "-z", "--name-only", entry["new"], "--", *folders).out.split(b"\0")
    tracked = git.git(project.root, "ls-files", "-z", "--", *folders).out.split(b"\0")
    for path in map(os.fsdecode, set(held).difference(tracked)):
        full = os.path.join(project.root, path)
        own = path == f".kin/pipelines/{task}/{entry['run']}.yaml"  # kin's alone: its earlier version gives way
        if os.path.isfile(full) and (own or files.read_stamped(full)[0] == git.blob(home(project), entry["new"], path)):
            yield full


def _back(text: str, path: str) -> str:
    raw = text.encode()
    return with_standing(raw, Standing(TaskStatus.todo), path).decode() if standing(raw, path).status in _KINS else text
