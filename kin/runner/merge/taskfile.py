"""What a task file's text says of its status, and the one edit that kin makes to it: the status and its `blocked:` block.

The same edit is made to a commit's text, to a staged one and to the working copy, so a person's other changes to any of
them survive (rule 10).
"""

from typing import NamedTuple

from kin.errors import Invalid, Place
from kin.model.status import TaskStatus
from kin.model.task import Task
from kin.store.text.reader import TASK_BOUNDS, decode, read
from kin.store.text.splice import set_status

_READ_STATUS = next(note.read for note in Task.__annotations__["status"].__metadata__)


class Standing(NamedTuple):
    """A task's status and, if that is `blocked`, its block."""

    status: TaskStatus
    blocked: dict[str, str] | None = None


def task_path(task_id: str) -> str:
    """The task's file from the repository's root, as git names it."""
    return f".kin/tasks/{task_id}.yaml"


def standing(raw: bytes, path: str) -> Standing:
    """What `raw` says; only its status is looked at, so a mistake elsewhere in the file stops no merge. Raises Invalid."""
    data = read(decode(raw, path, TASK_BOUNDS), path)
    try:
        status = TaskStatus(_READ_STATUS(data.get("status")))
    except ValueError as error:
        raise Invalid(f"status: {error}", f"mend {path}", Place(path)) from None
    block = data.get("blocked")
    return Standing(status, block if status is TaskStatus.blocked and isinstance(block, dict) else None)


def with_standing(raw: bytes, wanted: Standing, path: str) -> bytes:
    """`raw` with that status and block and no other change; `raw` itself if it stands so already."""
    if standing(raw, path) == wanted:
        return raw
    text = decode(raw, path, TASK_BOUNDS)
    return set_status(text, wanted.status.value, wanted.blocked, path=path).encode()
