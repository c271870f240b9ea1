"""The index: what the task files said when they were last read, so that ten thousand need not be parsed for a list.

An acceleration and never more: an entry counts only while the file's inode, size and times are the same and both times lie
well before the scan that read it (a racy edit within the clock's tick could hide behind equal times). Anything odd means
reading the file; the whole index can be deleted at any time. It lies in the git common dir, so it never comes with a clone.
"""

import gc
import marshal
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Row", "cache_path", "scan"]

Row = tuple[Any, ...]
"""A parsed file as plain tuples, lists, dicts and texts: whatever marshal holds."""

FORMAT = 1
RACY_NS = 2_000_000_000
"""A file that changed so shortly before it was read is read again: coarse clocks tick in 1 to 2 s."""
WORTH_WRITING = 20
"""Files read anew that make writing the index (13 ms for 10,000) cheaper than reading them again next time."""

_Entry = tuple[int, int, int, int, Row]
Parse = Callable[[str, str], tuple[Row | None, bool]]


def cache_path(common: str, folder: str) -> str:
    """Where the index of `folder` lies: one for each checkout of the clone."""
    return os.path.join(common, "cache", f"index-{zlib.crc32(folder.encode('utf-8', 'surrogateescape')):08x}")


def scan(folder: str, cache: str, wanted: Callable[[str], bool], parse: Parse) -> dict[str, Row]:
    """The rows of the `wanted` files in `folder`, by name. `cache` is where the index lies.

    `parse(path, name)` reads a file: its row (None: leave it out) and whether that was slow. Files that vanish in between are
    left out.
    """
    with _no_gc():
        started = time.time_ns()
        old = _load(cache, folder)
        new: dict[str, _Entry] = {}
        rows: dict[str, Row] = {}
        worth = 0
        for name, path, st in _files(folder, wanted):
            entry = old.get(name)
            key = (st.st_mtime_ns, st.st_ctime_ns, st.st_size, st.st_ino)
            if entry is not None and entry[:4] == key:
                new[name], rows[name] = entry, entry[4]
                continue
            row, slow = parse(path, name)
            if row is None:
                continue
            rows[name] = row
            if max(st.st_mtime_ns, st.st_ctime_ns) < started - RACY_NS:
                new[name] = (*key, row)
                worth += WORTH_WRITING if slow else 1
        if worth >= WORTH_WRITING or len(old) - len(new) > len(new) // 4 + WORTH_WRITING:
            _save(cache, folder, new)
        return rows


@contextmanager
def _no_gc() -> Iterator[None]:
    """Without the collector, which would walk the growing heap again and again: a third of the load's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _files(folder: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str, os.stat_result]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if wanted(entry.name):
                with suppress(FileNotFoundError):  # an editor or `git checkout` replaces it right now
                    yield entry.name, entry.path, entry.stat()


def _head(folder: str) -> bytes:
    """What an index must begin with: written by this code, under this interpreter, for this store."""
    return repr((FORMAT, sys.implementation.cache_tag, marshal.version, folder)).encode() + b"\n"


def _load(cache: str, folder: str) -> dict[str, _Entry]:
    head = _head(folder)
    try:
        with open(cache, "rb") as file:
            content = file.read()
        body = memoryview(content)[len(head) + 4 :]
        if content.startswith(head) and int.from_bytes(content[len(head) : len(head) + 4], "big") == zlib.crc32(body):
            entries = marshal.loads(body)
            return entries if isinstance(entries, dict) else {}
    except (OSError, ValueError, EOFError, TypeError):
        pass  # absent, cut short or of another kind: it is made anew
    return {}


def _save(cache: str, folder: str, entries: dict[str, _Entry]) -> None:
    """Replace the index at once. No fsync: after a power cut the checksum tells. Many may do it side by side; the last wins."""
    body = marshal.dumps(entries)
    tmp = f"{cache}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(cache), mode=0o700, exist_ok=True)
        with open(tmp, "wb") as file:
            file.write(_head(folder) + zlib.crc32(body).to_bytes(4, "big") + body)
        os.replace(tmp, cache)
    except OSError:  # a full disk or a read-only clone: reading commands work without an index
        with suppress(OSError):
            os.unlink(tmp)
