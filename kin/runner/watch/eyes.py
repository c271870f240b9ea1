"""What wakes the watcher: changes of task files, settings and git's own state, told by the system or found by looking.

An event only wakes; nothing is read from it but whether git did it. Events can be lost, doubled or late, and some file systems
send none, so a cheap look at all files (`print_of`) stands beside them: every 30 s, or every 2 s where events do not work.
"""

import errno
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from watchdog import events
from watchdog.observers import Observer

from kin import git
from kin.store import remembered
from kin.store.project import STORE, Project

TICK, POLL = 30.0, 2.0
"""Seconds between two looks at all files, with events and without."""

KINDS: list[type[events.FileSystemEvent]] = [
    *(events.FileClosedEvent, events.FileCreatedEvent, events.FileMovedEvent, events.FileDeletedEvent),
    *(events.DirCreatedEvent, events.DirMovedEvent, events.DirDeletedEvent),
]
"""No event of these comes from reading: the watcher would wake itself for ever."""

GIT_STATE = ("HEAD", "index", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "sequencer")
SETTINGS = ("kin.yaml", "environments.yaml")
"""Files of the store, beside tasks, that the watcher goes by."""
MARKS = {"index.lock": "writes the index", "BISECT_LOG": "bisects", "SQUASH_MSG": "holds a squash that is not committed"}


def at_work(project: Project) -> str:
    """What git is doing in the store's checkout that must not be decided in the middle of; "" for nothing."""
    if what := git.under_way(project.gitdir):
        return f"is in the middle of a {what}"
    return next((words for mark, words in MARKS.items() if os.path.lexists(os.path.join(project.gitdir, mark))), "")


class Eyes:
    """Watches until closed. `fd` becomes readable when something changed; `polling` says why events do not work, or is "".

    `changed` and `by_git` are the monotonic times of the last change that counts, and of the last one that git made.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self.fd, self._wake = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._wake, False)
        self.changed = self.by_git = 0.0
        self._lock = (0.0, 0.0)
        self.polling = ""
        self.overflowed = False
        self._observer: Any = None
        self._watched: dict[str, int] = {}
        self._print = 0
        self._log = _Overflow(self)
        logging.getLogger("watchdog").addHandler(self._log)
        os.makedirs(os.path.join(project.common, "run"), mode=0o700, exist_ok=True)
        self.mend()

    @property
    def tick(self) -> float:
        """Seconds until the next look at all files."""
        return POLL if self.polling else TICK

    def drain(self) -> None:
        """Take what woke us."""
        with suppress(BlockingIOError):
            while os.read(self.fd, 4096):
                pass

    def wake(self, *, by_git: bool = False) -> None:
        """Something changed; called from the observer's thread too."""
        self.changed = time.monotonic()
        self.by_git = self.changed if by_git else self.by_git
        with suppress(BlockingIOError):  # it is awake already
            os.write(self._wake, b"\0")

    def lock(self, how: str) -> None:
        """`index.lock` was `created`, or `deleted` with no new index of git's: then git moved nothing, or kin held it."""
        if how == events.EVENT_TYPE_CREATED:
            before = self.by_git
            self.wake(by_git=True)
            self._lock = (before, self.by_git)
        elif how == events.EVENT_TYPE_DELETED:
            before, since = self._lock
            self.by_git = before if self.by_git == since else self.by_git  # else git moved something meanwhile
            self.wake()

    def look(self) -> None:
        """Compare all files with how they were at the last look; a difference wakes like an event."""
        seen = print_of(self._project)
        if seen != self._print:
            self._print = seen
            self.wake()

    def mend(self) -> None:
        """Watch the folders that are there now: one that was removed and came back is another, whose events would be lost.

        Not recursive: `.kin/pipelines` has a folder for every task, and watches are few.
        """
        if self.polling:
            return
        there = {folder: inode for folder in watched(self._project) if (inode := _inode(folder))}
        alive = self._observer is not None and all(emitter.is_alive() for emitter in self._observer.emitters)
        if alive and there == self._watched:
            return
        self._watched = {}
        try:
            if self._observer is None:
                self._observer = Observer()
                self._observer.start()
            self._observer.unschedule_all()
            for folder in there:
                self._observer.schedule(_Handler(self, self._project), folder, recursive=False, event_filter=KINDS)
            self._watched = there
        except OSError as error:
            if error.errno == errno.ENOENT:  # it went in between; its going wakes us
                return
            self.polling = error.strerror or str(error)  # the user's watches are used up, or this system has none
            self._stop()
        self.wake()

    def _stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join()
            self._observer = None

    def close(self) -> None:
        """Let go of everything."""
        self._stop()
        logging.getLogger("watchdog").removeHandler(self._log)
        os.close(self.fd)
        os.close(self._wake)


class _Handler(events.FileSystemEventHandler):
    def __init__(self, eyes: Eyes, project: Project) -> None:
        self._eyes, self._gitdir, self._counts = eyes, project.gitdir, watched(project)

    def on_any_event(self, event: events.FileSystemEvent) -> None:
        source = os.fsdecode(event.src_path)
        for path in {source, os.fsdecode(event.dest_path)} - {""}:
            folder, name = os.path.split(path)
            if folder not in self._counts or not self._counts[folder](name):
                continue
            if name == "index.lock" and not isinstance(event, events.FileMovedEvent):
                self._eyes.lock(event.event_type)
            else:
                self._eyes.wake(by_git=folder == self._gitdir and os.path.basename(source) != "kin-index")


class _Overflow(logging.Handler):
    """Hears from watchdog that the kernel dropped events, which it tells nobody else."""

    def __init__(self, eyes: Eyes) -> None:
        super().__init__(logging.WARNING)
        self._eyes = eyes

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._eyes.overflowed = True
            self._eyes.wake()


def watched(project: Project) -> dict[str, Callable[[str], bool]]:
    """The folders to watch, and which names in them count: no editor's swap files, nothing of the code."""
    return {
        project.root: lambda name: name == STORE,
        project.store: lambda name: name in ("tasks", "roles", *SETTINGS),
        os.path.join(project.store, "tasks"): lambda name: not name.startswith(".") and name.endswith((".yaml", ".yml")),
        project.gitdir: lambda name: name in GIT_STATE or name in MARKS,
        project.common: lambda name: name == remembered.FILE,
        os.path.join(project.common, "run"): lambda name: not name.startswith("."),
    }


def _inode(folder: str) -> int:
    try:
        return os.stat(folder).st_ino
    except OSError:
        return 0


def print_of(project: Project) -> int:
    """A number that changes with any task file, the settings, HEAD and the live runs: 28 ms for ten thousand tasks."""
    seen: list[tuple[str, int, int, int]] = []
    for folder in (os.path.join(project.store, "tasks"), os.path.join(project.common, "run")):
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    st = entry.stat()
                    seen.append((entry.name, st.st_mtime_ns, st.st_size, st.st_ino))
    settings = (os.path.join(project.store, name) for name in SETTINGS)
    for path in (*settings, os.path.join(project.gitdir, "HEAD")):
        with suppress(OSError):
            st = os.stat(path)
            seen.append((path, st.st_mtime_ns, st.st_size, st.st_ino))
    return hash(tuple(sorted(seen)))
