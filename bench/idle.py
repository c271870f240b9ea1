"""What five detached runs cost while their agents say nothing: share of a core and memory of kin's own processes.

    python bench/idle.py [--minutes 60] [--runs 5]

Bounds: together below 1 % of a core, each runner below 45 MB. Exit 1 if one does not hold.
"""

import argparse
import os
import sys
import threading
from pathlib import Path

from ground import environment, fresh, pids_with, scratch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from conftest import task_text, wait_for

TICK = os.sysconf("SC_CLK_TCK")


def spent(pid: int) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(pid: int) -> float:
    """Megabytes in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def main() -> int:
    """Start them, wait, look."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--minutes", type=float, default=60)
    words.add_argument("--runs", type=int, default=5)
    asked = words.parse_args()
    with scratch() as folder:
        environment(folder / "home", FRESH_KIN="1")  # the memory of a kin that was started as people start it
        repo = fresh(folder / "repo")
        repo.write(".kin/kin.yaml", "format: 1\n\nkey: KIN\n\nmode: auto\n")
        tasks = [f"KIN-{n}" for n in range(1, asked.runs + 1)]
        for task in tasks:
            step = f"\n  - run: touch {folder}/{task}; exec sleep 100000\n    timeout: 20h"
            repo.write(f".kin/tasks/{task}.yaml", task_text(task, pipeline=step))
        repo.commit("tasks")
        for task in tasks:
            repo.kin("run", task, "--detach")
        wait_for(lambda: all((folder / task).exists() for task in tasks), 60)
        mark = f"KIN_DIR={repo.path}/.kin\0"
        agents = set(pids_with(mark))
        own = [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) not in agents and _is_ours(int(p), str(folder))]
        before = {pid: spent(pid) for pid in own}
        threading.Event().wait(asked.minutes * 60)
        used = sum(spent(pid) - before[pid] for pid in own)
        largest = max(resident(pid) for pid in own)
        share = 100 * used / (asked.minutes * 60)
        for task in tasks:
            repo.kin("stop", task, exit=None)
    print(f"{len(own)} processes of {asked.runs} runs, {asked.minutes:g} minutes: {share:.3f} % of a core, <= {largest:.1f} MB")
    return int(share >= 1 or largest >= 45)


def _is_ours(pid: int, folder: str) -> bool:
    """A runner or a supervisor of the campaign: its home lies in our folder."""
    try:
        return pid != os.getpid() and f"HOME={folder}/home".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
