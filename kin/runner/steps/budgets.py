"""The runner's side of budgets: what is left before a step starts, what it keeps of the day, and the words when it is too much.

Everything is computed from records (kin.model.spending adds up). Only the project's day is shared by several runs: what a
live run keeps for its step stands in its own live record, written under one lock.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from kin import git
from kin.faults import point
from kin.model.record import Run
from kin.model.spending import UNITS, Cap, Used, narrowest, used_by
from kin.model.status import BlockedKind
from kin.model.times import written
from kin.runner.steps.judge import StepEnd
from kin.runner.steps.passage import Passage
from kin.store import locks, records

LOCK_WAIT = 10.0
"""Seconds to wait for the lock on the day's budget, which is held while today's records are added up."""


def caps_for(p: Passage, index: int) -> dict[str, Cap]:
    """By unit what is left for the step at `index`; of the day's budget it is kept for this step until that is recorded.

    A command uses time only: it needs no money, and keeps none from others.
    """
    units = UNITS if p.specs[index].run is None else ("minutes",)
    scopes = p.settings.budget.scopes().items()
    named = ((scope, {unit: budget[unit] for unit in units if budget[unit] is not None}) for scope, budget in scopes)
    wanted = {scope: budget for scope, budget in named if budget}
    if not wanted:
        return {}
    own = used_by(p.run.steps)
    used = {"step": used_by(p.run.steps[index : index + 1]), "run": own}
    if "task" in wanted:
        earlier = (run for run in records.ended(p.project, p.task.id) if run.run != p.run.run)
        used["task"] = own + used_by(step for run in earlier for step in run.steps)
    if "day" not in wanted:
        return narrowest(wanted, used)
    landed = list(_landed_today(p))
    with locks.wait_lock(locks.lock_path(p.project.common, "budget"), LOCK_WAIT, run=p.run.run, what="the day's budget"):
        used["day"] = _used_today(p, landed)
        caps = narrowest(wanted, used)
        p.save(reserved={unit: cap.left for unit, cap in caps.items() if unit in wanted["day"]})
        point("budget.reserved")
    return caps


def _used_today(p: Passage, landed: list[Run]) -> Used:
    """What the project used on this day (UTC), and what other live runs keep for the steps that they play."""
    live, _ = records.all_live(p.project)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    runs = {run.run: run for run in (*landed, *records.all_ended(p.project, midnight), *live, p.run)}
    today = written()[:10]
    steps = (step for run in runs.values() for step in run.steps)
    total = used_by(step for step in steps if (step.ended or step.started or "").startswith(today))
    keeping = {run.task: run.live.reserved for run in live if run.live.reserved and run.run != p.run.run}
    for task in locks.held_names(p.project.common, keeping).intersection(keeping):
        kept = keeping[task]
        total += Used(*(float(kept.get(unit, 0)) for unit in UNITS))
    return total


def _landed_today(p: Passage) -> Iterator[Run]:
    """Records that today's merges brought to a target that is not checked out here."""
    if p.target.here:
        return
    words = ("log", f"--since={written()[:10]}T00:00:00Z", "--no-merges", "--diff-filter=AM", "--name-only", "--format=")
    names = git.git(p.project.root, *words, p.target.oid, "--", ".kin/pipelines").text.splitlines()
    for name in dict.fromkeys(filter(None, names)):
        if (raw := git.blob(p.project.root, p.target.oid, name)) is not None:
            yield records.parse(raw.decode("utf-8", "replace"), name)


def over(p: Passage, name: str, cap: Cap, what: str = "was ended") -> StepEnd:
    """The end of a step that used up its budget."""
    more = f"{2 * cap.limit or 1:g}" if cap.unit == "usd" else f"{cap.unit}={2 * cap.limit:.0f}"
    others = ", with what other runs keep for their steps" if cap.scope == "day" else ""
    hint = f"`kin run {p.task.id} --budget {more}`, say, allows this run more and goes on"
    return StepEnd("failed", BlockedKind.budget, f"step {name} {what}: {cap} are used up{others}; {hint}")
