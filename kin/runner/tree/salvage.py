"""Saves what an interrupted or failed step left in its worktree, before anything else touches it (kept.py gives it back).

A salvage is a commit under `refs/kin/salvage/<task>/`: staged, unstaged and untracked files as they lay there, on top of
what the agent had committed. It is made with an index of its own, so the worktree is exactly as it was (docs/git.md, H).
`git stash create` is no alternative: it leaves out untracked files.
"""

import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from kin import git
from kin.errors import Conflict, Invalid
from kin.faults import point
from kin.store import files
from kin.store.locks import outwait_gc

PREFIX = "refs/kin/salvage/"

SIZE_LIMIT = 50 * 1024 * 1024
"""Bytes; a larger file is left where it is and listed, and then the worktree must stay too."""

SOMEBODY = {
    "GIT_AUTHOR_NAME": "kin",
    "GIT_AUTHOR_EMAIL": "kin@localhost",
    "GIT_COMMITTER_NAME": "kin",
    "GIT_COMMITTER_EMAIL": "kin@localhost",
}
"""Nobody wrote a salvage, and it must not fail because git knows no identity."""


class Saved(NamedTuple):
    """What a salvage came to: its ref (None if there was nothing), whether all is in it, and which paths are not."""

    ref: str | None
    complete: bool
    skipped: list[str]

    def left(self, task: str) -> tuple[str, str]:
        """What is not in it and lies in the worktree only, in words, and how it gets out of the way."""
        what = ", ".join(self.skipped[:5]) or "what lies there"
        why = f"larger than {SIZE_LIMIT >> 20} MiB, or not to be read"
        way = f"move it out of there (`kin show {task}` says where), or name it in .git/info/exclude"
        return f"{what} in {task}'s worktree cannot be saved ({why})", way


def branch_ref(task: str) -> str:
    """The branch that holds a task's work, as a full ref."""
    return f"refs/heads/kin/{task}"


def salvage(path: str, task: str, run: str, step: str, *, head: str, start: str = "", fds: Collection[int] = ()) -> Saved:
    """Save all that differs from commit `head`, where the step began: files, and commits on HEAD and on the task's branch.

    `start` is an earlier commit that `show` compares with, where it is more than the step that is put aside.
    Safe to call again: the same work is not saved twice. `complete` is False if something could not be read or is too large;
    the worktree must then not be reset or removed.
    """
    gitdir = git.linked_gitdir(path)
    if gitdir is None:
        return Saved(None, not os.path.isdir(path), [])  # deleted by hand; or made another repository: `ensure` saves that
    found = read_status(path, gitdir)
    tips = _tips(path, gitdir, found, branch_ref(task))
    own = [tip for tip in tips if tip != head and not (head and git.is_ancestor(path, tip, head))]
    if not found.entries and not own:
        return Saved(None, True, [])
    index = os.path.join(gitdir, "kin-salvage-index")
    saved = _Files(path, {"GIT_INDEX_FILE": index}, fds)
    outwait_gc(git.common_of(gitdir))
    try:
        _copy_index(path, gitdir, index, found)
        nested = _nested(path, found, head, own)
        tree = saved.tree_of(found.entries, nested)
    finally:
        files.unlink(index)
    label = f"{run}-{step}"
    ref = _record(path, task, label, tree, own or tips[:1], start or head, saved.skipped)
    saved.fetch_all(nested, ref or _free_name(path, task, label))
    return Saved(ref, not saved.skipped, saved.skipped)


def read_status(path: str, gitdir: str, *, refresh: bool = True, beside: Callable[[], object] | None = None) -> git.Status:
    """`git status` of a worktree; an index or a HEAD that cannot be read any more (a killed git, a full disk) is made anew, and
    a folder that a step closed to itself is opened. `beside` is called while git is at work."""
    try:
        found = git.status(path, refresh=refresh, beside=beside)
        if found.whole:
            return found
        open_folders(path)
    except git.GitError as error:
        if "not a git repository" in error.out.err:
            with open(os.path.join(gitdir, "HEAD"), "w", encoding="ascii") as file:
                file.write(f"ref: {branch_ref(os.path.basename(path))}\n")
        elif "index" in error.out.err:
            rebuild_index(path, gitdir)
        else:
            raise
    return git.status(path, refresh=True)


def open_folders(path: str) -> None:
    """Let the owner into every folder below `path`: a step may have closed some, and package caches make theirs read-only.

    git keeps no modes of folders.
    """
    for folder in git.folders(path):
        with suppress(OSError):  # another user's
            if (mode := os.lstat(folder).st_mode) & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(folder, mode | stat.S_IRWXU)


def rebuild_index(path: str, gitdir: str) -> None:
    """Make a worktree's index anew from HEAD; files stay as they are, and what was only staged shows as changed."""
    for name in ("index.lock", "index"):
        files.unlink(os.path.join(gitdir, name))
    git.git(path, "read-tree", "-m", "HEAD")
    git.git(path, "sparse-checkout", "reapply", ok=range(256))  # else the hidden store shows as deleted; no matter without one


def _tips(path: str, gitdir: str, found: git.Status, branch: str) -> list[str]:
    """The commits to keep reachable: HEAD, the branch if HEAD left it, what is being merged."""
    tips = [found.head, git.tip(path, branch) if found.branch != branch else None]
    with suppress(FileNotFoundError), open(os.path.join(gitdir, "MERGE_HEAD"), encoding="ascii") as file:
        tips += file.read().split()
    known = list(dict.fromkeys(tip for tip in tips if tip))
    return known or [tip for tip in (git.tip(path, last_head(gitdir) or "HEAD"),) if tip]


def last_head(gitdir: str) -> str | None:
    """The commit that a worktree was at last, as its reflog says: all that is left once somebody deleted its branch."""
    with suppress(OSError), open(os.path.join(gitdir, "logs", "HEAD"), "rb") as file:
        for line in reversed(file.read().splitlines()):
            ids = [oid.decode("ascii", "replace") for oid in line.split(b" ", 2)[:2]]
            if found := [oid for oid in reversed(ids) if oid.strip("0")]:
                return found[0]
    return None


def _copy_index(path: str, gitdir: str, index: str, found: git.Status) -> None:
    """A private index with the original's times: a plain copy hides an edit made in the second of the index (rule 8)."""
    files.unlink(index + ".lock")
    try:
        shutil.copy2(os.path.join(gitdir, "index"), index)
    except FileNotFoundError:
        if found.head:
            git.git(path, "read-tree", found.head, env={"GIT_INDEX_FILE": index})


def _nested(path: str, found: git.Status, head: str, own: Sequence[str]) -> list[str]:
    """Folders that are repositories of their own and that the step's first commit does not know as submodules."""
    names = [e.path.rstrip("/") for e in found.entries if e.path.endswith("/")]
    names += [e.path for e in found.entries if e.index_mode == git.GITLINK != e.head_mode]
    for tip in own if head else ():
        names += [c.path for c in git.changes(path, head, tip) if c.is_new_link]
    return sorted({name for name in names if os.path.lexists(os.path.join(path, name, ".git"))})


_OFFLINE = {"GIT_ALLOW_PROTOCOL": ""}
"""For git in a repository that a step made: an object that it lacks would be fetched by a program that its settings name."""

_ADD = (
    *("-c", "core.safecrlf=false", "add", "-A", "--sparse", "--ignore-errors"),
    *("--pathspec-from-file=-", "--pathspec-file-nul"),
)


class _Files:
    """Files on their way into a private index, and what could not be taken along."""

    def __init__(self, path: str, env: Mapping[str, str], fds: Collection[int]) -> None:
        self.path = path
        self.env = env
        self.fds = fds
        self.skipped: list[str] = []

    def tree_of(self, entries: Sequence[git.Entry], nested: Sequence[str]) -> str:
        """A tree of all that is not ignored. One unreadable file, or a nested repository, must not lose the rest (rule 31).

        `--sparse`: what an agent wrote under the hidden `.kin/` is its work all the same.
        """
        still = unmoved_submodules(self.path, entries, self.env)
        names = [e.path for e in entries if not e.path.endswith("/") and e.path not in (*nested, *still)]
        large = {name for name in names if self._is_large(name)}
        self.skipped += sorted(large)
        specs = [":(top)", *(f":(top,exclude,literal){name}" for name in (*nested, *large, *still))]
        if self._git(*_ADD, input=_joined(specs), magic=True).code:
            self._each(_ADD, [name for name in names if name not in large])
        for folder in nested:  # the files of a repository inside the worktree, as plain files
            self._git("update-index", "--force-remove", "-z", "--stdin", input=_joined([folder]))
            self._each(("update-index", "--add", "-z", "--stdin"), self._files_below(folder))
        return git.git(self.path, "write-tree", env=self.env).text

    def _each(self, command: Sequence[str], names: Sequence[str]) -> None:
        """Run `command` on all names; where git refuses one it may refuse all, so look for that one by halves."""
        if not names or not self._git(*command, input=_joined(names)).code:
            return
        if len(names) == 1:
            self.skipped += [] if self._hard(command, names[0]) else names
        else:
            self._each(command, names[: len(names) // 2])
            self._each(command, names[len(names) // 2 :])

    def _hard(self, command: Sequence[str], name: str) -> bool:
        """Take a file along that its owner may not read, or that a pipe or a socket took the place of; whether that worked."""
        path = os.path.join(self.path, name)
        mode = os.lstat(path).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            return not self._git("update-index", "--force-remove", "-z", "--stdin", input=_joined([name])).code
        if not stat.S_ISREG(mode) or mode & stat.S_IRUSR:
            return False
        try:
            os.chmod(path, mode | stat.S_IRUSR)
        except OSError:  # another user's
            return False
        try:
            return not self._git(*command, input=_joined([name])).code
        finally:
            os.chmod(path, mode)

    def _files_below(self, folder: str) -> list[str]:
        words = ("ls-files", "-z", "-c", "-o", "--exclude-standard")
        out = git.git(os.path.join(self.path, folder), *words, env=_OFFLINE, ok=range(256))
        if out.code:
            self.skipped.append(folder + "/")
        names: list[str] = []
        for name in dict.fromkeys(os.fsdecode(out.out).split("\0")[:-1]):
            inner = f"{folder}/{name}".rstrip("/")
            whole = os.path.join(self.path, inner)
            if os.path.isdir(whole) and not os.path.islink(whole):
                names += self._files_below(inner)
            elif self._is_large(inner):
                self.skipped.append(inner)
            elif os.path.lexists(whole):
                names.append(inner)
        return names

    def fetch_all(self, folders: Sequence[str], ref: str) -> None:
        """The histories of nested repositories that have any, as `<ref>-nested-<n>`."""
        for number, folder in enumerate(folders, 1):
            inside = os.path.join(self.path, folder)
            if git.git(inside, "rev-parse", "-q", "--verify", "HEAD", env=_OFFLINE, ok=range(256)).code:
                continue
            flags = ("-q", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance")
            wanted = (f"./{folder}", f"+HEAD:{ref}-nested-{number}")
            if git.git(self.path, "fetch", *flags, "--", *wanted, env=self.env, ok=range(256), fds=self.fds).code:
                self.skipped.append(os.path.join(folder, ".git"))

    def _is_large(self, name: str) -> bool:
        with suppress(OSError):
            return os.lstat(os.path.join(self.path, name)).st_size > SIZE_LIMIT
        return False

    def _git(self, *arguments: str, input: bytes, magic: bool = False) -> git.Out:
        return git.git(self.path, *arguments, input=input, env=self.env, ok=range(256), fds=self.fds, magic=magic)


def unmoved_submodules(path: str, entries: Iterable[git.Entry], env: Mapping[str, str] | None = None) -> list[str]:
    """Submodules that are where the index has them. `git add` would start a git in each, by the settings that lie there."""
    moved = {e.path for e in entries if e.xy[1] != "."}
    return [name for name in git.submodules(path, env) if name not in moved]


def _joined(names: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(name) + b"\0" for name in names)


def _record(
    path: str, task: str, label: str, tree: str, parents: Sequence[str], start: str | None, skipped: Sequence[str]
) -> str | None:
    """Write the salvage commit and its ref; None if there is nothing in it, the old ref if it was saved before."""
    first = git.tree_of(path, parents[0]) if parents else None
    if start and tree == first and all(git.is_ancestor(path, parent, start) for parent in parents):
        return None
    for old in _of_label(path, task, label):
        if git.tree_of(path, old) == tree and git.parents(path, old) == list(parents):
            return old
    body = [f"kin: interrupted work of {task}", "", *(f"Not saved: {name!r}" for name in skipped), *([""] if skipped else [])]
    body += [f"Kin-Task: {task}", *([f"Kin-Start: {start}"] if start else [])]
    oid = git.commit_tree(path, tree, parents, "\n".join(body) + "\n", env=SOMEBODY)
    point("salvage.commit")
    return keep(path, task, label, oid)


def keep(cwd: str, task: str, label: str, oid: str) -> str:
    """Hold commit `oid` under `refs/kin/salvage/<task>/<label>`, with a number behind if that is taken; the ref."""
    ref = _free_name(cwd, task, label)
    if not git.update_ref(cwd, ref, oid, None, "kin: kept"):
        raise Conflict(f"{ref} could not be written", "does a hook forbid it, or is the git folder read-only?")
    point("salvage.kept")
    return ref


def _of_label(cwd: str, task: str, label: str) -> list[str]:
    """The refs that `keep` made for this label; not the nested histories beside them."""
    form = re.compile(re.escape(f"{PREFIX}{task}/{label}") + r"(-\d+)?")
    return [ref for ref in git.refs(cwd, f"{PREFIX}{task}/") if form.fullmatch(ref)]


def _free_name(cwd: str, task: str, label: str) -> str:
    taken = _of_label(cwd, task, label)
    names = [f"{PREFIX}{task}/{label}", *(f"{PREFIX}{task}/{label}-{n}" for n in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)


def save_stray(common: str, folder: str, task: str, run: str) -> None:
    """Save a folder that was the task's worktree and that git forgot: what differs from the branch's tip.

    Raises Invalid if not all of it could be saved; the folder must then stay.
    """
    tip = git.tip(common, branch_ref(task))
    index = os.path.join(common, "kin", "stray-index")
    env = {"GIT_DIR": common, "GIT_WORK_TREE": folder, "GIT_INDEX_FILE": index}
    saved = _Files(folder, env, ())
    files.unlink(index)
    try:
        if tip:
            git.git(folder, "read-tree", tip, env=env)
        entries = git.status(folder, env=env).entries
        nested = [e.path.rstrip("/") for e in entries if e.path.endswith("/")]
        tree = saved.tree_of(entries, nested)
    finally:
        files.unlink(index)
    if tip and not os.path.lexists(os.path.join(folder, ".kin")):
        tree = git.replaced(common, tree, ".kin", tip)  # hidden, not deleted
    label = f"{run}-stray"
    ref = _record(common, task, label, tree, [tip] if tip else [], tip, saved.skipped)
    inner = [".", *nested] if os.path.isdir(os.path.join(folder, ".git")) else nested
    saved.fetch_all(inner, ref or _free_name(common, task, label))
    if saved.skipped:
        what = f"the folder {folder} could not be saved whole ({', '.join(saved.skipped[:5])})"
        raise Invalid(what, "move it away, or what is in it")
