"""The kernel's locks, which say what is alive; and the one place in kin that waits for something contended.

A process that holds a lock on a file is alive: the kernel frees the lock the moment it dies, whatever it was doing. All locks
are flock on kin's own descriptors. They are released by closing, never by LOCK_UN, which would free them for the children that
inherited them too. Lock files are never unlinked: a second holder would get in beside one that holds the unlinked file. What is
written into a lock file serves people and killing; it decides nothing.
"""

import errno
import fcntl
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import NamedTuple, Protocol, Self, TypeVar

from kin.errors import LIMITS, Bug, Busy, Invalid
from kin.store.project import file_name

T = TypeVar("T")

ORDER = ("watch", "<ID>.queued", "slot", "machine", "<ID>", "<ID>.kids", "queue", "budget", "git", "move", "add", "store")
"""The order in which one process may take locks. Everybody climbs the same way, so nobody can wait in a circle."""

GRACE = 0.02
"""Seconds that a claim outwaits a reader which probes the same lock (LOCK_SH): without it 0.4 % of claims were falsely busy."""

GC_PATIENCE = 60.0
"""Seconds to wait for a `git gc --prune` that somebody started."""

MANY = 2000
"""Lock files that are cheaper to ask one by one than to look up in the kernel's table."""

_held: dict[int, str] = {}
"""Descriptor to kind of every lock that this process holds, to check ORDER; the kernel knows it, but cannot tell us."""


class Holder(NamedTuple):
    """Who took a lock. `start` is the process's start time as the system counts it, so that a reused pid is noticed."""

    pid: int
    start: str
    boot: str
    pidns: int
    host: str
    run: str
    since: str


class Stop(Protocol):
    """Who may ask a wait to end: `fd` is readable from then on, and `check` raises what the waiting command ends with."""

    @property
    def fd(self) -> int: ...

    def check(self) -> None: ...


class Held:
    """A lock that this process holds; `fd` is inherited by those who must be waited for, `close` lets go of our part."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        _held[fd] = _kind(path)

    def close(self) -> None:
        """Close the descriptor: the lock is free once no child holds it either. Closing twice is harmless."""
        if self.fd >= 0:
            _held.pop(self.fd, None)
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lock_path(common: str, name: str) -> str:
    """The file of the lock `name` (`git`, `slot-3`, `KIN-12`, `queue-<branch>`, ...); who takes it makes it."""
    return os.path.join(common, "locks", file_name(name))


def try_lock(path: str, *, run: str = "", grace: float = GRACE) -> Held | None:
    """Take the lock, or None if a live process holds it. Raises Bug out of ORDER, Invalid where files cannot be locked."""
    return _take((path,), grace, run, None)


def wait_lock(path: str, seconds: float, *, run: str = "", what: str, cancel: Stop | None = None) -> Held:
    """Take the lock, waiting up to `seconds`. Raises Busy that names who holds `what`, or what `cancel` has to say."""
    return wait_any((path,), seconds, run=run, what=what, cancel=cancel)


def wait_any(paths: Sequence[str], seconds: float, *, run: str = "", what: str, cancel: Stop | None = None) -> Held:
    """Take the first of several locks that comes free. When `cancel` is asked to stop the wait is over at once."""
    if held := _take(paths, seconds, run, cancel.fd if cancel else None):
        return held
    if cancel:
        cancel.check()
    raise _busy(what, paths[0])


def _busy(what: str, path: str) -> Busy:
    who = holder(path)
    by = f"pid {who.pid} since {who.since}" if who else "another process"
    return Busy(f"{what} is held by {by}", "try again when it is done", holder=who._asdict() if who else None)


def _take(paths: Sequence[str], seconds: float, run: str, cancel: int | None) -> Held | None:
    for path in paths:
        _check_order(path, waits=seconds > GRACE)
    files = [(_open(path), path) for path in paths]
    taken: tuple[int, str] | None = None
    try:
        taken = wait_until(lambda: next((f for f in files if _flock(*f)), None), seconds, cancel)
    finally:
        for file in files:
            if file is not taken:
                os.close(file[0])
    if taken is None:
        return None
    held = Held(*taken)
    _sign(held.fd, me(run))
    return held


def _open(path: str) -> int:
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _no_lock(path, error) from error


def _no_lock(path: str, error: OSError) -> Invalid:
    refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    way = LIMITS.get(error.errno or 0, "move away what is there")
    if refused:
        way = "is the git folder writable? (what `sudo` made in it is not yours)"
    return Invalid(f"the lock file {path} cannot be opened: {error.strerror}", way)


def _flock(fd: int, path: str, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise Invalid(f"this file system cannot lock {path}: {error.strerror}", "keep the clone on a local disk") from error
    return True


def wait_until(attempt: Callable[[], T | None], seconds: float, cancel: int | None = None) -> T | None:
    """What `attempt` returns once it is not None; None after `seconds` or when `cancel` (a descriptor) becomes readable.

    The one place in kin that waits for something contended. It polls because the kernel cannot wait for a flock, an
    `index.lock` or the end of an editor's save with a deadline; the clock is monotonic, the pause grows from 1 to 50 ms.
    """
    start = time.monotonic()
    while True:
        if (value := attempt()) is not None:
            return value
        waited = time.monotonic() - start
        if waited >= seconds:
            return None
        pause = min(max(0.001, waited / 50), 0.05, seconds - waited)
        if select.select([] if cancel is None else [cancel], [], [], pause)[0]:
            return None


def outwait_gc(git_common: str) -> None:
    """Wait until no `git gc --prune` is at work: it deletes what others write meanwhile, also what they use.

    Not for longer than GC_PATIENCE; other collections delete only what is weeks old, and nobody waits for them.
    """
    wait_until(lambda: None if _prunes(git_common) else True, GC_PATIENCE)


def _prunes(git_common: str) -> bool:
    """Whether the process lives that `gc.pid` names, and was asked to prune, where that can be seen."""
    try:
        with open(os.path.join(git_common, "gc.pid"), encoding="utf-8", errors="replace") as file:
            pid, _, host = file.read().strip().partition(" ")
        if host != os.uname().nodename:
            return False
        if not sys.platform.startswith("linux"):
            os.kill(int(pid), 0)
            return True
        with open(f"/proc/{int(pid)}/cmdline", "rb") as words:
            return b"--prune" in words.read()
    except (OSError, ValueError):  # none at work
        return False


@contextmanager
def store_lock(common: str, seconds: float = 30.0) -> Iterator[None]:
    """Hold the store's lock, for milliseconds and never across a subprocess. Raises Busy after `seconds`.

    Free, it costs one flock; only a process that has to wait pays for importing filelock (46 ms). It tries every 2 ms and
    nobody queues: of 32 processes that wrote all the time on a busy machine, some waited for more than ten seconds.
    """
    path = lock_path(common, "store")
    if held := try_lock(path, grace=0):
        with held:
            yield
        return
    from filelock import FileLock, Timeout

    waiting = FileLock(path, timeout=seconds, mode=0o600, thread_local=False, poll_interval=0.002, fallback_to_soft=False)
    try:
        waiting.acquire()
    except Timeout:
        raise _busy("the store's lock", path) from None
    marker = _open(path)
    _held[marker] = "store"
    try:
        _sign(marker, me(""))
        yield
    finally:
        waiting.release()
        _held.pop(marker)
        os.close(marker)


def _kind(path: str) -> str:
    name = os.path.basename(path)
    if name.startswith(("slot-", "machine-", "queue-", "move-")):
        return name.partition("-")[0]
    _, dot, part = name.partition(".")
    return name if name in ORDER else f"<ID>{dot}{part}"


def _check_order(path: str, *, waits: bool) -> None:
    """Refuse to climb down, and to wait on the step where one stands: that is what could end in a circle."""
    kind = _kind(path)
    for other in _held.values():
        climb = ORDER.index(kind) - ORDER.index(other)
        if climb < 0 or (climb == 0 and (waits or kind == "store")):
            raise Bug(f"the lock {os.path.basename(path)} was wanted while a lock {other} was held", "please report this")


def is_held(path: str) -> bool:
    """Whether a live process holds the lock, asked by a shared lock for an instant. A claim outwaits that (GRACE).

    Raises Invalid if it cannot be asked.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _no_lock(path, error) from error
    try:
        return not _flock(fd, path, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def queued(held: frozenset[str]) -> frozenset[str]:
    """The tasks that wait in the queue for a slot, of the names that `held_names` gave."""
    return frozenset(name.removesuffix(".queued") for name in held if name.endswith(".queued"))


def held_names(common: str, doubtful: Iterable[str] = ()) -> frozenset[str]:
    """File names in locks/ that are held.

    Each is asked, at 5 us; of more than MANY only those that the kernel's table names and the `doubtful` ones (whoever else
    has reason to be alive): the table does not show locks of other pid namespaces, nor, inside one, those whose taker died
    and left them to a child. Reading it costs 8 to 20 ms, in which it holds up everybody who locks.
    """
    folder = os.path.join(common, "locks")
    try:
        with os.scandir(folder) as entries:
            inodes = {entry.name: entry.inode() for entry in entries}
    except FileNotFoundError:
        return frozenset()
    names: Iterable[str] = inodes
    if len(inodes) > MANY:
        table = _kernel_locks()
        names = {name for name, inode in inodes.items() if inode in table}.union(map(file_name, doubtful))
    held = set()
    for name in names:
        with suppress(Invalid):  # one that cannot be asked hides no other; whoever claims it is told, and the doctor is
            held |= {name} if is_held(os.path.join(folder, name)) else set()
    return frozenset(held)


def _kernel_locks() -> set[int]:
    """Inode of every file with an exclusive flock in /proc/locks; empty where there is no such table.

    Inodes repeat between file systems, and the table's device is not stat's on btrfs and overlayfs: who is found is asked.
    """
    try:
        with open("/proc/locks", "rb") as table:
            text = table.read()
    except OSError:
        return set()
    import re  # 6 ms, which a list need not pay

    return {int(inode) for inode in re.findall(rb"FLOCK +\S+ +WRITE +\S+ +[0-9a-f]+:[0-9a-f]+:([0-9]+) ", text)}


def _sign(fd: int, who: Holder) -> None:
    """Write who holds the lock into its file, after locking: one write, then the tail of a longer predecessor goes."""
    text = "\n".join(f"{name} {value}" for name, value in who._asdict().items()).encode() + b"\n"
    with suppress(OSError):  # on a full disk the lock holds all the same, and who has it is not known
        os.pwrite(fd, text, 0)
        os.ftruncate(fd, len(text))


def holder(path: str) -> Holder | None:
    """Who took the lock last, as its file says; None if that cannot be read. Whether it is held is `is_held`'s to say."""
    try:
        with open(path, encoding="utf-8", errors="replace", opener=lambda p, f: os.open(p, f | os.O_NONBLOCK)) as file:
            words = dict(line.rstrip("\n").partition(" ")[::2] for line in file)
        return Holder(
            int(words["pid"]), words["start"], words["boot"], int(words["pidns"]), words["host"], words["run"], words["since"]
        )
    except (OSError, KeyError, ValueError):
        return None


def me(run: str) -> Holder:
    """This process, as a lock file or a record names it."""
    pid = os.getpid()
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Holder(pid, _start_of(pid) or "", _boot(), _pidns(), os.uname().nodename, run, since)


def is_alive(who: Holder) -> bool:
    """Whether the process that a record names still lives. What cannot be known from here counts as alive.

    One of another host or pid namespace cannot be asked; one that exists but is not ours to signal is alive; a pid that was
    given to another process since, or a zombie, is dead.
    """
    if who.pid <= 0:
        return False
    if who.host != os.uname().nodename:
        return True
    if who.boot and _boot() and who.boot != _boot():
        return False
    if who.pidns != _pidns():
        return True
    try:
        os.kill(who.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    start = _start_of(who.pid)
    return start is None or not who.start or start == who.start


def _start_of(pid: int) -> str | None:
    """When a process started, as the system counts it: "" for a zombie (never equal to a start), None if it cannot be seen."""
    if not sys.platform.startswith("linux"):
        return _said(("ps", "-o", "lstart=", "-p", str(pid))) or None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before the last ")" may hold anything
    except OSError:
        return None
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


@cache
def _boot() -> str:
    """What tells this boot from the one before; "" if nothing does."""
    if not sys.platform.startswith("linux"):
        return _said(("sysctl", "-n", "kern.bootsessionuuid"))
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


@cache
def _pidns() -> int:
    """The pid namespace: two containers share a boot and may share a repository, but not their pids."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino
    return 0


def _said(argv: Sequence[str]) -> str:
    import subprocess

    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
