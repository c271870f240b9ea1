"""Files as plain data: bytes to text, text to keys, and where in the file a key stands.

Two parsers: `fast.py` and `outline.py` for the layout that kin writes, `strict.py`, the one of record, for everything else.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

from kin.errors import Invalid, Place
from kin.model.fields import KeyPath, Plain, Problem, build
from kin.store.text.fast import read_fast as read_fast
from kin.store.text.nodes import BY_HAND_BOUNDS, Bounds, Items, Node, Pairs, plain
from kin.store.text.nodes import RECORD_BOUNDS as RECORD_BOUNDS
from kin.store.text.nodes import TASK_BOUNDS as TASK_BOUNDS
from kin.store.text.outline import outline

T = TypeVar("T")


def decode(raw: bytes, path: str, bounds: Bounds = TASK_BOUNDS) -> str:
    """The file's text (a byte order mark stays in it). Raises Invalid if it is too large or no UTF-8."""
    if len(raw) > bounds.size:
        raise Invalid(f"{len(raw):,} bytes, at most {bounds.size:,}", "keep long texts elsewhere", Place(path, 1, 1))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8").removeprefix("\ufeff")
        where = Place(path, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise Invalid(f"the byte 0x{raw[error.start]:02x} is no UTF-8", "save the file as UTF-8", where) from None


def read(text: str, path: str, bounds: Bounds = TASK_BOUNDS) -> dict[str, Plain]:
    """The mapping that `text` is, every scalar as text. Raises Invalid with the place of what is wrong."""
    found = read_fast(text, bounds)
    if found is not None:
        return found
    data = plain(_parsed(text, path, Bounds(*map(min, bounds, BY_HAND_BOUNDS))))
    assert isinstance(data, dict)
    return data


def read_tree(text: str, path: str, bounds: Bounds = TASK_BOUNDS) -> Pairs:
    """The mapping that `text` is, as a tree of spans. Raises Invalid with the place of what is wrong."""
    return outline(text, bounds) or _parsed(text, path, bounds)


def _parsed(text: str, path: str, bounds: Bounds) -> Pairs:
    from kin.store.text.strict import parse

    if len(text) > bounds.size:
        raise Invalid(f"{len(text):,} characters, at most {bounds.size:,}", "keep long texts elsewhere", Place(path, 1, 1))
    return parse(text, path, bounds)


def invalid(problems: Sequence[Problem], text: str, path: str, bounds: Bounds = TASK_BOUNDS) -> Invalid:
    """What is wrong with a file: the first problem with its place, all of them in `data["problems"]`."""
    places = [place_of(text, path, problem.path, bounds) for problem in problems]
    told = [f"{place}: {problem.message}" for place, problem in zip(places, problems, strict=True)]
    return Invalid(problems[0].message, "", places[0], problems=told)


def built(model: type[T], text: str, path: str) -> T:
    """The `model` that the text of a record, a note or a decision is. Raises Invalid."""
    found, problems = build(model, read(text, path, RECORD_BOUNDS))
    if found is None:
        raise invalid(problems, text, path, RECORD_BOUNDS)
    return found


def check_name(held: str, text: str, path: str) -> None:
    """Raise Invalid if the id that a file holds is not its name."""
    if held != (stem := os.path.basename(path).removesuffix(".yaml")):
        where = place_of(text, path, ("id",))
        raise Invalid(f"the id is {held}, but the file is {stem}.yaml", "one of them must change", where)


def place_of(text: str, path: str, keys: KeyPath, bounds: Bounds = TASK_BOUNDS) -> Place:
    """Line and column of the value that `keys` lead to, or of the nearest one above it that is there."""
    try:
        node: Node = read_tree(text, path, bounds)
    except Invalid as error:
        return error.where or Place(path)
    place = Place(path, node.line, node.column)
    for key in keys:
        if isinstance(node, Pairs) and (pair := node.pair(key)):
            node = pair[1]
        elif isinstance(node, Items) and isinstance(key, int) and 0 <= key < len(node.items):
            node = node.items[key]
        else:
            break
        place = Place(path, node.line, node.column)
    return place
