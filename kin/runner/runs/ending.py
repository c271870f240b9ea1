"""How a run ends or pauses: its record, the task's file, and the outcome that `kin run` reports.

What a run leaves in the working tree are edits like a person's own: a status and a record, never a commit. While git is in
the middle of something in the store's checkout, nothing is edited there; the live record keeps what is owed.
"""

import os
import signal
from typing import Any

from kin import git
from kin.errors import Busy, Invalid, KinError, NotFound
from kin.faults import point
from kin.model.record import Run, Waiting
from kin.model.status import BLOCKED_EXIT, BlockedKind, RunStatus, StepStatus, TaskStatus, WaitFor, may_move
from kin.model.task import Task
from kin.model.times import written
from kin.runner.merge import build
from kin.runner.merge.checkout import Pending
from kin.runner.merge.move import Moved
from kin.runner.merge.taskfile import Standing
from kin.runner.remote.target import find_target, newest_tip
from kin.runner.runs.landing import land
from kin.runner.runs.notify import notify
from kin.runner.runs.outcome import Outcome
from kin.runner.steps.passage import Passage
from kin.runner.tree import worktree
from kin.store import records, tasks
from kin.store.project import Project

WAIT_EXIT = {WaitFor.review: 3, WaitFor.plan: 3, WaitFor.question: 3, WaitFor.limit: 6, WaitFor.merge: 4, WaitFor.tasks: 6}


def outcome(run: Run, status: str, exit: int, **more: Any) -> Outcome:
    """The outcome of `run`; the step is the first that is not done."""
    step = next((s.id for s in run.steps if s.status not in ("done", "skipped")), None)
    more.setdefault("reason", run.reason)
    return Outcome(run.task, run.run, status, exit, step=step, merge=run.merge, branch=run.branch, **more)


def exit_now(task: Task, run: Run | None) -> int:
    """What `kin run` would have ended with, of a task and its live run as they stand now."""
    if run is not None and run.status == RunStatus.waiting and run.waiting:
        return WAIT_EXIT[run.waiting.for_]
    if task.status == TaskStatus.blocked:
        return BLOCKED_EXIT[task.blocked.kind] if task.blocked else 3
    return 130 if run is not None and run.status == RunStatus.cancelled else 0


def block(p: Passage, kind: BlockedKind, reason: str) -> Outcome:
    """End the run: the task is blocked and says why."""
    blocked = {"kind": kind.value, "reason": reason}
    _end(p, RunStatus.failed, reason, {"status": TaskStatus.blocked.value, "blocked": blocked})
    _put_owed(p, TaskStatus.blocked, blocked)
    _commit_status(p, TaskStatus.blocked, blocked)
    p.say("end", text=reason)
    return _told(p, outcome(p.run, "blocked", BLOCKED_EXIT[kind], blocked=kind.value))


def _told(p: Passage, end: Outcome) -> Outcome:
    notify(p.project, p.settings.notify, end, p.mask(p.task.title), p.environ)
    return end


def cancel(p: Passage, reason: str, exit: int) -> Outcome:
    """End the run where it stands, resumable; the task's file is not touched. After a Ctrl-C nothing takes it up by itself."""
    if exit == 128 + signal.SIGINT:
        p.save(word="stop")
    _end(p, RunStatus.cancelled, reason)
    p.say("end", text=reason)
    return outcome(p.run, _status_now(p), exit)


def wait(p: Passage, for_: WaitFor, reason: str, paths: tuple[str, ...] = (), until: str | None = None) -> Outcome:
    """Pause the run: the process ends, the record says what it waits for.

    For a person's part the task shows `review`; one that goes on by itself is no longer `blocked`.
    """
    person = for_ in (WaitFor.review, WaitFor.merge)
    status = TaskStatus.review if person else TaskStatus.todo if _status_now(p) == TaskStatus.blocked else None
    owed = {"status": status.value, "blocked": None} if status else None
    p.save(status=RunStatus.waiting, reason=reason, waiting=Waiting(for_, until, reason, paths), pending_edit=owed)
    point("waiting.saved")
    if status is not None:
        _put_owed(p, status, None)
    if person:
        _commit_status(p, TaskStatus.review, None)
    p.say("end", text=reason)
    waiting = {"for": for_.value, "until": until, "paths": list(paths)}
    return _told(p, outcome(p.run, _status_now(p), WAIT_EXIT[for_], waiting=waiting))


def complete(p: Passage, merge: str | None) -> Outcome:
    """The work is on the target: forget the live record, remove worktree and branch. Each step may be done again."""
    p.save(status=RunStatus.completed, merge=merge, waiting=None, reason="", ended=p.run.ended or written())
    point("completed.saved")
    try:
        kept = retire(p.project, p.run)
    except (KinError, OSError) as error:  # it is merged all the same, and the next recovery comes here again
        kept = str(error)
    words = f"merged into {p.target.name} as {merge[:12]}" if merge else "done"
    if kept:
        p.say("note", text=kept)
    p.say("end", text=words)
    here = git.head_ref(p.project.root) == p.target.ref  # asked again: a person may have switched while gates ran
    status = "done" if here or p.share else f"todo (done on {p.target.name})"
    return _told(p, outcome(p.run, status, 0, reason=words))


def retire(project: Project, run: Run) -> str | None:
    """Remove the worktree and the branch of a run whose work is on its target, then its live record; words if they were kept.

    The record goes last: killed before, the next recovery finds the run and comes here again.
    """
    target = newest_tip(project.root, run.base)
    kept = target and worktree.remove(project, run.live.worktree, f"refs/heads/{run.branch}", target)
    point("completed.cleaned")
    records.drop_live(project, run)
    point("completed.dropped")
    return kept


def _end(p: Passage, status: RunStatus, reason: str, owed: dict[str, Any] | None = None) -> None:
    steps = tuple(s._replace(status=StepStatus.pending) if s.status == StepStatus.running else s for s in p.run.steps)
    p.save(status=status, reason=p.short(reason), ended=written(), waiting=None, steps=steps, pending_edit=owed)
    point("ended.saved")
    if may_edit(p.project, p.task.id):
        records.save_record(p.project, p.run)
    point("ended.recorded")


def may_edit(project: Project, task_id: str) -> bool:
    """Whether states may be written in the store's checkout: git is in the middle of nothing, and the task's file is there.

    It is not where the checkout was switched to a branch without it; records written there would lie among other work.
    """
    return git.under_way(project.gitdir) is None and os.path.lexists(tasks.task_path(project, task_id))


def _put_owed(p: Passage, status: TaskStatus, blocked: dict[str, str] | None) -> None:
    """Write the status that the record owes; a kill in between leaves it owed, and the next recovery pays it."""
    if put_status(p.project, p.run, status, blocked):
        p.save(pending_edit=None)


def put_status(project: Project, run: Run, status: TaskStatus, blocked: dict[str, str] | None) -> bool:
    """Write a status into the task's file, if the table of moves lets kin; what git's state puts off is owed.

    A status that a person set meanwhile and that kin may not move stays: the file wins.
    """
    edit: dict[str, Any] = {"status": status.value, "blocked": blocked}
    if not may_edit(project, run.task):
        owe(project, run, edit)
        return False
    try:
        task, _ = tasks.load(project, run.task)
        if may_move(task.status, status, by_kin=True):
            tasks.set_status(project, run.task, status, blocked)
    except (NotFound, Invalid, Busy):
        # The file is unreadable, or is just being removed or saved: a person is at it. The live record tells the views.
        owe(project, run, edit)
        return False
    point("status.put")
    return True


def owe(project: Project, run: Run, edit: dict[str, Any] | None) -> None:
    """Remember in the live record, if there still is one, what the task's file must be told."""
    held = records.live(project, run.task)
    if held is not None and held.run == run.run:
        records.save_live(project, held.holding(pending_edit=edit))


def pay_owed_edit(project: Project, run: Run) -> None:
    """Write what git's state put off, now that it may be; the caller holds the task's lock."""
    edit = run.live.pending_edit
    if not edit or not may_edit(project, run.task):
        return
    if run.status in (RunStatus.failed, RunStatus.cancelled):
        records.save_record(project, run)
    if put_status(project, run, TaskStatus(edit["status"]), edit.get("blocked") or None):
        owe(project, run, None)


def _commit_status(p: Passage, status: TaskStatus, blocked: dict[str, str] | None) -> None:
    """`commit: true`: the state is committed on the target too; what stands in the way leaves it in the working tree.

    With `--push` the state `blocked` always is, and is pushed: a CI job's own working tree goes with the job.
    """
    if not p.settings.commit and not (p.share and status == TaskStatus.blocked):
        return
    extra = {}
    if p.run.status in (RunStatus.failed, RunStatus.cancelled):
        extra = {f"pipelines/{p.task.id}/{p.run.run}.yaml": records.record_text(p.run).encode()}
    try:
        while True:
            old = p.target.oid if p.share else None
            work = build.Work(p.target.ref, p.task.id, p.run.run, p.text.encode(), extra, old=old)
            built = build.build_state(p.project, work, Standing(status, blocked))
            moved = land(p, built, message=f"kin: {p.task.id} is {status}", over=False)
            if not (p.share and isinstance(moved, Pending) and moved.stale):
                break
            p.target = find_target(p.project, p.run.base, push=True)  # others were faster: a new state, not the same again
    except KinError as error:
        p.say("note", text=f"the state was not committed: {error.message}")
        return
    if not isinstance(moved, Moved):
        p.say("note", text=f"the state was not committed: {moved.reason}")


def _status_now(p: Passage) -> str:
    try:
        return tasks.load(p.project, p.task.id)[0].status.value
    except KinError:
        return p.task.status.value
