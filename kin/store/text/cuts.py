"""Which characters of a text a change replaces, and by what: the rules of block and flow style, key by key. In brackets an
element goes in or out with its comma, in the spacing that is there.

Nothing here decides whether the outcome is right: `splice.py` parses it again and compares.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from kin.errors import Invalid
from kin.store.text import emit, lines
from kin.store.text.nodes import Items, Node, Pairs, Scalar, has_foreign, plain

_COLON = re.compile(r"[ \t]*:")
_ANCHOR = re.compile(r"&[^\s,\[\]{}]+")
_TO_COMMA = re.compile(r"((?:[^#,]|#[^\n]*\n)*),")  # a comma in a comment is none
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")


class Spot(NamedTuple):
    """A node and what it stands in: the pair's key or the item's dash, and whether that is in brackets, or JSON."""

    node: Node
    parent: Pairs | Items
    number: int
    json: bool

    @property
    def key(self) -> Scalar | None:
        return self.parent.pairs[self.number][0] if isinstance(self.parent, Pairs) else None


class Brackets:
    """The elements' own characters, and what stands between them (comments too), taken apart and put together again."""

    def __init__(self, text: str, node: Items | Pairs) -> None:
        if isinstance(node, Items):
            spans = [(item.start, item.end) for item in node.items]
        else:
            spans = [(key.start, value.end) for key, value in node.pairs]
        self.start, self.end = node.body + 1, node.end - 1
        self.elements = [text[start:end] for start, end in spans]
        edges = [self.start, *(offset for span in spans for offset in span), self.end]
        self.gaps = [text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2)]

    def insert(self, index: int, source: str) -> None:
        """Put an element before the one at `index`, or at the end."""
        separator = self._separator()
        if not self.elements:
            self.gaps.insert(0, "")
        elif index < len(self.elements):
            self.gaps.insert(index + 1, separator)
        else:
            self.gaps.insert(index, separator)
        self.elements.insert(index, source)

    def _separator(self) -> str:
        """What stands between two elements, line end and indentation too where each has a line of its own."""
        found = ", "
        if len(self.elements) > 1:
            found = self.gaps[1]
        elif self.elements and "\n" in self.gaps[0]:
            found = f",{self.gaps[0]}"
        return ", " if "#" in found else found

    def remove(self, index: int) -> None:
        """Take out the element at `index` with its comma; comments beside it stay."""
        before, after = self.gaps[index : index + 2]
        last = index + 1 == len(self.elements)
        if last and index:
            before = _TO_COMMA.sub(r"\1", before, count=1) if "#" in before else ""
        elif "#" in after or last:
            after = _TO_COMMA.sub(r"\1", after, count=1)
        else:
            after = ""
        self.gaps[index : index + 2] = [before + after]
        del self.elements[index]

    def text(self) -> str:
        return self.gaps[0] + "".join(element + gap for element, gap in zip(self.elements, self.gaps[1:], strict=True))


# Replacing a value


def replace(text: str, spot: Spot, value: Any) -> list[lines.Cut]:
    """Put `value` where the node of `spot` stands."""
    node = spot.node
    if isinstance(value, list) and isinstance(node, Items) and node.items and value:
        cuts = change_list(text, spot, value)
        if cuts is not None:
            return cuts
    if spot.parent.flow:
        return _replace_in_flow(text, spot, value)
    if spot.key is None and not isinstance(node, Scalar) and not node.flow:
        one_line, below = _rendered(text, spot, value)
        return [lines.Cut(node.body, node.end, one_line.lstrip(" ") + lines.join(text, below))]
    return _replace_in_block(text, spot, *_rendered(text, spot, value))


def _rendered(text: str, spot: Spot, value: Any) -> tuple[str, list[str]]:
    """What goes behind the colon or dash, with a blank before it, and the lines that go below."""
    node = spot.node
    if value is None or (isinstance(value, str) and not emit.has_block(value)):
        return f" {_one_line(value, node, json=False, in_flow=False)}", []
    if spot.key:
        head, indent = ":", lines.column(text, spot.key.start)
    else:
        head, indent = "-", lines.column(text, spot.parent.body)
    first, *below = emit.block_lines(head, value, indent)
    return first.removeprefix(head), below


def _one_line(value: Any, like: Node, *, json: bool, in_flow: bool) -> str:
    """`value` on one line, a text in the quotes that the old or neighbouring value has."""
    if value is None or isinstance(value, (dict, list)):
        return emit.flow(value, json=json)
    style = like.style if isinstance(like, Scalar) else ""
    if style == '"':
        return emit.quoted(value)
    if style == "'" and not has_foreign(value) and "\n" not in value:
        return f"'{value.replace(chr(39), chr(39) * 2)}'"
    return emit.flow(value, json=True) if json else emit.scalar(value, in_flow=in_flow)


def _replace_in_flow(text: str, spot: Spot, value: Any) -> list[lines.Cut]:
    node = spot.node
    new = _one_line(value, node, json=spot.json, in_flow=True)
    if node.start == node.end and text[node.end - 1] != ":":
        return [lines.Cut(node.end, node.end, f": {new}")]
    return [lines.Cut(node.body, node.end, new if node.body < node.end else f" {new}")]


def _after_colon(text: str, spot: Spot) -> int:
    """The offset behind the key's colon, or behind the dash of an empty item."""
    if spot.key is None:
        return spot.node.start
    match = _COLON.match(text, spot.key.end)
    if match is None:
        raise Invalid(f"`{spot.key.value}` is written with `?`", f"write `{spot.key.value}: ...` instead")
    return match.end()


def _replace_in_block(text: str, spot: Spot, one_line: str, below: list[str]) -> list[lines.Cut]:
    """The value's own first line goes, and lines below that are its; comments behind stay, an anchor does not."""
    node = spot.node
    empty, block = node.start == node.end, not isinstance(node, Scalar) and not node.flow
    start, end, stop = node.body, node.end, lines.line_end(text, node.end)
    if lines.is_text_block(node):
        header = lines.HEADER.match(text, node.body)
        assert header is not None
        end, stop = header.end(), node.end
    elif empty or block or (below and spot.key is not None and lines.line_start(text, node.body) > spot.key.start):
        start = end = _after_colon(text, spot)  # the value stands in lines of its own, or nowhere
        stop = lines.line_end(text, end) if empty else node.end if block and not below else stop
    new = one_line.lstrip(" ")
    if start == end:
        new = one_line
    elif not new:
        start = len(text[:start].rstrip(" \t"))
    cuts = [lines.Cut(start, end, new), lines.Cut(lines.line_end(text, end), stop, lines.join(text, below))]
    if block and (anchor := _ANCHOR.match(text, node.start)):
        cuts.append(lines.Cut(len(text[: anchor.start()].rstrip(" \t")), anchor.end(), ""))
    return cuts


# Keys


def add_key(text: str, node: Pairs, key: str, value: Any, rank: Callable[[str], Any] | None, *, json: bool) -> list[lines.Cut]:
    """Put a new key where `rank` puts it among the others, else at the end of its mapping."""
    before = _predecessor(node, key, rank)
    if node.flow:
        json = json or bool(node.pairs and node.pairs[0][0].style == '"')
        source = emit.flow({key: value}, json=json)[1:-1]
        return _with(text, node, lambda inside: inside.insert(before + 1, source))
    indent = lines.column(text, node.pairs[0][0].start)
    rows = emit.block_lines(f"{emit.spelled(key)}:", value, indent)
    eol = lines.end_of_line(text)
    spaced = rank is not None and _is_spaced(text, node, before)
    if (
        before >= 0
        and lines.line_end(text, node.pairs[before][1].end) == len(text)
        and lines.is_text_block(lines.last_leaf(node.pairs[before][1]))
    ):
        before -= 1  # a block of lines that the file ends with, without a line end: one behind it would become its own
    if before < 0:
        at = node.pairs[0][0].start
        return [lines.Cut(at, at, eol.join(rows) + eol + (eol if spaced else "") + " " * indent)]
    if lines.keeps_blanks(text, node.pairs[before][1]):
        spaced = False
    own = indent if rank or not indent else indent - 1  # at the end of a mapping inside, its comments stay before
    at = lines.behind(text, node.pairs[before][1].end, own)
    return [lines.Cut(at, at, (eol if spaced else "") + eol + " " * indent + eol.join(rows))]


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


def remove_key(text: str, node: Pairs, index: int) -> list[lines.Cut]:
    """Take out a pair; another must remain. Of the blank lines around it one stays."""
    if node.flow:
        return _with(text, node, lambda inside: inside.remove(index))
    key, value = node.pairs[index]
    start = lines.line_start(text, key.start)
    if text[start : key.start].strip(" "):  # `- key: value`: the dash stays
        return [lines.Cut(key.start, node.pairs[index + 1][0].start, "")]
    previous = node.pairs[index - 1][1] if index else None
    return [lines.lines_cut(text, start, value.end, previous, collapse=True)]


# Lists


def change_list(text: str, spot: Spot, value: list[Any]) -> list[lines.Cut] | None:
    """The list as `value`, items that stay untouched with their comments; None if none stays."""
    node = spot.node
    assert isinstance(node, Items)
    old = [plain(item) for item in node.items]
    changes = _differences(old, value)
    if any(high - low == len(old) for low, high, _, _ in changes):
        return None
    style = node.items[0]
    if node.flow:
        json = spot.json or (isinstance(style, Scalar) and style.style == '"')
        sources = [_one_line(item, style, json=json, in_flow=True) for item in value]

        def change(inside: Brackets) -> None:
            for low, high, first, stop in reversed(changes):
                for index in range(high - 1, low - 1, -1):
                    inside.remove(index)
                for source in reversed(sources[first:stop]):
                    inside.insert(low, source)

        return _with(text, node, change)
    cuts: list[lines.Cut] = []
    for low, high, first, stop in changes:
        cuts += [cut for index in range(low, high) for cut in remove_item(text, node, index)]
        cuts += _insert_items(text, node, low, value[first:stop])
    return cuts


def _differences(old: list[Any], new: list[Any]) -> list[tuple[int, int, int, int]]:
    """Which of the old items (from, to) go, and which of the new ones come in their place."""
    shorter = min(len(old), len(new))
    lead = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    rest = shorter - lead
    tail = next((n for n in range(rest) if old[-1 - n] != new[-1 - n]), rest)
    ends = len(old) - tail, len(new) - tail
    gone, come = [repr(item) for item in old[lead : ends[0]]], [repr(item) for item in new[lead : ends[1]]]
    if not gone or not come or len(gone) * len(come) > 100_000:
        return [(lead, ends[0], lead, ends[1])] if gone or come else []
    from difflib import SequenceMatcher

    codes = SequenceMatcher(None, gone, come, autojunk=False).get_opcodes()
    return [(lead + a, lead + b, lead + c, lead + d) for kind, a, b, c, d in codes if kind != "equal"]


def _insert_items(text: str, node: Items, index: int, items: list[Any]) -> list[lines.Cut]:
    """Put items before the one at `index` of a block list, at the items' own column."""
    if not items:
        return []
    indent = lines.column(text, node.dashes[0])
    rows = [line for item in items for line in _item_lines(node.items[0], item, indent)]
    if index == 0:
        at = node.dashes[0]
        start = lines.line_start(text, at)
        if text[start:at].strip(" "):
            eol = lines.end_of_line(text)
            return [lines.Cut(at, at, eol.join([rows[0].lstrip(" "), *rows[1:]]) + eol + " " * indent)]
        return [lines.Cut(start, start, lines.join(text, rows).removeprefix(lines.end_of_line(text)) + lines.end_of_line(text))]
    at = lines.line_end(text, node.items[index - 1].end)
    return [lines.Cut(at, at, lines.join(text, rows))]


def _item_lines(style: Node, item: Any, indent: int) -> list[str]:
    if isinstance(item, (dict, list)) or (item is not None and emit.has_block(item)):
        first, *rest = emit.block_lines("-", item, indent)
        return [" " * indent + first, *rest]
    return [f"{' ' * indent}- {_one_line(item, style, json=False, in_flow=False)}"]


def remove_item(text: str, node: Items, index: int) -> list[lines.Cut]:
    """Take out an item; another must remain."""
    if node.flow:
        return _with(text, node, lambda inside: inside.remove(index))
    dash, item = node.dashes[index], node.items[index]
    start = lines.line_start(text, dash)
    if text[start:dash].strip(" "):  # the first item of a list that begins behind another dash
        return [lines.Cut(dash, node.dashes[index + 1], "")]
    return [lines.lines_cut(text, start, item.end, node.items[index - 1] if index else None, collapse=False)]


def _with(text: str, node: Items | Pairs, change: Callable[[Brackets], None]) -> list[lines.Cut]:
    inside = Brackets(text, node)
    change(inside)
    return [lines.Cut(inside.start, inside.end, inside.text())]
