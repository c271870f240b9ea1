"""kin as git's merge driver for the YAML files of `.kin/`: how a clone learns of it.

`.kin/.gitattributes` travels with the repository and names the driver; what it runs is each clone's own setting, and a clone
without it merges by line as ever.
"""

import os
import sys
from shlex import quote

from kin import git
from kin.store.project import Project

SECTION = "merge.kin"


def command(folder: str) -> str:
    """What git runs through its shell. `folder` is where kin is found if it is not on PATH; without kin it is git's own merge.

    A driver that cannot be started would leave a conflict without markers, and theirs out of sight.
    """
    return (
        f'PATH="$PATH":{quote(folder)}; if command -v kin >/dev/null; '
        "then kin merge-file --marker-size %L %O %A %B %P; "
        "else git merge-file -q -L ours -L base -L theirs --marker-size=%L %A %O %B; fi"
    )


def register(project: Project) -> bool:
    """Make this clone use the driver, all its worktrees too; False if it did already."""
    wanted = {"name": "YAML files of kin, key by key", "driver": command(os.path.dirname(os.path.abspath(sys.executable)))}
    cwd = project.git_common
    has = {key: git.git(cwd, "config", "--local", f"{SECTION}.{key}", ok=(0, 1)).text for key in wanted}
    for key, value in wanted.items():
        if has[key] != value:
            git.git(cwd, "config", "--local", f"{SECTION}.{key}", value)
    return has != wanted
