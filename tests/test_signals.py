"""Being asked to stop: by real signals, seen by loops in any thread."""

import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from kin.errors import Interrupted
from kin.runner.process.signals import SAME_PRESS, Cancel
from tests.conftest import Repo, wait_for


def is_readable(fd: int, seconds: float = 0.0) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_to_stop_and_stays_visible(number: int) -> None:
    with Cancel() as cancel:
        cancel.check()
        assert not is_readable(cancel.fd)
        os.kill(os.getpid(), number)
        assert is_readable(cancel.fd, 5)
        assert is_readable(cancel.fd, 5), "nobody can read it away from the others"
        assert (cancel.level, cancel.number) == (1, number)
        assert not is_readable(cancel.fd_at_once)
        with pytest.raises(Interrupted) as stopped:
            cancel.check()
        assert stopped.value.exit == 128 + number


def test_a_second_ctrl_c_means_at_once() -> None:
    with Cancel() as cancel:
        os.kill(os.getpid(), signal.SIGINT)
        assert is_readable(cancel.fd, 5)
        threading.Event().wait(SAME_PRESS * 1.5)
        os.kill(os.getpid(), signal.SIGINT)
        assert is_readable(cancel.fd_at_once, 5)
        assert cancel.level == 2


def test_one_ctrl_c_that_comes_twice_is_one() -> None:
    cancel = Cancel()
    cancel.ask(signal.SIGINT)
    cancel.ask(signal.SIGINT)
    assert cancel.level == 1


def test_other_signals_do_not_add_up_to_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kin.runner.process.signals.SAME_PRESS", 0.0)
    cancel = Cancel()
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):  # a session that ends sends both
        cancel.ask(number)
    assert (cancel.level, cancel.number) == (1, signal.SIGHUP)


def test_a_loop_in_a_thread_is_woken_while_the_main_thread_waits() -> None:
    woken = threading.Event()
    with Cancel() as cancel:
        thread = threading.Thread(target=lambda: is_readable(cancel.fd, 10) and woken.set())
        thread.start()
        os.kill(os.getpid(), signal.SIGTERM)
        thread.join(10)
    assert woken.is_set()


def test_afterwards_signals_do_what_they_did_before() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with Cancel():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(lambda: heard == [signal.SIGTERM])
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_descriptor_is_left() -> None:
    def count() -> int:
        return len(os.listdir("/dev/fd"))

    before = count()
    for _ in range(3):
        with Cancel() as cancel:
            cancel.ask()
        del cancel
    assert count() == before


def test_what_was_ignored_from_the_start_stays_ignored() -> None:
    program = """
import os, select, signal
from kin.runner.process.signals import Cancel
with Cancel() as cancel:
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    select.select([cancel.fd], [], [], 5)
    print(cancel.number)
"""
    done = subprocess.run(
        ["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh", sys.executable, "-c", program], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (f"{int(signal.SIGTERM)}\n", "")


@pytest.mark.parametrize("left", ["ignored", "blocked"])
def test_signals_that_a_caller_left_ignored_or_blocked_change_no_run(project: Repo, left: str) -> None:
    """With SIGCHLD ignored each git would seem to have said yes; with it blocked the supervisor would wait for ever."""
    project.kin("add", "One", "--run", "echo one > one.txt")
    how = "signal(SIGCHLD, SIG_IGN)" if left == "ignored" else "pthread_sigmask(SIG_BLOCK, valid_signals())"
    caller = f"import os, sys; from signal import *; {how}; os.execvp(sys.argv[1], sys.argv[1:])"
    project.kin("run", "1", wraps=(sys.executable, "-c", caller))
    assert project.read("one.txt") == "one\n"
