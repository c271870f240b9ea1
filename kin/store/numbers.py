"""The next id: one sequence a key, over everything that this clone can see and everything that it ever gave out.

Two clones may still give out the same one; the file's name is the id, so that this shows as a conflict and not as a mix-up.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

from kin.model.ids import random_id
from kin.store import config, files
from kin.store.locks import store_lock
from kin.store.project import STORE, Project


def new_ids(project: Project, key: str, folder: str, count: int = 1, category: str = "") -> list[str]:
    """`count` ids for new files in `.kin/<folder>`, of the form that the settings ask for; nobody else is given them."""
    make = _random_ids if config.quick(project).ids == "random" else _next_ids
    return make(project, key, folder, count, f"{key}-{category}" if category else key)


def _next_ids(project: Project, key: str, folder: str, count: int, head: str) -> list[str]:
    """`KEY-<n>`, or `KEY-<CATEGORY>-<n>`."""
    from kin import git

    seen = _highest([*git.names_on_branches(project.gitdir, f"{STORE}/{folder}"), *_elsewhere(project, folder)], key)
    given = os.path.join(project.common, "given", key)
    with store_lock(project.common):
        here = _highest(files.names_in(os.path.join(project.store, folder)), key)
        first = max(seen, here, _given(given)) + 1
        files.write_own(given, f"{first + count - 1}\n")
    return [f"{head}-{n}" for n in range(first, first + count)]


def _random_ids(project: Project, key: str, folder: str, count: int, head: str) -> list[str]:
    """`KEY-XXXXXX` that no file here has; 30 bits need no lock, and `write_new` refuses the one in a billion."""
    taken = set(files.names_in(os.path.join(project.store, folder)))
    found: dict[str, None] = {}
    while len(found) < count:
        new = random_id(head, int.from_bytes(os.urandom(4), "big"))
        if f"{new}.yaml" not in taken:
            found[new] = None
    return list(found)


def _highest(names: Iterable[str], key: str) -> int:
    """The highest number of all file names of `key`, whatever the category. One look for all: there may be ten thousand."""
    numbers = re.findall(rf"^{key}-(?:[A-Z0-9]+-)?([0-9]{{1,9}})\.yaml$", "\n".join(names), re.M)
    return max(map(int, numbers), default=0)


def _given(path: str) -> int:
    with suppress(FileNotFoundError, ValueError), open(path, encoding="ascii") as file:
        return int(file.read())
    return 0


def _elsewhere(project: Project, folder: str) -> Iterator[str]:
    """Names of files, committed or not, in every other checkout of the clone that can be reached now."""
    admin = os.path.join(project.git_common, "worktrees")
    roots = {os.path.dirname(project.git_common)}
    for name in files.names_in(admin):
        with suppress(OSError), open(os.path.join(admin, name, "gitdir"), "rb") as file:
            roots.add(os.path.dirname(os.path.join(admin, name, os.fsdecode(file.read().strip()))))
    for root in roots - {project.root}:
        yield from files.names_in(os.path.join(root, STORE, folder))
