"""Puts right what a move that was killed or refused left half done (docs/git.md, C').

Level-triggered: it looks at where HEAD is and brings index and files there, whatever was done before, so it can be killed and
called again. Only bytes that git or kin put there are overwritten; anything else is a person's, stays and is named.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from kin import git
from kin.errors import Busy, Invalid, KinError
from kin.faults import point
from kin.git import Change, TreeEntry
from kin.runner.merge import kinfiles
from kin.runner.merge.build import home, merge_ref
from kin.runner.merge.checkout import Checkout, is_sparse, keep_index, let_index_go, private_index, publish_index
from kin.runner.merge.diffs import hidden_paths, hide, index_changes, is_kin, set_entries
from kin.runner.merge.kinfiles import KinFile
from kin.runner.merge.refs import drop_stale, first_bytes, lock_of
from kin.runner.merge.settle import OWED, settle, settle_owed
from kin.store import files, journal, locks
from kin.store.project import Project

ORPHAN_PATIENCE = 30.0
"""Seconds that recovery waits for git processes of a killed kin, which inherited its lock, to end (rule 15)."""


class Recovered(NamedTuple):
    """`moved`: the target holds the commit. `left`: paths that a person changed and that were not touched."""

    moved: bool
    left: tuple[str, ...] = ()


def recover_moves(project: Project) -> list[str]:
    """Put right every move that was cut short; a line for each, which also says what could not be put right yet."""
    entries, faults = journal.look(project)
    said = [_recover(project, entry["ref"]) for entry in entries.values() if entry.get("kind") == "move"]
    said += [settle_owed(project, entry) for entry in entries.values() if entry.get("kind") == OWED]
    return [*map(str, faults), *(line for line in said if line)]


def _recover(project: Project, ref: str) -> str | None:
    name = journal_name(ref)
    short = ref.removeprefix("refs/heads/")
    try:
        with locks.wait_lock(locks.lock_path(project.common, name), ORPHAN_PATIENCE, what=f"the move of {short}") as held:
            entry = journal.read(project, name)  # a live kin can have finished it while we waited
            if entry is None:
                return None
            done = put_right(project, entry, (held.fd,))
    except KinError as error:
        return f"the move of {short} was cut short and cannot be put right yet: {error.message}"
    what = f"the merge of {entry['task']} into {short} was cut short: it is {'finished' if done.moved else 'taken back'}"
    return f"{what}; left as they are: {', '.join(done.left)}" if done.left else what


def journal_name(ref: str) -> str:
    """Name of a target's journal entry and of its lock."""
    return f"move-{ref.removeprefix('refs/heads/')}"


def put_right(project: Project, entry: dict[str, Any], fds: tuple[int, ...]) -> Recovered:
    """Bring the target's checkout to where its HEAD is. The caller holds the move's lock, whose descriptor is in `fds`.

    Raises Busy if another git keeps the index; the journal then stays, and the next command tries again.
    """
    gitdir, left = entry["gitdir"], list[str]()
    _free_ref_locks(project, entry)
    point("recover.ref_locks")
    if gitdir and os.path.isdir(gitdir) and os.path.isdir(entry["path"]):
        if not keep_index(gitdir, entry["nonce"]):
            raise Busy(
                f"another git holds {os.path.join(gitdir, 'index.lock')}", "remove it if no git is at work, and try again"
            )
        point("recover.index_lock")
        if entry["stage"] == "planned":
            left = _bring_to_head(project, entry, fds)
    tip = git.tip(home(project), entry["ref"])
    moved = tip is not None and git.is_ancestor(home(project), entry["new"], tip)
    conclude(project, entry, moved=moved)
    return Recovered(moved, tuple(left))


def conclude(project: Project, entry: dict[str, Any], *, moved: bool) -> None:
    """The end of every move, done or not: let the index go, settle the store's task file, forget."""
    if entry["gitdir"]:
        let_index_go(entry["gitdir"], entry["nonce"])
        point("move.unlocked")
    if moved:
        settle(project, entry)
        point("move.settled")
        git.delete_ref(home(project), merge_ref(entry["task"]), entry["new"])
    journal.remove(project, journal_name(entry["ref"]))
    point("move.forgotten")


def _free_ref_locks(project: Project, entry: dict[str, Any]) -> None:
    """Remove what a killed `update-ref` left. We hold the move's lock, so none of kin's own gits lives; only kin made `new`."""
    lock = lock_of(project.git_common, entry["ref"])
    ours = first_bytes(lock).strip() == entry["new"].encode()
    if ours:
        os.unlink(lock)
    elif not first_bytes(lock) or git.has_reftable(project.git_common):
        drop_stale(lock)  # killed between making it and writing it
    head = os.path.join(entry["gitdir"], "HEAD.lock")
    if not entry["gitdir"] or first_bytes(head):
        return
    if ours and os.path.lexists(head):
        os.unlink(head)  # made with the other one; HEAD's is always empty
    else:
        drop_stale(head)


class _Ground(NamedTuple):
    """A checkout under recovery. By path: `wanted` is what HEAD has, `staged` what the index has unlike the old commit.

    `missing` had no file before the move and shall have none; `hidden` never have one (sparse checkout).
    """

    work: str
    wanted: dict[str, TreeEntry]
    staged: dict[str, TreeEntry]
    missing: frozenset[str]
    hidden: frozenset[str]
    env: dict[str, str]
    fds: tuple[int, ...]

    def set_entries(self, entries: list[tuple[str, TreeEntry]]) -> None:
        """Set index entries; those without files stay so."""
        set_entries(self.work, entries, self.env, self.fds)
        hide(self.work, (path for path, entry in entries if entry.there and path in self.hidden), self.env, self.fds)


def _bring_to_head(project: Project, entry: dict[str, Any], fds: tuple[int, ...]) -> list[str]:
    """Index and files of the move's paths as HEAD has them; the paths that were left alone."""
    checkout = Checkout(entry["path"], entry["gitdir"])
    head = git.tip(checkout.path, "HEAD")
    if head is None:
        raise Invalid(f"HEAD of {checkout.path} names no commit", "`kin doctor` looks at it")
    forward = git.is_ancestor(checkout.path, entry["new"], head)
    env = private_index(checkout, fds)
    point("recover.private_index")
    diff = kinfiles.move_changes(checkout.path, entry["old"], entry["new"], entry["task"])
    ground = _Ground(
        checkout.path,
        _entries_at(checkout.path, diff, entry, head),
        index_changes(checkout.path, entry["old"], env)[0],
        frozenset(entry["missing"]) if head == entry["old"] else frozenset(),
        frozenset(entry["hidden"]) | (hidden_paths(checkout.path, env) if is_sparse(checkout) else frozenset()),
        env,
        fds,
    )
    left = _code_back(ground, [c for c in diff if not is_kin(c.path) and c.path not in entry["already"]])
    point("recover.files")
    planned = [KinFile.from_data(data) for data in entry["kin"]]
    _kin_entries_back(ground, planned, {change.path: change for change in diff}, forward=forward)
    left += kinfiles.restore(project, checkout.path, planned, forward=forward)
    point("recover.kin")
    publish_index(checkout, fds)
    point("recover.index")
    return left


def _entries_at(cwd: str, diff: Iterable[Change], entry: dict[str, Any], head: str) -> dict[str, TreeEntry]:
    """What HEAD holds at each path of the move: the old commit, the new one, or whatever a person made of them since."""
    if head == entry["old"]:
        return {change.path: change.old for change in diff}
    since = {} if head == entry["new"] else {change.path: change.new for change in git.changes(cwd, entry["new"], head)}
    return {change.path: since.get(change.path, change.new) for change in diff}


def _kin_entries_back(ground: _Ground, planned: Iterable[KinFile], diff: dict[str, Change], *, forward: bool) -> None:
    entries = []
    for file in planned:
        change = diff[file.path]
        have = ground.staged.get(file.path, change.old)
        theirs, plain = (file.index_after, change.new) if forward else (file.index_before, change.old)
        goal = ground.wanted[file.path] if theirs == plain else theirs
        if have != goal and have in (file.index_before, file.index_after, change.old, change.new):
            entries.append((file.path, goal))
    ground.set_entries(entries)


def _code_back(ground: _Ground, code: Iterable[Change]) -> list[str]:
    entries, write, left = [], list[str](), list[str]()
    for change in code:
        path, want = change.path, ground.wanted[change.path]
        have = ground.staged.get(path, change.old)
        if have not in (change.old, change.new):
            left.append(path)
            continue
        if have != want:
            entries.append((path, want))
        if change.old.is_link or change.new.is_link or path in ground.hidden:
            continue
        found = _look(ground.work, change, want)
        keep_away = path in ground.missing or not want.there
        if found is None:
            left.append(path)
        elif keep_away and found != _MISSING:
            os.unlink(os.path.join(ground.work, path))
            with suppress(OSError):  # folders that are empty without it go too, as git does that
                os.removedirs(os.path.dirname(os.path.join(ground.work, path)))
        elif not keep_away and found != want:
            write.append(path)
    ground.set_entries(entries)
    if write:
        listed = os.fsencode("\0".join(write))
        git.git(ground.work, "checkout-index", "-f", "-u", "-z", "--stdin", input=listed, env=ground.env, fds=ground.fds)
    return left


_MISSING = TreeEntry("000000", "")
_PART = TreeEntry("", "")


def _look(work: str, change: Change, want: TreeEntry) -> TreeEntry | None:
    """Which version the file is: an entry, _MISSING, _PART (a write cut short), or None: somebody else's content."""
    full = os.path.join(work, change.path)
    try:
        mode = os.lstat(full).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    if stat.S_ISDIR(mode):
        return _MISSING  # its files are other paths of the move
    if stat.S_ISLNK(mode):
        kind, content = "120000", os.fsencode(os.readlink(full))
    elif stat.S_ISREG(mode):
        kind, content = "100755" if mode & stat.S_IXUSR else "100644", files.read_stamped(full)[0]
    else:
        return None
    known = sorted({e for e in (change.old, change.new, want) if e.there}, key=lambda e: e != want)
    for entry in known:
        if _object_id(content, entry.oid) == entry.oid:
            return TreeEntry(kind, entry.oid)
    return _look_smudged(work, change.path, kind, content, known)


def _look_smudged(work: str, path: str, kind: str, content: bytes, known: Iterable[TreeEntry]) -> TreeEntry | None:
    part = None
    for entry in known:
        smudged = git.git(work, "cat-file", "--filters", f"--path={path}", entry.oid, ok=(0, 128))
        if smudged.code == 0 and smudged.out == content:
            return TreeEntry(kind, entry.oid)
        if smudged.code == 0 and smudged.out.startswith(content):
            part = _PART
    return part


def _object_id(content: bytes, like: str) -> str:
    algorithm: Callable[[bytes], Any] = hashlib.sha1 if len(like) == 40 else hashlib.sha256
    return str(algorithm(b"blob %d\0%s" % (len(content), content)).hexdigest())
