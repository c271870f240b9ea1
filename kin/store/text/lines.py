"""Offsets of lines in a text, and whole lines that go or come; what is common to every kind of cut."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from kin.store.text.nodes import Items, Node, Scalar

HEADER = re.compile(r"[|>][0-9+-]*")
_EOL = re.compile(r"\r?\n")
_BLANK = re.compile(r"[ \t]*\r?\n")


class Cut(NamedTuple):
    """Replace the characters from `start` to `end` by `text`."""

    start: int
    end: int
    text: str


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


def join(text: str, lines: Sequence[str]) -> str:
    """Each line with a line end before it."""
    eol = end_of_line(text)
    return "".join(eol + line for line in lines)


def last_leaf(node: Node) -> Node:
    """The scalar or bracket that a node ends with."""
    while not isinstance(node, Scalar) and not node.flow:
        node = node.items[-1] if isinstance(node, Items) else node.pairs[-1][1]
    return node


def is_text_block(node: Node) -> bool:
    return isinstance(node, Scalar) and node.style in ("|", ">")


def keeps_blanks(text: str, node: Node) -> bool:
    """Whether the blank lines behind the node belong to it (`|+`)."""
    last = last_leaf(node)
    return is_text_block(last) and "+" in HEADER.match(text, last.body)[0]  # type: ignore[index]


def behind(text: str, at: int, indent: int) -> int:
    """The end of the line of `at`, and of comments right below it that are indented deeper than `indent`."""
    end = line_end(text, at)
    while match := re.compile(rf"\r?\n {{{indent + 1},}}#.*").match(text, end):
        end = match.end()
    return end


def lines_cut(text: str, start: int, end: int, previous: Node | None, *, collapse: bool) -> Cut:
    """Whole lines, from `start` to the end of the line of `end`; of blank lines around them one stays if `collapse`."""
    stop = line_end(text, end)
    following = _EOL.match(text, stop)
    collapse = collapse and not (previous and keeps_blanks(text, previous))
    blank = _blank_before(text, start) if collapse else start
    if following is None:
        if previous and is_text_block(last_leaf(previous)):
            return Cut(start, stop, "")  # without its line end that block would lose one
        return Cut(len(text[:blank].removesuffix("\n").removesuffix("\r")), stop, "")
    stop = following.end()
    if collapse and (blank < start or not text[:start].strip("\ufeff")) and (after := _BLANK.match(text, stop)):
        return Cut(start, after.end(), "")
    return Cut(blank if stop == len(text) else start, stop, "")


def _blank_before(text: str, start: int) -> int:
    """Where the blank line begins that stands before the line of `start`; `start` if none does."""
    previous = text.rfind("\n", 0, max(start - 1, 0)) + 1
    return start if text[previous:start].strip(" \t\r\n\ufeff") else previous
