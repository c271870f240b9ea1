"""Other projects, read and never written: where a link leads, and how a task there stands.

Whatever is wrong there (moved, gone, broken) is a reason for one task here to wait, and never an error.
"""

import os
from collections.abc import Iterable, Mapping

from kin import git
from kin.errors import KinError, NotFound
from kin.model.link import LINKS, Link, split
from kin.model.module import MODULES, Module
from kin.model.status import TaskStatus
from kin.store import entries, tasks, trust
from kin.store.project import Project, find


def project_at(project: Project, link: Link, environ: Mapping[str, str]) -> Project | str:
    """The linked project, or why it is not to be had here: a sentence without a subject."""
    root = os.path.join(project.root, os.path.expanduser(link.at))
    if "://" in link.at or (":" in link.at and not os.path.isdir(root)):
        known = [clone for clone in trust.clones(environ) if git.remote_url(clone, "origin") == link.at]
        root = os.path.dirname(known[0]) if known else ""
    if not os.path.isdir(root):
        return f"is not at {link.at}" if root else f"has no clone here that you trust, of {link.at}"
    try:
        return find(root, {k: v for k, v in environ.items() if k != "KIN_DIR"})
    except KinError as error:
        return f"cannot be read: {error.message}"


def modules_of(project: Project, environ: Mapping[str, str] = os.environ) -> list[Module]:
    """The modules of all linked projects that can be read, each under a name that says whose it is."""
    found: list[Module] = []
    for link in entries.readable(project, LINKS):
        if not isinstance(there := project_at(project, link, environ), str):
            whose = f"of the linked project {link.name}"
            found += [one._replace(name=f"{one.name} {whose}") for one in entries.readable(there, MODULES)]
    return found


def standing(project: Project, words: Iterable[str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """By word (`other:API-7`) "" if that task is done, else why it is not: a sentence."""
    wanted = {word: parts for word in words if (parts := split(word))}
    links = entries.load(project, LINKS).found if wanted else {}
    return {word: _standing(project, links.get(name), word, task, environ) for word, (name, task) in wanted.items()}


def _standing(project: Project, link: Link | None, word: str, task: str, environ: Mapping[str, str]) -> str:
    if link is None:
        return f"{word}, which it depends on, is of no linked project; `kin link add {word.partition(':')[0]} PATH` links it"
    there = project_at(project, link, environ)
    if isinstance(there, str):
        return f"{word}, which it depends on, cannot be seen: {link.name} {there}"
    try:
        found, _ = tasks.load(there, tasks.resolve(there, task))
    except KinError as error:
        return f"{word}, which it depends on, cannot be seen: {error.message}"
    return "" if found.status == TaskStatus.done else f"{word}, which it depends on, is {found.status}"


def needed(project: Project, word: str) -> str:
    """What `depends_on` shall hold for a word that a person typed: a task's id here, or `other:API-7` if that link is known.

    Raises NotFound if there is no such task or link.
    """
    parts = split(word)
    if parts is None:
        return tasks.resolve(project, word)
    if parts[0] not in entries.load(project, LINKS).found:
        raise NotFound(f"no project is linked as {parts[0]}", f"`kin link add {parts[0]} PATH` links one")
    return f"{parts[0]}:{parts[1].upper()}"
