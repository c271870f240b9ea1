"""Schedules: tasks that are made again and again. Each firing is dealt with once, whatever dies in between.

The firing and the id of its task are remembered before the file is written; a watcher that was killed in between writes that
very file in its next life.
"""

from datetime import datetime, timedelta

from kin.errors import KinError, Usage
from kin.faults import point
from kin.model import times
from kin.model.settings import Schedule, Settings
from kin.model.status import TaskStatus
from kin.runner.watch.reconcile import AUTO, SCHEDULE
from kin.store import tasks
from kin.store.project import Project
from kin.store.remembered import recall, remember
from kin.store.view import View

PUNCTUAL = timedelta(minutes=2)
"""A firing that is seen later than this was missed: nobody watched, or the machine slept."""


def fire(project: Project, settings: Settings, view: View, now: datetime) -> list[str]:
    """Make the tasks of all schedules that are due; a line for each thing that was done or left out."""
    said: list[str] = []
    for schedule in settings.schedules:
        try:
            said += _fire(project, schedule, view, now)
        except KinError as error:
            said.append(f"schedule {schedule.name}: {error}")
    return said


def _fire(project: Project, schedule: Schedule, view: View, now: datetime) -> list[str]:
    name, held = schedule.name, recall(project)
    if name in held.making:
        return [_make(project, schedule, held.making[name])]
    if name not in held.fired:  # seen for the first time: what was due before is none of its firings
        _deal_with(project, name, now)
        return []
    last = times.parse(held.fired[name])
    if schedule.due(last) > now:
        return []
    at = schedule.due(now + timedelta(seconds=1), back=True)
    if now - at > PUNCTUAL and schedule.missed == "none":
        _deal_with(project, name, at)
        return [f"schedule {name}: {times.rfc3339(at)} was missed"]
    if schedule.overlap == "skip" and (other := _under_way(view, name)):
        _deal_with(project, name, at)
        return [f"schedule {name}: left out, {other} is still under way"]
    task_id = tasks.new_id(project)
    _deal_with(project, name, at, task_id)
    point("schedule.intended")
    return [_make(project, schedule, task_id)]


def _under_way(view: View, name: str) -> str | None:
    """A task of the schedule that runs or will run by itself; one that waits for a person does not hold up the next."""
    moving = (TaskStatus.todo, TaskStatus.in_progress)
    return next((i for i, seen in view.seen.items() if SCHEDULE + name in seen.task.labels and seen.status in moving), None)


def _deal_with(project: Project, name: str, at: datetime, task_id: str | None = None) -> None:
    fired, making = {name: times.rfc3339(at)}, {name: task_id} if task_id else {}
    remember(project, lambda held: held._replace(fired={**held.fired, **fired}, making={**held.making, **making}))


def _make(project: Project, schedule: Schedule, task_id: str) -> str:
    """Write the task of a firing, unless it was written before a kill, and record that it is."""
    fields = schedule.fields()
    labels = fields.get("labels") or []
    listed = [labels] if isinstance(labels, str) else list(labels)
    data = fields | {"id": task_id, "labels": [*listed, AUTO, SCHEDULE + schedule.name]}
    try:
        tasks.add(project, data, today=times.today())
    except Usage:
        tasks.load(project, task_id)  # there already: written before the kill. Anything else is wrong with the template
    point("schedule.made")
    remember(project, lambda held: held._replace(making={k: v for k, v in held.making.items() if k != schedule.name}))
    return f"schedule {schedule.name}: made {task_id}"
