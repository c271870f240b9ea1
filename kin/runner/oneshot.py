"""One prompt to an agent that may only read, outside of any run: for a trial of a client, and for a talk."""

import os
import tempfile
from collections.abc import Mapping

from kin.agents import reader, start
from kin.errors import Invalid
from kin.model.agent import Agent
from kin.runner.mask import Mask
from kin.runner.signals import Cancel
from kin.runner.supervise import Ended, Limits, Supervisor
from kin.store.locks import lock_path, try_lock
from kin.streams import Reading


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
) -> tuple[Reading, Ended]:
    """Start `agent` in `cwd` with this prompt and wait for its end. `usd` is the most that it may cost.

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
        stream = reader(agent)
        if (kids := try_lock(lock_path(scratch, "agent.kids"))) is None:
            raise Invalid(f"{scratch} is locked by somebody else", "try again")
        with Supervisor(run=named["KIN_RUN"], kids=kids, cancel=cancel, mask=mask) as supervisor:

            def hear(channel: str, line: str) -> None:
                stream.feed(channel, line)
                if stream.stuck:
                    supervisor.stop("limit")

            ended = supervisor.run(begun.argv, cwd=cwd, env=begun.env, stdin=begun.stdin, limits=limits, on_line=hear)
        kids.close()
        cancel.check()
        return stream.end(ended.exit, ended.why != "exited"), ended
