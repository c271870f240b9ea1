"""What steps print, kept as JSON lines: written by the runner while it happens, read by `kin log` at any time.

A step's log is `<step>.jsonl`, mode 0600. At half of its limit it goes on in `<step>.2.jsonl`, and so on, a quarter of the
limit each; the first part and the last two stay, and a line says what was dropped between them. A full disk never fails a
step: the log says later how many lines are missing. Records: {"time", "step", "stream": "stdout|stderr|kin", "text"}.
"""

import heapq
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NamedTuple

from kin.model import times
from kin.runner.process.mask import Mask
from kin.store import files

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

LIMIT = 64 * 1024 * 1024
LONGEST_TEXT = 64 * 1024
"""Characters of a record's text; a longer line is several records."""
AT_ONCE = 2000
"""Lines in one write: a step may print half a million lines of one letter at once."""
_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
LOOK_AGAIN = 0.5
"""Seconds after which `follow` looks without having been woken: whether the run lives is no event in its log folder."""


class LogLine(NamedTuple):
    """One line that was printed. `time` is RFC 3339 in UTC, `stream` is stdout, stderr or kin."""

    time: str
    step: str
    stream: str
    text: str


def plain(text: str) -> str:
    """`text` without colours, cursor movements and titles (ECMA-48), which programs print although they write into a log."""
    return _CODES.sub("", text)


def stamp(now: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC with milliseconds: as text it sorts by time."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


class StepLog:
    """The log of one step, for appending; a step that is run again goes on in the same log, and a silent one has none.

    `limit` is in bytes, for all parts together. The folder is made, the file with the first line.
    """

    def __init__(self, folder: str, step: str, mask: Mask, limit: int = LIMIT, clock: Callable[[], float] = time.time) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self.folder, self.step = folder, step
        self._mask, self._limit, self._clock = mask, limit, clock
        self._missing = 0
        self._torn = False
        self._fd = -1

    def write(self, stream: str, lines: Sequence[str]) -> None:
        """Append lines that are masked already, without their line ends."""
        if self._fd < 0 and lines:
            # The first part always stays, and most steps write no other, so the folder is listed only where a log goes on.
            goes_on = os.path.lexists(part_path(self.folder, self.step, 1))
            try:
                self._open(max(part for step, part in names_of(self.folder) if step == self.step) if goes_on else 1)
            except OSError:  # a full disk
                self._missing += len(lines)
                return
        for n in range(0, len(lines), AT_ONCE):
            some = lines[n : n + AT_ONCE]
            if self._size >= (self._limit // 2 if self._part == 1 else self._limit // 4):
                self._rotate()
            records = self._records(stream, some)
            if self._missing:
                note = f"up to {self._missing} lines are missing here: the log could not be written"
                records = self._records("kin", [note]) + records
            self._append(records, len(some))

    def note(self, text: str) -> None:
        """Append what kin itself has to say; masked here."""
        self.write("kin", self._mask(text).splitlines())

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _records(self, stream: str, lines: Sequence[str]) -> bytes:
        """JSON lines, put together by hand: a step may print millions."""
        head = f'{{"time": "{stamp(self._clock())}", "step": {json.dumps(self.step)}, "stream": "{stream}", "text": '
        texts = [line[n : n + LONGEST_TEXT] for line in lines for n in range(0, len(line) or 1, LONGEST_TEXT)]
        return "".join([f"{head}{encode_basestring(text)}}}\n" for text in texts]).encode("utf-8", "replace")

    def _append(self, records: bytes, count: int) -> None:
        """One write for all records, so that readers rarely see half a line; what a full disk refuses is counted."""
        if self._torn:
            records = b"\n" + records
        try:
            done = os.write(self._fd, records)
        except OSError:
            self._missing += count
            return
        self._size += done
        self._torn = not records[:done].endswith(b"\n")
        self._missing = count if done < len(records) else 0

    def _rotate(self) -> None:
        """Go on in a new part; the first one and the one before stay, and the new one says what went."""
        full, part = self._fd, self._part
        try:
            self._open(part + 1)
        except OSError:  # no room for a new file: the old part grows until there is
            return
        os.close(full)
        if part - 1 > 1:
            path = part_path(self.folder, self.step, part - 1)
            size = os.path.getsize(path)
            os.unlink(path)
            self.note(f"log limit: {size} bytes of this step's log were dropped, from before what part {part} holds")

    def _open(self, part: int) -> None:
        # O_NONBLOCK: a step may have put a pipe in its log's place, which nobody reads
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._fd = os.open(part_path(self.folder, self.step, part), flags, 0o600)
        self._part = part
        self._size = os.fstat(self._fd).st_size
        # A runner that was killed while it wrote leaves half a line; the next record must not become its end.
        self._torn = bool(self._size) and os.pread(self._fd, 1, self._size - 1) != b"\n"


def read_lines(folder: str, step: str | None = None) -> Iterator[LogLine]:
    """All lines of a run's logs, or of one step's, in the order of their times. Half a last line is left out."""
    return read_on(folder, step, {})


def follow(folder: str, is_live: Callable[[], bool], step: str | None = None) -> Iterator[LogLine]:
    """Like `read_lines`, and then each line as it comes, until `is_live` says no and all is read.

    The folder may not exist yet.
    """
    woken, offsets = threading.Event(), dict[str, int]()
    observer, watched = new_observer(), False
    try:
        while True:
            watched = watched or watch(observer, folder, woken)
            live = is_live()  # asked before reading: a run that has ended writes nothing more
            woken.clear()
            yield from read_on(folder, step, offsets)
            if not live:
                return
            woken.wait(LOOK_AGAIN)  # a deadline, since neither the run's end nor a network mount need wake us
    finally:
        if observer and watched:
            observer.stop()
            observer.join()


def new_observer() -> "BaseObserver | None":
    """What hears of changes in folders; None where the user's other programs hold all that the system gives one user."""
    from watchdog.observers import Observer

    try:
        return Observer()
    except OSError:
        return None


def watch(observer: "BaseObserver | None", folder: str, woken: threading.Event) -> bool:
    """Have `woken` set by what is written in the folder; False if it does not exist or the system has no watches left."""
    import logging

    from watchdog.events import FileCreatedEvent, FileModifiedEvent, FileSystemEvent, FileSystemEventHandler

    if observer is None:
        return False

    class Wake(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            woken.set()

    # An observer that is stopped while it reads logs that as an error, which without a handler goes to standard error.
    if not (log := logging.getLogger("watchdog")).handlers:
        log.addHandler(logging.NullHandler())
    try:
        observer.schedule(Wake(), folder, event_filter=[FileCreatedEvent, FileModifiedEvent])
        observer.start()
    except OSError:
        observer.unschedule_all()
        return False
    return True


def read_on(folder: str, step: str | None, offsets: dict[str, int]) -> Iterator[LogLine]:
    """What stands in the logs behind `offsets` (by path, in bytes), which move on."""
    parts = (part_path(folder, *part) for part in names_of(folder) if step in (None, part[0]))
    return heapq.merge(*(lines_of(path, offsets) for path in parts), key=lambda line: line.time)


def lines_of(path: str, offsets: dict[str, int]) -> Iterator[LogLine]:
    """The whole lines of one part behind its offset; lines that are no record are passed over."""
    try:
        file = open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK))
    except FileNotFoundError:  # rotated away since it was listed
        return
    with file:
        if not file.seekable():  # a pipe, put there by a step
            return
        file.seek(offsets.get(path, 0))
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            offsets[path] = offsets.get(path, 0) + len(raw)
            try:
                record = json.loads(raw)
                line = LogLine(record["time"], record["step"], record["stream"], record["text"])
            except (ValueError, TypeError, KeyError):  # torn by a kill or a full disk
                continue
            if all(isinstance(word, str) for word in line) and _is_time(line.time[:19]):  # else a step wrote it
                yield line


@lru_cache(maxsize=16)
def _is_time(second: str) -> bool:
    try:
        times.parse(f"{second}Z")
    except ValueError:
        return False
    return True


def part_path(folder: str, step: str, part: int) -> str:
    return os.path.join(folder, f"{step}.jsonl" if part == 1 else f"{step}.{part}.jsonl")


def names_of(folder: str) -> list[tuple[str, int]]:
    """(step, part) of every log file in the folder; none if it does not exist."""
    found = []
    for name in files.names_in(folder, ".jsonl"):
        step, _, part = name.removesuffix(".jsonl").rpartition(".")
        found.append((step, int(part)) if step and part.isdigit() else (name.removesuffix(".jsonl"), 1))
    return sorted(found)


def steps_of(folder: str) -> list[str]:
    return sorted({step for step, _ in names_of(folder)})
