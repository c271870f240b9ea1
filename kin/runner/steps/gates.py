"""Gates: commands that must exit 0 on the tree that is merged, and verdicts that are bound to that tree.

A verdict's key holds the merged tree without `.kin/`, the gates and the set-up they ran with. Nothing else can be merged on it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from kin import git
from kin.errors import Failed
from kin.faults import point
from kin.model.record import GateRecord
from kin.model.settings import Gate
from kin.runner.merge.build import code_key
from kin.runner.process.supervise import Ended
from kin.runner.steps.passage import Passage, digest
from kin.runner.tree import worktree

CANNOT_RUN = (126, 127)
"""Exit codes of a shell that could not run the command: the gate said neither yes nor no."""


class Verdict(NamedTuple):
    """What the gates said: `failed` names the first that did not pass, `reason` why; `cancelled`: they said nothing."""

    records: tuple[GateRecord, ...]
    failed: str | None = None
    reason: str = ""
    cancelled: bool = False


def run_gates(p: Passage, commit: str, code: str) -> Verdict:
    """Run all gates on `commit`, whose tree without `.kin/` is `code`, and remember that they passed.

    They run in the task's worktree if it is clean and holds just that tree, else in a throw-away one made like any other.
    """
    key = digest(code, [gate.run for gate in p.settings.gates], p.settings.setup)  # what their verdict is bound to
    if not p.settings.gates or key in p.live.verdicts:
        return Verdict(p.run.gates)
    with _place(p, commit, code) as folder:
        if isinstance(folder, str):
            verdict = _all(p, folder)
        else:
            return Verdict((), "setup", str(folder))
    if verdict.cancelled:
        return verdict
    point("gates.ran")
    kept = p.live.verdicts if verdict.failed else (*p.live.verdicts, key)
    p.save(gates=verdict.records, verdicts=kept)
    return verdict


@contextmanager
def _place(p: Passage, commit: str, code: str) -> Iterator[str | Failed]:
    """A folder that holds the tree; Failed if it could not be set up. The gates' leavings are cleared from the worktree."""
    before = git.status(p.path) if p.path else None
    head = before.head if before and before.branch == p.branch_ref else None
    if before and head and git.is_clean(p.path, before.entries) and code_key(p.path, head) == code:
        yield p.path
        after = git.status(p.path)
        if after != before or not git.is_clean(p.path, after.entries):  # it may have committed, or switched, too
            worktree.reset_to(p.project, p.path, head)
        return
    with worktree.throwaway(p.project, p.settings, commit, f"{p.task.id}-gates", p.environ) as folder:
        failed = set_up(p, folder, "gates-setup")
        yield failed or folder


def set_up(p: Passage, folder: str, name: str) -> Failed | None:
    """Run `setup` in a new worktree; what went wrong, if anything did."""
    if p.settings.setup is None:
        return None
    ended = p.shell(p.settings.setup, name, role="gate", cwd=folder, seconds=p.settings.limits.setup)
    if ended.exit == 0:
        return None
    said = p.short(f"{ended.tail_out}\n{ended.tail_err}")
    return Failed(f"the set-up command ended with {_how(ended)}\n{said}", "mend `setup:` in .kin/kin.yaml")


def _all(p: Passage, folder: str) -> Verdict:
    done: list[GateRecord] = []
    for number, gate in enumerate(p.settings.gates, 1):
        p.say("gate", gate.label)
        seconds = gate.timeout or p.settings.limits.gate
        ended = p.shell(gate.run, f"gate-{number}", role="gate", cwd=folder, seconds=seconds)
        if ended.why == "cancelled":
            return Verdict((), cancelled=True)
        verdict = _verdict(ended)
        done.append(GateRecord(gate.label, verdict, ended.exit, round(ended.seconds, 1)))
        p.say("gate_end", gate.label, verdict, ended.seconds)
        if verdict != "pass":
            return Verdict(tuple(done), gate.label, _reason(p, gate, verdict, ended))
    return Verdict(tuple(done))


def _verdict(ended: Ended) -> str:
    """`pass`, `fail`, or `error` for a gate that could not run: 126, 127, a signal, its limit."""
    if ended.why != "exited" or ended.exit is None or ended.exit < 0 or ended.exit in CANNOT_RUN:
        return "error"
    return "pass" if ended.exit == 0 else "fail"


def _how(ended: Ended) -> str:
    if ended.why == "exited" and ended.exit is not None:
        return f"exit {ended.exit}" if ended.exit >= 0 else f"signal {-ended.exit}"
    return f"{ended.why} {ended.error}".strip()


def _reason(p: Passage, gate: Gate, verdict: str, ended: Ended) -> str:
    said = p.short(f"{ended.tail_out}\n{ended.tail_err}")
    what = "said no" if verdict == "fail" else "could not run"
    task = p.task.id
    words = f'`kin log {task}` shows all of it; `kin revise {task} -m "..." --run` or a commit in its worktree mends the work'
    return f"gate `{gate.label}` {what} ({_how(ended)})\n{said}\n{words}"
