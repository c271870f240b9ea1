"""From the start of `kin stop` until every process of the run that it ends is gone, its agent being well behaved.

    python bench/stop.py [--times 20]

The whole command counts, Python's start too. The bound is 100 ms (median). Exit 1 if it does not hold.
"""

import argparse
import os
import select
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ground import Repo, environment, fresh, pids_with, scratch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from conftest import task_text, wait_for

BOUND = 100.0
KIN = (sys.executable, "-m", "kin")


def one(repo: Repo, number: int, folder: Path) -> float:
    """Milliseconds until runner, supervisor and agent of one detached run are gone."""
    task, ready = f"KIN-{number}", folder / f"ready-{number}"
    repo.write(f".kin/tasks/{task}.yaml", task_text(task, pipeline=f"\n  - run: touch {ready}; exec sleep 1000"))
    subprocess.run([*KIN, "run", task, "--detach", "--quiet"], cwd=repo.path, check=True)
    wait_for(ready.exists, seconds=60)
    pidfds = [os.pidfd_open(pid) for pid in pids_with(str(folder))]
    assert len(pidfds) >= 3, "runner, supervisor and agent"
    began = time.perf_counter()
    stop = subprocess.Popen([*KIN, "stop", task, "--quiet"], cwd=repo.path)
    for fd in pidfds:
        assert select.select([fd], [], [], 30)[0]
    took = (time.perf_counter() - began) * 1000
    assert stop.wait() == 0
    for fd in pidfds:
        os.close(fd)
    return took


def main() -> int:
    """Stop one run after another."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--times", type=int, default=20)
    asked = words.parse_args()
    with scratch() as folder:
        environment(folder / "home")
        repo = fresh(folder / "repo")
        repo.write(".kin/kin.yaml", "format: 1\n\nkey: KIN\n")
        repo.commit("settings")
        times = sorted(one(repo, n + 1, folder) for n in range(asked.times))
    print(f"kin stop until all is gone: median {statistics.median(times):.0f} ms (bound: {BOUND:.0f}), max {times[-1]:.0f}")
    return 0 if statistics.median(times) <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
