"""Which branch a task's work is merged into, and whose settings count for it.

Settings and gates come from the store if the target is checked out there, else from the target's tip; never from the
branch that is being judged, or an agent could write its own gate.
"""

import os
from typing import NamedTuple

from kin import git
from kin.errors import Conflict, Invalid, Usage
from kin.model.settings import Settings
from kin.model.task import Task
from kin.runner.remote import origin
from kin.store import config
from kin.store.project import Project, branch_here

BY_OPTION = "name one: `--base main`"
"""What helps if there is no target, where the command has that option."""


def way_of(task: Task) -> str:
    """What helps if the target of a run that has not begun is not there: a task's own `base` goes before the option."""
    return f"mend `base:` in .kin/tasks/{task.id}.yaml" if task.base else BY_OPTION


def way_back(task_id: str) -> str:
    """What helps if the target of a run that has begun is gone."""
    return f"bring it back, or `kin run {task_id} --restart` starts over on another one"


class Target(NamedTuple):
    """A branch: full ref, short name, tip; `here`: checked out in the store's checkout, at that tip; `there`: what the remote
    has of it, asked for only with `--push`."""

    ref: str
    name: str
    oid: str
    here: bool
    there: str | None = None


def find_target(project: Project, name: str | None, *, way: str = BY_OPTION, push: bool = False) -> Target:
    """The target called `name`, or the branch that is checked out where the store is. `way` is what helps if there is none.

    With `push` it is as the remote has it now, or as it is here if that goes on from there; what is missing is fetched.

    Raises Usage if HEAD is detached and nobody named one, Invalid if the branch has no commit, or is not there; with `push`
    Conflict if both have gone apart, Busy if the remote cannot be reached.
    """
    here = branch_here(project)
    if name is None and here is None:
        raise Usage("HEAD is detached, so there is no branch to merge into", way)
    name = name or str(here)
    ref = "refs/heads/" + name.removeprefix("refs/heads/")
    there = origin.tip_there(project.root, ref) if push else None
    oid = git.tip(project.root, ref)
    if there and oid and oid != there and not git.is_ancestor(project.root, there, oid):
        if not git.is_ancestor(project.root, oid, there):
            raise Conflict(f"{name} here and on {origin.REMOTE} have gone apart", "bring them together: `git pull`")
        return Target(ref, name, there, False, there)
    checked_out = here is not None and ref == f"refs/heads/{here}"
    if oid is None and checked_out:
        git.git_dir(project.root)  # raises if git answers nothing at all here: it may not trust the folder's owner
        gone = os.path.exists(os.path.join(project.gitdir, "logs", "HEAD"))
        lost = "was it deleted? `git reflog` tells where it was; else " if gone else ""
        raise Invalid(f"the branch {name} has no commit", f"{lost}commit once first: `git commit --allow-empty -m start`")
    if oid is None:
        remote = origin.tracking(name)
        oid = git.tip(project.root, remote)
    if oid is None:
        other = "`--base BRANCH` names another" if way is BY_OPTION else way  # `main` may be the one that is missing
        if not git.git(project.root, "config", f"remote.{origin.REMOTE}.url", ok=(0, 1)).out:
            raise Invalid(f"there is no branch {name}", other)
        fetch = f"`git fetch --depth=1 {origin.REMOTE} +{ref}:{remote}` brings it here"
        raise Invalid(f"there is no branch {name}, here or on {origin.REMOTE}", f"{fetch}, if it is there; else {other}")
    return Target(ref, name, oid, checked_out, there)


def newest_tip(cwd: str, name: str) -> str | None:
    """The newest commit of branch `name` that this clone knows: the remote's, if that goes on from its own."""
    here, there = git.tip(cwd, f"refs/heads/{name}"), git.tip(cwd, origin.tracking(name))
    return there if there and (here is None or git.is_ancestor(cwd, here, there)) else here


def settings_for(project: Project, target: Target) -> Settings:
    """The settings that hold for work merged into `target`. Raises Invalid with the place of a fault."""
    if target.here:
        return config.load_settings(project)
    content = git.blob(project.root, target.oid, ".kin/kin.yaml")
    if content is None:
        raise Usage(f"{target.name} holds no .kin/kin.yaml", f"commit .kin/ on {target.name} first, or `--base` another branch")
    return config.settings_from_text(content.decode("utf-8", "replace"), f"{target.name}:.kin/kin.yaml")
