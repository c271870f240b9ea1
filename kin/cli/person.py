"""A person's part: approve, revise, reject, answer, reopen, undo."""

from typing import Any

from kin.cli.consent import consent
from kin.cli.editor import said
from kin.cli.listing import entry
from kin.cli.output import Call, Result
from kin.cli.run import report, run_added
from kin.cli.show_run import Display
from kin.errors import KinError
from kin.model.task import Task
from kin.model.times import today
from kin.runner.people.person import answer, approve, reject, reopen, revise, undo
from kin.runner.process.events import Caller
from kin.runner.process.signals import Cancel
from kin.runner.runs.begin import Asked, plan_for
from kin.runner.runs.outcome import Outcome
from kin.runner.tree.aside import how_to_see
from kin.store import decisions, tasks
from kin.store.view import see


def _ids(call: Call) -> list[str]:
    words = call["ids"] if "ids" in call.values else [call["id"]]
    return list(dict.fromkeys(tasks.resolve(call.project, word) for word in words))


def approve_(call: Call) -> Result:
    """Approve what waits, and merge it; one task's trouble does not keep the others."""
    from kin.runner.upkeep.watchdog import recover

    ids = _ids(call)
    recovered = recover(call.project)
    _agree_to_gates(call, ids)
    outcomes: list[Outcome] = []
    with Display(call.screen, alone=True) as display, Cancel() as cancel:
        for task_id in ids:
            try:
                outcome = approve(call.project, task_id, call.person, Caller(call.environ, display.hear, cancel))
            except KinError as error:
                if len(ids) == 1:
                    raise
                outcome = Outcome(task_id, None, "unknown", error.exit, reason=str(error))
            outcomes.append(outcome)
    return report(outcomes, recovered, told=len(outcomes) == 1)


def _agree_to_gates(call: Call, ids: list[str]) -> None:
    """Gates may have changed by a pull since the run; whoever approves has them run, so they are agreed to as for a run."""
    plans = []
    for task_id in ids:
        try:
            plans.append(plan_for(call.project, task_id, Asked(plays=False), call.environ))
        except KinError:
            continue  # `approve` says so, for this task alone
    if plans:
        consent(call, plans, steps=False)


def revise_(call: Call) -> Result:
    """Send the work back with a note."""
    (task_id,) = _ids(call)
    text = said(call, f"revise {task_id}")
    note, step = revise(call.project, task_id, text, by=call.person, to=call["to"], environ=call.environ)
    if call["run"]:
        return run_added(call, [task_id])
    lines = [f"{task_id}  todo; step {step} reads your note when it runs: `kin run {task_id}`"]
    return Result("note", {"id": note, "task": task_id, "to": step, "text": text}, lines, brief=())


def answer_(call: Call) -> Result:
    """Answer a question; with --decide the answer is remembered as a decision, too."""
    (task_id,) = _ids(call)
    text = said(call, f"answer {task_id}")
    task, _ = tasks.load(call.project, task_id)
    note = answer(call.project, task_id, text, by=call.person)
    decided = _decide(call, task, text) if call["decide"] else None
    if call["run"]:
        return run_added(call, [task_id])
    lines = [f"{task_id}  todo; `kin run {task_id}` goes on with your answer"]
    lines += [f"{decided}  .kin/decisions/{decided}.yaml"] if decided else []
    return Result("note", {"id": note, "task": task_id, "text": text, "decision": decided}, lines, brief=())


def _decide(call: Call, task: Task, text: str) -> str:
    """Make a decision of an answer: what was asked, what was said, and the part of the code that it is about."""
    asked = f"{task.blocked.reason}\n\n" if task.blocked else ""
    data = {
        "title": text.splitlines()[0][:200],
        "text": f"{asked}{text}",
        "module": task.module,
        "paths": list(task.touches),
        "source": {"task": task.id, "person": call.person},
    }
    return decisions.add(call.project, {k: v for k, v in data.items() if v}, today=today()).id


def reject_(call: Call) -> Result:
    """Give a task's work up, keeping it aside."""
    (task_id,) = _ids(call)
    kept = reject(call.project, task_id, message=said(call), by=call.person)
    lines = [f"{task_id}  cancelled" + (f"; its work is kept: {how_to_see(kept)}" if kept else "")]
    return Result("task", lambda: entry(call.task()[0]) | {"kept": kept}, lines, brief=())


def reopen_(call: Call) -> Result:
    """Put tasks back to todo."""
    done = {task_id: reopen(call.project, task_id) for task_id in _ids(call)}
    lines = [
        f"{task_id}  todo" + (f"; earlier work is kept: {how_to_see(kept)}" if kept else "") for task_id, kept in done.items()
    ]

    def data() -> list[dict[str, Any]]:
        view = see(call.project)
        return [entry(view.seen[task_id]) | {"kept": kept} for task_id, kept in done.items()]

    return Result("task.list", data, lines, brief=())


def undo_(call: Call) -> Result:
    """Revert a task's merge: code and state go back, the task is todo again."""
    from kin.runner.upkeep.watchdog import recover

    (task_id,) = _ids(call)
    recovered = recover(call.project)
    done, target = undo(call.project, task_id, base=call["base"], environ=call.environ)
    lines = [f"{task_id}  todo; reverted on {target} as {done.oid[:12]}; gates did not run on it"]
    warnings = [*recovered, *done.warnings]
    return Result("task", lambda: entry(call.task()[0]) | {"commit": done.oid}, lines, (), warnings)
