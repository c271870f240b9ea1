"""The next id: one sequence a key, over everything that this clone can see and everything that it ever gave out.

Two clones may still give out the same one; the file's name is the id, so that this shows as a conflict and not as a mix-up.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from kin.model.ids import highest, random_id
from kin.store import files
from kin.store.locks import store_lock
from kin.store.project import STORE, Project

__all__ = ["next_ids", "random_ids"]


def next_ids(project: Project, key: str, folder: str, count: int = 1, category: str = "") -> list[str]:
    """`count` ids `KEY-<n>` (or `KEY-<CATEGORY>-<n>`) for files in `.kin/<folder>`; nobody else is given them."""
    seen = max(highest(_in_branches(project, folder), key), highest(_in_worktrees(project, folder), key))
    given = os.path.join(project.common, "given", key)
    with store_lock(project.common):
        here = highest(_stems(os.path.join(project.store, folder)), key)
        first = max(seen, here, _given(given)) + 1
        files.write_own(given, f"{first + count - 1}\n")
    head = f"{key}-{category}" if category else key
    return [f"{head}-{n}" for n in range(first, first + count)]


def random_ids(project: Project, key: str, folder: str, count: int = 1, category: str = "") -> list[str]:
    """`count` ids `KEY-XXXXXX` that no file here has; 30 bits need no lock, and `write_new` refuses the one in a billion."""
    taken = set(_stems(os.path.join(project.store, folder)))
    head = f"{key}-{category}" if category else key
    found: dict[str, None] = {}
    while len(found) < count:
        new = random_id(head, int.from_bytes(os.urandom(4), "big"))
        if new not in taken:
            found[new] = None
    return list(found)


def _given(path: str) -> int:
    with suppress(FileNotFoundError, ValueError), open(path, encoding="ascii") as file:
        return int(file.read())
    return 0


def _stems(folder: str) -> list[str]:
    try:
        return [name.removesuffix(".yaml") for name in os.listdir(folder) if name.endswith(".yaml")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _in_worktrees(project: Project, folder: str) -> Iterator[str]:
    """Ids of files, committed or not, in every other checkout of the clone that can be reached now."""
    admin = os.path.join(project.git_common, "worktrees")
    yield from _stems(os.path.join(os.path.dirname(project.git_common), STORE, folder))
    for name in os.listdir(admin) if os.path.isdir(admin) else ():
        with suppress(OSError):
            with open(os.path.join(admin, name, "gitdir"), "rb") as file:
                dotgit = os.path.join(admin, name, os.fsdecode(file.read().strip()))
            yield from _stems(os.path.join(os.path.dirname(dotgit), STORE, folder))


def _in_branches(project: Project, folder: str) -> Iterator[str]:
    """Ids of files on every local and remote-tracking branch, in three git processes whatever the number of branches."""
    from kin import git

    tips = git.git(project.gitdir, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/remotes").text.split()
    asked = "".join(f"{tip}:{STORE}/{folder}\n" for tip in {*tips, "HEAD"})
    checked = git.git(project.gitdir, "cat-file", "--batch-check", input=asked.encode()).text.splitlines()
    trees = {line.split()[0] for line in checked if line.split()[1:2] == ["tree"]}
    batch = git.git(project.gitdir, "cat-file", "--batch", input="".join(f"{tree}\n" for tree in trees).encode()).out
    return (name.removesuffix(".yaml") for name in _names(batch) if name.endswith(".yaml"))


def _names(batch: bytes) -> Iterable[str]:
    """The names in the trees that `cat-file --batch` printed: `<oid> tree <size>`, then `<mode> <name>` NUL <raw oid> each."""
    at = 0
    while at < len(batch):
        line_end = batch.index(b"\n", at)
        oid, _, size = batch[at:line_end].split()
        at, end, width = line_end + 1, line_end + 1 + int(size), len(oid) // 2
        while at < end:
            name_end = batch.index(b"\0", at)
            yield batch[at:name_end].partition(b" ")[2].decode("utf-8", "surrogateescape")
            at = name_end + 1 + width
        at = end + 1
