"""A reader for exactly the layout that kin writes, some forty times faster than the parser of record.

It answers "not mine" for everything else: anything that it is not sure of goes to `strict.py`. A fuzz test shows
that the two never disagree.
"""

import re

from kin.model.fields import Plain
from kin.store.text.nodes import NULLS, TASK_BOUNDS, Bounds, has_foreign

KEY = re.compile(r'(?:([A-Za-z0-9_][A-Za-z0-9_./-]{0,200})|"((?:[^"\\\t]|\\.){0,400})"):(?: +(.*))?')
QUOTED = r'"((?:[^"\\\t]|\\.)*)"(?: +#.*| *)'
_ESCAPE = r"\\(?:u([0-9a-fA-F]{4})|(.))"
_SHORT = {'"': '"', "\\": "\\", "/": "/", "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_WORDS = r"\[((?:[A-Za-z0-9_][A-Za-z0-9_./-]*(?:, [A-Za-z0-9_][A-Za-z0-9_./-]*)*)?)\](?: +#.*| *)"
_EMPTY = r"\{\}(?: +#.*| *)"
BLOCK = r"\|(-?)(?: +#.*| *)"
_INDICATORS = frozenset("-?:,[]{}#&*!|>'\"%@`\t ")


class _NotMine(Exception):
    """Something that kin does not write."""


def read_fast(text: str, bounds: Bounds = TASK_BOUNDS) -> dict[str, Plain] | None:
    """The mapping that `text` is, every scalar as text; None if the text is not in kin's own layout."""
    if not text.endswith("\n") or has_foreign(text) or len(text) > bounds.size:
        return None
    lines = text.split("\n")
    lines.pop()
    if 2 * len(lines) + text.count(",") + text.count("- ") + text.count("[") > bounds.nodes:
        return None  # perhaps too many values; the parser of record counts
    try:
        data, _ = _mapping(lines, 0, 0, bounds.depth)
    except _NotMine:
        return None
    return data or None


def _mapping(lines: list[str], at: int, indent: int, depth: int) -> tuple[dict[str, Plain], int]:
    """The mapping whose keys stand at column `indent` from line `at`, and the line after it."""
    if depth <= 0:
        raise _NotMine
    data: dict[str, Plain] = {}
    count = len(lines)
    while at < count:
        line = lines[at]
        body = line.lstrip(" ")
        if not body or body[0] == "#":
            at += 1
            continue
        if len(line) - len(body) != indent:
            if len(line) - len(body) > indent:
                raise _NotMine
            break
        match = KEY.fullmatch(body)
        if not match:
            raise _NotMine
        key, quoted, rest = match.groups()
        if key is None:
            key = unescaped(quoted)
        if key in data:
            raise _NotMine
        if not rest or rest[0] == "#":
            data[key], at = _below(lines, at + 1, indent, depth)
        elif rest[0] == "|":
            data[key], at = _text(lines, at, rest, indent + 2)
        else:
            data[key] = value_of(rest)
            at += 1
    return data, at


def _below(lines: list[str], at: int, indent: int, depth: int) -> tuple[Plain, int]:
    """What stands in the lines under a key at column `indent`."""
    for at in range(at, len(lines)):  # noqa: B020
        line = lines[at]
        body = line.lstrip(" ")
        if body and body[0] != "#":
            break
    else:
        return None, len(lines)
    width = len(line) - len(body)
    if width <= indent:
        return None, at
    if width != indent + 2:
        raise _NotMine
    return (_list if body[0] == "-" else _mapping)(lines, at, width, depth - 1)


def _list(lines: list[str], at: int, indent: int, depth: int) -> tuple[list[Plain], int]:
    """The list whose dashes stand at column `indent` from line `at`, and the line after it."""
    if depth <= 0:
        raise _NotMine
    items: list[Plain] = []
    count = len(lines)
    item: Plain
    while at < count:
        line = lines[at]
        body = line.lstrip(" ")
        if not body or body[0] == "#":
            at += 1
            continue
        if len(line) - len(body) < indent:
            break
        rest = body[2:]
        if len(line) - len(body) > indent or body[:2] != "- " or not rest:
            raise _NotMine
        if rest[:2] == "- " or KEY.fullmatch(rest):
            lines[at] = f"{' ' * (indent + 2)}{rest}"
            item, at = (_list if rest[0] == "-" else _mapping)(lines, at, indent + 2, depth - 1)
        elif rest[0] == "|":
            item, at = _text(lines, at, rest, indent + 2)
        else:
            item = value_of(rest)
            at += 1
        items.append(item)
    return items, at


def _text(lines: list[str], at: int, header: str, indent: int) -> tuple[str, int]:
    """The block of lines at column `indent` under `header` (`|` or `|-`), and the line after it."""
    match = re.fullmatch(BLOCK, header)
    if not match:
        raise _NotMine
    pad = " " * indent
    content: list[str] = []
    for at in range(at + 1, len(lines)):  # noqa: B020
        line = lines[at]
        if line.startswith(pad):
            content.append(line[indent:])
            if not content[-1].strip(" \t"):
                raise _NotMine
        elif not line:
            content.append("")
        elif line.strip(" "):
            break
        else:
            raise _NotMine
    else:
        at = len(lines)
    while content and not content[-1]:
        content.pop()
    if not content or content[0][:1] in ("", " "):
        raise _NotMine
    return "\n".join(content) + ("" if match[1] else "\n"), at


def value_of(rest: str) -> Plain:
    """What stands behind a colon or a dash, a comment cut off."""
    first = rest[0]
    if first in _INDICATORS:
        return _marked(rest, first)
    if " #" in rest:
        rest = rest[: rest.index(" #")]
    rest = rest.rstrip(" ")
    if ": " in rest or rest[-1] == ":" or "\t" in rest:
        raise _NotMine
    return None if rest in NULLS else rest


def _marked(rest: str, first: str) -> Plain:
    """What begins with a character that means something: quotes, brackets, a negative number."""
    if first == '"' and (match := re.fullmatch(QUOTED, rest)):
        return unescaped(match[1])
    if first == "[" and (match := re.fullmatch(_WORDS, rest)):
        words = match[1].split(", ") if match[1] else []
        return [None if word in NULLS else word for word in words]
    if first == "{" and re.fullmatch(_EMPTY, rest):
        return {}
    if first == "-" and rest[1:2].isdigit():
        return value_of(rest[1:]) and f"-{value_of(rest[1:])}"
    raise _NotMine


def unescaped(text: str) -> str:
    return re.sub(_ESCAPE, _unescape, text) if "\\" in text else text


def _unescape(match: re.Match[str]) -> str:
    code, short = match.groups()
    if code:
        number = int(code, 16)
        if 0xD800 <= number < 0xE000:
            raise _NotMine
        return chr(number)
    if short not in _SHORT:
        raise _NotMine
    return _SHORT[short]
