"""Files that hold named entries (modules, phases, links, environments): `name: {key: value}`, or `name: value` for short."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from kin.model.fields import Problem, build

T = TypeVar("T")


class Kind(NamedTuple, Generic[T]):
    """One such file of `.kin/`: the model of its entries, the key that a bare value means, the model's field for the name.

    `faults` tells of an entry what is wrong beyond its fields: it takes the name, what the file says, and the entry, if it is
    one. An entry with such a fault is none.
    """

    file: str
    model: type[T]
    short: str
    key: str = "name"
    faults: Callable[[str, Any, T | None], Iterable[Problem]] = lambda name, said, entry: ()

    @property
    def shown(self) -> str:
        return f".kin/{self.file}"

    @property
    def stem(self) -> str:
        return self.file.removesuffix(".yaml")

    @property
    def order(self) -> tuple[str, ...]:
        """Canonical order of an entry's keys."""
        fields: tuple[str, ...] = self.model._fields  # type: ignore[attr-defined]
        return fields[1:-1]

    def build(self, data: Mapping[str, Any]) -> tuple[dict[str, T], list[Problem]]:
        """The entries by name, in the file's order, and what is wrong with the others; each path begins with the name."""
        found: dict[str, T] = {}
        wrong: list[Problem] = []
        for name, said in data.items():
            whole = isinstance(said, dict)
            entry, problems = build(self.model, {**(said if whole else {self.short: said}), self.key: name})
            wrong += [p._replace(path=(name, *(p.path if whole and p.path != (self.key,) else ()))) for p in problems]
            faults = list(self.faults(name, said, entry))
            wrong += faults
            if entry is not None and not faults:
                found[name] = entry
        return found, wrong
