"""Sending work back: changes that a later step asks for, a gate that said no, a merge that conflicts. Each is bounded.

A step goes back with just what it has to change, and it and all after it are played again. A gate's no goes once to the model
that wrote, a conflict once to the integrator; after that a person must look.
"""

from kin import git
from kin.errors import KinError
from kin.faults import point
from kin.model.record import StepRecord
from kin.model.settings import with_role
from kin.model.status import BlockedKind, StepStatus
from kin.runner.merge.build import Clash
from kin.runner.runs.begin import INTEGRATOR
from kin.runner.runs.ending import block
from kin.runner.runs.outcome import Outcome
from kin.runner.steps.casting import cast
from kin.runner.steps.judge import StepEnd
from kin.runner.steps.passage import Passage, step_id
from kin.runner.tree import worktree

_GATES, _CONFLICT = "gates", "conflict"
"""Keys of `Live.rounds` beside those of steps: the one round that each has."""


class SentBack(Exception):
    """What would have ended the run is a step's to mend now: its steps are to be played on."""


def send_back(p: Passage, index: int, end: StepEnd) -> str | None:
    """Back to an earlier step with the items; words if that cannot be."""
    name = step_id(index, p.specs[index])
    listed = p.short("\n".join(f"- {item}" for item in end.items))
    back = _earlier_step(p, index, end.back_to)
    if back is None:
        return f"step {name} asks for changes, and no earlier step could make them:\n{listed}"
    own = p.specs[index].rounds
    limit = p.settings.limits.rounds if own is None else own
    rounds = int(p.live.rounds.get(name, 0)) + 1
    if rounds > limit:
        return f"step {name} asked for changes {rounds} times, {limit} rounds are allowed; it still wants:\n{listed}"
    _again(p, back, index, list(end.items), {name: str(rounds)})
    p.say("note", name, f"{name} asks for changes; back to {step_id(back, p.specs[back])} (round {rounds} of {limit})")
    return None


def _earlier_step(p: Passage, index: int, role: str | None) -> int | None:
    """The nearest earlier step of that role; without one, the nearest that may write, a command only if no model may."""
    before = range(index - 1, -1, -1)
    if role is not None:
        return next((i for i in before if p.specs[i].role == role), None)
    writers = [i for i in before if p.turn(i).access == "write"]
    return next((i for i in writers if p.specs[i].run is None), writers[0] if writers else None)


def _again(p: Passage, first: int, last: int, items: list[str], rounds: dict[str, str]) -> None:
    steps = tuple(s._replace(status=StepStatus.pending) if first <= i <= last else s for i, s in enumerate(p.run.steps))
    told = {**p.live.items, step_id(first, p.specs[first]): items}
    p.save(steps=steps, items=told, rounds={**p.live.rounds, **rounds})
    point("round.saved")


def mend_gate(p: Passage, gate: str, reason: str) -> None:
    """Give a gate's no, once, to the model that wrote last. Raises SentBack if there is one; else a person must look."""
    writer = next((i for i in range(len(p.specs) - 1, -1, -1) if p.cast[i] is not None and p.turn(i).access == "write"), None)
    if not p.plays or writer is None or _GATES in p.live.rounds:
        return
    said = "\n".join(reason.splitlines()[:-1])  # without what is meant for a person
    _again(p, writer, len(p.specs) - 1, [said], {_GATES: "1"})
    p.say("note", gate, f"gate {gate} said no; back to {step_id(writer, p.specs[writer])}, once")
    raise SentBack


def try_integrator(p: Passage, clash: Clash) -> None:
    """Give a conflict, once, to the integrator. Raises SentBack if somebody can play it; else a person must look."""
    if not p.plays or _CONFLICT in p.live.rounds:
        return
    spec = with_role(INTEGRATOR, p.settings)
    try:
        who = cast(spec, p.task, p.settings, p.project.store, p.environ)
    except KinError as error:  # nobody is named, or nobody is there: as if there were no integrator
        p.say("note", text=f"no integrator: {error.message}")
        return
    if p.share is None and (tip := git.tip(p.project.root, p.target.ref)):  # it moved while this run queued behind others
        p.target = p.target._replace(oid=tip)
    record = StepRecord(step_id(len(p.specs), spec), spec.role)
    p.specs, p.cast = (*p.specs, spec), (*p.cast, who)
    p.save(steps=(*p.run.steps, record), integrates=p.target.oid, rounds={**p.live.rounds, _CONFLICT: "1"})
    point("integrator.saved")
    p.say("note", text=f"it conflicts with {p.target.name} in {', '.join(clash.paths[:5])}; the integrator gets one attempt")
    raise SentBack


def begin_merge(p: Passage, index: int) -> bool:
    """Begin the merge that the integrator is to resolve, in the clean worktree; False if nothing conflicts any more."""
    name = step_id(index, p.specs[index])
    if p.live.items.get(name) or name in p.live.sessions:
        return True  # it is asked for a change of what it merged, or goes on where a limit stopped it
    words = ("merge", "--no-commit", "--no-ff", "--no-stat", "--", str(p.live.integrates))
    done = git.git(p.path, *words, ok=(0, 1), fds=(p.kids.fd,))
    point("integrator.merging")
    if done.code == 0:
        worktree.reset_to(p.project, p.path, p.live.head or p.live.start or p.target.oid, fds=(p.kids.fd,))
    p.seen = None
    return done.code != 0


def give_up(p: Passage, end: StepEnd) -> Outcome:
    """The integrator's one attempt failed: its step goes, the worktree goes back, and a person merges."""
    worktree.reset_to(p.project, p.path, p.live.head or p.live.start or p.target.oid, fds=(p.kids.fd,))
    p.specs, p.cast = p.specs[:-1], p.cast[:-1]
    p.save(steps=p.run.steps[:-1], integrates=None, sessions={})
    way = f"in the task's worktree: `git merge {p.target.name}`, mend, commit; then `kin run {p.task.id}` goes on at the gates"
    return block(p, BlockedKind.conflict, f"the work conflicts with {p.target.name}; {end.reason}; {way}")
