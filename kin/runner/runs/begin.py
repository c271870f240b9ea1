"""Beginning a run or going on with one: what may start, what a person must have agreed to before (kin.cli.consent asks, the
watcher only looks), the record, the worktree, and where to take up the work.

Finished steps are paid work and never run again. What is unfinished, gates, settings and the task's text are read anew.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kin import git
from kin.errors import Busy, Conflict, Invalid, Usage, Waits
from kin.faults import point
from kin.model import times
from kin.model.ids import run_id
from kin.model.record import Live, PlanRecord, Run, StepRecord
from kin.model.settings import Settings, StepSpec, check_budget, with_role
from kin.model.status import RunStatus, StepStatus, TaskStatus, WaitFor
from kin.model.task import Task
from kin.model.times import written
from kin.runner.merge.build import Clash
from kin.runner.merge.taskfile import standing, task_path
from kin.runner.merge.undo import restored
from kin.runner.remote.host import job_of
from kin.runner.remote.target import Target, find_target, settings_for, way_back, way_of
from kin.runner.runs.ending import outcome, put_status
from kin.runner.runs.outcome import Outcome
from kin.runner.runs.planning import course_of, is_wanted, must_agree
from kin.runner.steps.casting import Cast, cast_all, may_write
from kin.runner.steps.passage import Passage, spec_digest, step_id
from kin.runner.tree import commit, salvage, worktree
from kin.runner.tree.aside import how_to_see, set_aside
from kin.store import config, files, records, tasks, trust
from kin.store.arrivals import asked_for
from kin.store.config import KIN_YAML
from kin.store.project import STORE, Project, branch_here
from kin.store.roles import role_texts
from kin.store.view import Seen, see

INTEGRATOR = StepSpec(role="integrator", access="write")
"""The step that kin adds to a run whose work conflicts with its target."""
HOLDS_UP = ("dependency", "child")
"""Kinds of reasons for which even a run that a person asks for must wait."""


class Asked(NamedTuple):
    """What the caller of `kin run` asked for. `wait` is how many seconds to queue for a slot; `restore`: begin with what a
    revert took back; `plan`: have it planned, and no more; `push`: what is finished goes to the remote; `bundle`: it goes into
    this file, and nothing is merged; `allow` raises what keeps a plan from running, asked once nobody else can run the task;
    `budget`: what the run may use in all, by unit; `only_as`: the status for which it was chosen, nobody having named it;
    without `plays` it only gates and merges, so that nobody must be there who could play a step."""

    base: str | None = None
    restart: bool = False
    restore: bool = False
    plan: bool = False
    wait: float = 0.0
    started_by: str = "person"
    push: bool = False
    bundle: str | None = None
    allow: "Callable[[Plan], None] | None" = None
    budget: Mapping[str, float] = {}
    only_as: TaskStatus | None = None
    plays: bool = True


class Plan(NamedTuple):
    """What would run: read before anything is claimed, started or paid for, and shown by `--dry-run`.

    `planners` of its steps plan; `plan` is what they planned, None where nobody does; `plan_only`: no other step runs.
    `landed`: the target is not checked out here, and it holds the task as done. `integrates`: the last step is not the task's
    own but the integrator's, which kin added.
    """

    task: Task
    text: str
    target: Target
    settings: Settings
    specs: tuple[StepSpec, ...]
    cast: tuple[Cast | None, ...]
    landed: bool = False
    integrates: bool = False
    planners: int = 0
    plan: PlanRecord | None = None
    plan_only: bool = False

    @property
    def is_open(self) -> bool:
        """Whether steps will run that nobody knows yet."""
        unknown = self.plan is not None and not self.plan.hash and not self.plan_only
        return unknown and is_wanted(self.task, self.settings) != "approve"


def plan_for(project: Project, task_id: str, asked: Asked, environ: Mapping[str, str]) -> Plan:
    """The plan of a run of `task_id`. Raises a KinError for whatever would stop it later: nothing starts half-checked."""
    git.require(project.root, environ)
    if sys.platform == "linux" and not os.path.exists("/proc/self/stat"):  # what an agent starts could not be ended
        raise Invalid("/proc is not there, by which kin ends what agents leave behind", "`mount -t proc proc /proc`")
    config.refuse_newer_format(project)
    task, text = tasks.load(project, task_id)
    live = records.live(project, task_id)
    fixed = live.base if live and live.base and not asked.restart else None
    name = fixed or task.base or asked.base or config.quick(project).base
    if name is None and branch_here(project) is None:
        name = job_of(environ).branch  # a CI job's checkout is detached; its host says what it is about
    target = find_target(project, name, way=way_back(task_id) if fixed else way_of(task), push=asked.push)
    if os.path.islink(project.store):  # git follows no link: what is merged below it would show as deleted
        raise Invalid(f"{STORE} is a symbolic link, which git does not follow", "put the folder itself there, and commit it")
    settings = settings_for(project, target)
    there = None if target.here else git.blob(project.root, target.oid, task_path(task_id))
    if not target.here and there is None:
        raise Usage(f"{target.name} does not hold {task_id}", f"commit it on {target.name} first, or name another `--base`")
    held = live.live if live and not asked.restart else Live()
    try:
        specs, planners, made = course_of(task, settings, None if asked.restart else live, wanted=asked.plan)
    except ValueError as error:
        raise Invalid(f"{task_id}: {error}", f"mend `pipeline:` in .kin/tasks/{task_id}.yaml or .kin/kin.yaml") from None
    if held.integrates:
        specs = (*specs, with_role(INTEGRATOR, settings))
    cast = cast_all(specs, task, settings, project.store, environ) if asked.plays else (None,) * len(specs)
    budget = check_budget(task.budget or {}, settings.budget)
    if isinstance(budget, str):
        raise Invalid(f"{task_id}: {budget}", f"mend `budget:` in .kin/tasks/{task_id}.yaml")
    allowed = {unit: float(amount) for unit, amount in {**held.budget, **asked.budget}.items()}
    settings = settings.model_copy(update={"budget": budget.allowing(allowed)})
    if git.identity(project.root) is None:
        raise Invalid("git does not know who you are", 'set it: `git config user.name "..."` and `git config user.email ...`')
    landed = there is not None and standing(there, f"{target.name}:{task_path(task_id)}").status == TaskStatus.done
    integrates = bool(held.integrates)
    return Plan(task, text, target, settings, specs, cast, landed, integrates, planners, made, asked.plan)


def unagreed(project: Project, plans: Sequence[Plan], environ: Mapping[str, str]) -> dict[str, str]:
    """Settings and roles, of the store and of each target's tip, that could start programs and were not agreed to."""
    texts = trust.texts_here(project)
    for plan in plans:
        if not plan.target.here:
            settings = git.blob(project.root, plan.target.oid, KIN_YAML) or b""
            texts |= trust.texts_of(settings.decode("utf-8", "replace"), role_texts(project.store), plan.target.name)
    return trust.not_agreed(project, texts, environ)


def writes(project: Project, plan: Plan) -> bool:
    """Whether a step of the plan may change files, or one that the PM has yet to name."""
    return plan.is_open or any(may_write(spec, project.store) for spec in plan.specs)


def already(project: Project, plan: Plan, live: Run | None, asked: Asked) -> Outcome | None:
    """What `kin run` answers without running: done, waiting for a person. Raises the error that says why it may not run."""
    task = plan.task
    waiting = live.waiting if live and live.status == RunStatus.waiting and not asked.restart else None
    # Also beside a run that could go on: it was closed by hand. One that a kill cut short in its move may be taken back.
    closed = live is None or live.status != RunStatus.running
    if task.status == TaskStatus.done and closed:
        return Outcome(task.id, None, "done", 0, reason=f"{task.id} is already done")
    if plan.landed and live is None:
        name = plan.target.name
        return Outcome(task.id, None, f"{task.status} (done on {name})", 0, reason=f"{task.id} is already done on {name}")
    if task.status == TaskStatus.cancelled:
        raise Usage(f"{task.id} is cancelled", f"`kin reopen {task.id}` first")
    if task.status == TaskStatus.in_progress:
        words = f"`kin set {task.id} status=todo` gives it back"
        raise Busy(f"{task.id} is in_progress: a person{f' ({task.assignee})' if task.assignee else ''} is at it", words)
    agreed = waiting is not None and waiting.for_ == WaitFor.plan and not must_agree(task, plan.settings, plan.plan)
    if live and waiting and waiting.for_ in (WaitFor.review, WaitFor.plan) and not agreed:
        return outcome(live, task.status.value, 3, waiting={"for": waiting.for_.value, "until": None, "paths": []})
    if live and waiting and waiting.for_ == WaitFor.limit and waiting.until and waiting.until > written():
        raise Busy(f"{task.id} waits until {waiting.until}: {live.reason}", "try again then", until=waiting.until)
    # A run that was interrupted, or killed between its record and the task's file, may leave `review`: it goes on.
    if task.status == TaskStatus.review and (live is None or live.status == RunStatus.completed):
        raise Waits(f"{task.id} is in review, but no run of it waits in this clone", f"`kin set {task.id} status=todo` first")
    view = see(project, with_reasons=(task.id,), bodies=False, base=plan.target.name)
    half_split = plan.plan is not None and plan.plan.files  # killed while it wrote its parts: the rest must be written first
    held_up = [r for r in view.seen[task.id].reasons if r.kind in HOLDS_UP and not (half_split and r.kind == "child")]
    if held_up:
        words = "; ".join(r.text for r in held_up)
        raise Busy(f"{task.id} cannot run yet: {words}", _before(task.id, [r.ref for r in held_up], view.seen))
    return None


def _before(task_id: str, refs: Sequence[str], seen: Mapping[str, Seen]) -> str:
    for ref in refs:
        if ref not in seen:
            return f"`kin deps {task_id}` shows it" if ":" in ref else f"`kin set {task_id} depends_on-={ref}` takes that out"
        if seen[ref].task.status not in (TaskStatus.todo, TaskStatus.draft, TaskStatus.blocked):
            return f"`kin why {ref}` tells what that waits for"
    return f"`kin run {' '.join(refs)} {task_id}` runs them first"


def begin_record(plan: Plan, live: Run | None, asked: Asked) -> tuple[Run, str | None]:
    """The record to go on with, and words that say why finished work is not taken up, if it is not. Writes nothing."""
    if live is None or live.status == RunStatus.completed:
        return _new_record(plan, asked), None
    if asked.restart:
        return _new_record(plan, asked), "--restart: the earlier work is kept aside"
    kept: list[StepRecord] = []
    names = [step_id(i, spec) for i, spec in enumerate(plan.specs)]
    old = {step.id: step for step in live.steps}
    held = live.live
    for name, spec in zip(names, plan.specs, strict=True):
        step = old.get(name, StepRecord(name, spec.role))
        if step.status == StepStatus.done and held.specs.get(name) != spec_digest(spec):
            return _new_record(plan, asked), f"step {name} was edited since it was finished, so the run starts over"
        kept.append(step if step.status == StepStatus.done else step._replace(status=StepStatus.pending, reason=""))
    gone = [s.id for s in live.steps if s.status == StepStatus.done and s.id not in names]
    if gone:
        return _new_record(plan, asked), f"finished step {gone[0]} is no longer in the pipeline, so the run starts over"
    live_part = held._replace(pid=os.getpid(), word=None, asked=asked_for(plan.task), plan=plan.plan)
    live_part = live_part._replace(budget={**held.budget, **asked.budget}, reserved={})
    return live._replace(status=RunStatus.running, ended=None, waiting=None, steps=tuple(kept), live=live_part), None


def _new_record(plan: Plan, asked: Asked) -> Run:
    moment = times.now()
    specs = plan.specs[:-1] if plan.integrates else plan.specs
    return Run(
        run=run_id(times.stamp(moment), int.from_bytes(os.urandom(3)) >> 4),
        task=plan.task.id,
        status=RunStatus.running,
        started=times.rfc3339(moment),
        started_by=asked.started_by,
        base=plan.target.name,
        branch=f"kin/{plan.task.id}",
        steps=tuple(StepRecord(step_id(i, spec), spec.role) for i, spec in enumerate(specs[: plan.planners or None])),
        live=Live(pid=os.getpid(), asked=asked_for(plan.task), plan=plan.plan and PlanRecord(), budget=dict(asked.budget)),
    )


def first_unfinished(run: Run) -> int | None:
    """The index of the step to run next; None if all are finished."""
    return next((i for i, s in enumerate(run.steps) if s.status not in (StepStatus.done, StepStatus.skipped)), None)


def clear_the_way(p: Passage, old: Run | None, new_words: str | None) -> None:
    """Set aside what another, earlier run left. Raises Conflict if that cannot be saved; then nothing began."""
    if new_words:
        p.say("note", text=new_words)
    if old is not None and old.run != p.run.run:
        path = old.live.worktree
        kept = set_aside(p.project, p.task.id, old.run, "restarted", path=path, target=p.target.oid, live=old)
        if kept:
            p.say("note", text=f"the earlier work is kept: {how_to_see(kept)}")
        if p.task.status == TaskStatus.review:
            put_status(p.project, old, TaskStatus.todo, None)  # killed before the new record, nobody would own the review
        records.drop_live(p.project, old)
    elif old is None:
        _clear_stray_branch(p)


def restored_work(p: Passage) -> str:
    """The commit that a new run starts from to bring back what a revert took away. Raises Usage, Conflict; nothing began."""
    if p.live.start is not None:
        raise Usage(f"{p.task.id} has begun already", "`--restart --restore` begins again with the work that was reverted")
    found = restored(p.project, target=p.target.ref, task_id=p.task.id, run_id=p.run.run)
    if found is None:
        raise Usage(f"no work of {p.task.id} was reverted on {p.target.name}", f"`kin run {p.task.id}` without --restore")
    if isinstance(found, Clash):
        raise Conflict(
            f"the reverted work conflicts with {p.target.name} in {', '.join(found.paths)}", "run it without --restore"
        )
    return found


def make_ready(p: Passage, old: Run | None, base: str) -> None:
    """Make the record durable and the worktree stand where the next step starts; a new branch starts at commit `base`."""
    p.save(status=RunStatus.running)
    if first_unfinished(p.run) is not None:
        _ = p.supervisor  # it starts while git checks out
    files.unlink(records.stop_mark(p.project, p.task.id))  # of a `kin stop` that was killed: this run is wanted
    point("record.saved")
    p.say("start", text=p.run.run)
    start, head = p.live.start, p.live.head
    lost = start if start and head and not git.is_whole(p.project.root, start, head) else None
    if lost is not None:
        git.git(p.project.root, "update-ref", "-m", "kin: its objects are gone", p.branch_ref, lost)
    made = worktree.ensure(p.project, p.settings, p.task.id, p.run.run, lost or head or base, p.environ)
    p.path = made.path
    p.fresh = made.gitdir if made.fresh else None
    p.save(worktree=made.path, start=start or made.start)
    point("worktree.ready")
    if lost is not None:
        _commit_again(p, made.gitdir, lost)
    p.say("worktree", text=made.path)
    if made.new and not head and not p.live.sessions and made.start == p.live.start == p.target.oid:
        p.seen = commit.untouched(p.path, made.gitdir, made.start, p.branch_ref)
    elif first_unfinished(p.run) is not None:
        _take_up_commit(p, old)
        back_to_last_step(p)


def _commit_again(p: Passage, gitdir: str, start: str) -> None:
    """Make one commit of all that the worktree holds: a `git prune` deleted objects of the branch while they were written.

    If the worktree holds nothing either, the steps must be played again.
    """
    salvage.rebuild_index(p.path, gitdir)
    done = [step.id for step in p.run.steps if step.status == StepStatus.done]
    words = f"kin: {p.task.id} again"
    new = commit.commit_step(p.path, p.branch_ref, start, words, {"Kin-Run": p.run.run}, target=p.target.oid)
    again = {"commit": new} if new else {"status": StepStatus.pending}
    p.save(head=new, steps=tuple(s._replace(**again) if s.id in done else s for s in p.run.steps))
    words = "its commits were made again from the worktree" if new else "nothing of it was left, so it starts over"
    p.say("note", text=f"objects of {p.run.branch} are gone (did a `git prune` run?); {words}")


def _clear_stray_branch(p: Passage) -> None:
    """A branch that no live run owns (of a reverted merge, of a run in another clone) is never built upon (rule 32)."""
    if git.tip(p.project.root, p.branch_ref) is None:
        return
    path = worktree.folder(p.project, p.settings, p.task.id, p.environ)
    kept = set_aside(p.project, p.task.id, p.run.run, "found", path=path, target=p.target.oid)
    if kept:
        p.say("note", text=f"a branch {p.run.branch} was there; it is kept: {how_to_see(kept)}")


def _take_up_commit(p: Passage, old: Run | None) -> None:
    """A kill may fall between a step's commit and its record: the work was paid for, so it counts as finished."""
    cut = next((i for i, s in enumerate(old.steps) if s.status == StepStatus.running), None) if old else None
    if cut is None or old is None or old.run != p.run.run or cut >= len(p.specs):
        return
    name, spec = step_id(cut, p.specs[cut]), p.specs[cut]
    tip = git.tip(p.project.root, p.branch_ref)
    trailers = {"Kin-Step": name, "Kin-Run": p.run.run}
    if tip in (None, p.live.head) or first_unfinished(p.run) != cut:
        return
    if not commit.is_committed(p.path, str(tip), trailers) or not commit.look(p.path).clean:
        return
    steps = p.with_step(cut, status=StepStatus.done, commit=tip, ended=written(), summary="(interrupted after its commit)")
    p.save(steps=steps, head=tip, specs={**p.live.specs, name: spec_digest(spec)}, crashes=0)


def back_to_last_step(p: Passage) -> None:
    """Salvage what an interrupted step left, commits too, and go back to where the last finished one ended.

    A branch without a commit of its own moves on to the target's tip, so that work starts from what is there now. Where a
    client takes up its session, all stays as the session knows it.
    """
    at = p.live.head or p.live.start or p.target.oid
    state = commit.look(p.path)
    index = first_unfinished(p.run)
    if p.live.sessions and index is not None:
        known = p.fresh is None and (state.head, state.branch) == (at, p.branch_ref)
        who = next_agent(p, index)
        if known and p.cast[index] and (who is None or p.session(index, who)):  # None: killed before it was seen to wait
            return
        p.save(sessions={})
    if state.head != at or not state.clean or state.branch != p.branch_ref:
        saved = salvage.salvage(p.path, p.task.id, p.run.run, "interrupted", head=at)
        if not saved.complete:
            raise Invalid(*saved.left(p.task.id))
        point("leftovers.saved")
        worktree.reset_to(p.project, p.path, at)
        if saved.ref:
            p.say("note", text=f"what the interrupted step left is kept: {how_to_see(saved.ref)}")
    if at != p.target.oid and not commit.has_own_commits(p.path, at, p.target.oid):
        worktree.fast_forward(p.path, p.branch_ref, at, p.target.oid)
        p.save(start=p.target.oid, head=None)
    point("worktree.back")


def next_agent(p: Passage, index: int) -> str | None:
    """The first agent of a model's step that no limit keeps from playing it now; None if all are at their limits."""
    cast = p.cast[index]
    free = (name for name in (cast.agents if cast else ()) if str(p.live.limited.get(name, "")) <= written())
    return next(free, None)
