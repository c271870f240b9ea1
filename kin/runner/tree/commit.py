"""What a step did to its worktree: looked at before and after, judged, and made one commit on the task's branch.

An agent may commit as it likes; its commits are folded into one. What it must not do (leave the branch, write under
`.kin/`, move other refs, nest a repository) is found out before the commit. A step that did nothing costs one git process.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import NamedTuple

from kin import git
from kin.errors import Failed
from kin.faults import point
from kin.runner.tree.registry import clear_locks
from kin.runner.tree.salvage import read_status, unmoved_submodules
from kin.store.locks import outwait_gc
from kin.store.project import Project

STORE = ".kin"
SLOW = 0.02
"""Seconds."""


class Reflog(NamedTuple):
    """A reflog file as it was seen: git appends to it, and rewrites it when entries expire.

    Where git keeps all refs in one table (reftable), the tip stands for the inode, and the size is 0. `names` is which
    branch the ref stands for, if it is HEAD.
    """

    inode: int
    size: int
    names: bytes = b""


class State(NamedTuple):
    """A worktree at one moment.

    `gitdir` is the git folder that its `.git` names, `branch` the full ref that HEAD names (None: detached), `entries` all
    that `git status` lists, `merging` the commits of a merge under way, `under_way` another operation that git is in the
    middle of, `store` whether `.kin` is on disk, `reflogs` what `_reflogs` gives, `at` the time in seconds since
    the epoch, `slow` whether git needed more than SLOW to tell.
    """

    gitdir: str
    head: str | None
    branch: str | None
    entries: tuple[git.Entry, ...]
    merging: tuple[str, ...]
    under_way: str | None
    store: bool
    reflogs: Mapping[str, Reflog]
    at: float
    slow: bool = False

    @property
    def clean(self) -> bool:
        return not self.entries and not self.merging and not self.under_way

    def committed(self, head: str) -> "State | None":
        """The state once all of it has become commit `head`; None if git must tell: of `.kin` goes what is staged."""
        if any(_in_store(entry.path) for entry in self.entries):
            return None
        return self._replace(head=head, entries=(), merging=())


def look(path: str, before: State | None = None, beside: Callable[[], object] = bool) -> State:
    """The state of the worktree at `path`, with one git process. Raises Failed if the worktree is gone.

    `before` is what an earlier look saw. A git folder that a step put in the place of that one's is not even read: its settings
    could name programs, which would run outside of whatever kept the step in. And where git told at once, its index is not
    written: a new file for each step would be worth more than what the next look saves by it. `beside` is called while git is
    at work.
    """
    at = time.time()
    gitdir = git.linked_gitdir(path)
    if gitdir is None or not os.path.isdir(gitdir):
        raise Failed("the task's worktree is gone", "`kin run` makes it again from the last finished step")
    if before is not None and gitdir != before.gitdir:
        raise Failed("the worktree's `.git` leads elsewhere", "`kin run` makes it again from the last finished step")
    seen: list[tuple[str | None, Mapping[str, Reflog]]] = []

    def meanwhile() -> None:
        seen.append((git.under_way(gitdir), dict(_reflogs(git.common_of(gitdir)))))
        beside()

    start = time.monotonic()
    found = read_status(path, gitdir, refresh=before is None or before.slow, beside=meanwhile)
    slow = time.monotonic() - start > SLOW
    under_way, reflogs = seen[-1]
    merging: tuple[str, ...] = ()
    if under_way == "merge":
        with open(os.path.join(gitdir, "MERGE_HEAD"), encoding="ascii") as file:
            merging = tuple(file.read().split())
    store = os.path.lexists(os.path.join(path, STORE))
    operation = None if merging else under_way
    return State(gitdir, found.head, found.branch, found.entries, merging, operation, store, reflogs, at, slow)


def untouched(path: str, gitdir: str, head: str, branch: str) -> State:
    """The state of a worktree that was just checked out: what `look` would find, without a look at each file."""
    reflogs = dict(_reflogs(git.common_of(gitdir)))
    return State(gitdir, head, branch, (), (), None, os.path.lexists(os.path.join(path, STORE)), reflogs, time.time())


def _reflogs(common: str) -> Iterator[tuple[str, Reflog]]:
    """Reflogs of the branches, the notes, the stash and the main checkout's HEAD: what an agent has no business to move, and
    git keeps a log of."""
    starts = ("refs/heads", "refs/notes", "refs/stash", "HEAD")
    if git.has_reftable(common):
        words = ("for-each-ref", "--include-root-refs", "--format=%(refname) %(objectname) %(symref)", *starts)
        for name, oid, names in (line.split(b" ") for line in git.git(common, *words).out.split(b"\n")[:-1]):
            yield os.fsdecode(name), Reflog(int(oid, 16), 0, names)
        return
    for start in starts:
        for ref, log in _files_below(os.path.join(common, "logs", start), start):
            yield ref, log._replace(names=_head(common)) if ref == "HEAD" else log


def _head(common: str) -> bytes:
    """What the main checkout's HEAD says: it can leave a branch without leaving its commit."""
    with open(os.path.join(common, "HEAD"), "rb") as file:
        return file.read()


def _files_below(path: str, ref: str) -> Iterator[tuple[str, Reflog]]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files_below(entry.path, f"{ref}/{entry.name}")
                else:
                    stat = entry.stat(follow_symlinks=False)
                    yield f"{ref}/{entry.name}", Reflog(stat.st_ino, stat.st_size)
    except NotADirectoryError:
        stat = os.stat(path)
        yield ref, Reflog(stat.st_ino, stat.st_size)
    except FileNotFoundError:
        return  # no branch has a log, or one was deleted while we looked


def found_out(
    project: Project,
    path: str,
    before: State,
    branch: str,
    target: str,
    task: str,
    run: str,
    *,
    after: State,
    resolving: bool = False,
) -> list[str]:
    """What the step did that no step may, as sentences without a subject; empty if there is nothing to say against it.

    `target` is a commit: what came by merging it is no doing of the step. `resolving` lets conflicts pass that have no
    markers left (the integrator's step).
    """
    found = list(_left_branch(before, after, branch))
    found += _unfit(path, after, resolving)
    if after.head is not None:  # without its branch all that the index holds looks new
        found += _store_touched(path, before, after)
    found += _committed(path, before, after, target)
    found += (f"moved {ref}" for ref in _moved(project, before, after, branch, f"{task}.{run}@kin"))
    return found


def _left_branch(before: State, after: State, branch: str) -> Iterator[str]:
    name = branch.removeprefix("refs/heads/")
    if after.branch is None:
        yield f"detached HEAD from {name}"
    elif after.branch != branch:
        yield f"switched from {name} to {after.branch.removeprefix('refs/heads/')}"
    elif after.head is None:
        yield f"deleted the branch {name}"
    if after.under_way and after.under_way != before.under_way:
        yield f"left a {after.under_way} unfinished"


def _unfit(path: str, after: State, resolving: bool) -> Iterator[str]:
    unmerged = [e.path for e in after.entries if e.unmerged]
    if resolving:
        unmerged = [name for name in unmerged if _has_markers(os.path.join(path, name))]
    if unmerged:
        yield f"left merge conflicts in {_listed(unmerged)}"
    nested = [
        e.path.rstrip("/")
        for e in after.entries
        if e.path.endswith("/") or (git.GITLINK in (e.index_mode, e.work_mode) and e.head_mode != git.GITLINK)
    ]
    if nested:
        yield f"made a repository inside the worktree: {_listed(nested)}"


def _has_markers(path: str) -> bool:
    with suppress(OSError), open(path, "rb") as file:
        return any(line.startswith((b"<<<<<<< ", b">>>>>>> ")) for line in file)
    return False


def _store_touched(path: str, before: State, after: State) -> Iterator[str]:
    names = {e.path for e in after.entries if _in_store(e.path)} - {e.path for e in before.entries}
    if after.store and not before.store:
        names.update(_on_disk(path))
    if names:
        yield f"wrote under .kin/: {_listed(sorted(names))}"


def _committed(path: str, before: State, after: State, target: str) -> Iterator[str]:
    """What no commit of a step may do; what came by merging `target` does not count."""
    if not before.head or not after.head or after.head == before.head:
        return
    if not git.is_ancestor(path, before.head, after.head):
        yield f"rewrote its branch: {before.head[:10]} is no longer in it"
    changed = [c for c in git.changes(path, before.head, after.head) if _in_store(c.path) or c.is_new_link]
    if not changed:
        return
    base = git.merge_base(path, after.head, target)
    own = {c.path for c in git.changes(path, base, after.head)} if base else {c.path for c in changed}
    store = [c.path for c in changed if c.path in own and _in_store(c.path)]
    links = [c.path for c in changed if c.path in own and c.is_new_link]
    if store:
        yield f"committed changes under .kin/: {_listed(store)}"
    if links:
        yield f"committed a repository inside the worktree: {_listed(links)}"


def _in_store(name: str) -> bool:
    """Whether the path is the store's, also where a file system takes `.KIN` for the same name."""
    return name.partition("/")[0].lower() == STORE


def _on_disk(path: str) -> Iterator[str]:
    """Files below `.kin/` that git may not list: ignored ones. An empty folder is nobody's harm."""
    store = os.path.join(path, STORE)
    if not os.path.isdir(store) or os.path.islink(store):
        yield STORE
    for folder, _, names in os.walk(store):
        yield from (os.path.relpath(os.path.join(folder, name), path) for name in names)


def _moved(project: Project, before: State, after: State, branch: str, mail: str) -> Iterator[str]:
    """Refs beside `branch` that are elsewhere than before and whose reflog names the step's committer (rule 23).

    People and other pipelines move refs all the time; a ref without a log, or a deleted one, tells nobody's name.
    """
    for ref, log in after.reflogs.items():
        known = before.reflogs.get(ref)
        if ref == branch or log == known:
            continue
        if git.has_reftable(project.git_common):
            grown = known is not None and known.names == log.names
            lines = _since(project.git_common, ref, known if grown else None)
        else:
            grown = known is not None and log.inode == known.inode and log.size > known.size
            lines = _entries(os.path.join(project.git_common, "logs", ref), known.size if known and grown else 0)
        mine = [line for line in lines if line.mail == mail and (grown or line.seconds >= int(before.at))]
        if mine and not (grown and known and known.names == log.names and lines[0].old == lines[-1].new):
            yield ref


class _Line(NamedTuple):
    old: str
    new: str
    mail: str
    seconds: int


def _since(common: str, ref: str, known: Reflog | None) -> list[_Line]:
    """The entries of a reflog in a table since the ref was where it was `known` to be, oldest first; all of a new one."""
    new = takewhile(lambda moment: known is None or int(moment.oid, 16) != known.inode, git.reflog(common, ref))
    return [_Line("", moment.oid, moment.mail, moment.seconds) for moment in new][::-1]


def _entries(path: str, offset: int) -> list[_Line]:
    """The entries of a reflog from byte `offset`: `<old> <new> <name> <mail> <seconds> <zone>`, tab, message (gitformat)."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        file.seek(offset)
        lines = []
        for line in file.read().decode("utf-8", "replace").splitlines():
            who, _, rest = line.partition("\t")[0].rpartition("> ")
            seconds = rest.partition(" ")[0]
            if seconds.isdigit():
                old, new, name_and_mail = who.split(" ", 2)
                lines.append(_Line(old, new, name_and_mail.rpartition("<")[2], int(seconds)))
        return lines
    return []


def commit_step(
    path: str,
    branch: str,
    before: str,
    message: str,
    trailers: Mapping[str, str],
    *,
    after: State | None = None,
    target: str | None = None,
    fds: Collection[int] = (),
) -> str | None:
    """Make all that differs from commit `before` one commit on `branch`; the branch's new tip, or None if it stays.

    The step's own commits are folded into it; merges of `target` (a commit) stay as parents. Raises Failed for
    what `found_out` would have said, GitError if git cannot take a file. Called again, it finishes.
    """
    after = after or look(path)
    if after.branch != branch:
        raise Failed(f"the worktree is not on {branch.removeprefix('refs/heads/')}", "switch it back")
    if after.clean and after.head == before:
        return None
    if unfit := list(_unfit(path, after, resolving=True)):
        raise Failed("the step " + "; it ".join(unfit), "mend it in the worktree")
    clear_locks(path)
    outwait_gc(git.common_of(git.linked_gitdir(path) or path))
    if any(e.unmerged or e.xy == "??" or e.xy[1] != "." for e in after.entries):
        # --sparse: what a step made outside of the person's own sparse patterns is its work too; safecrlf: a no to line ends
        # that core.autocrlf will change back is meant for a person, who could answer it
        words = ("-c", "core.safecrlf=false", "add", "-A", "--sparse", "--", ":(top)", f":(top,exclude){STORE}")
        still = (f":(top,exclude,literal){name}" for name in unmoved_submodules(path, after.entries))
        git.git(path, *words, *still, magic=True, fds=fds)
    point("commit.staged")
    tree = git.git(path, "write-tree", fds=fds).text
    parents = [before] if after.head == before and not after.merging else _parents(path, before, after, target)
    changed = git.changes(path, parents[0], tree)
    if len(parents) == 1 and any(c.is_new_link for c in changed):
        raise Failed("the step committed a repository inside the worktree", "make its files ordinary ones")
    if len(parents) == 1 and not changed:
        new = parents[0]
    else:
        text = f"{message}\n\n" + "".join(f"{key}: {value}\n" for key, value in trailers.items())
        new = git.commit_tree(path, tree, parents, text)
    point("commit.written")
    if new != after.head:
        git.git(path, "update-ref", "--create-reflog", "-m", message, branch, new, after.head or "", fds=fds)
    point("commit.moved")
    if after.merging:
        git.git(path, "merge", "--quit", ok=(0, 128))
    return None if new == before else new


def _parents(path: str, before: str, after: State, target: str | None) -> list[str]:
    """The step's first commit, and the tips of `target` that the step merged.

    A parent of the step's own commits that is not one of them lies in the target or before the step.
    """
    tips = [after.head or before]
    if target:
        out = git.git(path, "rev-list", "--parents", tips[0], f"^{before}", f"^{target}").text
        own = [line.split() for line in out.splitlines()]
        mine = {line[0] for line in own}
        tips = [tip for line in own for tip in line[1:] if tip not in mine] if own else tips
        tips += [tip for tip in after.merging if git.is_ancestor(path, tip, target)]
        kept = git.git(path, "merge-base", "--independent", before, *dict.fromkeys(tips)).text.splitlines()
        return sorted(kept, key=lambda oid: oid != before)
    return [before]


def has_own_commits(cwd: str, branch: str, base: str) -> bool:
    """Whether commit `branch` holds work that `base` does not."""
    return branch != base and not git.is_ancestor(cwd, branch, base)


def is_committed(cwd: str, branch: str, trailers: Mapping[str, str]) -> bool:
    """Whether the tip of `branch` is a step's commit with these trailers: a kill may fall between commit and record."""
    found = git.log_trailers(cwd, list(trailers), branch, limit=1)
    return bool(found) and found[0][1] == dict(trailers)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
