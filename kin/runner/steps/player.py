"""A step played by a model: its client started with a private home, its stream read as it comes, and ended at its budget.

Apart from step.py because only here are agents imported: a run of commands does not pay for them.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from kin import agents
from kin.model.record import Run
from kin.model.spending import Cap, added
from kin.model.status import StepStatus
from kin.model.times import parse
from kin.runner.process.client import let_run
from kin.runner.process.hearing import PLAYED_BY, Hearing
from kin.runner.process.logs import read_lines
from kin.runner.process.supervise import Limits
from kin.runner.steps import budgets
from kin.runner.steps.judge import Played, judge_model
from kin.runner.steps.passage import Passage, Turn
from kin.store import records
from kin.store.project import Project


def perform(p: Passage, turn: Turn, who: str, prompt: str, caps: Mapping[str, Cap], seconds: float) -> Played:
    """Let agent `who` play a step from the prompt's file, for at most `seconds`; what became of it."""
    cast, name = p.cast[turn.place], turn.name
    assert cast is not None
    agent = cast.agents[who]
    usd, session = caps.get("usd"), p.session(turn.place, who)
    counted = {k: float(v) for k, v in p.live.sessions[name].get("counted", {}).items()} if session else None
    started = agents.start(
        agent,
        access=turn.access,
        model=cast.model if who == cast.first else None,
        prompt=prompt,
        home=p.home(name, who),
        environ=p.environ,
        session=session,
        usd=usd.left if usd else None,
        cwd=p.path,
    )
    env = {**started.env, **p.step_env(turn.spec.role, name)}
    del env["KIN_RESULT"]  # a model answers in its last message
    started = started._replace(env=env)
    limits = Limits(seconds, turn.spec.idle or p.settings.limits.idle, p.settings.limits.first_output)
    tell = partial(p.say, "line", name)
    with p.log(name) as log:
        log.note(f"{PLAYED_BY}{who}")
        reading, ended, over = let_run(
            p.supervisor, agent, started, cwd=p.path, limits=limits, caps=caps, counted=counted, log=log, tell=tell
        )
    verdict = judge_model(p, turn, who, agent, ended, reading)
    if (cap := over if ended.why == "budget" else usd if reading.kind == "budget" else None) is not None:
        verdict = verdict._replace(end=budgets.over(p, name, cap)._replace(again=verdict.end.again))
    facts: dict[str, Any] = {
        "agent": who,
        "version": reading.version or agents.npm_version(started.argv[0]),
        "model": reading.model or (cast.model if who == cast.first else None),
        "tokens": reading.tokens,
        "cost_usd": reading.cost_usd,
    }
    return Played(verdict, ended, facts, reading.session if agent.resume else None)


def with_spent(project: Project, dead: Run) -> Run:
    """A run that died, with what its step under way had used as far as its log tells: a kill is no way around a budget.

    `ended` of that step says that it is counted.
    """
    under_way = ((n, s) for n, s in enumerate(dead.steps) if s.status == StepStatus.running and s.started and not s.ended)
    at, step = next(under_way, (0, None))
    if step is None:
        return dead
    begun = last = str(step.started)[:19]
    hearing = Hearing(project)
    for line in read_lines(records.logs_folder(project, dead.task, dead.run), step.id):
        if line.time[:19] < begun:  # an earlier passage, which is counted
            continue
        last = line.time[:19]
        hearing.hear(line)
    seconds = (parse(f"{last}Z") - parse(f"{begun}Z")).total_seconds()
    step = step._replace(ended=f"{last}Z", seconds=step.seconds + seconds)
    if (stream := hearing.streams.get(step.id)) is not None:
        cost = step.cost_usd if stream.cost_usd is None else stream.cost_usd + (step.cost_usd or 0.0)
        step = step._replace(tokens=added(step.tokens, stream.tokens), cost_usd=cost)
    return dead._replace(steps=(*dead.steps[:at], step, *dead.steps[at + 1 :]))
