"""`kin stop`: ends a live run. Apart from the rest of a person's part because it must be quick: what the run pays for goes on.

So the run is asked to end by what reading commands import, too; what records its end is imported while it ends.
"""

import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kin.errors import Busy, Usage
from kin.model.status import BlockedKind, TaskStatus
from kin.store import files, locks, records, tasks
from kin.store.project import Project

if TYPE_CHECKING:
    from kin.runner.runs.outcome import Outcome

STOP_WAIT, KILL_WAIT = 30.0, 10.0
"""Seconds that `kin stop` gives a run to end by itself, of which agents get 5, and a killed one to be gone."""


class Stopped(NamedTuple):
    """How a task stands after `kin stop`, `end.run` None if there was none or it had got to its end; the pid that was asked to
    end; `queued`: it waited for a slot.
    """

    end: "Outcome"
    pid: int
    queued: bool = False


def stop(project: Project, task_id: str, *, by: Callable[[], str]) -> Stopped:
    """End the live run of a task; it stays resumable and the task is blocked, kind manual. Raises Usage if none runs.

    One that waits for a slot leaves the queue, and the task is as it was. `by` tells who says so.
    """
    paths = [locks.lock_path(project.common, name) for name in (f"{task_id}.queued", task_id)]  # a run takes them so
    path = next(filter(locks.is_held, paths), None)
    if path is None:
        raise Usage(f"{task_id} is not being run", "`kin status` shows what is")
    who = locks.holder(path)
    if who is None:  # the disk was full when it was to be written
        raise Busy(
            f"{task_id} is being run, and its lock does not say by whom", f"end `kin run {task_id}` where it was started"
        )
    if who.host != locks.me("").host or who.pidns != locks.me("").pidns:
        raise Busy(f"{task_id} is run by pid {who.pid} on {who.host}, which cannot be signalled from here", "stop it there")
    files.write_own(records.stop_mark(project, task_id), "")
    try:
        _signal(who, signal.SIGTERM)
        _signal(who, signal.SIGCONT)  # a job that Ctrl-Z stopped hears it only then
        from kin.runner.upkeep.watchdog import sweep

        if not _ends(paths, STOP_WAIT):
            _signal(who, signal.SIGKILL)
            if not _ends(paths, KILL_WAIT):
                raise Busy(f"pid {who.pid} does not end", f"`kin why {task_id}` shows who holds its lock")
        sweep(project)
        queued = path == paths[0]
        run = _record(project, task_id, by(), who.pid if queued else None)
        return Stopped(_end(project, task_id, run), who.pid, queued and run is None)
    finally:
        files.remove_own(records.stop_mark(project, task_id))


def _record(project: Project, task_id: str, by: str, pid: int | None) -> str | None:
    """Have the run, which ended, wait for a person; its id, None if it got to its end before it heard.

    `pid` waited in the queue when it was asked to end: an earlier run is not what it was about.
    """
    from kin.runner.runs import claim
    from kin.runner.runs.ending import put_status

    with claim.claim_task(project, task_id):
        live = records.live(project, task_id)
        if live is None or pid not in (None, live.live.pid):
            return None
        live = live.holding(word="stop")
        records.save_live(project, live)
        task, _ = tasks.load(project, task_id)
        if task.status in (TaskStatus.todo, TaskStatus.blocked, TaskStatus.draft):
            reason = f"stopped by {by}; `kin run {task_id}` goes on from the last finished step"
            put_status(project, live, TaskStatus.blocked, {"kind": BlockedKind.manual.value, "reason": reason})
        return live.run


def _end(project: Project, task_id: str, run: str | None) -> "Outcome":
    from kin.model.ready import as_owed
    from kin.runner.runs.ending import exit_now, outcome
    from kin.runner.runs.outcome import Outcome

    live = records.live(project, task_id)
    task = as_owed(tasks.load(project, task_id)[0], live)
    code = exit_now(task, live)
    if live is None or live.run != run:
        return Outcome(task_id, None, task.status.value, code)
    return outcome(live, task.status.value, code, blocked=task.blocked and task.blocked.kind.value)


def _ends(paths: Sequence[str], seconds: float) -> bool:
    return locks.wait_until(lambda: None if any(map(locks.is_held, paths)) else True, seconds) is not None


def _signal(who: locks.Holder, number: int) -> None:
    """Signal the process that a lock's file names, unless its pid means another one by now."""
    if locks.is_alive(who):
        try:
            os.kill(who.pid, number)
        except ProcessLookupError:
            return
