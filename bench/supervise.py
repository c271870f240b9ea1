"""What the supervisor costs, and how fast all that it started is gone.

    python bench/supervise.py [--steps 200] [--kills 30] [--gigabytes 0]

Prints milliseconds: a step of `true` through the supervisor (masked, logged) and a bare spawn of it, in turn; from `kill -9` of
a runner, and from SIGTERM to it, until every process of its agent is dead and the kids lock is free, for a family with plain
children, sessions and hidden daemons, and for one that forks away every 2 ms; and, if asked for, how long a flood takes.
"""

import argparse
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kin.runner.process.logs import StepLog
from kin.runner.process.mask import make_mask
from kin.runner.process.reap import find_leftovers
from kin.runner.process.signals import Cancel
from kin.runner.process.supervise import Limits, Supervisor
from kin.store.locks import is_held, lock_path, try_lock

RUN = "20261124T093200Z-bench"
MARK = "sleep\x001717.17\x00"

RUNNER = """
import sys
from kin.runner.process.signals import Cancel
from kin.runner.process.supervise import Limits, Supervisor
from kin.store.locks import lock_path, try_lock
run, folder, agent = sys.argv[1:]
kids = try_lock(lock_path(folder, "KIN-1.kids"), run=run)
with Cancel() as cancel, Supervisor(run=run, kids=kids, cancel=cancel, mask=str) as supervisor:
    argv = [sys.executable, "-S", "-c", agent, folder + "/ready"]
    supervisor.run(argv, cwd="/", env={"KIN_RUN": run}, limits=Limits(600))
"""

FAMILY = """
import os, subprocess, sys, time
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 256)
            os.execve("/bin/sleep", ["sleep", "1717.17"], {})
        os._exit(0)
    os.wait()
for _ in range(3):
    daemon()
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    subprocess.Popen(["sh", "-c", "sleep 1000; true"], env={})
open(sys.argv[1], "w").close()
time.sleep(1000)
"""

RUNAWAY = """
import os, sys, time
open(sys.argv[1], "w").close()
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.002)
"""
RUNAWAY = f"import os, time\nif os.fork():\n    time.sleep(1000)\n{RUNAWAY}"


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def steps(folder: str, count: int) -> None:
    """A step against a spawn, and the first step, which waits for the supervisor's own start."""
    mask = make_mask({"TOKEN": "hunter2-secret"}, ["TOKEN"])
    kids = try_lock(lock_path(folder, "KIN-2.kids"), run=RUN)
    assert kids
    argv, environ = ["true"], dict(os.environ)
    with StepLog(f"{folder}/log", "1", mask) as log:
        supervisor = Supervisor(run=RUN, kids=kids, cancel=Cancel(), mask=mask)

        def step() -> None:
            supervisor.run(argv, cwd=folder, env=environ, limits=Limits(60), log=log)

        def spawn() -> None:
            subprocess.run(argv, cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True)

        first = timed(step)
        pairs = [(timed(step), timed(spawn)) for _ in range(count)]
        supervisor.close()
    kids.close()
    through, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"step {through:.2f}  spawn {bare:.2f}  difference {through - bare:.2f}  first step {first:.1f}")


def ends(folder: str, name: str, agent: str, number: int, count: int) -> None:
    """From a signal to the runner until all is gone: no process of the tree is alive and the lock is free."""
    times = [one_end(folder, agent, number) for _ in range(count)]
    times.sort()
    print(f"{name}: median {statistics.median(times):.1f}  99 of 100 {times[-1 - len(times) // 100]:.1f}  max {times[-1]:.1f}")


def one_end(folder: str, agent: str, number: int) -> float:
    ready, kids = Path(folder, "ready"), lock_path(folder, "KIN-1.kids")
    ready.unlink(missing_ok=True)
    os.mkfifo(ready)
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, RUN, folder, agent])
    ready.read_text()  # until the agent has opened and closed it
    with open(f"/proc/{runner.pid}/task/{runner.pid}/children") as children:
        supervisor = os.pidfd_open(int(children.read().split()[0]))
    began = time.perf_counter()
    runner.send_signal(number)
    assert select.select([supervisor], [], [], 30)[0], "it ends, and it ends last"
    took = (time.perf_counter() - began) * 1000
    os.close(supervisor)
    runner.wait()
    assert not is_held(kids)
    assert not find_leftovers(kids, RUN)
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and command_of(pid) == MARK], "daemons without a trace too"
    return took


def command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def flood(folder: str, gigabytes: float) -> None:
    """How long it takes to read that much, and the runner's peak of memory."""
    mask = make_mask({}, [])
    kids = try_lock(lock_path(folder, "KIN-3.kids"), run=RUN)
    assert kids
    argv = ["/bin/sh", "-c", f"yes | head -c {int(gigabytes * 1e9)}"]
    with (
        Supervisor(run=RUN, kids=kids, cancel=Cancel(), mask=mask) as supervisor,
        StepLog(f"{folder}/log", "2", mask) as log,
    ):
        took = timed(lambda: supervisor.run(argv, cwd=folder, env=os.environ, limits=Limits(3600), log=log))
    kids.close()
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    print(f"{gigabytes} GB in {took / 1000:.1f} s, peak of memory {peak / 1024:.0f} MB")


def main() -> None:
    """Measure all, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--gigabytes", type=float, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps(folder, asked.steps)
        ends(folder, "runner killed, family", FAMILY, signal.SIGKILL, asked.kills)
        ends(folder, "runner killed, forks away", RUNAWAY, signal.SIGKILL, asked.kills)
        ends(folder, "runner told TERM, family", FAMILY, signal.SIGTERM, asked.kills)
        if asked.gigabytes:
            flood(folder, asked.gigabytes)


if __name__ == "__main__":
    main()
