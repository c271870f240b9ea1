"""Statuses of tasks, runs and steps, and the one table of legal moves between a task's statuses."""

from enum import StrEnum

from kin.errors import Usage


class TaskStatus(StrEnum):
    """What a task's file says of it."""

    draft = "draft"
    todo = "todo"
    in_progress = "in_progress"
    review = "review"
    blocked = "blocked"
    done = "done"
    cancelled = "cancelled"


class BlockedKind(StrEnum):
    """Why a task is `blocked`."""

    question = "question"
    conflict = "conflict"
    gate = "gate"
    failed = "failed"
    no_work = "no_work"
    timeout = "timeout"
    crash = "crash"
    budget = "budget"
    stale = "stale"
    manual = "manual"


class RunStatus(StrEnum):
    """What a run's record says of it; whether it lives is the kernel's word alone."""

    running = "running"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"
    waiting = "waiting"


class WaitFor(StrEnum):
    """What a `waiting` run waits for; `limit`, `merge` and `tasks` go on by themselves."""

    review = "review"
    plan = "plan"
    question = "question"
    limit = "limit"
    merge = "merge"
    tasks = "tasks"


class StepStatus(StrEnum):
    """Where a step of a run stands."""

    pending = "pending"
    running = "running"
    done = "done"
    failed = "failed"
    skipped = "skipped"


OPEN = frozenset(TaskStatus) - {TaskStatus.done, TaskStatus.cancelled}

BLOCKED_EXIT = {
    BlockedKind.question: 3,
    BlockedKind.manual: 3,
    BlockedKind.stale: 3,
    BlockedKind.conflict: 4,
    BlockedKind.budget: 5,
    BlockedKind.timeout: 5,
    BlockedKind.failed: 1,
    BlockedKind.gate: 1,
    BlockedKind.no_work: 1,
    BlockedKind.crash: 1,
}
"""Exit code of `kin run` for a task that ended blocked, by kind."""

_T = TaskStatus
_FREE = {_T.todo, _T.in_progress, _T.blocked}
_HAND: dict[TaskStatus, frozenset[TaskStatus]] = {
    _T.draft: frozenset({_T.todo, _T.cancelled}),
    _T.todo: frozenset(_FREE | {_T.draft, _T.done, _T.cancelled}),
    _T.in_progress: frozenset(_FREE | {_T.done, _T.cancelled}),
    _T.blocked: frozenset(_FREE | {_T.done, _T.cancelled}),
    _T.review: frozenset({_T.todo, _T.cancelled}),
    _T.done: frozenset({_T.todo}),
    _T.cancelled: frozenset({_T.todo}),
}
_KIN: dict[TaskStatus, frozenset[TaskStatus]] = {
    _T.todo: frozenset({_T.review, _T.blocked, _T.done}),
    _T.blocked: frozenset({_T.review, _T.blocked, _T.done, _T.todo}),
    _T.review: frozenset({_T.done, _T.blocked, _T.todo}),
    _T.draft: frozenset({_T.review, _T.blocked, _T.done, _T.todo}),
}


def may_move(old: TaskStatus, new: TaskStatus, *, by_kin: bool = False) -> bool:
    """Whether a task may go from `old` to `new`; staying where it is always may."""
    table = _KIN if by_kin else _HAND
    return old == new or new in table.get(old, frozenset())


def check_hand_move(task_id: str, old: TaskStatus, new: TaskStatus) -> None:
    """Raise Usage, naming the way, if a person may not move `task_id` from `old` to `new`."""
    if may_move(old, new):
        return
    ways = {
        _T.done: f"`kin reopen {task_id}` first",
        _T.cancelled: f"`kin reopen {task_id}` first",
        _T.review: f"`kin approve {task_id}`, `kin revise {task_id} -m ...` or `kin reject {task_id}`",
        _T.draft: f"`kin set {task_id} status=todo` first",
    }
    if new == _T.review:
        raise Usage(f"{task_id} is {old}; only a run sets `review`", f"`kin run {task_id}`")
    raise Usage(f"{task_id} is {old}, it cannot become {new}", ways.get(old, "`kin help moves` lists what it can become"))
