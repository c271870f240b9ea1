"""One task through its pipeline in this process: claim, record, worktree, steps, gates, merge.

The data flow is the code: `run_task` begins, `_steps` plays until all are finished or one blocks, `finish` takes the work to
its end. Whatever stops the process, the record says where to go on.
"""

import os
from contextlib import nullcontext, suppress

from kin import git
from kin.errors import Busy, Conflict, KinError, of_system
from kin.faults import point
from kin.model.record import Run
from kin.model.status import BlockedKind, RunStatus, StepStatus, WaitFor
from kin.model.times import written
from kin.runner.merge.landed import landed_run
from kin.runner.process.events import Caller
from kin.runner.process.mask import make_mask
from kin.runner.remote.host import FILES
from kin.runner.remote.share import Share, installed, run_ref, shared
from kin.runner.runs import begin, claim
from kin.runner.runs.bundle import write_bundle
from kin.runner.runs.ending import block, cancel, complete, pay_owed_edit, wait
from kin.runner.runs.finish import finish
from kin.runner.runs.outcome import Outcome
from kin.runner.runs.planning import go_on
from kin.runner.runs.rounds import SentBack, begin_merge, give_up, send_back
from kin.runner.steps import gates
from kin.runner.steps.casting import credentials
from kin.runner.steps.judge import StepEnd
from kin.runner.steps.passage import Passage, step_id
from kin.runner.steps.step import play
from kin.runner.tree.worktree import mark_ready
from kin.store import locks, records
from kin.store.project import Project


def run_task(project: Project, task_id: str, asked: begin.Asked, caller: Caller, plan: begin.Plan | None = None) -> Outcome:
    """Run `task_id` until it is merged, waits or is blocked. Raises KinError if nothing ran; Busy if others hold all slots.

    `plan` is what the caller just made and found to be runnable; once nobody else can run the task it is made again.
    """
    if plan is None or asked.push or asked.bundle:
        plan = begin.plan_for(project, task_id, asked, caller.environ)
        if (answer := begin.already(project, plan, records.live(project, task_id), asked)) is not None:
            return answer
    with claim.claim_all(project, task_id, plan.settings.concurrency, caller, asked.wait) as slot:
        point("claimed")
        if asked.only_as is not None and os.path.exists(records.stop_mark(project, task_id)):
            # ended, and not yet recorded as stopped: for a moment it looks ready, and `kin stop` needs its lock
            raise Busy(f"a person stopped {task_id} just now", f"`kin run {task_id}` lets it start")
        if asked.bundle and (left := git.tip(project.root, run_ref(task_id))):
            installed(project, task_id, left, plan.target.oid)  # what an earlier job had finished, if it was fetched
        with shared(project, task_id, plan.target, caller) if asked.push else nullcontext() as share:
            return _claimed(project, task_id, asked, caller, slot, share)


def _claimed(
    project: Project, task_id: str, asked: begin.Asked, caller: Caller, slot: locks.Held, share: Share | None
) -> Outcome:
    """With the task's lock held: read everything again, since it may have changed before the lock was ours."""
    plan = begin.plan_for(project, task_id, asked, caller.environ)
    live = records.live(project, task_id)
    if live is not None:
        pay_owed_edit(project, live)
        live = records.live(project, task_id)
    if (answer := begin.already(project, plan, live, asked)) is not None:
        return answer
    if asked.only_as not in (None, plan.task.status):  # another command ran it while this one waited for a slot
        raise Busy(f"{task_id} is {plan.task.status} by now", f"`kin why {task_id}` tells more")
    if asked.allow is not None:
        asked.allow(plan)
    run, words = begin.begin_record(plan, live, asked)
    dead = live.run if live and live.status == RunStatus.running else None
    with claim.claim_kids(project, task_id, run.run, dead) as kids:
        p = passage_for(project, plan, run, caller, kids)
        p.slot = int(slot.path.rpartition("-")[2])  # from 1: it keeps parallel runs off each other's ports
        p.share, p.bundle, p.plays = share, asked.bundle, True
        try:
            begin.clear_the_way(p, live, words)
            return _through(p, live, begin.restored_work(p) if asked.restore else p.target.oid)
        finally:
            p.close()
            # what the run has finished, however it ended, goes where others can go on with it
            if p.share is not None:
                p.share.leave(p.run)
            if p.bundle and p.live.start is not None and p.run.status != RunStatus.completed:
                write_bundle(p, p.bundle)


def _through(p: Passage, old: Run | None, base: str) -> Outcome:
    """From the record to the end. What stops a run that has one blocks its task with the reason: it is never left hanging."""
    try:
        begin.make_ready(p, old, base)
        ended = _set_up(p)
        while ended is None:
            with suppress(SentBack):
                ended = _steps(p) or finish(p)
        return ended
    except (KinError, OSError) as error:
        tip = git.tip(p.project.root, p.target.ref)
        if tip and (done := landed_run(p.project.root, tip, p.run.run, p.live.start)) is not None:
            return complete(p, done)  # what failed came after the merge, which is not taken back by a failure's record
        kind = BlockedKind.conflict if isinstance(error, Conflict) else BlockedKind.failed
        said = of_system(error) if isinstance(error, OSError) else error
        return block(p, kind, f"{p.short(str(said))}; `kin run {p.task.id}` tries again")


def passage_for(project: Project, plan: begin.Plan, run: Run, caller: Caller, kids: locks.Held) -> Passage:
    """The run under way, from a plan and a record; the caller holds the task's locks and closes it."""
    mine = len(run.steps)  # a run that starts over has no step of the integrator, which its plan may still name
    return Passage(
        project=project,
        settings=plan.settings,
        target=plan.target,
        task=plan.task,
        text=plan.text,
        specs=plan.specs[:mine],
        cast=plan.cast[:mine],
        planners=plan.planners,
        plan_only=plan.plan_only,
        run=run,
        # without git's variables, which would lead commands to another repository, and without a person's leave
        environ={k: v for k, v in git.own(caller.environ).items() if k not in (*FILES, "KIN_ALLOW_WRITE", "KIN_TRUST")},
        emit=caller.emit,
        cancel=caller.cancel,
        kids=kids,
        mask=make_mask(caller.environ, (*plan.settings.secrets, *credentials(plan.cast))),
    )


def _set_up(p: Passage) -> Outcome | None:
    """Run `setup` in a worktree that is new; again if the run was killed in it."""
    if p.fresh is None:
        return None
    if p.settings.setup is not None:
        p.seen = None
        p.say("step", "setup", p.settings.setup)
        failed = gates.set_up(p, p.path, "setup")
        if p.cancel.level:
            return cancel(p, "cancelled during the set-up", 128 + p.cancel.number)
        if failed is not None:
            return block(p, BlockedKind.failed, str(failed))
        p.say("step_end", "setup", "done")
    mark_ready(p.fresh)
    return None


def _steps(p: Passage) -> Outcome | None:
    while True:
        if p.planners and (ended := go_on(p)) is not None:
            return ended
        index = begin.first_unfinished(p.run)
        if p.cancel.level:
            words = "after its last step" if index is None else f"before step {step_id(index, p.specs[index])}"
            return cancel(p, f"cancelled {words}", 128 + p.cancel.number)
        if index is None:
            return None
        if p.run.steps[index].status != StepStatus.running:
            p.save(steps=p.with_step(index, status=StepStatus.running, started=written(), ended=None, exit=None, reason=""))
        point("step.saved")
        if p.integrates(index) and not begin_merge(p, index):
            p.save(steps=p.with_step(index, status=StepStatus.skipped))
            continue
        who = begin.next_agent(p, index)
        if who is None and p.cast[index] is not None:
            return _wait_for_agents(p, index)
        end = play(p, index, who)
        if p.share is not None and not p.share.keep(p.run):
            return cancel(p, p.share.lost, Busy.exit)
        if (ended := _after(p, index, end)) is not None:
            return ended


def _after(p: Passage, index: int, end: StepEnd) -> Outcome | None:
    if end.status == "cancelled":
        return cancel(p, end.reason, 128 + p.cancel.number)
    if end.status == "waiting":
        if begin.next_agent(p, index) is None:
            return _wait_for_agents(p, index, end.reason)
        p.say("note", text=f"{end.reason} until {end.until}; the next agent that the project names begins it anew")
        begin.back_to_last_step(p)
    elif end.status == "changes_requested":
        if (stuck := send_back(p, index, end)) is not None:
            return block(p, BlockedKind.failed, stuck)
    elif end.status != "done":
        if p.integrates(index) and end.kind in (BlockedKind.failed, BlockedKind.no_work):
            return give_up(p, end)
        return block(p, end.kind, end.reason)
    return None


def _wait_for_agents(p: Passage, index: int, reason: str = "") -> Outcome:
    """Pause until the first agent that may play the step is free again."""
    cast = p.cast[index]
    until = min(str(p.live.limited[name]) for name in (cast.agents if cast else ()))
    words = reason or f"step {step_id(index, p.specs[index])} waits for its agents"
    return wait(p, WaitFor.limit, f"{words}; `kin run {p.task.id}` goes on from {until}", until=until)
