"""A decision: a thing the company decided or learnt. Its file is written once; a newer one may supersede it."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from kin.model.fields import Field, at_most_one_line, choice, nested, words
from kin.model.fields import text as any_text


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


def superseded(decisions: Iterable[Decision]) -> dict[str, str]:
    """The decisions that do not hold any more, each with the one that stands in its place."""
    return {one.supersedes: one.id for one in decisions if one.supersedes}


NEAR, NEAR_TITLE = 0.7, 0.8
"""From which share of common words (of all the words of both) two decisions say the same: as a whole, and by title alone."""

_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?")
_EMPTY = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "been", "by", "every", "each", "all", "always", "do", "for", "from", "has"}
    | {"have", "in", "is", "it", "its", "must", "of", "on", "or", "our", "should", "shall", "so", "that", "the", "their"}
    | {"them", "they", "this", "to", "via", "we", "when", "which", "will", "with", "you"}
)
_NO = frozenset({"avoid", "cannot", "except", "instead", "never", "no", "none", "nor", "not", "without"})


def is_near_copy(text: str, others: Iterable[Decision]) -> str | None:
    """The id of the decision that `text` (a title, and lines below it) only repeats, or None.

    Words are compared without order, endings and the small ones. What differs in a number, or in saying no, is no copy.
    """
    title, said = _told(text.partition("\n")[0]), _told(text)
    for one in others:
        same_title = _share(title, other := _told(one.title)) >= NEAR_TITLE and min(len(title[0]), len(other[0])) > 2
        if same_title or _share(said, _told(f"{one.title}\n{one.text}")) >= NEAR:
            return one.id
    return None


_Told = tuple[frozenset[str], frozenset[str], bool]


def _told(text: str) -> _Told:
    """Stems of the words that matter, the numbers among them, and whether something is denied."""
    found = _WORD.findall(text.casefold().replace("\u2019", "'"))
    stems = frozenset(_stem(word) for word in found if word not in _EMPTY)
    return (
        stems,
        frozenset(word for word in found if any(map(str.isdigit, word))),
        any(w in _NO or w.endswith("n't") for w in found),
    )


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word.removesuffix(ending)
            break
    return word.rstrip("e") or word


def _share(one: _Told, other: _Told) -> float:
    return len(one[0] & other[0]) / (len(one[0] | other[0]) or 1) if one[1:] == other[1:] else 0.0
