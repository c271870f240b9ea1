"""The watchdog: what died is put right. It touches only the dead, after reading them again under their lock.

Liveness is the lock, not a heartbeat: a busy machine never makes a live run look dead. One broken record never stops the sweep.
"""

import os
import time
from contextlib import suppress
from datetime import timedelta

from kin import git
from kin.errors import Invalid, KinError, NotFound
from kin.faults import point
from kin.model import times
from kin.model.ready import is_closed
from kin.model.record import Run
from kin.model.status import BLOCKED_EXIT, BlockedKind, RunStatus, TaskStatus
from kin.runner.merge.landed import landed_run
from kin.runner.merge.recover import recover_moves
from kin.runner.merge.refs import drop_stale, lock_of
from kin.runner.runs import claim
from kin.runner.runs.ending import may_edit, outcome, pay_owed_edit, put_status, retire
from kin.runner.runs.notify import notify
from kin.store import bulk, config, files, locks, records, tasks, trust
from kin.store.project import Project

STALE_AFTER = timedelta(hours=2)
"""A record that says `running` and names no process is given up after this."""
LEFT = 60.0
"""Seconds after which the lock of a table of refs is one that a killed git left."""


def recover(project: Project) -> list[str]:
    """Bring the project to a state in which each task is where it was, or further; a line for each thing that was done.

    Idempotent, and may itself be killed. What cannot be recovered now is said and left for the next time.
    """
    _drop_ref_locks(project)
    return recover_moves(project) + sweep(project)


def _drop_ref_locks(project: Project) -> None:
    """Locks on merge refs that a killed git left; only the holder of a task's lock writes its ref.

    Where git keeps refs in tables there is one lock for all, which each git holds for milliseconds.
    """
    if git.has_reftable(project.git_common):
        table = lock_of(project.git_common, "refs/kin/merge")
        with suppress(OSError):
            if time.time() - os.lstat(table).st_mtime > LEFT:
                os.unlink(table)
        return
    folder = os.path.join(project.git_common, "refs", "kin", "merge")
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        task_id = name.removesuffix(".lock")
        if task_id != name and (held := locks.try_lock(locks.lock_path(project.common, task_id))) is not None:
            with held:
                drop_stale(os.path.join(folder, name))


def sweep(project: Project) -> list[str]:
    """Put right every run whose process is gone, and pay what git's state put off."""
    files.clear_temporaries(project)
    runs, said = records.all_live(project)
    said += bulk.finish(project)
    for run in runs:
        owed = bool(run.live.pending_edit)
        if run.status not in (RunStatus.running, RunStatus.completed) and not owed and not _closed(project, run):
            continue
        try:
            words = _look_at(project, run)
        except (KinError, OSError, ValueError) as error:
            # A broad catch on purpose: one pipeline's trouble never touches another (idea 7).
            words = f"{run.task}: could not be recovered: {error}"
        if words:
            said.append(words)
    return said


def _look_at(project: Project, run: Run) -> str | None:
    held = locks.try_lock(locks.lock_path(project.common, run.task))
    if held is None:
        return None
    with held:
        again = records.live(project, run.task)
        if again is None or again.run != run.run:
            return None
        dead, closed = again.status == RunStatus.running, _closed(project, again)
        tip = git.tip(project.root, f"refs/heads/{again.base}") if dead or closed else None
        landed = tip is not None and landed_run(project.root, tip, again.run, again.live.start) is not None
        if again.status == RunStatus.completed or landed:
            retire(project, again)
            return f"{run.task}: was merged; cleaned up after it"
        if dead:
            return _bury(project, again)
        if closed:
            return _let_go(project, again)
        pay_owed_edit(project, again)
        return None


def _closed(project: Project, run: Run) -> bool:
    if run.status != RunStatus.waiting:
        return False
    try:
        return is_closed(tasks.load(project, run.task)[0], run)
    except (NotFound, Invalid):  # on another branch, or a person is at it
        return False


def _let_go(project: Project, run: Run) -> str:
    """End a run that waited for a person who closed its task instead."""
    words = f"the task was closed by hand; its branch {run.branch} is kept"
    run = run._replace(status=RunStatus.cancelled, reason=words, ended=times.written(), waiting=None)
    records.save_live(project, run)
    if may_edit(project, run.task):
        records.save_record(project, run)
    return f"{run.task}: {words}"


def _bury(project: Project, run: Run) -> str | None:
    """Put a dead run right; the caller holds its task's lock. Words for what was done."""
    if run.live.pid is None:
        if times.parse(run.started) + STALE_AFTER > times.now():
            return None
        kind, reason = BlockedKind.stale, "Stale pipeline (no PID recorded)"
    else:
        during = next((f" during step {s.id}" for s in run.steps if s.status == "running"), "")
        kind, reason = BlockedKind.crash, f"its process (pid {run.live.pid}) ended without a word{during}"
    claim.claim_kids(project, run.task, run.run, run.run).close()
    reason += f"; `kin run {run.task}` goes on from the last finished step"
    from kin.runner.steps.player import with_spent

    dead = with_spent(project, run).holding(crashes=run.live.crashes + (kind == BlockedKind.crash))
    dead = dead._replace(status=RunStatus.failed, reason=reason, ended=times.written(), waiting=None)
    records.save_live(project, dead)
    point("buried.saved")
    if may_edit(project, run.task):
        records.save_record(project, dead)
    put_status(project, dead, TaskStatus.blocked, {"kind": kind.value, "reason": reason})
    _tell(project, dead, kind)
    return f"{run.task}: {reason}"


def _tell(project: Project, dead: Run, kind: BlockedKind) -> None:
    """Tell those who want to know, if the texts that name them were agreed to: recovery comes before anybody is asked."""
    with suppress(KinError):  # settings that are broken name nobody
        if not trust.not_agreed(project, trust.texts_here(project)) or os.environ.get("KIN_TRUST") == "1":
            end = outcome(dead, TaskStatus.blocked, BLOCKED_EXIT[kind], blocked=kind.value)
            notify(project, config.load_settings(project).notify, end, tasks.load(project, dead.task)[0].title, os.environ)
