"""CI jobs against one bare remote: eight at once, jobs that are ended at spread moments, two with the same task.

    python bench/ci.py [--jobs 8] [--moments 20] [--grace 10] [--only crowd,ends,twice]

Each job is a depth-1 clone with a detached HEAD of its own. Looked at is only what the remote has afterwards, what the steps
and gates left in a log, and exit codes. Prints what is wrong, one line each, and the counts. Exit 1 if anything was.
With a grace shorter than a push, the step that ended just before it is paid again: nobody else can know of it.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from ground import environment, fresh, scratch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from conftest import task_text, wait_for
from hosts import Remote

STEPS = ("one", "two", "three")
CLAIM = "refs/kin/claims/KIN-1"


def remote_with(folder: Path, tasks: int, seconds: float) -> Remote:
    """A bare remote with so many tasks of three steps that take so long and log their end, and a gate that logs what it saw."""
    repo, log = fresh(folder / "origin"), folder / "log"
    for n in range(1, tasks + 1):
        steps = "".join(
            f"\n  - role: developer\n    run: {json.dumps(f'echo {w} > {w}{n}.txt; sleep {seconds}; echo {n}-{w} >> {log}')}"
            for w in STEPS
        )
        repo.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", pipeline=steps))
    gate = json.dumps(f"echo $(ls *.txt) >> {folder}/gates; sleep {seconds}")
    repo.write(".kin/kin.yaml", f"format: 1\n\nkey: KIN\n\nmode: auto\n\ngates:\n  - {gate}\n")
    repo.commit("tasks")
    repo.commit("so that depth 1 is less than all")
    repo.git("clone", "-q", "--bare", str(repo.path), str(folder / "remote.git"))
    remote = Remote(folder / "remote.git")
    remote.git("config", "core.logAllRefUpdates", "always")
    return remote


def start(remote: Remote, name: str, task: str) -> "subprocess.Popen[str]":
    """A job that runs `task` in a new clone."""
    job = remote.job(name)
    words = [sys.executable, "-m", "kin", "run", task, "--push", "--json"]
    return subprocess.Popen(words, cwd=job.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def paid(folder: Path) -> Counter[str]:
    log = folder / "log"
    return Counter(log.read_text().split()) if log.exists() else Counter()


def look(remote: Remote, folder: Path, tasks: int) -> list[str]:
    """What is wrong on the remote once all tasks are over."""
    wrong = [f"KIN-{n} is {said}" for n in range(1, tasks + 1) if (said := remote.status_of(f"KIN-{n}")) != "done"]
    merges = remote.git("log", "--first-parent", "--format=%H", "--grep=^Kin-Task", "main").splitlines()
    wrong += [f"{len(merges)} merges of {tasks} tasks"] if len(merges) != tasks else []
    wrong += [f"{step} was paid {times} times" for step, times in paid(folder).items() if times > 1]
    seen = {" ".join(sorted(line.split())) for line in (folder / "gates").read_text().splitlines()}
    for merge in merges:
        names = " ".join(sorted(n for n in remote.git("ls-tree", "--name-only", merge).split() if n.endswith(".txt")))
        wrong += [] if names in seen else [f"{merge[:12]} landed ungated"]
    moves = remote.git("log", "-g", "--format=%H", "main").splitlines()
    for new, old in pairwise(moves):
        if subprocess.run(["git", "merge-base", "--is-ancestor", old, new], cwd=remote.path).returncode:
            wrong.append(f"forced from {old[:12]} to {new[:12]}")
    return wrong + [f"left: {ref}" for ref in remote.kins()]


def crowd(folder: Path, jobs: int) -> list[str]:
    """As many jobs as tasks, all at once."""
    remote = remote_with(folder, jobs, 0.05)
    with ThreadPoolExecutor(jobs) as pool:
        started = list(pool.map(lambda n: start(remote, f"job{n}", f"KIN-{n}"), range(1, jobs + 1)))
    ended = [(job.communicate()[0], job.returncode) for job in started]
    wrong = [f"exit {code}: {said.strip()[-300:]}" for said, code in ended if code]
    gates = len((folder / "gates").read_text().splitlines())
    print(f"crowd: {jobs} jobs, {gates} passages of the gates, {len(wrong)} exits that are not 0")
    return wrong + look(remote, folder, jobs)


def over(remote: Remote) -> None:
    """Make a killed job's claim one that ran out: nobody wants to wait for that."""
    text = "x\n\nKin-Until: 2020-01-01T00:00:00Z"
    remote.git("update-ref", CLAIM, remote.git("commit-tree", "-m", text, "-p", CLAIM, f"{CLAIM}^{{tree}}"))


def ends(folder: Path, moments: int, grace: float) -> list[str]:
    """Jobs that get SIGTERM at spread moments, SIGKILL if they do not end; another clone's job goes on."""
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    whole = 0.0  # seconds from the claim to the end, of a first job that is left alone
    for moment in range(moments + 1):
        here = folder / str(moment)
        here.mkdir()
        remote = remote_with(here, 1, 0.3)
        job = start(remote, "job", "KIN-1")
        wait_for(lambda remote=remote, job=job: remote.kins() or job.poll() is not None)
        began = time.monotonic()
        try:
            job.wait(whole * (moment - 0.5) / moments if moment else None)
        except subprocess.TimeoutExpired:
            job.send_signal(signal.SIGTERM)
        whole = whole or time.monotonic() - began
        began = time.monotonic()
        try:
            job.communicate(timeout=grace)
        except subprocess.TimeoutExpired:
            job.kill()
            job.communicate()
            counts["killed"] += 1
        if CLAIM in remote.kins():
            over(remote)
        counts[f"first exit {job.returncode}"] += 1
        counts[f"{sum(paid(here).values())} steps before"] += 1
        counts["slowest end, ms"] = max(counts["slowest end, ms"], int(1000 * (time.monotonic() - began)))
        after = start(remote, "next", "KIN-1")
        said = after.communicate()[0]
        wrong += [f"{moment}: the next job: exit {after.returncode}: {said.strip()[-300:]}"] if after.returncode else []
        wrong += [f"{moment}: {line}" for line in look(remote, here, 1)]
    print("ends:", ", ".join(f"{name}: {number}" for name, number in sorted(counts.items())))
    return wrong


def twice(folder: Path, jobs: int) -> list[str]:
    """All jobs with the same task: one does it, the others say whose it is or that it is done."""
    remote = remote_with(folder, 1, 0.3)
    with ThreadPoolExecutor(jobs) as pool:
        started = list(pool.map(lambda n: start(remote, f"job{n}", "KIN-1"), range(jobs)))
    ended = [(job.communicate()[0], job.returncode) for job in started]
    codes = Counter(code for _, code in ended)
    print("twice:", ", ".join(f"{number} with exit {code}" for code, number in sorted(codes.items())))
    wrong = [f"exit {code}: {said.strip()[-300:]}" for said, code in ended if code not in (0, 6)]
    return wrong + look(remote, folder, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--grace", type=float, default=10.0, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("--only", default="crowd,ends,twice")
    asked = parser.parse_args()
    wrong: list[str] = []
    with scratch() as folder:
        environment(folder / "home", CI="woodpecker", CI_COMMIT_BRANCH="main", CI_PIPELINE_URL="https://ci.example/1")
        for name, number in (("crowd", asked.jobs), ("ends", asked.moments), ("twice", asked.jobs)):
            if name in asked.only.split(","):
                (folder / name).mkdir()
                more = (asked.grace,) if name == "ends" else ()
                wrong += [f"{name}: {line}" for line in globals()[name](folder / name, number, *more)]
    for line in wrong:
        print(f"WRONG {line}")
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
