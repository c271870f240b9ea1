"""The optional files of named entries in `.kin/`: read whole, changed entry by entry."""

import os
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from kin.errors import Invalid, NotFound
from kin.model.entries import Kind
from kin.store import config, files, schemas
from kin.store.project import Project
from kin.store.text import emit, reader, splice

T = TypeVar("T")


class Entries(NamedTuple, Generic[T]):
    """The entries by name, in the file's order, and what is wrong: by the entry's name, under "" with the whole file."""

    found: dict[str, T]
    wrong: dict[str, list[Invalid]]

    @property
    def faults(self) -> list[str]:
        return [str(error) for errors in self.wrong.values() for error in errors]


def load(project: Project, kind: Kind[T]) -> Entries[T]:
    """What the file holds; nothing if there is none."""
    path, shown = _paths(project, kind)
    try:
        text = files.read_text(path, shown)
        found, problems = kind.build(reader.read(text, shown, reader.RECORD_BOUNDS))
    except NotFound:
        return Entries({}, {})
    except Invalid as error:
        return Entries({}, {"": [error]})
    wrong: dict[str, list[Invalid]] = {}
    for p in problems:
        where = reader.place_of(text, shown, p.path, reader.RECORD_BOUNDS)
        wrong.setdefault(str(p.path[0]), []).append(Invalid(p.message, "", where))
    return Entries(found, wrong)


def readable(project: Project, kind: Kind[T]) -> tuple[T, ...]:
    """The entries that can be read, in the file's order."""
    return tuple(load(project, kind).found.values())


def find(project: Project, kind: Kind[T], name: str) -> T:
    """An entry. Raises what is wrong with it or with the file, and NotFound if there is none."""
    found, wrong = load(project, kind)
    if name in found:
        return found[name]
    for error in (*wrong.get(name, ()), *wrong.get("", ())):
        raise error
    hint = f"one of {', '.join(found)}" if found else f"write {kind.shown}"
    raise NotFound(f"there is no {kind.stem.removesuffix('s')} '{name}'", hint)


def text_of(project: Project, kind: Kind[Any], said: Mapping[str, Mapping[str, Any]]) -> str:
    """A new file of these entries; what is empty is left out."""
    held = {name: {key: value for key, value in entry.items() if value and key in kind.order} for name, entry in said.items()}
    return emit.document(held, head=schemas.first_line(project, kind.stem, "."))


def put(project: Project, kind: Kind[Any], name: str, entry: Mapping[str, Any]) -> None:
    """Add an entry, or change one; comments and all else stay. The caller has checked that it fits."""
    config.refuse_newer_format(project)
    try:
        files.add_file(project, _paths(project, kind)[0], text_of(project, kind, {name: entry}))
    except FileExistsError:
        _edit(project, kind, [splice.Set((name,), dict(entry))])


def mark(project: Project, kind: Kind[Any], name: str, keys: Mapping[str, Any]) -> None:
    """Change these keys of an entry and nothing else."""
    config.refuse_newer_format(project)
    _edit(project, kind, [splice.Set((name, key), value) for key, value in keys.items()])


def drop(project: Project, kind: Kind[Any], name: str) -> None:
    """Take an entry away; the file, if it was the last. Raises NotFound if there is none."""
    config.refuse_newer_format(project)
    path, shown = _paths(project, kind)
    held = reader.read(files.read_text(path, shown), shown, reader.RECORD_BOUNDS)
    if name not in held:
        raise NotFound(f"there is no {name} in {shown}")
    if len(held) == 1:
        files.remove_file(project, path)
    else:
        _edit(project, kind, [splice.Remove((name,))])


def _edit(project: Project, kind: Kind[Any], changes: list[splice.Set] | list[splice.Remove]) -> None:
    path, shown = _paths(project, kind)

    def change(text: str) -> str:
        return splice.edit(text, changes, order=kind.order, aliases={}, path=shown, bounds=reader.RECORD_BOUNDS)

    files.edit_file(project, path, change)


def _paths(project: Project, kind: Kind[Any]) -> tuple[str, str]:
    return os.path.join(project.store, kind.file), kind.shown
