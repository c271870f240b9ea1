"""`kin diff`: what a task's branch changes against its target, `.kin/` left out; after the merge, what the merge brought."""

from typing import TYPE_CHECKING, Any, NamedTuple

from kin import git
from kin.cli.output import Call, Result
from kin.cli.screen import Screen
from kin.errors import NotFound

if TYPE_CHECKING:
    from kin.model.record import Run
    from kin.store.project import Project

__all__ = ["Change", "changes", "diff_", "range_of"]

BUT_KIN = ("--", ":(top)", ":(top,exclude).kin")


class Range(NamedTuple):
    """Two commits, full ids, and how people call them."""

    old: str
    new: str
    base: str
    branch: str


class Change(NamedTuple):
    """A changed file; the counts are None for a binary one, `old` is the earlier name of a renamed one."""

    path: str
    added: int | None
    removed: int | None
    old: str | None = None


def diff_(call: Call) -> Result:
    """Print the difference: through the person's own pager at a terminal, plainly into a pipe."""
    from kin.store.tasks import resolve

    project, task = call.project, resolve(call.project, call["id"])
    between = range_of(project, task)
    form = "--stat" if call["stat"] else "--name-only" if call["name_only"] else "--patch"
    words = ("diff", form, "--end-of-options", between.old, between.new, *BUT_KIN)
    if call.screen.terminal and not call.screen.json:
        color = "--color" if call.screen.color else "--no-color"
        return Result("", exit=git.on_terminal(project.root, "diff", color, *words[1:]))

    def text() -> str:
        return git.git(project.root, "diff", "--no-color", "--no-ext-diff", *words[1:], magic=True).out.decode(
            "utf-8", "replace"
        )

    def data() -> dict[str, Any]:
        files = [change._asdict() for change in changes(project, between)]
        return {"task": task, **between._asdict(), "files": files, "patch": text() if form == "--patch" else None}

    def lines(screen: Screen) -> list[str]:
        return text().removesuffix("\n").split("\n")

    return Result("diff", data, lines)


def range_of(project: "Project", task: str) -> Range:
    """The two commits to compare. Raises NotFound if the task has neither a branch nor a merge."""
    from kin.store.records import ended, live

    branch = f"kin/{task}"
    tip = git.tip(project.root, f"refs/heads/{branch}")
    run = live(project, task)
    if tip is not None:
        target = _target(project, task, run)
        old = git.merge_base(project.root, target[1], tip) or target[1]
        return Range(old, tip, target[0], branch)
    last = next((r for r in reversed(ended(project, task)) if r.merge), None)
    merge = last and last.merge and git.tip(project.root, last.merge)
    if last and merge:
        return Range(git.git(project.root, "rev-parse", f"{merge}^1").text, merge, last.base, branch)
    raise NotFound(f"{task} has no branch yet", f"`kin run {task}` makes one")


def _target(project: "Project", task: str, run: "Run | None") -> tuple[str, str]:
    """The target's short name and tip: the run's own, else the one that a run would take."""
    from kin.runner.target import find_target
    from kin.store.config import quick
    from kin.store.tasks import load

    name = (run.base if run else "") or load(project, task)[0].base or quick(project).base
    found = find_target(project, name or None)
    return found.name, found.oid


def changes(project: "Project", between: Range) -> list[Change]:
    """The files that differ, with how many lines came and went."""
    out = git.git(project.root, "diff", "--numstat", "-z", "--no-ext-diff", between.old, between.new, *BUT_KIN, magic=True)
    fields = iter(out.out.decode("utf-8", "surrogateescape").split("\0"))
    found = []
    for head in fields:
        if head:
            added, removed, path = head.split("\t")
            old, path = (None, path) if path else (next(fields), next(fields))
            binary = added == "-"
            found.append(Change(path, None if binary else int(added), None if binary else int(removed), old))
    return found
