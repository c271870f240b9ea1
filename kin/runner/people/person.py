"""A person's part: approve, revise, reject, reopen, answer, undo. What a person types changes files and commits nothing,
but for the merge that an approval lets happen, and the revert that `undo` is.
"""

import os
from collections.abc import Mapping, Sequence

from kin import git
from kin.errors import Conflict, KinError, NotFound, Usage
from kin.faults import point
from kin.model import times
from kin.model.ready import as_owed
from kin.model.record import PlanRecord, Run
from kin.model.settings import StepSpec
from kin.model.status import OPEN, BlockedKind, RunStatus, StepStatus, TaskStatus, WaitFor, check_hand_move
from kin.model.task import Note, NoteFor
from kin.runner.merge.build import Clash, merge_ref
from kin.runner.merge.landed import reopened
from kin.runner.merge.move import Moved, post_merge
from kin.runner.merge.undo import undo as revert
from kin.runner.process.events import Caller, Event
from kin.runner.process.signals import Cancel
from kin.runner.remote.target import find_target, way_of
from kin.runner.runs import claim
from kin.runner.runs.begin import Asked, plan_for
from kin.runner.runs.finish import finish
from kin.runner.runs.outcome import Outcome
from kin.runner.runs.pipeline import passage_for
from kin.runner.runs.planning import agree, refuse_open_parts
from kin.runner.steps.casting import may_write
from kin.runner.steps.passage import step_id
from kin.runner.tree.aside import set_aside
from kin.runner.tree.registry import is_registered
from kin.store import config, notes, records, tasks
from kin.store.project import Project
from kin.store.text.splice import Set


def approve(project: Project, task_id: str, by: str, caller: Caller) -> Outcome:
    """Approve the waiting run's work, as it stands on its branch now, and take it to its end. Needs no slot: no agent starts.

    The approval is bound to the branch's tip; that of a plan to the plan, and the next run goes on with it. Raises Usage if
    nothing waits for one.
    """
    with claim.claim_task(project, task_id):
        live = _waiting(project, task_id, "approve")
        if live.waits_for == WaitFor.plan:
            agreed = agree(project, live, by)
            caller.emit(Event(task_id, "end", text=agreed.reason))
            return agreed
        plan = plan_for(project, task_id, Asked(plays=False), caller.environ)
        with claim.claim_kids(project, task_id, live.run, None) as kids:
            p = passage_for(project, plan, live, caller, kids)
            path = live.live.worktree
            p.path = path if path and is_registered(project, path) else ""
            tip = git.tip(project.root, p.branch_ref)
            own = tip is not None and not git.is_ancestor(project.root, tip, p.target.oid)
            changes = {"approved": tip if own else "no code", "approved_by": by, "pid": os.getpid()}
            p.save(status=RunStatus.running, waiting=None, ended=None, **changes)
            point("approved.saved")
            try:
                return finish(p)
            except (KinError, OSError):  # nothing was merged: what was waited for still is
                p.save(
                    status=live.status, waiting=live.waiting, ended=live.ended, approved=live.live.approved, reason=live.reason
                )
                raise
            finally:
                p.close()


def revise(
    project: Project, task_id: str, message: str, *, by: str, to: str | None, environ: Mapping[str, str]
) -> tuple[str, str]:
    """Send the work back with a note: the step `to` (by default the first that may write) and all after it run again.

    Returns the note's id and the step's. The next run goes on from the same branch, with the note in that step's prompt.
    """
    with claim.claim_task(project, task_id):
        live = records.live(project, task_id)
        if live is None or live.status == RunStatus.completed:
            hint = f'`kin note {task_id} -m "..."` leaves a note for the next one'
            raise NotFound(f"{task_id} has no run to revise", hint)
        plan = plan_for(project, task_id, Asked(plays=False), environ)
        planned = live.waits_for == WaitFor.plan
        index = plan.planners - 1 if planned and to is None else _step_for(project, plan.specs, to)
        spec = plan.specs[index]
        if index < plan.planners:
            refuse_open_parts(project, task_id)
        note = notes.add(project, task_id, Note(by, times.written(), message, NoteFor.review, spec.role))
        point("revise.noted")
        steps = tuple(s._replace(status=StepStatus.pending) if i >= index else s for i, s in enumerate(live.steps))
        held = live.live._replace(approved=None, approved_by=None, rounds={}, pending_edit=None, word="go")
        held = held._replace(plan=PlanRecord()) if index < plan.planners else held
        if held.integrates:  # what is revised may conflict no more; if it does, there is another attempt
            steps, held = steps[: len(plan.specs) - 1], held._replace(integrates=None)
        words = f"revised by {by}"
        records.save_live(
            project, live._replace(status=RunStatus.cancelled, steps=steps, waiting=None, reason=words, live=held)
        )
        point("revise.saved")
        _to_todo(project, task_id)
        return note, step_id(index, spec)


def _step_for(project: Project, specs: Sequence[StepSpec], to: str | None) -> int:
    for index, spec in enumerate(specs):
        if to in (spec.role, step_id(index, spec)):
            return index
        if to is None and may_write(spec, project.store):
            return index
    known = ", ".join(step_id(i, s) for i, s in enumerate(specs))
    raise Usage(f"no step {f'is called {to}' if to else 'of this pipeline may write'}", f"`--to` names one of {known}")


def reject(project: Project, task_id: str, *, message: str, by: str) -> str | None:
    """Give the work up: the task is cancelled, the worktree removed, the branch kept. Returns the ref that keeps it."""
    with claim.claim_task(project, task_id):
        live = _rejectable(project, task_id)
        kept = _put_away(project, live, "rejected")
        if message:
            notes.add(project, task_id, Note(by, times.written(), message, NoteFor.review))
        words = f"rejected by {by}" + (f": {message}" if message else "")
        ended = live._replace(status=RunStatus.cancelled, reason=words, ended=times.written(), waiting=None)
        records.save_live(project, ended)
        point("rejected.saved")
        records.save_record(project, ended)
        if tasks.load(project, task_id)[0].status != TaskStatus.cancelled:
            tasks.change(project, task_id, [Set(("status",), TaskStatus.cancelled.value)])
        point("rejected.cancelled")
        records.drop_live(project, live)
        return kept


def _rejectable(project: Project, task_id: str) -> Run:
    """The run to give up: one that waits, or one that a killed `reject` or an interrupted approval left half-way."""
    live = records.live(project, task_id)
    task, _ = tasks.load(project, task_id)
    half_way = task.status in (TaskStatus.review, TaskStatus.cancelled)
    if live is not None and live.status in (RunStatus.cancelled, RunStatus.failed) and half_way:
        return live
    return _waiting(project, task_id, "reject")


def reopen(project: Project, task_id: str) -> str | None:
    """Make a done, cancelled or blocked task `todo`; its next run starts fresh. Returns the ref that keeps earlier work."""
    with claim.claim_task(project, task_id):
        task, _ = tasks.load(project, task_id)
        check_hand_move(task_id, task.status, TaskStatus.todo)
        live = records.live(project, task_id)
        kept = None
        if live is not None:
            kept = _put_away(project, live, "reopened")
            records.drop_live(project, live)
        reopened(project, task)
        tasks.change(project, task_id, [Set(("status",), TaskStatus.todo.value)])
        return kept


def answer(project: Project, task_id: str, message: str, *, by: str) -> str:
    """Answer a question: a note that the step reads when it goes on. Returns the note's id."""
    with claim.claim_task(project, task_id):
        task, _ = tasks.load(project, task_id)
        live = records.live(project, task_id)
        blocked = as_owed(task, live).blocked
        asks = blocked is not None and blocked.kind == BlockedKind.question
        if not asks and not (live and live.waits_for == WaitFor.question):
            raise Usage(f"{task_id} asks nothing", f'`kin note {task_id} -m "..."` leaves a note')
        note = notes.add(project, task_id, Note(by, times.written(), message, NoteFor.answer))
        if live is not None:
            records.save_live(project, live.holding(pending_edit=None, word="go"))
        _to_todo(project, task_id)
        return note


def _waiting(project: Project, task_id: str, verb: str) -> Run:
    """The run that waits for a person's word. Raises Usage if there is none."""
    live = records.live(project, task_id)
    task, _ = tasks.load(project, task_id)
    if task.status in (TaskStatus.cancelled, TaskStatus.done) and live is not None:
        raise Usage(f"{task_id} is {task.status}, so nothing of it waits", f"`kin reopen {task_id}` first")
    under_way = live is not None and live.status in (RunStatus.waiting, RunStatus.running)
    if live is None or not (_may_approve(live) if verb == "approve" else under_way):
        hint = "`kin inbox` shows what waits"
        if verb == "reject" and task.status in OPEN:
            hint = f"`kin set {task_id} status=cancelled` cancels the task"
        raise Usage(f"no run of {task_id} waits for you to {verb} it", hint)
    return live


def _may_approve(live: Run) -> bool:
    # one that was killed or interrupted after it was approved: the word was given already, and may be given again
    if live.status in (RunStatus.running, RunStatus.failed, RunStatus.cancelled):
        return bool(live.live.approved)
    return live.waits_for in (WaitFor.review, WaitFor.merge, WaitFor.plan)


def _put_away(project: Project, live: Run, why: str) -> str | None:
    target = git.tip(project.root, f"refs/heads/{live.base}") or git.tip(project.root, "HEAD") or ""
    kept = set_aside(project, live.task, live.run, why, path=live.live.worktree, target=target, live=live)
    if (built := git.tip(project.root, merge_ref(live.task))) is not None:
        git.delete_ref(project.root, merge_ref(live.task), built)  # nobody will move to that merge any more
    return kept


def _to_todo(project: Project, task_id: str) -> None:
    task, _ = tasks.load(project, task_id)
    if task.status in (TaskStatus.review, TaskStatus.blocked):
        tasks.set_status(project, task_id, TaskStatus.todo)


def undo(project: Project, task_id: str, *, base: str | None, environ: Mapping[str, str]) -> tuple[Moved, str]:
    """Revert the task's merge or state commit on its target; the task is todo there again. Returns the branch, too.

    Raises Conflict, with nothing moved, if the revert conflicts or something in a checkout blocks it.
    """
    git.require(project.root, environ)
    with claim.claim_task(project, task_id):
        task, _ = tasks.load(project, task_id)
        target = find_target(project, task.base or base or config.quick(project).base, way=way_of(task))
        live = records.live(project, task_id)
        done = revert(project, task_id, target.ref, live and live.live.start)
        if isinstance(done, Moved):
            with Cancel() as cancel:
                said = post_merge(done, cancel.fd)
            return done._replace(warnings=(*done.warnings, *filter(None, (said,)))), target.name
        if isinstance(done, Clash):
            why, way = "conflicts with later work in:", "revert it by hand with git"
        else:
            why, way = f"is blocked: {done.reason}", "mend that and try again"
        listed = "".join(f"\n  {path}" for path in done.paths)
        raise Conflict(f"undoing {task_id} {why}{listed}", way, paths=done.paths)
