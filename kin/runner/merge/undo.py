"""Takes back what a task brought to its target, and brings it again: code as git would, `.kin/` by construction.

`git revert` is a three-way merge whose base is the reverted commit and whose other side is its parent. `git merge-tree` makes
the same merge of two throw-away commits that share that base, so no worktree is needed and no conflict under `.kin/` counts.
"""

from collections.abc import Iterable
from typing import NamedTuple

from kin import git
from kin.errors import NotFound, Usage
from kin.model.status import TaskStatus
from kin.runner.merge.build import Built, Clash, code_key, home, merge_ref, merged_tree, target_tip
from kin.runner.merge.checkout import Pending
from kin.runner.merge.compose import CannotSign, NewCommit, sign_again, write_commits
from kin.runner.merge.diffs import is_kin, object_at
from kin.runner.merge.move import Moved, move
from kin.runner.merge.taskfile import Standing, standing, task_path, with_standing
from kin.store.project import Project


class _Landing(NamedTuple):
    """What brought a task to its target: `oid` is named to people, `commits` are all of it on the first-parent line, newest
    first: one merge or state commit, or, where a rebase has flattened the merge, every commit of the run."""

    oid: str
    run: str
    commits: tuple[str, ...]


def landed(cwd: str, target: str, task_id: str) -> str | None:
    """The newest commit on the first-parent line of `target` (any revision) that made the task `done`, or None."""
    found = _landing(cwd, target, task_id)
    return found.oid if found else None


def undo(project: Project, task_id: str, target: str, started: str | None = None) -> Moved | Pending | Clash:
    """Revert on the full ref `target` what the task brought, and make it `todo` there. Nothing is gated.

    The run's record and decisions go, everything else under `.kin/` stays. A Clash or Pending leaves nothing behind. Raises
    NotFound if the task never came to the target, Usage if it was taken back already, or if a run of it that is not over
    `started` on top of it: git would merge that run without what was reverted below it. Raises CannotSign.
    """
    cwd, short = home(project), target.removeprefix("refs/heads/")
    old = target_tip(cwd, target)
    landing = _landing(cwd, old, task_id)
    if landing is None:
        raise NotFound(f"{task_id} was never merged into {short}", f"`kin show {task_id}` tells where it stands")
    if _is_taken_back(cwd, old, task_id, landing):
        raise Usage(f"{task_id} was taken back on {short} already", f"`kin run {task_id}` runs it again")
    if started and git.is_ancestor(cwd, landing.oid, started):
        way = "finish it, or give it up with `kin reject`, or `kin reopen` if it is blocked"
        raise Usage(f"a run of {task_id} that is not over builds on what this would take back", way)
    built = _build_undo(project, target, old, task_id, landing)
    if isinstance(built, Clash):
        return built
    done = move(project, built, message=f"kin: undo {task_id}")
    if isinstance(done, Pending):
        git.delete_ref(cwd, merge_ref(task_id), built.new)
    return done


def restored(project: Project, *, target: str, task_id: str, run_id: str) -> str | Clash | None:
    """A commit on the target's tip that brings back the code which a revert took away; None if there is nothing to bring.

    It is where a new run's branch starts; until that points at it, `refs/kin/merge/<ID>` does.
    """
    cwd = home(project)
    old = target_tip(cwd, target)
    landing = _landing(cwd, old, task_id)
    if landing is None or _is_done(cwd, old, task_id):
        return None
    pairs = [(f"{commit}^1", commit) for commit in reversed(landing.commits)]
    tree = _carry(project, target, old, pairs)
    if isinstance(tree, Clash) or code_key(cwd, tree) == code_key(cwd, old):
        return tree if isinstance(tree, Clash) else None
    message = f"kin: {task_id} is restored\n\nThis brings back commit {landing.oid}.\n\nKin-Run: {run_id}\n"
    kin = object_at(cwd, old, ".kin")
    return write_commits(cwd, merge_ref(task_id), [NewCommit((old,), message, {}, tree, kin)])[0].oid


def _landing(cwd: str, revision: str, task_id: str) -> _Landing | None:
    words = ("log", "--first-parent", "-1", "-E", f"--grep=^(Kin-Task: {task_id}|Kin-State: {task_id} done)$", "--format=%H %P")
    found = git.git(cwd, *words, "--end-of-options", revision, "--").text.split()
    if not found:
        return None
    oid, *parents = found
    [(_, trailers)] = git.log_trailers(cwd, ("Kin-Run", "Kin-State"), oid, limit=1)
    run = trailers.get("Kin-Run", "")
    if len(parents) > 1 or "Kin-State" in trailers:
        return _Landing(oid, run, (oid,))
    line = git.log_trailers(cwd, ("Kin-Run", "Kin-Task", "Kin-Step"), revision, first_parent=True)
    work = [commit for commit, t in line if t.get("Kin-Run") == run and ("Kin-Task" in t or "Kin-Step" in t)]
    return _Landing(oid, run, tuple(work))


def _is_done(cwd: str, revision: str, task_id: str) -> bool:
    path = task_path(task_id)
    text = git.blob(cwd, revision, path)
    return text is not None and standing(text, path).status is TaskStatus.done


def _is_taken_back(cwd: str, tip: str, task_id: str, landing: _Landing) -> bool:
    """A revert of it is there and the task is open. One that was reopened only still has its code to be taken back."""
    words = ("log", "-1", "--format=%H", "-F", f"--grep=This reverts commit {landing.oid}", f"{landing.oid}..{tip}", "--")
    return not _is_done(cwd, tip, task_id) and bool(git.git(cwd, *words).text)


def _build_undo(project: Project, target: str, old: str, task_id: str, landing: _Landing) -> Built | Clash:
    cwd = home(project)
    tree = _carry(project, target, old, [(commit, f"{commit}^1") for commit in landing.commits])
    if isinstance(tree, Clash):
        return tree
    title = git.git(cwd, "log", "-1", "--format=%s", landing.oid).text
    message = f'Revert "{title}"\n\nThis reverts commit {landing.oid}.\n\nKin-Undo: {task_id}\n'
    files = _store_without(cwd, old, task_id, landing)
    [commit] = write_commits(cwd, merge_ref(task_id), [NewCommit((old,), message, files, tree, object_at(cwd, old, ".kin"))])
    new = commit.oid
    if git.is_on(cwd, "commit.gpgsign"):
        try:
            new = sign_again(cwd, merge_ref(task_id), commit.oid, (old,), message)
        except CannotSign:
            git.delete_ref(cwd, merge_ref(task_id), commit.oid)
            raise
    return Built(target, old, new, code_key(cwd, new), task_id, landing.run, None)


def _store_without(cwd: str, old: str, task_id: str, landing: _Landing) -> dict[str, bytes | None]:
    """The changes under `.kin/`: the task is `todo`, the record and decisions that came with it go if they are as they came."""
    path = task_path(task_id)
    text = git.blob(cwd, old, path)
    files: dict[str, bytes | None] = {} if text is None else {path: with_standing(text, Standing(TaskStatus.todo), path)}
    record = f".kin/pipelines/{task_id}/{landing.run}.yaml"
    for commit in landing.commits:
        for change in git.changes(cwd, f"{commit}^1", commit):
            came = is_kin(change.path) and not change.old.there
            if came and (change.path == record or change.path.startswith(".kin/decisions/")):
                files |= {change.path: None} if object_at(cwd, old, change.path) == change.new.oid else {}
    return files


def _carry(project: Project, target: str, onto: str, pairs: Iterable[tuple[str, str]]) -> str | Clash:
    """The tree of `onto` with the change from the first to the second commit of each pair made to it, one after the other."""
    cwd = home(project)
    tree = git.tree_of(cwd, onto)
    for before, after in pairs:
        sides = (tree, f"{after}^{{tree}}")
        ours, theirs = (git.commit_tree(cwd, side, [before], "kin: a side of a three-way merge\n") for side in sides)
        merged = merged_tree(project, target, ours, theirs, "")
        if isinstance(merged, Clash):
            return merged
        tree = merged
    return tree
