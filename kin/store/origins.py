"""Every setting that holds here, with its value and where it comes from: what `kin config` shows.

Apart from config.py, which merges the same files but need not remember what came from where.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from kin.errors import NotFound, Place
from kin.model.builtin import BUILT_IN_PIPELINES
from kin.model.fields import KeyPath, value_at
from kin.store import config, files
from kin.store.project import Project
from kin.store.text import reader

if TYPE_CHECKING:
    from kin.model.settings import Settings


class Setting(NamedTuple):
    """A setting by its dotted name. `value` is plain data, times in seconds; `places` is where it stands, none if a default.

    A list that kin.yaml and the person's own config.yaml both add to has two places.
    """

    name: str
    value: Any
    places: tuple[Place, ...]
    doc: str


class _File(NamedTuple):
    """A settings file: how it is named, its text, and what that says."""

    shown: str
    text: str
    data: Mapping[str, Any]

    def place(self, keys: KeyPath) -> Place | None:
        """Where it says something for these keys, or None."""
        return None if value_at(self.data, keys) is None else reader.place_of(self.text, self.shown, keys)


def settings_here(project: Project, environ: Mapping[str, str]) -> list[Setting]:
    """All settings in the order of their declaration, then the person's for the machine (`user.`). Raises Invalid, NotFound.

    Limits, pipelines, roles and agents come one by one.
    """
    settings = config.load_settings(project, environ)
    text, theirs = files.read_text(config.settings_path(project), config.KIN_YAML), _theirs(environ)
    ours = _File(config.KIN_YAML, text, reader.read(text, config.KIN_YAML))
    found = [
        Setting(".".join(keys), value, _places(keys, ours, theirs), type(settings).model_fields[keys[0]].description or "")
        for keys, value in _values(settings)
    ]
    own = ((key, theirs.place((key,))) for key in config.MACHINE)
    return found + [Setting(f"user.{key}", theirs.data[key], (place,), "For this machine") for key, place in own if place]


def _theirs(environ: Mapping[str, str]) -> _File:
    path = config.personal_path(environ)
    try:
        return _File(path, files.read_text(path, path), config.user_settings(environ))
    except NotFound:
        return _File(path, "", {})


def _values(settings: "Settings") -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value by its keys; what has names of its own is taken apart, so that each part can have its own origin."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name in ("limits", "budget", "watch"):
            yield from (((name, key), _plain(part)) for key, part in value)
        elif name == "pipelines":
            yield from (((name, key), _plain(part)) for key, part in (BUILT_IN_PIPELINES | value).items())
        elif name in ("roles", "agents") and value:
            yield from (((name, key), _plain(part)) for key, part in value.items())
        else:
            yield (name,), _plain(value)


def _plain(value: Any) -> Any:
    """A value as JSON has it, without what nobody set: a step that is only a role is a word, as is a gate's bare command."""
    if hasattr(value, "model_dump"):
        said = value.model_dump(mode="json", exclude_unset=True)
        short = "role" if "role" in type(value).model_fields else "run"
        return said[short] if list(said) == [short] else said
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _places(keys: tuple[str, ...], ours: _File, theirs: _File) -> tuple[Place, ...]:
    here = ours.place(keys)
    there = theirs.place(keys) if keys[0] in config.PERSONAL and (here is None or keys[0] == "notify") else None
    return tuple(place for place in (here, there) if place)
