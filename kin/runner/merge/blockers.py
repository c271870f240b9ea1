"""The complete list of paths that a move would have to overwrite, found before anything is touched.

git's own tools name the first one only (rule 6) and run over ignored files without a word (rule 5).
"""

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kin import git
from kin.git import Change, TreeEntry
from kin.runner.merge.diffs import worktree_changes


class Obstacles(NamedTuple):
    """`blocked` paths stop the move. `already` are staged as the new commit has them, `missing` have no file: both may stay."""

    blocked: tuple[str, ...]
    already: frozenset[str]
    missing: frozenset[str]


def find_obstacles(work: str, changes: Iterable[Change], staged: Mapping[str, TreeEntry], env: Mapping[str, str]) -> Obstacles:
    """What of `changes` (code only) a person has changed in the index (`staged`: entries unlike the old commit) or in files."""
    by_path = {change.path: change for change in changes}
    already = frozenset(path for path, change in by_path.items() if staged.get(path) == change.new)
    unstaged = worktree_changes(work, env)
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
