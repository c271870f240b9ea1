"""What stands in `[...]` or `{...}`: an element goes in or out with its comma, in the spacing that is there."""

import re

from kin.store.text.nodes import Items, Pairs

_TO_COMMA = re.compile(r"((?:[^#,]|#[^\n]*\n)*),")  # a comma in a comment is none


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
