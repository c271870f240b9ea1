"""Worktrees, branches and merges that no run owns: found, told apart by whether they hold work, and removed if they do not.

What only a leftover holds is never removed: it is named, with the command that keeps it aside.
"""

import os
from collections.abc import Iterator
from functools import partial

from kin import git
from kin.model.ids import TASK_ID
from kin.runner.runs import claim
from kin.runner.tree import removal, worktree
from kin.runner.tree.registry import admin_of, is_anothers
from kin.runner.upkeep.case import Case, Row
from kin.store import journal, records


def check_worktrees(case: Case) -> Iterator[Row]:
    """Worktrees without a run or a folder, what a killed run left of throw-away ones, and folders that git forgot."""
    for found in case.worktrees:
        path, name = os.path.realpath(found.path), found.reason.split(" ")[1]  # a person may have moved the folder
        task = name if TASK_ID.fullmatch(name) else name.rpartition("-")[0]
        if task in case.held or not TASK_ID.fullmatch(task):
            continue
        if task != name:
            words = f"{name} is a throw-away worktree that a killed run left"
            yield Row("warn", words, "`kin doctor --fix` removes it", partial(_discard, case, task, path))
        elif (gitdir := admin_of(case.project, path)) is None or is_anothers(path, gitdir):
            yield Row("warn", f"{path} belongs to another clone, of which this one is a copy")
        elif not os.path.isdir(path):
            yield _gone(case, task, path, gitdir, found)
        elif task not in case.live[0]:
            yield _left(case, task, path, "its worktree is left", found.head)
    known = {os.path.realpath(w.path) for w in git.worktrees(case.project.git_common)}
    for name in sorted(os.listdir(case.root)) if os.path.isdir(case.root) else ():
        path = os.path.join(case.root, name)
        if os.path.isdir(path) and path not in known and TASK_ID.fullmatch(name) and name not in case.held:
            words = f"{path} is no worktree of this clone any more"
            yield Row("warn", words, f"`kin run {name}` saves what is in it before it makes a new one")


def _gone(case: Case, task: str, path: str, gitdir: str, found: git.Worktree) -> Row:
    """A worktree whose folder is gone. One that may only be unmounted, or whose staged files nothing else holds, is left."""
    words = f"the folder of {task}'s worktree, {path}, is gone"
    if task in case.live[0]:
        return Row("warn", words, f"`kin run {task}` makes it again from its branch")
    if not os.path.isdir(os.path.dirname(path)):
        return Row("warn", words, "is a disk not mounted?")
    env = {"GIT_DIR": gitdir}
    staged = git.git(case.project.git_common, "diff-index", "--cached", "--quiet", "HEAD", "--", env=env, ok=range(256)).code
    if staged:
        return Row("warn", f"{words}, and it had staged files", f"`kin run {task}` keeps what can be kept")
    return _left(case, task, path, words, found.head)


def _left(case: Case, task: str, path: str | None, words: str, head: str | None) -> Row:
    """A worktree or a branch that no run owns: removed only if the target contains it."""
    tips = [oid for oid in (head, case.branches.get(task)) if oid and oid.strip("0")]
    if case.target is None or not all(map(case.is_merged, tips)):
        text = f"{task}: {words}, with commits that no run owns"
        return Row("warn", text, f"`kin run {task}` keeps them aside first")
    text = f"{task}: {words}; {case.target[0]} holds all its commits"
    where = path or worktree.folder(case.project, case.settings, task, case.environ)
    return Row("warn", text, "`kin doctor --fix` removes it if it is clean", partial(_remove, case, task, where))


def _discard(case: Case, task: str, path: str) -> str:
    with claim.claim_task(case.project, task):
        removal.discard(case.project, path)
    return f"worktrees: {os.path.basename(path)} removed"


def _remove(case: Case, task: str, path: str) -> str:
    """Remove what the target holds; everything is looked at again under the task's lock."""
    assert case.target
    ref = f"refs/heads/kin/{task}"
    with claim.claim_task(case.project, task):
        if records.live(case.project, task):
            return f"{task}: left to the run that it has by now"
        for other in git.worktrees(case.project.git_common):
            if other.branch == ref and os.path.realpath(other.path) != path:
                return f"{task}: left, its branch is checked out in {other.path}"
        kept = removal.remove(case.project, path, ref, case.target[1])
    return f"{task}: left, {kept}" if kept else f"{task}: worktree and branch removed; {case.target[0]} holds their commits"


def check_branches(case: Case) -> Iterator[Row]:
    """Tasks' branches that neither a run nor a worktree holds, and merges that nobody is about to make."""
    owned = {w.reason.split(" ")[1] for w in case.worktrees} | set(case.live[0]) | case.held
    for task, oid in case.branches.items():
        if task not in owned:
            yield _left(case, task, None, f"the branch kin/{task} is left", oid)
    entries, faults = journal.look(case.project)
    pending = {entry.get("task") for entry in entries.values()}
    for ref, made in git.refs(case.project.git_common, "refs/kin/merge/").items() if not faults else ():
        task = ref.removeprefix("refs/kin/merge/")
        if task not in pending and task not in case.live[0] and task not in case.held:
            act = partial(_delete_merge, case, task, ref, made) if case.is_merged(made) else None
            fix = "`kin doctor --fix` removes it" if act else ""
            yield Row("warn", f"{ref} holds a merge that no run is about to make", fix, act)


def _delete_merge(case: Case, task: str, ref: str, oid: str) -> str:
    with claim.claim_task(case.project, task):
        done = not records.live(case.project, task) and git.delete_ref(case.project.git_common, ref, oid)
    return f"branches: {ref} {'removed' if done else 'left'}"
