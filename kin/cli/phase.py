"""`kin phase`: the stages of a project, started and judged by a person."""

from collections.abc import Sequence
from typing import Any

from kin.cli.commands import PHASE_ACTIONS as ACTIONS
from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean
from kin.errors import Usage


def phase_(call: Call) -> Result:
    """List, start or judge phases."""
    action = call["action"] or "list"
    if action not in ACTIONS:
        raise Usage(f"`kin phase {action}` is no command", f"one of {', '.join(ACTIONS)}")
    if action == "list":
        return _list(call)
    if not call["phase"]:
        raise Usage(f"which phase is it to {action}?", "`kin phase list` shows them")
    return {"start": _start, "approve": _approve, "revise": _revise, "reject": _reject}[action](call, call["phase"])


def _list(call: Call) -> Result:
    from kin.runner.phase import plan_of, stands

    data: list[dict[str, Any]] = []
    for phase in plan_of(call.project):
        roles = [step if isinstance(step, str) else step.get("role") or "command" for step in phase.roles or ()]
        row = {"id": phase.id, "name": phase.name or None, "status": stands(call.project, phase), "goal": phase.goal or None}
        data.append(row | {"roles": roles, "tasks": list(phase.tasks), "task": phase.task})

    def lines(screen: Screen) -> list[str]:
        rows = [(clean(row["id"]), screen.status(row["status"]), clean(row["name"] or row["goal"] or "")) for row in data]
        wide = max((len(row[0]) for row in rows), default=0)
        return [f"{one:{wide}}  {status}  {words}" for one, status, words in rows] or ["no phases: write .kin/phases.yaml"]

    return Result("phase.list", data, lines, [row["id"] for row in data])


def _start(call: Call, phase_id: str) -> Result:
    from kin.cli.consent import consent
    from kin.cli.run import report
    from kin.cli.show_run import Display
    from kin.runner.begin import plan_for
    from kin.runner.phase import ASKED, start
    from kin.runner.watchdog import recover

    said = recover(call.project)

    def allow(ids: Sequence[str]) -> None:
        consent(call, [plan_for(call.project, task_id, ASKED, call.environ) for task_id in ids])

    with Display(call.screen, alone=False) as display:
        outcomes = start(call.project, phase_id, environ=call.environ, emit=display.hear, allow=allow)
    return report(outcomes, said)


def _approve(call: Call, phase_id: str) -> Result:
    from kin.cli.consent import consent
    from kin.cli.person import who
    from kin.cli.run import report
    from kin.cli.show_run import Display
    from kin.runner.begin import plan_for
    from kin.runner.phase import ASKED, approve, find

    if task := find(call.project, phase_id).task:
        consent(call, [plan_for(call.project, task, ASKED, call.environ)], steps=False)
    with Display(call.screen, alone=True) as display:
        outcomes = approve(call.project, phase_id, by=who(call), environ=call.environ, emit=display.hear)
    return report(outcomes) if outcomes else _told(call, phase_id)


def _revise(call: Call, phase_id: str) -> Result:
    from kin.cli.person import who
    from kin.runner.phase import revise

    if not (call["message"] or "").strip():
        raise Usage("revise needs words", f'`kin phase revise {phase_id} -m "..."`')
    revise(call.project, phase_id, call["message"], by=who(call), to=call["to"], environ=call.environ)
    return _told(call, phase_id, f"`kin phase start {phase_id}` goes on with your note")


def _reject(call: Call, phase_id: str) -> Result:
    from kin.cli.person import who
    from kin.runner.phase import reject

    reject(call.project, phase_id, message=call["message"] or "", by=who(call))
    return _told(call, phase_id, f"`kin phase start {phase_id}` starts it anew")


def _told(call: Call, phase_id: str, more: str = "") -> Result:
    from kin.runner.phase import find

    status = find(call.project, phase_id).status
    return Result("phase", {"id": phase_id, "status": status}, [f"{phase_id}  {status}" + (f"; {more}" if more else "")], ())
