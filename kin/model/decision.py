"""A decision: a thing the company decided or learnt. Its file is written once; a newer one may supersede it."""

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from kin.model.fields import Field, at_most_one_line, choice, nested, words
from kin.model.fields import text as any_text

__all__ = ["DECISION_KEYS", "Decision", "DecisionKind", "Source"]


class DecisionKind(StrEnum):
    """What a decision is."""

    decision = "decision"
    convention = "convention"
    gotcha = "gotcha"
    workaround = "workaround"
    rejected_approach = "rejected_approach"


class Source(NamedTuple):
    """Where a decision comes from: a run's role, or a person."""

    task: Annotated[str | None, Field("The task", at_most_one_line(60))] = None
    run: Annotated[str | None, Field("The run", at_most_one_line(60))] = None
    role: Annotated[str | None, Field("The role that proposed it", at_most_one_line(60))] = None
    person: Annotated[str | None, Field("The person who decided it", at_most_one_line(200))] = None


class Decision(NamedTuple):
    """A decision; fields stand in the canonical order of keys."""

    id: Annotated[str, Field("D-<n>; the file's name", at_most_one_line(60))]
    kind: Annotated[DecisionKind, Field("decision, convention, gotcha, workaround or rejected_approach", choice(DecisionKind))]
    title: Annotated[str, Field("One line, at most 200 characters", at_most_one_line(200))]
    text: Annotated[str, Field("What was decided, and why", any_text)] = ""
    module: Annotated[str | None, Field("The part of the code it is about", at_most_one_line(200))] = None
    tags: Annotated[tuple[str, ...], Field("Words to find it by", words, ("labels",))] = ()
    paths: Annotated[tuple[str, ...], Field("Path globs it is about", words)] = ()
    source: Annotated[Source | None, Field("Where it comes from", nested(Source))] = None
    supersedes: Annotated[str | None, Field("The decision that it replaces", at_most_one_line(60))] = None
    created: Annotated[str | None, Field("The day it was made, YYYY-MM-DD", at_most_one_line(40))] = None
    extra: dict[str, Any] = {}


DECISION_KEYS = Decision._fields[:-1]
"""Canonical order of a decision file's keys; unknown ones come after."""
