"""`kin diff`: what a task's branch changes against its target, `.kin/` left out; after the merge, what the merge brought."""

from collections.abc import Iterator
from typing import Any

from kin import git
from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, indent
from kin.cli.show import proposals
from kin.runner.steps.changed import BUT_KIN, files_between, range_of
from kin.store.records import live
from kin.store.tasks import resolve


def diff_(call: Call) -> Result:
    """Print the difference: through the person's own pager at a terminal, plainly into a pipe."""
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
        files = [change._asdict() for change in files_between(project, between)]
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
        again = f"repeats {one['repeats']}, not stored" if one["repeats"] else one["id"] or ""
        yield f"\nproposed by {one['step']}: {one['kind']} {again}"
        for key, value in one.items():
            if key not in ("id", "repeats", "step"):
                words = ", ".join(value) if isinstance(value, list) else value
                yield from indent([f"{key}: {line}" if n == 0 else line for n, line in enumerate(clean(words).splitlines())])
