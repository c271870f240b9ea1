"""A disk that is full at every moment of a task's way: nothing is lost, and with room again one more run ends it.

    python bench/full_disk.py [--step 4] [--upto 320]

The repository, the worktrees and kin's own folders lie on a small file system in memory that has so many KiB left when `kin
run` begins: first none, then one block more each time, until a run goes through. Two steps, a gate and the merge; afterwards
room is made and `kin run` must bring the task to its end: merged once, finished steps not played again, nothing left. Prints
what is wrong, one line each, and the counts. Exit 1 if anything was. Needs root, or leave to mount in a user namespace.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from ground import environment, fresh, scratch
from killing import is_over, make, passages

SIZE = 24 * 1024
"""KiB of the file system."""


def leave(folder: Path, room: int) -> Path:
    """Fill the file system but for `room` KiB; the file that does it."""
    ballast = folder / "ballast"
    stat = os.statvfs(folder)
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, stat.f_bavail * stat.f_frsize - room * 1024))
    return ballast


def one(folder: Path, room: int) -> tuple[int, str]:
    """How a run with so much room ended, and what is wrong after one with enough."""
    shutil.rmtree(folder / "home", ignore_errors=True)
    environment(folder / "home", TMPDIR=str(folder))
    repo = fresh(folder / "repo")
    log = Path(f"{repo.path}.log")
    log.unlink(missing_ok=True)
    make(repo, "auto")
    ballast = leave(folder, room)
    first = repo.kin("run", "KIN-1", exit=None)
    if first.returncode and not first.stderr.strip() + first.stdout.strip():
        return first.returncode, "it failed and said nothing"
    ballast.unlink()
    last = repo.kin("run", "KIN-1", exit=None)
    wrong = is_over(repo)
    if max(map(passages(repo).count, ("one", "two"))) > 2:
        wrong.append(f"steps were played more than twice: {passages(repo)}")
    if last.returncode:
        wrong.append(f"exit {last.returncode}\n{last.stdout}{last.stderr}")
    if wrong:
        wrong.append(f"first run: exit {first.returncode}\n{first.stdout}{first.stderr}")
    return first.returncode, "; ".join(wrong)


def main() -> int:
    """Run with more and more room."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--step", type=int, default=4, help="KiB")
    words.add_argument("--upto", type=int, default=320, help="KiB")
    asked = words.parse_args()
    if "inside" not in os.environ:
        words = ["unshare", *(["-Ur"] if os.geteuid() else []), "-m", sys.executable, *sys.argv]
        return subprocess.run(words, env=dict(os.environ) | {"inside": "1"}).returncode
    bad, ends = 0, Counter[int]()
    with scratch() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}k", "tmpfs", str(folder)], check=True)
        for room in range(0, asked.upto, asked.step):
            code, wrong = one(folder, room)
            ends[code] += 1
            if wrong:
                print(f"{room} KiB left: {wrong}", flush=True)
                bad += 1
        subprocess.run(["umount", str(folder)], check=True)
    print(f"{sum(ends.values())} full disks, exits {dict(ends)}: {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
