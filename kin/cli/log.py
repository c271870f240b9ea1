"""`kin log`: what the steps of a task's run said, and with -f what they say."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from time import localtime, strftime
from typing import NamedTuple

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean
from kin.errors import Invalid, NotFound, Usage
from kin.model.times import parse
from kin.runner.process.hearing import Hearing
from kin.runner.process.logs import LogLine, follow, lines_of, names_of, part_path, plain, read_lines, steps_of
from kin.store.locks import is_held, lock_path
from kin.store.project import Project
from kin.store.records import ended, live, logs_folder
from kin.store.tasks import resolve

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
    printed = _print(lines, _printer(call, project), call.screen, at_once=call["follow"])
    if not (printed or call["raw"] or call["jsonl"] or call.screen.quiet):
        call.screen.err.write(f"{step or f'run {run}'} has said nothing\n")
    return Result("")


def attach_(call: Call) -> Result:
    """Follow a run to its end, and end as `kin run` would have ended."""
    from kin.runner.runs.ending import exit_now

    log_(Call({**call.values, "follow": True, "step": None, "run": None, "raw": False}, call.environ, call.screen))
    seen, view = call.task()
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


def _print(lines: Iterable[LogLine], texts_of: Callable[[LogLine], Iterable[str]], screen: Screen, *, at_once: bool) -> bool:
    """Print lines as they come, and tell whether there were any; a log may be 64 MiB, and one that is followed must not wait
    for a full buffer.
    """
    line = None
    for line in lines:
        screen.out.writelines(f"{text}\n" for text in texts_of(line))
        if at_once:
            screen.out.flush()
    screen.out.flush()
    return line is not None


class Last(NamedTuple):
    """What was said last on a run's own account, and the agent that plays that step, if one does."""

    text: str
    agent: str | None


def last_said(project: Project, task: str, run: str) -> Last:
    """From the end of the run's newest log that says something; Last("", None) if none does."""
    folder = logs_folder(project, task, run)
    for step, path, size in _newest_first(folder):
        hearing, said = Hearing(project), ""
        # an agent is named where it began: in the first part, if the log was rotated since
        begun = islice(lines_of(part_path(folder, step, 1), {}), 1)
        for line in chain(begun, lines_of(path, {path: max(0, size - TAIL)})):
            said = next((text for text in reversed(hearing.hear(line)) if text.strip()), said)
        if said:
            return Last(clean(plain(said.strip())), hearing.players.get(step))
    return Last("", None)


def _newest_first(folder: str) -> Iterator[tuple[str, str, int]]:
    """Step, path and size in bytes of a run's logs."""
    found = []
    for step, part in names_of(folder):
        path = part_path(folder, step, part)
        with suppress(FileNotFoundError):  # rotated away since it was listed
            stat = os.stat(path)
            found.append((stat.st_mtime, (step, path, stat.st_size)))
    yield from (log for _, log in sorted(found, reverse=True))
