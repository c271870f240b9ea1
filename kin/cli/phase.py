"""`kin phase`: the stages of a project, started and judged by a person."""

from collections.abc import Sequence
from typing import Any

from kin.cli.output import Call, Result, fields
from kin.cli.screen import Screen, clean
from kin.runner.people.phase import ASKED, approve, find, plan_of, reject, revise, stands, start
from kin.runner.runs.begin import plan_for


def phase_list(call: Call) -> Result:
    """All phases and where they stand."""
    data: list[dict[str, Any]] = []
    for phase in plan_of(call.project):
        roles = [step if isinstance(step, str) else step.get("role") or "command" for step in phase.roles or ()]
        data.append(fields(phase) | {"status": stands(call.project, phase), "roles": roles})

    def lines(screen: Screen) -> list[str]:
        rows = [(clean(row["id"]), screen.status(row["status"]), clean(row["name"] or row["goal"] or "")) for row in data]
        wide = max((len(row[0]) for row in rows), default=0)
        lines = [f"{one:{wide}}  {status}  {words}".rstrip() for one, status, words in rows]
        return lines or ["no phases: write .kin/phases.yaml"]

    return Result("phase.list", data, lines, [row["id"] for row in data])


def phase_start(call: Call) -> Result:
    """Run a phase's roles or tasks."""
    from kin.cli.consent import consent
    from kin.cli.run import report
    from kin.cli.show_run import Display
    from kin.runner.upkeep.watchdog import recover

    recovered = recover(call.project)

    def allow(ids: Sequence[str]) -> None:
        consent(call, [plan_for(call.project, task_id, ASKED, call.environ) for task_id in ids])

    with Display(call.screen, alone=False) as display:
        outcomes = start(call.project, call["phase"], environ=call.environ, emit=display.hear, allow=allow)
    return report(outcomes, recovered)


def phase_approve(call: Call) -> Result:
    """Agree to what a phase brought."""
    from kin.cli.consent import consent
    from kin.cli.run import report
    from kin.cli.show_run import Display

    if task := find(call.project, call["phase"]).task:
        consent(call, [plan_for(call.project, task, ASKED, call.environ)], steps=False)
    with Display(call.screen, alone=True) as display:
        outcomes = approve(call.project, call["phase"], by=call.person, environ=call.environ, emit=display.hear)
    return report(outcomes) if outcomes else _told(call)


def phase_revise(call: Call) -> Result:
    """Send it back with a note."""
    from kin.cli.editor import said

    text = said(call, f"phase revise {call['phase']}")
    revise(call.project, call["phase"], text, by=call.person, to=call["to"], environ=call.environ)
    return _told(call, f"`kin phase start {call['phase']}` goes on with your note")


def phase_reject(call: Call) -> Result:
    """Give it up."""
    from kin.cli.editor import said

    reject(call.project, call["phase"], message=said(call), by=call.person)
    return _told(call, f"`kin phase start {call['phase']}` starts it anew")


def _told(call: Call, more: str = "") -> Result:

    phase_id = call["phase"]
    status = find(call.project, phase_id).status
    return Result("phase", {"id": phase_id, "status": status}, [f"{phase_id}  {status}" + (f"; {more}" if more else "")], ())
