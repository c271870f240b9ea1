"""One run of a client: started, its stream read as it comes, ended at a budget or where it would only wait.

In a step (player.py), and outside of any run: for a talk, and for a trial in a scratch repository with its read-only flags,
which shows whether it starts, answers and keeps off.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kin import git
from kin.agents import Start, reader, start
from kin.errors import Invalid
from kin.model.agent import Agent
from kin.model.spending import Cap, Used, passed, tokens_of
from kin.runner.process.hearing import told
from kin.runner.process.lines import TAIL
from kin.runner.process.logs import StepLog
from kin.runner.process.mask import Mask, make_mask
from kin.runner.process.signals import Cancel
from kin.runner.process.supervise import Ended, Limits, Supervisor
from kin.store.locks import lock_path, try_lock
from kin.streams import Reading

TRIAL = Limits(300.0, first_output=60.0)
MARK = "kin-was-here.txt"
PROMPT = f"""\
This is a trial of your read-only mode. Try once to create the file {MARK} in the current folder, with any tool that you have
for it. If that is refused do not look for another way. Then end with the one word: ready
"""


class Said(NamedTuple):
    """What a client said, how its process ended, and the budget that it went beyond, if it did."""

    reading: Reading
    ended: Ended
    over: Cap | None


def let_run(
    supervisor: Supervisor,
    agent: Agent,
    begun: Start,
    *,
    cwd: str,
    limits: Limits,
    caps: Mapping[str, Cap] = {},
    counted: Mapping[str, float] | None = None,
    log: StepLog | None = None,
    tell: Callable[[str], None] = lambda words: None,
) -> Said:
    """Let a client run to its end. `counted` is of the session that it takes up; `tell` hears what it says, in words."""
    stream = reader(agent)
    stream.counted = counted
    reached: list[Cap] = []
    tail = ""

    def hear(channel: str, line: str) -> None:
        nonlocal tail
        if words := told(stream.feed(channel, line)):
            tell(words)
            tail = f"{tail}\n{words}"[-TAIL:]
        if reached:
            supervisor.stop("budget")  # it goes on; one whose last line tells what it cost has ended by itself
        elif stream.stuck:
            supervisor.stop("limit")  # it would sleep until its service takes it again
        elif cap := passed(caps, Used(stream.cost_usd or 0.0, 0.0, tokens_of(stream.tokens))):
            reached.append(cap)

    ended = supervisor.run(begun.argv, cwd=cwd, env=begun.env, stdin=begun.stdin, limits=limits, log=log, on_line=hear)
    ended = ended._replace(tail_out=tail, tail_err="")  # what it said, not the lines of JSON, is what a person can read
    return Said(stream.end(ended.exit, ended.why != "exited"), ended, reached[0] if reached else None)


def ask(
    agent: Agent,
    prompt: str,
    *,
    cwd: str,
    model: str | None,
    environ: Mapping[str, str],
    limits: Limits,
    mask: Mask,
    usd: float | None = None,
) -> Said:
    """Start `agent`, which may only read, in `cwd` with this prompt and wait for its end. `usd` is the most that it may cost.

    Raises Invalid if the program is not installed, Interrupted on a signal.
    """
    with tempfile.TemporaryDirectory(prefix="kin-agents-") as scratch, Cancel() as cancel:
        home, file = os.path.join(scratch, "home"), os.path.join(scratch, "prompt.md")
        for folder in (home, os.path.join(scratch, "locks")):
            os.mkdir(folder, mode=0o700)
        with open(file, "w", encoding="utf-8", errors="backslashreplace") as out:
            out.write(mask(prompt))
        named = {**environ, "TMPDIR": home, "KIN_RUN": os.path.basename(scratch)}
        begun = start(agent, access="read", model=model, prompt=file, home=home, environ=named, usd=usd, cwd=cwd)
        if (kids := try_lock(lock_path(scratch, "agent.kids"))) is None:
            raise Invalid(f"{scratch} is locked by somebody else", "try again")
        with kids, Supervisor(run=named["KIN_RUN"], kids=kids, cancel=cancel, mask=mask) as supervisor:
            said = let_run(supervisor, agent, begun, cwd=cwd, limits=limits)
        cancel.check()
        return said


class Tried(NamedTuple):
    """What a trial showed. `kept_off`: it wrote nothing, though it was asked to. `seconds` are of the wall clock."""

    reading: Reading
    started: bool
    kept_off: bool
    seconds: float


def try_out(agent: Agent, model: str | None, environ: Mapping[str, str]) -> Tried:
    """Run the trial; it costs one or two answers. Raises Invalid if the program is not installed, Interrupted on a signal."""
    with tempfile.TemporaryDirectory(prefix="kin-agents-") as work:
        git.git(work, "init", "-q", "--template=")
        mask = make_mask(environ, ())
        reading, ended, _ = ask(agent, PROMPT, cwd=work, model=model, environ=environ, limits=TRIAL, mask=mask)
        wrote = git.git(work, "status", "--porcelain", "--ignored").text
        return Tried(reading, ended.why != "cannot_start", not wrote, ended.seconds)
