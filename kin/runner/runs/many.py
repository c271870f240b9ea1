"""Several tasks in one command: one process a pipeline, so that one failure stays one pipeline's.

This process only starts them in order, passes on what they tell and adds up how they ended. It holds no lock. If it dies, its
pipelines are told by the kernel and end as at a hang-up: cancelled, resumable.
"""

import json
import os
import selectors
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from kin.errors import Bug, KinError, of_system
from kin.model.module import MODULES, meeting
from kin.model.status import BLOCKED_EXIT, BlockedKind, TaskStatus, WaitFor
from kin.model.task import Task
from kin.runner.process.events import Caller, Emit, Event
from kin.runner.process.signals import ASKING, Cancel, taking_signals
from kin.runner.runs import claim
from kin.runner.runs.begin import HOLDS_UP, Asked
from kin.runner.runs.outcome import Outcome
from kin.runner.runs.pipeline import run_task
from kin.store import entries, records, tasks
from kin.store.project import Project
from kin.store.view import Seen, see

EXIT_ORDER = (70, 7, 4, 5, 1, 3, 6, 0)
"""Which exit code speaks for several tasks: the first of these that any ended with."""
MAX_EVENT = 4000
"""Bytes of an event on the pipe: below PIPE_BUF a write is whole or not at all, so a slow listener loses lines, never order."""


def exit_of(outcomes: Iterable[Outcome]) -> int:
    """One exit code for several outcomes. What was skipped because its dependency did not finish does not count."""
    codes = [o.exit for o in outcomes if (o.waiting or {}).get("for") != "dependency"]
    for code in codes:
        if code > 128:
            return code
    return next((code for code in EXIT_ORDER if code in codes), 8 if 8 in codes else 2 if 2 in codes else 0)


@dataclass
class Child:
    """A pipeline's process: what it told so far, and its outcome once it has one."""

    task: Task
    pid: int
    pipe: int
    life: int
    rest: bytes = b""
    outcome: Outcome | None = None
    no_slot: bool = False


@dataclass
class Crew:
    """One command: how many `slots` it may use, what still waits, what runs, what ended, what waits for its parts; and of the
    tasks that nobody named, with which status they were `chosen`.

    `allow` raises KinError for a task that may not be started. `more_ready`: tasks that become ready meanwhile are run too.
    `tick` is called at least every `tick_seconds`, for a display that moves.
    """

    project: Project
    asked: Asked
    environ: Mapping[str, str]
    emit: Emit
    slots: int
    more_ready: bool
    waiting: list[str]
    allow: Callable[[str], None]
    running: dict[int, Child] = field(default_factory=dict)
    ended: dict[str, Outcome] = field(default_factory=dict)
    paused: dict[str, Outcome] = field(default_factory=dict)
    chosen: dict[str, TaskStatus] = field(default_factory=dict)
    stopped: int = 0
    tick: Callable[[], None] = lambda: None
    tick_seconds: float | None = None


def run_many(crew: Crew) -> list[Outcome]:
    """Run what waits in `crew` side by side, each task after what it depends on; outcomes in the order of ending.

    Tasks whose `touches` overlap do not run together.
    """
    woken, wake = os.pipe()
    try:
        with taking_signals(wake):
            _loop(crew, woken)
    finally:
        os.close(woken)
        os.close(wake)
    return list(crew.ended.values())


def _loop(crew: Crew, woken: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(woken, selectors.EVENT_READ)
        while True:
            if not crew.stopped:
                _start_what_may(crew, selector)
            if not crew.running:
                break
            for key, _ in selector.select(crew.tick_seconds):
                if key.fd == woken:
                    _pass_on(crew, os.read(woken, 64))
                else:
                    _hear(crew, selector, crew.running[key.fd])
            crew.tick()
    for task_id in crew.waiting:
        _skip(crew, task_id)


def _pass_on(crew: Crew, numbers: bytes) -> None:
    """A signal to this process goes on to every pipeline; none is started any more."""
    for number in numbers:
        if number in ASKING:
            crew.stopped = crew.stopped or number
            for child in crew.running.values():
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)


def _start_what_may(crew: Crew, selector: selectors.BaseSelector) -> None:
    """Start waiting tasks in order: dependencies first, no overlapping `touches`, never more than there are slots."""
    if len(crew.running) >= crew.slots or not (crew.waiting or crew.more_ready):
        return
    view = see(crew.project, with_reasons=True, bodies=False)
    if crew.more_ready:
        known = {*crew.waiting, *crew.ended, *(c.task.id for c in crew.running.values())}
        crew.waiting += [t for t in view.ready if t not in known]
        for task_id in crew.waiting:
            if task_id in view.seen:
                crew.chosen.setdefault(task_id, view.seen[task_id].task.status)
    for task_id in list(crew.waiting):
        if len(crew.running) >= crew.slots:
            return
        if (seen := view.seen.get(task_id)) is None:
            crew.waiting.remove(task_id)
            _skip(crew, task_id)  # its file went or broke; that is what its entry will say
        elif not _must_wait(crew, seen):
            if not crew.running and not crew.asked.wait and claim.free_slots(crew.project, crew.slots) == 0:
                return
            crew.waiting.remove(task_id)
            try:
                crew.allow(task_id)
            except KinError as error:
                crew.ended[task_id] = Outcome(task_id, None, seen.status, error.exit, reason=str(error))
                continue
            child = _start(crew, seen.task)
            crew.running[child.pipe] = child
            selector.register(child.pipe, selectors.EVENT_READ)


def _must_wait(crew: Crew, seen: Seen) -> bool:
    running = {c.task.id: c.task for c in crew.running.values()}
    ours = {*crew.waiting, *running, *crew.ended} - {seen.task.id}
    if any(ref in ours for ref in _holding_up(seen)):
        return True
    return bool(meeting(seen.task, running.values(), entries.readable(crew.project, MODULES) if running else ()))


def _holding_up(seen: Seen) -> list[str]:
    return [reason.ref for reason in seen.reasons if reason.kind in HOLDS_UP]


def _start(crew: Crew, task: Task) -> Child:
    """Fork a pipeline: it has all modules already, so an upgrade of kin under it changes nothing."""
    pipe, told = os.pipe()
    life, living = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        for child in crew.running.values():
            os.close(child.pipe)
            os.close(child.life)
        os.close(pipe)
        os.close(living)
        _live(crew, task, told, life)
    os.close(told)
    os.close(life)
    os.set_blocking(pipe, False)
    return Child(task, pid, pipe, living)


def _live(crew: Crew, task: Task, told: int, life: int) -> NoReturn:
    """The pipeline's process, to its end. A group of its own: a terminal's Ctrl-C reaches it through its parent only."""
    code = 70
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        os.set_blocking(told, False)
        with Cancel() as cancel:
            threading.Thread(target=_end_with_parent, args=(life, cancel), daemon=True).start()
            answer = _answer(crew, task, told, cancel)
        os.set_blocking(told, True)
        with suppress(BrokenPipeError):
            os.write(told, b"=" + json.dumps(answer).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)


def _answer(crew: Crew, task: Task, told: int, cancel: Cancel) -> dict[str, object]:
    def emit(event: Event) -> None:
        line = event.to_json()
        if len(line) > MAX_EVENT:
            line = event._replace(text=event.text[: MAX_EVENT // 8]).to_json()
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(told, line + b"\n")

    asked = crew.asked._replace(only_as=crew.chosen.get(task.id))
    try:
        outcome = run_task(crew.project, task.id, asked, Caller(crew.environ, emit, cancel))
        return {"outcome": list(outcome)}
    except (KinError, OSError) as error:
        no = of_system(error) if isinstance(error, OSError) else error
        return {"error": str(no), "exit": no.exit, "slots": bool(no.data.get("slots"))}
    except Exception as error:
        # The edge of a process: what nobody expected is one pipeline's, and its parent reports it as a bug.
        return {"error": f"kin stumbled: {type(error).__name__}: {error}", "exit": Bug.exit, "slots": False}


def _end_with_parent(life: int, cancel: Cancel) -> None:
    """Wait for the end of the parent, in whatever way it comes: then nobody looks on any more, as at a hang-up."""
    os.read(life, 1)
    cancel.ask(signal.SIGHUP)


def _hear(crew: Crew, selector: selectors.BaseSelector, child: Child) -> None:
    """Read what a pipeline tells; at its end collect it."""
    try:
        raw = os.read(child.pipe, 1 << 16)
    except BlockingIOError:
        return
    *lines, child.rest = (child.rest + raw).split(b"\n")
    for line in lines:
        if line.startswith(b"="):
            _take(crew, child, json.loads(line[1:]))
        else:
            crew.emit(Event.from_json(line))
    if raw:
        return
    selector.unregister(child.pipe)
    del crew.running[child.pipe]
    os.close(child.pipe)
    os.close(child.life)
    status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    if child.no_slot:
        crew.waiting.insert(0, child.task.id)
        return
    lost = f"its process ended without a word ({status}); `kin run {child.task.id}` goes on from the last finished step"
    outcome = child.outcome or Outcome(child.task.id, None, child.task.status.value, 1, reason=lost, blocked="crash")
    _put_down(crew, outcome)


def _put_down(crew: Crew, outcome: Outcome) -> None:
    """Note how a task ended. One that waits for its parts, which a plan has just made, goes on in this command, after them."""
    if outcome.exit > 128 and not crew.stopped:
        outcome = outcome._replace(exit=BLOCKED_EXIT[BlockedKind.manual])  # `kin stop` ended this one, no signal the command
    known = {*crew.waiting, *crew.ended, *(child.task.id for child in crew.running.values())}
    parts = parts_of(crew.project, outcome.task) if (outcome.waiting or {}).get("for") == WaitFor.tasks else []
    if new := [part for part in parts if part not in known]:
        crew.waiting += [*new, outcome.task]
        crew.paused[outcome.task] = outcome
    else:
        crew.ended[outcome.task] = outcome


def parts_of(project: Project, task_id: str) -> list[str]:
    """The parts for which a task's run waits that may start, in ready order; none if it waits for none."""
    live = records.live(project, task_id)
    if live is None or live.waits_for != WaitFor.tasks:
        return []
    view = see(project, bodies=False)
    parts = set(view.graph.children.get(task_id, ()))
    seen = (view.seen[one] for one in view.order if one in parts)
    return [one.task.id for one in seen if one.ready or one.task.status == TaskStatus.todo]


def _take(crew: Crew, child: Child, answer: dict[str, object]) -> None:
    if "outcome" in answer:
        child.outcome = Outcome(*answer["outcome"])  # type: ignore[misc]
    elif answer["slots"] and crew.running:
        child.no_slot = len(crew.running) > 1
    if child.outcome is None and not child.no_slot:
        exit_code = int(str(answer["exit"]))
        child.outcome = Outcome(child.task.id, None, child.task.status.value, exit_code, reason=str(answer["error"]))


def _skip(crew: Crew, task_id: str) -> None:
    """A task that was never started: its dependency did not finish, there was no slot, or the command was stopped."""
    seen = see(crew.project, with_reasons=[task_id], bodies=False).seen.get(task_id)
    if seen is None:
        try:
            tasks.load(crew.project, task_id)
        except KinError as error:
            crew.ended[task_id] = Outcome(task_id, None, "unknown", error.exit, reason=str(error))
            return
    status = seen.status if seen else "unknown"
    open_ones = _holding_up(seen) if seen else []
    if crew.stopped:
        outcome = Outcome(task_id, None, status, 128 + crew.stopped, reason="not started: the command was stopped")
    elif task_id in crew.paused:
        outcome = crew.paused[task_id]
    elif open_ones:
        waiting: dict[str, object] = {"for": "dependency", "until": None, "paths": []}
        words = f"not started: {', '.join(open_ones)} did not finish"
        outcome = Outcome(task_id, None, status, 6, reason=words, waiting=waiting)
    else:
        words = f"all {crew.slots} slots are taken; `kin status` shows by whom, `--wait` queues"
        outcome = Outcome(task_id, None, status, 6, reason=words)
    crew.ended[task_id] = outcome
