"""Trust and leave to write: what a person has agreed to before anything that a repository names is started.

One question at a terminal, that shows what would run and where it would be merged; where nobody can be asked: exit 3, the
flags are named, and nothing has run.
"""

from collections.abc import Sequence

from kin.cli.output import Call
from kin.cli.screen import clean
from kin.errors import Waits
from kin.runner.remote.host import job_of
from kin.runner.runs.begin import Plan
from kin.runner.steps.casting import access_of, flags_of, role_of


def trusts(call: Call) -> bool:
    """Whether `--trust` or KIN_TRUST agree for this command to what the project can start.

    In a job about a pull request the variable means the files of the branch that it is for: those checked out are a stranger's.
    """
    stranger = job_of(call.environ).pull and not call.based
    return bool(call.values.get("trust")) or (call.environ.get("KIN_TRUST") == "1" and not stranger)


def consent(call: Call, plans: Sequence[Plan], *, steps: bool = True, ask: bool = True) -> None:
    """Make sure that these plans may run, asking if somebody is there to be asked. Raises Waits if not.

    Without `steps` only gates and set-up would run: that takes trust, but no leave to write. Without `ask` nobody is asked.
    """
    from kin.runner.runs.begin import unagreed, writes
    from kin.store import trust

    project = call.project
    new = {} if trusts(call) else unagreed(project, plans, call.environ)
    asked = not steps or call["allow_write"] or call.environ.get("KIN_ALLOW_WRITE") == "1"
    may_write = asked or trust.said_yes(project, "leave", call.environ)
    wanted = not may_write and any(writes(project, plan) for plan in plans)
    if not new and not wanted:
        return
    if ask and call.screen.may_ask and _ask(call, plans, list(new), wanted):
        if new:
            trust.agree(project, new, call.environ)
        if wanted:
            trust.remember_yes(project, "leave", call.environ)
        return
    if new:
        raise Waits(
            f"this clone is not trusted: {', '.join(new)} can start programs",
            "look at them, then `kin trust`, or `--trust` (KIN_TRUST=1) for one command",
        )
    raise Waits("these steps may change files, and nobody gave leave", "`--allow-write` or KIN_ALLOW_WRITE=1 gives it")


def _ask(call: Call, plans: Sequence[Plan], new: Sequence[str], leave: bool) -> bool:
    err = call.screen.err
    for plan in plans:
        err.write(f"{plan.task.id} {clean(plan.task.title)}\n")
        for spec, cast in zip(plan.specs, plan.cast, strict=True):
            access = access_of(spec, role_of(spec, call.project.store))
            words = [" ".join(flags_of(agent, access)) for agent in cast.agents.values()] if cast else [spec.run or ""]
            err.write(f"  {spec.role}: {clean(', or '.join(words))}\n")
        err.write(f"  merged into {plan.target.name}\n")
    first = plans[0].settings
    for name, text in (("setup", first.setup), *(("gate", gate.run) for gate in first.gates)):
        if text:
            err.write(f"{name}: {clean(text)}\n")
    what = [
        f"trust {', '.join(new)} of this clone" if new else "",
        "let the steps change files in their worktrees" if leave else "",
    ]
    return call.screen.ask(f"Do you {' and '.join(w for w in what if w)}? (remembered for this clone)")
