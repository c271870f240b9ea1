"""What a lost supervisor left: found by each of its traces, and nobody else is touched."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from kin.runner.process.reap import end_leftovers, find_leftovers
from kin.store.locks import Held, is_held, lock_path, try_lock
from tests.conftest import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

RUN = f"20261124T093200Z-{os.getpid()}"
Start = Callable[..., int]


@pytest.fixture
def kids(tmp_path: Path) -> Iterator[Held]:
    held = try_lock(lock_path(str(tmp_path), "KIN-1.kids"), run=RUN)
    assert held
    yield held
    held.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that says on standard output when it is ready; its pid."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str = "echo; exec sleep 1000", env: dict[str, str] | None = None, fds: Sequence[int] = ()) -> int:
        process = subprocess.Popen(
            ["/bin/sh", "-c", script], env=env or {}, pass_fds=fds, start_new_session=True, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout
        process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def child_of(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return int(children.read().split()[0])


def is_alive(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rpartition(b")")[2].split()[0] not in b"ZX"


def test_found_by_its_environment(kids: Held, start: Start) -> None:
    marked = start(env={"KIN_RUN": RUN, "KIN_DIR": "/where/the/clone/was/.kin"})
    start(env={"KIN_RUN": RUN + "0"})
    start(env={"NOT_KIN_RUN": RUN})
    assert find_leftovers(kids.path, RUN) == {marked}


def test_found_by_the_lock_that_it_inherited(kids: Held, start: Start) -> None:
    holds = start(fds=[kids.fd])
    assert find_leftovers(kids.path, RUN) == {holds}


def test_one_that_only_looks_at_the_lock_is_left_alone(kids: Held, start: Start) -> None:
    looks = os.open(kids.path, os.O_RDONLY)
    start(fds=[looks])
    os.close(looks)
    assert find_leftovers(kids.path, RUN) == set()


def test_found_by_family_and_by_session(kids: Held, start: Start) -> None:
    agent = start("env -i sleep 1000 & echo; wait", env={"KIN_RUN": RUN, "PATH": os.environ["PATH"]})
    wait_for(lambda: child_of(agent))
    assert find_leftovers(kids.path, RUN) == {agent, child_of(agent)}


def test_an_orphan_is_found_by_the_session_of_its_dead_leader(kids: Held, start: Start) -> None:
    script = "(env -i sleep 1000 & echo $! > $0.clean; exec sleep 1000) & echo $! > $0.marked; wait $!"
    folder = os.path.dirname(kids.path)
    leader = subprocess.Popen(
        ["/bin/sh", "-c", script, f"{folder}/pid"], env={"KIN_RUN": RUN, "PATH": os.environ["PATH"]}, start_new_session=True
    )
    wait_for(lambda: all(os.path.exists(f"{folder}/pid.{name}") for name in ("clean", "marked")))
    leader.kill()
    leader.wait()
    pids = {int(Path(f"{folder}/pid.{name}").read_text()) for name in ("clean", "marked")}
    try:
        assert find_leftovers(kids.path, RUN) == pids
    finally:
        assert end_leftovers(kids.path, RUN) == 2


def test_the_session_of_a_person_who_set_the_variable_by_hand_is_left_alone(kids: Held, start: Start) -> None:
    shell = start("KIN_RUN=$0 sleep 1000 & echo; sleep 1000".replace("$0", RUN), env={"PATH": os.environ["PATH"]})
    by_hand = child_of(shell)
    wait_for(lambda: find_leftovers(kids.path, RUN))
    assert find_leftovers(kids.path, RUN) == {by_hand}


def test_kin_never_finds_itself_or_what_it_runs_in(kids: Held) -> None:
    program = (
        "import sys; from kin.runner.process.reap import *; print(find_leftovers(*sys.argv[1:]), end_leftovers(*sys.argv[1:]))"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@"; echo outlived', "sh", sys.executable, "-c", program, kids.path, RUN],
        env={**os.environ, "KIN_RUN": RUN},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("set() 0\noutlived\n", "")


def test_all_that_is_left_is_killed_and_the_lock_is_free(kids: Held, start: Start) -> None:
    marked = start("trap '' TERM; echo; exec sleep 1000", env={"KIN_RUN": RUN, "PATH": os.environ["PATH"]})
    holds = start(fds=[kids.fd])
    other = start()
    kids.close()
    assert is_held(kids.path)
    assert end_leftovers(kids.path, RUN) == 2
    assert not is_held(kids.path)
    assert [is_alive(pid) for pid in (marked, holds, other)] == [False, False, True]
    assert end_leftovers(kids.path, RUN) == 0


def test_a_stopped_supervisor_of_a_dead_runner_is_ended_with_the_daemons_it_was_given(kids: Held, tmp_path: Path) -> None:
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path), RUN], stdout=subprocess.PIPE)
    path = lock_path(str(tmp_path), "KIN-2.kids")
    try:
        assert runner.stdout
        hidden = int(runner.stdout.readline())
    finally:
        runner.kill()
        runner.communicate()
        assert is_held(path)
        end_leftovers(path, RUN)
    assert not is_held(path)
    wait_for(lambda: not os.path.exists(f"/proc/{hidden}"))


RUNNER = """
import os, signal, sys
from kin.runner.process.signals import Cancel
from kin.runner.process.supervise import Limits, Supervisor
from kin.store.locks import lock_path, try_lock
folder, run = sys.argv[1:]
supervisor = Supervisor(run=run, kids=try_lock(lock_path(folder, "KIN-2.kids")), cancel=Cancel(), mask=str)

def stop(stream, text):
    os.kill(supervisor._process.pid, signal.SIGSTOP)
    print(text, flush=True)

daemon = "import os, sys\\nif os.fork() == 0:\\n  os.setsid()\\n  if os.fork() == 0:\\n    print(os.getpid(), flush=True)\\n"
daemon += "    os.closerange(0, 256)\\n    os.execve('/bin/sleep', ['sleep', '1000'], {})\\n  os._exit(0)\\nos.wait()\\n"
daemon += "os.execve('/bin/sleep', ['sleep', '1000'], {})"
supervisor.run([sys.executable, "-S", "-c", daemon], cwd="/", env={"KIN_RUN": run}, limits=Limits(60), on_line=stop)
"""
