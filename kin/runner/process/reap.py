"""Finding and ending what a run's agents left behind when the supervisor could not do it.

Needed only if the supervisor was killed together with its runner, or lost: three traces are followed, because each misses
some (docs/supervision.md): who holds the run's kids lock, who has KIN_RUN=<run> in its environment, and who is in a session
or a family with one of those. Nothing is decided by a pid alone: a process is held by its pidfd, then checked, then killed.

macOS (not measured): `ps` shows environments of the same user's processes, `lsof` the lock's holders; a determined daemon
that cleaned its environment and closed the lock gets away there.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from kin.errors import KinError
from kin.store.locks import lock_path
from kin.store.project import find_repository

LINUX = sys.platform == "linux"
PATIENCE = 1.0
"""Seconds for a supervisor that lives to end its descendants itself: it alone sees all of them."""


class Seen(NamedTuple):
    """A process: its parent, its session, and whether it bears a trace of the run itself."""

    parent: int
    session: int
    marked: bool


def find_leftovers(kids_path: str, run: str) -> set[int]:
    """The pids of all processes that bear a trace of the run, without this process and its own ancestors."""
    seen = look(kids_path, run) if LINUX else look_by_ps(kids_path, run)
    family = own_family(seen)  # the runner holds the lock too; its other children are none of ours
    found = {pid for pid, process in seen.items() if process.marked} - family
    while True:
        # A session counts if its leader was found or is gone: a person's shell in which KIN_RUN was set by hand does not.
        sessions = {seen[pid].session for pid in found} - {0}
        sessions = {s for s in sessions if s in found or s not in seen}
        more = {pid for pid, process in seen.items() if process.parent in found or process.session in sessions} - found - family
        if not more:
            return found
        found |= more


def end_leftovers(kids_path: str, run: str, seconds: float = 10.0) -> int:
    """Kill all that `find_leftovers` finds until nothing is found, for at most `seconds`; how many were killed.

    When it returns early the dead hold no lock any more: the kernel closes a process's files before it reports the end.
    """
    deadline = time.monotonic() + seconds
    wait_for_end(wake_supervisors(kids_path, run), min(PATIENCE, seconds))
    killed: set[int] = set()
    while (found := find_leftovers(kids_path, run)) and time.monotonic() < deadline:
        held = hold(found)
        still = find_leftovers(kids_path, run) & set(held)  # looked at again, now that no pid can change its meaning
        killed |= {pid for pid in still if send(pid, held[pid], signal.SIGKILL)}
        wait_for_end(held, deadline - time.monotonic())
    return len(killed)


def wake_supervisors(kids_path: str, run: str) -> dict[int, int]:
    """Supervisors of the run that still live, held by pidfd. One that was stopped goes on, and sees that its runner is dead."""
    if not LINUX:
        return {}
    held = hold(find_leftovers(kids_path, run))
    others = {pid for pid in held if not _is_supervisor(pid, run)}
    release({pid: held.pop(pid) for pid in others})
    for pid, fd in held.items():
        send(pid, fd, signal.SIGCONT)
    return held


def _is_supervisor(pid: int, run: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as words:
            command = words.read().split(b"\0")
    except OSError:  # gone
        return False
    return run.encode() in command and any(word.endswith(b"/supervisor.py") for word in command)


def hold(pids: Iterable[int]) -> dict[int, int]:
    """A pidfd for each process that is still there; -1 where the system has none."""
    held = {}
    for pid in pids:
        try:
            held[pid] = os.pidfd_open(pid) if LINUX else -1
        except ProcessLookupError:
            continue
        except OSError:  # a kernel before 5.3
            held[pid] = -1
    return held


def release(held: dict[int, int]) -> None:
    for fd in held.values():
        if fd >= 0:
            os.close(fd)


def send(pid: int, fd: int, number: int) -> bool:
    """Signal a held process; whether that could be done."""
    try:
        if fd >= 0:
            signal.pidfd_send_signal(fd, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def wait_for_end(held: dict[int, int], seconds: float) -> None:
    """Wait until all held processes have ended, for at most `seconds`, and let go of them."""
    poller, deadline = select.poll(), time.monotonic() + seconds
    waiting = {fd for fd in held.values() if fd >= 0}
    for fd in waiting:
        poller.register(fd, select.POLLIN)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for fd, _ in poller.poll(left * 1000 + 1):
            poller.unregister(fd)
            waiting.discard(fd)
    release(held)


def own_family(seen: dict[int, Seen]) -> set[int]:
    """This process and its ancestors: a kin that an agent started must not kill what it runs in."""
    family, pid = set[int](), os.getpid()
    while pid and pid not in family:
        family.add(pid)
        pid = seen[pid].parent if pid in seen else 0
    return family


def look(kids_path: str, run: str) -> dict[int, Seen]:
    """Every process but zombies; those of other users show neither environment nor files, so they bear no trace."""
    try:
        kids = os.stat(kids_path)
        lock = (kids.st_dev, kids.st_ino)
    except FileNotFoundError:
        lock = (0, 0)
    seen = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    state, parent, _, session = stat.read().rpartition(b")")[2].split()[:4]
                marked = is_marked(name, run, kids_path) or holds(name, lock)
            except (FileNotFoundError, ProcessLookupError):  # gone since it was listed
                continue
            if state not in b"ZX":
                seen[int(name)] = Seen(int(parent), int(session), marked)
    return seen


def is_marked(pid: str, run: str, kids_path: str) -> bool:
    """Whether a process's environment has KIN_RUN=<run>; a lock whose owner never wrote its run gives us an empty one."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            words = environ.read().split(b"\0")
    except PermissionError:
        return False
    return bool(run) and f"KIN_RUN={run}".encode() in words and not _is_anothers(words, kids_path)


def _is_anothers(words: list[bytes], kids_path: str) -> bool:
    """Whether a process with our run in its environment works for another clone: a copy (`cp -a`) has our records, too."""
    store = next((os.fsdecode(word[8:]) for word in words if word.startswith(b"KIN_DIR=")), "")
    with suppress(KinError, OSError):  # nothing is there any more: this clone was moved
        theirs = lock_path(find_repository(os.path.dirname(store), {}).common, os.path.basename(kids_path))
        return bool(store) and not os.path.samefile(theirs, kids_path)
    return False


def holds(pid: str, lock: tuple[int, int]) -> bool:
    """Whether a process holds the lock on the file that `lock` (device, inode) names.

    To have it open is not enough: a reading command that looks whether it is held must not be killed for that.
    """
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        return False
    for fd in fds:
        try:
            file = os.stat(f"/proc/{pid}/fd/{fd}")
            if (file.st_dev, file.st_ino) == lock:
                with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as details:
                    if any(line.startswith(b"lock:") and b"WRITE" in line for line in details):
                        return True
        except OSError:  # closed since it was listed, or not for us
            continue
    return False


def look_by_ps(kids_path: str, run: str) -> dict[int, Seen]:
    """Like `look`, with process groups for sessions: what macOS lets us see."""
    listed = subprocess.run(
        ["ps", "-axwwE", "-o", "pid=,ppid=,pgid=,command="], capture_output=True, text=True, errors="replace"
    )
    holders = subprocess.run(["lsof", "-t", "--", kids_path], capture_output=True, text=True).stdout.split()
    seen = {}
    for line in listed.stdout.splitlines():
        pid, parent, group, *words = line.split()
        ours = bool(run) and f"KIN_RUN={run}" in words and not _is_anothers([os.fsencode(word) for word in words], kids_path)
        seen[int(pid)] = Seen(int(parent), int(group), pid in holders or ours)
    return seen
