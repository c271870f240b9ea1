"""A change to a file: the characters of the value concerned are replaced and nothing else, in whatever style it is written.

Every change is made on spans of the parsed text (`cuts.py`), then the new text is parsed and compared with what was
meant. If it is not exactly that, the change is refused: a file is never half changed, and never reformatted.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from kin.errors import Invalid, Place
from kin.model.fields import KeyPath, Plain, dotted, fields_of, value_at
from kin.model.task import TASK_KEYS, Task
from kin.store.text import cuts, emit, lines
from kin.store.text.nodes import TASK_BOUNDS, Bounds, Items, Node, Pairs, Scalar, plain
from kin.store.text.reader import decode, read_tree

TASK_ALIASES: Mapping[str, tuple[str, ...]] = {d.name: d.field.aliases for d in fields_of(Task) if d.field.aliases}
"""Other aliases of a task's keys; an edit keeps the one that the file has."""


class Set(NamedTuple):
    """Give a key this value; mappings on the way are made."""

    path: KeyPath
    value: Any


class Remove(NamedTuple):
    """Remove a key, and a mapping or list that it leaves empty. Nothing happens if it is not there."""

    path: KeyPath


class AddItem(NamedTuple):
    """Add an item to a list in its sorted place; the list is made if need be. Nothing happens if it is there."""

    path: KeyPath
    item: str


class DropItem(NamedTuple):
    """Remove an item from a list, and a list that it leaves empty. Nothing happens if it is not there."""

    path: KeyPath
    item: str


Change = Set | Remove | AddItem | DropItem


def edit(
    text: str,
    changes: Sequence[Change],
    *,
    order: Sequence[str] = TASK_KEYS,
    aliases: Mapping[str, Sequence[str]] = TASK_ALIASES,
    path: str = "",
    bounds: Bounds = TASK_BOUNDS,
) -> str:
    """`text` with `changes` made one after the other, all else byte by byte as it was.

    New keys go where `order` puts them, unknown ones behind. Raises Invalid if the text cannot be read, or if a change
    cannot be made without touching more than it concerns.
    """
    tree = read_tree(text, path, bounds)
    for change in changes:
        for step in _steps(as_spelled(change, [key.value for key, _ in tree.pairs], aliases), tree):
            wanted = meant(plain(tree), step)
            if wanted == plain(tree):
                continue
            where = Place(path, tree.line, tree.column)
            new = lines.apply(text, _cuts(text, tree, step, _ranking(order, aliases), where))
            text, tree = _checked(new, wanted, step, where, bounds)
    return text


def set_status(text: str, status: str, blocked: Mapping[str, str] | None = None, *, path: str = "") -> str:
    """`text` with this status, and with the `blocked:` block that goes with it, or without one."""
    second: Change = Set(("blocked",), dict(blocked)) if blocked else Remove(("blocked",))
    return edit(text, [Set(("status",), status), second], path=path)


def _ranking(order: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> Callable[[str], tuple[int, str]] | None:
    """Where a top-level key stands, whatever its spelling."""
    names = {other: name for name, others in aliases.items() for other in others}
    return (lambda key: emit.rank(names.get(key, key), order)) if order else None


def as_spelled(change: Change, keys: Collection[str], aliases: Mapping[str, Sequence[str]] = TASK_ALIASES) -> Change:
    """The change with its first key as the file spells it, which has these `keys`: `deps` for `depends_on`."""
    first, *rest = change.path
    found = (str(first), *aliases.get(str(first), ()))
    return change._replace(path=(next((key for key in found if key in keys), first), *rest))


def _steps(change: Change, tree: Pairs) -> list[Change]:
    """A mapping that is set over a mapping is changed key by key, so that comments and order stay."""
    if not isinstance(change, Set) or not isinstance(change.value, Mapping) or not change.value:
        return [change]
    trail = _trail(tree, change.path)
    if len(trail) < len(change.path) or not isinstance(node := trail[-1].node, Pairs):
        return [change]
    steps: list[Change] = [Set((*change.path, key), value) for key, value in change.value.items()]
    steps = [step for one in steps for step in _steps(one, tree)]
    return steps + [Remove((*change.path, key.value)) for key, _ in node.pairs if key.value not in change.value]


# What is meant


def meant(data: Plain, change: Change) -> Plain:
    """`data` with the change made: what the edited text must say."""
    step = _on_whole_list(data, change) if isinstance(change, (AddItem, DropItem)) else change
    return _put(data, step.path, step) if step else data


def _on_whole_list(data: Plain, change: AddItem | DropItem) -> Set | Remove | None:
    """The change to one item as a change to its list; None if nothing is to be done."""
    old = value_at(data, change.path)
    if isinstance(change, AddItem):
        there = change.item == old or (isinstance(old, list) and change.item in old)
        return None if there else Set(change.path, _with_item(old, change))
    if isinstance(old, list):
        left = [item for item in old if item != change.item]
        return None if left == old else Set(change.path, left) if left else Remove(change.path)
    return Remove(change.path) if old == change.item else None


def _with_item(old: Plain, change: AddItem) -> list[Any]:
    if isinstance(old, dict):
        raise Invalid(f"`{dotted(change.path)}` is a mapping, no list", "set its keys")
    items = [] if old is None else old if isinstance(old, list) else [old]
    at = next(
        (i for i, item in enumerate(items) if isinstance(item, str) and _natural(item) > _natural(change.item)), len(items)
    )
    return [*items[:at], change.item, *items[at:]]


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Numbers in a text count as numbers: KIN-9 comes before KIN-12."""
    parts = re.split(r"([0-9]{1,15})", text)
    return [(0, int(part), "") if n % 2 else (1, 0, part) for n, part in enumerate(parts) if part]


def _put(data: Plain, path: KeyPath, change: Set | Remove) -> Plain:
    key, rest = path[0], path[1:]
    if isinstance(change, Set) and data is None:
        data = {}
    inside = isinstance(data, dict) or (isinstance(data, list) and isinstance(key, int) and 0 <= key < len(data))
    if isinstance(change, Remove):
        if not inside or (isinstance(data, dict) and str(key) not in data):
            return data
        old = value_at(data, (key,))
        new = _put(old, rest, change) if rest else None
        return _without(data, key) if not rest or (new != old and not new) else _with(data, key, new)
    if not inside:
        where = "a list without that item" if isinstance(data, list) else "a text"
        raise Invalid(f"`{dotted(change.path)}` cannot be set: `{key}` would be in {where}", "set a key above it")
    return _with(data, key, _put(value_at(data, (key,)), rest, change) if rest else _as_plain(change.value))


def _with(data: Plain, key: str | int, value: Plain) -> Plain:
    if isinstance(data, dict):
        return {**data, str(key): value}
    assert isinstance(data, list) and isinstance(key, int)
    return [*data[:key], value, *data[key + 1 :]]


def _without(data: Plain, key: str | int) -> Plain:
    if isinstance(data, dict):
        return {name: value for name, value in data.items() if name != str(key)}
    assert isinstance(data, list) and isinstance(key, int)
    return data[:key] + data[key + 1 :]


def _as_plain(value: Any) -> Plain:
    if isinstance(value, Mapping):
        return {str(key): _as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_plain(item) for item in value]
    return emit.text_of(value)


# How it is done


def _cuts(text: str, tree: Pairs, change: Change, rank: Callable[[str], Any] | None, where: Place) -> list[lines.Cut]:
    if isinstance(change, (AddItem, DropItem)):
        step = _on_whole_list(plain(tree), change)
        assert step is not None
        change = step
    trail = _trail(tree, change.path)
    if isinstance(change, Remove):
        return _remove(text, trail, where)
    value, missing = _as_plain(change.value), change.path[len(trail) :]
    for key in reversed(missing[1:]):
        value = {str(key): value}
    if not missing:
        return cuts.replace(text, trail[-1], value)
    node: Node = trail[-1].node if trail else tree
    if isinstance(node, Pairs) and (node.pairs or node.flow):
        order = rank if node is tree else None
        return cuts.add_key(text, node, str(missing[0]), value, order, json=bool(trail and trail[-1].json))
    return cuts.replace(text, trail[-1], {str(missing[0]): value})


def _trail(tree: Pairs, path: KeyPath) -> list[cuts.Spot]:
    """The spots that `path` leads through, as far as they are there."""
    trail: list[cuts.Spot] = []
    node: Node = tree
    json = False
    for key in path:
        if isinstance(node, Pairs):
            json = node.flow and (json or any(name.style == '"' for name, _ in node.pairs[:1]))
            index = next((i for i, pair in enumerate(node.pairs) if pair[0].value == str(key)), -1)
        else:
            index = key if isinstance(node, Items) and isinstance(key, int) and key < len(node.items) else -1
        if index < 0 or isinstance(node, Scalar):
            break
        trail.append(cuts.Spot(node.pairs[index][1] if isinstance(node, Pairs) else node.items[index], node, index, json))
        node = trail[-1].node
    return trail


def _remove(text: str, trail: list[cuts.Spot], where: Place) -> list[lines.Cut]:
    """Remove the last spot, or the nearest above it that holds something else besides."""
    for spot in reversed(trail):
        parent = spot.parent
        if isinstance(parent, Pairs) and len(parent.pairs) > 1:
            return cuts.remove_key(text, parent, spot.number)
        if isinstance(parent, Items) and len(parent.items) > 1:
            return cuts.remove_item(text, parent, spot.number)
    raise Invalid("the file would be left without a key", "remove the file instead", where)


def _checked(new: str, wanted: Plain, change: Change, where: Place, bounds: Bounds) -> tuple[str, Pairs]:
    """The new text and its tree, if it says exactly what was meant."""
    decode(new.encode(), where.path, bounds)
    endings = ("",) if new.endswith("\n") else ("", lines.end_of_line(new))  # a block of lines may need one at the file's end
    for ending in endings:
        try:
            tree = read_tree(new + ending, where.path, bounds)
        except Invalid:
            continue
        if plain(tree) == wanted:
            return new + ending, tree
    raise Invalid(
        f"`{dotted(change.path)}` cannot be changed here without touching more than that",
        "change it by hand; the file is as it was",
        where,
    )
