"""What an edit should do, told a second time and more simply than kin does it: on data, and on the text around it."""

import copy
import functools
import re
from collections.abc import Iterator
from random import Random
from typing import Any

from strategies import KEY_WORDS

from kin.model.fields import KeyPath
from kin.store.text.nodes import Items, Node, Pairs, Scalar, plain
from kin.store.text.reader import read_tree
from kin.store.text.splice import AddItem, Change, DropItem, Remove, Set

BLANKS = " \t\r\n"


def paths(data: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    """The paths of all values."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from paths(value, (*above, key))


def find(data: Any, path: KeyPath) -> Any:
    """The value at `path`, or KeyError."""
    for key in path:
        key = str(key) if isinstance(data, dict) else key
        if not (isinstance(data, dict) and key in data) and not (isinstance(data, list) and key in range(len(data))):
            raise KeyError(path)
        data = data[key]
    return data


def has(data: Any, path: KeyPath) -> bool:
    try:
        find(data, path)
    except KeyError:
        return False
    return True


def changed(data: Any, change: Change) -> Any:
    """`data` with `change` made; None if it cannot be."""
    data = copy.deepcopy(data)
    path = change.path
    old = find(data, path) if has(data, path) else None
    if isinstance(change, Remove):
        return removed(data, path) if has(data, path) else data
    if isinstance(change, AddItem):
        items = old if isinstance(old, list) else [] if old is None else [old]
        if isinstance(old, dict):
            return None
        return data if change.item in items else put(data, path, Added(items, change.item))
    if isinstance(change, DropItem):
        if old == change.item:
            return removed(data, path)
        if not isinstance(old, list) or change.item not in old:
            return data
        left = [item for item in old if item != change.item]
        return put(data, path, left) if left else removed(data, path)
    return put(data, path, change.value)


class Added:
    """Equal to `items` with `item` somewhere among them; in its place if they are words in order."""

    def __init__(self, items: list[Any], item: str) -> None:
        self.items, self.item = items, item

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list) or self.item not in other:
            return False
        at = other.index(self.item)
        if [*other[:at], *other[at + 1 :]] != self.items:
            return False
        words = [item for item in self.items if isinstance(item, str) and item.isascii() and item.isalpha()]
        in_order = words == self.items == sorted(words) and self.item.isascii() and self.item.isalpha()
        return not in_order or other == sorted(other)


def put(data: Any, path: KeyPath, value: Any) -> Any:
    at = data
    for number, key in enumerate(path):
        key = str(key) if isinstance(at, dict) else key
        inside = isinstance(at, dict) or (isinstance(at, list) and key in range(len(at)))
        if not inside:
            return None
        if number == len(path) - 1:
            at[key] = value
        elif (isinstance(at, dict) and at.get(key) is None) or at[key] is None:
            at[key] = {}
        at = at[key]
    return data


def removed(data: Any, path: KeyPath) -> Any:
    while path:
        above = find(data, path[:-1])
        del above[str(path[-1]) if isinstance(above, dict) else path[-1]]
        path = path[:-1]
        if find(data, path):
            break
    return data or None


def some_change(random: Random, data: dict[str, Any], values: list[Any]) -> Change:
    """A change that fits `data`, or nearly."""
    path = random.choice([*paths(data), *[(key,) for key in KEY_WORDS], ("blocked",), ("x-new",), ("acceptance",)])
    if random.random() < 0.15:
        path = (*path, random.choice(KEY_WORDS))
    text = random.choice([value for value in values if isinstance(value, str)] or ["done"])
    kind = random.randrange(5)
    if kind == 0:
        return Set(path, random.choice(values))
    if kind == 1:
        return Set(path, text)
    if kind == 2:
        return Remove(path)
    if kind == 3:
        return AddItem(path, text)
    held = find(data, path) if has(data, path) else None
    words = [item for item in held if isinstance(item, str)] if isinstance(held, list) else []
    return DropItem(path, random.choice(words) if words else held if isinstance(held, str) else text)


def check_rest_untouched(old: str, new: str, change: Change, comments: list[str]) -> None:
    """All characters outside the top-level value concerned are as they were."""
    tree = _tree(old)
    pair = tree.pair(change.path[0])
    if pair is None:
        check_only_inserted(old, new)
        return
    key, value = pair
    before, behind = old[: key.start], old[value.end :]
    if isinstance(change, (Remove, DropItem)):
        if (behind := behind.lstrip(BLANKS + ",")).startswith("#"):
            behind = behind.partition("\n")[2].lstrip(BLANKS)
        assert without_gaps(new).startswith(without_gaps(before))
        assert new.rstrip("\r\n").endswith(behind.rstrip("\r\n"))
        return
    if not tree.flow:  # a comment behind the value stays, perhaps in the first of several lines
        behind = "".join(behind.partition("\n")[1:])
        if len(change.path) > 1:  # a new key inside goes below the comments that are inside
            behind = re.sub(r"^(\r?\n +#.*)+", "", behind)
    assert new.startswith(before)
    assert new.endswith(behind)
    if is_one_line(value) and isinstance(change, Set) and len(change.path) == 1 and is_one_line(change.value):
        assert new.startswith(old[: value.body])
        assert new.endswith(old[value.end :])
    check_comments_stay(old, new, value, change, comments)


@functools.lru_cache(maxsize=1)  # of many edits of one text
def _tree(text: str) -> Pairs:
    return read_tree(text, "old.yaml")


def without_gaps(text: str) -> str:
    """The text without what may go with a value: blanks and commas."""
    return re.sub(r"[\s,]", "", text)


def is_one_line(value: Any) -> bool:
    if isinstance(value, Scalar):
        return value.body < value.end and value.style not in ("|", ">")
    return isinstance(value, str) and "\n" not in value


def check_only_inserted(old: str, new: str) -> None:
    same = next((n for n in range(len(old)) if old[n] != new[n : n + 1]), len(old))
    assert any(new.endswith(old[n:]) or not old[n:].strip(BLANKS) for n in range(max(0, same - 80), same + 1))


def check_comments_stay(old: str, new: str, value: Node, change: Change, comments: list[str]) -> None:
    for comment in comments:
        at = old.find(comment)
        replaced = value.start <= at < value.end and not isinstance(change, AddItem)
        block = not isinstance(value, Scalar) and not value.flow
        behind_last_line = block and not isinstance(change, AddItem) and at >= value.end and "\n" not in old[value.end : at]
        assert at < 0 or replaced or behind_last_line or comment in new


def first_text(node: Pairs | Items, above: KeyPath = (), *, deep: bool = False) -> KeyPath | None:
    """The path of the first text in the tree; `deep`: of the first one that is not at the top."""
    children = node.pairs if isinstance(node, Pairs) else enumerate(node.items)
    for key, value in children:
        path = (*above, key.value if isinstance(key, Scalar) else key)
        if isinstance(value, Scalar):
            if plain(value) is not None and (not deep or above):
                return path
        elif found := first_text(value, path, deep=deep):
            return found
    return None


def first_words(node: Pairs | Items, above: KeyPath = ()) -> tuple[KeyPath, list[str]] | None:
    """The path of the first list of texts, and those."""
    children = [(key.value, value) for key, value in node.pairs] if isinstance(node, Pairs) else list(enumerate(node.items))
    for key, value in children:
        if isinstance(value, Scalar):
            continue
        held = plain(value)
        if isinstance(held, list) and held and all(isinstance(item, str) for item in held):
            return (*above, key), held
        if found := first_words(value, (*above, key)):
            return found
    return None
