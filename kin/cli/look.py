"""What goes on and what stands still: `status`, `why` and `inbox`, here or in every trusted clone's project; and `stop`.

It imports little: the sooner `kin stop` has sent its signal, the better.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, ago, clean, counted, fit, gist
from kin.errors import KinError
from kin.model.ready import as_owed
from kin.model.status import BlockedKind, RunStatus, StepStatus, TaskStatus, WaitFor

if TYPE_CHECKING:
    from datetime import datetime

    from kin.model.record import Run
    from kin.store.project import Project
    from kin.store.view import Seen, View


def status_(call: Call) -> Result:
    """Show what runs and what waits; with --ended also how each task's last run ended."""
    if call["all"]:
        return everywhere(call, status_, "status")
    from kin.model.times import now
    from kin.store.locks import queued
    from kin.store.tasks import resolve
    from kin.store.view import see

    project = call.project
    wanted = {resolve(project, word) for word in call["ids"]}
    view = see(project)
    runs = [run for task, run in view.runs.items() if not wanted or task in wanted]
    names = sorted(queued(view.held).difference(view.held).intersection(wanted or view.seen))
    in_queue = [_queued(project, view, task) for task in names]
    running = [_running(project, run, view) for run in runs if run.task in view.held]
    waiting = [_waiting(run, view) for run in runs if _stands_still(run) and run.task not in view.held]
    ended = list(_ended(project, view, wanted)) if call["ended"] or wanted else []
    data = {"running": running, "queued": in_queue, "waiting": waiting, "ended": ended}

    def lines(screen: Screen) -> list[str]:
        return _status(data, len(view.ready), screen, now())

    return Result("status", data, lines, [row["task"] for row in running], view.warnings)


def everywhere(call: Call, look: Callable[[Call], Result], kind: str) -> Result:
    """What `look` shows in each project, as a list of that kind; one that cannot be read is a warning."""
    from kin.store.project import find
    from kin.store.trust import clones

    environ = {k: v for k, v in call.environ.items() if k != "KIN_DIR"}
    found: list[tuple[str, Result]] = []
    warnings: list[str] = []
    for git_common in clones(environ):
        root = os.path.dirname(git_common)
        try:
            project = find(root, environ)
            found.append((project.root, look(call.within(project))))
        except (KinError, OSError) as error:
            warnings.append(f"{root}: {error}")
    data: list[dict[str, Any]] = []
    for root, result in found:
        said = result.data() if callable(result.data) else result.data
        data.append({"project": root, **(said if isinstance(said, dict) else {"items": said})})
        warnings += [f"{root}: {warning}" for warning in result.warnings]

    def lines(screen: Screen) -> Iterator[str]:
        for root, result in found:
            yield screen.paint(clean(root), "bold")
            yield from (f"  {line}" for line in (result.lines(screen) if callable(result.lines) else result.lines))

    return Result(f"{kind}.list", data, lines, [root for root, _ in found], warnings)


def _stands_still(run: "Run") -> bool:
    """Whether the run goes on some day: it waits, or says `running` although its process is gone."""
    return run.status in (RunStatus.waiting, RunStatus.running)


def _row(run: "Run", view: "View") -> dict[str, Any]:
    title = view.seen[run.task].task.title if run.task in view.seen else ""
    return {"task": run.task, "title": title, "run": run.run, "status": run.status, "started": run.started}


def _running(project: "Project", run: "Run", view: "View") -> dict[str, Any]:
    from kin.cli.log import last_said

    step = next((s for s in run.steps if s.status == StepStatus.running), None)
    last = last_said(project, run.task, run.run)
    return _row(run, view) | {
        "step": step.id if step else None,
        "step_started": step.started if step else None,
        "agent": step.agent or last.agent if step else None,
        "last": last.text or None,
    }


def _queued(project: "Project", view: "View", task: str) -> dict[str, Any]:
    from kin.store.locks import holder, lock_path

    who = holder(lock_path(project.common, f"{task}.queued"))
    title = view.seen[task].task.title if task in view.seen else ""
    return {"task": task, "title": title, "pid": who.pid if who else None, "since": who.since if who else None}


def _waiting(run: "Run", view: "View") -> dict[str, Any]:
    waits = run.waiting if run.status == RunStatus.waiting else None
    died = "its process died; the next `kin run` goes on from its last finished step"
    return _row(run, view) | {
        "for": waits.for_ if waits else None,
        "until": waits.until if waits else None,
        "reason": (waits.reason or None) if waits else died,
        "paths": list(waits.paths) if waits else [],
    }


def _ended(project: "Project", view: "View", wanted: set[str]) -> Iterator[dict[str, Any]]:
    from kin.store.records import ended

    for task in view.seen:
        if (not wanted or task in wanted) and os.path.isdir(os.path.join(project.store, "pipelines", task)):
            for run in ended(project, task)[-1:]:
                yield _row(run, view) | {"ended": run.ended, "reason": run.reason or None, "merge": run.merge}


def _status(data: Mapping[str, list[dict[str, Any]]], ready: int, screen: Screen, moment: "datetime") -> list[str]:
    lines: list[str] = []
    for row in data["running"]:
        lines.append(_head(row, screen))
        by = f" by {row['agent']}" if row["agent"] not in (None, "command") else ""
        step = f"{row['step'] or 'between steps'}{by}, {ago(row['step_started'] or row['started'], moment)}"
        lines.append(f"  {screen.paint(step, 'cyan')}")
        if row["last"]:
            lines.append(f"  {screen.paint(fit(row['last'], (screen.width or 200) - 2), 'dim')}")
    for row in data["queued"]:
        since = f", {ago(row['since'], moment)}" if row["since"] else ""
        lines += [_head(row, screen), f"  {screen.paint(f'waits in the queue for a slot{since}', 'yellow')}"]
    for row in data["waiting"]:
        lines += [_head(row, screen), f"  {screen.paint(_waits(row), 'yellow')}"]
    for row in data["ended"]:
        said = f"{row['status']}, {ago(row['ended'], moment)} ago" if row["ended"] else str(row["status"])
        lines += [_head(row, screen), f"  {said}" + (f": {gist(row['reason'])}" if row["reason"] else "")]
    if not data["running"]:
        are, them = ("is", "it") if ready == 1 else ("are", "them")
        lines.append("Nothing runs." + (f" {counted(ready, 'task')} {are} ready: `kin run` starts {them}." if ready else ""))
    return lines


def _waits(row: Mapping[str, Any]) -> str:
    why = gist(row["reason"] or "")
    if row["for"] is None:
        return why
    return f"waits for {row['for']}" + (f" until {row['until']}" if row["until"] else "") + (f": {why}" if why else "")


def _head(row: Mapping[str, Any], screen: Screen) -> str:
    return f"{screen.paint(row['task'], 'bold')}  {clean(row['title'])}"


def why_(call: Call) -> Result:
    """Every reason why a task does not run or merge now."""

    seen, view = call.task(with_reasons=True)
    found = [*seen.reasons]
    if "auto" in seen.task.labels or _goes_on(view.runs.get(seen.task.id)):  # else it does not ask to be started
        from kin.runner.watch.reconcile import why_not

        found += why_not(call.project, view, seen.task.id, call.environ)
    data = {
        "task": seen.task.id,
        "status": seen.status,
        "stored_status": seen.task.status,
        "ready": seen.ready,
        "run": seen.run,
        "reasons": [{"kind": r.kind, "text": r.text, "ref": r.ref or None} for r in found],
    }
    task = seen.task.id
    lines = [f"{task} is {seen.shown}"]
    lines += [f"  {clean(reason.text)}" for reason in found]
    if seen.ready:
        lines.append(f"  nothing in the files is in its way: `kin run {task}`, with --dry-run to see who plays each step")
    return Result("why", data, lines, warnings=view.warnings)


def _goes_on(run: "Run | None") -> bool:
    """Whether a run that stands still goes on by itself."""
    if run is None or run.waiting is None:
        return run is not None and run.live.word == "go"
    return run.waiting.for_ in (WaitFor.limit, WaitFor.merge, WaitFor.tasks)


class Item(NamedTuple):
    """Something that waits for a person: what, why, and what to type (the likeliest first)."""

    task: str
    title: str
    kind: str
    reason: str
    commands: tuple[str, ...]


def inbox_(call: Call) -> Result:
    """List all that waits for a person."""
    if call["all"]:
        return everywhere(call, inbox_, "inbox")
    from kin.store.view import see

    view = see(call.project)
    items = inbox(view)
    data = [item._asdict() | {"commands": list(item.commands)} for item in items]
    return Result("inbox", data, lambda screen: _inbox(items, screen), [item.task for item in items], view.warnings)


def inbox(view: "View") -> list[Item]:
    """All that waits for a person, in the order of ready tasks."""
    found = (_item(view.seen[task], view.runs.get(task)) for task in view.order)
    return [item for item in found if item is not None]


_ANSWERS = {
    WaitFor.review: ("kin diff {0}", "kin approve {0}", "kin revise {0} -m ..."),
    WaitFor.plan: ("kin plan {0}", "kin approve {0}", "kin revise {0} -m ..."),
    WaitFor.question: ("kin answer {0} -m ...",),
    WaitFor.merge: ("kin why {0}", "kin approve {0}"),
}
_MENDS = {
    BlockedKind.question: ("kin answer {0} -m ...",),
    BlockedKind.conflict: ("kin show {0}", "kin run {0}"),
    BlockedKind.manual: ("kin run {0}",),
}


def _item(seen: "Seen", run: "Run | None") -> Item | None:
    task = as_owed(seen.task, run)
    commands: Sequence[str]
    if run is not None and run.status == RunStatus.waiting and run.waiting and run.waiting.for_ in _ANSWERS:
        kind, reason = str(run.waiting.for_), run.waiting.reason or ", ".join(run.waiting.paths)
        commands = _ANSWERS[run.waiting.for_]
    elif seen.ready or (run is not None and run.status in (RunStatus.running, RunStatus.waiting)):
        return None
    elif task.status == TaskStatus.blocked:
        kind = task.blocked.kind if task.blocked else BlockedKind.manual
        reason = task.blocked.reason if task.blocked else ""
        commands = _MENDS.get(kind, ("kin log {0}", "kin run {0}"))
    elif task.status == TaskStatus.review:
        kind, reason = "review", "its run was interrupted" if run else "its run is not in this clone"
        commands = ("kin show {0}", "kin run {0}" if run else "kin set {0} status=todo")
    else:
        return None
    return Item(task.id, task.title, kind, reason, tuple(command.format(task.id) for command in commands))


def _inbox(items: Sequence[Item], screen: Screen) -> list[str]:
    if not items:
        return ["Nothing waits for you."]
    lines: list[str] = []
    for item in items:
        why = gist(item.reason)
        lines.append(f"{screen.paint(item.task, 'bold')}  {clean(item.title)}")
        lines.append(f"  {screen.paint(item.kind, 'yellow')}" + (f": {why}" if why else ""))
        lines.append("  " + "   ".join(f"`{command}`" for command in item.commands))
    return lines


def stop_(call: Call) -> Result:
    """End the live runs of tasks."""
    from kin.runner.people.stop import stop
    from kin.store import tasks

    stopped = [stop(call.project, tasks.resolve(call.project, word), by=lambda: call.person) for word in call["ids"]]
    words = (
        "taken out of the queue",
        "at its end when it was stopped",
        "stopped; `kin run {0}` goes on from the last finished step",
    )
    lines = [f"{s.end.task}  {words[0 if s.queued else 1 if s.end.run is None else 2].format(s.end.task)}" for s in stopped]
    data = [{**s.end._asdict(), "pid": s.pid, "queued": s.queued} for s in stopped]
    return Result("pipeline.list", data, lines, brief=())
