"""A YAML document as a tree of spans: what stands where in a text, so that an edit can replace just those characters.

`strict.py` makes such trees from parse events; `splice.py` cuts by them. Spans are offsets into the text as
it was given (a byte order mark counts, a CRLF counts two); lines and columns count from 1, as people do.
"""

import re
from typing import NamedTuple

from kin.model.fields import Plain

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
"""What an empty value is spelled like, unquoted."""


FOREIGN = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]"
"""Characters that kin only writes escaped: controls, what some take for a line end, what is no character."""


def has_foreign(text: str) -> bool:
    """Whether one of them is in `text`. Compiling the expression takes a millisecond, which most texts need not pay."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return False
    return re.search(FOREIGN, text) is not None


class Bounds(NamedTuple):
    """Limits of one document: nesting, number of nodes, bytes. What people and kin write is far below."""

    depth: int = 40
    nodes: int = 5_000
    size: int = 256 * 1024


TASK_BOUNDS = Bounds()
RECORD_BOUNDS = Bounds(40, 200_000, 8 * 1024 * 1024)
BY_HAND_BOUNDS = Bounds(40, 20_000, 512 * 1024)
"""What the parser of record reads in less than a second; larger files have to be in kin's own layout."""


class Scalar(NamedTuple):
    """One value. `style` is `'`, `"`, `|`, `>` or "" (plain); `body` is `start` without an anchor."""

    start: int
    end: int
    line: int
    column: int
    body: int
    value: str
    style: str


class Items(NamedTuple):
    """A list, in brackets (`flow`) or one item a line. A block list ends with its last item.

    `dashes` says where each item of a block list begins.
    """

    start: int
    end: int
    line: int
    column: int
    body: int
    flow: bool
    items: list["Node"]
    dashes: list[int]


class Pairs(NamedTuple):
    """A mapping, in braces (`flow`) or one key a line. A block mapping ends with its last value."""

    start: int
    end: int
    line: int
    column: int
    body: int
    flow: bool
    pairs: list[tuple[Scalar, "Node"]]

    def pair(self, key: str | int) -> tuple[Scalar, "Node"] | None:
        """The pair of `key` (keys are text, `1` too), or None."""
        return next((pair for pair in self.pairs if pair[0].value == str(key)), None)


Node = Scalar | Items | Pairs


def plain(node: Node) -> Plain:
    """The node as plain data: text, lists, mappings, None."""
    if isinstance(node, Scalar):
        return None if not node.style and node.value in NULLS else node.value
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {key.value: plain(value) for key, value in node.pairs}
