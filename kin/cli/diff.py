"""`kin diff`: what a task's branch changes against its target, `.kin/` left out; after the merge, what the merge brought."""

from collections.abc import Iterator
from typing import Any

from kin import git
from kin.cli.output import Call, Result
from kin.cli.screen import clean, indent
from kin.cli.show import proposals
from kin.runner.steps.changed import BUT_KIN, files_between, range_of
from kin.store.records import live
from kin.store.tasks import resolve


def diff_(call: Call) -> Result:
    """Print the difference: through the person's own pager at a terminal, byte for byte into a pipe."""
    project, task = call.project, resolve(call.project, call["id"])
    between = range_of(project, task)
    form = "--stat" if call["stat"] else "--name-only" if call["name_only"] else "--patch"
    words = (form, "--end-of-options", between.old, between.new, "--", *BUT_KIN)
    proposed = [] if call["name_only"] else proposals(live(project, task))
    if not call.screen.json:
        code = git.show_diff(project.root, *words, terminal=call.screen.terminal, color=call.screen.color)
        return Result("", lines=list(_proposed(proposed)), exit=code)
    files = [change._asdict() for change in files_between(project, between)]
    patch = git.diff_text(project.root, between.old, between.new, *BUT_KIN, magic=True) if form == "--patch" else None
    return Result("diff", {"task": task, **between._asdict(), "files": files, "patch": patch, "proposals": proposed})


def _proposed(found: list[dict[str, Any]]) -> Iterator[str]:
    """What else the merge will bring: decisions and draft tasks, as the steps said them."""
    for one in found:
        again = f"repeats {one['repeats']}, not stored" if one["repeats"] else one["id"] or ""
        yield f"\nproposed by {one['step']}: {one['kind']} {again}"
        for key, value in one.items():
            if key not in ("id", "repeats", "step"):
                words = ", ".join(value) if isinstance(value, list) else value
                yield from indent([f"{key}: {line}" if n == 0 else line for n, line in enumerate(clean(words).splitlines())])
