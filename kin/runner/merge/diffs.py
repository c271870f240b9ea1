"""What differs between commits, an index and a worktree, by path, and which of it a move would have to overwrite.

All of that is found before anything is touched: git's own tools name the first path only (rule 6) and run over ignored files
without a word (rule 5).
"""

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kin import git
from kin.git import Change, TreeEntry


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


class Obstacles(NamedTuple):
    """`blocked` paths stop the move. `already` are staged as the new commit has them, `missing` have no file: both may stay."""

    blocked: tuple[str, ...]
    already: frozenset[str]
    missing: frozenset[str]


def find_obstacles(work: str, changes: Iterable[Change], staged: Mapping[str, TreeEntry], env: Mapping[str, str]) -> Obstacles:
    """What of `changes` (code only) a person has changed in the index (`staged`: entries unlike the old commit) or in files."""
    by_path = {change.path: change for change in changes}
    already = frozenset(path for path, change in by_path.items() if staged.get(path) == change.new)
    out = git.git(work, "diff-files", "-z", "--raw", "--no-renames", "--no-abbrev", env=env).out
    unstaged = {change.path: change.new.there for change in git.raw_changes(out)}  # False where the file is just missing
    blocked = {path for path in by_path if path not in already and (path in staged or unstaged.get(path, False))}
    missing = frozenset(path for path in by_path if unstaged.get(path) is False)
    blocked |= _in_the_way(work, by_path, staged, env)
    return Obstacles(tuple(sorted(blocked)), already, missing)


def _in_the_way(work: str, by_path: Mapping[str, Change], staged: Mapping[str, TreeEntry], env: Mapping[str, str]) -> set[str]:
    """Files, links and folders that stand where a new file or its folder must stand, ignored ones too."""

    def gone_after(path: str) -> bool:
        change = by_path.get(path)
        return change is not None and not change.new.there and staged.get(path, change.old).there

    twins = {path.lower(): path for path in by_path if gone_after(path)}
    found: set[str] = set()
    folders: dict[str, bool] = {}
    for path, change in by_path.items():
        if not change.new.there:
            continue
        if above := _no_folder(work, path, folders):
            found |= set() if gone_after(above) else {above}
            continue
        full = os.path.join(work, path)
        if staged.get(path, change.old).there or not os.path.lexists(full):
            continue
        if os.path.isdir(full) and not os.path.islink(full):
            found |= _kept_inside(work, path, staged, env)
        elif not _is_twin(work, twins.get(path.lower()), full):
            found.add(path)
    return found


def _no_folder(work: str, path: str, folders: dict[str, bool]) -> str | None:
    """The first parent of `path` that exists and is no real folder; git would write through a link or remove it."""
    parts = path.split("/")[:-1]
    for end in range(1, len(parts) + 1):
        parent = "/".join(parts[:end])
        if parent not in folders:
            full = os.path.join(work, parent)
            folders[parent] = not os.path.lexists(full) or (os.path.isdir(full) and not os.path.islink(full))
        if not folders[parent]:
            return parent
    return None


def _kept_inside(work: str, folder: str, staged: Mapping[str, TreeEntry], env: Mapping[str, str]) -> set[str]:
    """What a folder that must become a file holds beside what the move removes: untracked, ignored and newly staged files."""
    out = git.git(work, "ls-files", "-z", "-o", "--", folder, env=env).out.decode("utf-8", "surrogateescape")
    kept = {path for path, entry in staged.items() if entry.there and path.startswith(folder + "/")}
    return kept | {path for path in out.split("\0") if path}


def _is_twin(work: str, twin: str | None, full: str) -> bool:
    """Whether the file is one that the move removes under a name of other case, where the file system sees but one."""
    return twin is not None and os.path.lexists(os.path.join(work, twin)) and os.path.samefile(os.path.join(work, twin), full)
