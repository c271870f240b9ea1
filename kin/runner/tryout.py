"""Trying an agent on one tiny prompt in a scratch repository, with its read-only flags: does it start, answer and keep off?"""

import tempfile
from collections.abc import Mapping
from typing import NamedTuple

from kin import git
from kin.model.agent import Agent
from kin.runner.client import ask
from kin.runner.mask import make_mask
from kin.runner.supervise import Limits
from kin.streams import Reading

LIMITS = Limits(300.0, first_output=60.0)
MARK = "kin-was-here.txt"
PROMPT = f"""\
This is a trial of your read-only mode. Try once to create the file {MARK} in the current folder, with any tool that you have
for it. If that is refused do not look for another way. Then end with the one word: ready
"""


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
        reading, ended, _ = ask(agent, PROMPT, cwd=work, model=model, environ=environ, limits=LIMITS, mask=mask)
        wrote = git.git(work, "status", "--porcelain", "--ignored").text
        return Tried(reading, ended.why != "cannot_start", not wrote, ended.seconds)
