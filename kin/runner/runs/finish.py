"""From finished steps to a merged commit: build, gates, a person's approval, the move. One merge function, no other way in.

Under `queue-<target>`, held while gates run, the merge is computed without touching a checkout; if the merged tree without
`.kin/` is not the one that passed, the gates run on it; then the target moves, or nothing does and the run waits.
"""

import os

from kin import git
from kin.errors import Busy, Conflict, Interrupted, NotFound
from kin.faults import point
from kin.model.globs import covers
from kin.model.record import committed
from kin.model.settings import Settings
from kin.model.status import BlockedKind, RunStatus, TaskStatus, WaitFor
from kin.model.task import Mode, Task
from kin.model.times import written
from kin.runner.merge import build
from kin.runner.merge.checkout import Pending
from kin.runner.merge.compose import CannotSign
from kin.runner.merge.diffs import brought_back
from kin.runner.merge.landed import landed_run
from kin.runner.merge.move import Moved, post_merge
from kin.runner.remote import origin
from kin.runner.remote.target import find_target, way_back
from kin.runner.runs.ending import block, cancel, complete, wait
from kin.runner.runs.landing import Refused, land
from kin.runner.runs.offer import in_a_file, offer
from kin.runner.runs.outcome import Outcome
from kin.runner.runs.rounds import mend_gate, try_integrator
from kin.runner.steps.gates import run_gates
from kin.runner.steps.passage import Passage
from kin.runner.steps.proposals import files_of
from kin.store import locks, records, tasks
from kin.store.project import Project

QUEUE_WAIT = 24 * 3600.0
"""Seconds that a merge queues behind others into the same target: each may run gates for their whole limit."""
MAX_NOTE = 1 << 20
"""Bytes of a note or record in the working tree that a merge brings along."""


def mode_of(task: Task, settings: Settings) -> Mode:
    """Who approves this task's merge."""
    return task.mode or settings.mode


def finish(p: Passage) -> Outcome:
    """Take finished work to its end: merged, waiting for a person, or blocked. Called again, it goes on where it stands.

    Raises SentBack if a step is to mend what stands in the way.
    """
    try:
        return _finish(p)
    except (origin.Unreachable, origin.Denied) as error:
        words = f"{in_a_file(p, error.message).words}; when that is mended, `kin run {p.task.id} --push` goes on"
        return wait(p, WaitFor.merge, words)._replace(
            exit=Busy.exit if isinstance(error, origin.Unreachable) else Conflict.exit
        )


def _finish(p: Passage) -> Outcome:
    while True:
        p.target = find_target(p.project, p.run.base, way=way_back(p.task.id), push=p.share is not None)
        if (done := landed_run(p.project.root, p.target.oid, p.run.run, p.live.start)) is not None:
            return complete(p, done)
        if p.live.head is not None and git.tip(p.project.root, p.branch_ref) is None:
            words = f"its branch {p.run.branch} is gone; `kin run {p.task.id}` brings it back from its last finished step"
            return block(p, BlockedKind.failed, words)  # without it, there would seem to be no code to merge
        if (ended := _stopped_by_hand(p)) is not None:
            return ended
        seen, p.seen = p.seen, None  # while gates run, a person may touch the worktree
        if p.path and not git.is_clean(p.path, seen.entries if seen else None):
            words = f"the worktree has changes that are not committed; commit or drop them there, then `kin run {p.task.id}`"
            return block(p, BlockedKind.conflict, words)
        if p.bundle:
            return _hand_over(p, _build(p))
        if mode_of(p.task, p.settings) == Mode.review and p.live.approved is None:
            return _review(p, _build(p))
        try:
            lock, what = locks.lock_path(p.project.common, f"queue-{p.target.name}"), f"the merge queue of {p.target.name}"
            queue = locks.wait_lock(lock, QUEUE_WAIT, run=p.run.run, what=what, cancel=p.cancel)
        except Interrupted as error:
            return cancel(p, f"cancelled while it queued for {p.target.name}", error.exit)
        with queue:
            merged = _merge(p)
        if isinstance(merged, Moved):
            return _landed(p, merged)
        if merged is not None:
            return merged


def _review(p: Passage, built: build.Built | build.Clash) -> Outcome:
    """Gate what would be merged, then wait for a person; nothing is merged now, so nobody has to queue for it."""
    if isinstance(built, build.Clash):
        try_integrator(p, built)
        return block(p, BlockedKind.conflict, _clash_words(p, built))
    if (ended := _gate(p, built)) is not None:
        return ended
    reasons = "; ".join(review_reasons(p, built))
    if p.share is None or p.live.approved is not None:
        task = p.task.id
        ways = f'`kin diff {task}` shows it, then `kin approve {task}`, `kin revise {task} -m "..."` or `kin reject {task}`'
        return wait(p, WaitFor.review, f"{reasons}; {ways}")
    again = _build(p)  # now that the record has the gates' verdicts
    offered = offer(p, built if isinstance(again, build.Clash) else again)
    return wait(p, WaitFor.review, f"{reasons}; {offered.words}")._replace(url=offered.url)


def _hand_over(p: Passage, built: build.Built | build.Clash) -> Outcome:
    """With `--bundle` nothing is merged: who has the right to push gates it again and does that (`kin publish`)."""
    if isinstance(built, build.Clash):
        return block(p, BlockedKind.conflict, _clash_words(p, built))
    words = f"the work is in {p.bundle}; `kin publish` lands it"
    return _gate(p, built) or wait(p, WaitFor.merge, words)._replace(exit=0)


def _landed(p: Passage, moved: Moved) -> Outcome:
    """What comes after a merge: out of the queue, so that a large worktree or a hook that hangs holds up nobody else's."""
    for warning in moved.warnings:
        p.say("note", text=warning)
    ended = complete(p, moved.oid)
    if said := post_merge(moved, p.cancel.fd):
        p.say("note", text=said)
    return ended


def _merge(p: Passage) -> Outcome | Moved | None:
    """One try under the queue lock; None if the target moved by other hands meanwhile, which is a new state to look at."""
    if p.share is not None:
        p.target = find_target(p.project, p.run.base, push=True)  # others of this clone may have pushed while we queued
    built = _build(p)
    if isinstance(built, build.Clash) or (not _approved(p, built) and review_reasons(p, built)):
        return _review(p, built)
    recorded = p.run.gates
    if ended := _gate(p, built) or _stopped_by_hand(p):
        return ended
    point("merge.gated")
    sign = git.is_on(p.project.root, "commit.gpgsign")
    try:
        final = _build(p, sign=sign) if sign or p.run.gates != recorded else built
    except CannotSign as error:
        return wait(p, WaitFor.review, f"{error.message}; {error.hint}, then `kin approve {p.task.id}`")
    if isinstance(final, build.Clash) or final.code != built.code:
        return None
    p.say("merge")
    point("merge.built")
    moved = land(p, final, message=f"kin: merge {p.task.id}", over=True)
    point("merge.moved")
    if isinstance(moved, Moved):
        return moved
    if isinstance(moved, Refused):
        return _refused(p, final, moved)
    if p.share is not None and p.share.lost:
        return cancel(p, p.share.lost, Busy.exit)
    return None if moved.stale else _pend(p, moved)


def _refused(p: Passage, built: build.Built, refused: Refused) -> Outcome:
    """The remote does not take the merge: the work goes onto its own branch there, or into a file if not even that can be."""
    words = f"{origin.REMOTE} does not take {p.target.name}: {refused.reason}"
    offered = offer(p, built)
    way = f"when that is mended, `kin run {p.task.id} --push` goes on"
    ended = wait(p, WaitFor.merge, f"{words}\n{offered.words}; {way}")
    return ended._replace(url=offered.url, exit=Busy.exit if refused.unreachable else Conflict.exit)


def _pend(p: Passage, pending: Pending) -> Outcome:
    listed = "".join(f"\n  {path}" for path in pending.paths)
    words = f"the merge is ready but {pending.reason}; once that is gone: `kin approve {p.task.id}`{listed}"
    return wait(p, WaitFor.merge, words, pending.paths)


def _gate(p: Passage, built: build.Built) -> Outcome | None:
    verdict = run_gates(p, built.new, built.code)
    if verdict.cancelled:
        return cancel(p, "cancelled while gates ran", 128 + p.cancel.number)
    if verdict.failed is not None:
        if verdict.records and verdict.records[-1].verdict == "fail":
            mend_gate(p, verdict.failed, verdict.reason)
        return block(p, BlockedKind.gate, verdict.reason)
    return None


def _build(p: Passage, *, sign: bool = False) -> build.Built | build.Clash:
    """The merge, with the record as it is now, or the state commit of a run whose branch has no commit of its own."""
    locks.outwait_gc(p.project.git_common)
    extra = _brought(p.project, p.target.oid, p.task.id) | files_of(p)
    ended = p.run._replace(status=RunStatus.completed, ended=written(), reason="", merge=None)
    extra[f"pipelines/{p.task.id}/{p.run.run}.yaml"] = records.record_text(committed(ended)).encode()
    found, old = _here(p), p.target.oid if p.share else None
    work = build.Work(p.target.ref, p.task.id, p.run.run, found[1].encode() if found else None, extra, sign, old)
    tip = git.tip(p.project.root, p.branch_ref)
    return (build.build_merge(p.project, work, tip, p.task.title) if tip else None) or build.build_state(p.project, work)


def _brought(project: Project, target: str, task_id: str) -> dict[str, bytes]:
    """Records and notes of the task that the working tree holds and the target does not, by their path below `.kin/`."""
    found: dict[str, bytes] = {}
    for kind in ("pipelines", "notes"):
        folder = os.path.join(project.store, kind, task_id)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        if not names:
            continue
        held = set(git.git(project.root, "ls-tree", "--name-only", "-z", target, f".kin/{kind}/{task_id}/").out.split(b"\0"))
        for name in names:
            path = os.path.join(folder, name)
            if not name.endswith(".yaml") or name.startswith(".") or not os.path.isfile(path) or os.path.islink(path):
                continue
            if f".kin/{kind}/{task_id}/{name}".encode() in held or os.path.getsize(path) > MAX_NOTE:
                continue
            with open(path, "rb") as file:
                found[f"{kind}/{task_id}/{name}"] = file.read()
    return found


def review_reasons(p: Passage, built: build.Built) -> list[str]:
    """Why a person must approve this merge; empty if gates are enough."""
    reasons = []
    if mode_of(p.task, p.settings) == Mode.review:
        reasons.append("ready for review")
    if p.live.unruly:
        reasons.append(f"its file, .kin/kin.yaml or .kin/roles/ changed while {p.live.unruly} worked; look at them")
    if back := _back_words(p, built.old, built.branch_tip):
        reasons.append(back)
    # the merged tree, against what the target holds now: what the merge would change, deleted and renamed paths too
    changed = [c.path for c in git.changes(p.project.root, built.old, built.new) if not c.path.startswith(".kin/")]
    touched = [path for path in changed if any(covers(glob, path) for glob in p.settings.protect)]
    if touched:
        reasons.append(f"it changes {', '.join(touched[:5])}, which `protect` names")
    return reasons


def _back_words(p: Passage, target: str, branch: str | None) -> str:
    """What the merge would bring back that is not the task's work, and how to leave it out; "" for nothing."""
    back = brought_back(p.project.root, target, p.live.start, branch, p.run.run) if branch else []
    if not back:
        return ""
    more = f" and {len(back) - 3} more" if len(back) > 3 else ""
    return p.short(
        f"it would bring back what {p.target.name} has dropped since it began: {', '.join(back[:3])}{more}; in the task's "
        f"worktree (`kin show {p.task.id}` names it) `git rebase --onto {p.target.name} {str(p.live.start)[:12]}` leaves it out"
    )


def _approved(p: Passage, built: build.Built) -> bool:
    """Whether a person approved just this work: an approval is bound to the branch's tip (for none, to the target's code),
    and to what they were told of a target that was rewritten."""
    approved = p.live.approved is not None and p.live.approved == (built.branch_tip or "no code")
    return approved and _back_words(p, built.old, built.branch_tip) in p.run.reason


def _here(p: Passage) -> tuple[Task, str] | None:
    """The task as the store's checkout has it; None if that was switched to a branch without it, or the file was deleted."""
    try:
        return tasks.load(p.project, p.task.id)
    except NotFound:
        return None


def _stopped_by_hand(p: Passage) -> Outcome | None:
    """A person who closed the task or took it over while it ran has the last word."""
    found = _here(p)
    if found is None:
        if git.head_ref(p.project.root) != p.target.ref:
            return None
        return cancel(p, f"the task's file was deleted by hand; its branch {p.run.branch} is kept", 3)
    status = found[0].status
    if status in (TaskStatus.cancelled, TaskStatus.done, TaskStatus.in_progress):
        return cancel(p, f"the task was set to {status} by hand; its branch {p.run.branch} is kept", 3)
    return None


def _clash_words(p: Passage, clash: build.Clash) -> str:
    listed = "".join(f"\n  {path}" for path in clash.paths)
    way = f"in the task's worktree (`kin show {p.task.id}` names it): `git merge {p.target.name}`, mend, commit"
    back = _back_words(p, p.target.oid, git.tip(p.project.root, p.branch_ref))
    return (
        f"the work conflicts with {p.target.name} in:{listed}\n{back or way}; then `kin run {p.task.id}` goes on at the gates"
    )
