"""Tasks in a file or a pipe: YAML, JSON or JSON Lines. Each is read when its turn comes, as plain data that knows its place.

YAML is cut into documents and list items first, since the reader takes one mapping at a time: at the first column only `- `,
`---` and `...` can begin the next one.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from kin.errors import Invalid, Place
from kin.model.fields import KeyPath, Plain
from kin.store import reader
from kin.store.nodes import TASK_BOUNDS, Bounds

LARGEST = 64 << 20
"""Bytes of a whole stream."""

_WHOLE = Bounds(nodes=5_000_000, size=LARGEST)
_WRAP = "item:\n"
"""What makes a list's item a file that the reader takes."""
_LISTS = ("tasks", "data")
"""Keys of a document that is no task but holds a list of them; `kin list --json` prints the second."""
_DOCUMENT = re.compile(rb"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DASH = re.compile(rb"^-(?=[ \t\r\n]|\Z)", re.MULTILINE)
_MEANT = re.compile(rb"^(?![ \t]*(?:#|\r?$)|%).", re.MULTILINE)
_BLANKS = re.compile(r"[ \t\r\n]*")
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
            else:
                yield from _mapping(_text(raw[start:end], path, line), line, path)
        line += raw.count(b"\n", start, after)
        start = after


def _list(document: bytes, line: int, path: str) -> Iterator[Item]:
    starts = [match.start() for match in _DASH.finditer(document)]
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
    lines[0] = f" {lines[0][1:]}"
    width = len(lines[0]) - len(lines[0].lstrip(" "))
    pad = " " * width
    return "\n".join(line[width:] if line.startswith(pad) else line for line in lines)


def _mapping(document: str, line: int, path: str) -> Iterator[Item]:
    data = _read(document, path, line, _WHOLE)
    name = _list_in(data)
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


def _list_in(data: dict[str, Any]) -> str | None:
    return next((key for key in _LISTS if isinstance(data.get(key), list) and "title" not in data), None)


# JSON


def _json(raw: bytes, path: str) -> Iterator[Item]:
    """JSON Lines, where the first line is whole; else values over several lines, those of a list at the top one by one."""
    first = raw.lstrip(b" \t\r\n").partition(b"\n")[0].strip()
    try:
        _decode(_text(first, path, 1), 0, path, 1)
        in_lines = first[:1] == b"{" and first[-1:] == b"}"
    except Invalid:
        in_lines = False
    if not in_lines:
        yield from _json_text(_text(raw, path, 1), 1, path)
        return
    start, line = 0, 1
    while start < len(raw):
        end = raw.find(b"\n", start) + 1 or len(raw)
        yield from _json_text(_text(raw[start:end], path, line), line, path)
        start, line = end, line + 1


def _json_text(text: str, line: int, path: str) -> Iterator[Item]:
    """Values one after the other; the text begins in line `line` of the stream."""
    first, counted, inside = line, 0, False
    at = _next(text, 0)
    while at < len(text):
        line += text.count("\n", counted, at)
        counted = at
        if not inside and text[at] == "[":
            inside, at = True, _next(text, at + 1)
            if text[at : at + 1] != "]":
                continue
        else:
            value, at = _decode(text, at, path, first)
            yield from _values(value, path, line)
            at = _next(text, at)
        if inside:
            if text[at : at + 1] not in (",", "]"):
                raise Invalid("a `,` or the list's `]` is missing", "", _place(text, at, path, first))
            inside = text[at] == ","
            at = _next(text, at + 1)
            if inside and text[at : at + 1] == "]":
                raise Invalid("a `,` before the list's `]`", "remove it", _place(text, at, path, first))
    if inside:
        raise Invalid("the list is never closed", "end it with `]`", _place(text, at, path, first))


def _next(text: str, at: int) -> int:
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr]


def _place(text: str, at: int, path: str, line: int) -> Place:
    begin = text.rfind("\n", 0, at) + 1
    return Place(path, text.count("\n", 0, at) + line, at - begin + 1)


def _decode(text: str, at: int, path: str, line: int) -> tuple[Any, int]:
    """The value at an offset of the text, which begins in line `line`, and the offset behind it."""
    from json import JSONDecodeError, JSONDecoder

    decoder = JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str, parse_constant=str)
    try:
        return decoder.raw_decode(text, at)
    except JSONDecodeError as error:
        hint = "what begins with `{` or `[` is JSON: keys and texts stand in double quotes"
        raise Invalid(f"this is no JSON: {error.msg}", hint, _place(text, error.pos, path, line)) from None
    except ValueError as error:
        raise Invalid(str(error), "keep one of them", _place(text, at, path, line)) from None
    except RecursionError:
        where = _place(text, at, path, line)
        raise Invalid(f"nested deeper than {TASK_BOUNDS.depth} levels", "flatten it", where) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise ValueError(f"the key `{twice}` stands there twice")
    return data


def _values(value: Any, path: str, line: int) -> Iterator[Item]:
    name = _list_in(value) if isinstance(value, dict) else None
    for one in value[name] if name else [value]:
        yield _item(_plain(one, path, line), path, line)


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
