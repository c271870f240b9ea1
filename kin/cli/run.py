"""`kin run` and `kin do`: tasks through their pipelines."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from kin.cli.consent import consent
from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, indent
from kin.cli.show_run import Display, outcome_lines
from kin.errors import KinError, Usage
from kin.model.record import StepRecord
from kin.model.status import OPEN
from kin.runner.process.events import Caller
from kin.runner.process.signals import Cancel
from kin.runner.runs.begin import Asked, Plan, already, plan_for
from kin.runner.runs.outcome import Outcome
from kin.runner.runs.planning import refuse_open_parts
from kin.runner.steps.casting import access_of, flags_of, role_of, time_limit
from kin.runner.steps.passage import step_id
from kin.store import records, tasks
from kin.store.config import load_settings
from kin.store.view import View, see

FOREVER = 365 * 86400.0
"""Seconds that `--wait` queues for a slot."""


def run_(call: Call) -> Result:
    """Run the tasks that were named, or all that are ready; in a CI job its host is told."""
    from kin.cli.job import told

    return told(call, _run)


def _run(call: Call) -> Result:
    named = [tasks.resolve(call.project, word) for word in call["ids"]]
    if named and call["ready"]:
        raise Usage("--ready and ids exclude each other", "`kin run --ready` runs all that are ready")
    ids = list(dict.fromkeys(named))
    if call["dry_run"]:
        return _dry_run(call, ids or see(call.project).ready)
    from kin.runner.upkeep.watchdog import recover

    said = recover(call.project)
    if not ids:
        view = see(call.project)
        ids, said = list(view.ready), [*said, *view.warnings]
        if not ids:
            return _nothing_ready(view, said)
        if not call["ready"] and not _agrees(call, ids):
            return Result("pipeline.list", [], ["nothing was started; `kin run --ready` does not ask"], exit=0)
    return run_now(call, ids, _asked(call), more_ready=not named, warnings=said)


def do_(call: Call) -> Result:
    """Add a task and run it at once."""
    from kin.cli.tasks import add_task
    from kin.runner.upkeep.watchdog import recover

    said = recover(call.project)
    task = add_task(call, None if call["run"] else "quick")
    try:
        return run_added(call, [task.id], warnings=said)
    except KinError as error:  # whoever called `kin do` again would have two of them
        error.hint = "; ".join(filter(None, (error.hint, f"{task.id} is added, `kin run {task.id}` starts it")))
        error.data["task"] = task.id
        raise


def run_added(call: Call, ids: Sequence[str], by: str = "person", warnings: Sequence[str] = ()) -> Result:
    """Run what a command wrote or changed, and no other tasks."""
    asked = Asked(started_by=starter(call, by), budget=allowed(call))
    return run_now(call, ids, asked, more_ready=False, warnings=warnings)


def run_now(call: Call, ids: Sequence[str], asked: Asked, *, more_ready: bool, warnings: Sequence[str] = ()) -> Result:
    """Run `ids` and report; one task in this process, several in one process each."""
    from kin.runner.runs.many import parts_of

    plans: list[Plan] = []
    for task_id in ids if asked.restart else ():
        refuse_open_parts(call.project, task_id)
    ids = list(dict.fromkeys(one for task_id in ids for one in (*parts_of(call.project, task_id), task_id)))
    for task_id in ids:
        try:
            plan = plan_for(call.project, task_id, asked, call.environ)
        except KinError:
            if len(ids) == 1:
                raise
            continue  # its own process says so, and the others run
        live = records.live(call.project, task_id)
        if len(ids) == 1 and (answer := already(call.project, plan, live, asked)):
            return report([answer], warnings)
        if len(ids) == 1 or plan.task.status in OPEN:
            plans.append(plan)
    if plans:
        consent(call, plans)
    # a task that is planned may become several, which run in this command
    planned = any(plan.planners for plan in plans)
    if call["detach"]:
        return report(_detached(call, ids, asked, planned), warnings)
    alone = len(ids) == 1 and not more_ready and not planned
    with Display(call.screen, alone=alone) as display:
        outcomes = (
            [run_alone(call, ids[0], asked, display, plans[0])] if alone else _many(call, ids, asked, display, more_ready)
        )
    return report(outcomes, warnings, told=alone)


def _detached(call: Call, ids: Sequence[str], asked: Asked, planned: bool) -> list[Outcome]:
    """Start each in a process that outlives this one, or all in one if parts of tasks are or may be among them."""
    from kin.runner.runs.detach import start_detached

    if not planned:
        return [start_detached(call.project, [task_id], asked, environ=call.environ) for task_id in ids]
    first = start_detached(call.project, ids, asked, environ=call.environ, allow=_allowance(call, asked))
    words = "runs in the background as soon as it may"
    return [first, *(Outcome(one, None, "todo", 0, reason=words) for one in ids if one != first.task)]


def run_alone(call: Call, task_id: str, asked: Asked, display: Display, plan: Plan) -> Outcome:
    """Run one task in this process, as it was just planned."""
    from kin.runner.runs.pipeline import run_task

    with Cancel() as cancel:
        return run_task(call.project, task_id, asked, Caller(call.environ, display.hear, cancel), plan)


def _many(call: Call, ids: Sequence[str], asked: Asked, display: Display, more_ready: bool) -> list[Outcome]:
    from kin.runner.runs.many import Crew, run_many

    slots, allow = load_settings(call.project).concurrency, _allowance(call, asked)
    crew = Crew(call.project, asked, call.environ, display.hear, slots, more_ready, list(ids), allow)
    crew.tick, crew.tick_seconds = display.tick, display.tick_seconds
    return run_many(crew)


def _allowance(call: Call, asked: Asked) -> Callable[[str], None]:
    """What became ready after the question was answered starts only if it needs no other answer."""

    def allow(task_id: str) -> None:
        plan = plan_for(call.project, task_id, asked, call.environ)
        if plan.task.status in OPEN:
            consent(call, [plan], ask=False)

    return allow


def report(outcomes: Sequence[Outcome], warnings: Sequence[str] = (), *, told: bool = False) -> Result:
    """The result of runs; a single one whose end the display has `told` needs no summary."""
    from kin.runner.runs.many import exit_of

    code = outcomes[0].exit if len(outcomes) == 1 else exit_of(outcomes)
    return Result(
        "pipeline.list",
        [outcome._asdict() for outcome in outcomes],
        () if told else lambda screen: outcome_lines(outcomes, screen),
        brief=[],
        warnings=warnings,
        exit=code,
    )


def _asked(call: Call) -> Asked:
    return Asked(
        base=call["base"],
        restart=call["restart"],
        restore=call["restore"],
        wait=FOREVER if call["wait"] else 0.0,
        started_by=starter(call),
        push=call["push"],
        bundle=_bundle(call),
        budget=allowed(call),
    )


def _bundle(call: Call) -> str | None:
    if call["bundle"] and (call["push"] or len(call["ids"]) != 1):
        raise Usage("--bundle holds the work of one task, for a job that may push", "`kin run KIN-1 --bundle FILE`")
    return os.path.abspath(call["bundle"]) if call["bundle"] else None


def allowed(call: Call) -> dict[str, float]:
    """What `--budget` allows the run in all, by unit. Raises Usage."""
    from kin.model.spending import read_amounts

    try:
        return read_amounts(said) if (said := call.values.get("budget")) else {}
    except ValueError as error:
        raise Usage(f"--budget: {error}", "`--budget 10`, `--budget tokens=500000,minutes=30`") from None


def starter(call: Call, by: str = "person") -> str:
    return "ci" if call.environ.get("CI") else by


def _nothing_ready(view: View, said: Sequence[str]) -> Result:
    """Nothing to run; but what waits for a person is named, so that nobody thinks that all is done."""
    from kin.cli.look import inbox

    waiting = [item.task for item in inbox(view)]
    lines = ["nothing is ready"]
    if waiting:
        lines.append(f"waiting for you: {', '.join(waiting)}; `kin inbox` says what for")
    return Result("pipeline.list", [], lines, brief=(), warnings=said)


def _agrees(call: Call, ids: Sequence[str]) -> bool:
    """At a terminal `kin run` without ids lists what is ready and asks; elsewhere it runs it."""
    if not call.screen.may_ask:
        return True
    for task_id in ids:
        call.screen.err.write(f"{task_id}  {clean(tasks.load(call.project, task_id)[0].title)}\n")
    return call.screen.ask(f"Run {'this task' if len(ids) == 1 else f'these {len(ids)} tasks'}?")


def _dry_run(call: Call, ids: Sequence[str]) -> Result:
    """What would run: steps, prompts, commands and gates. Nothing is touched."""
    plans = [plan_for(call.project, task_id, _asked(call), call.environ) for task_id in ids]
    data = [_plan_data(call, plan) for plan in plans]
    return Result("plan.list", data, lambda screen: [line for entry in data for line in _plan_lines(entry, screen)])


def _plan_data(call: Call, plan: Plan) -> dict[str, Any]:
    from kin.runner.runs.finish import mode_of
    from kin.runner.steps.prompts import prompt_for

    steps = []
    for index, spec in enumerate(plan.specs):
        role = role_of(spec, call.project.store)
        cast = plan.cast[index]
        who = next(iter(cast.agents)) if cast else "command"
        earlier = [StepRecord(step_id(i, s), s.role) for i, s in enumerate(plan.specs[:index])]
        steps.append(
            {
                "id": step_id(index, spec),
                "role": spec.role,
                "agent": who,
                "access": access_of(spec, role),
                "run": spec.run,
                "argv": flags_of(cast.agents[who], access_of(spec, role)) if cast else [],
                "timeout": time_limit(spec, role, plan.settings),
                "prompt": prompt_for(call.project, plan.task, spec, role, earlier, step=step_id(index, spec)).text,
            }
        )
    return {
        "task": plan.task.id,
        "title": plan.task.title,
        "target": plan.target.name,
        "mode": mode_of(plan.task, plan.settings).value,
        "setup": plan.settings.setup,
        "steps": steps,
        "gates": [gate.run for gate in plan.settings.gates],
    }


def _plan_lines(entry: dict[str, Any], screen: Screen) -> list[str]:
    lines = [screen.paint(f"{entry['task']}  {clean(entry['title'])}", "bold")]
    lines.append(f"  merged into {entry['target']}, mode {entry['mode']}")
    if entry["setup"]:
        lines.append(f"  setup: {clean(entry['setup'])}")
    for step in entry["steps"]:
        lines.append(
            f"  {step['id']} ({step['agent']}, access {step['access']}): {clean(step['run'] or ' '.join(step['argv']))}"
        )
        lines += indent(clean(step["prompt"]).splitlines(), "      ")
    lines += [f"  gate: {clean(gate)}" for gate in entry["gates"]] or ["  no gates"]
    return lines
