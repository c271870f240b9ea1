"""The parser of record: YAML 1.2 through ruamel.yaml's events, strict where that protects the store.

Only the pure parser is used: its C twin can be crashed by one deeply nested file. Nothing is constructed, so nothing is
typed, resolved or expanded. Importing this module costs 25 ms (ruamel.yaml): `reader.py` does it when a file is not
in kin's own layout.
"""

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, DocumentStartEvent, MappingStartEvent, ScalarEvent
from ruamel.yaml.scanner import Scanner

from kin.errors import Invalid, Place
from kin.store.text.nodes import Bounds, Items, Node, Pairs, Scalar

_NOT_BREAKS = "\x85\u2028\u2029"  # line breaks for the parser; plain characters for YAML 1.2, git and editors
_FORBIDDEN = re.compile("\r(?!\n)|[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKER = re.compile(r"^(?:<{7}|>{7}|\|{7})(?: .*)?\r?$|^={7}\r?$", re.M)
_ANCHOR = re.compile(r"&[^\s,\[\]{}]+(?:\s+#.*)*\s*")
_TABS = re.compile(r"[|>][0-9+-]{0,2}( *\t[ \t]*)")
_COLON = re.compile(r"(?:\s+#.*$)*\s*:", re.MULTILINE)  # nothing possessive: early Pythons 3.11 match that wrongly
_HEADER = re.compile(r"[|>][+-]?([1-9])?([+-]?)")
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")

_INDENT = "indent with spaces, the keys of one mapping alike"
_QUOTES = "put the text in quotes"
_SAYS = (  # words of the parser's message, what a person is told, how to mend it
    ("'\\t' that cannot start", "a tab where only spaces can stand", f"{_INDENT}; {_QUOTES} if it holds a tab"),
    ("that cannot start any token", "a text cannot begin with {character}", _QUOTES),
    ("mapping values are not allowed", "`: ` inside a text, or a key where none can stand", f"{_QUOTES}, or {_INDENT}"),
    ("could not find expected ':'", "a line that is no `key: value`", _INDENT),
    ("unexpected end of stream", "a quote that is never closed", "close it"),
    ("while parsing a flow", "a bracket that is never closed, or a missing comma", "close it"),
    ("sequence entries are not allowed", "a list item where none can stand", "begin the list on a line of its own"),
    ("expected <block end>", "something that does not belong to the value before it", f"{_INDENT}; {_QUOTES} as a whole"),
    ("unknown escape character", "a backslash in double quotes that begins no escape", "write two, or use single quotes"),
    ("a tag", "a tag", f"remove it, or {_QUOTES} if it begins with `!`"),
    ("nested too deep", "brackets nested too deep", "flatten them"),
    ("expected '<document start>'", "something that does not belong to the mapping before it", _INDENT),
)


def parse(text: str, path: str, bounds: Bounds) -> Pairs:
    """The one mapping that `text` is, as a tree of spans. Raises Invalid with the place of what is wrong."""
    _check_characters(text, path)
    bom = text.startswith("\ufeff")
    body, names = _hide_breaks(text[bom:])
    builder = _Builder(text, path, bounds, int(bom), names)
    try:
        return builder.document(body)
    except MarkedYAMLError as error:
        raise _explained(error, path, body) from None
    except Invalid:
        raise
    except Exception as error:
        # parsing is pure, so what its own slips raise (`"\UFFFFFFFF"`: OverflowError) is the text's fault
        raise Invalid(f"this cannot be read ({type(error).__name__}: {error})", _QUOTES, builder.place) from None


def _check_characters(text: str, path: str) -> None:
    if match := _MARKER.search(text):
        refuse(text, path, match.start(), "merge conflict markers", "settle the conflict, then `git add` the file")
    if match := _FORBIDDEN.search(text):
        found = "a carriage return without a line feed" if match[0] == "\r" else f"the character U+{ord(match[0]):04X}"
        refuse(text, path, match.start(), found, f'write it as "\\u{ord(match[0]):04x}" in double quotes, or remove it')


def refuse(text: str, path: str, index: int, what: str, hint: str) -> NoReturn:
    """Raise Invalid at an offset of the text."""
    begin = text.rfind("\n", 0, index) + 1
    column = index - begin + 1 - (begin == 0 and text.startswith("\ufeff"))
    raise Invalid(what, hint, Place(path, text.count("\n", 0, index) + 1, column))


def _hide_breaks(text: str) -> tuple[str, dict[int, str]]:
    """NEL, LS and PS as characters that occur nowhere in the text, and how to read those back."""
    if not any(char in text for char in _NOT_BREAKS):
        return text, {}
    used = set(text)
    free = (
        chr(n) for n in range(0xE000, 0x110000) if not 0xF900 <= n < 0xF0000 and n & 0xFFFE != 0xFFFE and chr(n) not in used
    )
    names = {next(free): char for char in _NOT_BREAKS}
    hidden = text.translate({ord(char): name for name, char in names.items()})
    return hidden, {ord(name): char for name, char in names.items()}


class _Scanner(Scanner):
    """The pure scanner, with the tabs that YAML 1.2 allows between and behind values, and with bounded brackets."""

    depth = 0

    def scan_to_next_token(self) -> None:
        """Skip blanks, comments and line ends; a tab is a blank unless it would indent what follows."""
        reader = self.reader
        while True:
            begin = reader.pointer
            while (char := reader.peek()) in " \t":
                reader.forward()
            tab = "\t" in reader.buffer[begin : reader.pointer]
            if char == "#":
                while reader.peek() not in "\0\r\n":
                    reader.forward()
            if self.scan_line_break():
                if not self.flow_level:
                    self.allow_simple_key = True
                continue
            if tab and not self.flow_level and reader.peek() != "\0":
                if not reader.buffer[reader.buffer.rfind("\n", 0, begin) + 1 : begin].strip(" "):
                    raise MarkedYAMLError(problem="'\\t' that cannot start", problem_mark=reader.get_mark())
                self.allow_simple_key = False  # in `-<tab>key: value` a tab would indent
            return

    def fetch_block_scalar(self, style: str, **named: Any) -> None:
        """Read a block of lines; tabs behind its header, which the parser refuses, count as blanks."""
        reader = self.reader
        if match := _TABS.match(reader.buffer, reader.pointer):
            blanks = " " * (match.end() - match.start(1))
            reader.buffer = reader.buffer[: match.start(1)] + blanks + reader.buffer[match.end() :]
        super().fetch_block_scalar(style, **named)

    def fetch_tag(self) -> NoReturn:
        """Refuse a tag, before it is taken apart."""
        raise MarkedYAMLError(problem="a tag", problem_mark=self.reader.get_mark())

    def fetch_flow_collection_start(self, *arguments: Any, **named: Any) -> None:
        """Begin a `[` or `{`. The parser looks ahead over a thousand of them before it tells of the first one."""
        if self.flow_level > self.depth:
            raise MarkedYAMLError(problem="nested too deep", problem_mark=self.reader.get_mark())
        super().fetch_flow_collection_start(*arguments, **named)


class _Builder:
    """One document's events on their way to a tree."""

    def __init__(self, text: str, path: str, bounds: Bounds, shift: int, names: dict[int, str]) -> None:
        self.text, self.path, self.bounds, self.shift, self.names = text, path, bounds, shift, names
        self.place = Place(path, 1, 1)
        self.count = 0

    def document(self, body: str) -> Pairs:
        yaml = YAML(typ="safe", pure=True)
        yaml.Scanner = type("_Bounded", (_Scanner,), {"depth": self.bounds.depth})
        events = yaml.parse(body)
        root: Node | None = None
        for event in events:
            if isinstance(event, DocumentStartEvent):
                self.see(event.start_mark)
                if root is not None:
                    self.refuse("a second document", "a file holds one; remove the `---` or `...` before it")
                root = self.node(next(events), events, 1, -1)
        if not isinstance(root, Pairs) or not root.pairs:
            self.place = Place(self.path, 1, 1)
            self.refuse("the file holds no keys" if root is None else "the file is no mapping", "write `key: value` lines")
        return root

    def see(self, mark: StringMark) -> None:
        self.place = Place(self.path, mark.line + 1, mark.column + 1)

    def refuse(self, what: str, hint: str) -> NoReturn:
        raise Invalid(what, hint, self.place)

    def node(self, event: Any, events: Iterator[Any], depth: int, indent: int) -> Node:
        """The node that begins with `event`; `indent` is the column of the block collection around it."""
        self.see(event.start_mark)
        self.count += 1
        if self.count > self.bounds.nodes:
            self.refuse(f"more than {self.bounds.nodes} values", "split the file, or keep long lists elsewhere")
        if isinstance(event, AliasEvent):
            self.refuse(f"the alias `*{event.anchor[:40]}`", f"write the value again, or {_QUOTES} if it begins with `*`")
        start = event.start_mark.index + self.shift
        body = start
        if event.anchor is not None and (match := _ANCHOR.match(self.text, start)):
            body = match.end()
        if isinstance(event, ScalarEvent):
            return self.scalar(event, start, min(body, event.end_mark.index + self.shift), indent)
        if depth > self.bounds.depth:
            self.refuse(f"nested deeper than {self.bounds.depth} levels", "flatten it")
        if not event.flow_style:
            begin = self.text.rfind("\n", 0, body) + 1
            indent = body - (begin or self.shift)
        span = (start, event.start_mark.line + 1, event.start_mark.column + 1, body, bool(event.flow_style))
        if isinstance(event, MappingStartEvent):
            return self.pairs(span, events, depth, indent)
        return self.items(span, events, depth, indent)

    def items(self, span: tuple[int, int, int, int, bool], events: Iterator[Any], depth: int, indent: int) -> Items:
        start, line, column, body, flow = span
        items: list[Node] = []
        dashes: list[int] = []
        next_dash = re.compile(rf"^ {{{indent}}}-(?=\s|$)", re.M)
        while not isinstance(event := next(events), CollectionEndEvent):
            item = self.node(event, events, depth + 1, indent)
            if not flow:
                found = next_dash.search(self.text, items[-1].end) if items else None
                dashes.append(found.end() - 1 if found else body)
                if item.start == item.end:
                    item = item._replace(start=dashes[-1] + 1, end=dashes[-1] + 1, body=dashes[-1] + 1)
            items.append(item)
        end = event.end_mark.index + self.shift if flow else items[-1].end
        return Items(start, end, line, column, body, flow, items, dashes)

    def pairs(self, span: tuple[int, int, int, int, bool], events: Iterator[Any], depth: int, indent: int) -> Pairs:
        start, line, column, body, flow = span
        pairs: list[tuple[Scalar, Node]] = []
        seen: dict[str, int] = {}
        while not isinstance(event := next(events), CollectionEndEvent):
            key = self.node(event, events, depth + 1, indent)
            self.check_key(key, seen)
            assert isinstance(key, Scalar)
            value = self.node(next(events), events, depth + 1, indent)
            if isinstance(value, Scalar) and value.start == value.end:
                # The parser puts what is empty behind the blanks and comments that follow it; its place is the colon.
                colon = _COLON.match(self.text, key.end)
                at = colon.end() if colon else key.end
                value = value._replace(start=at, end=at, body=at, line=key.line, column=key.column)
            pairs.append((key, value))
        end = event.end_mark.index + self.shift if flow else pairs[-1][1].end
        return Pairs(start, end, line, column, body, flow, pairs)

    def check_key(self, key: Node, seen: dict[str, int]) -> None:
        self.place = Place(self.path, key.line, key.column)
        if not isinstance(key, Scalar):
            self.refuse("a key that is no text", f"{_QUOTES} if it begins with a bracket")
        if not key.style and key.value == "<<":
            self.refuse("a merge key `<<`", "write the keys out")
        if not key.style and not key.value:
            self.refuse("a value without a key", "write `key: value`")
        if key.value in seen:
            self.refuse(f"`{key.value}` is there twice, first in line {seen[key.value]}", "keep one of them")
        seen[key.value] = key.line

    def scalar(self, event: ScalarEvent, start: int, body: int, indent: int) -> Scalar:
        value, style = event.value, event.style or ""
        end = event.end_mark.index + self.shift
        if style in ("|", ">"):
            end = _block_end(self.text, body, end, indent)
        if self.names:
            value = value.translate(self.names)
        if style == '"':
            value = self.joined(value)
        return Scalar(start, end, event.start_mark.line + 1, event.start_mark.column + 1, body, value, style)

    def joined(self, value: str) -> str:
        """JSON writes what lies beyond U+FFFF as two escapes; one alone is no character."""
        if not any("\ud800" <= char <= "\udfff" for char in value):
            return value
        pair = lambda match: match[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")  # noqa: E731
        value = _SURROGATES.sub(pair, value)
        if any("\ud800" <= char <= "\udfff" for char in value):
            self.refuse("half of a surrogate pair", "write the character itself")
        return value


def _block_end(text: str, start: int, stop: int, indent: int) -> int:
    """Where a block scalar's last line ends: the parser's own end lies behind the blank lines and comments that follow."""
    header = _HEADER.match(text, start)
    assert header is not None
    width = max(indent, 0) + int(header[1]) if header[1] else 0
    end = at = _line_end(text, start)
    while at < stop:
        begin, at = at, _line_end(text, at + 1)
        line = text[begin + 1 : at].rstrip("\r")
        if line.strip(" "):
            spaces = len(line) - len(line.lstrip(" "))
            width = width or spaces
            if spaces < width or not spaces:
                break
            end = at
        elif "+" in header[0]:
            end = at
    return end - (text[end - 1 : end] == "\r")


def _line_end(text: str, at: int) -> int:
    """The offset of the line feed that ends the line of `at`, or of the text's end."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _explained(error: MarkedYAMLError, path: str, text: str) -> Invalid:
    """The parser's complaint in words that tell a person what to do."""
    said = f"{error.context or ''} {error.problem or ''}"
    mark = error.problem_mark or error.context_mark
    what = (error.problem or error.context or "this is no YAML").replace("'\\x00'", "the end of the file")
    hint = f"put that right, or {_QUOTES}"
    for words, meaning, way in _SAYS:
        if words in said:
            what, hint = meaning, way
            break
    if "never closed" in what or "no `key: value`" in what:
        mark = error.context_mark or mark
    if mark is None:
        return Invalid(what, hint, Place(path))
    what = what.format(character=f"`{text[mark.index : mark.index + 1]}`") if "{character}" in what else what
    return Invalid(what, hint, Place(path, mark.line + 1, mark.column + 1))
