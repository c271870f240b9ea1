"""A run in one file: its branch and record as a git bundle, from a job that may not push to one that may.

What comes out of a bundle is a stranger's word: it is checked like any other file, and no verdict or approval in it counts.
"""

import json
import os
from collections.abc import Callable, Iterator

from kin import git
from kin.errors import Invalid
from kin.model import times
from kin.model.ids import TASK_ID
from kin.model.record import Run
from kin.model.result import parse_result
from kin.model.status import RunStatus, TaskStatus
from kin.runner.remote.origin import bring
from kin.runner.remote.share import run_commit, run_ref
from kin.runner.remote.target import Target
from kin.runner.steps.passage import Passage
from kin.store import tasks

MOST = 256 << 20
"""Bytes of a bundle: it is read whole."""
LARGEST = 100 << 20
"""Bytes of a file in it; hosts take no larger one."""


def write_bundle(p: Passage, path: str) -> str:
    """Write what the run has finished to `path`; the path. Raises Invalid if it cannot be written."""
    cwd, ref, start = p.project.root, run_ref(p.task.id), p.live.start
    if start is None:
        raise Invalid("nothing was begun that a bundle could hold", "")
    git.git(cwd, "update-ref", ref, run_commit(p.project, _with_status(p), None))
    full = os.path.abspath(path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    git.git(cwd, "bundle", "create", "-q", f"{full}.tmp", ref, f"^{start}")
    os.replace(f"{full}.tmp", full)  # whoever uploads it never sees half of one
    return path


def _with_status(p: Passage) -> Run:
    """The run, and with it what the task's file says here of why it is blocked: the file itself does not travel."""
    task, _ = tasks.load(p.project, p.task.id)
    why = task.blocked if task.status == TaskStatus.blocked else None
    edit = {"status": task.status.value, "blocked": {"kind": why.kind, "reason": why.reason}} if why else None
    return p.run._replace(live=p.live._replace(pending_edit=edit))


def open_bundle(cwd: str, path: str) -> tuple[str, str]:
    """Bring a bundle's one run into this clone, where no ref holds it yet; the task's id and the run's commit.

    Raises Invalid if it is no bundle of one run, is damaged, goes on from commits that are not here, or holds what git or a
    host would not take.
    """
    full = os.path.abspath(path)
    if not os.path.isfile(full) or os.path.getsize(full) > MOST:
        raise Invalid(f"{path} is no bundle", "`kin run KIN-1 --bundle FILE` writes one")
    try:
        refs = git.git(cwd, "bundle", "list-heads", full).text.splitlines()
        oid, _, ref = refs[0].partition(" ") if len(refs) == 1 else ("", "", "")
        task_id = ref.removeprefix("refs/kin/runs/")
        if ref != run_ref(task_id) or not TASK_ID.fullmatch(task_id):
            raise Invalid(f"{path} does not hold just one run", "`kin run KIN-1 --bundle FILE` writes such a bundle")
        if git.git(cwd, "bundle", "verify", "-q", full, ok=(0, 1)).code and git.is_shallow(cwd):
            bring(cwd, flags=("--unshallow",))  # the branch that it goes on from has moved on since
        with open(full, "rb") as file:
            pack = file.read().partition(b"\n\n")[2]
        # not `git fetch`: up to 2.43 it looks at nothing that a bundle brings, fsckObjects or not
        git.git(cwd, "index-pack", "--stdin", "--fix-thin", "--strict", input=pack)
        new = git.git(cwd, "rev-list", "--objects", "--no-object-names", oid, "--not", "--all", "HEAD").out
        sizes = git.git(cwd, "cat-file", "--batch-check=%(objectsize)", input=new).text.split()
    except git.GitError as error:
        raise Invalid(
            f"{path} cannot be read: {error.message}", "fetch the branch that it was made from, or make it again"
        ) from error
    if any(int(size) > LARGEST for size in sizes):
        raise Invalid(f"{path} holds a file of more than {LARGEST >> 20} MiB", "such files do not belong in git")
    return task_id, oid


def check_claims(cwd: str, run: Run, head: str, target: Target) -> None:
    """Raise Invalid if the record of a run whose work is commit `head` says what cannot be, or the work is none of a run's.

    All that the target does not hold must be commits of the run's steps.
    """
    if false := next(_false(cwd, run, head, target), ""):
        raise Invalid(f"the bundle is refused: {false}", "look at the job that made it; a new run makes a new one")


def _false(cwd: str, run: Run, head: str, target: Target) -> Iterator[str]:
    if run.base != target.name:
        yield f"it is for {run.base}, {run.task} is for {target.name}"
    if run.status == RunStatus.completed or run.merge:
        yield "its record says that it was merged"
    moments = [run.started, run.ended, *(at for step in run.steps for at in (step.started, step.ended))]
    if not all(_reads(times.parse, at) for at in moments if at is not None):
        yield "its record holds a time that is none"
    if not all(_reads(parse_result, json.dumps(entry)) for entry in run.live.proposals):
        yield "it holds a malformed proposal"
    if any(step.id.partition("-")[2] != step.role for step in run.steps):
        yield "its record gives a step to another role"
    if (run.live.head or run.live.start) != head:
        yield "its work ends elsewhere than its record says"
    for oid, trailers in git.log_trailers(cwd, ("Kin-Run", "Kin-Task", "Kin-State"), head, f"^{target.oid}"):
        if trailers != {"Kin-Run": run.run}:
            yield f"commit {oid[:12]} is of no step of {run.run}"
    named = [step.commit for step in run.steps if step.commit]
    if not all(git.tip(cwd, oid) for oid in named) and git.is_shallow(cwd):
        bring(cwd, flags=("--unshallow",))  # where the branch moved on with its target, a step may have begun further back
    for oid in named:
        if git.tip(cwd, oid) != oid or not git.is_ancestor(cwd, oid, head):
            yield f"commit {oid[:12]}, which its record names, is not in it"
    base = git.merge_base(cwd, head, target.oid)
    if base is None:
        yield f"its work has no history in common with {target.name}"
    for change in git.changes(cwd, base or target.oid, head):
        if change.is_new_link:
            yield f"{change.path} is a repository inside it"
        if change.new.mode == git.LINK and _leads_out(change.path, os.fsdecode(git.blob(cwd, head, change.path) or b"")):
            yield f"{change.path} is a link that leads out of it"


def _reads(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _leads_out(path: str, target: str) -> bool:
    """Whether a link may lead out of the tree: `..` counts only at its beginning, since behind another link it is elsewhere."""
    where = os.path.normpath(os.path.join("/-", os.path.dirname(path), target))
    return not where.startswith("/-/") or ".git" in where.lower().split("/") or ".." in target.lstrip("./").split("/")
