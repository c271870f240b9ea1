"""A task: one unit of work, as its file says it; and the notes that people and roles leave on it."""

from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from kin.model.fields import Field, at_most_one_line, build, choice, fields_of, integer, mapping, nested, raw, text, words
from kin.model.ids import TASK_ID
from kin.model.status import BlockedKind, TaskStatus

FORMAT = 1
"""The highest format of the files in `.kin/` that this kin writes."""


class Mode(StrEnum):
    """Who approves a merge: a person, or the gates."""

    review = "review"
    auto = "auto"


class NoteFor(StrEnum):
    """What a note is for."""

    review = "review"
    question = "question"
    answer = "answer"
    plan = "plan"
    info = "info"


STATUS_ALIASES = {
    "open": "todo",
    "ready": "todo",
    "to_do": "todo",
    "new": "todo",
    "doing": "in_progress",
    "wip": "in_progress",
    "in_review": "review",
    "closed": "done",
    "completed": "done",
    "canceled": "cancelled",
    "wontfix": "cancelled",
}
PRIORITIES = {
    **{f"p{n}": n for n in range(1, 6)},
    "highest": 1,
    "critical": 1,
    "urgent": 1,
    "high": 1,
    "medium": 3,
    "normal": 3,
    "low": 4,
    "lowest": 5,
}


class Blocked(NamedTuple):
    """Why a task is blocked."""

    kind: Annotated[BlockedKind, Field("Which kind of trouble", choice(BlockedKind))]
    reason: Annotated[str, Field("Which step, what it said last, what to type next", text)] = ""


def plan_word(plain: Any) -> str:
    """`true`, `false` or `approve`. Raises ValueError for anything else."""
    word = text(plain).strip().lower()
    word = {"yes": "true", "no": "false"}.get(word, word)
    if word not in ("true", "false", "approve"):
        raise ValueError(f"expected true, false or approve, found '{word[:40]}'")
    return word


class Task(NamedTuple):
    """A task. Fields stand in the canonical order of keys; `extra` holds keys that kin does not know, as plain data."""

    id: Annotated[
        str, Field("KEY-<n> or KEY-<CATEGORY>-<n>; the file's name", text, schema={"pattern": f"^{TASK_ID.pattern}$"})
    ]
    title: Annotated[str, Field("One line, at most 200 characters", at_most_one_line(200))]
    status: Annotated[TaskStatus, Field("Where it stands", choice(TaskStatus, STATUS_ALIASES))]
    blocked: Annotated[Blocked | None, Field("Why it is blocked; beside another status ignored", nested(Blocked))] = None
    priority: Annotated[int, Field("1 first ... 5 last", integer(1, 5, PRIORITIES))] = 3
    assignee: Annotated[str | None, Field("Who looks after it", at_most_one_line(200))] = None
    labels: Annotated[tuple[str, ...], Field("Words to find it by; `auto`: the watcher may start it", words, ("tags",))] = ()
    parent: Annotated[str | None, Field("The task that this one is a part of", at_most_one_line(60))] = None
    depends_on: Annotated[
        tuple[str, ...], Field("Tasks that must be done before", words, ("deps", "blocked_by", "dependencies"))
    ] = ()
    module: Annotated[str | None, Field("The part of the code it is about", at_most_one_line(200))] = None
    touches: Annotated[tuple[str, ...], Field("Path globs it may change; overlapping tasks do not run together", words)] = ()
    mode: Annotated[Mode | None, Field("review: a person approves the merge; auto: gates do", choice(Mode))] = None
    base: Annotated[str | None, Field("The branch it is merged into", at_most_one_line(250))] = None
    agent: Annotated[str | None, Field("Who plays roles that name nobody", at_most_one_line(60))] = None
    budget: Annotated[dict[str, Any] | None, Field("usd, minutes", mapping)] = None
    plan: Annotated[
        str | None,
        Field("true: the PM plans it; approve: and a person agrees", plan_word, schema={"enum": [True, False, "approve"]}),
    ] = None
    pipeline: Annotated[Any, Field("A pipeline's name, or a list of steps", raw)] = None
    created: Annotated[str | None, Field("The day it was added, YYYY-MM-DD", at_most_one_line(40))] = None
    description: Annotated[str, Field("What is wanted and why", text)] = ""
    acceptance: Annotated[tuple[str, ...], Field("What must be true when it is done", words)] = ()
    extra: dict[str, Any] = {}


TASK_KEYS = Task._fields[:-1]
"""Canonical order of a task file's keys; unknown ones come after."""
READ = {declared.name: declared.field.read for declared in fields_of(Task)}
"""How the value of each key is read."""


def build_task(data: dict[str, Any]) -> tuple[Task | None, list[Any]]:
    """`build(Task, data)`, where a `blocked:` block beside another status is ignored, whatever it holds."""
    status = data.get("status")
    if "blocked" in data and isinstance(status, str) and status.strip().lower() != "blocked":
        data = {k: v for k, v in data.items() if k != "blocked"}
    return build(Task, data)


class Note(NamedTuple):
    """What a person or a role said about a task; a file of its own, written once."""

    by: Annotated[str, Field("Who said it: a person's name, or a role", at_most_one_line(200))]
    at: Annotated[str, Field("When, RFC 3339 in UTC", at_most_one_line(40))]
    text: Annotated[str, Field("What was said", text)]
    for_: Annotated[NoteFor, Field("review, question, answer, plan or info", choice(NoteFor), ("for",))] = NoteFor.info
    to: Annotated[str | None, Field("The role it is meant for", at_most_one_line(60))] = None
