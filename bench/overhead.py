"""What a step costs above spawning its command: 100 no-op steps through kin, each durable, against 100 bare spawns.

    python bench/overhead.py [--steps 100] [--pairs 5] [--folder DIR]

Prints the medians in milliseconds a step. A task with one step is run too and taken off, so that start-up, worktree and
merge do not count. The bound is 5 ms a step above the spawn. Beside it, what cannot be left out costs alone: one `git status`,
which finds out what the step did, and one file of a record's size that is durable when it has its name.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

COMMAND = ":"


def make(folder: Path, steps: int) -> Path:
    """A repository with one task of `steps` no-op steps."""
    repo = folder / f"steps-{steps}"
    git = ["git", "-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
    subprocess.run([*git, "init", "-q", "-b", "main", str(repo)], check=True)
    for key, value in (("user.name", "Bench"), ("user.email", "bench@example.org")):
        subprocess.run(["git", "config", key, value], cwd=repo, check=True)
    (repo / ".kin/tasks").mkdir(parents=True)
    (repo / ".kin/kin.yaml").write_text("format: 1\n\nkey: KIN\n\nmode: auto\n")
    listed = "".join(f'\n  - role: command\n    run: "{COMMAND}"' for _ in range(steps))
    (repo / ".kin/tasks/KIN-1.yaml").write_text(f"id: KIN-1\n\ntitle: Nothing\n\nstatus: todo\n\npipeline:{listed}\n")
    subprocess.run([*git, "add", "-A"], cwd=repo, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "a task"], cwd=repo, check=True)
    return repo


def run(template: Path, home: Path) -> float:
    """Seconds of `kin run` on a fresh copy, which stays to the end: some disks pass over what was deleted just before."""
    repo = Path(tempfile.mkdtemp(dir=template.parent)) / "copy"
    shutil.copytree(template, repo)
    env = dict(os.environ) | {"KIN_TRUST": "1", "KIN_ALLOW_WRITE": "1", "XDG_STATE_HOME": str(home)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "kin", "run", "KIN-1", "--quiet"], cwd=repo, env=env, check=True)
    return time.perf_counter() - start


def spawn(steps: int) -> float:
    """Seconds of as many bare spawns of the same command."""
    start = time.perf_counter()
    for _ in range(steps):
        subprocess.run(["/bin/sh", "-c", COMMAND], check=True, start_new_session=True)
    return time.perf_counter() - start


def statuses(repo: Path, times: int) -> float:
    """Seconds of as many bare `git status`."""
    start = time.perf_counter()
    for _ in range(times):
        subprocess.run(["git", "status", "--porcelain=v2", "-z"], cwd=repo, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def records(folder: Path, times: int, size: int = 14000) -> float:
    """Seconds of as many durable files of `size` bytes, each under the name of the last."""
    start = time.perf_counter()
    for _ in range(times):
        with open(folder / "new", "wb") as file:
            file.write(b"x" * size)
            file.flush()
            os.fsync(file.fileno())
        os.replace(folder / "new", folder / "record")
        fd = os.open(folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    return time.perf_counter() - start


def main() -> None:
    """Measure in turn, so that a machine that changes its speed changes all alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=99)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--folder", default=None)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=words.folder) as name:
        folder = Path(name)
        one, many = make(folder, 1), make(folder, 1 + words.steps)
        run(one, folder / "state")
        rows = []
        for _ in range(words.pairs):
            few, all_of_them = run(one, folder / "state"), run(many, folder / "state")
            alone = (f(words.steps) for f in (spawn, partial(statuses, many)))
            rows.append([seconds / words.steps * 1000 for seconds in (all_of_them - few, *alone)])
        # Last: each takes its name from one that is deleted by it, and a disk that passes over those would be slower for kin.
        record = statistics.median(records(folder, words.steps) / words.steps * 1000 for _ in range(words.pairs))
    step, bare, status = (statistics.median(column) for column in zip(*rows, strict=True))
    above = statistics.median(row[0] - row[1] for row in rows)
    print(
        f"a step through kin  {step:6.2f} ms\na bare spawn        {bare:6.2f} ms\n"
        f"above it            {above:6.2f} ms (bound: 5)\n"
        f"a bare git status   {status:6.2f} ms\na durable record    {record:6.2f} ms"
    )


if __name__ == "__main__":
    main()
