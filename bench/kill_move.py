"""Kills moves and their recovery at random moments, beside a person who edits and commits, and counts what it broke.

    python bench/kill_move.py --runs 200 --seed 1

A merge edits 300 files, adds 50 and deletes 50. In each run the mover, or the mover with every git it started, is killed
within the time that a move takes; in every third run the recovery is killed too. A run is wrong if a commit or an edit is
lost, if state and code disagree, if a lock or a temporary file is left, or if `git status` shows anything but the person's own.
Prints a line for each wrong run, and the counts. Exit 1 if there was one.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from kin.runner.merge.build import Built, Work, build_merge
from kin.runner.merge.move import Moved, move
from kin.runner.upkeep.watchdog import recover
from kin.store.project import find

RUN = "20261124T093200Z-7f3k"
TASK = ".kin/tasks/KIN-1.yaml"
TEXT = "id: KIN-1\n\ntitle: A task\n\nstatus: todo\n\npriority: 2\n"
LOOP = """i=0
while sleep 0.1 && [ ! -e ../stop ]; do
    i=$((i+1)); echo $i > mine
    git add mine && git commit -q -m mine -- mine && git rev-parse HEAD >> ../mine
done"""


class Person(NamedTuple):
    """What the person of a run does."""

    edits: bool
    commits: bool


def git(repo: Path, *arguments: str) -> str:
    """Standard output of git."""
    return subprocess.run(["git", *arguments], cwd=repo, check=True, capture_output=True, text=True).stdout.rstrip("\n")


def make_template(repo: Path) -> None:
    """400 files, a task, and a branch whose merge moves all of them."""
    repo.mkdir()
    git(repo, "init", "-q", "-b", "main")
    (repo / ".kin/tasks").mkdir(parents=True)
    (repo / ".kin/kin.yaml").write_text("key: KIN\n")
    (repo / TASK).write_text(TEXT)
    (repo / "src").mkdir()
    for n in range(350):
        (repo / f"src/f{n}").write_text(f"old {n}\n" * 50)
    (repo / "mine").write_text("0\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "first")
    git(repo, "switch", "-q", "-c", "kin/KIN-1")
    for n in range(300):
        (repo / f"src/f{n}").write_text(f"new {n}\n" * 50)
    for n in range(300, 350):
        (repo / f"src/f{n}").unlink()
    (repo / "added").mkdir()
    for n in range(50):
        (repo / f"added/f{n}").write_text(f"new {n}\n" * 50)
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "work")
    git(repo, "switch", "-q", "main")


def build(repo: Path) -> Built:
    """The merge onto wherever main is now."""
    files = {f"pipelines/KIN-1/{RUN}.yaml": b"run: 1\n", "decisions/D-1.yaml": b"id: D-1\n"}
    work = Work("refs/heads/main", "KIN-1", RUN, None, files)
    made = build_merge(find(str(repo), os.environ), work, git(repo, "rev-parse", "kin/KIN-1"), "A task")
    assert isinstance(made, Built)
    return made


def child(repo: Path, what: str) -> None:
    """The process that is killed: tries to move until it has, or recovers."""
    os.chdir(repo)
    project = find(str(repo), os.environ)
    if what == "recover":
        recover(project)
        return
    for _ in range(40):
        if isinstance(move(project, build(repo), message="kin: merge KIN-1"), Moved):
            return


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`."""
    found, new = [], [pid]
    while new:
        with contextlib.suppress(OSError):
            below = Path(f"/proc/{new.pop()}/task")
            children = [int(c) for task in below.iterdir() for c in (task / "children").read_text().split()]
            found += children
            new += children
    return found


def run_and_kill(repo: Path, what: str, seconds: float, everything: bool) -> float | None:
    """Start the child and kill it after `seconds`; None, or how long it took if it had ended by then."""
    started = get_context("fork").Process(target=child, args=(repo, what))
    begun = time.monotonic()
    started.start()
    started.join(seconds)
    if started.exitcode is not None:
        return time.monotonic() - begun
    assert started.pid
    os.kill(started.pid, signal.SIGSTOP)
    also = descendants(started.pid) if everything else []
    for pid in also:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    started.kill()
    started.join()
    return None


def faults(repo: Path, person: Person) -> list[str]:
    """What is wrong with the repository after recovery."""
    wrong = []
    head = {line.rstrip("\n") for line in git(repo, "rev-list", "HEAD").splitlines()}
    theirs = (repo.parent / "mine").read_text().split() if (repo.parent / "mine").exists() else []
    wrong += [f"commit {oid} lost" for oid in theirs if oid not in head]
    text, committed = (repo / TASK).read_text(), git(repo, "show", f"HEAD:{TASK}")
    merged = "status: done" in committed
    wrong += ["status of file and commit differ"] if ("status: done" in text) != merged else []
    wrong += ["hand edit lost"] if person.edits and "priority: 1" not in text else []
    wrong += ["code and state differ"] if git(repo, "show", "HEAD:src/f0").startswith("new") != merged else []
    shown = [line[3:] for line in git(repo, "status", "--porcelain").splitlines()]
    allowed = {"mine", *([TASK] if person.edits else [])}
    wrong += [f"status shows {path}" for path in shown if path not in allowed]
    for folder, _, names in os.walk(repo):
        litter = [n for n in names if n.endswith((".lock", ".tmp")) or n.startswith("kin-") or folder.endswith("journal")]
        wrong += [f"{folder}/{name} is left" for name in litter if not name.startswith(".move-")]
    return wrong


def one_run(template: Path, folder: Path, dice: random.Random, counts: Counter[str], usual: float) -> list[str]:
    """One repository, one person, one or two kills, one recovery. `usual` is how long an undisturbed move takes, in seconds."""
    repo = folder / "repo"
    shutil.copytree(template, repo)
    git(repo, "status")
    person = Person(dice.random() < 0.5, dice.random() < 0.6)
    if person.edits:
        (repo / TASK).write_text(TEXT.replace("priority: 2", "priority: 1"))
    loop = None
    if person.commits:
        loop = subprocess.Popen(
            ["sh", "-c", LOOP], cwd=repo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
    killed = run_and_kill(repo, "move", dice.uniform(0, 1.3 * usual), dice.random() < 0.5) is None
    counts["killed" if killed else "ended by itself"] += 1
    if killed and dice.random() < 0.33:
        counts["recovery killed"] += run_and_kill(repo, "recover", dice.uniform(0, usual), dice.random() < 0.5) is None
    said = recover(find(str(repo), os.environ))
    counts.update(f"recovered: {line.partition('cut short: ')[2].partition(';')[0] or line}" for line in said)
    if loop:
        (folder / "stop").touch()
        loop.wait()
    wrong = faults(repo, person)
    if not wrong and "status: done" not in git(repo, "show", f"HEAD:{TASK}"):
        done = move(find(str(repo), os.environ), build(repo), message="again")
        wrong = faults(repo, person) if isinstance(done, Moved) else [f"cannot move afterwards: {done}"]
        counts["moved afterwards"] += 1
    return wrong


def usual_seconds(template: Path, folder: Path) -> float:
    """How long one undisturbed move takes: kills must fall within it."""
    shutil.copytree(template, folder / "repo")
    lived = run_and_kill(folder / "repo", "move", 60.0, False)
    assert lived is not None
    return lived


def main() -> int:
    """Run the campaign."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--runs", type=int, default=50)
    words.add_argument("--seed", type=int, default=1)
    asked = words.parse_args()
    for n, (key, value) in enumerate({"user.name": "Ada", "user.email": "ada@example.org", "gc.auto": "0"}.items()):
        os.environ |= {f"GIT_CONFIG_KEY_{n}": key, f"GIT_CONFIG_VALUE_{n}": value, "GIT_CONFIG_COUNT": str(n + 1)}
    counts: Counter[str] = Counter()
    broken = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as base:
        template = Path(base) / "template"
        make_template(template)
        with tempfile.TemporaryDirectory(dir=base) as folder:
            usual = usual_seconds(template, Path(folder))
        for number in range(asked.runs):
            seed = asked.seed * 100_000 + number
            with tempfile.TemporaryDirectory(dir=base) as folder:
                for line in one_run(template, Path(folder), random.Random(seed), counts, usual):
                    broken += 1
                    print(f"run {seed}: {line}")
    print(f"{asked.runs} runs, seed {asked.seed}: {broken} wrong; " + ", ".join(f"{v} {k}" for k, v in sorted(counts.items())))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
