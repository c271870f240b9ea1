"""The project as a commit has it: what a CI job for a pull request uses in place of the checkout, which strangers wrote.

Settings, gates, setup, roles, tasks, .gitattributes and .worktreeinclude all come from there, since all are read in the store's
checkout; nothing of the pull request's own files is read or started.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from kin import git
from kin.errors import NotFound
from kin.runner.remote.origin import REMOTE, tracking
from kin.runner.tree.registry import git_lock
from kin.store.project import STORE, Project, find_repository


@contextmanager
def store_at(project: Project, revision: str) -> Iterator[Project]:
    """A detached checkout of `revision`, a commit or a branch here or on the remote, removed afterwards. Raises NotFound."""
    oid = git.tip(project.root, revision) or git.tip(project.root, tracking(revision))
    if oid is None:
        fetch = f"git fetch --depth=1 {REMOTE} +refs/heads/{revision}:{tracking(revision)}"
        if set(revision) & set("~^:@"):  # no branch, but what lies behind one
            fetch = "git fetch --unshallow"
        raise NotFound(f"there is no {revision} to take settings, roles and tasks from", f"`{fetch}` may bring it here")
    with tempfile.TemporaryDirectory(prefix="kin-store-") as folder:
        path = os.path.join(os.path.realpath(folder), "store")
        with git_lock(project, "store") as fds:
            # from where a relative core.hooksPath leads to no hook of the checkout's
            git.git(project.git_common, "worktree", "add", "-q", "--detach", path, oid, fds=fds)
        try:
            there = find_repository(path, {})
            if not os.path.isdir(there.store):
                raise NotFound(f"{revision} has no {STORE} folder", "commit one there first")
            yield there
        finally:
            with git_lock(project, "store") as fds:
                git.git(project.git_common, "worktree", "remove", "--force", path, ok=(0, 128), fds=fds)
