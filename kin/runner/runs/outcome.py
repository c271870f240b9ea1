"""How a run ended or paused, as `kin run` says it."""

from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """What `kin run` says of a task: `status` as shown, `merge` a full id or None, `exit` the task's own exit code."""

    task: str
    run: str | None
    status: str
    exit: int
    step: str | None = None
    reason: str = ""
    blocked: str | None = None
    merge: str | None = None
    branch: str | None = None
    waiting: dict[str, Any] | None = None
    url: str | None = None
