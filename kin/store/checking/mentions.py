"""Where the files of `.kin/` name an id, and the same text with another in its place.

A reference is a value that is the id, or in `depends_on` and `parent` a word that means it. An id within a text is prose: a
person wrote it, and it is changed only when asked.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from kin.model.fields import KeyPath, dotted
from kin.store.checking.inspection import kind_of
from kin.store.project import STORE
from kin.store.text import reader, splice

KINDS = ("task", "decision", "note", "record")
"""The files that are looked at."""

PROSE = frozenset({"title", "description", "acceptance", "text", "reason", "summary", "brief"})
"""Keys of texts: even one that is the id alone says it as a word."""

KEPT = frozenset({"run", "branch", "base", "commit", "merge", "touches", "paths"})
"""Keys of commands, paths and names in git, in which an id stands for something that keeps its name."""


class Change(NamedTuple):
    """A value that is another now, `key` dotted; or a whole file that has another name, then `key` is ""."""

    file: str
    key: str
    old: str
    new: str


class Rewritten(NamedTuple):
    """A file's new text, what is changed in it, and whether it names the id in prose that was left."""

    text: str
    changes: list[Change]
    mentions: bool


def rewritten(name: str, text: str, old: str, new: str, *, words: Collection[str] = (), prose: bool = False) -> Rewritten:
    """The file `name`, relative to `.kin/`, with `new` wherever it refers to `old`; `words` mean `old` in dependencies.

    Raises Invalid if it cannot be read, or not be changed without touching more than that.
    """
    shown = f"{STORE}/{name}"
    bounds = reader.TASK_BOUNDS if kind_of(name) == "task" else reader.RECORD_BOUNDS
    pattern = re.compile(rf"(?<![\w/-]){re.escape(old)}(?!-?\w)")
    steps: list[splice.Set] = []
    changes: list[Change] = []
    mentions = False
    for path, value in _texts(reader.read(text, shown, bounds), ()):
        key = next(str(part) for part in reversed(path) if isinstance(part, str))
        if key in KEPT or path == ("id",):
            continue
        needs = path[0] in ("depends_on", "parent", *splice.TASK_ALIASES["depends_on"])
        if key not in PROSE and (value == old or (needs and value in words)):
            changed = new
        elif not pattern.search(value):
            continue
        elif prose:
            changed = pattern.sub(new, value)
        else:
            mentions = True
            continue
        steps.append(splice.Set(path, changed))
        whole = changed == new
        named = dotted(tuple(part for part in path if isinstance(part, str)))
        changes.append(Change(shown, named, value if whole else old, new))
    edited = splice.edit(text, steps, order=(), aliases={}, path=shown, bounds=bounds) if steps else text
    return Rewritten(edited, changes, mentions)


def _texts(data: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, (dict, list)):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _texts(value, (*path, key))
