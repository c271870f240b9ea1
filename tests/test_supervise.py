"""Steps under the supervisor: real processes that hang, flood, fork away and ignore signals."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kin.runner.process import supervise
from kin.runner.process.logs import StepLog, read_lines
from kin.runner.process.mask import make_mask
from kin.runner.process.signals import Cancel
from kin.runner.process.supervise import Ended, Limits, Supervisor
from kin.store.locks import is_held, lock_path, try_lock
from tests.conftest import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

RUN = f"20261124T093200Z-{os.getpid()}"
"""One for each test process: what a lost supervisor left is looked for by it."""
LONG = Limits(60)

DAEMON = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        name = os.getpid()
        with open(sys.argv[1], "a") as pids:
            pids.write(f"{name}\\n")
        os.closerange(0, 256)
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os._exit(0)
"""
"""A daemon that no trace leads to: forked twice, its own session, everything closed, a clean environment."""


class Desk:
    """A supervisor with its lock, and short words for running commands under it."""

    def __init__(self, folder: Path, grace: float = 5.0, before: Sequence[str] = ()) -> None:
        self.folder = folder
        self.cancel = Cancel()
        self.mask = make_mask({"DEPLOY_TOKEN": "hunter2-secret"}, ["DEPLOY_TOKEN"])
        held = try_lock(lock_path(str(folder), "KIN-1.kids"), run=RUN)
        assert held
        self.kids = held
        self.supervisor = Supervisor(run=RUN, kids=held, cancel=self.cancel, mask=self.mask, grace=grace, before=before)

    def run(self, *argv: str, limits: Limits = LONG, **more: Any) -> Ended:
        return self.supervisor.run(argv, cwd=str(self.folder), env={**os.environ, "KIN_RUN": RUN}, limits=limits, **more)

    def sh(self, text: str, **more: Any) -> Ended:
        return self.run("/bin/sh", "-c", text, **more)

    def py(self, text: str, *argv: str, **more: Any) -> Ended:
        return self.run(sys.executable, "-S", "-c", text, *argv, **more)

    def log(self, step: str = "1-developer", **more: Any) -> StepLog:
        return StepLog(str(self.folder / "log"), step, self.mask, **more)

    def logged(self) -> list[str]:
        return [line.text for line in read_lines(str(self.folder / "log"))]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.supervisor.close()
    desk.kids.close()


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Desk]:
    """One that kills a tenth of a second after TERM."""
    desk = Desk(tmp_path, grace=0.1)
    yield desk
    desk.supervisor.close()
    desk.kids.close()


def is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in b"ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def pids_in(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def supervisor_pid(desk: Desk) -> int:
    process = desk.supervisor._process
    assert process
    return process.pid


def test_exit_code_streams_and_log_of_a_plain_command(desk: Desk) -> None:
    seen: list[tuple[str, str]] = []
    with desk.log() as log:
        ended = desk.sh("echo out; echo err >&2; exit 3", log=log, on_line=lambda *line: seen.append(line))
    assert (ended.exit, ended.why, ended.error) == (3, "exited", "")
    assert (ended.tail_out, ended.tail_err) == ("out\n", "err\n")
    assert sorted(seen) == [("stderr", "err"), ("stdout", "out")]
    assert sorted((line.step, line.stream, line.text) for line in read_lines(str(desk.folder / "log"))) == [
        ("1-developer", "stderr", "err"),
        ("1-developer", "stdout", "out"),
    ]


def test_a_step_gets_exactly_the_environment_folder_and_input_it_was_given(desk: Desk) -> None:
    (desk.folder / "prompt").write_text("do it\n")
    ended = desk.supervisor.run(
        ["/bin/sh", "-c", "pwd; cat; env | grep -v -e PWD -e ^_= -e SHLVL | sort"],
        cwd=str(desk.folder),
        env={"ONE": "1", "ODD": "a\udcffb"},
        stdin=str(desk.folder / "prompt"),
        limits=LONG,
    )
    assert ended.tail_out == f"{desk.folder}\ndo it\nODD=a\ufffdb\nONE=1\n"


def test_an_agent_starts_with_plain_signals_and_no_descriptors_but_the_kids_lock(desk: Desk) -> None:
    ended = desk.sh("grep -e SigIgn -e SigBlk /proc/self/status; ls -l /proc/$$/fd; true")  # in a pipe sh would have its end
    ignored = re.findall(r"SigIgn:\t(\w+)", ended.tail_out)
    assert int(ignored[0], 16) & ~0x180000000 == 0, "but for the two that glibc keeps to itself"
    assert "SigBlk:\t0000000000000000" in ended.tail_out
    files = dict(re.findall(r"(\d+) -> (.*)", ended.tail_out))
    assert files.pop("0") == "/dev/null"
    assert files.pop("1").startswith("pipe:")
    assert files.pop("2").startswith("pipe:")
    assert list(files.values()) == [desk.kids.path]


@pytest.mark.parametrize(
    ("argv", "cwd", "said"),
    [
        (["no-such-agent"], ".", "no-such-agent: no such program on the PATH"),
        (["./script"], ".", "./script: No such file or directory"),
        (["./data"], ".", "./data: Exec format error"),
        (["true"], "gone", "working folder gone: No such file or directory"),
    ],
)
def test_what_cannot_start_says_why(desk: Desk, argv: Sequence[str], cwd: str, said: str) -> None:
    (desk.folder / "script").write_text("#!/no/such/interpreter\n")
    (desk.folder / "data").write_bytes(b"\x00\x01")
    for name in ("script", "data"):
        (desk.folder / name).chmod(0o755)
    ended = desk.supervisor.run(argv, cwd=str(desk.folder / cwd), env=os.environ, limits=LONG)
    assert (ended.exit, ended.why) == (None, "cannot_start")
    assert ended.error.replace(f"{desk.folder}/", "") == said
    assert desk.sh("echo next").tail_out == "next\n"


def test_one_that_ignores_term_is_killed_after_the_grace(hasty: Desk) -> None:
    ended = hasty.sh("trap '' TERM; while :; do sleep 1; done", limits=Limits(0.2))
    assert (ended.exit, ended.why) == (-signal.SIGKILL, "timeout")
    assert 0.3 <= ended.seconds < 3


def test_one_that_ends_well_at_term_is_still_over_its_limit(desk: Desk) -> None:
    ended = desk.sh("trap 'echo bye; exit 0' TERM; while :; do sleep 0.02; done", limits=Limits(0.2))
    assert (ended.exit, ended.why, ended.tail_out) == (0, "timeout", "bye\n")


def test_silence_ends_a_step_and_output_does_not(desk: Desk) -> None:
    assert desk.sh("echo 1; sleep 30", limits=Limits(60, idle=0.3)).why == "idle"
    assert desk.sh("sleep 30", limits=Limits(60, idle=30, first_output=0.3)).why == "first_output"
    talks = desk.sh("for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.2; done", limits=Limits(60, idle=1.2, first_output=1.2))
    assert talks.why == "exited"


def test_a_limit_may_be_longer_than_the_kernel_can_count_milliseconds(desk: Desk) -> None:
    assert desk.sh("sleep 0.05; echo done", limits=Limits(8000 * 3600.0)).tail_out == "done\n"


def test_output_that_waited_while_kin_was_busy_counts_before_the_idle_limit(desk: Desk) -> None:
    lines: list[str] = []

    def slow_once(stream: str, text: str) -> None:
        if not lines:
            subprocess.run(["sleep", "0.6"], check=True)
        lines.append(text)

    ended = desk.sh("for n in 1 2 3 4 5 6 7 8 9; do echo $n; sleep 0.1; done", limits=Limits(60, idle=0.4), on_line=slow_once)
    assert (ended.why, len(lines)) == ("exited", 9)


def test_a_daemon_that_left_no_trace_is_dead_when_its_step_ends(desk: Desk) -> None:
    pids = desk.folder / "pids"
    ended = desk.py(DAEMON + f"\nimport time\nwhile not os.path.exists({str(pids)!r}): time.sleep(0.01)", str(pids))
    assert ended.why == "exited"
    assert len(pids_in(pids)) == 1
    assert all(is_dead(pid) for pid in pids_in(pids))


def test_a_child_that_keeps_the_pipes_open_holds_nobody_up(desk: Desk) -> None:
    ended = desk.sh("sleep 1000 & echo $! > child; echo done; exit 0")
    assert (ended.exit, ended.tail_out) == (0, "done\n")
    assert ended.seconds < 5
    assert is_dead(pids_in(desk.folder / "child")[0])


def test_a_leftover_gets_the_chance_to_clean_up(desk: Desk) -> None:
    desk.sh(
        "(trap 'echo cleaned > mark; exit' TERM; echo > ready; while :; do sleep 0.02; done) &"
        " while ! test -f ready; do :; done"
    )
    assert (desk.folder / "mark").read_text() == "cleaned\n"


def test_a_leftover_that_ignores_term_is_killed(desk: Desk) -> None:
    ended = desk.sh(
        "(trap '' TERM; echo > ready; while :; do sleep 1; done) & echo $! > child; while ! test -f ready; do :; done"
    )
    assert (ended.exit, ended.why) == (0, "exited")
    assert is_dead(pids_in(desk.folder / "child")[0])


def test_processes_that_keep_forking_away_are_caught(hasty: Desk) -> None:
    runaway = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.002)
"""
    ended = hasty.py(runaway, "runaway-of-" + RUN)
    assert 0.5 <= ended.seconds < 10, "it outlived the agent, and TERM"
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and f"runaway-of-{RUN}" in command_of(pid)]


def test_asked_to_stop_a_step_is_cancelled_with_term(desk: Desk) -> None:
    ended = desk.sh(
        "trap 'echo bye; exit 1' TERM; echo up; while :; do sleep 0.02; done",
        on_line=lambda *_: desk.cancel.ask(signal.SIGTERM),
    )
    assert (ended.why, ended.exit, ended.tail_out) == ("cancelled", 1, "up\nbye\n")
    assert desk.sh("echo never > started").why == "cancelled"
    assert not (desk.folder / "started").exists()


def test_a_step_that_ended_before_kin_asked_it_to_is_finished_though_something_of_it_lives(desk: Desk) -> None:
    def ask(stream: str, text: str) -> None:
        wait_for(lambda: is_dead(int(text)))
        desk.cancel.ask(signal.SIGTERM)

    ended = desk.sh("trap '' TERM; sleep 1000 & echo $$; exit 3", on_line=ask)
    assert (ended.why, ended.exit) == ("exited", 3)


def test_asked_twice_a_step_is_killed_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kin.runner.process.signals.SAME_PRESS", 0.0)

    def press(stream: str, text: str) -> None:
        desk.cancel.ask(signal.SIGINT)

    ended = desk.sh("trap 'echo not yet' TERM; echo up; while :; do sleep 0.02; done", on_line=press)
    assert (ended.why, ended.exit) == ("cancelled", -signal.SIGKILL)
    assert ended.seconds < 4, "the grace is five seconds"


def test_a_step_can_be_stopped_from_its_own_output(desk: Desk) -> None:
    ended = desk.sh("echo expensive; sleep 30", on_line=lambda *_: desk.supervisor.stop("budget"))
    assert (ended.why, ended.exit) == ("budget", -signal.SIGTERM)
    assert desk.sh("echo next").why == "exited"


def test_an_error_in_the_reader_ends_the_step(desk: Desk) -> None:
    def broken(stream: str, text: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        desk.sh("echo $$ > child; echo x; sleep 1000", on_line=broken)
    assert is_dead(pids_in(desk.folder / "child")[0])


def test_a_secret_is_masked_though_it_came_in_two_pieces(desk: Desk) -> None:
    heard: list[str] = []
    with desk.log() as log:
        ended = desk.sh(
            "printf 'a hunter2-; then\\ra hunter2-'; sleep 0.1; echo secret; printf hunter2-secret >&2",
            log=log,
            on_line=lambda _, text: heard.append(text),
        )
    everything = "".join([ended.tail_out, ended.tail_err, *heard, *desk.logged()])
    assert "hunter2-secret" not in everything
    assert ended.tail_out == "a hunter2-; then\ra ***\n"
    assert ended.tail_err == "***"


def test_invalid_utf8_is_kept_readable(desk: Desk) -> None:
    with desk.log() as log:
        ended = desk.sh(r"printf 'a\377b\n\300\200\n\000nul\n'", log=log)
    assert ended.tail_out == "a\ufffdb\n\ufffd\ufffd\n\x00nul\n"
    assert desk.logged() == ["a\ufffdb", "\ufffd\ufffd", "\x00nul"]


def test_the_runners_death_ends_everything_and_frees_the_lock(tmp_path: Path) -> None:
    runner = start_runner(tmp_path, DAEMON + SESSIONS)
    pids = tmp_path / "pids"
    kids = lock_path(str(tmp_path), "KIN-1.kids")
    wait_for(lambda: len(pids_in(pids)) == 3)
    assert is_held(kids)
    runner.kill()
    runner.communicate()
    wait_for(lambda: not is_held(kids), 5)
    assert all(is_dead(pid) for pid in pids_in(pids))


SESSIONS = """
import subprocess, time
for _ in range(2):
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(sys.argv[1], "a") as pids:
        pids.write(f"{other.pid}\\n")
time.sleep(1000)
"""


def start_runner(folder: Path, agent: str, *wraps: str) -> "subprocess.Popen[bytes]":
    """A process that runs one Python agent under a supervisor; the agent's argument is the file `pids`."""
    program = """
import sys
from kin.runner.process.signals import Cancel
from kin.runner.process.supervise import Limits, Supervisor
from kin.store.locks import lock_path, try_lock
run, folder, agent = sys.argv[1:]
kids = try_lock(lock_path(folder, "KIN-1.kids"))
with Cancel() as cancel, Supervisor(run=run, kids=kids, cancel=cancel, mask=str) as supervisor:
    argv = [sys.executable, "-S", "-c", agent, folder + "/pids"]
    ended = supervisor.run(argv, cwd="/", env={"KIN_RUN": run}, limits=Limits(60))
print(ended.why, ended.exit, cancel.number)
"""
    argv = [*wraps, sys.executable, "-c", program, RUN, str(folder), agent]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


ANOTHERS = """
import os, subprocess, sys
other = subprocess.Popen(["setpriv", "--reuid", "65534", "--clear-groups", "sleep", "1000"])
while os.stat(f"/proc/{other.pid}").st_uid == 0: pass
with open(sys.argv[1], "w") as pids:
    pids.write(f"{other.pid}\\n")
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user")
def test_another_users_process_that_may_not_be_ended_does_not_hold_its_step_up(tmp_path: Path) -> None:
    runner = start_runner(tmp_path, ANOTHERS, "setpriv", "--bounding-set", "-kill")
    out, err = runner.communicate(timeout=30)
    (pid,) = pids_in(tmp_path / "pids")
    assert not is_dead(pid)
    os.kill(pid, signal.SIGKILL)
    assert (out.decode(), err.decode()) == ("exited 0 0\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_step_that_a_runner_is_at(tmp_path: Path, number: int) -> None:
    runner = start_runner(tmp_path, DAEMON + SESSIONS)
    wait_for(lambda: pids_in(tmp_path / "pids"))
    runner.send_signal(number)
    out, err = runner.communicate(timeout=20)
    assert (out.decode(), err.decode()) == (f"cancelled -15 {int(number)}\n", "")
    assert all(is_dead(pid) for pid in pids_in(tmp_path / "pids"))


def test_a_killed_supervisor_is_noticed_and_its_agent_ended(desk: Desk) -> None:
    def kill(stream: str, text: str) -> None:
        os.kill(supervisor_pid(desk), signal.SIGKILL)

    ended = desk.sh("echo $$ > child; (setsid sleep 1000 & echo $! >> child); echo up; exec sleep 1000", on_line=kill)
    assert (ended.why, ended.exit, ended.tail_out) == ("lost", None, "up\n")
    found = re.search(r"(\d+) processes", ended.error)
    assert found and int(found[1]) >= 2, ended.error  # more if a shell had not become its command yet
    assert all(is_dead(pid) for pid in pids_in(desk.folder / "child"))
    assert desk.sh("echo next").tail_out == "next\n"


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Desk]:
    """One whose commands have pid namespaces of their own."""
    if not (before := supervise.own_pids()):
        pytest.skip("this machine allows no pid namespace")
    desk = Desk(tmp_path, before=before)
    yield desk
    desk.supervisor.close()
    desk.kids.close()


def test_a_command_in_a_pid_namespace_ends_like_any_other(apart: Desk) -> None:
    ended = apart.sh("echo $PPID; cat; exit 3", stdin=os.devnull)
    assert (ended.exit, ended.why, ended.tail_out) == (3, "exited", "1\n")
    stopped = apart.sh("trap 'echo bye; exit 4' TERM; while :; do sleep 0.02; done", limits=Limits(0.3))
    assert (stopped.exit, stopped.why, stopped.tail_out) == (4, "timeout", "bye\n")
    assert apart.sh("exec sleep 1000", limits=Limits(0.1)).seconds < 4, "TERM ends it, not the KILL after the grace"


def test_in_a_pid_namespace_a_daemon_without_a_trace_dies_with_its_lost_supervisor(apart: Desk) -> None:
    name = f"1000.{os.getpid()}"
    daemon = DAEMON.replace('["sleep", "1000"]', f'["sleep", "{name}"]')
    alive = lambda: [p for p in os.listdir("/proc") if p.isdigit() and name in command_of(p) and "sleep\0" in command_of(p)]  # noqa: E731

    def kill(stream: str, text: str) -> None:
        if text == "up":  # the namespace's shell may say afterwards that its child was killed
            wait_for(alive)
            os.kill(supervisor_pid(apart), signal.SIGKILL)

    ended = apart.py(daemon + "\nprint('up', flush=True); os.read(os.pipe()[0], 1)", str(apart.folder / "pids"), on_line=kill)
    assert ended.why == "lost" and not alive()


def test_a_stopped_supervisor_costs_the_step_and_nothing_else(hasty: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "KILLED_WITHIN", 0.2)
    monkeypatch.setattr(supervise, "CLOSED_WITHIN", 0.2)
    ended = hasty.sh(
        "echo $$ > child; echo up; exec sleep 1000",
        limits=Limits(0.3),
        on_line=lambda *_: os.kill(supervisor_pid(hasty), signal.SIGSTOP),
    )
    assert (ended.why, ended.exit) == ("timeout", None)
    assert is_dead(pids_in(hasty.folder / "child")[0])
    assert hasty.sh("echo next").tail_out == "next\n"


def test_signals_to_the_supervisor_change_nothing(desk: Desk) -> None:
    def poke(stream: str, text: str) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(supervisor_pid(desk), number)

    ended = desk.sh("echo up; sleep 0.2; echo still", on_line=poke)
    assert (ended.why, ended.tail_out) == ("exited", "up\nstill\n")


FLOODS = {
    "200 MB of lines": "yes 'what an ordinary program says while it works on something' | head -c 200000000",
    "one line of 100 MB": "head -c 100000000 /dev/zero | tr '\\0' x",
    "100 MB of noise": "head -c 100000000 /dev/urandom",
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_is_read_within_bounds_and_what_is_left_out_is_counted(tmp_path: Path, flood: str) -> None:
    peak, lines = flooded(tmp_path, flood + "; echo; echo the end", 60)
    assert peak < 150 * 1024, "kB of memory"
    assert lines[-1] == "the end"
    assert any("bytes of output were left out" in text for text in lines)
    assert sum(f.stat().st_size for f in (tmp_path / "log").iterdir()) < 80 * 1024 * 1024


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_ten_gigabytes_are_read_within_bounds(tmp_path: Path) -> None:
    peak, lines = flooded(tmp_path, "yes | head -c 10000000000; echo the end", 600)
    assert peak < 150 * 1024
    assert lines[-1] == "the end"


def flooded(folder: Path, command: str, seconds: float) -> tuple[int, list[str]]:
    """Run a command in a runner of its own; that runner's peak of memory in kB, and the short lines of the log."""
    program = """
import os, sys
from kin.runner.process.logs import StepLog
from kin.runner.process.mask import make_mask
from kin.runner.process.signals import Cancel
from kin.runner.process.supervise import Limits, Supervisor
from kin.store.locks import lock_path, try_lock
folder, command = sys.argv[1:]
mask = make_mask({}, [])
kids = try_lock(lock_path(folder, "KIN-1.kids"))
with Supervisor(run="r", kids=kids, cancel=Cancel(), mask=mask) as supervisor, StepLog(folder + "/log", "1", mask) as log:
    argv = ["/bin/sh", "-c", command]
    ended = supervisor.run(argv, cwd="/", env=os.environ, limits=Limits(900), log=log, on_line=lambda *_: None)
assert (ended.why, ended.exit) == ("exited", 0), ended
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), command], capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stderr
    lines = [line.text for line in read_lines(str(folder / "log")) if line.stream == "kin" or len(line.text) < 20]
    return int(done.stdout), lines
