"""Setting a task's branch and worktree aside, with nothing lost: for a fresh start, a rejection, a reopened task.

The branch becomes a ref below `refs/kin/salvage/`, uncommitted work too; only then do worktree and branch go.
"""

import os

from kin import git
from kin.errors import Busy, Conflict
from kin.faults import point
from kin.model.record import Run
from kin.model.status import RunStatus
from kin.runner.tree import salvage, worktree
from kin.runner.tree.registry import is_registered
from kin.store import records
from kin.store.project import Project


def set_aside(
    project: Project, task_id: str, run_id: str, why: str, *, path: str | None, target: str, live: Run | None = None
) -> str | None:
    """Keep what `kin/<ID>` and its worktree hold as `refs/kin/salvage/<ID>/<run>-<why>`, then remove both.

    `target` is the target's tip: a branch that it contains needs no keeping. `live` is the run's record, if it has one: before
    the branch goes, it ceases to wait, or an approval would find a run without code and call it done. Returns the ref, or None
    if nothing was kept. Raises Conflict if something could not be saved, Busy if the branch is checked out elsewhere; then
    nothing is removed.
    Called again after a kill, it goes on.
    """
    branch = salvage.branch_ref(task_id)
    tip = git.tip(project.root, branch)
    elsewhere = [c for c in git.checkouts_of(project.root, branch) if path is None or c != os.path.realpath(path)]
    if elsewhere:
        raise Busy(f"kin/{task_id} is checked out in {elsewhere[0]}", "switch that checkout to another branch first")
    kept = None
    if path is not None and is_registered(project, path):
        start = git.merge_base(project.root, tip, target) if tip else None
        saved = salvage.salvage(path, task_id, run_id, why, head=tip or target, start=start or "")
        if not saved.complete:
            raise Conflict(*saved.left(task_id))
        kept = saved.ref
    point("aside.saved")
    if kept is None and tip is not None and not git.is_ancestor(project.root, tip, target):
        kept = f"refs/kin/salvage/{task_id}/{run_id}-{why}"
        if git.tip(project.root, kept) != tip and not git.update_ref(project.root, kept, tip, None, f"kin: {why}"):
            raise Conflict(f"{kept} is in the way", f"`kin salvage list {task_id}` shows it")
    point("aside.kept")
    if live is not None:
        records.save_live(project, live.holding(approved=None)._replace(status=RunStatus.cancelled, waiting=None))
    if path is not None:
        worktree.discard(project, path)
    point("aside.removed")
    if tip is not None:
        git.delete_ref(project.root, branch, tip)
    point("aside.branch_deleted")
    return kept


def how_to_see(ref: str) -> str:
    """What to type to see what is kept under a salvage ref."""
    return f"`kin salvage show {ref.removeprefix('refs/kin/salvage/')}`"
