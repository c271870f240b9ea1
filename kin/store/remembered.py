"""What the watcher must know in its next life: starts of the last hour, schedules' last firings, pardoned reverts, scans.

It lies in the git common dir, so it never comes with a clone. Damaged or absent, it is empty.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kin.model.environment import ENVIRONMENTS, Environment
from kin.store import entries, files
from kin.store.arrivals import digest
from kin.store.locks import store_lock
from kin.store.project import Project

FILE = "watch.json"
"""In the git common dir."""


class Remembered(NamedTuple):
    """`starts`: when runs were started, seconds since the epoch; `fired`: by schedule the last time that was dealt with, RFC
    3339 in UTC; `making`: by schedule the task that is being made for a firing; `reopened`: by task what a person reopened,
    as a digest of what it asks for, and its reverted run, which no longer keeps the watcher off ("" for none); `scanned`: by
    environment its entry when it was looked at, as a digest.
    """

    starts: tuple[float, ...] = ()
    fired: Mapping[str, str] = {}
    making: Mapping[str, str] = {}
    reopened: Mapping[str, Sequence[str]] = {}
    scanned: Mapping[str, str] = {}


def recall(project: Project) -> Remembered:
    """What is remembered now."""
    try:
        with open(_path(project), "rb") as file:
            held: dict[str, Any] = json.loads(file.read())
        return Remembered(**{**held, "starts": tuple(held["starts"])})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Remembered()


def remember(project: Project, change: Callable[[Remembered], Remembered]) -> Remembered:
    """Change what is remembered, durable when this returns; others wait meanwhile."""
    with store_lock(project.common):
        new = change(recall(project))
        files.write_own(_path(project), json.dumps(new._asdict()) + "\n")
    return new


def _path(project: Project) -> str:
    return os.path.join(project.common, FILE)


def unscanned(project: Project) -> list[str]:
    """The names of those that nobody had looked at as they are now."""
    found = entries.load(project, ENVIRONMENTS).found
    scanned = recall(project).scanned if found else {}
    return [name for name, one in found.items() if scanned.get(name) != digest(repr(one))]


def mark_scanned(project: Project, one: Environment) -> None:
    """Remember that it is being looked at as it is now."""
    remember(project, lambda held: held._replace(scanned={**held.scanned, one.name: digest(repr(one))}))
