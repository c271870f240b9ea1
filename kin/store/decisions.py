"""Decision files: the company's memory. Each is written once, so that what was decided can be cited and never shifts."""

import os
from collections.abc import Mapping
from typing import Any

from kin.errors import Invalid, NotFound, Usage
from kin.model.decision import DECISION_KEYS, Decision, DecisionKind, Source
from kin.model.fields import build, data_of
from kin.model.ids import sort_key
from kin.store import config, files, index, schemas
from kin.store.numbers import new_ids
from kin.store.project import STORE, Project
from kin.store.text import emit, reader


def decision_path(project: Project, decision_id: str) -> str:
    return os.path.join(project.store, "decisions", decision_id + ".yaml")


def decision_text(decision: Decision) -> str:
    return emit.document(data_of(decision), DECISION_KEYS)


def parse(text: str, path: str) -> Decision:
    """The decision that a file's text is. Raises Invalid with the place of the first fault."""
    decision = reader.built(Decision, text, path)
    reader.check_name(decision.id, text, path)
    return decision


def load(project: Project, decision_id: str) -> Decision:
    """A decision. Raises NotFound, or Invalid with the place of a fault."""
    shown = f"{STORE}/decisions/{decision_id}.yaml"
    return parse(files.read_text(decision_path(project, decision_id), shown), shown)


def scan(project: Project) -> tuple[dict[str, Decision], list[Invalid]]:
    """All decisions by id in the order of their numbers, unchanged ones from the index; and what is wrong with the others."""
    broken: list[Invalid] = []

    def parse_one(path: str, name: str) -> tuple[index.Row, index.Row, bool] | None:
        shown = f"{STORE}/decisions/{name}"
        try:
            row: list[Any] = list(parse(files.read_text(path, shown), shown))
        except NotFound:
            return None  # gone since the folder was listed
        except Invalid as error:
            broken.append(error)
            return None
        row[_KIND], row[_SOURCE] = row[_KIND].value, row[_SOURCE] and tuple(row[_SOURCE])
        return tuple(row), (), False

    folder = os.path.join(project.store, "decisions")
    found = index.scan(folder, index.cache_path(project.common, folder), parse_one, index.by_name, bodies=False)
    sources = (row[_SOURCE] and Source(*row[_SOURCE]) for row in found.heads.values())
    rows = zip(found.heads.values(), sources, strict=True)
    known = [Decision(*row)._replace(kind=DecisionKind(row[_KIND]), source=source) for row, source in rows]
    return {one.id: one for one in sorted(known, key=lambda one: sort_key(one.id))}, broken


_KIND, _SOURCE = map(DECISION_KEYS.index, ("kind", "source"))


def resolve(project: Project, word: str) -> str:
    """The id of the existing decision that `word` means (`7`, `d-7`). Raises NotFound."""
    decision_id = f"D-{word.upper().removeprefix('D-')}"
    if os.path.isfile(decision_path(project, decision_id)):
        return decision_id
    raise NotFound(f"there is no decision {decision_id}", "`kin decisions --all` shows what there is")


def add(project: Project, data: Mapping[str, Any], *, today: str) -> Decision:
    """Write a new decision from plain values by key. Raises Usage for a value that does not fit."""
    config.refuse_newer_format(project)
    decision, problems = build(Decision, {"kind": "decision", "created": today, **data, "id": "D-0"})
    if decision is None:
        raise Usage(problems[0].message, "", problems=[p.message for p in problems])
    while True:
        decision = decision._replace(id=new_ids(project, "D", "decisions")[0])
        try:
            head = schemas.first_line(project, "decision")
            files.add_file(project, decision_path(project, decision.id), head + decision_text(decision))
            return decision
        except FileExistsError:
            continue
