"""`kin log`: what the steps of a task's run said, and with -f what they say."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from json import loads
from time import localtime, strftime
from typing import NamedTuple

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean
from kin.errors import Invalid, NotFound, Usage
from kin.model.times import parse
from kin.runner.process.hearing import Hearing
from kin.runner.process.logs import LogLine, follow, plain, read_lines, steps_of
from kin.store.locks import is_held, lock_path
from kin.store.project import Project
from kin.store.records import ended, live, logs_folder
from kin.store.tasks import resolve

_PART = re.compile(r"\.\d+\.jsonl$")
TAIL = 64 * 1024
"""Bytes at the end of a log in which the last words are looked for."""


def log_(call: Call) -> Result:
    """Print a run's log, oldest line first."""
    if call["follow"] and call.screen.json:
        raise Usage("--follow is a stream, --json one document", "`--jsonl` prints a line for each")
    project, task = call.project, resolve(call.project, call["id"])
    run = _run(project, task, call["run"])
    folder = logs_folder(project, task, run)
    step = _step(project, task, run, folder, call["step"])
    if call["follow"]:
        lock = lock_path(project.common, task)
        lines = follow(folder, lambda: is_held(lock), step)
    else:
        lines = read_lines(folder, step)
    if call.screen.json:
        return Result("log", lambda: [line._asdict() for line in lines])
    _print(lines, _printer(call, project), call.screen, at_once=call["follow"])
    return Result("")


def attach_(call: Call) -> Result:
    """Follow a run to its end, and end as `kin run` would have ended."""
    from kin.cli.lookup import find_task
    from kin.runner.runs.ending import exit_now

    log_(Call({**call.values, "follow": True, "step": None, "run": None, "raw": False}, call.environ, call.screen))
    seen, view = find_task(call, call["id"])
    if not call["jsonl"]:
        call.screen.say(f"{seen.task.id}  {call.screen.status(seen.status, seen.shown)}")
    return Result("", exit=exit_now(seen.task, view.runs.get(seen.task.id)))


def _run(project: Project, task: str, wanted: str | None) -> str:
    """The run that is meant: the named one, else the newest that has a log here."""
    folder = os.path.join(project.common, "logs", task)
    runs = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    if not runs:
        raise NotFound(
            f"{task} has no log in this clone: it did not run here, or its log is gone",
            f"`kin show {task}` tells what its record says",
        )
    if wanted is None:
        return runs[-1]
    if wanted not in runs:
        raise NotFound(f"{task} has no run {wanted} here", f"its runs: {', '.join(runs[-5:])}")
    return wanted


def _step(project: Project, task: str, run: str, folder: str, wanted: str | None) -> str | None:
    """The step's id that a person means by id, number or role; the last one if a role comes twice."""
    if wanted is None:
        return None
    known = set(steps_of(folder))
    found = [live(project, task)]
    with suppress(Invalid):  # another run's record: what it says does not matter here
        found += ended(project, task)
    for record in found:  # a step that printed nothing has no log
        known |= {step.id for step in record.steps} if record and record.run == run else set()
    ordered = sorted(known, key=lambda i: (int(i.partition("-")[0]) if i.partition("-")[0].isdigit() else 0, i))
    fitting = [i for i in ordered if wanted in (i, i.partition("-")[0], i.partition("-")[2])]
    if not fitting:
        raise NotFound(f"no step '{wanted}' has a log in this run", f"there are {', '.join(ordered)}")
    return fitting[-1]


def _printer(call: Call, project: Project) -> Callable[[LogLine], Iterable[str]]:
    if call["jsonl"]:
        from json import dumps

        return lambda line: (dumps(line._asdict(), ensure_ascii=False),)
    if call["raw"]:
        return lambda line: (line.text,)
    return Pretty(call.screen, Hearing(project))


class Pretty:
    """Lines for a person: local time, step, text; what is not standard output is dimmed."""

    def __init__(self, screen: Screen, hearing: Hearing) -> None:
        self._screen, self._hearing = screen, hearing
        self._moments: dict[str, str] = {}

    def __call__(self, line: LogLine) -> Iterator[str]:
        second = line.time[:19]
        if second not in self._moments:
            self._moments = {second: strftime("%H:%M:%S", localtime(parse(second + "Z").timestamp()))}
        head = self._screen.paint(f"{self._moments[second]} {line.step}", "dim")
        for text in self._hearing.hear(line):
            yield f"{head}  {self._screen.paint(clean(plain(text)), '' if line.stream == 'stdout' else 'dim')}"


def _print(lines: Iterable[LogLine], texts_of: Callable[[LogLine], Iterable[str]], screen: Screen, *, at_once: bool) -> None:
    """Print lines as they come; a log may be 64 MiB, and one that is followed must not wait for a full buffer."""
    for line in lines:
        screen.out.writelines(f"{text}\n" for text in texts_of(line))
        if at_once:
            screen.out.flush()
    screen.out.flush()


class Last(NamedTuple):
    """What was said last on a run's own account, and the agent that plays that step, if one does."""

    text: str
    agent: str | None


def last_said(project: Project, task: str, run: str) -> Last:
    """From the end of the run's newest log that says something; Last("", None) if none does."""
    for path in _newest_first(logs_folder(project, task, run)):
        hearing, said, step = Hearing(project), "", ""
        # an agent is named where it began: in the first part, if the log was rotated since
        for line in (*_records(_PART.sub(".jsonl", path), 4096)[:1], *_records(path, -TAIL)):
            said = next((text for text in reversed(hearing.hear(line)) if text.strip()), said)
            step = line.step
        if said:
            return Last(clean(plain(said.strip())), hearing.players.get(step))
    return Last("", None)


def _records(path: str, size: int) -> list[LogLine]:
    """The whole records in the first bytes of a log, or with a negative size in its last ones, where the first line may be cut
    and the last one half written. None of what is gone, or a pipe that a step put there."""
    found = []
    with suppress(OSError), open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size + size) if size < 0 else 0)
        for raw in file.read(abs(size)).splitlines():
            with suppress(ValueError, TypeError):
                found.append(LogLine(**loads(raw)))
    return [line for line in found if all(isinstance(word, str) for word in line)]


def _newest_first(folder: str) -> Iterator[str]:
    if os.path.isdir(folder):
        with os.scandir(folder) as entries:
            logs = [(entry.stat().st_mtime, entry.path) for entry in entries if entry.name.endswith(".jsonl")]
        yield from (path for _, path in sorted(logs, reverse=True))
