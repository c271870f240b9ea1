"""Where a task's file got what it says: by a hand in this checkout, from an agent, or through git from elsewhere.

A label in somebody else's commit must not start agents here. Names and mails in commits can be forged; what was committed in
this checkout is told by HEAD's reflog, which never travels. Status and `blocked` do not count: kin writes them itself.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from kin import git
from kin.errors import KinError
from kin.model.status import TaskStatus
from kin.model.task import Task
from kin.store import tasks
from kin.store.project import Project

MADE_BY = "x-proposed-by"
"""The key of a task file that names the task in whose run an agent made it."""


class Origin(StrEnum):
    """`own`: edited or committed in this checkout; `agent`: made in a run; `git`: pulled, merged or checked out."""

    own = "own"
    agent = "agent"
    git = "git"


class Arrival(NamedTuple):
    """Where a task's text came from, a digest of all of it, one of what it asks for (all but its status); is it at HEAD?"""

    origin: Origin
    text: str
    asked: str
    committed: bool


MANY = 1000
"""Paths that git is not asked for one by one: a hundred thousand are more than a command line holds."""


class _Made(NamedTuple):
    """What HEAD's reflog tells: by path the blobs that were committed here, and the paths that merges of kin added."""

    here: Mapping[str, frozenset[str]]
    by_agents: frozenset[str]


def arrivals(project: Project, ids: Iterable[str]) -> dict[str, Arrival]:
    """Where each of these tasks came from; those whose files cannot be read are left out."""
    found: dict[str, Arrival] = {}
    if not (ids := list(ids)):
        return found
    held = _at_head(project, ids)
    for task_id in ids:
        with suppress(KinError):  # broken or just gone: the view says so
            task, text = tasks.load(project, task_id)
            origin = _origin(project, task, held.get(task_id))
            found[task_id] = Arrival(origin, digest(text), asked_for(task), task_id in held)
    return found


def digest(text: str) -> str:
    """A name for a text that two texts do not share."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def asked_for(task: Task) -> str:
    """The digest of what a task asks for, as `Arrival.asked` has it."""
    return digest(repr(_core(task)))


def _core(task: Task) -> Task:
    return task._replace(status=TaskStatus.todo, blocked=None)


def _origin(project: Project, task: Task, held: tuple[str, bytes] | None) -> Origin:
    path = tasks.shown_path(task.id)
    marked = MADE_BY in task.extra
    before = _parsed(held[1], path) if held else None
    if before is None:
        return Origin.agent if marked and held is None else Origin.own
    if _core(task) != _core(before) or (task.status == TaskStatus.todo and before.status != TaskStatus.todo):
        return Origin.own
    if marked:
        return Origin.agent
    made = _made(project, _stamp(project))
    ours = made.here.get(path, frozenset())
    if held and held[0] in ours:
        return Origin.own
    # kin's own merges and state commits, and a rebase, commit the same again under another id
    known = (_parsed(raw, path) for raw in git.blobs(project.root, sorted(ours)))
    if any(one is not None and _core(one) == _core(task) for one in known):
        return Origin.own
    return Origin.agent if path in made.by_agents else Origin.git


def _parsed(raw: bytes, path: str) -> Task | None:
    try:
        return tasks.parse(raw.decode("utf-8", "surrogateescape"), path)
    except KinError:
        return None


def _at_head(project: Project, ids: Iterable[str]) -> dict[str, tuple[str, bytes]]:
    """Blob id and content of the tasks' files at HEAD."""
    paths = {tasks.shown_path(i): i for i in ids}
    asked = paths if len(paths) < MANY else [os.path.join(os.path.dirname(tasks.shown_path("x")), "")]
    out = git.git(project.root, "ls-tree", "-z", "HEAD", "--", *asked, ok=(0, 128)).out.decode("utf-8", "surrogateescape")
    listed = [(about, path) for about, _, path in (line.partition("\t") for line in out.split("\0")) if path in paths]
    blobs = [about.split()[2] for about, _ in listed]
    return {paths[p]: (b, raw) for (_, p), b, raw in zip(listed, blobs, git.blobs(project.root, blobs), strict=True)}


def _stamp(project: Project) -> tuple[int, int]:
    for log in ("logs/HEAD", "reftable/tables.list"):
        with suppress(OSError):
            st = os.stat(os.path.join(project.gitdir, log))
            return st.st_size, st.st_mtime_ns
    return 0, 0


@lru_cache(maxsize=1)
def _made(project: Project, stamp: tuple[int, int]) -> _Made:
    """What the reflog tells, read again when it has grown. An agent that commits in this checkout has kin's mail (rule 23)."""
    moments = [m for m in git.reflog(project.root) if not m.mail.endswith("@kin")]
    own = [m.oid for m in moments if m.how.startswith(("commit: ", "commit (initial): ", "commit (amend): "))]
    merges = [f"{m.oid}{end}^{{tree}}" for m in moments if m.how.startswith("kin: merge ") for end in ("^", "")]
    trees = git.git(project.root, "rev-parse", *merges, ok=(0, 128)).text.split() if merges else []
    folder = os.path.dirname(tasks.shown_path("x"))
    here: dict[str, set[str]] = {}
    for letter, path, blob in git.introduced(project.root, own, folder) if own else ():
        if letter != "D":
            here.setdefault(path, set()).add(blob)
    pairs = [f"{old} {new}" for old, new in zip(trees[::2], trees[1::2], strict=False)]
    added = git.introduced(project.root, pairs, folder) if pairs else []
    return _Made({p: frozenset(b) for p, b in here.items()}, frozenset(p for letter, p, _ in added if letter == "A"))
