"""Merge conflict markers in a file of `.kin/`, told key by key: what each side says."""

import re
from collections.abc import Mapping
from typing import Any

from kin.errors import Invalid, Place
from kin.model.fields import Plain
from kin.store.checking.findings import Finding

_MARKER = re.compile(r"(<{7}|\|{7}|={7}|>{7})(?: (.*))?")
_BEGIN = re.compile(r"^<{7}(?: |\r?$)", re.MULTILINE)
HINT = "keep what is right, remove the lines of the markers, then `git add` the file"
SHOWN = 3
"""Keys that are told; with more the file tells them better."""


def explain(text: str, shown: str) -> Finding | None:
    """The conflict that a file's text holds, or None. Its place is the first marker."""
    if _BEGIN.search(text) is None:
        return None
    sides: dict[str, list[str]] = {"<": [], ">": []}
    names = {"<": "ours", ">": "theirs"}
    begins: list[int] = []
    inside = ""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r")
        if (match := _MARKER.fullmatch(line)) and (inside or match[1][0] == "<"):
            inside = match[1][0]
            names.update({inside: match[2]} if inside in names and match[2] else {})
            begins += [number] if inside == "<" else []
            inside = "" if inside == ">" else inside
            continue
        for side, state in (("<", "<"), (">", "=")):
            if inside in ("", state):
                sides[side].append(line)
    where = Place(shown, begins[0], 1)
    if inside:
        return Finding("conflict", where, "the beginning of a merge conflict without its end", HINT)
    ours, theirs = (_said("\n".join(sides[side])) for side in "<>")
    place = f"merge conflict in line{'s' if begins[1:] else ''} {', '.join(map(str, begins[:SHOWN]))}"
    told = _differences(ours, theirs, names["<"], names[">"])
    return Finding("conflict", where, f"{place}: {told}" if told else place, HINT)


def _said(text: str) -> dict[str, Plain]:
    """What one side says; {} if that cannot be read."""
    from kin.store.text import reader

    try:
        return reader.read(text, "")
    except Invalid:
        return {}


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], one: str, other: str) -> str:
    """`priority` is 1 in HEAD and 2 in topic."""
    if not ours or not theirs:
        return ""
    keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    words = [f"`{key}` is {_told(ours, key)} in {one} and {_told(theirs, key)} in {other}" for key in keys[:SHOWN]]
    return "; ".join([*words, f"and {len(keys) - SHOWN} keys more"] if len(keys) > SHOWN else words)


def _told(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if isinstance(value, list):
        value = ", ".join(item if isinstance(item, str) else "..." for item in value)
    elif isinstance(value, dict):
        value = "{" + ", ".join(f"{k}: {v}" for k, v in value.items()) + "}"
    words = " ".join((value or "").split())
    return f"'{words[:40]}{'...' if len(words) > 40 else ''}'" if words else "absent"
