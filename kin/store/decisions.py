"""Decision files: the company's memory. Each is written once, so that what was decided can be cited and never shifts."""

import os
from collections.abc import Mapping
from typing import Any

from kin.errors import Invalid, Place, Usage
from kin.model.decision import DECISION_KEYS, Decision
from kin.model.fields import build, data_of
from kin.store import config, emit, files, reader, schemas
from kin.store.numbers import new_ids
from kin.store.project import STORE, Project

__all__ = ["add", "decision_path", "decision_text", "load", "parse"]


def decision_path(project: Project, decision_id: str) -> str:
    """Where the decision's file is."""
    return os.path.join(project.store, "decisions", decision_id + ".yaml")


def decision_text(decision: Decision) -> str:
    """A decision as its file holds it."""
    return emit.document(data_of(decision), DECISION_KEYS)


def parse(text: str, path: str) -> Decision:
    """The decision that a file's text is. Raises Invalid with the place of the first fault."""
    decision, problems = build(Decision, reader.read(text, path, reader.RECORD_BOUNDS))
    if decision is None:
        where = reader.place_of(text, path, problems[0].path) if problems[0].path else Place(path)
        raise Invalid(problems[0].message, "", where)
    if decision.id != (stem := os.path.basename(path).removesuffix(".yaml")):
        where = reader.place_of(text, path, ("id",))
        raise Invalid(f"the id is {decision.id}, but the file is {stem}.yaml", "one of them must change", where)
    return decision


def load(project: Project, decision_id: str) -> Decision:
    """A decision. Raises NotFound, or Invalid with the place of a fault."""
    shown = f"{STORE}/decisions/{decision_id}.yaml"
    return parse(files.read_text(decision_path(project, decision_id), shown), shown)


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
