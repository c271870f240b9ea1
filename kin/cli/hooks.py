"""`kin hooks`: a pre-commit hook that checks staged files of `.kin/`, for who asks for it; what was there is run before."""

import os
from collections.abc import Callable

from kin import git
from kin.cli.output import Call, Result
from kin.errors import Conflict, Usage
from kin.store.files import write_own
from kin.store.project import Project

MARK = "# kin's hook: `kin hooks remove` takes it away"
BEFORE = "pre-commit.before-kin"
"""The hook that was there, under another name."""
SCRIPT = f"""#!/bin/sh
{MARK}
before=$(dirname -- "$0")/{BEFORE}
if [ -x "$before" ]; then
  "$before" "$@" || exit
fi
if command -v kin > /dev/null; then
  exec kin check --staged
fi
echo "kin is not on PATH: staged files of .kin/ were not checked" >&2
"""


def hooks_install(call: Call) -> Result:
    """Install the hook."""
    return _changed(call, _install)


def hooks_remove(call: Call) -> Result:
    """Take it away."""
    return _changed(call, _remove)


def _changed(call: Call, change: Callable[[Project, str, str], str]) -> Result:
    folder = git.hooks_folder(call.project.root)
    line = change(call.project, hook := os.path.join(folder, "pre-commit"), os.path.join(folder, BEFORE))
    return Result("hooks", {"hook": hook}, [line], brief=())


def _install(project: Project, hook: str, before: str) -> str:
    folder = os.path.realpath(os.path.dirname(hook))
    if (folder + os.sep).startswith(project.root + os.sep) and not folder.startswith(project.git_common + os.sep):
        words = f"core.hooksPath is {folder}, in the working tree: its hooks are the project's"
        raise Usage(words, "call `kin check --staged` from its pre-commit hook")
    if _is_ours(hook) or _is_ours(f"{hook}.legacy"):
        return "The hook is there already."
    if os.path.lexists(hook):
        if os.path.lexists(before):
            raise Conflict(f"{before} is in the way", "look at it, and move it away")
        os.rename(hook, before)  # killed here, commits are not checked; the next install goes on
    write_own(hook, SCRIPT)
    os.chmod(hook, 0o755)
    return "Commits check staged files of .kin/ now" + (", after the hook that was there." if os.path.lexists(before) else ".")


def _remove(project: Project, hook: str, before: str) -> str:
    if _is_ours(f"{hook}.legacy"):  # pre-commit was installed over it, and calls it under this name
        os.unlink(f"{hook}.legacy")
        if os.path.lexists(before):
            os.rename(before, f"{hook}.legacy")
    elif not _is_ours(hook):
        return "There is no hook of kin's."
    elif os.path.lexists(before):
        os.replace(before, hook)
    else:
        os.unlink(hook)
    return "Commits are not checked any more."


def _is_ours(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return MARK in file.read(4096)
    except OSError:
        return False
