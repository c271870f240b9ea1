"""Which branch a task's work is merged into, and whose settings count for it.

Settings and gates come from the store if the target is checked out there, else from the target's tip; never from the
branch that is being judged, or an agent could write its own gate.
"""

from typing import NamedTuple

from kin import git
from kin.errors import Invalid, Usage
from kin.model.settings import Settings
from kin.store import config
from kin.store.project import Project

BY_OPTION = "name one: `--base main`"
"""What helps if there is no target, where the command has that option."""


class Target(NamedTuple):
    """A branch: full ref, short name, tip; `here`: checked out in the store's checkout; `remote`: the ref it is taken from."""

    ref: str
    name: str
    oid: str
    here: bool
    remote: str | None = None


def find_target(project: Project, name: str | None, *, way: str = BY_OPTION) -> Target:
    """The target called `name`, or the branch that is checked out where the store is. `way` is what helps if there is none.

    Raises Usage if HEAD is detached and nobody named one, Invalid if the branch has no commit, or is not there.
    """
    here = git.head_ref(project.root)
    if name is None:
        if here is None:
            raise Usage("HEAD is detached, so there is no branch to merge into", way)
        name = here.removeprefix("refs/heads/")
    ref = "refs/heads/" + name.removeprefix("refs/heads/")
    oid, remote = git.tip(project.root, ref), None
    if oid is None and ref == here:
        raise Invalid(f"the branch {name} has no commit yet", "commit once first: `git commit --allow-empty -m start`")
    if oid is None:
        remote = f"refs/remotes/origin/{name}"
        oid = git.tip(project.root, remote)
    if oid is None:
        raise Invalid(f"there is no branch {name}, here or on origin", way)
    return Target(ref, name, oid, ref == here, remote)


def settings_for(project: Project, target: Target) -> Settings:
    """The settings that hold for work merged into `target`. Raises Invalid with the place of a fault."""
    if target.here:
        return config.load_settings(project)
    content = git.blob(project.root, target.oid, ".kin/kin.yaml")
    if content is None:
        raise Usage(f"{target.name} holds no .kin/kin.yaml", f"commit .kin/ on {target.name} first, or `--base` another branch")
    return config.settings_from_text(content.decode("utf-8", "replace"), f"{target.name}:.kin/kin.yaml")
