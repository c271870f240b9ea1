"""The index: what the task files said when they were last read, so that ten thousand need not be parsed for a list.

An acceleration and never more: an entry counts only while the file's inode, size and times are the same and both times lie
well before the scan that read it (a racy edit within the clock's tick could hide behind equal times). Anything odd means
reading the file; the whole index can be deleted at any time. It lies in the git common dir, so it never comes with a clone.

It has two parts: heads, which every list needs, and bodies (descriptions), which are most of the bytes and seldom asked for.
"""

import gc
import marshal
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from operator import eq
from typing import Any, NamedTuple

Row = tuple[Any, ...]
"""A part of a parsed file as plain tuples, lists, dicts and texts: whatever marshal holds."""

FORMAT = 8
PART = 5000
"""Bodies in one part of the index: all at once would be in memory twice while they are written."""
RACY_NS = 2_000_000_000
"""A file that changed so shortly before it was read is read again: coarse clocks tick in 1 to 2 s."""
WORTH_WRITING = 20
"""Files read anew that make writing the index (20 ms for 10,000) cheaper than reading them again next time."""

Stamp = tuple[int, int, int, int]
"""mtime and ctime in nanoseconds, size, inode."""
_STAMP = struct.Struct("=qqqQ")
Parse = Callable[[str, str], tuple[Row, Row, bool] | None]


Arrange = Callable[[dict[str, Row]], tuple[Iterable[str], Any]]
"""The names of all heads in order, and a digest of them: anything that marshal holds."""


class Rows(NamedTuple):
    """Heads and bodies by file name; `bodies` is empty unless asked for. `arranged`: the heads stand in the caller's order."""

    heads: dict[str, Row]
    bodies: dict[str, Row]
    arranged: bool


def cache_path(common: str, folder: str) -> str:
    """Where the index of `folder` lies: one for each checkout of the clone."""
    return os.path.join(common, "cache", f"index-{zlib.crc32(folder.encode('utf-8', 'surrogateescape')):08x}")


def scan(
    folder: str,
    cache: str,
    parse: Parse,
    arrange: Arrange,
    *,
    bodies: bool = True,
    names: Collection[str] | None = None,
    version: str = "",
) -> Rows:
    """The rows of the `.yaml` files in `folder` (`.yml` too), from the index at `cache` as far as it holds.

    `parse(path, name)` reads one file: head, body and whether it was slow, or None to leave it out. `arrange` puts names in
    order; the index keeps that order, so that who lists an unchanged folder need not sort, and the digest. `names` are the
    files if they are others, as paths below `folder`. What a `parse` of another `version` found is forgotten.
    """
    with no_gc():
        started = time.time_ns()
        index = _Index(cache, folder, version, None if bodies else 2)
        heads, anew = _unchanged(folder, index, names)
        body_of, worth, known = index.bodies, 0, dict[Any, Any]()
        for name, path, stamp in anew:
            if (found := parse(path, name)) is None:
                continue
            head, body_of[name], slow = found
            heads[name] = _shared(head, known)
            if any(stamp) and max(stamp[:2]) < started - RACY_NS:
                index.fresh[name] = (stamp, found[1])
                worth += WORTH_WRITING if slow else 1
        gone = sum(name not in heads for name in index.heads) if worth or len(heads) != len(index.heads) else 0
        if worth + gone >= WORTH_WRITING:
            index.save(heads, arrange)
        return Rows(heads, body_of, index.arranged and not gone and not anew)


def by_name(heads: dict[str, Row]) -> tuple[Iterable[str], Any]:
    """For `arrange`: the order of names, and no digest."""
    return sorted(heads), None


def digest(folder: str, cache: str) -> Any:
    """The digest that `arrange` made, if it was of all files and none has changed since; else None. No head is loaded."""
    with no_gc():
        index = _Index(cache, folder, "", 1)
        unchanged, anew = _unchanged(folder, index, None)
        return index.digest if index.arranged and not anew and len(unchanged) == len(index.heads) else None


def remembered(folder: str, cache: str) -> tuple[Any, set[str], set[str]]:
    """The digest as it was, though files may have changed since, and the names that are new and that are gone.

    For hints that nothing acts on, such as a TAB's: no file is looked at.
    """
    with no_gc():
        names, index = set(os.listdir(folder)), _Index(cache, folder, "", 1)
        return index.digest, names.difference(index.heads), index.heads.keys() - names


@contextmanager
def no_gc() -> Iterator[None]:
    """Without the collector, which would walk a heap of ten thousand tasks again and again while it grows."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _unchanged(
    folder: str, index: "_Index", wanted: Collection[str] | None
) -> tuple[dict[str, Row], list[tuple[str, str, Stamp]]]:
    """The heads that the index may speak for, and the files (name, path, stamp) that must be read."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return {}, []
    try:
        names = set(os.listdir(fd) if wanted is None else wanted)
        known, now = index.stamps, _stamps(index.heads, fd)
        if known == now:
            heads = dict(index.heads)
        else:
            same = map(eq, _each(known), _each(now))
            heads = {item[0]: item[1] for item, is_same in zip(index.heads.items(), same, strict=True) if is_same}
        anew = names.difference(heads)
        if wanted is None:
            anew = {name for name in anew if name.endswith((".yaml", ".yml")) and not name.startswith(".")}
        return heads, [(name, os.path.join(folder, name), _stamp(name, fd)) for name in anew]
    finally:
        os.close(fd)


def _stamps(names: Collection[str], folder: int) -> bytes:
    """The stamp of each file: the hot loop of kin. Packed, since forty thousand numbers take as long to free as to make."""
    found = map(partial(os.stat, dir_fd=folder), names)
    pack = _STAMP.pack
    try:
        return b"".join([pack(st.st_mtime_ns, st.st_ctime_ns, st.st_size, st.st_ino) for st in found])
    except OSError:  # one of them is gone
        return b"".join(pack(*_stamp(name, folder)) for name in names)


def _each(stamps: bytes) -> list[bytes]:
    return [stamps[at : at + _STAMP.size] for at in range(0, len(stamps), _STAMP.size)]


def _stamp(name: str, folder: int) -> Stamp:
    """The file's stamp; zeros if it has none (an editor replaces it right now, a link goes round): reading it tells."""
    try:
        st = os.stat(name, dir_fd=folder)
    except OSError:
        return (0, 0, 0, 0)
    return (st.st_mtime_ns, st.st_ctime_ns, st.st_size, st.st_ino)


class _Index:
    """The index file: a first line, then parts of marshal, each behind its length and checksum; the first `count` are read.

    What tells whether files are the same, with the digest, then heads, then bodies.

    One that is absent, cut short or damaged is empty, and so is one that another kin or interpreter wrote, or for another
    folder. Stamps are packed, since forty thousand numbers take longer to load than to unpack.
    """

    def __init__(self, cache: str, folder: str, version: str, count: int | None) -> None:
        self._cache = cache
        self._first = repr((FORMAT, sys.implementation.cache_tag, marshal.version, folder, version)).encode() + b"\n"
        self.arranged, self.stamps = False, b""
        self.digest: Any = None
        self.heads: dict[str, Row] = {}
        self.bodies: dict[str, Row] = {}
        self.fresh: dict[str, tuple[Stamp, Row]] = {}
        if parts := self._read(count):
            (arranged, stamps, names, digest), *more = parts
            heads, bodies = more[0] if more else ((),) * len(names), _together(more[1:])
            if len(heads) == len(names) and (count is not None or len(bodies) == len(names)):  # else it was cut short
                self.arranged, self.stamps, self.digest = arranged, stamps, digest
                self.heads, self.bodies = dict(zip(names, heads, strict=True)), bodies

    def _read(self, count: int | None) -> list[Any]:
        """The first `count` parts or all of them, all from the same file, or none."""
        parts: list[Any] = []
        try:
            with open(self._cache, "rb") as file:
                if file.read(len(self._first)) != self._first:
                    return []
                while len(parts) != count and (begin := file.read(12)):
                    size, checksum = int.from_bytes(begin[:8], "big"), begin[8:]
                    part = file.read(size)
                    if len(part) != size or zlib.crc32(part).to_bytes(4, "big") != checksum:
                        return []
                    parts.append(marshal.loads(part))
        except (OSError, OverflowError, MemoryError, ValueError, EOFError, TypeError):
            return []
        return parts

    def save(self, heads: dict[str, Row], arrange: Arrange) -> None:
        """Replace the file at once, in order, with what can be believed of `heads`.

        No fsync: after a power cut the checksum tells. Many may do it side by side; the last one wins.
        """
        bodies = _together(self._read(None)[2:]) | {name: body for name, (_, body) in self.fresh.items()}
        stamps = {n: stamp for n, stamp in zip(self.heads, _each(self.stamps), strict=True) if heads.get(n) is self.heads[n]}
        stamps.update((name, _STAMP.pack(*stamp)) for name, (stamp, _) in self.fresh.items())
        ordered, digest = arrange(heads)
        names = [name for name in ordered if name in stamps and name in bodies]
        packed = b"".join(stamps[name] for name in names)
        first: list[Any] = [(len(names) == len(heads), packed, names, digest), [heads[name] for name in names]]
        tmp = f"{self._cache}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self._cache), mode=0o700, exist_ok=True)
            with open(tmp, "wb") as file:
                file.write(self._first)
                for part in (*first, *({n: bodies[n] for n in names[at : at + PART]} for at in range(0, len(names), PART))):
                    content = marshal.dumps(part)
                    file.write(len(content).to_bytes(8, "big") + zlib.crc32(content).to_bytes(4, "big"))
                    file.write(content)
            os.replace(tmp, self._cache)
        except OSError:  # a full disk or a read-only clone: reading commands work without an index
            with suppress(OSError):
                os.unlink(tmp)


def _together(parts: Iterable[dict[str, Row]]) -> dict[str, Row]:
    return {name: body for part in parts for name, body in part.items()}


def _shared(row: Row, known: dict[Any, Any]) -> Row:
    """The row with texts and lists that others have, too, being one object, which marshal then writes, and loads, only once.

    The first two, id and title, are each one's own.
    """
    return (*row[:2], *(known.setdefault(v, v) if type(v) in (str, tuple) else v for v in row[2:]))
