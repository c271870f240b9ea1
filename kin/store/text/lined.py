"""A text and which of its lines each key takes, so that a merge can take over or mark whole keys."""

from collections.abc import Mapping, Sequence

from kin.model.fields import KeyPath
from kin.store.text.lines import Cut, apply, behind, end_of_line, line_start
from kin.store.text.nodes import RECORD_BOUNDS, Node, Pairs, Scalar
from kin.store.text.reader import read_tree


class Lined:
    """A text that can be read, and its keys by the paths that lead to them; `aliases` are other spellings of the first."""

    def __init__(self, text: str, aliases: Mapping[str, Sequence[str]]) -> None:
        self.text = text
        self.tree = read_tree(text, "", RECORD_BOUNDS)
        self.aliases = aliases

    @property
    def indent(self) -> int:
        return self.tree.column

    def has_lines(self, path: KeyPath) -> bool:
        """Whether each key on the way, as far as it is there, begins a line and shares none with a neighbour."""
        for around, (key, _) in self._pairs(path):
            if around.flow or self.text[line_start(self.text, key.start) : key.start].strip(" "):
                return False
        return True

    def span(self, path: KeyPath) -> tuple[int, int] | None:
        """Where the lines of a key and its value are, with comments that are indented below; None if it is not there."""
        pairs = self._pairs(path)
        if len(pairs) < len(path):
            return None
        key, value = pairs[-1][1]
        start = line_start(self.text, key.start)
        end = behind(self.text, max(key.end, value.end), key.start - start)
        return start, self.text.find("\n", end) + 1 or len(self.text)

    def lines(self, path: KeyPath) -> str:
        """The lines of a key, "" if it is not there; the last line of a file gets an end, so that others can follow."""
        span = self.span(path)
        found = self.text[slice(*span)] if span else ""
        return found if found.endswith("\n") or not found else found + end_of_line(self.text)

    def replaced(self, new: Mapping[KeyPath, str]) -> str:
        """The text with other lines for these keys, where they are there."""
        return apply(self.text, [Cut(*span, lines) for path, lines in new.items() if (span := self.span(path))])

    def _pairs(self, path: KeyPath) -> list[tuple[Pairs, tuple[Scalar, Node]]]:
        """The pairs that `path` leads through, each with the mapping around it, as far as they are there."""
        found: list[tuple[Pairs, tuple[Scalar, Node]]] = []
        node: Node = self.tree
        for key in path:
            spellings = (key, *(() if found else self.aliases.get(str(key), ())))
            pair = next((p for name in spellings if (p := node.pair(name))), None) if isinstance(node, Pairs) else None
            if pair is None:
                break
            assert isinstance(node, Pairs)
            found.append((node, pair))
            node = pair[1]
        return found
