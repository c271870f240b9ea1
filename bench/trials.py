"""Five pipelines run while one of them is given a fault that does not respect kin; the other four must not notice.

    python bench/trials.py [--only stopped,full] [--stopped 3] [--rounds 1]

Each trial is five `kin run` of three steps, in processes of their own; the fault falls on one when its second step is at
work. Beside each trial the same is run without a fault, and the other four's times are compared. Afterwards what the fault
broke is mended as a person would, and one `kin run` must bring the fifth to its end: merged once, all that its agents wrote on
some ref, no process, lock file, worktree or record left. Prints a line a trial; exit 1 if anything is wrong. Needs root for
the full disk and the read-only folder, `unshare` for the pid namespace, and libfaketime for the clock; says what it left out.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ground import Repo, environment, fresh, left, scratch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from conftest import task_text, wait_for

from kin.store import locks

TASKS = [f"KIN-{n}" for n in range(1, 6)]
VICTIM = "KIN-3"
STEP = (
    "mkdir -p {task}; echo > {task}/{step}-$$; echo {task}/{step}-$$ >> {names}; touch {up}/{task}-{step}; sleep 0.5; "
    "while test -e {up}/{task}-{step}-holds; do sleep 0.05; done; touch {task}/{step}"
)
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


class Ground(NamedTuple):
    """A project under trial: its repository, where steps say that they are at work, what they wrote, the worktrees."""

    repo: Repo
    up: Path
    names: Path
    state: Path
    stopped: float

    @property
    def small(self) -> Path:
        """A state folder for the fifth alone, which may lie on a small disk."""
        return self.state.parent / "small"

    @property
    def worktree(self) -> Path:
        """The fifth's worktree."""
        return next(path for state in (self.state, self.small) for path in state.glob(f"kin/worktrees/*/{VICTIM}"))

    @property
    def pid(self) -> int:
        """The fifth's runner."""
        who = locks.holder(str(self.repo.path / ".git/kin/locks" / VICTIM))
        assert who is not None
        return who.pid


class Fault(NamedTuple):
    """`fall` happens while the second step is at work, `mend` before the last `kin run`.

    `env` is the victim's own, `wraps` words before its command line, `may` what its first run may end with. If the fault
    `takes` what the second step wrote, that is gone for good.
    """

    name: str
    fall: Callable[[Ground], object] = lambda ground: None
    mend: Callable[[Ground], object] = lambda ground: None
    env: Callable[[Ground], dict[str, str]] = lambda ground: {}
    may: tuple[int, ...] = (0,)
    wraps: tuple[str, ...] = ()
    can: Callable[[], bool] = lambda: True
    takes: bool = False


def refused(ground: Ground, *words: str) -> None:
    """A live run is nobody's to take: another kin is told so, and a doctor leaves it alone."""
    done = subprocess.run([sys.executable, "-m", "kin", *words], cwd=ground.repo.path, capture_output=True, text=True)
    assert done.returncode == 6, f"kin {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"


def stop_a_while(ground: Ground) -> None:
    """SIGSTOP, and SIGCONT later: a run that stands still lives, and nobody takes it over."""
    pid = ground.pid
    os.kill(pid, signal.SIGSTOP)
    refused(ground, "run", VICTIM)
    ground.repo.kin("doctor", "--fix", exit=None)
    threading.Event().wait(ground.stopped)
    refused(ground, "run", VICTIM)
    os.kill(pid, signal.SIGCONT)


def delete_branch(ground: Ground) -> None:
    ground.repo.git("update-ref", "-d", f"refs/heads/kin/{VICTIM}")


def other_git(ground: Ground) -> None:
    """An index.lock that another git left in the fifth's worktree."""
    gitdir = ground.repo.git("rev-parse", "--absolute-git-dir", cwd=ground.worktree)
    (Path(gitdir) / "index.lock").write_text("")


def collect_garbage(ground: Ground) -> None:
    ground.repo.git("reflog", "expire", "--expire-unreachable=now", "--all")
    ground.repo.git("gc", "-q", "--prune=now")


def fill(ground: Ground) -> None:
    """Leave no room on the small file system where the fifth's worktree lies."""
    with contextlib.suppress(OSError), open(ground.small / "ballast", "wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


def clock(ground: Ground, moved: str) -> None:
    (ground.up / "clock").write_text(f"{moved}\n")


def fake_clock(ground: Ground) -> dict[str, str]:
    clock(ground, "+0")
    more = {"FAKETIME_TIMESTAMP_FILE": str(ground.up / "clock"), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}
    return {"LD_PRELOAD": FAKETIME, **more}


def in_a_container(ground: Ground) -> None:
    """Seen from outside a pid namespace the runner's pid is a stranger's: the lock alone says that it lives."""
    refused(ground, "run", VICTIM)
    refused(ground, "stop", VICTIM)
    ground.repo.kin("doctor", "--fix", exit=None)
    refused(ground, "run", VICTIM)


UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")

FAULTS = (
    Fault("killed", lambda g: os.kill(g.pid, signal.SIGKILL), may=(-9,)),
    Fault("group killed", lambda g: os.killpg(g.pid, signal.SIGKILL), may=(-9,)),
    Fault("stopped", stop_a_while),
    Fault("worktree deleted", lambda g: shutil.rmtree(g.worktree), may=(0, 1), takes=True),
    Fault("branch deleted", delete_branch, may=(0, 1)),
    Fault(
        "index locked",
        other_git,
        lambda g: [p.unlink() for p in (g.repo.path / ".git/worktrees").rglob("index.lock")],
        may=(0, 1, 7),
    ),
    Fault("garbage collected", collect_garbage),
    Fault("clock a day on", lambda g: clock(g, "+1d"), env=fake_clock, can=lambda: os.path.exists(FAKETIME)),
    Fault("clock a day back", lambda g: clock(g, "-1d"), env=fake_clock, can=lambda: os.path.exists(FAKETIME)),
    Fault(
        "disk full",
        fill,
        lambda g: [path.unlink() for path in g.small.rglob("ballast")],
        env=lambda g: {"XDG_STATE_HOME": str(g.small)},
        may=(0, 1, 4, 7),
        can=lambda: os.geteuid() == 0,
    ),
    Fault("in a container", in_a_container, wraps=UNSHARE, can=lambda: os.geteuid() == 0),
)


def make(folder: Path, stopped: float) -> Ground:
    """A fresh project of five tasks."""
    shutil.rmtree(folder, ignore_errors=True)
    ground = Ground(fresh(folder / "repo"), folder / "up", folder / "names", Path(os.environ["XDG_STATE_HOME"]), stopped)
    ground.up.mkdir()
    gate = 'for d in KIN-*; do test -e "$d/1" -a -e "$d/2" -a -e "$d/3" || exit 1; done'
    ground.repo.write(".kin/kin.yaml", f"format: 1\n\nkey: KIN\n\nmode: auto\n\ngates:\n  - {json.dumps(gate)}\n")
    for task in TASKS:
        steps = (STEP.format(task=task, step=n, names=ground.names, up=ground.up) for n in (1, 2, 3))
        pipeline = "".join(f"\n  - role: developer\n    run: {json.dumps(step)}" for step in steps)
        ground.repo.write(f".kin/tasks/{task}.yaml", task_text(task, pipeline=pipeline))
    ground.repo.commit("tasks")
    return ground


def five(ground: Ground, fault: Fault | None) -> tuple[dict[str, int], dict[str, float]]:
    """Exit codes and seconds of five runs side by side, the fault falling on one of them."""
    with ThreadPoolExecutor(len(TASKS) + 1) as threads:
        if fault:
            (ground.up / f"{VICTIM}-2-holds").touch()
        runs = {task: threads.submit(one, ground, task, fault if task == VICTIM else None) for task in TASKS}
        if fault:
            threads.submit(befall, ground, fault).result()
        ends = {task: run.result() for task, run in runs.items()}
    return {task: code for task, (code, _) in ends.items()}, {task: seconds for task, (_, seconds) in ends.items()}


def one(ground: Ground, task: str, fault: Fault | None) -> tuple[int, float]:
    """Exit code and seconds of one run."""
    argv = [*(fault.wraps if fault else ()), sys.executable, "-m", "kin", "run", task]
    env, began = dict(os.environ) | (fault.env(ground) if fault else {}), time.monotonic()
    with open(ground.up / f"{task}.said", "wb") as out:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, "start_new_session": True}
        code = subprocess.run(argv, cwd=ground.repo.path, env=env, **quiet).returncode
    return code, time.monotonic() - began


def befall(ground: Ground, fault: Fault) -> None:
    """Wait until the fifth's second step is at work, and let the fault fall."""
    wait_for(lambda: (ground.up / f"{VICTIM}-2").exists(), 60)
    try:
        fault.fall(ground)
    finally:
        (ground.up / f"{VICTIM}-2-holds").unlink()


def look(ground: Ground, gone: set[str]) -> list[str]:
    """What is wrong when all should be over; `gone` is what the fault itself took away."""
    repo = ground.repo
    landed = repo.git("log", "--first-parent", "--format=%(trailers:key=Kin-Task,valueonly)").split()
    wrong = [f"{task} was merged {landed.count(task)} times" for task in TASKS if landed.count(task) != 1]
    wrote = [name for name in ground.names.read_text().split() if name not in gone]
    found = {"changes": repo.status().splitlines(), **left(repo, wrote)}
    return wrong + [f"{kind}: {', '.join(map(str, those[:3]))}" for kind, those in found.items() if those]


def trial(folder: Path, fault: Fault, stopped: float) -> tuple[float, list[str]]:
    """The other four's time as a multiple of what they take without a fault, and what is wrong."""
    _, plain = five(make(folder, stopped), None)
    ground = make(folder, stopped)
    codes, seconds = five(ground, fault)
    others = [task for task in TASKS if task != VICTIM]
    wrong = [f"{task}: exit {codes[task]}" for task in others if codes[task]]
    said = (ground.up / f"{VICTIM}.said").read_text(errors="replace")
    if codes[VICTIM] not in fault.may or "Traceback" in said:
        wrong.append(f"{VICTIM}: exit {codes[VICTIM]}\n{said}")
    fault.mend(ground)
    if codes[VICTIM]:
        last = ground.repo.kin("run", VICTIM, exit=None, env=fault.env(ground))
        wrong += [f"not brought to its end: exit {last.returncode}\n{last.stdout}{last.stderr}"] if last.returncode else []
    ratio = statistics.median(seconds[t] for t in others) / statistics.median(plain[t] for t in others)
    gone = {name for name in ground.names.read_text().split() if fault.takes and name.startswith(f"{VICTIM}/2-")}
    return ratio, wrong + look(ground, gone)


@contextlib.contextmanager
def small_disk(path: Path, wanted: bool) -> Iterator[None]:
    """A file system of 8 MB at `path`."""
    path.mkdir(parents=True, exist_ok=True)
    if wanted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        if wanted:
            subprocess.run(["umount", str(path)], check=True)


def main() -> int:
    """Run the trials."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--only", default="", help="names of faults, with commas")
    words.add_argument("--stopped", type=float, default=3, help="seconds that the stopped runner stands still")
    words.add_argument("--rounds", type=int, default=1)
    asked = words.parse_args()
    only, bad = [name for name in asked.only.split(",") if name], 0
    with scratch() as folder:
        environment(folder / "home")
        for fault in FAULTS:
            if only and fault.name not in only:
                continue
            if not fault.can():
                print(f"{fault.name:18} left out: this machine cannot", flush=True)
                continue
            with small_disk(folder / "home/small", fault.name == "disk full"):
                done = [trial(folder / "trial", fault, asked.stopped) for _ in range(asked.rounds)]
            wrong = [line for _, lines in done for line in lines]
            ratio = statistics.median(ratio for ratio, _ in done)
            print(f"{fault.name:18} the others: {ratio:.2f} x  {'; '.join(wrong) or 'ok'}", flush=True)
            bad += bool(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
