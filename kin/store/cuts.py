"""Which characters of a text a change replaces, and by what: the rules of block and flow style, key by key.

Nothing here decides whether the outcome is right: `kin.store.splice` parses it again and compares.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kin.errors import Invalid
from kin.store import emit
from kin.store.brackets import Brackets
from kin.store.nodes import Items, Node, Pairs, Scalar, plain

__all__ = ["Cut", "Spot", "add_key", "apply", "change_list", "remove_item", "remove_key", "replace"]

_COLON = re.compile(r"[ \t]*:")
_FLOW_COLON = re.compile(r"(?:\s|(?<=\s)#.*)*:")
_ANCHOR = re.compile(r"&[^\s,\[\]{}]+")
_HEADER = re.compile(r"[|>][0-9+-]*")
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")
_SIMPLE = re.compile(r"[ -~\xa1-\ud7ff]*")


class Cut(NamedTuple):
    """Replace the characters from `start` to `end` by `text`."""

    start: int
    end: int
    text: str


class Spot(NamedTuple):
    """A node and what it stands in: the pair's key or the item's dash, and whether that is in brackets, or JSON."""

    node: Node
    parent: Pairs | Items
    number: int
    json: bool

    @property
    def key(self) -> Scalar | None:
        return self.parent.pairs[self.number][0] if isinstance(self.parent, Pairs) else None


def apply(text: str, cuts: Sequence[Cut]) -> str:
    """`text` with all cuts made; where two overlap, both their characters go."""
    out: list[str] = []
    at = 0
    for cut in sorted(cuts, key=lambda cut: (cut.start, cut.end)):
        out += [text[at : cut.start], cut.text]
        at = max(at, cut.end)
    return "".join(out) + text[at:]


def end_of_line(text: str) -> str:
    """The line end that the text uses."""
    return "\r\n" if "\r\n" in text else "\n"


def line_start(text: str, at: int) -> int:
    """The offset of the line's first character, behind a byte order mark."""
    start = text.rfind("\n", 0, at) + 1
    return start + (start == 0 and text.startswith("\ufeff"))


def line_end(text: str, at: int) -> int:
    """The offset of what ends the line."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return end - 1 if end > at and text[end - 1] == "\r" else end


def column(text: str, at: int) -> int:
    """How many characters stand before it in its line."""
    return at - line_start(text, at)


def _join(text: str, lines: Sequence[str]) -> str:
    """Each line with a line end before it."""
    eol = end_of_line(text)
    return "".join(eol + line for line in lines)


def _last(node: Node) -> Node:
    """The scalar or bracket that a node ends with."""
    while not isinstance(node, Scalar) and not node.flow:
        node = node.items[-1] if isinstance(node, Items) else node.pairs[-1][1]
    return node


def _is_text_block(node: Node) -> bool:
    return isinstance(node, Scalar) and node.style in ("|", ">")


def _keeps_blanks(text: str, node: Node) -> bool:
    """Whether the blank lines behind the node belong to it (`|+`)."""
    last = _last(node)
    return _is_text_block(last) and "+" in _HEADER.match(text, last.body)[0]  # type: ignore[index]


# Replacing a value


def replace(text: str, spot: Spot, value: Any) -> list[Cut]:
    """Put `value` where the node of `spot` stands."""
    node = spot.node
    if isinstance(value, list) and isinstance(node, Items) and node.items and value:
        cuts = change_list(text, spot, value)
        if cuts is not None:
            return cuts
    if spot.parent.flow:
        return _replace_in_flow(text, spot, value)
    one_line, below = _rendered(text, spot, value)
    if isinstance(node, Scalar) and node.start == node.end:
        at = _after_colon(text, spot)
        return [Cut(at, at, one_line), Cut(line_end(text, at), line_end(text, at), _join(text, below))]
    if _is_text_block(node):
        return _replace_text_block(text, node, one_line, below)
    if isinstance(node, Scalar) or node.flow:
        return _replace_inline(text, spot, one_line, below)
    return _replace_block(text, spot, one_line, below)


def _rendered(text: str, spot: Spot, value: Any) -> tuple[str, list[str]]:
    """What goes behind the colon or dash, with a blank before it, and the lines that go below."""
    node = spot.node
    if not isinstance(value, (dict, list)):
        words = emit.text_of(value)
        if words is None or not emit.has_block(words):
            return f" {_restyled(words, node, json=False, in_flow=False)}", []
    if spot.key:
        head, indent = ":", column(text, spot.key.start)
    else:
        head, indent = "-", column(text, spot.parent.body)
    first, *below = emit.block_lines(head, value, indent)
    return first.removeprefix(head), below


def _restyled(words: str | None, node: Node, *, json: bool, in_flow: bool) -> str:
    """`words` on one line, in the quotes that the old value has."""
    if words is None:
        return "null"
    style = node.style if isinstance(node, Scalar) else ""
    if style == '"':
        return emit.quoted(words)
    if style == "'" and _SIMPLE.fullmatch(words):
        return "'" + words.replace("'", "''") + "'"
    return emit.flow(words, json=True) if json else emit.scalar(words, in_flow=in_flow)


def _replace_in_flow(text: str, spot: Spot, value: Any) -> list[Cut]:
    node = spot.node
    if isinstance(value, (dict, list)):
        new = emit.flow(value, json=spot.json)
    else:
        new = _restyled(emit.text_of(value), node, json=spot.json, in_flow=True)
    if node.start < node.end:
        return [Cut(node.body, node.end, new)]
    match = _FLOW_COLON.match(text, node.start)
    at = match.end() if match else node.start
    return [Cut(at, at, f" {new}" if match else f": {new}")]


def _after_colon(text: str, spot: Spot) -> int:
    """The offset behind the key's colon, or behind the dash of an empty item."""
    if spot.key is None:
        return spot.node.start
    match = _COLON.match(text, spot.key.end)
    if match is None:
        raise Invalid(f"`{spot.key.value}` is written with `?`", f"write `{spot.key.value}: ...` instead")
    return match.end()


def _replace_text_block(text: str, node: Node, one_line: str, below: list[str]) -> list[Cut]:
    """A block of lines: its header goes, a comment behind that stays, its lines go."""
    header = _HEADER.match(text, node.body)
    assert header is not None
    start, new = header.start(), one_line.lstrip(" ")
    if not new:
        start = len(text[:start].rstrip(" \t"))
    return [Cut(start, header.end(), new), Cut(line_end(text, start), node.end, _join(text, below))]


def _replace_inline(text: str, spot: Spot, one_line: str, below: list[str]) -> list[Cut]:
    """A scalar or brackets: a comment behind it stays where it is."""
    node = spot.node
    if not below:
        return [Cut(node.body, node.end, one_line.lstrip(" "))]
    end = line_end(text, node.end)
    start = len(text[: node.body].rstrip(" \t"))
    if spot.key is not None and line_start(text, node.body) > spot.key.start:
        at = _after_colon(text, spot)  # the value stands in a line of its own
        return [Cut(at, at, one_line), Cut(line_end(text, at), node.end, _join(text, below))]
    return [Cut(start, node.end, one_line), Cut(end, end, _join(text, below))]


def _replace_block(text: str, spot: Spot, one_line: str, below: list[str]) -> list[Cut]:
    """A list or mapping over several lines: they go, the key's own line keeps its comment and loses an anchor."""
    node = spot.node
    if spot.key is None:
        return [Cut(node.body, node.end, one_line.lstrip(" ") + _join(text, below))]
    at = _after_colon(text, spot)
    cuts = [Cut(at, at, one_line), Cut(line_end(text, at), node.end, _join(text, below))]
    anchor = _ANCHOR.match(text, node.start)
    if anchor:
        start = len(text[: anchor.start()].rstrip(" \t"))
        cuts.append(Cut(start, anchor.end(), ""))
    return cuts


# Keys


def add_key(text: str, node: Pairs, key: str, value: Any, rank: Callable[[str], Any] | None, *, json: bool) -> list[Cut]:
    """Put a new key where `rank` puts it among the others, else at the end of its mapping."""
    before = _predecessor(node, key, rank)
    if node.flow:
        json = json or bool(node.pairs and node.pairs[0][0].style == '"')
        source = emit.flow({key: value}, json=json)[1:-1]
        return _with(text, node, lambda inside: inside.insert(before + 1, source))
    indent = column(text, node.pairs[0][0].start)
    lines = emit.block_lines(f"{emit.spelled(key)}:", value, indent)
    eol = end_of_line(text)
    spaced = rank is not None and _is_spaced(text, node, before)
    if before >= 0 and line_end(text, node.pairs[before][1].end) == len(text) and _is_text_block(_last(node.pairs[before][1])):
        before -= 1  # a block of lines that the file ends with, without a line end: one behind it would become its own
    if before < 0:
        at = node.pairs[0][0].start
        return [Cut(at, at, eol.join(lines) + eol + (eol if spaced else "") + " " * indent)]
    if _keeps_blanks(text, node.pairs[before][1]):
        spaced = False
    at = _behind(text, max(node.pairs[before][1].end, node.pairs[before][0].end), indent)
    return [Cut(at, at, (eol if spaced else "") + eol + " " * indent + eol.join(lines))]


def _predecessor(node: Pairs, key: str, rank: Callable[[str], Any] | None) -> int:
    """The index of the pair after which `key` belongs; -1 for the beginning."""
    if rank is None:
        return len(node.pairs) - 1
    lower = [(rank(pair[0].value), index) for index, pair in enumerate(node.pairs) if rank(pair[0].value) < rank(key)]
    return max(lower)[1] if lower else -1


def _is_spaced(text: str, node: Pairs, before: int) -> bool:
    """Whether blank lines stand between keys where a new one goes in."""
    pairs = node.pairs
    if len(pairs) == 1:
        return True
    low = min(max(before, 0), len(pairs) - 2)
    return _BLANK_LINE.search(text, pairs[low][1].end, pairs[low + 1][0].start) is not None


def _behind(text: str, at: int, indent: int) -> int:
    """The end of the line of `at`, and of comments right below it that are indented deeper than `indent`."""
    end = line_end(text, at)
    while match := re.compile(rf"\r?\n {{{indent + 1},}}#.*").match(text, end):
        end = match.end()
    return end


def remove_key(text: str, node: Pairs, index: int) -> list[Cut]:
    """Take out a pair; another must remain. Of the blank lines around it one stays."""
    if node.flow:
        return _with(text, node, lambda inside: inside.remove(index))
    key, value = node.pairs[index]
    start = line_start(text, key.start)
    if text[start : key.start].strip(" "):  # `- key: value`: the dash stays
        return [Cut(key.start, node.pairs[index + 1][0].start, "")]
    previous = node.pairs[index - 1][1] if index else None
    return [_lines_cut(text, start, max(value.end, key.end), previous, collapse=True)]


def _lines_cut(text: str, start: int, end: int, previous: Node | None, *, collapse: bool) -> Cut:
    """Whole lines, from the one that begins at `start` to the one that holds `end`."""
    stop = line_end(text, end)
    following = re.compile(r"\r?\n").match(text, stop)
    blank_before = collapse and not (previous and _keeps_blanks(text, previous)) and _blank_before(text, start)
    if following:
        stop = following.end()
        blank_after = re.compile(r"[ \t]*\r?\n").match(text, stop)
        if blank_after and collapse and (blank_before is not None or not text[:start].strip("\ufeff")):
            return Cut(start, blank_after.end(), "")
        if stop == len(text) and blank_before is not None:
            return Cut(blank_before, stop, "")
        return Cut(start, stop, "")
    if previous and _is_text_block(_last(previous)):
        return Cut(start, stop, "")
    if blank_before:
        start = blank_before
    while start and text[start - 1] in "\r\n":
        start -= 1
        if text[start] == "\n" and text[start - 1 : start] != "\r":
            break
    return Cut(start, stop, "")


def _blank_before(text: str, start: int) -> int | None:
    """Where the blank line begins that stands before the line of `start`."""
    previous = text.rfind("\n", 0, max(start - 1, 0)) + 1
    return previous if start and not text[previous:start].strip(" \t\r\n") else None


# Lists


def change_list(text: str, spot: Spot, value: list[Any]) -> list[Cut] | None:
    """The list as `value`, items that stay untouched with their comments; None if that is no matter of adding and removing."""
    from difflib import SequenceMatcher

    node = spot.node
    assert isinstance(node, Items)
    old = plain(node)
    assert isinstance(old, list)
    if not all(isinstance(item, str) for item in [*old, *value]):
        return None
    changes = [code for code in SequenceMatcher(None, old, value, autojunk=False).get_opcodes() if code[0] != "equal"]
    if any(high - low == len(old) for _, low, high, _, _ in changes):
        return None
    style = node.items[0]
    if node.flow:
        json = spot.json or (isinstance(style, Scalar) and style.style == '"')
        sources = [_restyled(item, style, json=json, in_flow=True) for item in value]

        def change(inside: Brackets) -> None:
            for _, low, high, first, stop in reversed(changes):
                for index in range(high - 1, low - 1, -1):
                    inside.remove(index)
                for source in reversed(sources[first:stop]):
                    inside.insert(low, source)

        return _with(text, node, change)
    cuts: list[Cut] = []
    for _, low, high, first, stop in changes:
        cuts += [cut for index in range(low, high) for cut in remove_item(text, node, index)]
        cuts += _insert_items(text, node, low, value[first:stop])
    return cuts


def _insert_items(text: str, node: Items, index: int, items: list[str]) -> list[Cut]:
    """Put items before the one at `index` of a block list, at the items' own column."""
    if not items:
        return []
    indent = column(text, node.dashes[0])
    lines = [line for item in items for line in _item_lines(node.items[0], item, indent)]
    if index == 0:
        at = node.dashes[0]
        start = line_start(text, at)
        if text[start:at].strip(" "):
            eol = end_of_line(text)
            return [Cut(at, at, eol.join([lines[0].lstrip(" "), *lines[1:]]) + eol + " " * indent)]
        return [Cut(start, start, _join(text, lines).removeprefix(end_of_line(text)) + end_of_line(text))]
    at = line_end(text, node.items[index - 1].end)
    return [Cut(at, at, _join(text, lines))]


def _item_lines(style: Node, item: str, indent: int) -> list[str]:
    if emit.has_block(item):
        first, *rest = emit.block_lines("-", item, indent)
        return [" " * indent + first, *rest]
    return [f"{' ' * indent}- {_restyled(item, style, json=False, in_flow=False)}"]


def remove_item(text: str, node: Items, index: int) -> list[Cut]:
    """Take out an item; another must remain."""
    if node.flow:
        return _with(text, node, lambda inside: inside.remove(index))
    dash, item = node.dashes[index], node.items[index]
    start = line_start(text, dash)
    if text[start:dash].strip(" "):  # the first item of a list that begins behind another dash
        return [Cut(dash, node.dashes[index + 1], "")]
    return [_lines_cut(text, start, item.end, node.items[index - 1] if index else None, collapse=False)]


def _with(text: str, node: Items | Pairs, change: Callable[[Brackets], None]) -> list[Cut]:
    inside = Brackets(text, node)
    change(inside)
    return [Cut(inside.start, inside.end, inside.text())]
