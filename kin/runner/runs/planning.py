"""The PM's part: its answer is checked, kept in the run's live record, and becomes the run's steps or smaller tasks.

The PM proposes, code disposes: a plan names roles and pipelines that the project has, never commands. Its step is paid once;
whatever kills the run afterwards, the plan is made from the same answer.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kin.errors import KinError, Usage
from kin.faults import point
from kin.model.agent import as_list
from kin.model.builtin import PLAN
from kin.model.record import PlanRecord, Run, StepRecord
from kin.model.settings import Settings, StepSpec, nobody_before, plan_steps
from kin.model.status import OPEN, BlockedKind, RunStatus, StepStatus, WaitFor
from kin.model.task import Task
from kin.model.times import today
from kin.runner.runs.ending import block, may_edit, wait
from kin.runner.runs.outcome import Outcome
from kin.runner.steps.casting import cast_all, may_write
from kin.runner.steps.passage import Passage, digest, step_id
from kin.runner.steps.proposals import as_child
from kin.store import bulk, records, tasks
from kin.store.arrivals import MADE_BY
from kin.store.project import Project
from kin.store.roles import role_names

MOST = 20
"""Steps of a plan, and parts of a task."""
_STEP_KEYS = ("role", "brief", "back_to", "pipeline")
_PART_KEYS = (
    *("ref", "title", "description", "acceptance", "module", "touches"),
    *("priority", "depends_on", "labels", "mode", "pipeline"),
)


class Course(NamedTuple):
    """The steps of a run as far as they are known: of these the first `planners` plan. `plan` is None where nobody does."""

    specs: tuple[StepSpec, ...]
    planners: int = 0
    plan: PlanRecord | None = None


def is_wanted(task: Task, settings: Settings) -> str:
    """Whether a task is to be planned: "", "true", or "approve" if a person must agree. One with a pipeline is not."""
    said = task.plan or str(settings.plan).lower()
    return said if task.pipeline is None and said in ("true", "approve") else ""


def course_of(task: Task, settings: Settings, live: Run | None, *, wanted: bool) -> Course:
    """The course of a run that goes on with `live`, or of a new one; `wanted`: it is to be planned in any case.

    Raises ValueError if a pipeline or step is malformed. A plan stands as long as the steps that made it are finished.
    """
    kept = live.live.plan if live and live.status != RunStatus.completed else None
    began = live is not None and any(step.status == StepStatus.done for step in live.steps)
    if task.pipeline is not None or not (wanted or kept or (is_wanted(task, settings) and not began)):
        return Course(plan_steps(task.pipeline, settings))
    planners = plan_steps(PLAN, settings)
    done = {step.id for step in live.steps if step.status == StepStatus.done} if live else set()
    if kept is None or any(step_id(i, spec) not in done for i, spec in enumerate(planners)):
        return Course(planners, len(planners), PlanRecord())
    return Course((*planners, *_expanded(kept.steps, settings)), len(planners), kept)


def must_agree(task: Task, settings: Settings, plan: PlanRecord | None) -> bool:
    """Whether a plan waits for a person's word."""
    return plan is not None and is_wanted(task, settings) == "approve" and plan.agreed != plan.hash


def go_on(p: Passage) -> Outcome | None:
    """Take up what the PM answered, once it has: the steps to come, or the parts to wait for. None: the run goes on."""
    if any(step.status != StepStatus.done for step in p.run.steps[: p.planners]):
        return None
    plan = p.live.plan or PlanRecord()
    if not plan.hash:
        made = _plan(p)
        if not isinstance(made, PlanRecord):
            return _correct(p, made)
        plan = made
        _take(p, plan)
    if p.plan_only or must_agree(p.task, p.settings, plan):
        words = f"`kin plan {p.task.id}` shows it, then `kin approve {p.task.id}`, or `kin revise {p.task.id} -m ...`"
        return wait(p, WaitFor.plan, f"its plan is made: {_gist(plan, p.run, p.planners)}; {words}")
    if plan.files:
        return _split(p, plan)
    if p.plays and len(p.cast) < len(p.specs):  # planned just now: before this nobody knew who would have to play
        new = cast_all(p.specs[p.planners :], p.task, p.settings, p.project.store, p.environ)
        p.cast = (*p.cast[: p.planners], *new)
    return None


def _gist(plan: PlanRecord, run: Run, planners: int) -> str:
    steps = ", ".join(step.role for step in run.steps[planners:])
    parts = f"{len(plan.parts)} tasks" if plan.parts else ""
    return ", then ".join(words for words in (parts, steps) if words)


def _plan(p: Passage) -> PlanRecord | list[str]:
    answer = next((e for e in p.live.proposals if e["step"] == p.pm_step), {})
    said = answer.get("tasks") or []
    steps = [{"role": entry} if isinstance(entry, str) else entry for entry in answer.get("plan") or []]
    faults = [*_faults_of_steps(p, steps, bool(said)), *_faults_of_parts(said)]
    if faults:
        return faults
    agreed = is_wanted(p.task, p.settings) == "approve"  # else nobody will have seen them: the watcher leaves them alone
    parts = list(parts_of(said, p.task, {} if agreed else {MADE_BY: f"{p.task.id} {p.pm_step}"}))
    files: dict[str, str] = {}
    if parts:
        try:
            raw = "\n".join(json.dumps(part) for part in parts).encode()
            defaults = {"parent": p.task.id, "pipeline": "default"}  # a part is not planned again, nor split
            ids, texts, _ = bulk.prepare(p.project, raw, "tasks", today=today(), defaults=defaults, environ=p.environ)
            files = {task_id: text for task_id, (_, text) in zip(ids, texts, strict=True)}
        except KinError as error:
            return [str(fault) for fault in error.data.get("problems") or [error.message]]
    return PlanRecord(digest(steps, parts), tuple(steps), tuple(files), files)


def _faults_of_steps(p: Passage, steps: Sequence[Any], split: bool) -> Iterator[str]:
    if not steps and not split:
        yield "it holds nothing: give steps in `plan`, smaller tasks in `tasks`, or a `question`"
    known = {*role_names(p.project.store), *(s.role for specs in p.settings.pipelines.values() for s in specs)}
    specs: list[StepSpec] = []
    for number, entry in enumerate(steps, 1):
        try:
            new = _expanded([_checked(entry)], p.settings)
        except ValueError as error:
            yield f"step {number} of the plan: {error}"
            continue
        roles = [s.role for s in (*specs, *new)]
        lost = [words for n, s in enumerate(new, len(specs)) if (words := nobody_before(s.back_to, roles[:n]))]
        if strange := [s.role for s in new if s.role not in known and s.run is None]:
            yield f"step {number} of the plan: no role is called '{strange[0]}'; one of {', '.join(sorted(known))}"
        elif p.specs[p.planners - 1].role in [s.role for s in new]:
            yield f"step {number} of the plan: whoever plans is no step of the plan"
        elif lost:
            yield f"step {number} of the plan: {lost[0]}"
        else:
            specs += new
    if len(specs) > MOST:
        yield f"it has {len(specs)} steps, at most {MOST}"
    if specs and p.task.touches and not split and not any(may_write(s, p.project.store) for s in specs):
        yield "the task is to change files, and no step may write"


def _checked(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not ("role" in entry) ^ ("pipeline" in entry):
        raise ValueError('a step is {"role": NAME, "brief": "..."} or {"pipeline": NAME}')
    if strange := [key for key in entry if key not in _STEP_KEYS]:
        raise ValueError(f"`{strange[0]}` is not for a plan to say; a step has {', '.join(_STEP_KEYS)}")
    return entry


def _expanded(entries: Sequence[Mapping[str, Any]], settings: Settings) -> tuple[StepSpec, ...]:
    """The steps that a plan's entries mean, pipelines by name as the project has them now. Raises ValueError."""
    found: list[StepSpec] = []
    for entry in entries:
        found += plan_steps(str(entry["pipeline"]) if "pipeline" in entry else [dict(entry)], settings)
    return tuple(found)


def _faults_of_parts(said: Sequence[Any]) -> Iterator[str]:
    if len(said) > MOST:
        yield f"it has {len(said)} tasks, at most {MOST}"
    names = {f"#{number}" for number in range(1, len(said) + 1)}
    names |= {str(part[key]) for part in said if isinstance(part, dict) for key in ("ref", "id", "title") if key in part}
    for number, part in enumerate(said, 1):
        if not isinstance(part, dict) or not part.get("title"):
            yield f"task {number}: it needs a title"
        elif isinstance(part.get("pipeline"), (list, dict)):
            yield f"task {number}: `pipeline` is the name of one that the project has"
        elif strange := [word for word in as_list(part.get("depends_on")) if word not in names]:
            yield f"task {number}: it depends on '{strange[0]}', which is none of these tasks' `ref` or title"


def parts_of(said: Sequence[Mapping[str, Any]], parent: Task, more: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """What a PM says of new tasks, with their parent's labels and limits and never more, and what `more` says of them."""
    inherited = {"labels": list(parent.labels), "agent": parent.agent, "budget": parent.budget}
    for part in said:
        own = {key: part[key] for key in _PART_KEYS if key in part}
        own.setdefault("ref", part.get("id"))
        own["pipeline"] = own["pipeline"] if isinstance(own.get("pipeline"), str) else None  # a name, never commands
        made = {**as_child(own, parent), **inherited, **more}
        yield {key: value for key, value in made.items() if value}


def _correct(p: Passage, faults: list[str]) -> Outcome | None:
    """Ask the PM once more, with all that was wrong; the second time the task is blocked."""
    index, name = p.planners - 1, p.pm_step
    listed = p.short("\n".join(f"- {fault}" for fault in faults))
    if name in p.live.rounds:
        steps = p.with_step(index, status=StepStatus.failed, reason=listed)
        p.save(steps=steps, rounds={key: n for key, n in p.live.rounds.items() if key != name})
        ways = f"`kin run {p.task.id}` asks it again; `kin set {p.task.id} pipeline=default` does without a plan"
        return block(p, BlockedKind.failed, f"step {name} made no plan that can be used:\n{listed}\n{ways}")
    items = {**p.live.items, name: faults}
    p.save(steps=p.with_step(index, status=StepStatus.pending), items=items, rounds={**p.live.rounds, name: "1"})
    point("plan.corrected")
    p.say("note", name, f"{name} made no plan that can be used, and is asked once more:\n{listed}")
    return None


def _take(p: Passage, plan: PlanRecord) -> None:
    p.specs = (*p.specs[: p.planners], *_expanded(plan.steps, p.settings))
    new = tuple(StepRecord(step_id(i, spec), spec.role) for i, spec in enumerate(p.specs))[p.planners :]
    rounds = {key: n for key, n in p.live.rounds.items() if key != p.pm_step}
    p.save(plan=plan, steps=(*p.run.steps[: p.planners], *new), rounds=rounds)
    point("plan.saved")
    p.say("note", p.pm_step, f"planned: {_gist(plan, p.run, p.planners)}")


def _split(p: Passage, plan: PlanRecord) -> Outcome:
    """Write the parts as new files, all of them; killed in between, the rest is written when the run goes on."""
    words = f"split into {', '.join(plan.parts)}; `kin run {p.task.id}` runs them and goes on after them"
    if not p.target.here and (p.share or p.bundle):  # a job's files go with it, and then the task would seem to have no parts
        where = f"`git pull` and `kin run {p.task.id} --push`, where {p.target.name} is checked out, write their files"
        said = f"its plan splits it into {', '.join(plan.parts)}; {where}; the PM is not asked again"
        return block(p, BlockedKind.manual, said)
    if not may_edit(p.project, p.task.id):
        return wait(p, WaitFor.tasks, f"{words}, once git is in the middle of nothing here")
    paths = {tasks.task_path(p.project, task_id): str(text) for task_id, text in plan.files.items()}
    missing = {path: text for path, text in paths.items() if not os.path.lexists(path)}
    bulk.write(p.project, missing.items(), len(missing))
    point("plan.written")
    # saved with the waiting: a run that died between the two would be one that nobody takes up while its parts are open
    p.run = p.run.holding(plan=plan._replace(files={}))
    return wait(p, WaitFor.tasks, words)


def refuse_open_parts(project: Project, task_id: str) -> None:
    """Raise Usage if a task that is to be planned anew was split and has open parts: the new plan would make them once more."""
    live = records.live(project, task_id)
    if live is None or live.live.plan is None or not live.live.plan.parts:
        return
    if parts := [t.id for t in tasks.scan(project).tasks.values() if t.parent == task_id and t.status in OPEN]:
        ways = f"`kin set {' '.join(parts)} status=cancelled` first, or revise those"
        raise Usage(f"{task_id} was split into {', '.join(parts)}, which a new plan would make once more", ways)


def agree(project: Project, live: Run, by: str) -> Outcome:
    """A person's word for the plan as it stands; the next run goes on with it. The caller holds the task's lock."""
    plan = live.live.plan or PlanRecord()
    words = f"its plan was agreed to by {by}; `kin run {live.task}` goes on with it"
    agreed = live.holding(plan=plan._replace(agreed=plan.hash, agreed_by=by), word="go")
    records.save_live(project, agreed._replace(status=RunStatus.cancelled, reason=words, waiting=None))
    point("plan.agreed")
    return Outcome(live.task, live.run, tasks.load(project, live.task)[0].status.value, 0, reason=words, branch=live.branch)
