"""What a list shows while nothing runs: the open tasks as the index tells them, without making a task of any.

It stands apart from kin.store.tasks and kin.store.view so that a plain list imports neither them nor the models: 7 ms.
"""

import os
from typing import NamedTuple

from kin.store import index, locks
from kin.store.project import Project, branch_here

MANY = 1000
"""Open tasks whose files a TAB looks at."""


class Resting(NamedTuple):
    """What is seen of the open tasks while none of them runs: columns in ready order, and the targets that tasks name.

    `labels`, `modules` and `assignees` are those of all tasks.
    `settings` is the content of the kin.yaml that `base` was read from; empty if it could not be read as a whole.
    """

    ids: list[str]
    statuses: list[str]
    priorities: list[str]
    titles: list[str]
    bases: list[str]
    labels: list[str]
    modules: list[str]
    assignees: list[str]
    settings: bytes
    base: str | None
    warnings: tuple[str, ...] = ()


def resting(project: Project) -> Resting | None:
    """The open tasks, if the index tells all that `kin.store.view.see` would, else None: no file changed, nothing runs or
    waits, and no task's target is another branch than the one checked out here.
    """
    folder = os.path.join(project.store, "tasks")
    told = index.digest(folder, index.cache_path(project.common, folder))
    if told is None or (found := Resting(*told)).bases:
        return None
    if not found.settings or found.settings != settings_now(project):
        from kin.store import config

        quick = config.quick(project)
        found = found._replace(base=quick.base, warnings=quick.warnings)
    if found.base not in (None, branch_here(project)) or _has_records(os.path.join(project.common, "run")):
        return None
    held = locks.held_names(project.common)
    return None if (held | locks.queued(held)).intersection(found.ids) else found


def hints(project: Project) -> tuple[Resting, list[str]] | None:
    """What the index remembers, though files may have changed since, and the ids that are new; None if there are too few
    files to save the time of looking at them. For a TAB, on which nothing acts.
    """
    folder = os.path.join(project.store, "tasks")
    told, new, gone = index.remembered(folder, index.cache_path(project.common, folder))
    if told is None or len((found := Resting(*told)).ids) < MANY or len(new) > index.WORTH_WRITING:
        return None
    if gone:
        there = [(i, title) for i, title in zip(found.ids, found.titles, strict=True) if f"{i}.yaml" not in gone]
        found = found._replace(ids=[i for i, _ in there], titles=[title for _, title in there])
    return found, [name.removesuffix(".yaml") for name in sorted(new)]


def settings_now(project: Project) -> bytes:
    """The content of kin.yaml, empty if there is none that can be read."""
    try:
        # Without waiting and not for ever: a clone may hold a link to a pipe or a device in its place.
        with open(os.path.join(project.store, "kin.yaml"), "rb", opener=lambda p, f: os.open(p, f | os.O_NONBLOCK)) as file:
            return file.read(1 << 20)
    except OSError:
        return b""


def _has_records(folder: str) -> bool:
    try:
        with os.scandir(folder) as tasks:
            return any(os.listdir(task.path) for task in tasks if task.is_dir())
    except FileNotFoundError:
        return False
