"""`kin check --fix`: what is mechanical. Line ends, spellings, names; never what a value means.

Each change goes the way of all changes (files.py, text/splice.py): under the store lock, on what the file then says,
and compared afterwards with what was meant.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from kin import git
from kin.errors import Busy, Invalid, KinError
from kin.model.spelling import respellings
from kin.store import config, files
from kin.store.checking.check import listing, looks
from kin.store.checking.inspection import MODELS, Look, kind_of, left_out
from kin.store.checking.renaming import Renaming, renamings
from kin.store.project import STORE, Project
from kin.store.text import emit, lines, reader, splice
from kin.store.text.nodes import RECORD_BOUNDS, plain

_Change = tuple[str, Callable[[], list[str]]]
"""A file below `.kin/`, and what mends it and says how."""


def mend(project: Project, wanted: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Mend the files that are `wanted`, by their paths from the root: what was done, and what could not be.

    Raises Busy while git is in the middle of something, Invalid if the files are of a newer format.
    """
    config.refuse_newer_format(project)
    if doing := git.under_way(project.gitdir):
        raise Busy(f"git is in the middle of a {doing}", "finish it first: kin changes no file until then")
    done: list[str] = []
    failed: list[str] = []
    found = looks(project, listing(project).names)  # all of them: an id may be free, or another file's
    for name, change in _changes(project, found):
        if not wanted(f"{STORE}/{name}"):
            continue
        try:
            done += [f"{STORE}/{name}: {said}" for said in change()]
        except KinError as error:
            failed.append(str(error))
    return done, failed


def _changes(project: Project, found: Mapping[str, Look]) -> Iterator[_Change]:
    """Texts first, then names: a name's change makes the path another."""
    for name, look in found.items():
        if look.tidy:
            yield name, partial(_tidy, project, name)
    for one in renamings(found):
        if one.to or one.new_id:
            yield one.name, partial(_rename, project, one)


def _rename(project: Project, one: Renaming) -> list[str]:
    path = os.path.join(project.store, one.name)
    if one.to:
        files.rename_file(project, path, os.path.join(project.store, one.to))
        return [f"its id is {one.claims}, so it is {os.path.basename(one.to)} now"]
    shown = f"{STORE}/{one.name}"
    files.edit_file(project, path, lambda text: splice.edit(text, [splice.Set(("id",), one.new_id)], path=shown))
    return [f"the id was {one.claims} and is {one.new_id} now"]


def _tidy(project: Project, name: str) -> list[str]:
    said: list[str] = []

    def change(text: str) -> str:
        new, said[:] = tidied(name, text)
        return new

    files.edit_file(project, os.path.join(project.store, name), change)
    return said


def tidied(name: str, text: str) -> tuple[str, list[str]]:
    """The text of the file `name` (below `.kin/`) as kin would have written its spellings and line ends, and what changed.

    Raises Invalid if it cannot be read, or says another thing afterwards.
    """
    shown, model, said = f"{STORE}/{name}", MODELS.get(kind_of(name) or ""), []
    before = reader.read(text, shown, RECORD_BOUNDS)
    new = text.replace("\r\n", "\n")
    said += ["CRLF is LF"] if new != text else []
    if not new.endswith("\n"):
        new += "\n"
        said.append("the last line has an end")
    if reader.read(new, shown, RECORD_BOUNDS) != before:
        raise Invalid("its lines cannot be given other ends without changing what it says", "do it by hand")
    found = list(respellings(model, before)) if model else []
    for one in found:
        if one.value:
            new = splice.edit(new, [splice.Set(one.path, one.new)], aliases={}, path=shown, bounds=RECORD_BOUNDS)
    for one in found:
        if not one.value:
            new = _key_renamed(new, shown, one.old, one.new)
    said += [f"`{one.old}` is `{one.new}`" for one in found]
    if kind_of(name) == "task" and (absent := left_out(os.path.basename(name).rpartition(".")[0], before)):
        new = splice.edit(new, [splice.Set((key,), value) for key, value in absent.items()], path=shown, bounds=RECORD_BOUNDS)
        said += [f"`{key}: {value}` is written" for key, value in absent.items()]
    return new, said


def _key_renamed(text: str, shown: str, old: str, new: str) -> str:
    """The text with the top-level key `old` called `new`, in its own quotes."""
    tree = reader.read_tree(text, shown, RECORD_BOUNDS)
    pair = tree.pair(old)
    assert pair is not None
    key = pair[0]
    done = lines.apply(text, [lines.Cut(key.body, key.end, emit.quoted(new) if key.style == '"' else new)])
    meant = {new if key.value == old else key.value: plain(value) for key, value in tree.pairs}
    if reader.read(done, shown, RECORD_BOUNDS) != meant:
        raise Invalid(f"`{old}` cannot be called `{new}` without touching more than that", "do it by hand")
    return done
