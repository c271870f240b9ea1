"""The optional files of named entries in `.kin/`: read whole, changed entry by entry."""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kin.errors import Invalid, NotFound
from kin.model.fields import Problem
from kin.store import config, emit, files, reader, splice
from kin.store.project import STORE, Project

T = TypeVar("T")


def load(
    project: Project, file: str, made: Callable[[Mapping[str, Any]], tuple[list[T], list[Problem]]]
) -> tuple[list[T], list[Invalid]]:
    """The entries that `made` finds in the file, and what is wrong with the rest of it; none if there is no file."""
    path, shown = os.path.join(project.store, file), f"{STORE}/{file}"
    if not os.path.exists(path):
        return [], []
    try:
        text = files.read_text(path, shown)
        found, wrong = made(reader.read(text, shown, reader.RECORD_BOUNDS))
    except NotFound:
        return [], []
    except Invalid as error:
        return [], [error]
    return found, [Invalid(p.message, "", reader.place_of(text, shown, p.path, reader.RECORD_BOUNDS)) for p in wrong]


def put(project: Project, file: str, name: str, entry: Mapping[str, Any]) -> None:
    """Add an entry, or change one; comments and all else stay. The caller has checked that it fits."""
    config.refuse_newer_format(project)
    path = os.path.join(project.store, file)
    try:
        files.add_file(project, path, emit.document({name: dict(entry)}))
    except FileExistsError:
        _edit(project, file, [splice.Set((name,), dict(entry))])


def drop(project: Project, file: str, name: str) -> None:
    """Take an entry away; the file, if it was the last. Raises NotFound if there is none."""
    config.refuse_newer_format(project)
    shown, path = f"{STORE}/{file}", os.path.join(project.store, file)
    held = reader.read(files.read_text(path, shown), shown, reader.RECORD_BOUNDS)
    if name not in held:
        raise NotFound(f"there is no {name} in {shown}")
    if len(held) == 1:
        files.remove_file(project, path)
    else:
        _edit(project, file, [splice.Remove((name,))])


def _edit(project: Project, file: str, changes: list[splice.Set] | list[splice.Remove]) -> None:
    shown = f"{STORE}/{file}"

    def change(text: str) -> str:
        return splice.edit(text, changes, order=(), aliases={}, path=shown, bounds=reader.RECORD_BOUNDS)

    files.edit_file(project, os.path.join(project.store, file), change)
