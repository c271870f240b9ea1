"""What differs between commits, an index and a worktree, by path, as git's raw formats say it."""

import os
from collections.abc import Iterable, Mapping

from kin import git
from kin.git import TreeEntry


def is_kin(path: str) -> bool:
    """Whether a path belongs to the store: such files are never moved by git, only by kin (rule 10)."""
    return path.startswith(".kin/")


def object_at(cwd: str, commit: str, path: str) -> str | None:
    """The id of the file or folder that `commit` holds at `path`, or None."""
    out = git.git(cwd, "rev-parse", "--verify", "--quiet", f"{commit}:{path}", ok=(0, 1, 128))
    return out.text if out.code == 0 else None


def entry_at(cwd: str, commit: str, path: str) -> TreeEntry | None:
    """What `commit` holds at `path`, or None."""
    out = git.git(cwd, "ls-tree", "-z", "--full-tree", commit, "--", path).text
    mode, _, oid = out.partition("\t")[0].partition(" ")
    return TreeEntry(mode, oid.partition(" ")[2]) if out else None


def brought_back(cwd: str, target: str, start: str | None, branch: str, run_id: str) -> list[str]:
    """Commits, as `<id> <subject>`, that a merge of `branch` would bring back: commit `target` was rewritten without them
    (a reset, an amend, a rebase, a forced pull) since the branch began at `start`, and holds the same change in no other.
    """
    if start is None or start == target or git.tip(cwd, start) is None or git.is_ancestor(cwd, start, target):
        return []
    base = git.merge_base(cwd, start, branch)
    if base is None or git.merge_base(cwd, base, target) is None:
        return []
    # what the run itself began with, to restore what a revert took away, was never the target's
    words = ("--no-merges", "--cherry-pick", "--right-only", "--invert-grep", f"--grep=^Kin-Run: {run_id}$", "--format=%h %s")
    return git.git(cwd, "log", *words, f"{target}...{base}", "--").text.splitlines()


def index_changes(cwd: str, commit: str, env: Mapping[str, str]) -> tuple[dict[str, TreeEntry], tuple[str, ...]]:
    """Every path whose index entry differs from `commit`, with that entry, which is not `there` if it has none or several; and
    the paths that have several, as a failed `git stash pop` leaves them: unsolved conflicts, beside which nothing can move."""
    out = git.git(cwd, "diff-index", "--cached", "-z", "--raw", "--no-renames", "--no-abbrev", commit, env=env).out
    found = git.raw_changes(out)
    return {change.path: change.new for change in found}, tuple(change.path for change in found if change.unmerged)


def worktree_changes(cwd: str, env: Mapping[str, str]) -> dict[str, bool]:
    """Every path whose file differs from its index entry; False where the file is just missing."""
    out = git.git(cwd, "diff-files", "-z", "--raw", "--no-renames", "--no-abbrev", env=env).out
    return {change.path: change.new.there for change in git.raw_changes(out)}


def hidden_paths(cwd: str, env: Mapping[str, str]) -> frozenset[str]:
    """Every path whose index entry says skip-worktree, as sparse checkouts do: no file stands for it."""
    out = git.git(cwd, "ls-files", "-z", "-t", env=env).out.decode("utf-8", "surrogateescape")
    return frozenset(line[2:] for line in out.split("\0") if line.startswith("S "))


def hide(cwd: str, paths: Iterable[str], env: Mapping[str, str], fds: Iterable[int] = ()) -> None:
    """Say skip-worktree of index entries; setting an entry forgets it."""
    if listed := "\0".join(paths):
        git.git(cwd, "update-index", "-z", "--skip-worktree", "--stdin", input=os.fsencode(listed), env=env, fds=tuple(fds))


def set_entries(cwd: str, entries: Iterable[tuple[str, TreeEntry]], env: Mapping[str, str], fds: Iterable[int] = ()) -> None:
    """Give index entries new values; the files are not looked at."""
    lines = "".join(f"{entry.mode} {entry.oid}\t{path}\0" for path, entry in entries)
    if lines:
        git.git(cwd, "update-index", "-z", "--add", "--index-info", input=os.fsencode(lines), env=env, fds=tuple(fds))
