"""`kin salvage`: look at the work of interrupted steps that kin kept, bring it back, or drop it."""

from collections.abc import Iterator, Sequence
from typing import Any

from kin import git
from kin.cli.output import Call, Result
from kin.cli.screen import Screen, ago, cells, clean, counted, pad
from kin.model.ids import normalise
from kin.model.times import now
from kin.runner.tree.kept import Salvaged, apply, base_of, drop, find, list_salvage
from kin.store.config import quick


def salvage_list(call: Call) -> Result:
    """What was kept, newest first."""
    wanted = {_task(call, word) for word in call["ids"]}
    found = [one for one in list_salvage(call.project) if not wanted or one.task in wanted]
    moment = now()
    files = {one.name: _files(call, one) for one in found}

    def lines(screen: Screen) -> Iterator[str]:
        if not found:
            yield "Nothing was salvaged."
            return
        width = max(cells(clean(one.name)) for one in found)
        for one in found:
            age = screen.paint(f"{ago(one.at, moment)} ago".rjust(12), "dim")
            yield f"{pad(clean(one.name), width)}  {age}  {counted(len(files[one.name]), 'file')}"

    return Result("salvage.list", [_data(one, files[one.name]) for one in found], lines, [one.name for one in found])


def salvage_show(call: Call) -> Result:
    """What one holds, as a diff."""
    one, project = _find(call, call["salvage"]), call.project
    base = base_of(project, one)
    if not call.screen.json:
        code = git.show_diff(
            project.git_common, "--end-of-options", base, one.oid, "--", terminal=call.screen.terminal, color=call.screen.color
        )
        return Result("", exit=code)
    text = git.diff_text(project.git_common, base, one.oid)
    return Result("salvage", _data(one, _files(call, one)) | {"base": base, "patch": text})


def salvage_apply(call: Call) -> Result:
    """Bring one into this checkout, staged."""
    one = _find(call, call["salvage"])
    paths = apply(call.project, one, call.cwd)
    said = f"{one.name}: {counted(len(paths), 'file')} brought into this checkout, staged and not committed; the salvage stays"
    return Result("salvage", _data(one, paths), [said], brief=())


def salvage_drop(call: Call) -> Result:
    """Typing its name is the yes; what is printed brings it back for as long as git keeps the commit."""
    found = list({one.ref: one for one in (_find(call, word) for word in call["salvages"])}.values())
    data = [_data(one, _files(call, one)) for one in found]
    for one in found:
        drop(call.project, one)
    lines = [f"dropped {one.name} (it was commit {one.oid[:12]})" for one in found]
    return Result("salvage.list", data, lines, brief=())


def _find(call: Call, word: str) -> Salvaged:
    return find(call.project, _task(call, word))


def _task(call: Call, word: str) -> str:
    """The id that a word means, if it can be one; the task's file may be gone, its salvage is not."""
    return normalise(word, quick(call.project).key) or word


def _files(call: Call, one: Salvaged) -> list[str]:
    return [c.path for c in git.changes(call.project.git_common, base_of(call.project, one), one.oid)]


def _data(one: Salvaged, paths: Sequence[str]) -> dict[str, Any]:
    return {
        "name": one.name,
        "ref": one.ref,
        "task": one.task,
        "commit": one.oid,
        "created": one.at,
        "start": one.start,
        "subject": one.subject,
        "paths": list(paths),
    }
