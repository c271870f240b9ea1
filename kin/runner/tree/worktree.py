"""A task's own checkout: made, found again, put back to a commit, removed; killed at any point it is mended by the next call.

Worktrees lie outside of the repository and hide `.kin/`, so that no agent reads or edits a stale copy of it (docs/git.md, A).
Everything that git keeps about worktrees is changed under the lock `git`, which git children inherit: a killed kin leaves
its git running, and whoever comes next must wait for that one too (rules 15 and 29).
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

from kin import git
from kin.errors import Busy, Invalid
from kin.faults import point
from kin.model.settings import Settings
from kin.runner.tree import registry, salvage
from kin.runner.tree.removal import clear, clear_if_known, remove_folder
from kin.runner.tree.removal import discard as discard
from kin.runner.tree.removal import remove as remove
from kin.store.project import Project, state_folder

HIDDEN = "/*\n!/.kin/\n"
"""Sparse patterns that leave out the store; they survive the agent's own merges and checkouts (rule 21)."""
SPARSE, WORKERS = "core.sparsecheckout", "checkout.workers"
"""git's settings, as it spells them; files are written by several processes unless a person says by how many."""


class Made(NamedTuple):
    """A worktree: its folder, the branch's tip, whether it still wants its `setup` (`mark_ready` ends that), its git folder,
    and whether it was checked out just now."""

    path: str
    start: str
    fresh: bool
    gitdir: str
    new: bool


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
    wanted, ref = folder(project, settings, task_id, environ), salvage.branch_ref(task_id)
    with registry.git_lock(project, run_id) as fds:
        path, listed = _look_up(project, wanted, ref, task_id)
        if os.path.basename(path) != task_id and os.path.isdir(path):
            path = _move_back(project, path, wanted, task_id, run_id, fds)
        gitdir = registry.admin_of(project, path)
        new = not gitdir or not _is_whole(path, gitdir)
        if gitdir and not new:
            start = _branch_again(project, listed, ref, gitdir, base)
        else:
            if gitdir:
                _forget(project, path, gitdir, task_id, run_id, fds)
            path = wanted
            start = _make(project, path, task_id, run_id, base, fds)
            gitdir = _gitdir(path)
    fresh = not os.path.exists(os.path.join(gitdir, registry.READY))
    if fresh and project.root:
        _copy_included(project.root, path)
    return Made(path, start, fresh, gitdir, new)


def _gitdir(path: str) -> str:
    gitdir = git.linked_gitdir(path)
    if gitdir is None:
        raise Invalid(f"the worktree {path} has lost its `.git`", "`kin run` makes it again")
    return gitdir


def mark_ready(gitdir: str) -> None:
    """The worktree's `setup` went well and need not run again."""
    with open(os.path.join(gitdir, registry.READY), "w", encoding="ascii"):
        pass
    point("worktree.ready")


def _look_up(project: Project, path: str, ref: str, task_id: str) -> tuple[str, git.Worktree | None]:
    """Where the task's worktree is and what git knows of it: `worktrees` may have been another folder when it was made."""
    if registry.admin_of(project, path) is None and git.heads_on(project.git_common, ref) == []:
        return path, None
    listed = git.worktrees(project.git_common)
    here = next((w for w in listed if os.path.realpath(w.path) == path), None)
    elsewhere = next((w for w in listed if w.branch == ref and w is not here), None)
    if not elsewhere:
        return path, here
    if not elsewhere.reason.startswith(f"kin {task_id} "):
        name = ref.removeprefix("refs/heads/")
        raise Busy(f"branch {name} is checked out in {elsewhere.path}", "switch that worktree to another branch")
    return os.path.realpath(elsewhere.path), elsewhere


def _move_back(project: Project, path: str, wanted: str, task_id: str, run_id: str, fds: Collection[int]) -> str:
    """Undo a person's `git worktree move`: the folder's name is the task's wherever it is needed."""
    _free_folder(project, wanted, task_id, run_id)
    with suppress(FileNotFoundError):
        os.rmdir(wanted)  # git would move into it
    git.git(project.git_common, "worktree", "move", "-f", "-f", path, wanted, fds=fds)
    return wanted


def _is_whole(path: str, gitdir: str) -> bool:
    """Whether the worktree is complete: its checkout writes the index last. Mends what somebody deleted since."""
    if os.path.exists(os.path.join(gitdir, registry.REMOVING)) or not os.path.isdir(path):
        return False
    ready, indexed = os.path.exists(os.path.join(gitdir, registry.READY)), registry.has_index(gitdir)
    if not ready and not indexed:
        return False
    # From here on the files may be hours of work, so they stay as they are.
    registry.lead_back(path, gitdir)
    if git.linked_gitdir(path) != os.path.realpath(gitdir):
        return False
    if not indexed:
        salvage.rebuild_index(path, gitdir)
    return True


def _branch_again(project: Project, listed: git.Worktree | None, ref: str, gitdir: str, base: str) -> str:
    """The branch's tip; a branch that somebody deleted comes back where the worktree last had it."""
    if listed and listed.branch == ref and listed.head and listed.head.strip("0"):
        return listed.head
    found = git.tip(project.git_common, ref)
    if found:
        return found
    last = salvage.last_head(gitdir)
    oid = (git.tip(project.git_common, last) if last else None) or base
    git.update_ref(project.git_common, ref, oid, None, "kin: branch was deleted")
    return oid


def _make(project: Project, path: str, task_id: str, run_id: str, base: str, fds: Collection[int]) -> str:
    hide_store_config(project, task_id.partition("-")[0])
    _free_folder(project, path, task_id, run_id)
    ref = salvage.branch_ref(task_id)
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
    said = git.settings(project.git_common, SPARSE, WORKERS)
    _hide_store(_gitdir(path), said)
    workers = () if WORKERS in said else ("-c", f"{WORKERS}={min(2 * (os.cpu_count() or 1), 16)}")
    try:
        git.git(path, *workers, "read-tree", "-m", "-u", "HEAD", fds=fds)
    except git.GitError:
        if not workers:
            raise
        # Where no more processes may be started, git gives up half-way; the files that it finds there now are its own.
        git.git(path, "-c", f"{WORKERS}=1", "read-tree", "--reset", "-u", "HEAD", fds=fds)
    point("worktree.checked_out")


def _hide_store(gitdir: str, said: Mapping[str, str]) -> bool:
    """Write the sparse patterns; False if the person has a sparse checkout of their own: then `.kin/` stays visible."""
    if said.get(SPARSE) == "true":
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
    salvage.save_stray(project.git_common, path, task_id, run_id)
    remove_folder(path)


def _make_root(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        what = f"no folder for worktrees: {error.filename}: {error.strerror}"
        raise Invalid(what, "set XDG_STATE_HOME, or `worktrees` in kin.yaml, to another place") from error


def _forget(project: Project, path: str, gitdir: str, task_id: str, run_id: str, fds: Collection[int]) -> None:
    """Clear a worktree that was never finished, whose removal was cut short, or that somebody deleted or made another of."""
    with suppress(OSError), open(os.path.join(gitdir, "HEAD"), encoding="ascii", errors="replace") as file:
        head = file.read().strip()
        if not head.startswith("ref:") and git.tip(project.git_common, head):
            salvage.keep(project.git_common, task_id, f"{run_id}-head", head)  # a detached HEAD's only hold (rule 28)
    if registry.is_lived_in(path, gitdir) and not registry.is_anothers(path, gitdir):
        salvage.save_stray(project.git_common, path, task_id, run_id)
    clear(project, path, gitdir, fds)


def reset_to(project: Project, path: str, commit: str, *, fds: Collection[int] = ()) -> None:
    """Put a task's worktree and its branch back to `commit`: tracked and untracked files as there, ignored ones stay.

    The caller has saved what is worth saving, and ended every process of the step.
    """
    gitdir, ref = _gitdir(path), salvage.branch_ref(os.path.basename(path))
    registry.clear_locks(path)
    for name in ("rebase-merge", "rebase-apply", "sequencer"):
        shutil.rmtree(os.path.join(gitdir, name), ignore_errors=True)
    if os.path.exists(os.path.join(gitdir, "config.worktree")):
        os.unlink(os.path.join(gitdir, "config.worktree"))  # an agent's `git sparse-checkout disable` (rule 22)
    hidden = _hide_store(gitdir, git.settings(project.git_common, SPARSE))
    if git.head_ref(path) != ref:
        git.git(path, "symbolic-ref", "-m", "kin: back to the branch", "HEAD", ref, fds=fds)
    point("worktree.attached")
    git.git(path, "reset", "-q", "--hard", "--no-recurse-submodules", commit, fds=fds)
    point("worktree.reset")
    if git.git(path, "clean", "-q", "-ffd", ok=range(256), fds=fds).code:
        salvage.open_folders(path)
        git.git(path, "clean", "-q", "-ffd", fds=fds)
    if hidden and os.path.lexists(os.path.join(path, ".kin")):
        remove_folder(os.path.join(path, ".kin"))  # a folder that holds hidden files is none of `git clean`'s business
    point("worktree.cleaned")


def fast_forward(path: str, ref: str, old: str, new: str) -> bool:
    """Move the clean worktree and its branch from `old` to `new`; False if the branch is elsewhere, GitError if files block."""
    if git.head_ref(path) != ref or git.tip(path, ref) != old:
        return False
    git.git(path, "reset", "-q", "--keep", "--no-recurse-submodules", new)
    point("worktree.forwarded")
    return True


@contextmanager
def throwaway(project: Project, settings: Settings, commit: str, name: str, environ: Mapping[str, str]) -> Iterator[str]:
    """A detached worktree at `commit`, made like a task's own and removed afterwards; `name` begins with a task's id.

    What a killed kin left under the same name is cleared first: a throw-away worktree holds nothing that is missed.
    """
    path = os.path.join(root(project, settings, environ), name)
    with registry.git_lock(project, name) as fds:
        clear_if_known(project, path, fds)
        hide_store_config(project, name.partition("-")[0])
        _make_root(os.path.dirname(path))
        if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
            raise Invalid(f"{path} is in the way and is not a worktree of kin", "move it away, or set `worktrees` in kin.yaml")
        _add(project, f"kin {name}", ("--detach", path, commit), fds)
        _check_out(project, path, fds)
    try:
        if project.root:
            _copy_included(project.root, path)
        yield path
    finally:
        with registry.git_lock(project, name) as fds:
            clear_if_known(project, path, fds)


def _copy_included(source: str, path: str) -> None:
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
            _copy_whole(os.path.join(source, name), os.path.join(path, name), f"{path}.copy")
        except OSError as error:
            what = f".worktreeinclude names {name}, which cannot be copied: {error.strerror}"
            raise Invalid(what, "mend it, or take it out") from error
    point("worktree.copied")


def _copy_whole(source: str, target: str, partial: str) -> None:
    """Copy one file whole or not at all; `partial` lies outside of the worktree, where no step commits half a secret."""
    parent = os.path.dirname(target)
    if os.path.lexists(target):
        return
    os.makedirs(parent, exist_ok=True)
    if os.path.realpath(parent) != parent:
        return  # a link in the checkout leads out of the worktree
    shutil.copy2(source, partial, follow_symlinks=False)
    os.replace(partial, target)
