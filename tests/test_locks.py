"""The kernel's word on who lives: taking, waiting, looking, and the order that keeps everybody from waiting in a circle."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import wait_for

from kin.errors import Bug, Busy, Interrupted, Invalid
from kin.runner.process.signals import Cancel
from kin.store import locks
from kin.store.locks import Holder, held_names, holder, is_alive, is_held, lock_path, me, store_lock, try_lock, wait_lock

HOLD = """
import sys
from kin.store.locks import try_lock
held = [try_lock(path, run="r1") for path in sys.argv[1:]]
print("held" if all(held) else "busy", flush=True)
sys.stdin.read()
"""


class Other:
    """Another process that holds locks until it is told to go, or killed."""

    def __init__(self, *paths: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.communicate()


@pytest.fixture
def common(tmp_path: Path) -> str:
    return str(tmp_path / "kin")


def put(path: str, text: str = "") -> str:
    """A lock file as an earlier process left it."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    Path(path).write_text(text)
    return path


@pytest.fixture
def other(common: str) -> Iterator[Other]:
    process = Other(lock_path(common, "KIN-1"))
    yield process
    process.end()


def test_a_killed_process_holds_nothing(common: str, other: Other) -> None:
    path = lock_path(common, "KIN-1")
    assert try_lock(path) is None
    assert is_held(path)
    other.end(signal.SIGKILL)
    with wait_lock(path, 5, what="KIN-1"):
        assert is_held(path)
    assert not is_held(path)


def test_waiting_ends_with_the_name_of_the_holder(common: str, other: Other) -> None:
    started = time.monotonic()
    with pytest.raises(Busy, match=f"KIN-1 is held by pid {other.process.pid} since") as caught:
        wait_lock(lock_path(common, "KIN-1"), 0.1, what="KIN-1")
    assert 0.1 <= time.monotonic() - started < 2
    assert caught.value.data["holder"]["run"] == "r1"


@pytest.mark.usefixtures("other")
def test_waiting_is_over_at_once_when_it_is_cancelled(common: str) -> None:
    cancel = Cancel()
    cancel.ask(signal.SIGTERM)
    started = time.monotonic()
    with pytest.raises(Interrupted):
        wait_lock(lock_path(common, "KIN-1"), 30, what="KIN-1", cancel=cancel)
    assert time.monotonic() - started < 5


def test_a_lock_that_a_child_inherited_stays_held_when_its_taker_closes_it(common: str) -> None:
    held = try_lock(lock_path(common, "KIN-1.kids"))
    assert held is not None
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[held.fd])
    held.close()
    held.close()
    assert is_held(lock_path(common, "KIN-1.kids"))
    child.communicate()
    assert not is_held(lock_path(common, "KIN-1.kids"))


def test_a_git_that_prunes_is_outwaited_and_no_other(common: str) -> None:
    os.mkdir(common)
    pid, ended = Path(common, "gc.pid"), Path(common, "ended")
    script = f"read x; touch {ended}; rm {pid}"
    pruning = subprocess.Popen(["sh", "-c", script, "git", "gc", "--prune=now"], stdin=subprocess.PIPE)
    wait_for(Path(f"/proc/{pruning.pid}/cmdline").read_bytes)  # Popen returns before the kernel has set it
    for stale in (f"{os.getpid()} {os.uname().nodename}", f"{pruning.pid} elsewhere", "99999999 x", "?"):
        pid.write_text(stale)
        locks.outwait_gc(common)
    pid.write_text(f"{pruning.pid} {os.uname().nodename}")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: (locks.outwait_gc(common), ended.exists()))
        pruning.communicate(b"\n")
    assert waiting.result()[1]


def test_looking_creates_nothing_and_takes_nothing(common: str) -> None:
    path = lock_path(common, "KIN-1")
    assert not is_held(path)
    assert not os.path.exists(common)
    with try_lock(path) or pytest.fail("free"):
        assert is_held(path)
    with try_lock(path) or pytest.fail("looking took it"):
        pass


def test_a_claim_outwaits_a_reader_that_probes(common: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(lock_path(common, "KIN-1"))
    probe = os.open(path, os.O_RDONLY)
    fcntl.flock(probe, fcntl.LOCK_SH)

    def the_reader_is_done(*_: object) -> tuple[list[int], list[int], list[int]]:
        os.close(probe)
        return [], [], []

    monkeypatch.setattr(locks.select, "select", the_reader_is_done)
    with try_lock(path) or pytest.fail("a probe made the claim fail"):
        pass


@pytest.mark.parametrize("many", [0, 1000])
def test_all_held_locks_are_seen_at_once(common: str, other: Other, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "MANY", many)
    with try_lock(lock_path(common, "queue-release/1")) or pytest.fail("free"):
        put(lock_path(common, "KIN-2"))
        assert held_names(common) == {"KIN-1", "queue-release%2F1"}
    other.end()
    assert held_names(common) == frozenset()


@pytest.mark.usefixtures("other")
def test_what_the_kernels_table_does_not_show_is_asked_if_it_is_doubtful(common: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "MANY", 0)
    monkeypatch.setattr(locks, "_kernel_locks", set)
    assert held_names(common) == frozenset()
    assert held_names(common, ["KIN-1", "KIN-2"]) == {"KIN-1"}


@pytest.mark.parametrize(
    ("first", "second"),
    [("KIN-1", "slot-1"), ("queue-main", "KIN-1"), ("git", "queue-main"), ("KIN-1.kids", "KIN-1"), ("move-main", "git")],
)
def test_climbing_down_is_a_bug(common: str, first: str, second: str) -> None:
    with try_lock(lock_path(common, first)) or pytest.fail("free"), pytest.raises(Bug, match=second):
        try_lock(lock_path(common, second))


def test_two_of_a_kind_are_held_side_by_side_but_never_waited_for(common: str) -> None:
    with try_lock(lock_path(common, "KIN-1")) or pytest.fail("free"):
        with try_lock(lock_path(common, "KIN-2")) or pytest.fail("free"):
            pass
        with pytest.raises(Bug, match="KIN-3"):
            wait_lock(lock_path(common, "KIN-3"), 5, what="KIN-3")


def test_the_whole_ladder_may_be_climbed(common: str) -> None:
    names = ["watch", "KIN-1.queued", "slot-1", "KIN-1", "KIN-1.kids", "queue-v1.kids", "git", "move-v1.kids"]
    held = [try_lock(lock_path(common, name)) for name in names]
    assert all(held)
    with store_lock(common), pytest.raises(Bug), store_lock(common):
        pass
    for one in held:
        assert one is not None
        one.close()


def test_the_stores_lock_is_waited_for_through_filelock(common: str) -> None:
    other = Other(lock_path(common, "store"))
    with pytest.raises(Busy, match=f"pid {other.process.pid}"), store_lock(common, 0.05):
        pass
    os.kill(other.process.pid, signal.SIGKILL)
    with store_lock(common, 10):
        assert is_held(lock_path(common, "store"))
        seen = holder(lock_path(common, "store"))
        assert seen is not None
        assert seen.pid == os.getpid()
        with pytest.raises(Bug):
            try_lock(lock_path(common, "store"))
    assert not is_held(lock_path(common, "store"))
    other.end()


def test_a_link_is_no_lock_file(common: str, tmp_path: Path) -> None:
    os.unlink(put(lock_path(common, "KIN-1")))
    os.symlink(tmp_path / "elsewhere", lock_path(common, "KIN-1"))
    with pytest.raises(Invalid, match="KIN-1"):
        try_lock(lock_path(common, "KIN-1"))
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_no_lock_file_hides_no_other_and_holds_nobody_up(common: str, other: Other, tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", lock_path(common, "KIN-2"))
    os.mkfifo(lock_path(common, "KIN-3"))
    os.mkdir(lock_path(common, "KIN-4"))
    assert held_names(common) == {"KIN-1"}
    for name in ("KIN-2", "KIN-3", "KIN-4"):
        assert holder(lock_path(common, name)) is None
    with pytest.raises(Invalid, match=r"KIN-2 cannot be opened.*; move away what is there"):
        is_held(lock_path(common, "KIN-2"))


def test_lock_files_are_for_the_owner_only_and_are_not_inherited(common: str) -> None:
    with try_lock(lock_path(common, "KIN-1")) or pytest.fail("free") as held:
        assert os.stat(held.path).st_mode & 0o777 == 0o600
        assert os.stat(os.path.dirname(held.path)).st_mode & 0o777 == 0o700
        assert not os.get_inheritable(held.fd)


@pytest.mark.parametrize("text", ["", "pid x\n", "pid 1\nstart 2\n", "\0\0\0", "pid 4711 since"])
def test_a_damaged_record_is_no_record(common: str, text: str) -> None:
    assert holder(put(lock_path(common, "KIN-1"), text)) is None


def test_a_shorter_record_replaces_a_longer_one(common: str) -> None:
    path = lock_path(common, "KIN-1")
    for run in ("a-very-long-run-name" * 20, "short"):
        with try_lock(path, run=run) or pytest.fail("free"):
            pass
    assert (holder(path) or me("")).run == "short"
    assert Path(path).read_text().count("\n") == len(Holder._fields)


def test_this_process_is_alive_and_one_with_its_pid_but_another_start_is_dead() -> None:
    mine = me("")
    assert is_alive(mine)
    assert not is_alive(mine._replace(start="1"))
    assert not is_alive(mine._replace(boot="another"))
    assert not is_alive(mine._replace(pid=0))


def test_who_cannot_be_asked_from_here_counts_as_alive() -> None:
    gone = me("")._replace(pid=2**22 - 1, start="1")
    assert not is_alive(gone)
    assert is_alive(gone._replace(host="elsewhere"))
    assert is_alive(gone._replace(pidns=1))


def test_a_process_that_is_not_ours_to_signal_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(me(""))
    assert not is_alive(me("")._replace(start="1"))


def test_a_zombie_is_dead() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    start = locks._start_of(pid)
    assert start
    child = me("")._replace(pid=pid, start=start)
    assert is_alive(child)
    os.close(write)
    wait_for(lambda: not is_alive(child))
    os.kill(pid, 0)  # it still has its number
    os.waitpid(pid, 0)
