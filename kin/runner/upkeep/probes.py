"""What a file system really does, tried and not looked up: all of kin rests on locks that exclude and renames that are whole.

Each probe works in a folder of its own that the caller made, and answers in words what is wrong, or with "".
"""

import os
import re
import subprocess
import sys
import threading

from kin.runner.process.logs import new_observer, watch
from kin.store import files, locks

NETWORK = re.compile(
    r"nfs\d?|cifs|smb\w*|afpfs|webdav|9p|ceph|glusterfs|lustre|gpfs|afs|vboxsf|prl_fs|drvfs|fakeowner"
    r"|fuse\.(?!ext|ntfs|fuseblk|overlay).*|osxfuse|macfuse"
)
"""File systems that other machines (or a virtual machine's host) change too."""

EVENT_PATIENCE = 2.0
"""Seconds that a change may take to wake a watcher."""

_TRY = """
import fcntl, os, sys
try:
    fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(3)
"""


def locks_exclude(folder: str) -> str:
    """Whether a held lock keeps other descriptors and other processes out, lives on in a copy, and is free after the last."""
    path = os.path.join(folder, "probe")
    held = locks.try_lock(path)
    if held is None:
        return "a lock that nobody holds cannot be taken"
    copy = os.dup(held.fd)  # as a child inherits it
    try:
        with held:
            if second := locks.try_lock(path, grace=0):
                second.close()
                return "a lock that is held can be taken again in the same process"
            if not locks.is_held(path):
                return "a lock that is held looks free"
            argv = [sys.executable, "-I", "-S", "-c", _TRY, path]
            if subprocess.run(argv, check=False, timeout=30).returncode == 0:
                return "a lock that is held can be taken by another process"
        if third := locks.try_lock(path, grace=0):
            third.close()
            return "closing one descriptor frees a lock that another one still holds"
    finally:
        os.close(copy)
    last = locks.try_lock(path)
    if last is None:
        return "a lock stays held after its last holder let it go"
    last.close()
    return ""


def renames_are_whole(folder: str, times: int = 50) -> str:
    """Whether a reader always finds the whole old or the whole new file, and a new file never replaces another."""
    path, whole = os.path.join(folder, "renamed"), {f"{n}" * 5000 for n in range(10)}
    files.write_new(path, "0" * 5000)
    try:
        files.write_new(path, "1" * 5000)
        return "a new file can replace one that is there"
    except FileExistsError:
        pass
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                with open(path, encoding="ascii") as file:
                    seen.add(file.read())
            except OSError as error:
                seen.add(str(error.strerror))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for n in range(times):
            with open(f"{path}.new", "w", encoding="ascii") as file:
                file.write(f"{n % 10}" * 5000)
            os.replace(f"{path}.new", path)
    finally:
        over.set()
        reader.join()
    torn = seen - whole
    return f"a reader found a file half replaced ({min(torn)[:40]!r})" if torn else ""


def changes_wake(folder: str) -> str:
    """Whether a watcher is woken by a change (inotify on Linux)."""
    observer, woken = new_observer(), threading.Event()
    if observer is None or not watch(observer, folder, woken):
        return "the system has no watches left (fs.inotify.max_user_watches, max_user_instances)"
    try:
        with open(os.path.join(folder, "changed"), "w", encoding="ascii") as file:
            file.write("x")
        return "" if woken.wait(EVENT_PATIENCE) else "a change wakes no watcher"
    finally:
        observer.stop()
        observer.join()


def case_blind(folder: str) -> bool:
    """Whether names that differ in case only are one file."""
    path = os.path.join(folder, "Case")
    with open(path, "w", encoding="ascii"):
        return os.path.exists(os.path.join(folder, "cASE"))


def mount_type(path: str) -> str:
    """The type of the file system that `path` lies on; "" where the system does not tell."""
    real = os.path.realpath(path)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            return type_in_mountinfo(real, table.read())
    except FileNotFoundError:
        said = subprocess.run(["mount"], capture_output=True, check=False, timeout=30).stdout
        return type_in_mount_output(real, os.fsdecode(said))


def type_in_mountinfo(path: str, table: str) -> str:
    """By Linux's table (proc(5)): the mount point is the fifth field, the type the first behind ` - `; blanks are octal."""
    mounts = []
    for line in table.splitlines():
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4])
        mounts.append((point, rest.partition(" ")[0]))
    return _longest(path, mounts)


def type_in_mount_output(path: str, said: str) -> str:
    """By what `mount` prints elsewhere: `/dev/disk1 on /Volumes/My Disk (apfs, local)`."""
    return _longest(path, re.findall(r"^.*? on (.+) \(([\w.]+)[^()]*\)$", said, re.MULTILINE))


def _longest(path: str, mounts: list[tuple[str, str]]) -> str:
    found = [m for m in mounts if path == m[0] or path.startswith(m[0].rstrip("/") + "/")]
    return max(reversed(found), key=lambda m: len(m[0]))[1] if found else ""  # of two on one point the later one shows


def is_network(kind: str) -> bool:
    """Whether a file system of this type is shared with other machines."""
    return NETWORK.fullmatch(kind) is not None
