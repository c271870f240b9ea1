"""A phase from its start to a person's word: its roles run as one pipeline that changes no file, in a task of their own.

What phases.yaml says of a run decides nothing: the task and its run tell. A start that meets no free slot leaves no trace.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kin.errors import Busy, NotFound, Usage, Waits
from kin.faults import point
from kin.model import times
from kin.model.phase import PHASES, Phase, PhaseStatus
from kin.model.status import OPEN, StepStatus, TaskStatus, WaitFor
from kin.model.task import Note
from kin.runner.people import person
from kin.runner.process.events import Caller, Emit, Event
from kin.runner.process.signals import Cancel
from kin.runner.runs import claim
from kin.runner.runs.begin import Asked
from kin.runner.runs.many import Crew, run_many
from kin.runner.runs.outcome import Outcome
from kin.store import config, entries, files, notes, records, tasks
from kin.store.project import Project

ASKED = Asked(started_by="phase")
UNDER_WAY = (PhaseStatus.active, PhaseStatus.review)


def plan_of(project: Project) -> list[Phase]:
    """All phases, in order. Raises Invalid with the place of the first fault: half a plan is none."""
    found, wrong = entries.load(project, PHASES)
    for first, *_ in wrong.values():
        raise first
    return list(found.values())


def find(project: Project, phase_id: str) -> Phase:
    """A phase. Raises NotFound."""
    plan_of(project)
    return entries.find(project, PHASES, phase_id)


def _mark(project: Project, phase_id: str, status: PhaseStatus, task: str | None = None) -> None:
    """Write where a phase stands, and the task in which its roles run if it is given."""
    entries.mark(project, PHASES, phase_id, {"status": status.value, **({"task": task} if task else {})})


def stands(project: Project, phase: Phase) -> PhaseStatus:
    """Where a phase stands, as its tasks tell: what was approved, rejected or ended otherwise counts, whoever did it."""
    if phase.status not in UNDER_WAY:
        return phase.status
    found = [_status(project, one) for one in ((phase.task,) if phase.task else phase.tasks)]
    if phase.task and found == [TaskStatus.done]:
        return PhaseStatus.approved
    if all(status not in OPEN for status in found):
        return PhaseStatus.rejected if phase.task else PhaseStatus.review
    live = records.live(project, phase.task) if phase.task else None
    return PhaseStatus.review if live and live.waits_for == WaitFor.review else PhaseStatus.active


def _status(project: Project, task_id: str) -> TaskStatus:
    try:
        return tasks.load(project, task_id)[0].status
    except NotFound:
        return TaskStatus.cancelled  # somebody removed its file


def start(
    project: Project, phase_id: str, *, environ: Mapping[str, str], emit: Emit, allow: Callable[[Sequence[str]], None]
) -> list[Outcome]:
    """Run a phase until a person is to look at it. `allow` raises KinError if these tasks may not be started.

    Raises Waits if one before it is not approved, Busy if another is under way or all slots are taken: nothing is changed then.
    """
    phase = _may_start(project, phase_id)
    slots = config.load_settings(project).concurrency
    if claim.free_slots(project, slots) == 0:
        raise Busy(f"all {slots} slots are taken", "`kin status` shows by whom; try again then", slots=True)
    old = next((i for i in (phase.task, _left_by(project, phase)) if i and _status(project, i) in OPEN), None)
    task_id = None if phase.tasks else old or _make_task(project, phase)
    point("phase.made")
    ids = [task_id] if task_id else [one for one in phase.tasks if _status(project, one) != TaskStatus.done]
    began = False

    def hear(event: Event) -> None:
        nonlocal began
        if event.kind == "start" and not began:
            began = True
            _mark(project, phase_id, PhaseStatus.active, task_id)
        emit(event)

    try:
        allow(ids)
        outcomes = run_many(Crew(project, ASKED, environ, hear, slots, False, ids, allow=lambda _: None))
    finally:
        if task_id is not None and task_id != old and not began:
            files.remove_file(project, tasks.task_path(project, task_id))
    phase = find(project, phase_id)
    if (now := stands(project, phase)) != phase.status:
        _mark(project, phase_id, now)
    return outcomes


def _may_start(project: Project, phase_id: str) -> Phase:
    phase = find(project, phase_id)
    if phase.status == PhaseStatus.approved:
        raise Usage(f"phase {phase_id} is approved", f"`kin phase revise {phase_id} -m ...` takes it up again")
    known = plan_of(project)
    for other in known:
        if other.id != phase_id and stands(project, other) in UNDER_WAY:
            ways = f"`kin phase approve {other.id}`, `kin phase revise {other.id} -m ...` or `kin phase reject {other.id}`"
            raise Busy(f"phase {other.id} is {stands(project, other)}, and one goes on at a time", ways)
    for other in known[: known.index(phase)]:
        if stands(project, other) != PhaseStatus.approved:
            raise Waits(f"phase {other.id} comes before it and is {other.status}", f"`kin phase start {other.id}` first")
    return phase


def _left_by(project: Project, phase: Phase) -> str | None:
    """The task of a start that was killed before phases.yaml named it."""
    label = f"phase:{phase.id}"
    return next((i for i, task in tasks.scan(project).tasks.items() if label in task.labels and task.status in OPEN), None)


def _make_task(project: Project, phase: Phase) -> str:
    steps = [{"role": step} if isinstance(step, str) else dict(step) for step in phase.roles]
    pipeline: list[dict[str, Any]] = [{"brief": phase.goal, **step, "access": "read"} for step in steps]
    title = phase.name or phase.id
    data: dict[str, Any] = {"title": f"Phase: {title}"[:200], "description": phase.goal, "labels": [f"phase:{phase.id}"]}
    made = {**data, "mode": "review", "pipeline": [{k: v for k, v in step.items() if v} for step in pipeline]}
    return tasks.add(project, made, today=times.today()).id


def approve(project: Project, phase_id: str, *, by: str, environ: Mapping[str, str], emit: Emit) -> list[Outcome]:
    """A person's yes: what its roles handed on becomes notes and decisions, and the next phase may start."""
    phase = find(project, phase_id)
    now = stands(project, phase)
    outcomes: list[Outcome] = []
    if now == PhaseStatus.review and phase.task:
        _note_handovers(project, phase.task)
        with Cancel() as cancel:
            outcomes = [person.approve(project, phase.task, by, Caller(environ, emit, cancel))]
        now = stands(project, phase)
    elif now == PhaseStatus.review:
        now = PhaseStatus.approved
    elif now != PhaseStatus.approved:
        raise Usage(f"phase {phase_id} is {now}; nothing waits for you to approve it", "`kin phase list` shows where it stands")
    _mark(project, phase_id, now)
    return outcomes


def _note_handovers(project: Project, task_id: str) -> None:
    """What its steps handed on, as notes; killed and called again, each is there once."""
    live = records.live(project, task_id)
    known = {(note.by, note.text) for _, note in notes.of_task(project, task_id)}
    for step in live.steps if live else ():
        if step.status == StepStatus.done and step.summary and (step.role, step.summary) not in known:
            notes.add(project, task_id, Note(step.role, step.ended or times.written(), step.summary))


def reject(project: Project, phase_id: str, *, message: str, by: str) -> None:
    """A person's no: its run is given up, and it may be started anew."""
    phase = find(project, phase_id)
    if stands(project, phase) not in UNDER_WAY:
        raise Usage(f"phase {phase_id} is {phase.status}; there is nothing to reject", "`kin phase list`")
    if phase.task:
        person.reject(project, phase.task, message=message, by=by)
    _mark(project, phase_id, PhaseStatus.rejected)


def revise(project: Project, phase_id: str, message: str, *, by: str, to: str | None, environ: Mapping[str, str]) -> None:
    """Send it back with a note: its roles, from `to` on, run again with its next start."""
    phase = find(project, phase_id)
    now = stands(project, phase)
    if phase.task and now in UNDER_WAY:
        steps = records.live(project, phase.task)
        person.revise(project, phase.task, message, by=by, to=to or (steps.steps[0].id if steps else None), environ=environ)
    elif now in (PhaseStatus.review, PhaseStatus.approved):
        if phase.task:
            person.reopen(project, phase.task)
        for one in (phase.task,) if phase.task else phase.tasks:
            notes.add(project, one, Note(by, times.written(), message))
    else:
        raise Usage(f"phase {phase_id} is {now}; there is nothing to revise", f"`kin phase start {phase_id}`")
    _mark(project, phase_id, PhaseStatus.active)
