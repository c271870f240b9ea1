"""Where a target branch is checked out, what git is in the middle of there, and the lock by which kin keeps its index.

Everything that must be known before a move, and that recovery needs too; nothing here changes a file of the person's.
"""

import errno
import os
import shutil
from typing import NamedTuple

from kin import git
from kin.runner.merge.build import home
from kin.store import files
from kin.store.locks import wait_until
from kin.store.project import Project

INDEX_PATIENCE = 2.0
"""Seconds that kin waits for another git's `index.lock`: every editor's `git status` loop holds it for some 10 ms (rule 16)."""


class Checkout(NamedTuple):
    """A worktree with its own git folder, both absolute."""

    path: str
    gitdir: str


class Pending(NamedTuple):
    """Nothing moved, and nothing changed: why, and which paths are in the way. `stale`: the target moved; build anew."""

    reason: str
    paths: tuple[str, ...] = ()
    stale: bool = False


def find_checkout(project: Project, target: str) -> Checkout | Pending | None:
    """The one worktree that has `target` checked out; None if none has; Pending if git must not be disturbed there."""
    name = target.removeprefix("refs/heads/")
    if what := _in_the_middle(project.git_common, target):
        return Pending(f"a {what} of {name} is under way; finish or abort it")
    # every worktree is looked at: `%(worktreepath)` names only one of two (rule 18)
    if git.heads_on(project.git_common, target) == [project.gitdir] and os.path.exists(os.path.join(project.gitdir, "index")):
        found = [project.root]  # a bare repository has a HEAD, too, but no index
    else:
        found = [w.path for w in git.worktrees(home(project)) if w.branch == target]
    if not found:
        return None
    if len(found) > 1:
        return Pending(f"{name} is checked out twice, in {found[0]} and {found[1]}; switch one of them to another branch")
    path = found[0]
    if not os.path.lexists(os.path.join(path, ".git")):
        return Pending(f"{name} is checked out in {path}, which is not there; bring it back or `git worktree remove` it")
    gitdir = project.gitdir if os.path.realpath(path) == project.root else os.path.realpath(git.git_dir(path))
    return _disturbed(path, gitdir) or Checkout(path, gitdir)


def _disturbed(path: str, gitdir: str) -> Pending | None:
    what = git.under_way(gitdir)
    return Pending(f"a {what} is under way in {path}; finish or abort it") if what else None


def still_there(checkout: Checkout, target: str) -> Pending | None:
    """Looked at again with the index kept: a `git switch` or a merge can have started since `find_checkout` (rule 1)."""
    if git.head_ref(checkout.path) != target:
        return Pending(f"{checkout.path} was switched to another branch meanwhile", stale=True)
    return _disturbed(checkout.path, checkout.gitdir)


def _in_the_middle(git_common: str, target: str) -> str | None:
    """What rebases or bisects `target`, in any worktree: it is then shown as detached, and a plain ref update would succeed,
    until the person's `rebase --continue` fails (rule 17)."""
    linked = os.path.join(git_common, "worktrees")
    names = os.listdir(linked) if os.path.isdir(linked) else []
    for gitdir in (git_common, *(os.path.join(linked, name) for name in names)):
        for mark in ("rebase-merge/head-name", "rebase-apply/head-name", "rebase-merge/update-refs"):
            if target in _lines(os.path.join(gitdir, mark)):
                return "rebase"
        if target.removeprefix("refs/heads/") in _lines(os.path.join(gitdir, "BISECT_START")):
            return "bisection"
    return None


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []  # not in the middle of that; a race with its end is met again under the lock, by the ref's old value


def keep_index(gitdir: str, nonce: str) -> bool:
    """Hold `index.lock` with `nonce` in it, so that no other git writes this index until it is let go; False if one does.

    The lock appears with its content in one step: an empty one, left by a kill in between, would be nobody's for ever.
    Waiting is rule 16's exception: git offers no other way, and it is over in INDEX_PATIENCE.
    """
    own = _own_lock(gitdir, nonce)
    with open(own, "w", encoding="ascii") as out:
        out.write(nonce)
    files.sync(own)

    def attempt() -> bool | None:
        try:
            _link_or_make(own, os.path.join(gitdir, "index.lock"), nonce)
        except FileExistsError:
            return True if kept_by(gitdir) == nonce else None
        return True

    try:
        return bool(wait_until(attempt, INDEX_PATIENCE))
    finally:
        os.unlink(own)


def _link_or_make(own: str, lock: str, nonce: str) -> None:
    try:
        os.link(own, lock)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        with open(lock, "x", encoding="ascii") as out:  # a file system without hard links
            out.write(nonce)


def kept_by(gitdir: str) -> str | None:
    """The content of `index.lock`: kin's nonce, or whatever another git has written; None if nobody keeps the index."""
    try:
        with open(os.path.join(gitdir, "index.lock"), "rb") as file:
            return file.read(64).decode("latin-1")
    except FileNotFoundError:
        return None


def let_index_go(gitdir: str, nonce: str) -> None:
    """Remove what kin keeps beside the index, the lock last; nothing but its own name if another has the index."""
    files.unlink(_own_lock(gitdir, nonce))
    if kept_by(gitdir) == nonce:
        for name in ("kin-index", "kin-index.lock", "index.lock"):
            files.unlink(os.path.join(gitdir, name))


def _own_lock(gitdir: str, nonce: str) -> str:
    return os.path.join(gitdir, f"kin-{nonce}.lock")


def is_sparse(checkout: Checkout) -> bool:
    """Whether the worktree has patterns of a sparse checkout: then index entries without a file are to be expected."""
    return os.path.exists(os.path.join(checkout.gitdir, "info", "sparse-checkout"))


def index_env(gitdir: str) -> dict[str, str]:
    """What makes git work on kin's private index of that worktree."""
    return {"GIT_INDEX_FILE": os.path.join(gitdir, "kin-index")}


def private_index(checkout: Checkout, fds: tuple[int, ...]) -> dict[str, str]:
    """Copy the kept index and refresh the copy; the environment that names it.

    The copy has the original's times: with newer ones git would take a file that was edited in the index's own instant for
    unchanged, and it would be overwritten (rule 8). The refresh lets merely touched files pass (rule 7).
    """
    source, copy = os.path.join(checkout.gitdir, "index"), os.path.join(checkout.gitdir, "kin-index")
    files.unlink(copy)
    files.unlink(copy + ".lock")
    if os.path.exists(source):
        shutil.copy2(source, copy)
    env = index_env(checkout.gitdir)
    refresh(checkout.path, env, fds)
    return env


def refresh(cwd: str, env: dict[str, str], fds: tuple[int, ...]) -> None:
    """Compare files with the index where only their times differ."""
    git.git(cwd, "update-index", "-q", "--refresh", ok=(0, 1), env=env, fds=fds)


def publish_index(checkout: Checkout, fds: tuple[int, ...]) -> None:
    """Make the private index the worktree's own, durably."""
    copy = os.path.join(checkout.gitdir, "kin-index")
    refresh(checkout.path, index_env(checkout.gitdir), fds)
    if os.path.exists(copy):
        files.sync(copy)
        os.replace(copy, os.path.join(checkout.gitdir, "index"))
        files.sync(checkout.gitdir)
