"""Files that hold named entries (modules, phases, links, environments): `name: {key: value}`, or `name: value` for short."""

from collections.abc import Mapping
from typing import Any, TypeVar

from kin.model.fields import Problem, build

T = TypeVar("T")


def build_entries(model: type[T], data: Mapping[str, Any], short: str, key: str = "name") -> tuple[list[T], list[Problem]]:
    """The entries as `model`, in the file's order, and what is wrong with the others.

    `short` is the key that a bare value means, `key` the model's field for the entry's name.
    """
    found: list[T] = []
    wrong: list[Problem] = []
    for name, said in data.items():
        whole = isinstance(said, dict)
        entry, problems = build(model, {**(said if whole else {short: said}), key: name})
        wrong += [p._replace(path=(name, *(p.path if whole and p.path != (key,) else ()))) for p in problems]
        found += [entry] if entry is not None else []
    return found, wrong
