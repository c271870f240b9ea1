"""The watcher: it compares what the files ask for with what the locks say runs, and starts what may start.

Level-triggered: whatever woke it, it looks at everything, so lost, doubled and self-made events make no difference. What it
starts are detached runs that outlive it; killed, its next life finds them by their locks.
"""

import os
import selectors
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from kin import git
from kin.errors import Busy, Invalid, KinError
from kin.model import times
from kin.model.settings import Settings
from kin.model.status import RunStatus, TaskStatus, WaitFor
from kin.runner.merge.landed import History
from kin.runner.process.signals import Cancel
from kin.runner.runs.begin import Asked, Plan, unagreed, writes
from kin.runner.runs.detach import start_detached
from kin.runner.upkeep.watchdog import recover
from kin.runner.watch import schedules
from kin.runner.watch.eyes import Eyes, at_work
from kin.runner.watch.reconcile import HAS_LEAVE, HOUR, Choice, Start, choose, lately, made_by, wanted
from kin.store import config, locks, records
from kin.store.arrivals import digest
from kin.store.project import Project
from kin.store.remembered import recall, remember, unscanned
from kin.store.view import View, see

SETTLED = 0.05
"""Seconds of quiet after a save, before it is looked at: editors write in several steps."""
SETTLED_BY_GIT = 0.3
"""Seconds of quiet after git moved something: a checkout, pull or rebase is then one decision."""
PATIENCE = 5.0
"""Seconds after which things are looked at though they never come to rest; not while git is in the middle of something."""
HUSH = 1.0
"""Seconds that git may be at work before the watcher says that it waits for it."""


class Happening(NamedTuple):
    """Something that the watcher saw or did.

    `kind`: `watching`, `quiet` (git is at work), `polling`, `overflow`, `start`, `end`, `kept` (a task asks to be started and
    may not be), `decision` (text: how many start, wait their turn, are kept), `schedule`, `offer` (a machine to look
    at), `note`.
    """

    kind: str
    text: str
    task: str | None = None
    run: str | None = None


class May(NamedTuple):
    """What the person who started the watcher lets it do, beyond settings: leave to write, trust for this once."""

    write: bool = False
    trusted: bool = False


@dataclass
class Watcher:
    """One watcher's life. Between two looks it knows only what it has said (`said`; `earlier`: before a look that is
    not over) and which runs it saw (`running`: by task)."""

    project: Project
    environ: Mapping[str, str]
    may: May
    emit: Callable[[Happening], None]
    cancel: Cancel
    tick: Callable[[dict[str, str]], float | None] = lambda running: None
    eyes: Eyes | None = None
    running: dict[str, str] = field(default_factory=dict)
    said: set[Happening] = field(default_factory=set)
    earlier: set[Happening] = field(default_factory=set)
    failed: dict[str, Any] = field(default_factory=dict)
    quiet_since: float | None = None
    history: History = field(default_factory=History)

    def look(self) -> float:
        """Look at everything once and act on it. Seconds after which to look again, whether or not something changes."""
        if not os.path.isdir(self.project.store):
            self._say("quiet", "there is no .kin/ in this checkout; it waits for its return")
            return HOUR
        if (pause := self._hush()) is not None:
            return pause
        try:
            settings = config.load_settings(self.project, self.environ)
        except KinError as error:
            self._say("note", f"{error}; nothing is started until that is mended")
            return HOUR
        began = time.monotonic()
        self.earlier, self.said = self.earlier | self.said, set()
        self._tell_events()
        for line in recover(self.project):
            self.emit(Happening("note", line))
        now = times.now()
        view = see(self.project, bodies=False, now=times.rfc3339(now))
        self._tell_changes(view)
        if settings.schedules and self._may_fire() and (made := schedules.fire(self.project, settings, view, now)):
            for line in made:
                self.emit(Happening("schedule", line))
            view = see(self.project, bodies=False, now=times.rfc3339(now))
        for name in unscanned(self.project):
            self._say("offer", f"nobody had {name} looked at since its entry changed; `kin env scan {name}`")
        refused = {i for i, state in self.failed.items() if state == self._state(i, view)}
        asking = {i: why for i, why in wanted(view).items() if i not in refused}
        choice = choose(self.project, view, asking, settings, self.history, leave=self.may.write)
        if self._disturbed(began):
            return 0.0
        busy = self._act(choice, view)
        self.earlier = set()
        return self._due(view, settings, now, busy)

    def _hush(self) -> float | None:
        """None if git is at rest, else for how long to be quiet. An `index.lock` of milliseconds is not worth a word."""
        what, now = at_work(self.project), time.monotonic()
        if not what:
            self.quiet_since = None
            return None
        self.quiet_since = self.quiet_since or now
        if now < self.quiet_since + HUSH:
            return self.quiet_since + HUSH - now
        self._say("quiet", f"git {what}; nothing is started meanwhile")
        return HOUR

    def _may_fire(self) -> bool:
        """Whether the settings were agreed to: a task that a pulled schedule made would pass for one that was made here."""
        new = {} if self.may.trusted else unagreed(self.project, [], self.environ)
        if new:
            self._say("kept", f"no schedule fires: {', '.join(new)} can start programs; `kin trust` shows them")
        return not new

    def _act(self, choice: Choice, view: View) -> bool:
        """Start what was chosen, and say what was kept back. Whether others than kin's own slots held something up."""
        for task_id, reason in choice.kept.items():
            self._say("kept", reason.text, task_id)
        if choice.start:
            counts = f"{len(choice.start)} start, {len(choice.queue)} wait their turn, {len(choice.kept)} are kept"
            self.emit(Happening("decision", counts))
        busy = False
        for start in choice.start:
            if self.cancel.level:
                break
            busy |= self._start(start, view)
        return busy

    def _start(self, start: Start, view: View) -> bool:
        """Start one. What refuses it for good is remembered, so that it is not tried again until something changes."""
        task = view.seen[start.task].task
        asked = Asked(started_by="schedule" if made_by(task) else "watch", allow=partial(self._allow, start))
        # before: a watcher that dies now must not start more than it may
        remember(self.project, lambda held: held._replace(starts=(*lately(held), time.time())))
        outcome = start_detached(self.project, [start.task], asked, environ=self.environ)
        if outcome.run is not None:
            self.running[start.task] = outcome.run
            if (run := view.runs.get(start.task)) and run.waits_for == WaitFor.merge:
                # if the same thing blocks it again, it is not tried in a circle
                self.failed[start.task] = self._state(start.task, view)
            self.emit(Happening("start", start.why, start.task, outcome.run))
            return False
        if outcome.exit != Busy.exit:
            self.failed[start.task] = self._state(start.task, view)
        self._say("kept", outcome.reason, start.task)
        return outcome.exit == Busy.exit

    def _allow(self, start: Start, plan: Plan) -> None:
        """Raise what keeps a plan from being run. Asked in the run's own process: what it read is what it was chosen by.

        It holds the task's lock, without which `kin stop` cannot finish: either its mark is there, or its word is.
        """
        live = records.live(self.project, start.task)
        if os.path.exists(records.stop_mark(self.project, start.task)) or (live and live.live.word == "stop"):
            raise Busy(f"a person stopped {start.task} just now", f"`kin run {start.task}` lets it start")
        if digest(plan.text) != start.text:
            raise Busy(f"{start.task} was edited meanwhile", "it is looked at again")
        new = {} if self.may.trusted else unagreed(self.project, [plan], self.environ)
        if new:
            raise Invalid(f"{', '.join(new)} can start programs and nobody agreed to them", "`kin trust` shows them")
        if writes(self.project, plan) and not (self.may.write or plan.settings.watch.allow_write):
            raise Invalid(f"its steps may change files, by the settings of {plan.target.name}", "`kin watch --allow-write`")

    def _state(self, task_id: str, view: View) -> Any:
        """What must change before a start that was refused is tried again."""
        stamps = []
        tasks = os.path.join(self.project.store, "tasks", task_id + ".yaml")
        for path in (tasks, config.settings_path(self.project), os.path.join(self.project.gitdir, "index")):
            with suppress(OSError):
                stamps.append(os.stat(path).st_mtime_ns)
        run = view.runs.get(task_id)
        return stamps, run and run.waiting

    def _tell_changes(self, view: View) -> None:
        """Say what ended since the last look, and which files cannot be read."""
        held = {i: run for i, run in view.runs.items() if i in view.seen and view.seen[i].status == TaskStatus.in_progress}
        # a command such as `kin reopen` holds the lock for a moment, too; a run that is ending holds it a moment longer
        now = {i: run.run for i, run in held.items() if run.status == RunStatus.running or i in self.running}
        for task_id, run_id in self.running.items():  # ... also after its record, which a merge drops, is gone
            seen = None if task_id in view.runs else view.seen.get(task_id)
            if seen and seen.status == TaskStatus.in_progress != seen.task.status:
                now[task_id] = run_id
        for task_id in self.running.keys() - now.keys() & view.seen.keys():
            left = view.runs.get(task_id)
            shown, why = view.seen[task_id].shown, left.reason.splitlines()[:1] if left else []
            self.emit(Happening("end", ": ".join([shown, *why]), task_id, self.running[task_id]))
        self.running = now
        for warning in view.warnings:
            self._say("note", warning)

    def _say(self, kind: str, text: str, task: str | None = None) -> None:
        """Say what holds for longer, once: again only after a whole look at which it did not hold."""
        what = Happening(kind, text, task)
        if what not in self.said | self.earlier:
            self.emit(what)
        self.said.add(what)

    def _tell_events(self) -> None:
        if self.eyes is not None and self.eyes.polling:
            self._say("polling", f"events do not work ({self.eyes.polling}); files are looked at every 2 s")
        if self.eyes is not None and self.eyes.overflowed:
            self.eyes.overflowed = False
            self.emit(Happening("overflow", "events were lost; everything was looked at instead"))

    def _disturbed(self, began: float) -> bool:
        """Whether git began something while we looked: what was read may be a state that existed only in between."""
        return bool(at_work(self.project)) or (self.eyes is not None and self.eyes.by_git > began)

    def _due(self, view: View, settings: Settings, now: datetime, busy: bool) -> float:
        """Seconds until something is due that no event tells."""
        moments = [run.waiting.until for run in view.runs.values() if run.waiting and run.waiting.until]
        due = (*map(times.parse, moments), *(schedule.due(now) for schedule in settings.schedules))
        after = [(at - now).total_seconds() for at in due]
        starts = lately(recall(self.project))
        after += [starts[0] + HOUR - time.time()] if len(starts) >= settings.watch.max_starts_per_hour else []
        waiting = any(run.waits_for == WaitFor.merge for run in view.runs.values())
        after += [self.eyes.tick] if self.eyes and (busy or waiting) else []
        return min((seconds for seconds in after if seconds > 0), default=HOUR) + 0.01

    def rest(self, seconds: float) -> None:
        """Wait until something changed and has come to rest, or `seconds` are over."""
        assert self.eyes is not None
        until = time.monotonic() + seconds
        first: float | None = None
        with selectors.DefaultSelector() as selector, ExitStack() as opened:
            selector.register(self.cancel.fd, selectors.EVENT_READ, "cancel")
            selector.register(self.eyes.fd, selectors.EVENT_READ, "eyes")
            if self._register_ends(selector, opened):
                return
            look_at = time.monotonic() + self.eyes.tick
            while not self.cancel.level:
                now = time.monotonic()
                ready = self._ready_at(first)
                if now >= min(until, ready):
                    return
                pause = min(until, ready, look_at) - now
                shown = self.tick(self.running)
                woken = {key.data for key, _ in selector.select(min(pause, shown) if shown else pause)}
                if "end" in woken:
                    return
                if time.monotonic() >= look_at:
                    self.eyes.look()
                    look_at = time.monotonic() + self.eyes.tick
                if "eyes" in woken:
                    self.eyes.drain()
                    self.eyes.mend()
                    first = first or time.monotonic()

    def _ready_at(self, first: float | None) -> float:
        """When what changed first at `first` has come to rest; never while git is at work."""
        if first is None:
            return float("inf")
        assert self.eyes is not None
        if at_work(self.project):
            return float("inf") if self.quiet_since else self.eyes.by_git + SETTLED_BY_GIT
        rest = max(self.eyes.changed + SETTLED, self.eyes.by_git + SETTLED_BY_GIT)
        return min(rest, max(first, self.eyes.by_git) + PATIENCE)

    def _register_ends(self, selector: selectors.BaseSelector, opened: ExitStack) -> bool:
        """The ends of running pipelines wake us: each frees a slot, and no file need change for that. True if one ended."""
        for task_id in self.running:
            path = locks.lock_path(self.project.common, task_id)
            if not locks.is_held(path):
                return True
            who = locks.holder(path)
            if who is not None and who.pidns == locks.me("").pidns and hasattr(os, "pidfd_open"):
                with suppress(ProcessLookupError):  # it ended since the lock was asked, or a dead one's child still holds it
                    fd = os.pidfd_open(who.pid)
                    opened.callback(os.close, fd)
                    selector.register(fd, selectors.EVENT_READ, "end")
        return False


def watch(watcher: Watcher) -> None:
    """Watch until cancelled. Raises Busy if another watcher is at work in this clone, Invalid if kin.yaml cannot be used."""
    git.require(watcher.project.root, watcher.environ)
    config.load_settings(watcher.project, watcher.environ)
    with claim(watcher.project, watcher.may):
        watcher.eyes = Eyes(watcher.project)
        try:
            watcher.emit(Happening("watching", f"watching {watcher.project.root}; what it starts outlives it"))
            while not watcher.cancel.level:
                try:
                    pause = watcher.look()
                except (KinError, OSError) as error:  # a full disk, a folder gone in between: it ends no watcher
                    watcher._say("note", f"{error}; it looks again")
                    pause = watcher.eyes.tick
                watcher.rest(pause)
        finally:
            watcher.eyes.close()


LET_GO = 5.0
"""Seconds in which a process that a killed watcher has just forked closes what it inherited."""


def claim(project: Project, may: May) -> locks.Held:
    """Be the one watcher of this clone. Raises Busy that says who is."""
    path = locks.lock_path(project.common, "watch")
    leave = HAS_LEAVE if may.write else ""
    held = locks.try_lock(path, run=leave)
    if held is None:
        who = locks.holder(path)
        if who is not None and not locks.is_alive(who):  # killed while it started a run, whose process lets go in a moment
            return locks.wait_lock(path, LET_GO, run=leave, what="the watcher's lock")
        raise Busy(f"`kin watch` runs here already{f', as pid {who.pid} since {who.since}' if who else ''}", "one is enough")
    return held
