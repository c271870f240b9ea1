"""What the files ask to be started, against what the locks say runs: what to start, what waits its turn, what is kept and why.

`decide` is pure; `look_into` gathers what it needs beyond the view. `kin watch` acts on it, `kin why` shows it.
"""

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from kin import git
from kin.errors import KinError
from kin.model.module import MODULES, Module, meeting
from kin.model.ready import Reason
from kin.model.record import Live, Run
from kin.model.settings import Settings, Watch, plan_steps
from kin.model.status import RunStatus, TaskStatus, WaitFor
from kin.model.task import Task
from kin.runner.merge.checkout import Pending, find_checkout
from kin.runner.merge.landed import History, reverted_runs
from kin.runner.runs import claim
from kin.runner.steps.casting import may_write
from kin.store import config, entries, locks, records
from kin.store.arrivals import Arrival, Origin, arrivals
from kin.store.project import Project
from kin.store.remembered import Remembered, recall
from kin.store.view import View

AUTO = "auto"
"""The label by which a task asks to be started."""
SCHEDULE = "schedule:"
"""What the label begins with that names the schedule which made a task."""
HAS_LEAVE = "allow-write"
"""What the `watch` lock's file says as its run if its holder was given leave to write."""
HOUR = 3600.0


class Known(NamedTuple):
    """What is known of the tasks that ask to be started. `access` is `read`, `write`, or why that cannot be told; `obstacles`
    say by task what blocks its pending merge, "" for nothing; `reopened` what a person reopened, as a digest of what it asks
    for; `stopping` are being stopped right now. `starts` are those of the last hour; `slots` are free."""

    arrivals: Mapping[str, Arrival]
    reverted: Mapping[str, str]
    access: Mapping[str, str]
    obstacles: Mapping[str, str]
    reopened: Mapping[str, str]
    stopping: Collection[str]
    starts: int
    slots: int
    modules: Sequence[Module] = ()


class Start(NamedTuple):
    """A task to start, why, and the digest that its file must still have."""

    task: str
    why: str
    text: str


class Choice(NamedTuple):
    """What to start, in order; what may start and waits its turn, in order; what may not, and why."""

    start: list[Start]
    queue: list[str]
    kept: dict[str, Reason]


def wanted(view: View) -> dict[str, str]:
    """The tasks that ask to be started, in ready order, and why. Those that the kernel says are running are not among them."""
    found: dict[str, str] = {}
    ready = {*view.ready}
    for task_id in view.order if view.runs or ready else ():
        if task_id in ready or task_id in view.runs:
            seen = view.seen[task_id]
            if seen.status != TaskStatus.in_progress and (why := _why(seen.task, view.runs.get(task_id), task_id in ready)):
                found[task_id] = why
    return found


def _why(task: Task, run: Run | None, ready: bool) -> str:
    waits = run.waits_for if run and run.status == RunStatus.waiting else None
    if waits == WaitFor.merge and task.status in (TaskStatus.review, TaskStatus.todo):
        return "its merge was put off"
    if not ready:
        return ""
    if waits == WaitFor.limit:
        return "its usage limit is over"
    if waits == WaitFor.tasks:
        return "its parts are done"
    if run is not None and run.live.word == "go":
        return "a person sent it on"
    if AUTO not in task.labels:
        return ""
    if task.status == TaskStatus.blocked:
        return "its process died"
    return made_by(task) or "labelled auto"


def made_by(task: Task) -> str:
    """The label of the schedule that made the task, or ""."""
    return next((label for label in task.labels if label.startswith(SCHEDULE)), "")


def decide(view: View, asking: Mapping[str, str], known: Known, rules: Watch) -> Choice:
    """Which of `asking` (as `wanted` gives them) to start now. Pure."""
    choice = Choice([], [], {})
    at_work = [seen.task for seen in view.seen.values() if seen.status == TaskStatus.in_progress and seen.run]
    for task_id, why in asking.items():
        task, run = view.seen[task_id].task, view.runs.get(task_id)
        if (reason := _kept(task_id, run, known, rules)) is not None:
            choice.kept[task_id] = reason
        elif known.starts + len(choice.start) >= rules.max_starts_per_hour:
            words = f"{rules.max_starts_per_hour} runs were started within an hour, which is all that `watch:` allows"
            choice.kept[task_id] = Reason("rate", words)
        elif len(choice.start) >= known.slots or any(_collide(task, other, known.modules) for other in at_work):
            choice.queue.append(task_id)
        else:
            choice.start.append(Start(task_id, why, known.arrivals[task_id].text))
            at_work.append(task)
    return choice


def _collide(task: Task, other: Task, modules: Sequence[Module]) -> bool:
    """Whether two tasks may not run together: they may touch the same files, or one schedule made both."""
    if (schedule := made_by(task)) and schedule == made_by(other):
        return True
    return bool(meeting(task, [other], modules))


def _kept(task_id: str, run: Run | None, known: Known, rules: Watch) -> Reason | None:
    """Why a task that asks to be started may not be, whatever is free."""
    live = run.live if run else Live()
    again = f"`kin run {task_id}`"
    if task_id not in known.arrivals:
        return Reason("file", "its file cannot be read just now")
    if live.word == "stop" or task_id in known.stopping:
        return Reason("stopped", f"a person stopped its run; {again} or `kin reopen {task_id}` lets it start")
    if task_id in known.reverted:
        words = f"its merge was reverted; {again} or `kin reopen {task_id}` lets it start"
        return Reason("reverted", words, known.reverted[task_id])
    if task_id in known.obstacles:
        blocks = known.obstacles[task_id]
        return Reason("merge", f"its merge waits: {blocks}") if blocks else None
    origin, _, asked, _ = known.arrivals[task_id]
    if asked not in (live.asked, known.reopened.get(task_id)):  # else somebody has started just this in this clone
        if origin == Origin.git and not rules.pulled:
            words = "it arrived by git, and nobody edited it in this checkout"
            return Reason("pulled", f"{words}; {again} starts it, `watch: {{pulled: true}}` all such")
        if origin == Origin.agent and not rules.agent_made:
            return Reason("agent_made", f"an agent made it; {again} starts it, `watch: {{agent_made: true}}` all such")
    access = known.access.get(task_id, "read")
    if access == "write" and not rules.allow_write:
        words = "its steps may change files, and the watcher has no leave"
        return Reason("leave", f"{words}: `kin watch --allow-write`, or `watch: {{allow_write: true}}`")
    return Reason("invalid", access) if access not in ("read", "write") else None


def choose(
    project: Project, view: View, asking: Mapping[str, str], settings: Settings, history: History, *, leave: bool
) -> Choice:
    """What a watcher with leave to write, or without, would start of `asking` now."""
    rules = settings.watch.model_copy(update={"allow_write": settings.watch.allow_write or leave})
    return decide(view, asking, look_into(project, view, asking.keys(), settings, history), rules)


def why_not(project: Project, view: View, task_id: str, environ: Mapping[str, str]) -> list[Reason]:
    """What `kin watch` makes of a task that asks to be started; nothing if it does not ask."""
    why = wanted(view).get(task_id)
    if why is None:
        return []
    path = locks.lock_path(project.common, "watch")
    who = locks.holder(path) if locks.is_held(path) else None
    try:
        settings = config.load_settings(project, environ)
    except KinError as error:
        return [Reason("watch", f"`kin watch` starts nothing: {error}")]
    choice = choose(project, view, {task_id: why}, settings, History(), leave=bool(who and who.run == HAS_LEAVE))
    if task_id in choice.kept:
        return [Reason("watch", f"`kin watch` does not start it: {choice.kept[task_id].text}")]
    now = f"`kin watch` (pid {who.pid}) starts it" if who else "`kin watch` would start it, but does not run here"
    return [Reason("watch", f"{now} ({why})" + ("" if choice.start else "; it waits its turn"))]


def lately(held: Remembered) -> list[float]:
    """When the watcher started runs within the last hour, seconds since the epoch."""
    return [at for at in held.starts if at > time.time() - HOUR]


def look_into(project: Project, view: View, asking: Collection[str], settings: Settings, history: History) -> Known:
    """What is known of the tasks that ask to be started."""
    runs = {i: run for i in asking if (run := view.runs.get(i)) is not None}
    merging = {i for i, run in runs.items() if run.waits_for == WaitFor.merge}
    held = recall(project)
    arrived = arrivals(project, asking)
    landed = [i for i in asking if i not in runs and i in arrived and arrived[i].committed]  # a revert leaves it at HEAD
    return Known(
        arrived,
        reverted_runs(project, landed, history),
        _access(project, [view.seen[i].task for i in asking if i not in merging], settings),
        {i: _obstacle(project, runs[i]) for i in merging},
        {task_id: asked for task_id, (asked, _) in held.reopened.items()},
        {i for i in asking if os.path.exists(records.stop_mark(project, i))},
        len(lately(held)),
        claim.free_slots(project, settings.concurrency) if asking else 0,
        entries.readable(project, MODULES) if asking else (),
    )


def _access(project: Project, found: Iterable[Task], settings: Settings) -> dict[str, str]:
    """What each task's steps may do, by the store's settings; most tasks share a pipeline, so each is looked at once."""

    def look(task: Task) -> str:
        try:
            may = [may_write(spec, project.store) for spec in plan_steps(task.pipeline, settings)]
        except (ValueError, KinError) as error:
            return str(error)
        return "write" if any(may) else "read"

    by_pipeline = {repr(task.pipeline): task for task in found}
    known = {pipeline: look(task) for pipeline, task in by_pipeline.items()}
    return {task.id: known[repr(task.pipeline)] for task in found}


def _obstacle(project: Project, run: Run) -> str:
    """What still blocks a pending merge, "" if nothing is seen: the move itself looks again, at all of it."""
    try:
        checkout = find_checkout(project, f"refs/heads/{run.base}")
    except KinError as error:
        return error.message
    if isinstance(checkout, Pending) or checkout is None:
        return checkout.reason if checkout else ""
    if os.path.lexists(os.path.join(checkout.gitdir, "index.lock")):
        return "git is writing the index"
    paths = run.waiting.paths if run.waiting else ()
    if not paths:
        return ""
    words = ("status", "--porcelain", "-z", "--ignored", "--untracked-files=all", "--no-renames", "--", *paths)
    out = git.git(checkout.path, *words).out.decode("utf-8", "surrogateescape")
    left = [line[3:] for line in out.split("\0") if line]
    return f"{', '.join(left[:5])} {'is' if len(left) == 1 else 'are'} in the way" if left else ""
