"""The map of modules: `.kin/modules.yaml`, which part of the code has which name, purpose and owner."""

from collections.abc import Iterable

from kin.errors import Invalid
from kin.model.globs import meet
from kin.model.module import Module, build_modules, touched_by
from kin.model.task import Task
from kin.store import entries
from kin.store.project import STORE, Project

SHOWN = f"{STORE}/modules.yaml"


def load(project: Project) -> tuple[list[Module], list[Invalid]]:
    """The modules as the file lists them, and what is wrong with the rest of it; none if there is no file."""
    return entries.load(project, "modules.yaml", build_modules)


def text_of(modules: Iterable[Module]) -> str:
    """A modules.yaml of these."""
    from kin.store.emit import document

    said = ((one.name, {"paths": list(one.paths), "purpose": one.purpose, "owner": one.owner}) for one in modules)
    return document({name: {key: value for key, value in entry.items() if value} for name, entry in said})


def meeting(project: Project, task: Task, others: Iterable[Task]) -> list[str]:
    """The ids of those of `others` that may change the same files as `task`: by `touches`, else by their modules' globs."""
    others = list(others)
    by_module = any(one.module and not one.touches for one in (task, *others))
    known = load(project)[0] if others and by_module else []
    mine = touched_by(task, known)
    return [other.id for other in others if meet(mine, touched_by(other, known))]
