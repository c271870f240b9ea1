"""The tree of spans of a text in kin's own layout, without the parser of record.

`kin set` and every change of status would pay 25 ms for importing that one. This is no second reader: it looks only at what
`fast.py` has read, so a line can be nothing but what it looks like. A fuzz test shows that it finds the same tree.
"""

import re

from kin.store.text.fast import BLOCK, KEY, QUOTED, read_fast, unescaped, value_of
from kin.store.text.nodes import TASK_BOUNDS, Bounds, Items, Node, Pairs, Scalar


def outline(text: str, bounds: Bounds = TASK_BOUNDS) -> Pairs | None:
    """The tree of `text`; None if it is not in kin's own layout."""
    if read_fast(text, bounds) is None:
        return None
    walk = _Walk(text)
    return walk.mapping(walk.meaningful(0), 0)


class _Walk:
    """From line to line; `at` is where in `lines` a thing begins, `indent` its column."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")[:-1]
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.next = 0  # the line behind what was found last

    def meaningful(self, at: int) -> int:
        """The first line from `at` that is neither blank nor a comment."""
        while at < len(self.lines) and self.lines[at].lstrip(" ")[:1] in ("", "#"):
            at += 1
        return at

    def is_at(self, at: int, indent: int, *, dash: bool = False) -> bool:
        """Whether line `at` begins something at column `indent`."""
        line = self.lines[at] if at < len(self.lines) else ""
        body = line.lstrip(" ")
        return bool(body) and len(line) - len(body) == indent and (not dash or body[:2] == "- ")

    def mapping(self, at: int, indent: int) -> Pairs:
        """The mapping from line `at`; its first key may stand behind a dash."""
        pairs: list[tuple[Scalar, Node]] = []
        first = at
        while at == first or self.is_at(at, indent):
            start = self.starts[at] + indent
            body = self.lines[at][indent:]
            match = KEY.fullmatch(body)
            assert match is not None
            quoted = match[1] is None
            end = match.end(1) if not quoted else match.end(2) + 1
            name = unescaped(match[2]) if quoted else match[1]
            key = Scalar(start, start + end, at + 1, indent + 1, start, name, '"' if quoted else "")
            pairs.append((key, self.behind(at, indent + end + 1, indent)))
            at = self.meaningful(self.next)
        return Pairs(*self.span(pairs[0][0].start, pairs[-1][1].end, first, indent), False, pairs)

    def items(self, at: int, indent: int) -> Items:
        items: list[Node] = []
        dashes: list[int] = []
        first = at
        while at == first or self.is_at(at, indent, dash=True):
            dashes.append(self.starts[at] + indent)
            rest = self.lines[at][indent + 2 :]
            if rest[:2] == "- ":
                items.append(self.items(at, indent + 2))
            elif KEY.fullmatch(rest):
                items.append(self.mapping(at, indent + 2))
            else:
                items.append(self.behind(at, indent + 1, indent))
            at = self.meaningful(self.next)
        return Items(*self.span(dashes[0], items[-1].end, first, indent), False, items, dashes)

    def span(self, start: int, end: int, at: int, column: int) -> tuple[int, int, int, int, int]:
        return start, end, at + 1, column + 1, start

    def behind(self, at: int, column: int, indent: int) -> Node:
        """The value behind a colon or dash that ends before `column`."""
        line = self.lines[at]
        rest = line[column:].lstrip(" ")
        self.next = at + 1
        if not rest or rest[0] == "#":
            return self.below(at, column, indent)
        column = len(line) - len(rest)
        start = self.starts[at] + column
        if rest[0] == "|":
            return self.text(at, column, indent + 2)
        value = value_of(rest)
        if rest[0] in "[{":
            return self.brackets(rest, self.span(start, start + rest.index("]" if rest[0] == "[" else "}") + 1, at, column))
        if rest[0] == '"':
            match = re.fullmatch(QUOTED, rest)
            assert match is not None
            return Scalar(start, start + match.end(1) + 1, at + 1, column + 1, start, str(value), '"')
        source = rest.partition(" #")[0].rstrip(" ")
        return Scalar(start, start + len(source), at + 1, column + 1, start, source, "")

    def below(self, at: int, column: int, indent: int) -> Node:
        """What stands in the lines under a key; the place of nothing is the colon."""
        after = self.meaningful(at + 1)
        if self.is_at(after, indent + 2):
            return (self.items if self.lines[after][indent + 2] == "-" else self.mapping)(after, indent + 2)
        start = self.starts[at] + column
        return Scalar(start, start, at + 1, indent + 1, start, "", "")

    def text(self, at: int, column: int, indent: int) -> Scalar:
        """The block of lines under a `|`."""
        header = re.fullmatch(BLOCK, self.lines[at][column:])
        assert header is not None
        pad = " " * indent
        content: list[str] = []
        last = at
        for number in range(at + 1, len(self.lines)):
            line = self.lines[number]
            if line and not line.startswith(pad):
                break
            content.append(line[indent:])
            if line:
                last = number
        self.next = last + 1
        value = "\n".join(content[: last - at]) + ("" if header[1] else "\n")
        start = self.starts[at] + column
        return Scalar(start, self.starts[last + 1] - 1, at + 1, column + 1, start, value, "|")

    def brackets(self, rest: str, span: tuple[int, int, int, int, int]) -> Node:
        """A list of words, or nothing in brackets."""
        start, end, line, column, _ = span
        if rest[0] == "{":
            return Pairs(*span, True, [])
        items: list[Node] = []
        offset = 1
        for word in rest[1 : end - start - 1].split(", ") if end - start > 2 else []:
            at = start + offset
            items.append(Scalar(at, at + len(word), line, column + offset, at, word, ""))
            offset += len(word) + 2
        return Items(*span, True, items, [])
