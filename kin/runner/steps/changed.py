"""What a task's work changes: which two commits to compare, the files that differ, and the patch."""

from typing import NamedTuple

from kin import git
from kin.errors import NotFound
from kin.runner.merge.undo import landed
from kin.runner.remote.target import find_target
from kin.store.config import quick
from kin.store.project import Project
from kin.store.records import ended, live
from kin.store.tasks import load

BUT_KIN = (":(top)", ":(top,exclude).kin")


class Range(NamedTuple):
    """Two commits, full ids, and how people call them."""

    old: str
    new: str
    base: str
    branch: str


class ChangedFile(NamedTuple):
    """A changed file; the counts are None for a binary one, `old` is the earlier name of a renamed one."""

    path: str
    added: int | None
    removed: int | None
    old: str | None = None


def range_of(project: Project, task: str) -> Range:
    """The two commits to compare. Raises NotFound if the task has neither work on a branch nor a merge."""
    branch = f"kin/{task}"
    tip = git.tip(project.root, f"refs/heads/{branch}")
    base, target = _target(project, task)
    if tip is not None and not git.is_ancestor(project.root, tip, target):
        return Range(git.merge_base(project.root, target, tip) or target, tip, base, branch)
    if (merge := landed(project.root, target, task)) is not None:
        return Range(git.parents(project.root, merge)[0], merge, base, branch)
    if tip is None:
        raise NotFound(f"{task} has no branch yet", f"`kin run {task}` makes one")
    return Range(tip, tip, base, branch)


def _target(project: Project, task: str) -> tuple[str, str]:
    """The target's short name and tip: that of the task's last run, else the one that a run would take."""
    run = live(project, task) or next(reversed(ended(project, task)), None)
    name = (run.base if run else "") or load(project, task)[0].base or quick(project).base
    found = find_target(project, name or None, way="`git branch` shows what there is")
    return found.name, found.oid


def files_between(project: Project, between: Range) -> list[ChangedFile]:
    """The files that differ, with how many lines came and went."""
    words = ("diff", "--numstat", "-z", "--no-ext-diff", between.old, between.new, "--", *BUT_KIN)
    out = git.git(project.root, *words, magic=True)
    fields = iter(out.out.decode("utf-8", "surrogateescape").split("\0"))
    found = []
    for head in fields:
        if head:
            added, removed, path = head.split("\t")
            old, path = (None, path) if path else (next(fields), next(fields))
            binary = added == "-"
            found.append(ChangedFile(path, None if binary else int(added), None if binary else int(removed), old))
    return found
