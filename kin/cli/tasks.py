"""Commands that write tasks: `add`, `rm` and `note`; they change files in the working tree and commit nothing."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kin.cli.editor import content, edit_copy, forget, written
from kin.cli.listing import entry, split
from kin.cli.output import Call, Result
from kin.cli.screen import Progress, clean
from kin.cli.show import note_entry
from kin.errors import Busy, Invalid, Place, Usage, Waits
from kin.model.task import Task
from kin.model.times import today
from kin.store.config import quick, refuse_newer_format
from kin.store.tasks import add, resolve, shown_path, task_path

if TYPE_CHECKING:
    from kin.model.ready import Graph
    from kin.store.project import Project


def add_(call: Call) -> Result:
    """Add a task, or all tasks of a file."""
    if call["file"] is not None:
        return _add_file(call)
    if not call["title"]:
        raise Usage("a task needs a title", "`kin add TITLE`, or `kin add --file FILE`")
    task = add_task(call)
    warnings = quick(call.project).warnings  # the key may be another than the person thinks
    return Result("task.list", lambda: _entries(call, [task.id]), [f"{task.id}  {shown_path(task.id)}"], [task.id], warnings)


def _add_file(call: Call) -> Result:
    """All tasks of a file or of standard input; options fill in what a task leaves open."""
    from kin.store.bulk import add_all
    from kin.store.text.stream import LARGEST

    if call["title"]:
        raise Usage("--file and a title exclude each other", "put the task into the file")
    defaults = _described(call)
    path = "standard input" if call["file"] == "-" else call["file"]
    raw = content(call["file"], LARGEST + 1)
    if len(raw) > LARGEST:
        raise Invalid(f"more than {LARGEST >> 20} MiB", "add it in parts", Place(call["file"]))
    with Progress(call.screen, "tasks written") as tick:
        added = add_all(call.project, raw, path, today=today(), defaults=defaults, environ=call.environ, tick=tick)
    lines = [f"{task_id}  {shown_path(task_id)}" for task_id in added.ids]
    return Result("task.list", lambda: _entries(call, added.ids), lines, added.ids, added.warnings)


def _entries(call: Call, ids: list[str]) -> list[dict[str, Any]]:
    from kin.store.view import see

    view = see(call.project)
    return [entry(view.seen[task_id]) for task_id in ids if task_id in view.seen]


def add_task(call: Call, pipeline: str | None = None) -> Task:
    """The task that a call's options describe, written to its file; `pipeline` is the one if the call names none.

    Raises Usage for a value that does not fit, NotFound for a task that it shall depend on.
    """
    data = {"title": " ".join(call["title"]), **_described(call, pipeline)}
    return add(call.project, data, today=today())


def _described(call: Call, pipeline: str | None = None) -> dict[str, Any]:
    """All that the options say of a task."""
    data = {"status": "draft" if call.values.get("draft") else "todo", **_fields(call.values)}
    for key in ("depends_on", "parent"):
        if key in data:
            data[key] = _resolved(call.project, data[key])
    if steps := _pipeline(call, pipeline):
        data["pipeline"] = steps
    if "KIN_RUN" in call.environ:  # an agent calls: what it makes is known as such
        data["x-proposed-by"] = f"{call.environ.get('KIN_TASK')} {call.environ.get('KIN_STEP')}"
    return data


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The task's keys that options gave, as plain data."""
    spelled = {"label": "labels"}
    data: dict[str, Any] = {}
    for name in ("label", "priority", "assignee", "parent", "depends_on", "module", "touches", "mode", "base", "acceptance"):
        value = values.get(name)
        if isinstance(value, tuple):
            value = list(dict.fromkeys(value if name == "acceptance" else split(value)))
        if value:
            data[spelled.get(name, name)] = value
    if description := written(values.get("description")):
        data["description"] = description.rstrip("\n") + ("\n" if "\n" in description.rstrip("\n") else "")
    return data


def _resolved(project: "Project", value: Any) -> Any:
    if not isinstance(value, list):
        return resolve(project, value)
    if any(":" in word for word in value):
        from kin.store.linked import needed

        return [needed(project, word) for word in value]
    return [resolve(project, word) for word in value]


def _pipeline(call: Call, usual: str | None) -> Any:
    """What the task's `pipeline` is to be: one command, a name that exists, or None for the project's default."""
    command, name = call["run"], call["pipeline"]
    if command is not None and name is not None:
        raise Usage("--run and --pipeline exclude each other", "a pipeline's steps may have `run:` in kin.yaml")
    if command is not None:
        if not command.strip():
            raise Usage("--run needs a command")
        return [{"run": command}]
    if name is not None:
        refuse_pipeline(call, name)
    return name or usual


def refuse_pipeline(call: Call, name: str) -> None:
    """Raise Usage if no pipeline is called so."""
    from kin.store.config import fault_of_pipeline

    if fault := fault_of_pipeline(call.project, name, call.environ):
        raise Usage(fault, "pipelines stand in .kin/kin.yaml")


def rm_(call: Call) -> Result:
    """Remove tasks' files, unless something else needs them."""
    from kin.store.files import remove_file
    from kin.store.view import see

    project = call.project
    refuse_newer_format(project)
    ids = list(dict.fromkeys(resolve(project, word) for word in call["ids"]))
    view = see(project, bodies=call.screen.json)
    for task_id in ids:
        if task_id in view.seen and view.seen[task_id].run and view.seen[task_id].status == "in_progress":
            raise Busy(f"{task_id} is being run", f"`kin stop {task_id}` ends it")
        if task_id in view.runs and view.runs[task_id].status == "waiting":
            raise Waits(f"a run of {task_id} waits", f"`kin reject {task_id}` cancels it and keeps its branch aside")
    if not call["force"]:
        _refuse_needed(ids, view.graph)
    for task_id in ids:
        remove_file(project, task_path(project, task_id))
    # What cannot be read has its id alone.
    data = [entry(view.seen[task_id]) if task_id in view.seen else {"id": task_id} for task_id in ids]
    return Result("task.list", data, [f"{task_id}  removed" for task_id in ids], brief=())


def _refuse_needed(ids: list[str], graph: "Graph") -> None:
    for name in ids:
        for other in (*graph.dependents.get(name, ()), *graph.children.get(name, ())):
            if other not in ids:
                hint = f"`kin set {name} status=cancelled` keeps it for the record; --force removes it all the same"
                raise Usage(f"{other} refers to {name}", hint, referrer=other)


def note_(call: Call) -> Result:
    """Leave a note on a task: from -m, from standard input, or from the editor."""
    from kin.model import times
    from kin.model.task import Note
    from kin.store.notes import add
    from kin.store.roles import find_role

    project = call.project
    task_id = resolve(project, call["id"])
    if call["to"] not in (None, "command"):
        find_role(project.store, call["to"])
    text = written(call["message"])
    if text is None:
        text = _composed(project, task_id, call.environ)
    if not text.strip():
        raise Usage("the note is empty; nothing was written")
    note = Note(by=call.person, at=times.written(), text=text.strip("\n"), to=call["to"])
    note_id = add(project, task_id, note)
    path = os.path.join(".kin", "notes", task_id, f"{note_id}.yaml")
    return Result("note", note_entry(task_id, note_id, note), [f"{clean(path)}"], brief=())


def _composed(project: "Project", task_id: str, environ: Mapping[str, str]) -> str:
    """What the person writes in their editor; lines that begin with # are kin's, as in a commit message."""
    asked = f"\n# A note on {task_id}. Lines that begin with # are left out; an empty note is not written.\n"
    path = edit_copy(project, f"{task_id}.txt", asked, environ)
    with open(path, encoding="utf-8", errors="replace") as file:
        text = "".join(line for line in file if not line.startswith("#"))
    forget(path)
    return text
