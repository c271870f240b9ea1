"""`kin config`: every setting that holds here, its value and where it comes from."""

from collections.abc import Iterator, Sequence
from json import dumps
from typing import Any

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, cells, clean, fit, pad
from kin.errors import Usage
from kin.store.checking.inspection import inspect
from kin.store.config import KIN_YAML
from kin.store.origins import Setting, settings_here

WIDEST = 60
"""Columns that a value may push the others to the right."""


def config_(call: Call) -> Result:
    """All settings, or the named ones and what is below them."""
    everything = settings_here(call.project, call.environ)
    found = [one for one in everything if not call["settings"] or any(_is_below(one.name, word) for word in call["settings"])]
    for word in call["settings"]:
        if not any(_is_below(one.name, word) for one in found):
            raise Usage(f"no setting is called '{word}'", "`kin help settings` lists them")
    data = [
        {"name": one.name, "value": one.value, "source": _source(one), "places": [str(place) for place in one.places]}
        for one in found
    ]
    look = inspect(call.project, "kin.yaml")
    unknown = [f"{one.where}: {one.message}" for one in (look.findings if look else ()) if one.code == "unknown-key"]
    return Result("config.list", data, lambda screen: _lines(found, screen), warnings=unknown)


def _is_below(name: str, word: str) -> bool:
    return name == word or name.startswith(f"{word}.")


def _source(one: Setting) -> str:
    """default, project, user, or project and user."""
    sources = ["project" if place.path == KIN_YAML else "user" for place in one.places]
    return " and ".join(sources) or "default"


def _lines(found: Sequence[Setting], screen: Screen) -> Iterator[str]:
    shown = [clean(_text(one)) for one in found]
    names, values = max(len(one.name) for one in found), min(WIDEST, max(map(cells, shown)))
    for one, value in zip(found, shown, strict=True):
        where = " and ".join(f"{place.path}:{place.line}" for place in one.places)
        last = where or screen.paint("default", "dim")
        cut = fit(value, values) if screen.terminal else value
        yield f"{screen.paint(pad(clean(one.name), names), 'bold')}  {pad(cut, values)}  {last}"


def _text(one: Setting) -> str:
    """A value on one line, times with their unit."""
    value: Any = one.value
    if one.name.startswith("limits.") and isinstance(value, float):
        return _time(value)
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(", ".join(value).split())
    return " ".join(value.split()) if isinstance(value, str) else dumps(value, ensure_ascii=False)


def _time(seconds: float) -> str:
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"
