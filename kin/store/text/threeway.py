"""What one side of a merge changed, key by key on plain data: the changes to make on the other side, and where both differ.

No texts here: `merge.py` makes the changes. A list is merged by its items, so that two who append to one do not collide.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from kin.model.fields import KeyPath, Plain
from kin.store.text.splice import AddItem, Change, DropItem, Remove, Set

SETS = frozenset({"labels", "depends_on", "touches", "tags", "paths", "protect", "secrets"})
"""Lists whose order says nothing; kin keeps them sorted. In any other, two who replace one item differ."""

LONGEST = 1000
"""Items of a list that are compared each with each; longer ones are merged by line."""


class Clash(NamedTuple):
    """A key that both sides changed, and not alike."""

    path: KeyPath


class _Absent:
    """Where a side has no such key: an empty value is one."""


_ABSENT = _Absent()
_Value = Plain | _Absent


def differences(base: dict[str, Plain], ours: dict[str, Plain], theirs: dict[str, Plain]) -> Iterator[Change | Clash]:
    """What must be done to `ours` so that it also has what `theirs` changed since `base`."""
    yield from _in_mapping((), base, ours, theirs)


def _in_mapping(path: KeyPath, base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[Change | Clash]:
    for key in dict.fromkeys((*ours, *theirs)):
        yield from _at((*path, key), *(side.get(key, _ABSENT) for side in (base, ours, theirs)))


def _at(path: KeyPath, base: _Value, ours: _Value, theirs: _Value) -> Iterator[Change | Clash]:
    if theirs in (base, ours):
        return
    if ours == base:
        yield Remove(path) if isinstance(theirs, _Absent) else Set(path, theirs)
    elif isinstance(ours, dict) and isinstance(theirs, dict):
        yield from _in_mapping(path, base if isinstance(base, dict) else {}, ours, theirs)
    elif any(isinstance(side, list) for side in (ours, theirs)):
        lists = [_items(side) for side in (base, ours, theirs)]
        fit = all(items is not None and len(items) <= LONGEST for items in lists)
        yield from _in_list(path, *lists) if fit else [Clash(path)]
    else:
        yield Clash(path)


def _items(side: _Value) -> Any:
    """The items of what stands for a list: nothing is an empty one, a text one of one. None if it cannot be a list."""
    if side is None or isinstance(side, _Absent):
        return []
    return [side] if isinstance(side, str) else side if isinstance(side, list) else None


def _in_list(path: KeyPath, base: list[Any], ours: list[Any], theirs: list[Any]) -> Iterator[Change | Clash]:
    gone, new = _without(base, theirs), _without(theirs, base)
    if path[-1] in SETS and all(isinstance(item, str) for item in (*ours, *new, *gone)):
        yield from (AddItem(path, item) for item in new)
        yield from (DropItem(path, item) for item in gone if item in ours)
        return
    moved = _within(base, theirs) != _within(theirs, base)
    replaced = any(item not in ours for item in gone) and new != _without(ours, base)
    doubled = any(item in side[:n] for side in (base, ours, theirs) for n, item in enumerate(side))
    if moved or replaced or doubled:
        yield Clash(path)
        return
    merged = _placed([item for item in ours if item not in gone], base, theirs)
    if merged != ours:
        yield Set(path, merged) if merged else Remove(path)


def _without(items: list[Any], others: list[Any]) -> list[Any]:
    return [item for item in items if item not in others]


def _within(items: list[Any], others: list[Any]) -> list[Any]:
    return [item for item in items if item in others]


def _placed(ours: list[Any], base: list[Any], theirs: list[Any]) -> list[Any]:
    """`ours` with what is new in `theirs`, each item behind the one that it stands behind there, and behind ours' own."""
    merged = list(ours)
    at = 0
    for item in theirs:
        if item in merged:
            at = merged.index(item) + 1
            continue
        if item in base:
            continue  # ours took it out
        while at < len(merged) and merged[at] not in theirs:
            at += 1
        merged.insert(at, item)
        at += 1
    return merged
