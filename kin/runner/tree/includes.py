"""Ignored files that a worktree needs to build and run (`.env`, a cache), copied from the checkout if a person named them."""

import os
import shutil

from kin import git
from kin.errors import Invalid
from kin.faults import point


def copy_included(source: str, path: str) -> None:
    """Copy the ignored files that `.worktreeinclude` names (gitignore syntax) from the checkout; what is there stays.

    Raises Invalid if one cannot be copied.
    """
    if not os.path.isfile(os.path.join(source, ".worktreeinclude")):
        return
    named = git.git(source, "ls-files", "-z", "-o", "-i", "--exclude-from=.worktreeinclude").out.split(b"\0")[:-1]
    if not named:
        return
    # `./`: check-ignore reads pathspecs, and a name may begin with a colon
    asked = b"".join(b"./" + name + b"\0" for name in named)
    ignored = git.git(source, "check-ignore", "-z", "--stdin", input=asked, ok=(0, 1), magic=True).out
    for name in (os.fsdecode(answer[2:]) for answer in ignored.split(b"\0")[:-1]):
        if name.startswith(".kin/") or name.endswith("/"):
            continue
        try:
            _copy(os.path.join(source, name), os.path.join(path, name), f"{path}.copy")
        except OSError as error:
            what = f".worktreeinclude names {name}, which cannot be copied: {error.strerror}"
            raise Invalid(what, "mend it, or take it out") from error
    point("worktree.copied")


def _copy(source: str, target: str, partial: str) -> None:
    """Copy one file whole or not at all; `partial` lies outside of the worktree, where no step commits half a secret."""
    parent = os.path.dirname(target)
    if os.path.lexists(target):
        return
    os.makedirs(parent, exist_ok=True)
    if os.path.realpath(parent) != parent:
        return  # a link in the checkout leads out of the worktree
    shutil.copy2(source, partial, follow_symlinks=False)
    os.replace(partial, target)
