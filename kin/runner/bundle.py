"""A run in one file: its branch and record as a git bundle, from a job that may not push to one that may.

What comes out of a bundle is a stranger's word: it is checked like any other file, and no verdict or approval in it counts.
"""

import os

from kin import git
from kin.errors import Invalid
from kin.model.ids import TASK_ID
from kin.model.record import Run
from kin.model.status import TaskStatus
from kin.runner.origin import REMOTE
from kin.runner.passage import Passage
from kin.runner.share import run_commit, run_ref
from kin.store import tasks

MOST = 1 << 30
"""Bytes of a bundle that is read."""


def write_bundle(p: Passage, path: str) -> str:
    """Write what the run has finished to `path`; the path. Raises Invalid if it cannot be written."""
    cwd, ref, start = p.project.root, run_ref(p.task.id), p.live.start
    if start is None:
        raise Invalid("nothing was begun that a bundle could hold", "")
    git.git(cwd, "update-ref", ref, run_commit(p.project, _with_status(p), None))
    full = os.path.abspath(path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    git.git(cwd, "bundle", "create", "-q", f"{full}.tmp", ref, f"^{start}")
    os.replace(f"{full}.tmp", full)  # whoever uploads it never sees half of one
    return path


def _with_status(p: Passage) -> Run:
    """The run, and with it what the task's file says here of why it is blocked: the file itself does not travel."""
    task, _ = tasks.load(p.project, p.task.id)
    why = task.blocked if task.status == TaskStatus.blocked else None
    edit = {"status": task.status.value, "blocked": {"kind": why.kind, "reason": why.reason}} if why else None
    return p.run._replace(live=p.live._replace(pending_edit=edit))


def open_bundle(cwd: str, path: str) -> tuple[str, str]:
    """Bring a bundle's one run into this clone; the task's id and the run's commit.

    Raises Invalid if it is no bundle of one run, is damaged, or goes on from commits that are not here.
    """
    full = os.path.abspath(path)
    if not os.path.isfile(full) or os.path.getsize(full) > MOST:
        raise Invalid(f"{path} is no bundle", "`kin run KIN-1 --bundle FILE` writes one")
    try:
        refs = git.git(cwd, "bundle", "list-heads", full).text.splitlines()
        oid, _, ref = refs[0].partition(" ") if len(refs) == 1 else ("", "", "")
        task_id = ref.removeprefix("refs/kin/runs/")
        if ref != run_ref(task_id) or not TASK_ID.fullmatch(task_id):
            raise Invalid(f"{path} does not hold just one run", "`kin run KIN-1 --bundle FILE` writes such a bundle")
        if git.git(cwd, "bundle", "verify", "-q", full, ok=(0, 1)).code and git.is_shallow(cwd):
            git.fetch(cwd, REMOTE, flags=("--unshallow",))  # the branch that it goes on from has moved on since
        git.git(cwd, "-c", "fetch.fsckObjects=true", "fetch", "-q", "--no-tags", "--no-write-fetch-head", full, f"+{ref}:{ref}")
    except git.GitError as error:
        raise Invalid(
            f"{path} cannot be read: {error.message}", "fetch the branch that it was made from, or make it again"
        ) from error
    return task_id, oid
