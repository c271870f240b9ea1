"""Moves a target to a built commit beside a person's own work: all of it, or nothing (docs/git.md, C).

The order is files, index, ref. Killed before the ref moved, the merge shows as work in the checkout and recovery takes it
back; the other order would show it staged for reversal, and the person's next commit would undo it (rule 2). kin itself holds
`index.lock` from the first look to the last write, or a `git switch` in between would get the merge (rule 1). The ref is
prepared before files change, so a hook's veto or a moved target is seen while nothing has happened (rule 3).
"""

import os
import re
import select
import signal
import tempfile
import uuid
from contextlib import suppress
from typing import Any, NamedTuple

from kin import git
from kin.errors import Busy, Invalid
from kin.faults import point
from kin.runner.merge import diffs, kinfiles
from kin.runner.merge.build import Built, home
from kin.runner.merge.checkout import (
    Checkout,
    Pending,
    find_checkout,
    is_sparse,
    keep_index,
    private_index,
    publish_index,
    still_there,
)
from kin.runner.merge.recover import ORPHAN_PATIENCE, Recovered, conclude, journal_name, put_right
from kin.runner.merge.refs import RefUpdate
from kin.store import journal, locks
from kin.store.project import Project

HOOK_LIMIT = 120.0
"""Seconds that a post-merge hook gets."""


class Moved(NamedTuple):
    """The target is at `oid`, and so is its `checkout`, if it has one. `warnings`: what a person may want to do."""

    oid: str
    warnings: tuple[str, ...] = ()
    checkout: str = ""


class _Plan(NamedTuple):
    diff: tuple[git.Change, ...]
    obstacles: diffs.Obstacles
    kin: tuple[kinfiles.KinFile, ...]
    hidden: frozenset[str]


class _Move(NamedTuple):
    project: Project
    built: Built
    checkout: Checkout
    message: str
    nonce: str
    fds: tuple[int, ...]

    def entry(self, plan: _Plan | None = None) -> dict[str, Any]:
        """The journal's entry: without a plan nothing but locks can have to be put right."""
        entry = _entry(self.built, *self.checkout, self.nonce)
        if plan is None:
            return entry
        missing, kin = sorted(plan.obstacles.missing), [file.to_data() for file in plan.kin]
        already, hidden = sorted(plan.obstacles.already), sorted(plan.hidden)
        return entry | {"stage": "planned", "already": already, "missing": missing, "hidden": hidden, "kin": kin}


def move(project: Project, built: Built, *, message: str) -> Moved | Pending:
    """Move `built.target` from `built.old` to `built.new`, with the checkout that has it, whatever worktree that is.

    `message` goes into the reflog. Pending if anything is in the way: then nothing has changed. An earlier move of the same
    target that was cut short is put right first. Raises Invalid if the disk or git fails, after taking back what was done.
    """
    name = journal_name(built.target)
    lock = locks.lock_path(project.common, name)
    short = built.target.removeprefix("refs/heads/")
    try:
        with locks.wait_lock(lock, ORPHAN_PATIENCE, run=built.run, what=f"the move of {short}") as held:
            if earlier := journal.read(project, name):
                put_right(project, earlier, (held.fd,))
            checkout = find_checkout(project, built.target)
            if isinstance(checkout, Pending):
                return checkout
            if checkout is None:
                return _move_ref(project, built, message, (held.fd,))
            done = _move_checkout(_Move(project, built, checkout, message, uuid.uuid4().hex, (held.fd,)))
    except Busy as busy:
        return Pending(str(busy))
    except OSError as error:
        raise Invalid(f"{error.filename or short}: {error.strerror}", "mend that, and kin goes on where it was") from error
    return done._replace(checkout=checkout.path) if isinstance(done, Moved) else done


def _entry(built: Built, path: str = "", gitdir: str = "", nonce: str = "") -> dict[str, Any]:
    names = {"task": built.task, "run": built.run, "ref": built.target, "old": built.old, "new": built.new}
    return {"kind": "move", "stage": "begun", **names, "path": path, "gitdir": gitdir, "nonce": nonce}


def _move_ref(project: Project, built: Built, message: str, fds: tuple[int, ...]) -> Moved | Pending:
    """Nobody has the target checked out: its ref is all there is. One that was only on `origin` is made."""
    entry = _entry(built)
    journal.write(project, journal_name(built.target), entry)
    point("move.journal")
    expected = built.old if git.tip(home(project), built.target) else "0" * len(built.old)
    words = ("update-ref", "--create-reflog", "-m", message, built.target, built.new, expected)
    out = git.git(home(project), *words, ok=(0, 1, 128), fds=fds)
    point("move.ref")
    conclude(project, entry, moved=out.code == 0)
    return Moved(built.new) if out.code == 0 else _refused(project, built, out.err.strip())


def _move_checkout(m: _Move) -> Moved | Pending:
    entry = m.entry()
    journal.write(m.project, journal_name(m.built.target), entry)
    point("move.journal")
    try:
        found = _under_index_lock(m)
    except (Busy, Invalid) as error:
        done = _take_back(m)
        said = f"{error.where}: {error.message}" if error.where else error.message
        paths = _named(error)
        said = "uncommitted changes are in the way" if paths else said
        return Moved(m.built.new) if done.moved else Pending(said, paths)
    except BaseException as error:
        # what moved the ref and then met a full disk has moved: the merge is there, and nobody may be told otherwise
        if _take_back(m).moved and isinstance(error, OSError):
            return Moved(m.built.new)
        raise
    if isinstance(found, Pending):
        conclude(m.project, entry, moved=False)
        return found
    conclude(m.project, entry, moved=True)
    links = ", ".join(change.path for change in found.diff if change.new.is_link)
    told = f"submodules are at another commit now: {links}; `git submodule update` checks them out"
    return Moved(m.built.new, (told,) if links else ())


def _take_back(m: _Move) -> Recovered:
    entry = journal.read(m.project, journal_name(m.built.target))
    return put_right(m.project, entry or m.entry(), m.fds)


def _under_index_lock(m: _Move) -> _Plan | Pending:
    """Everything between taking the index and giving it back; a plan that came back has been carried out."""
    where = m.checkout
    if not keep_index(where.gitdir, m.nonce):
        return Pending(f"another git holds {os.path.join(where.gitdir, 'index.lock')}; an editor of a commit may be open")
    point("move.index_lock")
    if stop := still_there(where, m.built.target):
        return stop
    env = private_index(where, m.fds)
    plan = _plan(m, env)
    if isinstance(plan, Pending):
        return plan
    with RefUpdate(where.path, m.built.target, m.built.new, m.built.old, m.message, m.fds) as ref:
        if said := ref.prepare():
            return _refused(m.project, m.built, said)
        point("move.prepared")
        journal.write(m.project, journal_name(m.built.target), m.entry(plan))
        point("move.planned")
        _change_checkout(m, plan, env)
        if said := ref.commit():
            raise Busy(said)
        point("move.ref")
    return plan


def _plan(m: _Move, env: dict[str, str]) -> _Plan | Pending:
    work, built = m.checkout.path, m.built
    staged, conflicts = diffs.index_changes(work, built.old, env)
    if conflicts:
        return Pending(f"there are unsolved conflicts in {work}", conflicts)
    diff = kinfiles.move_changes(work, built.old, built.new, built.task)
    obstacles = diffs.find_obstacles(work, (c for c in diff if not diffs.is_kin(c.path)), staged, env)
    hidden = _hidden(m.checkout, diff, env)
    kin, stops = kinfiles.plan(work, (c for c in diff if diffs.is_kin(c.path)), staged, built.task, built.run, hidden)
    if obstacles.blocked or stops:
        why = "; ".join(f"{stop.path}: {stop.why}" for stop in stops)
        return Pending(why or "uncommitted changes are in the way", (*obstacles.blocked, *(stop.path for stop in stops)))
    return _Plan(tuple(diff), obstacles, tuple(kin), hidden)


def _hidden(checkout: Checkout, diff: list[git.Change], env: dict[str, str]) -> frozenset[str]:
    """Paths of the move that a sparse checkout leaves out; all of `.kin/`, new files too, where none of it is shown, as in a
    task's own worktree when another task is merged into its branch."""
    if not is_sparse(checkout):
        return frozenset()
    shown = os.path.isdir(os.path.join(checkout.path, ".kin"))
    hidden = diffs.hidden_paths(checkout.path, env)
    return frozenset(c.path for c in diff if c.path in hidden or (diffs.is_kin(c.path) and not shown))


def _change_checkout(m: _Move, plan: _Plan, env: dict[str, str]) -> None:
    """Files, then index. The store's files come first: they are the ones that can still refuse, and the cheapest to undo."""
    work, built = m.checkout.path, m.built
    kinfiles.apply(m.project, work, plan.kin)
    point("move.kin")
    new = {change.path: change.new for change in plan.diff if diffs.is_kin(change.path)}
    diffs.set_entries(work, new.items(), env, m.fds)  # read-tree leaves files alone whose entry is the new one already
    point("move.entries")
    if len(new) < len(plan.diff):
        git.git(work, "read-tree", "-m", "-u", built.old, built.new, env=env, fds=m.fds)
    point("move.files")
    diffs.set_entries(work, ((f.path, f.index_after) for f in plan.kin if f.index_after != new[f.path]), env, m.fds)
    diffs.hide(work, (path for path, entry in new.items() if entry.there and path in plan.hidden), env, m.fds)
    point("move.staged")
    publish_index(m.checkout, m.fds)
    point("move.index")


def _refused(project: Project, built: Built, said: str) -> Pending:
    stale = git.tip(home(project), built.target) != built.old
    short = built.target.removeprefix("refs/heads/")
    return Pending(f"{short} moved meanwhile" if stale else f"{short} cannot move: {said}", stale=stale)


def _named(error: Busy | Invalid) -> tuple[str, ...]:
    """Paths that read-tree names: edits under assume-unchanged or skip-worktree, which nothing else shows."""
    said = error.out.err if isinstance(error, git.GitError) else ""
    return tuple(sorted(set(re.findall(r"[Ee]ntry '([^']+)'", said))))


def post_merge(done: Moved, cancelled: int) -> str:
    """Offer the hook of this name, which plumbing does not run (rule 19); words if it failed, or was ended when `cancelled`, a
    descriptor, could be read: the merge is there all the same.

    For when everything is over and no lock is held that others queue for: it may hang for its whole limit.
    """
    if not done.checkout:
        return ""
    with tempfile.TemporaryFile() as told:
        try:
            process = git.start(done.checkout, "hook", "run", "--ignore-missing", "post-merge", "--", "0", errors=told)
        except (Invalid, OSError) as error:
            return f"the post-merge hook failed: {error}"
        with process:
            assert process.stdout
            # git alone has this; the hook, and what it leaves in the background, writes where the errors go
            end = process.stdout.fileno()
            heard = select.select([end, cancelled], [], [], HOOK_LIMIT)[0]
            if end not in heard:
                with suppress(OSError):  # it has just ended
                    os.killpg(process.pid, signal.SIGTERM if heard else signal.SIGKILL)
        told.seek(0)
        said = told.read(1000).decode("utf-8", "replace").strip()[:300] or f"exit {process.returncode}"
    if end in heard:
        return f"the post-merge hook failed: {said}" if process.returncode else ""
    return "the post-merge hook was ended: " + ("interrupted" if heard else f"it took longer than {HOOK_LIMIT:g} s")
