"""Plain data as YAML in kin's own layout, which git merges without help and `fast.py` reads.

A blank line stands between all top-level keys and lists have one item a line, because git conflicts on edits to adjacent
lines, not across one. Text that another YAML tool would read as something else, 1.1 or 1.2, is quoted as in JSON.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from kin.errors import Invalid
from kin.store.text.nodes import FOREIGN, has_foreign

PLAIN_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}")
_PLAIN = re.compile(r"[^\x00-'*-\-:-@\[-^`{-\xa0](?:[^:#\s]|:(?=[^ ])|(?<! )#| (?=[^ ]))*", re.A)
_FLOW_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./@+*-]*(?: [A-Za-z0-9_./@+*-]+)*")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z)?", re.A)
_LIKE_NUMBER = re.compile(r"[-+.]?\d[\d_.,:eExXoObBa-fA-F+-]*|[-+]?\.(?:inf|nan)", re.A | re.I)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.(?:0|\d{0,14}[1-9]))?", re.A)
_WORDS = frozenset(["~", "null", "yes", "no", "on", "off", "y", "n", "true", "false", "=", "<<"])
_ESCAPED = re.compile(f'["\\\\\n\t]|{FOREIGN}')
_ONLY_BLANKS = re.compile(r"^[ \t]+$", re.M)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
_DEPTH = 36


def text_of(value: Any) -> str | None:
    """A scalar of any type as the text that its file holds; half a character (a file name that is no UTF-8) becomes U+FFFD."""
    if value is None:
        return None
    if isinstance(value, str):
        return str(value) if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def is_plain(text: str, *, in_flow: bool = False) -> bool:
    """Whether `text` may stand without quotes: every tool reads it as this text, or types it and prints it back alike."""
    if not (_FLOW_PLAIN if in_flow else _PLAIN).fullmatch(text) or has_foreign(text):
        return bool(_NUMBER.fullmatch(text)) and text != "-0"
    if text.lower() in _WORDS:
        return text in ("true", "false")
    if _LIKE_NUMBER.fullmatch(text):
        return bool(_NUMBER.fullmatch(text) or _TIME.fullmatch(text))
    return True


def scalar(text: str, *, in_flow: bool = False) -> str:
    """`text` on one line: as it is if that is safe, else quoted as in JSON."""
    return _short_scalar(text, in_flow) if len(text) < 80 else _scalar(text, in_flow)


def _scalar(text: str, in_flow: bool) -> str:
    return text if is_plain(text, in_flow=in_flow) else quoted(text)


_short_scalar = lru_cache(maxsize=4096)(_scalar)
"""A record is written again at each step, and nearly all of its words are those of the last time."""


def quoted(text: str) -> str:
    """`text` in double quotes, as JSON, with everything escaped that a parser or an editor takes for a line break."""
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}"


@lru_cache(maxsize=4096, typed=True)
def spelled(key: Any, *, json: bool = False) -> str:
    """`key` as it stands before a colon."""
    text = text_of(key) or ""
    out = scalar(text) if not json and PLAIN_KEY.fullmatch(text) else quoted(text)
    if len(out) > 1000:  # YAML looks for a colon within 1,024 characters
        raise Invalid(f"a key of {len(text)} characters", "keys are names: shorten it")
    return out


def flow(value: Any, *, json: bool = False) -> str:
    """`value` on one line, lists in brackets and mappings in braces; `json` quotes keys and texts."""
    if isinstance(value, Mapping):
        pairs = (f"{spelled(k, json=json)}: {flow(v, json=json)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item, json=json) for item in value) + "]"
    text = text_of(value)
    if text is None:
        return "null"
    if json:
        return text if text in ("true", "false") or _NUMBER.fullmatch(text) else quoted(text)
    return scalar(text, in_flow=True)


def block_lines(head: str, value: Any, indent: int, depth: int = 0) -> list[str]:
    """The lines of `head` (`key:` or `-`, standing at column `indent`) and `value`, without indentation of the first."""
    if depth > _DEPTH:
        raise Invalid(f"nested deeper than {_DEPTH} levels", "flatten it")
    inner = " " * (indent + 2)
    if isinstance(value, str):  # nearly always, and asking whether it is a mapping takes longer than writing it
        return _scalar_lines(head, text_of(value), inner)
    if isinstance(value, Mapping) and value:
        below = [block_lines(f"{spelled(k)}:", v, indent + 2, depth + 1) for k, v in value.items()]
    elif isinstance(value, (list, tuple)) and value:
        below = [block_lines("-", item, indent + 2, depth + 1) for item in value]
    elif isinstance(value, (Mapping, list, tuple)):
        return [f"{head} {'{}' if isinstance(value, Mapping) else '[]'}"]
    else:
        return _scalar_lines(head, text_of(value), inner)
    lines = [line for first, *rest in below for line in (inner + first, *rest)]
    return [f"{head} {lines[0].lstrip(' ')}", *lines[1:]] if head == "-" else [head, *lines]


def _scalar_lines(head: str, text: str | None, inner: str) -> list[str]:
    if text is None:
        return [f"{head} null"]
    if not has_block(text):
        return [f"{head} {scalar(text)}"]
    lines = text.removesuffix("\n").split("\n")
    return [f"{head} |{'' if text.endswith(chr(10)) else '-'}", *(inner + line if line else "" for line in lines)]


def has_block(text: str) -> bool:
    """Whether `text` is written as a block of lines: several of them, and none that a reader could take otherwise."""
    if "\n" not in text.rstrip("\n") or text[0] in " \n\t" or text.endswith("\n\n"):
        return False
    return not has_foreign(text) and not _ONLY_BLANKS.search(text)


def rank(key: str, order: Sequence[str]) -> tuple[int, str]:
    """Where `key` stands among others: the canonical ones in their order, then `x-...`, then unknown ones, each sorted."""
    if key in order:
        return order.index(key), ""
    return len(order) + (not key.startswith("x-")), key


def in_order(data: Mapping[str, Any], order: Sequence[str]) -> list[str]:
    """The keys of `data` in canonical order; without one as they are."""
    return sorted(data, key=lambda key: rank(key, order)) if order else list(data)


def document(data: Mapping[str, Any], order: Sequence[str] = (), *, head: str = "") -> str:
    """`data` as a file: `order` is the canonical order of the top-level keys, `head` text that goes before the first."""
    blocks = ("\n".join(block_lines(f"{spelled(key)}:", data[key], 0)) for key in in_order(data, order))
    return f"{head}{(chr(10) * 2).join(blocks)}\n"
