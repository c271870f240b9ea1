"""Removing a worktree, with nothing lost: what is not merged or saved stays, and a removal cut short is finished later.

Never `--force`, never `git worktree prune`: a worktree that is only unmounted would lose what it holds (rule 28).
"""

import os
import shutil
import subprocess
from collections.abc import Collection
from contextlib import suppress

from kin import git
from kin.errors import Conflict, Invalid
from kin.faults import point
from kin.model.ids import TASK_ID
from kin.runner.tree import registry
from kin.runner.tree.salvage import open_folders, save_stray
from kin.store.project import Project


def clear(project: Project, path: str, gitdir: str, fds: Collection[int]) -> None:
    """Remove a worktree's files, then its registration: killed in between, it is still known as kin's and cleared again.

    Not `git worktree remove` on the files: it refuses submodules, and killed half-way it cannot be called again.
    """
    if not registry.is_anothers(path, gitdir):
        if os.path.isfile(path) or os.path.islink(path):  # a step put it there: its work, which no repository can save
            os.replace(path, f"{path}.found")
        elif os.path.lexists(path):
            remove_folder(path)
        point("worktree.folder_removed")
        with suppress(OSError):  # what stays is told of below
            os.unlink(os.path.join(gitdir, "locked"))  # all that `git worktree unlock` does
        git.git(project.git_common, "worktree", "remove", path, ok=range(256), fds=fds)
    if os.path.isdir(gitdir):
        remove_folder(gitdir)  # half made: git does not list it
    point("worktree.removed")


def remove_folder(path: str) -> None:
    """Delete a folder and all below it, or what stands in its place. Raises Invalid if the system does not let us."""
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            return os.unlink(path)
        try:
            shutil.rmtree(path)
        except PermissionError:
            open_folders(path)
            shutil.rmtree(path)
        except RecursionError:  # a thousand folders, each within the one before
            subprocess.run(["rm", "-rf", "--", path], check=False, capture_output=True)
            if os.path.lexists(path):
                os.rmdir(path)  # which says why not
    except OSError as error:
        what = f"{error.filename or path} cannot be deleted: {error.strerror}"
        raise Invalid(what, "is a program still using it?") from error


def clear_if_known(project: Project, path: str, fds: Collection[int]) -> None:
    """Clear the worktree at `path` if git knows it, half-made or not; whatever is in it is not missed."""
    if gitdir := registry.admin_of(project, path):
        clear(project, path, gitdir, fds)


def _discard_throwaways(project: Project, path: str, fds: Collection[int]) -> None:
    """Remove what a killed kin left of the task's throw-away worktrees; their names begin with the task's."""
    root, task = os.path.split(path)
    for name in os.listdir(root) if os.path.isdir(root) else ():
        if name.startswith(f"{task}-") and not TASK_ID.fullmatch(name):
            clear_if_known(project, os.path.join(root, name), fds)


def discard(project: Project, path: str) -> None:
    """Remove a task's worktree whose work the caller has saved. Raises Conflict for work in submodules: no salvage holds it.

    A folder whose `.git` is gone or is another's could not be saved in the ordinary way; it is saved here.
    """
    task = os.path.basename(path)
    with registry.git_lock(project, task) as fds:
        _discard_throwaways(project, path, fds)
        gitdir = registry.admin_of(project, path)
        if gitdir is None:
            return
        if not registry.is_anothers(path, gitdir):
            if reason := _unsaved_submodule(path, gitdir):
                raise Conflict(f"the worktree of {task} stays: {reason}", "push it from there first")
            if registry.is_lived_in(path, gitdir) and not registry.is_registered(project, path):
                save_stray(project.git_common, path, task, "discarded")
        clear(project, path, gitdir, fds)


def remove(project: Project, path: str | None, ref: str, target: str) -> str | None:
    """Remove the worktree, if there is one, and delete its branch if everything in both is in commit `target`; else why they
    were kept."""
    tip = git.tip(project.git_common, ref)
    name = ref.removeprefix("refs/heads/")
    if tip and not git.is_ancestor(project.git_common, tip, target):
        return f"{name} has commits that are not merged"
    if path is not None:
        with registry.git_lock(project, name) as fds:
            _discard_throwaways(project, path, fds)
            if gitdir := registry.admin_of(project, path):
                if reason := _not_merged(path, gitdir, target, tip):
                    return reason
                clear(project, path, gitdir, fds)
    if tip and (elsewhere := git.checkouts_of(project.git_common, ref)):
        return f"{name} is checked out in {elsewhere[0]}, so the branch stays"
    if tip and not git.delete_ref(project.git_common, ref, tip):
        return f"{name} could not be deleted: it moved, or a hook forbids it"
    point("worktree.branch_deleted")
    return None


def _not_merged(path: str, gitdir: str, target: str, tip: str | None) -> str | None:
    """What the worktree holds beside commit `tip`, which is in `target`; None once its removal is begun."""
    begun = os.path.join(gitdir, registry.REMOVING)
    if not os.path.isdir(path) or os.path.exists(begun) or registry.is_anothers(path, gitdir):
        return None
    registry.lead_back(path, gitdir)
    if git.linked_gitdir(path) != os.path.realpath(gitdir):
        return "the worktree's `.git` is gone, or leads elsewhere"
    registry.clear_locks(path)
    found = git.status(path)
    if found.entries:
        return f"the worktree has uncommitted files: {found.entries[0].path}"
    if found.head and found.head != tip and not git.is_ancestor(path, found.head, target):
        return "the worktree's HEAD has commits that are not merged"
    if reason := _unsaved_submodule(path, gitdir):
        return reason
    with open(begun, "w", encoding="ascii"):
        pass
    point("worktree.removing")
    return None


def _unsaved_submodule(path: str, gitdir: str) -> str | None:
    """Which submodule has work that its remotes lack, or may have: its repository goes with the worktree (rule 25)."""
    modules = os.path.join(gitdir, "modules")
    for folder, names, files in os.walk(modules):
        if "HEAD" not in files or "objects" not in names:
            continue
        names[:] = [name for name in names if name == "modules"]
        out = git.git(folder, "rev-list", "--max-count=1", "--branches", "HEAD", "--not", "--remotes", ok=(0, 128))
        if out.code or out.out:
            return f"the submodule {os.path.relpath(folder, modules)} has commits that were not pushed"
    if os.path.isdir(path):
        for name, changed in git.uncommitted_submodules(path, gitdir, {"GIT_DIR": gitdir, "GIT_WORK_TREE": path}):
            return f"the submodule {name} {'has changed files' if changed else 'is another repository than git made'}"
    return None
