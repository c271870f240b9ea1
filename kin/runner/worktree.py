"""A task's own checkout: made, found again, put back to a commit, removed; killed at any point it is mended by the next call.

Worktrees lie outside of the repository and hide `.kin/`, so that no agent reads or edits a stale copy of it (docs/git.md, A).
Everything that git keeps about worktrees is changed under the lock `git`, which git children inherit: a killed kin leaves
its git running, and whoever comes next must wait for that one too (rules 15 and 29).
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

from kin import git
from kin.errors import Busy, Conflict, Invalid
from kin.faults import point
from kin.model.ids import TASK_ID
from kin.model.settings import Settings
from kin.runner import salvage
from kin.runner.salvage import branch_ref
from kin.store import locks
from kin.store.project import Project, state_folder

__all__ = [
    "Made",
    "branch_ref",
    "clear_locks",
    "discard",
    "ensure",
    "fast_forward",
    "folder",
    "hide_store_config",
    "mark_ready",
    "remove",
    "reset_to",
    "throwaway",
]

LOCK_SECONDS = 300.0
"""How long to wait for the lock `git`: a checkout or a removal of a very large worktree is under way elsewhere."""

READY, REMOVING = "kin-ready", "kin-removing"
"""Marks in a worktree's git folder: setup is done; removal has begun, so what is left of its files is worth nothing."""

HIDDEN = "/*\n!/.kin/\n"
"""Sparse patterns that leave out the store; they survive the agent's own merges and checkouts (rule 21)."""


class Made(NamedTuple):
    """A worktree: its folder, the branch's tip, whether it still wants its `setup` (`mark_ready` ends that), its git folder."""

    path: str
    start: str
    fresh: bool
    gitdir: str


def root(project: Project, settings: Settings, environ: Mapping[str, str]) -> str:
    """The folder that worktrees are made in: the settings' `worktrees`, else one a clone in the person's state folder."""
    if settings.worktrees:
        chosen = settings.worktrees
        if chosen == "~" or chosen.startswith("~/"):
            chosen = environ.get("HOME", "~") + chosen[1:]
        return os.path.realpath(os.path.join(project.root or project.git_common, chosen))
    main, name = os.path.split(project.git_common)
    name = os.path.basename(main) if name == ".git" else name.removesuffix(".git")
    mark = hashlib.sha256(os.fsencode(project.git_common)).hexdigest()[:8]
    return os.path.realpath(os.path.join(state_folder(environ), "worktrees", f"{name}-{mark}"))


def folder(project: Project, settings: Settings, task_id: str, environ: Mapping[str, str]) -> str:
    """Where a task's worktree lies, or would lie."""
    return os.path.join(root(project, settings, environ), task_id)


@contextmanager
def _git_lock(project: Project, run: str) -> Iterator[tuple[int]]:
    path = locks.lock_path(project.common, "git")
    with locks.wait_lock(path, LOCK_SECONDS, run=run, what="the lock for worktrees") as held:
        yield (held.fd,)


def hide_store_config(project: Project, key: str) -> None:
    """Once a clone: worktrees named `<key>-...` are sparse, through an include that no other tool minds (rule 21)."""
    target = os.path.join(project.common, "worktree.gitconfig")
    text = "[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = false\n"
    if not os.path.exists(target):
        os.makedirs(project.common, exist_ok=True)
        with open(f"{target}.{os.getpid()}", "w", encoding="ascii") as file:
            file.write(text)
        os.replace(file.name, target)
    pattern = f"gitdir:./worktrees/{key}-*"
    with open(os.path.join(project.git_common, "config"), encoding="utf-8", errors="surrogateescape") as file:
        if f'"{pattern}"' in file.read():
            return
    # Relative to the config file, so that the clone can be moved; without a trailing slash it matches the folder itself.
    git.git(project.git_common, "config", "--local", f"includeIf.{pattern}.path", "kin/worktree.gitconfig")
    point("worktree.config")


def ensure(
    project: Project, settings: Settings, task_id: str, run_id: str, base: str | None, environ: Mapping[str, str]
) -> Made:
    """The task's worktree on its branch, made from commit `base` if there is none yet; the caller holds the task's lock.

    Ignored files named in `.worktreeinclude` are copied as long as it is fresh. Raises Invalid if `base` is None (nothing
    was ever committed) or if something that is not kin's is in the way; Busy if the branch is checked out elsewhere.
    """
    if base is None:
        raise Invalid("there is no commit to start from", "commit once first: `git commit --allow-empty -m start`")
    wanted, ref = folder(project, settings, task_id, environ), branch_ref(task_id)
    with _git_lock(project, run_id) as fds:
        path, listed = _look_up(project, wanted, ref, task_id)
        gitdir = _admin_of(project, path)
        if gitdir and _is_whole(path, gitdir):
            start = _branch_again(project, listed, ref, gitdir, base)
        else:
            if gitdir:
                _forget(project, path, gitdir, task_id, run_id, fds)
            path = wanted
            start = _make(project, path, task_id, run_id, base, fds)
            gitdir = git.git_dir(path)
    fresh = not os.path.exists(os.path.join(gitdir, READY))
    if fresh and project.root:
        copy_included(project.root, path)
    return Made(path, start, fresh, gitdir)


def mark_ready(gitdir: str) -> None:
    """The worktree's `setup` went well and need not run again."""
    with open(os.path.join(gitdir, READY), "w", encoding="ascii"):
        pass
    point("worktree.ready")


def _look_up(project: Project, path: str, ref: str, task_id: str) -> tuple[str, git.Worktree | None]:
    """Where the task's worktree is and what git knows of it: `worktrees` may have been another folder when it was made."""
    listed = git.worktrees(project.git_common)
    here = next((w for w in listed if os.path.realpath(w.path) == path), None)
    elsewhere = next((w for w in listed if w.branch == ref and w is not here), None)
    if not elsewhere:
        return path, here
    if not elsewhere.reason.startswith(f"kin {task_id} "):
        name = ref.removeprefix("refs/heads/")
        raise Busy(f"branch {name} is checked out in {elsewhere.path}", "switch that worktree to another branch")
    return os.path.realpath(elsewhere.path), elsewhere


def _admin_of(project: Project, path: str) -> str | None:
    """The folder under `worktrees/` in the common dir that belongs to `path`, also if half of it is missing."""
    folder_of_all = os.path.join(project.git_common, "worktrees")
    with suppress(FileNotFoundError), os.scandir(folder_of_all) as entries:
        for entry in entries:
            with (
                suppress(OSError),
                open(os.path.join(entry.path, "gitdir"), encoding="utf-8", errors="surrogateescape") as file,
            ):
                dotgit = os.path.join(entry.path, file.read(8192).rstrip("\r\n"))
                if os.path.realpath(os.path.dirname(dotgit)) == path:
                    return entry.path
    # A `git worktree add` that was killed before it wrote `gitdir`: nobody else makes worktrees named like a task.
    unnamed = os.path.join(folder_of_all, os.path.basename(path))
    return unnamed if os.path.isdir(unnamed) and not os.path.exists(os.path.join(unnamed, "gitdir")) else None


def _is_whole(path: str, gitdir: str) -> bool:
    """Whether the worktree is complete: its checkout writes the index last. Mends what somebody deleted since."""
    if os.path.exists(os.path.join(gitdir, REMOVING)) or not os.path.isdir(path):
        return False
    ready, indexed = os.path.exists(os.path.join(gitdir, READY)), _has_index(gitdir)
    if not ready and not indexed:
        return False
    # From here on the files may be hours of work, so they stay as they are.
    linked = git.linked_gitdir(path)
    if not os.path.lexists(os.path.join(path, ".git")) or (linked and not os.path.exists(linked)):  # the clone was moved
        with open(os.path.join(path, ".git"), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"gitdir: {gitdir}\n")
    if git.linked_gitdir(path) != os.path.realpath(gitdir):
        return False
    if not indexed:
        salvage.rebuild_index(path, gitdir)
    return True


def _has_index(gitdir: str) -> bool:
    try:
        with open(os.path.join(gitdir, "index"), "rb") as file:
            return file.read(4) == b"DIRC"
    except FileNotFoundError:
        return False


def _branch_again(project: Project, listed: git.Worktree | None, ref: str, gitdir: str, base: str) -> str:
    """The branch's tip; a branch that somebody deleted comes back where the worktree last had it."""
    if listed and listed.branch == ref and listed.head and listed.head.strip("0"):
        return listed.head
    found = git.tip(project.git_common, ref)
    if found:
        return found
    last = _last_of_reflog(gitdir)
    oid = (git.tip(project.git_common, last) if last else None) or base
    git.update_ref(project.git_common, ref, oid, None, "kin: branch was deleted")
    return oid


def _last_of_reflog(gitdir: str) -> str | None:
    with suppress(OSError), open(os.path.join(gitdir, "logs", "HEAD"), "rb") as file:
        fields = file.read().rstrip(b"\n").rpartition(b"\n")[2].split(b" ", 2)
        return fields[1].decode("ascii", "replace") if len(fields) == 3 else None
    return None


def _make(project: Project, path: str, task_id: str, run_id: str, base: str, fds: Collection[int]) -> str:
    hide_store_config(project, task_id.partition("-")[0])
    _free_folder(project, path, task_id, run_id)
    ref = branch_ref(task_id)
    old = git.tip(project.git_common, ref)
    name = ref.removeprefix("refs/heads/")
    wanted = (path, name) if old else ("--no-track", "-b", name, path, base)
    try:
        _add(project, f"kin {task_id} {run_id}", wanted, fds)
    except git.GitError:
        if not old:
            git.delete_ref(project.git_common, ref, base)  # a failed add leaves the new branch behind (rule 27)
        if git.tip(project.git_common, "refs/heads/kin"):
            hint = "give it another name: `git branch -m kin NAME`"
            raise Invalid(f"a branch called kin is in the way of {name}", hint) from None
        raise
    _check_out(project, path, fds)
    return old or base


def _add(project: Project, reason: str, wanted: tuple[str, ...], fds: Collection[int]) -> None:
    arguments = ("worktree", "add", "-q", "--no-checkout", "--lock", "--reason", reason, *wanted)
    try:
        git.git(project.git_common, *arguments, fds=fds)
    except git.GitError as error:
        # Somebody's own `git worktree add` at the same moment: git reads a folder that is just being made (rule 29).
        if "commondir" not in error.out.err:
            raise
        git.git(project.git_common, *arguments, fds=fds)
    point("worktree.added")


def _check_out(project: Project, path: str, fds: Collection[int]) -> None:
    _hide_store(project, git.git_dir(path))
    git.git(path, "read-tree", "-m", "-u", "HEAD", fds=fds)
    point("worktree.checked_out")


def _hide_store(project: Project, gitdir: str) -> bool:
    """Write the sparse patterns; False if the person has a sparse checkout of their own: then `.kin/` stays visible."""
    own = git.git(project.git_common, "config", "--type=bool", "core.sparseCheckout", ok=(0, 1)).text
    if own == "true":
        return False
    os.makedirs(os.path.join(gitdir, "info"), exist_ok=True)
    with open(os.path.join(gitdir, "info", "sparse-checkout"), "w", encoding="ascii") as file:
        file.write(HIDDEN)
    point("worktree.sparse")
    return True


def _free_folder(project: Project, path: str, task_id: str, run_id: str) -> None:
    """Make the place for a new worktree free, or refuse: only what was a worktree of this clone is kin's to clear."""
    _make_root(os.path.dirname(path))
    if not os.path.lexists(path) or (os.path.isdir(path) and not os.listdir(path)):
        return
    gitdir = git.linked_gitdir(path)
    ours = os.path.join(os.path.realpath(project.git_common), "worktrees")
    if gitdir is None or os.path.dirname(gitdir) != ours or os.path.exists(gitdir):
        raise Invalid(f"{path} is in the way and is not a worktree of kin", "move it away, or set `worktrees` in kin.yaml")
    # Its registration is gone (`git worktree prune`, say), its files are not: save them before they make place.
    salvage.salvage_stray(project.git_common, path, branch_ref(task_id), task_id, run_id)
    remove_folder(path)


def _make_root(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        what = f"no folder for worktrees: {error.filename}: {error.strerror}"
        raise Invalid(what, "set `worktrees` in kin.yaml to another place") from error


def _forget(project: Project, path: str, gitdir: str, task_id: str, run_id: str, fds: Collection[int]) -> None:
    """Clear a worktree that was never finished, whose removal was cut short, or that somebody deleted or made another of."""
    with suppress(OSError), open(os.path.join(gitdir, "HEAD"), encoding="ascii", errors="replace") as file:
        head = file.read().strip()
        if not head.startswith("ref:") and git.tip(project.git_common, head):
            salvage.keep(project.git_common, task_id, f"{run_id}-head", head)  # a detached HEAD's only hold (rule 28)
    lived = _has_index(gitdir) and not os.path.exists(os.path.join(gitdir, REMOVING))
    if lived and os.path.isdir(path) and not _is_anothers(path, gitdir):
        salvage.salvage_stray(project.git_common, path, branch_ref(task_id), task_id, run_id)
    _clear(project, path, gitdir, fds)


def _clear(project: Project, path: str, gitdir: str, fds: Collection[int]) -> None:
    """Remove a worktree's files, then its registration: killed in between, it is still known as kin's and cleared again.

    Not `git worktree remove` on the files: it refuses submodules, and killed half-way it cannot be called again.
    """
    if not _is_anothers(path, gitdir):
        if os.path.lexists(path):
            remove_folder(path)
        point("worktree.folder_removed")
        git.git(project.git_common, "worktree", "unlock", path, ok=range(256))
        git.git(project.git_common, "worktree", "remove", path, ok=range(256), fds=fds)
    if os.path.isdir(gitdir):
        remove_folder(gitdir)  # half made: git does not list it
    point("worktree.removed")


def _is_anothers(path: str, gitdir: str) -> bool:
    """Whether the folder belongs to another clone, of which this one is a copy: registrations were copied, worktrees not."""
    linked = git.linked_gitdir(path)
    return linked is not None and linked != os.path.realpath(gitdir) and os.path.exists(linked)


def remove_folder(path: str) -> None:
    """Delete a folder and all below it. Raises Invalid if the system does not let us."""
    try:
        try:
            shutil.rmtree(path)
        except PermissionError:
            # Package caches make their folders read-only, so that nothing in them can be deleted by accident.
            os.chmod(path, stat.S_IRWXU)
            for folder, names, _ in os.walk(path):
                for name in names:
                    if not os.path.islink(os.path.join(folder, name)):
                        os.chmod(os.path.join(folder, name), stat.S_IRWXU)
            shutil.rmtree(path)
    except OSError as error:
        raise Invalid(
            f"{error.filename or path} cannot be deleted: {error.strerror}", "is a program still using it?"
        ) from error


def clear_locks(path: str) -> None:
    """Unlink the locks that a killed git left on a task's worktree and branch. The caller knows that no process of it lives."""
    gitdir = git.linked_gitdir(path)
    if gitdir is None:
        return
    branch = os.path.join(git.common_of(gitdir), branch_ref(os.path.basename(path)))
    for name in (os.path.join(gitdir, "index"), os.path.join(gitdir, "HEAD"), branch):
        with suppress(FileNotFoundError):
            os.unlink(f"{name}.lock")


def copy_included(source: str, path: str) -> None:
    """Copy the ignored files that `.worktreeinclude` names (gitignore syntax) from the checkout; what is there stays.

    Raises Invalid if one cannot be copied.
    """
    if not os.path.isfile(os.path.join(source, ".worktreeinclude")):
        return
    named = git.git(source, "ls-files", "-z", "-o", "-i", "--exclude-from=.worktreeinclude").out.split(b"\0")[:-1]
    if not named:
        return
    # `./`: check-ignore reads pathspecs, and a name may begin with a colon
    asked = b"".join(b"./" + name + b"\0" for name in named)
    ignored = git.git(source, "check-ignore", "-z", "--stdin", input=asked, ok=(0, 1), magic=True).out
    for name in (os.fsdecode(answer[2:]) for answer in ignored.split(b"\0")[:-1]):
        if name.startswith(".kin/") or name.endswith("/"):
            continue
        try:
            _copy(os.path.join(source, name), os.path.join(path, name), f"{path}.copy")
        except OSError as error:
            what = f".worktreeinclude names {name}, which cannot be copied: {error.strerror}"
            raise Invalid(what, "mend it, or take it out") from error
    point("worktree.copied")


def _copy(source: str, target: str, partial: str) -> None:
    """Copy one file whole or not at all; `partial` lies outside of the worktree, where no step commits half a secret."""
    parent = os.path.dirname(target)
    if os.path.lexists(target):
        return
    os.makedirs(parent, exist_ok=True)
    if os.path.realpath(parent) != parent:
        return  # a link in the checkout leads out of the worktree
    shutil.copy2(source, partial, follow_symlinks=False)
    os.replace(partial, target)


def reset_to(project: Project, path: str, commit: str, *, fds: Collection[int] = ()) -> None:
    """Put a task's worktree and its branch back to `commit`: tracked and untracked files as there, ignored ones stay.

    The caller has saved what is worth saving, and ended every process of the step.
    """
    gitdir, ref = git.git_dir(path), branch_ref(os.path.basename(path))
    clear_locks(path)
    for name in ("rebase-merge", "rebase-apply", "sequencer"):
        shutil.rmtree(os.path.join(gitdir, name), ignore_errors=True)
    if os.path.exists(os.path.join(gitdir, "config.worktree")):
        os.unlink(os.path.join(gitdir, "config.worktree"))  # an agent's `git sparse-checkout disable` (rule 22)
    hidden = _hide_store(project, gitdir)
    if git.head_ref(path) != ref:
        git.git(path, "symbolic-ref", "-m", "kin: back to the branch", "HEAD", ref, fds=fds)
    point("worktree.attached")
    git.git(path, "reset", "-q", "--hard", commit, fds=fds)
    point("worktree.reset")
    git.git(path, "clean", "-q", "-ffd", fds=fds)
    if hidden and os.path.lexists(os.path.join(path, ".kin")):
        _unlink_or_remove(os.path.join(path, ".kin"))  # a folder that holds hidden files is none of `git clean`'s business
    point("worktree.cleaned")


def _unlink_or_remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        remove_folder(path)
    else:
        os.unlink(path)


def fast_forward(path: str, ref: str, old: str, new: str, *, fds: Collection[int] = ()) -> bool:
    """Move the clean worktree and its branch from `old` to `new`; False if the branch is elsewhere, GitError if files block."""
    if git.head_ref(path) != ref or git.tip(path, ref) != old:
        return False
    git.git(path, "reset", "-q", "--keep", new, fds=fds)
    point("worktree.forwarded")
    return True


@contextmanager
def throwaway(project: Project, settings: Settings, commit: str, name: str, environ: Mapping[str, str]) -> Iterator[str]:
    """A detached worktree at `commit`, made like a task's own and removed afterwards; `name` begins with a task's id.

    What a killed kin left under the same name is cleared first: a throw-away worktree holds nothing that is missed.
    """
    path = os.path.join(root(project, settings, environ), name)
    with _git_lock(project, name) as fds:
        _discard(project, path, fds)
        hide_store_config(project, name.partition("-")[0])
        _make_root(os.path.dirname(path))
        if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
            raise Invalid(f"{path} is in the way and is not a worktree of kin", "move it away, or set `worktrees` in kin.yaml")
        _add(project, f"kin {name}", ("--detach", path, commit), fds)
        _check_out(project, path, fds)
    try:
        if project.root:
            copy_included(project.root, path)
        yield path
    finally:
        with _git_lock(project, name) as fds:
            _discard(project, path, fds)


def _discard(project: Project, path: str, fds: Collection[int]) -> None:
    if gitdir := _admin_of(project, path):
        _clear(project, path, gitdir, fds)


def _discard_throwaways(project: Project, path: str, fds: Collection[int]) -> None:
    """Remove what a killed kin left of the task's throw-away worktrees; their names begin with the task's."""
    root, task = os.path.split(path)
    for name in os.listdir(root) if os.path.isdir(root) else ():
        if name.startswith(f"{task}-") and not TASK_ID.fullmatch(name):
            _discard(project, os.path.join(root, name), fds)


def discard(project: Project, path: str) -> None:
    """Remove a worktree whose work the caller has saved. Raises Conflict for commits in submodules, which no salvage holds."""
    with _git_lock(project, os.path.basename(path)) as fds:
        _discard_throwaways(project, path, fds)
        gitdir = _admin_of(project, path)
        if gitdir and (reason := _unsaved_submodule(gitdir)):
            raise Conflict(f"the worktree of {os.path.basename(path)} stays: {reason}", "push them from there first")
        _discard(project, path, fds)


def remove(project: Project, path: str, ref: str, target: str) -> str | None:
    """Remove the worktree and delete its branch if everything in both is in commit `target`; else why they were kept."""
    tip = git.tip(project.git_common, ref)
    name = ref.removeprefix("refs/heads/")
    if tip and not git.is_ancestor(project.git_common, tip, target):
        return f"{name} has commits that are not merged"
    with _git_lock(project, name) as fds:
        _discard_throwaways(project, path, fds)
        gitdir = _admin_of(project, path)
        if gitdir and (reason := _remove_worktree(project, path, gitdir, target, fds)):
            return reason
    if tip and not git.delete_ref(project.git_common, ref, tip):
        return f"{name} could not be deleted: it moved, or a hook forbids it"
    point("worktree.branch_deleted")
    return None


def _remove_worktree(project: Project, path: str, gitdir: str, target: str, fds: Collection[int]) -> str | None:
    begun = os.path.join(gitdir, REMOVING)
    if os.path.isdir(path) and not os.path.exists(begun) and not _is_anothers(path, gitdir):
        clear_locks(path)
        found = git.status(path, submodules=True)
        if found.entries:
            return f"the worktree has uncommitted files: {found.entries[0].path}"
        if found.head and not git.is_ancestor(path, found.head, target):
            return "the worktree's HEAD has commits that are not merged"
        if reason := _unsaved_submodule(gitdir):
            return reason
        with open(begun, "w", encoding="ascii"):
            pass
        point("worktree.removing")
    _clear(project, path, gitdir, fds)
    return None


def _unsaved_submodule(gitdir: str) -> str | None:
    """Which submodule of a worktree has commits that its remotes lack: its repository goes with the worktree (rule 25)."""
    for folder, names, files in os.walk(os.path.join(gitdir, "modules")):
        if "HEAD" not in files or "objects" not in names:
            continue
        names[:] = [name for name in names if name == "modules"]
        out = git.git(folder, "rev-list", "--max-count=1", "--branches", "HEAD", "--not", "--remotes", ok=(0, 128))
        if out.code or out.out:
            name = os.path.relpath(folder, os.path.join(gitdir, "modules"))
            return f"the submodule {name} has commits that were not pushed"
    return None
