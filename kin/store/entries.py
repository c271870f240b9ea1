"""The optional files of named entries (`links.yaml`, `environments.yaml`): `name: {key: value}`, or `name: value`."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from kin.errors import Invalid, NotFound, Usage
from kin.model.fields import build
from kin.store import config, emit, files, reader, splice
from kin.store.project import STORE, Project

T = TypeVar("T")


def load(project: Project, file: str, model: type[T], short: str) -> tuple[dict[str, T], list[Invalid]]:
    """The entries by name as `model`, and what is wrong with the others; `short` is the key that a bare value means."""
    shown = f"{STORE}/{file}"
    try:
        text = files.read_text(os.path.join(project.store, file), shown)
        data = reader.read(text, shown, reader.RECORD_BOUNDS)
    except NotFound:
        return {}, []
    except Invalid as error:
        return {}, [error]
    found: dict[str, T] = {}
    wrong: list[Invalid] = []
    for name, said in data.items():
        entry, problems = build(model, {**(said if isinstance(said, dict) else {short: said}), "name": name})
        if entry is not None:
            found[name] = entry
        for problem in problems:
            keys = (name, *(problem.path if isinstance(said, dict) and problem.path != ("name",) else ()))
            wrong.append(Invalid(problem.message, "", reader.place_of(text, shown, keys, reader.RECORD_BOUNDS)))
    return found, wrong


def put(project: Project, file: str, name: str, entry: Mapping[str, Any], model: type[Any]) -> None:
    """Add an entry, or change one's keys; comments and all else stay. Raises Usage for values that do not fit."""
    config.refuse_newer_format(project)
    made, problems = build(model, {**entry, "name": name})
    if made is None:
        raise Usage(f"{name}: {problems[0].message}")
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
