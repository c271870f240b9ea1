"""How a file in `.kin/` is changed beside people and editors, and how kin's own files in the git folder are written.

A change of a working-tree file is a compare-and-swap. kin's own processes exclude each other with the store's lock; editors
take no lock, so two means of the kernel stand in for one. A read lease (F_SETLEASE) is refused while anybody has the file open
for writing, and tells us if somebody opens it while we work. RENAME_EXCHANGE swaps the new file with the old one in one step,
so that what came out can be compared with what was read: a file that an editor renamed into place in between is seen, and
kin's change is made again on it. Where a system has neither, content and times are compared just before the rename.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from kin import faults
from kin.errors import Busy, Invalid, NotFound, Place
from kin.store.locks import store_lock, wait_until
from kin.store.project import Project

if TYPE_CHECKING:
    from kin.store.text.nodes import Bounds

PATIENCE = 2.0
"""Seconds that a change waits for a program which has the file open for writing."""

LARGEST = 64 << 20
"""Bytes that are read at all; what may be in a file is the reader's to say, but a link to a disk image must not fill memory."""

GAP = 0.1
"""Seconds that a file may be missing: git and some editors unlink it before they write it anew."""

SETTLED_NS = 2_000_000_000
"""An empty file that is younger was truncated by somebody who is about to write it."""

GATHERING, WHOLE = ".kin.adding", ".kin.added"
"""Folders in tasks/ that hold new files: not all of them yet, and all (kin.store.bulk)."""
TEMPORARY = ".kin.tmp"
"""One name a folder: only the store lock's holder writes it, so what a killed kin left goes with the next write or recovery."""


class Stamp(NamedTuple):
    """What tells one state of a file from the next without reading it; times in nanoseconds."""

    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int


def stamp_of(st: os.stat_result) -> Stamp:
    return Stamp(st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns)


def read_stamped(path: str) -> tuple[bytes, Stamp]:
    """A file's content and the stamp it had before it was read: a write in between makes the stamp stale, never too new."""
    fd = os.open(path, _READING)
    try:
        return _read(fd)
    finally:
        os.close(fd)


_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Without waiting: a clone may hold a link to a pipe or a terminal where a file is expected."""


def _read(fd: int) -> tuple[bytes, Stamp]:
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if st.st_size > LARGEST:
        raise OSError(errno.EFBIG, f"it has {st.st_size:,} bytes")
    parts = []
    os.lseek(fd, 0, os.SEEK_SET)
    while part := os.read(fd, max(st.st_size + 1, 4096)):
        parts.append(part)
    return b"".join(parts), stamp_of(st)


def names_in(folder: str, suffix: str = "") -> list[str]:
    """The names in a folder that end so, none that begins with a dot, in no order; [] if there is no such folder."""
    try:
        return [name for name in os.listdir(folder) if name.endswith(suffix) and not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_text(path: str, shown: str, bounds: "Bounds | None" = None) -> str:
    """A file's text as it stands (BOM and line ends kept). Raises NotFound, or Invalid that names `shown`.

    Without `bounds` it may be as large as a record.
    """
    from kin.store.text import reader

    try:
        return reader.decode(read_stamped(path)[0], shown, bounds or reader.RECORD_BOUNDS)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no {shown}") from None
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}", where=Place(shown)) from error


def edit_file(project: Project, path: str, change: Callable[[str], str], *, synced: bool = True) -> str:
    """Replace the text of a file by what `change` makes of it; the new text.

    `change` is called again if the text changed under way, so it must be a function of the text alone, and raises to refuse.
    A power cut leaves the old text or the new one; surely the new one if `synced`, else once the folder is.
    Raises Busy if another program is writing the file for longer than PATIENCE, NotFound if it is gone, Invalid if it is a
    link out of the repository or cannot be written; the file is then as it was.
    """
    real = inside(project, path)
    shown = os.path.relpath(path, project.root)
    # where a link leads is not the folder that the caller knows
    synced = synced or os.path.dirname(real) != os.path.dirname(path)
    started = time.monotonic()

    def attempt() -> str | None:
        try:
            with store_lock(project.common):
                return _edit_once(real, shown, change, synced)
        except FileNotFoundError:
            if time.monotonic() - started > GAP:
                raise
            return None

    try:
        new = wait_until(attempt, PATIENCE)
    except FileNotFoundError:
        raise NotFound(f"there is no {shown}") from None
    except OSError as error:
        raise Invalid(f"cannot be written: {error.strerror}", where=Place(shown)) from error
    if new is None:
        raise Busy(f"{shown} is being written by another program", "try again when it is saved")
    return new


def inside(project: Project, path: str) -> str:
    """The real path. Links are followed within the repository's files, and refused out of them: kin has no business there.

    Raises Invalid that names the link.
    """
    real = os.path.realpath(path)
    folder = os.path.join(real, "")
    within = folder.startswith(os.path.join(project.root, "")) and not folder.startswith(os.path.join(project.git_common, ""))
    if real != path and not within:
        shown = os.path.relpath(path, project.root)
        raise Invalid("a symbolic link leads out of the repository's files", "put a file in its place", Place(shown))
    return real


def _edit_once(real: str, shown: str, change: Callable[[str], str], synced: bool) -> str | None:
    """One try under the store lock; None if somebody is writing the file."""
    from kin.store.text import reader

    fd = os.open(real, _READING)
    try:
        leased = _lease(fd)
        if leased is False:
            return None
        raw, stamp = _read(fd)
        if not raw.strip() and time.time_ns() - stamp.mtime_ns < SETTLED_NS:
            return None
        new = change(reader.decode(raw, shown, reader.RECORD_BOUNDS))
        if new.encode() == raw:
            return new
        tmp = _write_temporary(real, new.encode(), os.fstat(fd))
        ours = os.stat(tmp).st_ino
        try:
            return new if _swap(real, tmp, raw, stamp, fd if leased else None, synced) else None
        finally:
            with suppress(FileNotFoundError):
                if os.stat(tmp).st_ino == ours:
                    os.unlink(tmp)
    finally:
        os.close(fd)


def _lease(fd: int) -> bool | None:
    """Take a read lease: True if we have it, False if somebody has the file open for writing, None if there are none here."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    import signal

    try:
        # First the signal that tells of a broken lease: the usual one, SIGIO, would kill us; this one is ignored by default.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    return True


def _swap(real: str, tmp: str, raw: bytes, stamp: Stamp, leased: int | None, synced: bool) -> bool:
    """Put `tmp` in the place of `real`, which held `raw`; False, and all as it was, if somebody else wrote there meanwhile."""
    ours = os.open(tmp, _READING)
    try:
        if stamp_of(os.stat(real)) != stamp:
            return False
        if not _exchange(tmp, real):
            return _replace_if_same(real, tmp, raw, stamp, synced)
        faults.point("files.swapped")
        came_out, was = read_stamped(tmp)
        untouched = was.ino == stamp.ino and came_out == raw
        if leased is not None:
            untouched = untouched and fcntl.fcntl(leased, fcntl.F_GETLEASE) == fcntl.F_RDLCK
        if not untouched:
            _put_back(real, tmp, ours)
        os.unlink(tmp)
        if synced:
            sync_folder(real)
    finally:
        os.close(ours)
    faults.point("files.done")
    return untouched


def _put_back(real: str, tmp: str, ours: int) -> None:
    """Put back what came out: an editor renamed it into place, or is about to write to it.

    Should a save have come in between again, that one came out now, and is newer: it goes back in turn, until what comes out
    is what went in. Each file is held open meanwhile, or another could be given its inode and be taken for it.
    """
    last = os.dup(ours)
    while True:
        going_in = os.open(tmp, _READING)
        _exchange(tmp, real)
        settled = os.path.samestat(os.stat(tmp), os.fstat(last))
        os.close(last)
        last = going_in
        if settled:
            os.close(last)
            return


def _replace_if_same(real: str, tmp: str, raw: bytes, stamp: Stamp, synced: bool) -> bool:
    now, now_stamp = read_stamped(real)
    if now_stamp != stamp or now != raw:
        return False
    os.replace(tmp, real)
    faults.point("files.swapped")
    if synced:
        sync_folder(real)
    faults.point("files.done")
    return True


@cache
def _renameat2() -> Any:
    """libc's renameat2, or None: the only way to exchange two files in one step, and Python has no other door to it."""
    import ctypes

    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _exchange(one: str, other: str) -> bool:
    """Swap two files in one step; False if this system or file system cannot."""
    call = _renameat2()
    if call is None:
        return False
    at_fdcwd, rename_exchange = -100, 2
    if call(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0:
        return True
    import ctypes

    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), one)


def _write_temporary(real: str, content: bytes, like: os.stat_result | None, name: str = TEMPORARY) -> str:
    """A durable file with `content` beside `real`; whatever goes wrong, none is left behind."""
    tmp = os.path.join(os.path.dirname(real), name)
    unlink(tmp)  # a killed kin's; and never a link that somebody laid there
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600 if like is None else 0o666)
    try:
        if like is not None:
            os.fchmod(fd, stat.S_IMODE(like.st_mode))
            if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):  # only root can keep another's file another's
                    os.fchown(fd, like.st_uid, like.st_gid)
        _write_all(fd, content)
        os.fsync(fd)
    except BaseException:
        os.unlink(tmp)
        raise
    finally:
        os.close(fd)
    faults.point("files.tmp")
    return tmp


def _write_all(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync(path: str) -> None:
    """Make what was written to a file, or the names in a folder, durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Make the names in `path`'s folder durable: without it, a rename or a new file is gone after a power cut."""
    sync(os.path.dirname(path))


def unlink(path: str) -> None:
    """Unlink a file; one that is gone already is fine."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def make_folder(path: str, mode: int = 0o777) -> None:
    """Make a folder with its parents, each durable in its own parent."""
    if os.path.isdir(path):
        return
    make_folder(os.path.dirname(path), mode)
    with suppress(FileExistsError):
        os.mkdir(path, mode)
    sync_folder(path)


def add_file(project: Project, path: str, text: str) -> None:
    """`write_new`, after a look that no link of a folder leads out of the repository's files."""
    inside(project, path)
    write_new(path, text)


def write_new(path: str, text: str, *, synced: bool = True) -> None:
    """Write a file that must not exist yet, durable, all at once or not at all; parents are made.

    Needs no lock: the name is taken by link(2). Its name is durable if `synced`, else when the folder is. Raises
    FileExistsError if it is taken, Invalid if it cannot be written.
    """
    try:
        make_folder(os.path.dirname(path))
        _write_new(path, text.encode())
        if synced:
            sync_folder(path)
    except FileExistsError:
        raise
    except OSError as error:
        raise Invalid(f"cannot be written: {error.strerror}", where=Place(path)) from error
    faults.point("files.new")


def _write_new(path: str, content: bytes) -> None:
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Linux makes a file without a name, so that a killed kin leaves nothing behind. It gets its name through /proc.
        os.stat("/proc/self/fd")
        fd = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666, dir_fd=folder)
    except (OSError, AttributeError):
        os.close(folder)
        return _write_new_by_name(path, content)
    try:
        _write_all(fd, content)
        os.fsync(fd)
        faults.point("files.unnamed")
        os.link(f"/proc/self/fd/{fd}", os.path.basename(path), dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(fd)
        os.close(folder)
    return None


def _write_new_by_name(path: str, content: bytes) -> None:
    """For systems without O_TMPFILE: the name is claimed by an empty file, which the whole one then replaces."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    try:
        tmp = _write_temporary(path, content, os.stat(path), f".{os.path.basename(path)}.kin.tmp")
    except BaseException:
        os.unlink(path)
        raise
    os.replace(tmp, path)


def replace(project: Project, path: str, text: str, *, expect: bytes | None) -> None:
    """Give a file new text if it holds `expect`; None: whatever it holds, and also if there is none.

    Raises Busy if it holds something else, and as `edit_file` does.
    """

    def change(old: str) -> str:
        if expect is not None and old.encode() != expect:
            raise Busy(f"{os.path.relpath(path, project.root)} was changed meanwhile", "look at it and try again")
        return text

    if expect is None:
        with suppress(FileExistsError):
            return add_file(project, path, text)
    edit_file(project, path, change)
    return None


def clear_temporaries(project: Project) -> None:
    """Remove what kins that were killed in mid-edit left beside the store's files; the lock says that nobody uses it now."""
    left = [os.path.join(folder, TEMPORARY) for folder, _, names in os.walk(project.store) if TEMPORARY in names]
    if left:
        with store_lock(project.common):
            for path in left:
                unlink(path)


def remove_file(project: Project, path: str) -> None:
    """Remove a file of the store, durably; one that is gone already is fine."""
    inside(project, os.path.dirname(path))
    with store_lock(project.common):
        try:
            os.unlink(path)
            sync_folder(path)
        except FileNotFoundError:
            return
        except OSError as error:
            shown = os.path.relpath(path, project.root)
            raise Invalid(f"cannot be removed: {error.strerror}", where=Place(shown)) from error


def rename_whole(folder: str, new: str) -> None:
    """Give a folder another name in one step, with all that was written there: after a power cut it has all or the old name."""
    sync_folder(os.path.join(folder, ""))
    os.rename(folder, new)
    sync_folder(new)


def rename_file(project: Project, old: str, new: str) -> None:
    """Give a file of the store another name that nobody has. Raises Busy if somebody has, NotFound if it is gone."""
    inside(project, old)
    inside(project, os.path.dirname(new))
    shown, wanted = (os.path.relpath(path, project.root) for path in (old, new))
    with store_lock(project.common):
        try:
            if os.path.lexists(new) and not os.path.samefile(old, new):  # the same one where names do not differ by case
                raise Busy(f"there is a {wanted} already", "look at it and try again")
            os.rename(old, new)
            sync_folder(new)
        except FileNotFoundError:
            raise NotFound(f"there is no {shown}") from None
        except OSError as error:
            raise Invalid(f"cannot be renamed: {error.strerror}", where=Place(shown)) from error


def write_own(path: str, text: str, *, prepared: bool = False) -> None:
    """Write a file of kin's own below the git common dir, durable, mode 0600; its one writer holds the lock that it belongs to.

    No comparing: nobody else writes there. `prepared`: `prepare_own` wrote this text, and nobody called for this path since.
    Raises Invalid that names the file.
    """
    try:
        if not prepared:
            make_folder(os.path.dirname(path), 0o700)
            prepare_own(path, text)
        os.replace(_own_temporary(path), path)
        sync_folder(path)
    except OSError as error:
        raise Invalid(f"cannot be written: {error.strerror}", where=Place(path)) from error
    faults.point("files.own")


def prepare_own(path: str, text: str) -> None:
    """The longer half of `write_own`: the text is durable, under another name. Raises OSError, also if there is no folder."""
    _write_temporary(path, text.encode(), None, os.path.basename(_own_temporary(path)))


def _own_temporary(path: str) -> str:
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.tmp")


def remove_own(path: str) -> None:
    """Remove a file of kin's own, durably, and what a kin killed in its write left of it; gone already is fine."""
    try:
        for name in (_own_temporary(path), path):
            unlink(name)
        if os.path.isdir(os.path.dirname(path)):
            sync_folder(path)
    except OSError as error:
        raise Invalid(f"cannot be removed: {error.strerror}", where=Place(path)) from error
