"""A step played by a model: its client started with a private home, its stream read as it comes, and ended at its budget.

Apart from step.py because only here are agents imported: a run of commands does not pay for them.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from kin import agents
from kin.model.spending import Cap
from kin.runner import budgets
from kin.runner.client import let_run
from kin.runner.judge import Played, judge_model
from kin.runner.passage import Passage, Turn
from kin.runner.supervise import Limits


def perform(p: Passage, turn: Turn, who: str, prompt: str, caps: Mapping[str, Cap], seconds: float) -> Played:
    """Let agent `who` play a step from the prompt's file, for at most `seconds`; what became of it."""
    cast, name = p.cast[turn.place], turn.name
    assert cast is not None
    agent = cast.agents[who]
    usd = caps.get("usd")
    started = agents.start(
        agent,
        access=turn.access,
        model=cast.model if who == cast.first else None,
        prompt=prompt,
        home=p.home(name, who),
        environ=p.environ,
        session=p.session(turn.place, who),
        usd=usd.left if usd else None,
        cwd=p.path,
    )
    env = {**started.env, **p.step_env(turn.spec.role, name)}
    del env["KIN_RESULT"]  # a model answers in its last message
    started = started._replace(env=env)
    limits = Limits(seconds, turn.spec.idle or p.settings.limits.idle, p.settings.limits.first_output)
    tell = partial(p.say, "line", name)
    with p.log(name) as log:
        reading, ended, over = let_run(p.supervisor, agent, started, cwd=p.path, limits=limits, caps=caps, log=log, tell=tell)
    verdict = judge_model(p, turn, who, agent, ended, reading)
    if over is not None and ended.why == "budget":
        verdict = verdict._replace(end=budgets.over(p, name, over))
    facts: dict[str, Any] = {
        "agent": who,
        "version": reading.version or agents.npm_version(started.argv[0]),
        "model": reading.model or (cast.model if who == cast.first else None),
        "tokens": reading.tokens,
        "cost_usd": reading.cost_usd,
    }
    return Played(verdict, ended, facts, reading.session if agent.resume else None)
