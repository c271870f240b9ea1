"""`kin gc`: finds what is old and no longer needed, and deletes it; the caller says what, and asks, in between.

Only three kinds are ever deleted: salvages, logs of runs that ended, and what runs that ended left of their records and
temporary folders. Each is looked at again just before, under its task's lock; what changed meanwhile stays.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from kin import git
from kin.errors import KinError, NotFound
from kin.model import times
from kin.model.ids import RUN_ID, TASK_ID
from kin.model.record import Run
from kin.model.status import RunStatus, TaskStatus
from kin.runner.runs.claim import claim_task
from kin.runner.tree import kept, removal
from kin.store import files, records, tasks
from kin.store.project import Project, state_folder

KINDS = ("salvage", "log", "record", "temporary")


class Old(NamedTuple):
    """Something that can go: `kind` is one of KINDS; `at` RFC 3339; `where` a ref or a path.

    `oid` is a salvage's commit, `size` bytes on disk (0 for a salvage: git shares objects).
    """

    kind: str
    task: str
    name: str
    at: str
    where: str
    size: int = 0
    oid: str = ""


def find(project: Project, older_than: float, now: datetime, environ: Mapping[str, str]) -> list[Old]:
    """All that is older than that many seconds and not needed by a run that could go on."""
    bound = now - timedelta(seconds=older_than)
    found = (*_salvages(project), *_logs(project), *_records(project), *_temporaries(project, environ))
    return sorted((old for old in found if times.parse(old.at) < bound), key=lambda old: (KINDS.index(old.kind), old.at))


def _salvages(project: Project) -> Iterator[Old]:
    for one in kept.list_salvage(project):
        # a branch put aside has its last commit's date; when it was put aside stands in the reflog
        moments = [_time(moment.seconds) for moment in git.reflog(project.git_common, one.ref)]
        yield Old("salvage", one.task, one.name, max([one.at, *moments]), one.ref, oid=one.oid)


def _time(seconds: float) -> str:
    return times.rfc3339(datetime.fromtimestamp(seconds, UTC))


def _logs(project: Project) -> Iterator[Old]:
    """Log folders of runs without a live record: a run that waits or can go on keeps its logs."""
    for task, run, path in _runs_in(project, "logs"):
        if os.path.isdir(path) and not os.path.exists(records.live_path(project, task, run)):
            yield Old("log", task, f"{task}/{run}", _newest(path), path, size_of(path))


def _runs_in(project: Project, folder: str) -> Iterator[tuple[str, str, str]]:
    """Task, run and path of all that is called `<task>/<run>` below one of kin's own folders; nothing else is looked at."""
    top = os.path.join(project.common, folder)
    for task in filter(TASK_ID.fullmatch, sorted(files.names_in(top))):
        for name in sorted(files.names_in(os.path.join(top, task))):
            if RUN_ID.fullmatch(run := name.removesuffix(".yaml")):
                yield task, run, os.path.join(top, task, name)


def _newest(path: str) -> str:
    stamps = [os.lstat(path).st_mtime]
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                stamps.append(os.lstat(os.path.join(folder, name)).st_mtime)
    return _time(max(stamps))


def _records(project: Project) -> Iterator[Old]:
    """Live records that no command will take up again: a newer run came after, or the task is done, cancelled or gone."""
    found = list(_runs_in(project, "run"))
    newest = {task: name for task, name, _ in found}
    for task, name, path in found:
        run = _read(path)
        if run and (name != newest[task] or _is_over(project, task)) and _holds_nothing(project, run):
            yield Old("record", task, f"{task}/{name}", run.ended or run.started, path, os.path.getsize(path))


def _read(path: str) -> Run | None:
    try:
        return records.parse(files.read_stamped(path)[0].decode(), path)
    except (KinError, OSError, ValueError):  # not ours to delete: `kin doctor` names it
        return None


def _is_over(project: Project, task: str) -> bool:
    try:
        return tasks.load(project, task)[0].status in (TaskStatus.done, TaskStatus.cancelled)
    except NotFound:
        return not git.names_on_branches(project.root, ".kin/tasks") & {f"{task}.yaml"}
    except KinError:
        return False


def _holds_nothing(project: Project, run: Run) -> bool:
    """Whether no work hangs on the record: it does not run, and neither its worktree nor its branch is there."""
    path = run.live.worktree
    branch = git.tip(project.git_common, f"refs/heads/kin/{run.task}")
    return run.status != RunStatus.running and branch is None and not (path and os.path.lexists(path))


def _temporaries(project: Project, environ: Mapping[str, str]) -> Iterator[Old]:
    """Temporary folders of this clone's runs that were killed; the person's state folder holds those of all clones."""
    top = os.path.join(state_folder(environ), "tmp")
    ours = {run: task for folder in ("logs", "run") for task, run, _ in _runs_in(project, folder)}
    for run in sorted(ours.keys() & files.names_in(top)):
        path = os.path.join(top, run)
        yield Old("temporary", ours[run], run, _newest(path), path, size_of(path))


def size_of(path: str) -> int:
    """Bytes on disk below a folder; what vanishes while it is looked at counts as nothing."""
    total, folders = 0, [path]
    while folders:
        with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def in_words(size: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def delete(project: Project, chosen: Sequence[Old]) -> tuple[list[Old], list[str]]:
    """Delete what was chosen, as far as it is still as it was found; what was deleted, and why the rest was not."""
    gone: list[Old] = []
    left: list[str] = []
    for old in chosen:
        try:
            reason = _delete(project, old)
        except (KinError, OSError) as error:
            reason = str(error)
        if reason:
            left.append(f"{old.name} is left: {reason}")
        else:
            gone.append(old)
    return gone, left


def _delete(project: Project, old: Old) -> str:
    with claim_task(project, old.task):
        if old.kind == "salvage":
            return "" if git.delete_ref(project.git_common, old.where, old.oid) else "it changed, or a hook forbids it"
        if not _is_as_found(project, old):
            return "it is needed again"
        if old.kind == "record":
            files.remove_own(old.where)
        else:
            removal.remove_folder(old.where)
        if old.kind != "temporary":
            with suppress(OSError):  # not empty: the task has others
                os.rmdir(os.path.dirname(old.where))
    return ""


def _is_as_found(project: Project, old: Old) -> bool:
    """Whether what was found is still as it was; a run may have gone on since, and ended again."""
    if old.kind == "record":
        run = _read(old.where)
        return run is not None and (run.ended or run.started) == old.at and _holds_nothing(project, run)
    run_id = os.path.basename(old.where)
    taken_up = old.kind == "log" and os.path.exists(records.live_path(project, old.task, run_id))
    return os.path.isdir(old.where) and not taken_up and _newest(old.where) == old.at
