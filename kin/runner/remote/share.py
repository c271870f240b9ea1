"""What other clones see of a run with `--push`: who has the task, and its finished steps, as refs of the remote.

`refs/kin/claims/<ID>` says which job has the task and until when; a live job renews it. `refs/kin/runs/<ID>` holds the branch
and the record as they were after the last finished step, so that a job in another clone goes on from there. All pushes name
what they expect to find: a job that lost its claim can push nothing more, so nothing is merged twice.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

from kin import git
from kin.errors import Busy, Conflict, Invalid, KinError
from kin.faults import point
from kin.model import times
from kin.model.ids import RUN_ID
from kin.model.record import Run
from kin.model.status import RunStatus, StepStatus
from kin.runner.process.events import Caller, Event
from kin.runner.remote import origin
from kin.runner.remote.host import job_of
from kin.runner.remote.target import Target
from kin.runner.tree.aside import set_aside
from kin.store import records
from kin.store.project import Project
from kin.store.text import reader

CLAIM = timedelta(minutes=15)
"""How long a claim holds if its job dies without a word; a live one renews it three times in that."""
RECORD = "run.yaml"
"""The record's name in the tree of a run's commit."""


def run_ref(task_id: str) -> str:
    """The ref that holds a run's branch and record."""
    return f"refs/kin/runs/{task_id}"


def claim_ref(task_id: str) -> str:
    """The ref that says who has the task."""
    return f"refs/kin/claims/{task_id}"


class Share:
    """What this process holds of a task on the remote; `claim` and `kept` are the commits that it last put there."""

    def __init__(self, project: Project, task_id: str, caller: Caller) -> None:
        self.project, self.task, self.cancel, self.emit = project, task_id, caller.cancel, caller.emit
        self.cwd = project.root
        self.job = job_of(caller.environ)
        self.claim: str | None = None
        self.kept: str | None = None
        self.lost = ""
        self.mark = f"refs/kin/claimed/{task_id}"
        self.lock = threading.Lock()
        """Held over each push: the thread that renews and the run's own must not expect each other's old values."""

    def take(self) -> None:
        """Claim the task. Raises Busy if another job has it, Conflict if the remote lets nobody write there."""
        old = None
        for _ in range(2):  # once more after a claim that has run out
            claim = git.Lease(claim_ref(self.task), self._new_claim(), old)
            done = self.push([claim], hooks=False)
            if done.end == "done":
                self.pushed([claim])
                return
            if done.end == "unreachable":
                raise Busy(done.said, "nothing has run; try again when the network is there")
            old = done.tips.get(claim_ref(self.task))
            if done.end == "refused":
                words = f"{origin.REMOTE} takes no {claim_ref(self.task)}: {done.said}"
                raise Conflict(words, "nothing has run; the job's token must be allowed to push (`contents: write`)")
            if old and not self._is_mine(old) and (who := self._live_claim(old)):
                raise Busy(f"{self.task} is being run by {who}", "`kin run` later goes on where that one ends")
        raise Busy(f"{self.task} was claimed by another job just now")

    def push(self, leases: Sequence[git.Lease], *, hooks: bool) -> origin.Pushed:
        """Push, and before that note the claim in it: if the network dies, nobody here knows whether the remote has it."""
        for lease in leases:
            if lease.ref == claim_ref(self.task) and lease.new:
                git.git(self.cwd, "update-ref", self.mark, lease.new)
        return origin.push(self.cwd, leases, hooks=hooks)

    def _is_mine(self, oid: str) -> bool:
        """Whether a claim was tried from this clone. If not by this run, then by one that is over, as the task's lock says."""
        mark = git.tip(self.cwd, self.mark)
        return mark is not None and git.tip(self.cwd, oid) is not None and git.is_ancestor(self.cwd, oid, mark)

    def _live_claim(self, oid: str) -> str:
        """Whose claim `oid` is, or nothing if it has run out."""
        origin.bring(self.cwd, claim_ref(self.task))
        trailers = dict(git.log_trailers(self.cwd, ("Kin-Job", "Kin-Until"), oid, limit=1)).get(oid, {})
        until = trailers.get("Kin-Until", "")
        with suppress(ValueError):  # what is no time holds nobody up
            if times.parse(until) > times.now():
                return f"{trailers.get('Kin-Job', 'another job')} (until {until}, if it does not renew that)"
        return ""

    def _new_claim(self) -> str:
        """A claim on top of the last that was tried from here: of two, nobody may know which one the remote has."""
        last = git.tip(self.cwd, self.mark)
        who = self.job.url or git.identity(self.cwd) or "somebody"
        until = times.rfc3339(times.now() + CLAIM)
        # the number makes claims of one second different commits: a push of what is there already would be a claim, too
        message = f"kin: {self.task} is claimed\n\nKin-Job: {who}\nKin-Until: {until}\nKin-Claim: {os.urandom(8).hex()}\n"
        tree = git.git(self.cwd, "mktree", input=b"").text
        return git.commit_tree(self.cwd, tree, [last] if last else [], message)

    def renew(self) -> bool:
        """Push the claim's end time into the future; False if the claim is another's by now."""
        with self.lock:
            try:
                return self.claim is None or self._push(self.renewal())
            except (KinError, OSError) as error:  # a full disk, say: the claim holds for a while, and it is tried again
                self.emit(Event(self.task, "note", text=f"the claim could not be renewed: {error}"))
                return True

    def renewal(self) -> list[git.Lease]:
        """What shows that the claim is still ours beside another push. The caller holds `lock`."""
        return [git.Lease(claim_ref(self.task), self._new_claim(), self.claim)]

    def keep(self, run: Run) -> bool:
        """Push what the run has finished; False if another job has the task by now. No network is no reason to stop."""
        with self.lock:
            leases = self._run_lease(run)
            return not leases or self._push([*leases, *self.renewal()])

    def leave(self, run: Run | None) -> None:
        """Push what is finished, and give the claim back."""
        with self.lock:
            if self.claim is None:
                return
            leases = self._run_lease(run) if run else []
            self._push([*leases, git.Lease(claim_ref(self.task), None, self.claim)])
            self.claim = None

    def _run_lease(self, run: Run) -> list[git.Lease]:
        if run.status == RunStatus.completed:
            return [git.Lease(run_ref(self.task), None, self.kept)] if self.kept else []
        if self.lost or not any(step.status == StepStatus.done for step in run.steps):
            return []
        commit = run_commit(self.project, run, self.kept)
        return [git.Lease(run_ref(self.task), commit, self.kept)] if commit != self.kept else []

    def landing(self) -> list[git.Lease]:
        """What goes together with the push that lands the work. The caller holds `lock`."""
        refs = ((claim_ref(self.task), self.claim), (run_ref(self.task), self.kept))
        return [git.Lease(ref, None, old) for ref, old in refs if old]

    def pushed(self, leases: Iterable[git.Lease]) -> None:
        """The remote has taken these."""
        for lease in leases:
            if lease.ref == run_ref(self.task):
                self.kept = lease.new
            elif lease.ref == claim_ref(self.task):
                self.claim = lease.new
                if not lease.new:
                    git.git(self.cwd, "update-ref", "-d", self.mark)

    def _push(self, leases: list[git.Lease]) -> bool:
        done = self.push(leases, hooks=False)
        point("share.pushed")
        if done.end == "done":
            self.pushed(leases)
            return True
        if done.end == "moved":
            return not self.is_lost(done)
        self.emit(Event(self.task, "note", text=f"{origin.REMOTE} does not know of this run's last step yet: {done.said}"))
        return True

    def is_lost(self, done: origin.Pushed) -> bool:
        """Whether the push failed because the claim is not ours any more; then the run is asked to stop."""
        there = done.tips.get(claim_ref(self.task))
        if there and self._is_mine(there):
            # what was pushed before has arrived, and only its answer was lost
            self.claim, self.kept = there, done.tips.get(run_ref(self.task), self.kept)
            return False
        self.lost = "another job has taken it over: this one's claim ran out"
        self.claim = None
        self.cancel.ask()
        return True


def run_commit(project: Project, run: Run, earlier: str | None) -> str:
    """The commit that carries a run: its first parent is the branch after the last finished step; `earlier` itself if that
    says the same already."""
    live = run.live
    cwd, head, text = project.root, live.head or live.start or "", records.live_text(travelling(run)).encode()
    if earlier and git.blob(cwd, earlier, RECORD) == text and git.parents(cwd, earlier)[:1] == [head]:
        return earlier
    since = git.git(cwd, "log", "-1", "--format=%ct", "--end-of-options", live.start or head).text
    message = f"kin: {run.task} {run.status}\n\nKin-Run: {run.run}\nKin-Since: {since}\n"
    blob = git.hash_object(cwd, text)
    tree = git.git(cwd, "mktree", input=f"100644 blob {blob}\t{RECORD}\n".encode()).text
    return git.commit_tree(cwd, tree, [head, *([earlier] if earlier else [])], message)


def travelling(run: Run) -> Run:
    """The live record as another clone may have it: no process, path or session of this machine."""
    return run.holding(pid=None, worktree=None, sessions={})


def read_run(cwd: str, task_id: str, oid: str) -> tuple[Run, str]:
    """The run that commit `oid` holds, and the commit of its work. Raises Invalid if there is no run of this task in it."""
    shown = f"{run_ref(task_id)}:{RECORD}"
    raw, parents = git.blob(cwd, oid, RECORD), git.parents(cwd, oid)
    if raw is None or not parents:
        raise Invalid(f"{run_ref(task_id)} holds no run", f"`kin run {task_id} --restart` starts over")
    run = records.parse(reader.decode(raw, shown, reader.RECORD_BOUNDS), shown)
    # the run's id becomes the name of files: one like `../x` would be others' files
    if run.task != task_id or run.branch != f"kin/{task_id}" or not RUN_ID.fullmatch(run.run):
        raise Invalid(f"{shown} is the record of another task", f"`kin run {task_id} --restart` starts over")
    return run, parents[0]


def installed(project: Project, task_id: str, oid: str, target: str) -> Run | None:
    """Make the run of commit `oid` this clone's own, if it is further than what is here; what was here is set aside.

    The caller holds the task's lock. `target` is the target's tip: a run whose work it has is over. Returns the run.
    Raises Invalid if the commit holds no record of this task.
    """
    cwd, (run, head) = project.root, read_run(project.root, task_id, oid)
    own = run.live.start != head
    record = git.blob(cwd, target, f".kin/pipelines/{task_id}/{run.run}.yaml")
    is_over = record and records.parse(record.decode(), run.run).status == RunStatus.completed
    if is_over or (own and git.is_ancestor(cwd, head, target)):
        return None
    here = records.live(project, task_id)
    if here and (here.run > run.run or (here.run == run.run and not _is_behind(cwd, here, head))):
        return here
    if here or git.tip(cwd, f"refs/heads/{run.branch}"):
        path = here.live.worktree if here else None
        set_aside(project, task_id, here.run if here else run.run, "elsewhere", path=path, target=target, live=here)
        if here:
            records.drop_live(project, here)
    run = travelling(run)
    if run.status == RunStatus.running:  # of a job that was killed; ours will say so again itself
        run = run._replace(status=RunStatus.cancelled, reason="its job ended without a word")
    git.update_ref(cwd, f"refs/heads/{run.branch}", head, None, f"kin: {task_id} goes on here")
    records.save_live(project, run)
    point("share.installed")
    return run


def _is_behind(cwd: str, here: Run, head: str) -> bool:
    mine = here.live.head
    return mine is None or (mine != head and git.is_ancestor(cwd, mine, head))


def bring_run(project: Project, task_id: str, target: Target) -> str | None:
    """Fetch the run that the remote holds of a task; its commit. Of a shallow clone's missing history only what it takes."""
    cwd, ref = project.root, run_ref(task_id)
    oid = origin.tips(cwd, ref).get(ref)
    if oid is None:
        return None
    origin.bring(cwd, ref, flags=("--depth=1",) if git.is_shallow(cwd) else ())
    oid = git.tip(cwd, ref) or oid
    if git.is_shallow(cwd):
        since = dict(git.log_trailers(cwd, ("Kin-Since",), oid, limit=1))[oid].get("Kin-Since", "0")
        origin.connect(cwd, oid, target.oid, str(int(since) - 1 if since.isdecimal() else 0), ref, target.ref)
    return oid


@contextmanager
def shared(project: Project, task_id: str, target: Target, caller: Caller) -> Iterator[Share]:
    """Hold the task on the remote, its finished steps brought here; the claim is renewed meanwhile, and given back."""
    share = Share(project, task_id, caller)
    share.take()
    over = threading.Event()

    def renew() -> None:
        while not over.wait(CLAIM.total_seconds() / 3) and share.renew():
            pass

    thread = threading.Thread(target=renew, name="claim", daemon=True)
    thread.start()
    try:
        share.kept = bring_run(project, task_id, target)
        if share.kept:
            installed(project, task_id, share.kept, target.oid)
        yield share
    finally:
        over.set()
        thread.join()
        share.leave(None)
