"""Path globs, as `touches`, `protect`, decisions and modules write them: which paths they cover, and which of them meet.

`*` crosses folders; a glob that ends in `/`, or names a folder, covers all below it. Paths are relative to the root.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase


def overlap(one: str, other: str) -> bool:
    """Whether two path globs may name the same file: the parts before their first wildcards are prefixes of one another."""
    a, b = fixed_part(one), fixed_part(other)
    return a.startswith(b) or b.startswith(a)


def meet(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether any glob of `some` overlaps with any of `others`."""
    known = list(others)
    return any(overlap(one, other) for one in some for other in known)


def fixed_part(glob: str) -> str:
    """A glob up to its first wildcard."""
    glob = _plain(glob)
    return glob[: min((glob.index(c) for c in "*?[{" if c in glob), default=len(glob))]


def covers(glob: str, path: str) -> bool:
    """Whether `glob` names the file or folder at `path`, or a folder above it."""
    glob, path = _plain(glob).removesuffix("/").removesuffix("/**"), path.removesuffix("/")
    patterns = {glob.replace("**/", folders).replace("**", "*") for folders in ("", "*/")}
    return any(fnmatchcase(path, pattern) or fnmatchcase(path, pattern + "/*") for pattern in patterns)


def matching(glob: str, paths: Sequence[str]) -> Iterator[str]:
    """Those of `paths` (sorted) that `glob` covers. Only those that begin like the glob are looked at."""
    start = fixed_part(glob).removesuffix("/")
    for path in paths[bisect_left(paths, start) :]:
        if not path.startswith(start):
            return
        if covers(glob, path):
            yield path


def lost(globs: Iterable[str], paths: Sequence[str]) -> list[str]:
    """The globs that cover none of `paths` (sorted)."""
    return [glob for glob in globs if next(matching(glob, paths), None) is None]


def _plain(glob: str) -> str:
    return glob.removeprefix("./").removeprefix("/")
