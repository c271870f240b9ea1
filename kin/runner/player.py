"""A step played by a model: its client started with a private home, its stream read as it comes, and ended at its budget.

Apart from step.py because only here are agents imported: a run of commands does not pay for them.
"""

from collections.abc import Mapping
from typing import Any

from kin import agents
from kin.model.spending import Cap, Used, passed, tokens_of
from kin.runner import budgets
from kin.runner.casting import access_of
from kin.runner.judge import Played, judge_model
from kin.runner.logs import StepLog
from kin.runner.passage import Passage, step_id
from kin.runner.supervise import Limits


def perform(p: Passage, index: int, who: str, prompt: str, log: StepLog, caps: Mapping[str, Cap], seconds: float) -> Played:
    """Let agent `who` play the step at `index` from the prompt's file, for at most `seconds`; what became of it."""
    spec, cast = p.specs[index], p.cast[index]
    assert cast is not None
    name, agent = step_id(index, spec), cast.agents[who]
    usd = caps.get("usd")
    started = agents.start(
        agent,
        access=access_of(spec, p.role(spec)),
        model=cast.model if who == cast.first else None,
        prompt=prompt,
        home=p.home(name, who),
        environ=p.environ,
        session=p.session(index, who),
        usd=usd.left if usd else None,
        cwd=p.path,
    )
    reader = agents.reader(agent)
    reached: list[Cap] = []

    def hear(stream: str, line: str) -> None:
        if words := reader.feed(stream, line):
            p.say("line", name, words)
        if reached:
            p.supervisor.stop("budget")  # it goes on; one whose last line tells what it cost has ended by itself
        elif reader.stuck:
            p.supervisor.stop("limit")  # it would sleep until its service takes it again
        elif cap := passed(caps, Used(reader.cost_usd or 0.0, 0.0, tokens_of(reader.tokens))):
            reached.append(cap)

    env = {**started.env, **p.step_env(spec.role, name)}
    del env["KIN_RESULT"]  # a model answers in its last message
    limits = Limits(seconds, spec.idle or p.settings.limits.idle, p.settings.limits.first_output)
    ended = p.supervisor.run(started.argv, cwd=p.path, env=env, stdin=started.stdin, limits=limits, log=log, on_line=hear)
    reading = reader.end(ended.exit, ended.why != "exited")
    verdict = judge_model(p, spec, name, who, agent, ended, reading)
    if ended.why == "budget":
        verdict = verdict._replace(end=budgets.over(p, name, reached[0]))
    facts: dict[str, Any] = {
        "agent": who,
        "version": reading.version or agents.npm_version(started.argv[0]),
        "model": reading.model or (cast.model if who == cast.first else None),
        "tokens": reading.tokens,
        "cost_usd": reading.cost_usd,
    }
    return Played(verdict, ended, facts, reading.session if agent.resume else None)
