"""Tasks in a file or a pipe: YAML, JSON or JSON Lines. Each is read when its turn comes, as plain data that knows its place.

YAML is cut into documents and list items first, since the reader takes one mapping at a time: at the first column only `- `,
`---` and `...` can begin the next one.
"""

import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from kin.errors import Invalid, Place
from kin.model.fields import KeyPath, Plain
from kin.store.text import reader
from kin.store.text.nodes import TASK_BOUNDS, Bounds

LARGEST = 64 << 20
"""Bytes of a whole stream."""

_WHOLE = Bounds(nodes=5_000_000, size=LARGEST)
_WRAP = "item:\n"
"""What makes a list's item a file that the reader takes."""
_LISTS = ("tasks", "data")
"""Keys of a document that is no task but holds a list of them; `kin list --json` prints the second."""
_DOCUMENT = re.compile(rb"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DASH = re.compile(rb"^( *)-(?=[ \t\r\n]|\Z)", re.MULTILINE)
_HELD = re.compile(rb"^(?:tasks|data):[ \t]*(?:#[^\n]*)?\r?$", re.MULTILINE)
_KEY = re.compile(rb"^(?:[^ \t\r\n#-]|-[^ \t\r\n])", re.MULTILINE)
"""What stands in the first column and is no item of a list, no comment."""
_MEANT = re.compile(rb"^(?![ \t]*(?:#|\r?$)|%).", re.MULTILINE)
_BLANKS = re.compile(r"[ \t\r\n]*")
_FIRST = re.compile(rb"\s*([^\n]*)\s*(\S?)")
"""The first line that is not empty, and whether there is more."""
_BOM = b"\xef\xbb\xbf"


class Item(NamedTuple):
    """A task's data; `source`, from line `line` of the stream on, says it at `keys` (JSON: "", the line is all we know)."""

    data: dict[str, Plain]
    line: int
    source: str = ""
    keys: KeyPath = ()

    @property
    def begins(self) -> int:
        """The line of the stream in which the task begins, or the document that holds it."""
        return self.line + self.source.startswith(_WRAP)


def place_in(item: Item, path: str, keys: KeyPath) -> Place:
    """Where the stream says the value at `keys` of a task."""
    if not item.source:
        return Place(path, item.line)
    return _moved(reader.place_of(item.source, path, (*item.keys, *keys), _WHOLE), item.line)


def _moved(place: Place, line: int) -> Place:
    return place._replace(line=place.line + line - 1) if place.line else place._replace(line=max(line, 1))


def items(raw: bytes, path: str) -> Iterator[Item]:
    """Each task of a stream. A text alone is its title. Raises Invalid with the place of what cannot be read."""
    raw = raw.removeprefix(_BOM)
    first = raw.lstrip(b" \t\r\n")[:1]
    yield from _json(raw, path) if first in (b"{", b"[") else _yaml(raw, path)


def _text(raw: bytes, path: str, line: int) -> str:
    """A part of the stream, which begins in line `line`."""
    try:
        return reader.decode(raw, path, _WHOLE)
    except Invalid as error:
        raise Invalid(error.message, error.hint, _moved(error.where or Place(path), line)) from None


# YAML


def _yaml(raw: bytes, path: str) -> Iterator[Item]:
    line, start = 1, 0
    for end, after in [*((m.start(), m.end()) for m in _DOCUMENT.finditer(raw)), (len(raw), len(raw))]:
        if meant := _MEANT.search(raw, start, end):
            if _DASH.match(raw, meant.start()):
                yield from _list(raw[start:end], line, path)
            elif held := _held(document := raw[start:end]):
                yield from _list(document, line, path, held)
            else:
                yield from _mapping(_text(document, path, line), line, path)
        line += raw.count(b"\n", start, after)
        start = after


def _held(document: bytes) -> int:
    """Where the list of tasks begins that a document holds under its last key, if it is no task itself; else 0."""
    found = _HELD.search(document)
    if not found or _KEY.search(document, found.end()) or not _DASH.match(document, _line_of(document, found.end())):
        return 0
    about = document[: found.start()]
    try:
        said = _read(_text(about, "", 1), "", 1, TASK_BOUNDS) if _MEANT.search(about) else {}
    except Invalid:
        return 0  # whoever reads the whole says where
    return 0 if "title" in said or set(_LISTS) & set(said) else found.end()


def _line_of(document: bytes, behind: int) -> int:
    """The offset of the first line behind an offset that says something; the end if none does."""
    meant = _MEANT.search(document, behind + 1)
    return meant.start() if meant else len(document)


def _list(document: bytes, line: int, path: str, behind: int = -1) -> Iterator[Item]:
    """The items of the list in the lines behind an offset of a document, which begins in line `line` of the stream."""
    first = _DASH.match(document, _line_of(document, behind))
    assert first is not None
    items = re.compile(rb"^" + first[1] + rb"-(?=[ \t\r\n]|\Z)", re.MULTILINE)
    starts = [match.start() for match in items.finditer(document, first.start())]
    line += document.count(b"\n", 0, starts[0])
    for start, end in zip(starts, [*starts[1:], len(document)], strict=True):
        chunk = _text(document[start:end], path, line)
        source = f"{_WRAP}{chunk}"
        data: Plain = reader.read_fast(_without_dash(chunk))
        if data is None:
            held = _read(source, path, line - 1, TASK_BOUNDS)["item"]
            data = held[0] if isinstance(held, list) else held
        yield _item(data, path, line - 1, source, ("item", 0))
        line += chunk.count("\n")


def _without_dash(chunk: str) -> str:
    """A list's item as a file of its own, if its lines stand below the first word."""
    lines = chunk.split("\n")
    lines[0] = lines[0].replace("-", " ", 1)
    width = len(lines[0]) - len(lines[0].lstrip(" "))
    pad = " " * width
    return "\n".join(line[width:] if line.startswith(pad) else line for line in lines)


def _mapping(document: str, line: int, path: str) -> Iterator[Item]:
    data = _read(document, path, line, _WHOLE)
    name = next((key for key in _LISTS if isinstance(data.get(key), list) and "title" not in data), None)
    if name is None:
        yield _item(data, path, line, document, ())
        return
    for number, one in enumerate(data[name]):
        yield _item(one, path, line, document, (name, number))


def _read(source: str, path: str, line: int, bounds: Bounds) -> dict[str, Any]:
    try:
        return reader.read(source, path, bounds)
    except Invalid as error:
        raise Invalid(error.message, error.hint, _moved(error.where or Place(path), line)) from None


# JSON: where values end is found in a text of one character a byte; each is then read again as what it is. The whole stream
# as UTF-8 text, and all of its values at once, would take up to ten times its size.


def _json(raw: bytes, path: str) -> Iterator[Item]:
    """JSON Lines, where the first line is whole; else values over several lines, those of a list at the top one by one."""
    first, more = _FIRST.match(raw).groups()  # type: ignore[union-attr]
    if not more or not _is_whole(first.strip()):
        yield from _Json(raw, path, 1).items()
        return
    start, line = 0, 1
    while start < len(raw):
        end = raw.find(b"\n", start) + 1 or len(raw)
        yield from _Json(raw[start:end], path, line).items()
        start, line = end, line + 1


def _is_whole(line: bytes) -> bool:
    try:
        _decode(line.decode("latin-1"), 0)
        return line[:1] == b"{" and line[-1:] == b"}"
    except ValueError:
        return False


class _Json:
    """Values one after the other, from line `line` of the stream on."""

    def __init__(self, raw: bytes, path: str, line: int) -> None:
        self.raw, self.path, self.line = raw, path, line
        self.text = raw.decode("latin-1")

    def items(self) -> Iterator[Item]:
        line, counted = self.line, 0
        for start, end in self.values():
            line += self.text.count("\n", counted, start)
            counted = start
            value, _ = self.decode(_text(self.raw[start:end], self.path, line), 0, start)
            yield _item(_plain(value, self.path, line), self.path, line)

    def values(self) -> Iterator[tuple[int, int]]:
        """Begin and end of each task."""
        at = self.next(0)
        while at < len(self.text):
            if self.text[at] == "[":
                at = yield from self.elements(at + 1)
            elif found := self.held(at):
                yield from self.elements(found[0] + 1)
                at = found[1]
            else:
                start, at = at, self.decode(self.text, at)[1]
                yield start, at
            at = self.next(at)

    def elements(self, at: int) -> Generator[tuple[int, int], None, int]:
        """Begin and end of each value of a list whose `[` stands before; the offset behind its `]`."""
        at = self.next(at)
        while (sign := self.text[at : at + 1]) != "]":
            if not sign:
                raise self.fault("the list is never closed", "end it with `]`", at)
            start, at = at, self.decode(self.text, at)[1]
            yield start, at
            at = self.next(at)
            if (sign := self.text[at : at + 1]) not in (",", "]"):
                raise self.fault("a `,` or the list's `]` is missing", "", at)
            at = self.next(at + 1) if sign == "," else at
            if sign == "," and self.text[at : at + 1] == "]":
                raise self.fault("a `,` before the list's `]`", "remove it", at)
        return at + 1

    def held(self, at: int) -> tuple[int, int] | None:
        """Where the list of tasks begins that an object holds, if it is no task itself, and the offset behind the object."""
        starts: dict[str, int] = {}
        if self.text[at] != "{":
            return None
        at, sign = self.next(at + 1), ","
        while sign == "," and self.text[at : at + 1] == '"':
            key, at = self.decode(self.text, at)
            at = self.next(at)
            if self.text[at : at + 1] != ":" or key in starts or key == "title":
                return None
            starts[key] = at = self.next(at + 1)
            at = self.next(self.behind(at))
            sign, at = self.text[at : at + 1], self.next(at + 1)
        lists = [starts[name] for name in _LISTS if name in starts and self.text[starts[name]] == "["]
        return (lists[0], at) if lists and sign == "}" else None

    def behind(self, at: int) -> int:
        """The offset behind a value; those of a list are gone through one by one."""
        if self.text[at : at + 1] != "[":
            return self.decode(self.text, at)[1]
        elements = self.elements(at + 1)
        while True:
            try:
                next(elements)
            except StopIteration as end:
                return int(end.value)

    def next(self, at: int) -> int:
        return _BLANKS.match(self.text, at).end()  # type: ignore[union-attr]

    def decode(self, text: str, at: int, moved: int = 0) -> tuple[Any, int]:
        """The value at an offset of a text which begins at the offset `moved`, and the offset behind it. Raises Invalid."""
        from json import JSONDecodeError

        try:
            return _decode(text, at)
        except JSONDecodeError as error:
            hint = "what begins with `{` or `[` is JSON: keys and texts stand in double quotes"
            raise self.fault(f"this is no JSON: {error.msg}", hint, error.pos + moved) from None
        except ValueError as error:
            raise self.fault(str(error), "keep one of them", at + moved) from None
        except RecursionError:
            raise self.fault(f"nested deeper than {TASK_BOUNDS.depth} levels", "flatten it", at + moved) from None

    def fault(self, message: str, hint: str, at: int) -> Invalid:
        begin = self.raw.rfind(b"\n", 0, at) + 1
        column = len(self.raw[begin:at].decode(errors="replace")) + 1
        return Invalid(message, hint, Place(self.path, self.raw.count(b"\n", 0, at) + self.line, column))


def _decode(text: str, at: int) -> tuple[Any, int]:
    from json import JSONDecoder

    return JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str, parse_constant=str).raw_decode(text, at)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise ValueError(f"the key `{twice}` stands there twice")
    return data


def _plain(value: Any, path: str, line: int, depth: int = 1) -> Plain:
    if depth > TASK_BOUNDS.depth:
        raise Invalid(f"nested deeper than {TASK_BOUNDS.depth} levels", "flatten it", Place(path, line))
    if isinstance(value, dict):
        return {key: _plain(one, path, line, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, path, line, depth + 1) for one in value]
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _item(data: Plain, path: str, line: int, source: str = "", keys: KeyPath = ()) -> Item:
    if isinstance(data, str):
        data = {"title": data}
    if not isinstance(data, dict):
        item = Item({}, line, source, keys)
        raise Invalid("this is no task", "a task is a mapping, `title: ...` at least", place_in(item, path, ()))
    return Item(_as_stored(data), line, source, keys)


def _as_stored(data: dict[str, Plain]) -> dict[str, Plain]:
    """Without what `kin list --json` tells beside the file's own keys."""
    if "stored_status" not in data:
        return data
    shown = ("stored_status", "ready", "run")
    return {key: value for key, value in data.items() if key not in shown and value not in (None, [])} | {
        "status": data["stored_status"]
    }
