"""A phase: a stage of the project that a person starts and approves, one after the other."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from kin.model.entries import Kind
from kin.model.fields import Field, Problem, at_most_one_line, choice, raw, words
from kin.model.fields import text as any_text


class PhaseStatus(StrEnum):
    """Where a phase stands."""

    pending = "pending"
    active = "active"
    review = "review"
    approved = "approved"
    rejected = "rejected"


class Phase(NamedTuple):
    """An entry of phases.yaml. Its `roles` run as one pipeline in `task`, which its start makes; or its `tasks` run."""

    id: Annotated[str, Field("Its id, the key in the file", at_most_one_line(60))]
    name: Annotated[str, Field("What people call it", at_most_one_line(200))] = ""
    goal: Annotated[str, Field("What it is to find out or bring about", any_text)] = ""
    status: Annotated[PhaseStatus, Field("Where it stands", choice(PhaseStatus))] = PhaseStatus.pending
    roles: Annotated[Any, Field("Roles, or steps, that run one after the other and change no file", raw)] = None
    tasks: Annotated[tuple[str, ...], Field("Tasks that are its work, instead of roles", words)] = ()
    task: Annotated[str | None, Field("The task in which its roles run", at_most_one_line(60))] = None
    extra: dict[str, Any] = {}


def _faults(name: str, said: Any, entry: Phase | None) -> Iterator[Problem]:
    if entry is not None and bool(entry.roles) == bool(entry.tasks):
        yield Problem((name,), f"{name}: a phase has `roles` or `tasks`")


PHASES = Kind("phases.yaml", Phase, "goal", "id", _faults)
