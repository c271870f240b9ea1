"""Runs on disk: the live record in the git common dir, written at step boundaries, and the committed one in `.kin/`.

Only the holder of a task's lock writes its live record, so no comparing is needed there. A record that says `running` is
believed by nobody: the lock decides (kin.store.view).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from kin.errors import Invalid, NotFound, Place
from kin.model.fields import data_of
from kin.model.record import Run, StepRecord, committed, run_from_data
from kin.store import files
from kin.store.project import Project
from kin.store.text import reader

ORDER = Run._fields


def live_path(project: Project, task: str, run: str) -> str:
    """The live record of a run that is running or waiting, or failed and can be resumed."""
    return os.path.join(project.common, "run", task, run + ".yaml")


def logs_folder(project: Project, task: str, run: str) -> str:
    """Where a run's step logs lie."""
    return os.path.join(project.common, "logs", task, run)


def record_path(project: Project, run: Run) -> str:
    """The committed record's place in the working tree."""
    return os.path.join(project.store, "pipelines", run.task, run.run + ".yaml")


def parse(text: str, path: str) -> Run:
    """The run that a record's text holds. Raises Invalid that names `path`."""
    data = reader.read(text, path, reader.RECORD_BOUNDS)
    try:
        return run_from_data(data)
    except ValueError as error:
        raise Invalid(f"is no record of a run: {error}", "", Place(path)) from error


def record_text(run: Run) -> str:
    """The committed record: what is history, and nothing of this machine."""
    return live_text(committed(run))


def live_text(run: Run) -> str:
    """The record's file. Of a hundred steps one changes at a time, so the others' lines are kept from the last writing."""
    from kin.store.text import emit  # views read records and never write one

    base = run.base.encode("utf-8", "backslashreplace").decode()
    data = data_of(run._replace(steps=(), base=base))
    at = ORDER.index("steps")
    before = {key: data[key] for key in ORDER[:at] if key in data}
    after = {key: data[key] for key in ORDER[at:] if key in data}
    steps = [_step_text(s._replace(tokens=None), tuple(s.tokens.items())) if s.tokens else _step_text(s, ()) for s in run.steps]
    parts = [
        emit.document(before, ORDER),
        "steps:\n" + "".join(steps) if steps else "",
        emit.document(after, ORDER) if after else "",
    ]
    return "\n".join(part for part in parts if part)


@lru_cache(maxsize=512)
def _step_text(step: StepRecord, tokens: tuple[tuple[str, Any], ...]) -> str:
    from kin.store.text import emit

    data = data_of(step._replace(tokens=dict(tokens) if tokens else None))
    return emit.document({"steps": [data]}).removeprefix("steps:\n")


def save_live(project: Project, run: Run, *, prepared: bool = False) -> None:
    """Write the live record, durable when this returns; `prepared`: `prepare_live` wrote this very run, and no other was saved
    since. The caller holds the task's lock. Raises NotFound if the clone is gone: nothing is made where it was."""
    if not os.path.isdir(project.git_common):
        hint = f"if it was moved: `kin run {run.task}` there goes on from the last finished step"
        raise NotFound(f"{project.git_common} is gone", hint)
    files.write_own(live_path(project, run.task, run.run), "" if prepared else live_text(run), prepared=prepared)


def prepare_live(project: Project, run: Run) -> None:
    """Write all of the live record but its name: nobody reads it before `save_live`. Raises OSError."""
    files.prepare_own(live_path(project, run.task, run.run), live_text(run))


def stop_mark(project: Project, task: str) -> str:
    """A file that is there while `kin stop` ends the task's run: the watcher must not start it before that is recorded."""
    return os.path.join(project.common, "run", task, "stopping")


def drop_live(project: Project, run: Run) -> None:
    """Remove the live record once the run's end is recorded elsewhere; one that is gone already is fine."""
    path = live_path(project, run.task, run.run)
    files.remove_own(path)
    with suppress(FileNotFoundError):
        for name in os.listdir(os.path.dirname(path)):
            if (name.startswith(".") and name.endswith(".tmp")) or name == "stopping":
                # Of one that was killed in its very first write; the lock says that nobody writes here now.
                os.unlink(os.path.join(os.path.dirname(path), name))
    with suppress(OSError):  # not empty: the task has another record
        os.rmdir(os.path.dirname(path))


def live(project: Project, task: str) -> Run | None:
    """The newest live record of a task, whatever its status says, or None. Raises Invalid if it cannot be read."""
    folder = os.path.join(project.common, "run", task)
    for name in sorted(files.names_in(folder, ".yaml"), reverse=True):
        if run := _load(os.path.join(folder, name)):
            return run
    return None


def all_live(project: Project) -> tuple[list[Run], list[str]]:
    """The newest live record of every task that has one, and a warning for each that cannot be read."""
    runs: list[Run] = []
    warnings: list[str] = []
    for task in sorted(files.names_in(os.path.join(project.common, "run"))):
        try:
            if run := live(project, task):
                runs.append(run)
        except (Invalid, OSError) as error:
            warnings.append(str(error))
    return runs, warnings


def ended(project: Project, task: str, since: float = 0.0) -> list[Run]:
    """The task's records in the working tree, oldest first; `since` as in `all_ended`. Raises Invalid as it does."""
    folder = os.path.join(project.store, "pipelines", task)
    paths = [os.path.join(folder, name) for name in sorted(files.names_in(folder, ".yaml"))]
    new = [path for path in paths if not since or os.lstat(path).st_mtime >= since]
    runs = (_load(path, os.path.relpath(path, project.root)) for path in new)
    return [run for run in runs if run is not None]


def all_ended(project: Project, since: float = 0.0) -> Iterator[Run]:
    """Every record in the working tree that was written since (seconds since the epoch); a checkout makes files newer, never
    older. Raises Invalid for one that cannot be read."""
    for task in sorted(files.names_in(os.path.join(project.store, "pipelines"))):
        yield from ended(project, task, since)


def save_record(project: Project, run: Run) -> None:
    """Write the run's record into the working tree, where people and kin's merges commit it; an earlier one is rewritten."""
    files.replace(project, record_path(project, run), record_text(run), expect=None)


def _load(path: str, shown: str = "") -> Run | None:
    try:
        return parse(files.read_text(path, shown or path), shown or path)
    except NotFound:
        return None  # its run ended between the listing and now
