"""Which tasks may change the same files, by the map of modules in `.kin/modules.yaml`."""

from collections.abc import Iterable

from kin.model.globs import meet
from kin.model.module import MODULES, touched_by
from kin.model.task import Task
from kin.store import entries
from kin.store.project import Project


def meeting(project: Project, task: Task, others: Iterable[Task]) -> list[str]:
    """The ids of those of `others` that may change the same files as `task`: by `touches`, else by their modules' globs."""
    others = list(others)
    by_module = any(one.module and not one.touches for one in (task, *others))
    known = entries.load(project, MODULES).found.values() if others and by_module else ()
    mine = touched_by(task, known)
    return [other.id for other in others if meet(mine, touched_by(other, known))]
