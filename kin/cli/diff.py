"""`kin diff`: what a task's branch changes against its target, `.kin/` left out; after the merge, what the merge brought."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from kin import git
from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, indent
from kin.cli.show import proposals
from kin.errors import NotFound

if TYPE_CHECKING:
    from kin.store.project import Project

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
    from kin.store.records import live
    from kin.store.tasks import resolve

    project, task = call.project, resolve(call.project, call["id"])
    between = range_of(project, task)
    form = "--stat" if call["stat"] else "--name-only" if call["name_only"] else "--patch"
    words = ("diff", form, "--end-of-options", between.old, between.new, *BUT_KIN)
    proposed = [] if call["name_only"] else proposals(live(project, task))
    if call.screen.terminal and not call.screen.json:
        color = "--color" if call.screen.color else "--no-color"
        code = git.on_terminal(project.root, "diff", color, *words[1:])
        return Result("", lines=list(_proposed(proposed)), exit=code)

    def text() -> str:
        return git.git(project.root, "diff", "--no-color", "--no-ext-diff", *words[1:], magic=True).out.decode(
            "utf-8", "replace"
        )

    def data() -> dict[str, Any]:
        files = [change._asdict() for change in changes(project, between)]
        return {
            "task": task,
            **between._asdict(),
            "files": files,
            "patch": text() if form == "--patch" else None,
            "proposals": proposed,
        }

    def lines(screen: Screen) -> list[str]:
        return [*text().removesuffix("\n").split("\n"), *_proposed(proposed)]

    return Result("diff", data, lines)


def _proposed(found: list[dict[str, Any]]) -> Iterator[str]:
    """What else the merge will bring: decisions and draft tasks, as the steps said them."""
    for one in found:
        yield f"\nproposed by {one['step']}: {one['kind']} {one['id'] or ''}"
        for key, value in one.items():
            if key not in ("id", "step"):
                words = ", ".join(value) if isinstance(value, list) else value
                yield from indent([f"{key}: {line}" if n == 0 else line for n, line in enumerate(clean(words).splitlines())])


def range_of(project: "Project", task: str) -> Range:
    """The two commits to compare. Raises NotFound if the task has neither work on a branch nor a merge."""
    from kin.runner.undo import landed

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


def _target(project: "Project", task: str) -> tuple[str, str]:
    """The target's short name and tip: that of the task's last run, else the one that a run would take."""
    from kin.runner.target import find_target
    from kin.store.config import quick
    from kin.store.records import ended, live
    from kin.store.tasks import load

    run = live(project, task) or next(reversed(ended(project, task)), None)
    name = (run.base if run else "") or load(project, task)[0].base or quick(project).base
    found = find_target(project, name or None, way="`git branch` shows what there is")
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
