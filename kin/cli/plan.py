"""`kin plan`: what the PM would do with a task, made once, kept with its run, and shown without running it."""

from typing import TYPE_CHECKING, Any

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, indent
from kin.cli.show import proposal_line, proposals

if TYPE_CHECKING:
    from kin.model.record import Run


def plan_(call: Call) -> Result:
    """Show the plan of a task; made first if there is none."""
    from kin.store import records, tasks

    task_id = tasks.resolve(call.project, call["id"])
    live = records.live(call.project, task_id)
    said: list[str] = []
    if call["restart"] or not _is_planned(live):
        from kin.cli.run import report

        outcome, said = _make(call, task_id, live)
        live = records.live(call.project, task_id)
        if not _is_planned(live):
            return report([outcome], said)
    assert live is not None
    data = _as_data(call, live)
    return Result("plan", data, lambda screen: _lines(data, screen), brief=(), warnings=said)


def _is_planned(live: "Run | None") -> bool:
    return bool(live and live.live.plan and live.live.plan.hash)


def _make(call: Call, task_id: str, live: "Run | None") -> Any:
    """Run the steps that plan, and no others."""
    from kin.cli.consent import consent
    from kin.cli.run import run_alone, starter
    from kin.cli.show_run import Display
    from kin.errors import Usage
    from kin.runner.runs.begin import Asked, already, plan_for
    from kin.runner.runs.planning import refuse_open_parts
    from kin.runner.upkeep.watchdog import recover

    asked = Asked(plan=True, restart=call["restart"], started_by=starter(call))
    plan = plan_for(call.project, task_id, asked, call.environ)
    if not plan.planners:
        raise Usage(f"{task_id} has a pipeline", f"`kin set {task_id} pipeline=` leaves it to the PM")
    if live and not asked.restart and not live.live.plan and any(s.status == "done" for s in live.steps):
        raise Usage(f"{task_id} was begun without a plan", "`--restart` plans it; what was done is kept aside")
    if asked.restart:
        refuse_open_parts(call.project, task_id)
    if (answer := already(call.project, plan, live, asked)) is not None:
        return answer, []
    said = recover(call.project)
    consent(call, [plan])
    with Display(call.screen, alone=True) as display:
        return run_alone(call, task_id, asked, display, plan), said


def _as_data(call: Call, live: "Run") -> dict[str, Any]:
    from kin.model.fields import data_of
    from kin.store.tasks import load, parse

    plan = live.live.plan
    assert plan is not None
    texts = {part: parse(str(text), f"{part}.yaml") for part, text in plan.files.items()}
    parts = [data_of(texts.get(part) or load(call.project, part)[0]) for part in plan.parts]
    planner = next((s for s in live.steps if s.status == "done" and s.summary), None)
    return {
        "task": live.task,
        "run": live.run,
        "hash": plan.hash,
        "agreed": plan.agreed == plan.hash,
        "agreed_by": plan.agreed_by,
        "summary": planner.summary if planner else None,
        "steps": [dict(step) for step in plan.steps],
        "tasks": parts,
        "proposals": proposals(live),
    }


def _lines(data: dict[str, Any], screen: Screen) -> list[str]:
    task = data["task"]
    lines = [screen.paint(f"{task}  plan {data['hash']}", "bold")]
    lines += indent(clean(data["summary"] or "").splitlines())
    for part in data["tasks"]:
        needs = f" (after {', '.join(part['depends_on'])})" if part.get("depends_on") else ""
        lines += ["", f"{part['id']}  {clean(part['title'])}{needs}", *indent(clean(part.get("description", "")).splitlines())]
    for number, step in enumerate(data["steps"], 1):
        name = step.get("role") or f"pipeline {step.get('pipeline')}"
        lines += ["", f"{number}. {clean(name)}", *indent(clean(step.get("brief", "")).splitlines())]
    lines += ["", *(clean(proposal_line(one)) for one in data["proposals"])]
    agreed = f"agreed to by {clean(data['agreed_by'])}; " if data["agreed"] else ""
    lines.append(f"{agreed}`kin run {task}` goes on with it, `kin revise {task} -m ...` has it made anew")
    return lines
