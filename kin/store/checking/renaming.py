"""A file whose name is not the id that it says of itself: which of the two must change, where that is clear."""

import os
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from kin.model.ids import TASK_ID, identity, normalise, same_id
from kin.store.checking.inspection import Look, kind_of


class Renaming(NamedTuple):
    """The file at `name` becomes `to`, or its id `new_id`; neither if only a person can tell. `why` is the finding's hint."""

    name: str
    claims: str
    to: str = ""
    new_id: str = ""
    why: str = ""


def renamings(found: Mapping[str, Look]) -> list[Renaming]:
    """One for each file whose name and id differ."""
    wrong = {name: look.claims for name, look in found.items() if look.claims is not None}
    if not wrong:
        return []
    taken = Counter(identity(wrong.get(name, _stem(name))) for name, look in found.items() if look.kind in ("task", "decision"))
    return [_one(name, claims, found, taken) for name, claims in wrong.items()]


def _stem(name: str) -> str:
    return os.path.basename(name).rsplit(".", 1)[0]


def _one(name: str, claims: str, found: Mapping[str, Look], taken: Mapping[tuple[str | int, ...], int]) -> Renaming:
    folder, stem = os.path.dirname(name), _stem(name)
    named, said = _is_id(stem, name), _is_id(claims, name)
    home = f"{folder}/{claims}.yaml"
    if said and (not named or stem == claims):  # KIN-7.yml, login.yaml
        if home in found or taken[identity(claims)] > 1:
            return Renaming(name, claims, why=f"{claims} is taken: give it an id of its own")
        return Renaming(name, claims, to=home, why=f"`kin check --fix` names it {claims}.yaml")
    if named and name.endswith(".yaml"):
        others = (_stem(other) for other in found if other != name and os.path.dirname(other) == folder)
        if any(same_id(other, stem) for other in others):
            return Renaming(name, claims, why="give it an id of its own")
        close = normalise(claims, stem.partition("-")[0])
        copied = home in found and found[home].claims is None
        if not said or copied or (close is not None and same_id(close, stem)):
            return Renaming(name, claims, new_id=stem, why=f"`kin check --fix` makes the id {stem}")
        return Renaming(name, claims, why=f"make the id {stem}, or name the file {claims}.yaml")
    return Renaming(name, claims, why="make it KEY-<number> in both places")


def _is_id(word: str, name: str) -> bool:
    return TASK_ID.fullmatch(word) is not None and word.startswith("D-") == (kind_of(name) == "decision")
