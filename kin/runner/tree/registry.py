"""What git keeps about linked worktrees, and what kin marks there: found without a process, changed under one lock.

Lower than worktree.py and removal.py, which make and remove them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kin import git
from kin.runner.tree.salvage import branch_ref
from kin.store import locks
from kin.store.project import Project

LOCK_SECONDS = 300.0
"""How long to wait for the lock `git`: a checkout or a removal of a very large worktree is under way elsewhere."""

READY, REMOVING = "kin-ready", "kin-removing"
"""Marks in a worktree's git folder: setup is done; removal has begun, so what is left of its files is worth nothing."""


@contextmanager
def git_lock(project: Project, run: str) -> Iterator[tuple[int]]:
    """Hold the lock under which worktrees are made and removed; its descriptor, for the git children that must be waited for.

    git itself trips over a worktree that is being made beside it; and a killed kin leaves its git running (rules 15, 29).
    """
    path = locks.lock_path(project.common, "git")
    with locks.wait_lock(path, LOCK_SECONDS, run=run, what="the lock for worktrees") as held:
        yield (held.fd,)


def admin_of(project: Project, path: str) -> str | None:
    """The folder under `worktrees/` in the common dir that belongs to `path`, also if half of it is missing."""
    path, folder_of_all = os.path.realpath(path), os.path.join(project.git_common, "worktrees")
    with suppress(FileNotFoundError), os.scandir(folder_of_all) as entries:
        for entry in entries:
            if _place_of(entry.path) == path:
                return entry.path
    # A `git worktree add` that was killed before it wrote `gitdir`: nobody else makes worktrees named like a task.
    unnamed = os.path.join(folder_of_all, os.path.basename(path))
    return unnamed if os.path.isdir(unnamed) and not os.path.exists(os.path.join(unnamed, "gitdir")) else None


def _place_of(gitdir: str) -> str | None:
    """Where the worktree of a git folder lies, as that says; None if it is no worktree's."""
    with suppress(OSError), open(os.path.join(gitdir, "gitdir"), encoding="utf-8", errors="surrogateescape") as file:
        return os.path.realpath(os.path.dirname(os.path.join(gitdir, file.read(8192).rstrip("\r\n"))))
    return None


def has_index(gitdir: str) -> bool:
    """Whether the worktree has an index; its checkout writes that last, so a half-made one has none."""
    try:
        with open(os.path.join(gitdir, "index"), "rb") as file:
            return file.read(4) == b"DIRC"
    except FileNotFoundError:
        return False


def is_lived_in(path: str, gitdir: str) -> bool:
    """Whether the folder may hold work: its checkout was finished and its removal has not begun."""
    return os.path.isdir(path) and has_index(gitdir) and not os.path.exists(os.path.join(gitdir, REMOVING))


def is_anothers(path: str, gitdir: str) -> bool:
    """Whether the folder belongs to another clone, of which this one is a copy: registrations were copied, worktrees not.

    If that clone does not know of it, a step made its `.git` lead there.
    """
    linked = git.linked_gitdir(path)
    return linked is not None and linked != os.path.realpath(gitdir) and _place_of(linked) == os.path.realpath(path)


def is_registered(project: Project, path: str) -> bool:
    """Whether the `.git` of the folder leads to what this clone knows of it. A step may have put another in its place, whose
    settings name programs: git is not asked there.
    """
    gitdir = admin_of(project, path)
    return gitdir is not None and git.linked_gitdir(path) == os.path.realpath(gitdir)


def lead_back(path: str, gitdir: str) -> None:
    """Let a worktree's `.git` lead to its git folder again, where it is gone or leads nowhere: the clone was moved; and that
    to the repository's, without which git takes it for a repository of its own."""
    linked = git.linked_gitdir(path)
    if not os.path.lexists(os.path.join(path, ".git")) or (linked and not os.path.exists(linked)):
        with open(os.path.join(path, ".git"), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"gitdir: {gitdir}\n")
    if not os.path.exists(common := os.path.join(gitdir, "commondir")):
        with open(common, "w", encoding="ascii") as file:
            file.write("../..\n")


def clear_locks(path: str) -> None:
    """Unlink the locks that a killed git left on a task's worktree and branch. The caller knows that no process of it lives."""
    gitdir = git.linked_gitdir(path)
    if gitdir is None:
        return
    branch = os.path.join(git.common_of(gitdir), branch_ref(os.path.basename(path)))
    for name in (os.path.join(gitdir, "index"), os.path.join(gitdir, "HEAD"), branch):
        with suppress(FileNotFoundError, NotADirectoryError):  # the latter where a table holds the branches
            os.unlink(f"{name}.lock")
