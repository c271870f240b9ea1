"""A module: a part of the code that has a name, so that tasks, decisions and roles can speak of it."""

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

from kin.model.entries import Kind
from kin.model.fields import Field, at_most_one_line, words
from kin.model.fields import text as any_text
from kin.model.globs import covers, fixed_part, meet
from kin.model.task import Task

NAME = at_most_one_line(200)


class Module(NamedTuple):
    """An entry of modules.yaml. `paths` are globs from the repository's root."""

    name: Annotated[str, Field("Its name, the key in the file", NAME)]
    paths: Annotated[tuple[str, ...], Field("Path globs that are its files", words)] = ()
    purpose: Annotated[str, Field("What it is for, in a sentence", any_text)] = ""
    owner: Annotated[str | None, Field("The role that looks after it", at_most_one_line(60))] = None
    extra: dict[str, Any] = {}


MODULES = Kind("modules.yaml", Module, "paths")


def which(modules: Iterable[Module], path: str) -> list[Module]:
    """The modules that the file or folder at `path` belongs to, the closest first."""
    close = [(max((len(fixed_part(g)) for g in m.paths if covers(g, path)), default=-1), m) for m in modules]
    return [module for length, module in sorted(close, key=lambda one: -one[0]) if length >= 0]


def touched_by(task: Task, modules: Iterable[Module]) -> tuple[str, ...]:
    """The path globs that a task may change: what it says, else its module's."""
    return task.touches or tuple(glob for module in modules if module.name == task.module for glob in module.paths)


def meeting(task: Task, others: Iterable[Task], modules: Iterable[Module]) -> list[str]:
    """The ids of those of `others` that may change the same files as `task`."""
    modules = tuple(modules)
    mine = touched_by(task, modules)
    return [other.id for other in others if meet(mine, touched_by(other, modules))]


def concerned(modules: Iterable[Module], task: Task, touched: Iterable[str]) -> list[Module]:
    """The task's own module, and those whose files it touches."""
    return [module for module in modules if module.name == task.module or meet(module.paths, touched)]
