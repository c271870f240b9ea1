"""Keys and words as people spell them: which spellings a model takes, which is the canonical one, and near misses.

Apart from fields.py, which reads what is there and which every list pays for: only `kin check` asks these questions.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from kin.model.fields import Declared, KeyPath, data_of, fields_of, schema_of

OWN = "x-"
"""How keys begin that a project uses for its own ends."""


class Respelling(NamedTuple):
    """The key at `path`, or with `value` what it holds, in its canonical spelling."""

    path: KeyPath
    old: str
    new: str
    value: bool


class _Table(NamedTuple):
    """A model's fields by name, its spellings, and the models of fields that hold one mapping."""

    fields: Mapping[str, Declared]
    known: Mapping[str, str]
    inner: Mapping[str, type[Any]]


_TABLES: dict[type[Any], _Table] = {}


def _table(model: type[Any]) -> _Table:
    if model not in _TABLES:
        fields = {declared.name.rstrip("_"): declared for declared in fields_of(model)}  # `for` cannot be a name in Python
        known = dict(zip(fields, fields, strict=True)) | {a: name for name, d in fields.items() for a in d.field.aliases}
        inner = {name: schema_of(d.field, lambda below: {"model": below}).get("model") for name, d in fields.items()}
        _TABLES[model] = _Table(fields, known, {name: below for name, below in inner.items() if below is not None})
    return _TABLES[model]


def spellings(model: type[Any]) -> Mapping[str, str]:
    """Every spelling of a key that the model takes, and the canonical one."""
    return _table(model).known


def _levels(model: type[Any], data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, _Table, Mapping[str, Any]]]:
    """The model's mapping and those inside of it, each with the keys that lead there."""
    table = _table(model)
    yield (), table, data
    for name, inner in table.inner.items():
        if isinstance(held := data.get(name), dict):
            yield (name,), _table(inner), held


def twice(model: type[Any], data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each key that stands beside another spelling of itself, and that one."""
    known = spellings(model)
    first: dict[str, str] = {}
    for key in data:
        if (name := known.get(key)) is not None and first.setdefault(name, key) != key:
            yield key, first[name]


def near_misses(model: type[Any], data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Each unknown key that looks like a known one, and that one."""
    for path, (_, known, _), held in _levels(model, data):
        for key in held:
            if key not in known and not key.startswith(OWN) and (meant := near(key, known)):
                yield (*path, key), known[meant]


def respellings(model: type[Any], data: Mapping[str, Any]) -> Iterator[Respelling]:
    """What kin reads and would spell otherwise: aliases of keys, and of words and numbers that stand for a choice."""
    for path, (fields, known, _), held in _levels(model, data):
        for key, value in held.items():
            if (name := known.get(key)) is None:
                continue
            if name != key:
                yield Respelling((*path, key), key, name, False)
            if isinstance(value, str) and (word := _canonical(fields[name], value)) not in (None, value):
                yield Respelling((*path, key), value, str(word), True)


def _canonical(declared: Declared, plain: str) -> str | None:
    """A choice or a number as kin writes it; None for any other value, and for one that does not fit."""
    try:
        value = declared.field.read(plain)
    except ValueError:
        return None
    return str(data_of(value)) if isinstance(value, (StrEnum, int)) else None


def near(word: str, known: Collection[str]) -> str | None:
    """The one of `known` that was probably meant: `dependsOn`, `Depends-on` and `depend_on` are `depends_on`; or None."""
    folded = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).lower().replace("-", "_").replace(" ", "_")
    if folded in known:
        return folded
    wrong = 1 if len(folded) < 6 else 2
    alike = [one for one in known if abs(len(one) - len(folded)) <= wrong and (wrong > 1 or one[:1] == folded[:1])]
    found = min(((distance(folded, one), one) for one in alike), default=(wrong + 1, ""))
    return found[1] if found[0] <= wrong else None


def distance(one: str, other: str) -> int:
    """How many letters were added, left out, mistaken or swapped with their neighbour."""
    above: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, last, row = row, above, [i]
        for j, b in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
