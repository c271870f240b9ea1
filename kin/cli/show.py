"""`kin show`: all that is known of one task, for a person or as JSON; and `kin diff`, what its branch changes."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kin.cli.listing import entry
from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, gist, indent
from kin.model.status import TaskStatus

if TYPE_CHECKING:
    from kin.model.record import Run
    from kin.model.task import Note, Task
    from kin.store.view import Seen, View


def show_(call: Call) -> Result:
    """Show all that is known of one task, or a decision."""
    if call["id"][:2] in ("D-", "d-"):
        from kin.cli.decisions import show_decision

        return show_decision(call)
    from kin.store.notes import of_task
    from kin.store.records import ended
    from kin.store.tasks import task_path

    project = call.project
    seen, view = call.task()
    task_id = seen.task.id
    notes = of_task(project, task_id)
    run = view.runs.get(task_id)
    last = run or next(reversed(ended(project, task_id)), None)
    data = entry(seen) | {
        "path": os.path.relpath(task_path(project, task_id), project.root),
        "branch": run.branch or None if run else None,
        "worktree": run.live.worktree if run else None,
        "pipelines": [run_entry(last)] if last else [],
        "proposals": proposals(last),
        "notes": [note_entry(task_id, note_id, note) for note_id, note in notes],
    }
    told = [note for _, note in notes]
    return Result("task", data, lambda screen: _page(seen, view, last, told, data, screen), warnings=view.warnings)


def _page(
    seen: "Seen", view: "View", run: "Run | None", notes: "list[Note]", data: dict[str, Any], screen: Screen
) -> Iterator[str]:
    """`run` is the one under way or the last that ended."""
    task = seen.task
    yield f"{screen.paint(task.id, 'bold')}  {clean(task.title)}"
    facts = [screen.status(seen.status, clean(seen.shown)), f"priority {task.priority}"]
    facts += [f"{name} {clean(value)}" for name, value in (("module", task.module), ("for", task.assignee)) if value]
    facts += [clean(", ".join(task.labels))] if task.labels else []
    facts += [f"created {clean(task.created)}"] if task.created else []
    yield " · ".join(facts)
    if task.blocked and task.status == TaskStatus.blocked:
        yield from ("", f"{screen.paint('Blocked', 'red')} ({task.blocked.kind})", *_indented(task.blocked.reason))
    yield from _section("", list(_fields(task, view, data)), screen)
    yield from _section("Description", task.description.splitlines(), screen)
    yield from _section("Acceptance", [f"- {line}" for line in task.acceptance], screen)
    if run is not None:
        yield from _section(f"Run {run.run}", _run(run), screen)
    yield from _section("Notes", [line for note in notes for line in _note(note)], screen)
    yield from ("", screen.paint(data["path"], "dim"))


def _section(title: str, lines: Sequence[str], screen: Screen) -> list[str]:
    if not lines:
        return []
    return ["", *([screen.paint(title, "bold")] if title else []), *_indented("\n".join(lines))]


def _indented(text: str) -> list[str]:
    return indent(clean(line) for line in text.splitlines())


def _fields(task: "Task", view: "View", data: dict[str, Any]) -> Iterator[str]:
    """The fields that have no place of their own, a line each."""
    rows, known, graph = list[tuple[str, str]](), view.seen, view.graph
    needs = [
        f"{meant} ({known[meant].shown})" if meant else word if ":" in word else f"{word} (missing)"
        for word, meant in graph.depends_on.get(task.id, ())
    ]
    rows += [("depends on", ", ".join(needs)), ("parent", task.parent or "")]
    rows.append(("children", ", ".join(f"{i} ({known[i].shown})" for i in graph.children.get(task.id, ()))))
    rows.append(("touches", ", ".join(task.touches)))
    rows += [(name, _short(getattr(task, name))) for name in ("mode", "base", "agent", "budget", "plan", "pipeline")]
    rows += [(name, _short(value)) for name, value in task.extra.items()]
    rows += [("branch", data["branch"] or ""), ("worktree", data["worktree"] or "")]
    width = max(len(name) for name, value in rows if value) if any(value for _, value in rows) else 0
    for name, value in rows:
        if value:
            yield f"{name:{width}}  {value}"


def _short(value: Any) -> str:
    """A value of any shape on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_short(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " → ".join(_short(v) for v in value)
    return "" if value is None else " ".join(str(value).split())


def _run(run: "Run") -> list[str]:
    """A run: where it stands, its steps with what they said, its gates."""
    ended = f", ended {run.ended}" if run.ended else ""
    state = f"waits for {run.waiting.for_}" if run.waiting else str(run.status)
    why = gist(run.waiting.reason if run.waiting else run.reason)
    lines = [f"{state}, started {run.started}{ended}" + (f": {why}" if why else "")]
    lines += [f"  in the way: {path}" for path in (run.waiting.paths if run.waiting else ())]
    for step in run.steps:
        said = gist(step.reason or step.summary)
        lines.append(f"{step.id}  {step.status}" + (f"  {said[:160]}" if said else ""))
    lines += parts(run)
    lines += [f"gate {gate.name}  {gate.verdict}" for gate in run.gates]
    lines += [proposal_line(one) for one in proposals(run)]
    return [*lines, f"merged as {run.merge[:12]}"] if run.merge else lines


def parts(run: "Run") -> list[str]:
    """The tasks that a plan would make and that are not written yet."""
    files = run.live.plan.files if run.live.plan else {}
    titles = (line for text in files.values() for line in text.splitlines() if line.startswith("title: "))
    return [f"would make {part}  {title.removeprefix('title: ')}" for part, title in zip(files, titles, strict=True)]


def proposal_line(one: dict[str, Any]) -> str:
    """A proposal in words."""
    if one["repeats"]:
        return f"says again what {one['repeats']} says  {one['title']}"
    return f"proposes {one['id'] or 'a new one'} ({one['kind']})  {one['title']}"


def proposals(run: "Run | None") -> list[dict[str, Any]]:
    """The decisions and tasks that a run under way will bring with its merge; `id` is None until that is built."""
    if run is None or not run.live.proposals:
        return []
    from kin.runner.steps.proposals import proposals_of

    kinds = {"decisions": "decision", "tasks": "task"}
    found = proposals_of(run)
    return [{"kind": kinds[o.folder], **o.data, "id": o.id, "repeats": o.repeats, "step": o.step} for o in found]


def _note(note: "Note") -> list[str]:
    head = f"{note.at} {note.by}" + (f" to {note.to}" if note.to else "") + (f" ({note.for_})" if note.for_ != "info" else "")
    return [head, *indent(note.text.splitlines())]


def note_entry(task_id: str, note_id: str, note: "Note") -> dict[str, Any]:
    """A note as JSON."""
    return {"id": note_id, "task": task_id, "by": note.by, "at": note.at, "for": note.for_, "to": note.to, "text": note.text}


def run_entry(run: "Run") -> dict[str, Any]:
    """A run as JSON: its record without what holds for this machine alone."""
    from kin.model.record import committed

    def plain(value: Any) -> Any:
        if hasattr(value, "_asdict"):
            return {k.rstrip("_"): plain(v) for k, v in value._asdict().items()}
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    out: dict[str, Any] = plain(committed(run))
    del out["live"]
    return out | {"waiting": plain(run.waiting)}


def diff_(call: Call) -> Result:
    """Print the difference: through the person's own pager at a terminal, byte for byte into a pipe."""
    from kin import git
    from kin.runner.steps.changed import BUT_KIN, files_between, range_of
    from kin.store.records import live
    from kin.store.tasks import resolve

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
