"""Kills kin at every kill point of its commands and of recovery itself; one more command must bring the task to its end.

    python bench/kill_points.py [--processes 2] [--only run,undo] [--pairs 60] [--seed 1]

Kill points are compiled into kin (kin/faults.py). The runner alone and its whole process group are killed in turn; in every
third run a person has unrelated edits (staged, unstaged, untracked) in the checkout. Every step leaves a file with a name of
its own, committed by the agent itself or not: each must be found in the end, on the target or under a salvage ref. Prints
what is wrong, one line each, and the counts. Exit 1 if anything was.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ground import Repo, environment, fresh, pids_with, scratch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from conftest import task_text, wait_for
from killing import killed

TASK = ".kin/tasks/KIN-1.yaml"
KINDS = ("wedged", "lost commits", "lost files", "merged twice", "processes left", "worktrees left", "litter")
LEAVE = "n={step}-$$; echo work > $n; echo {step} > {step}.txt; echo $n >> {names}"
HANG = "test -e {go} || {{ touch {up}; exec cat {fifo}; }}"


class Fault(NamedTuple):
    """Something that kin must never do: its kind, and what was seen."""

    kind: str
    text: str


class Case(NamedTuple):
    """A command to kill. `prepare` makes the state before it; `finish` gives one command, looks, and takes the task to `over`.

    `runner`: the victim is a run that hangs in its second step while `kin stop` ends it.
    """

    name: str
    mode: str
    command: tuple[str, ...]
    finish: Callable[[Repo, int], list[Fault]]
    prepare: Callable[[Repo], object] = lambda repo: None
    hangs: bool = False
    runner: bool = False
    fails: bool = False
    settings: str = ""


def make(repo: Repo, case: Case) -> None:
    """A project with one task of two steps; the second commits by itself."""
    side = repo.path.parent
    words = {"names": side / "names", "go": side / "go", "up": side / "up", "fifo": side / "fifo"}
    os.mkfifo(side / "fifo")
    first, second = LEAVE.format(step="one", **words), LEAVE.format(step="two", **words)
    second = f"git add -A && {second}; git add -A && git commit -q -m own; echo more > two-more.txt"
    if case.hangs:
        second += "; " + HANG.format(**words)
    if case.fails:
        second += f"; test -e {words['go']} || {{ touch {words['go']}; exit 1; }}"
    steps = "".join(f"\n  - role: {r}\n    run: {json.dumps(c)}" for r, c in (("architect", first), ("developer", second)))
    gate = json.dumps("test -e one.txt -o ! -e two.txt")
    repo.write(".kin/kin.yaml", f"format: 1\n\nkey: KIN\n\nmode: {case.mode}\n{case.settings}\ngates:\n  - {gate}\n")
    repo.write(".kin/.gitattributes", "* text eol=lf\n")
    repo.write(TASK, task_text("KIN-1", pipeline=steps))
    repo.write("README.md", "A project\n")
    repo.write("notes.txt", "notes\n")
    repo.commit("a task")
    case.prepare(repo)


def disturb(repo: Repo) -> None:
    """A person's work that has nothing to do with the task."""
    repo.write("README.md", "A project, better\n")
    repo.write("notes.txt", "staged notes\n")
    repo.git("add", "notes.txt")
    repo.write("mine.txt", "mine\n")


def status_of(repo: Repo) -> str:
    return next(line[8:] for line in repo.read(TASK).splitlines() if line.startswith("status: "))


def over(repo: Repo, merges: int = 1) -> list[Fault]:
    """What is wrong after the task came to its end, merged `merges` times in all."""
    found = []
    landed = repo.git("log", "--first-parent", "--format=%H", "--grep=^Kin-Task: KIN-1$", "main").split()
    if len(landed) != merges:
        found.append(Fault("merged twice" if len(landed) > merges else "wedged", f"{len(landed)} merges"))
    if status_of(repo) != "done":
        found.append(Fault("wedged", f"the task is {status_of(repo)}"))
    missing = [n for n in ("one.txt", "two.txt", "two-more.txt") if not (repo.path / n).exists()]
    if missing:
        found.append(Fault("lost commits", f"{missing} did not arrive"))
    return found + left(repo)


def left(repo: Repo, settled: bool = True) -> list[Fault]:
    """What must not be left, and what must not be lost, when nothing of the task is under way.

    Not `settled`: a killed edit's temporary file may be there, since it goes with the next edit.
    """
    found = [*lost(repo)]
    if len(repo.git("worktree", "list").splitlines()) != 1 or any((repo.path / ".git/worktrees").glob("*")):
        found.append(Fault("worktrees left", repo.git("worktree", "list")))
    state = repo.path.parent / "home/state/kin/worktrees"
    found += [Fault("worktrees left", str(p)) for p in state.glob("*/*")]
    if refs := repo.git("for-each-ref", "--format=%(refname)", "refs/kin/merge", "refs/heads/kin"):
        found.append(Fault("litter", refs))
    common = repo.path / ".git"
    litter = [*common.rglob("*.lock"), *common.glob("kin-*"), *repo.path.rglob(".*.tmp")]
    litter = [p for p in litter if p.name != ".kin.tmp" or settled]
    for folder in ("run", "journal"):
        litter += [p for p in (common / "kin" / folder).rglob("*") if p.is_file()]
    return found + [Fault("litter", str(p.relative_to(repo.path))) for p in litter]


def lost(repo: Repo) -> Iterator[Fault]:
    """Work and edits that are nowhere any more, and processes that outlive their run."""
    names = repo.path.parent / "names"
    made = set(names.read_text().split()) if names.exists() else set()
    kept = set(repo.git("log", "--all", "-m", "--format=", "--name-only", "--diff-filter=A").split())
    yield from (Fault("lost files", f"{name} is on no ref") for name in sorted(made - kept))
    dirty = (repo.path / "mine.txt").exists()
    expected = "M  notes.txt\n M README.md\n?? mine.txt" if dirty else ""
    status = "\n".join(line for line in repo.git("status", "--porcelain").splitlines() if ".kin/" not in line)
    if sorted(status.splitlines()) != sorted(expected.splitlines()):
        yield Fault("lost files", f"status: {status!r}")
    if dirty and [repo.read(n) for n in ("README.md", "mine.txt")] != ["A project, better\n", "mine\n"]:
        yield Fault("lost files", "a person's edit changed")
    if broken := repo.git("fsck", "--connectivity-only", "--no-dangling", ok=(0, 1, 2, 4, 8)):
        yield Fault("lost commits", broken)
    mark = f"KIN_DIR={repo.path}/.kin\0"
    deadline = time.monotonic() + 3
    while (pids := pids_with(mark)) and time.monotonic() < deadline:
        os.sched_yield()
    yield from (Fault("processes left", f"{pid}") for pid in pids)


def expect(repo: Repo, *command: str, exit: tuple[int, ...]) -> list[Fault]:
    """Give one command; a fault if it ends in another way than one of `exit`."""
    done = repo.kin(*command, exit=None)
    if done.returncode in exit:
        return []
    return [Fault("wedged", f"kin {' '.join(command)}: exit {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")]


def by_run(repo: Repo, number: int) -> list[Fault]:
    return expect(repo, "run", "KIN-1", exit=(0,)) + over(repo)


def by_ready(repo: Repo, number: int) -> list[Fault]:
    return expect(repo, "run", "--ready", exit=(0,)) + over(repo)


def by_doctor(repo: Repo, number: int) -> list[Fault]:
    """`doctor --fix` settles what was cut short; then the run goes on."""
    return expect(repo, "doctor", "--fix", exit=(0, 1)) + by_run(repo, number)


def reviewed(repo: Repo, number: int) -> list[Fault]:
    """One `kin run`: the task waits for a person. One word of hers ends it."""
    found = expect(repo, "run", "KIN-1", exit=(3,))
    shown = json.loads(repo.kin("show", "KIN-1", "--json").stdout)["data"]["status"]
    if shown != "review":
        found.append(Fault("wedged", f"after the run the task is {shown}"))
    return found + expect(repo, "approve", "KIN-1", exit=(0,)) + over(repo)


def approved(repo: Repo, number: int) -> list[Fault]:
    """One command, `approve` or `run` in turn: done, or waiting as before."""
    if number % 4 < 2:
        found = expect(repo, "approve", "KIN-1", exit=(0,) if status_of(repo) != "done" else (0, 2))
        return found + over(repo)
    done = repo.kin("run", "KIN-1", exit=None)
    if done.returncode == 3 and status_of(repo) == "review":
        return expect(repo, "approve", "KIN-1", exit=(0,)) + over(repo)
    if done.returncode:
        return [Fault("wedged", f"kin run: {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}"), *over(repo)]
    return over(repo)


def undone(repo: Repo, number: int) -> list[Fault]:
    """The same command again: taken back once. The task runs once more, and arrives once more."""
    found = expect(repo, "undo", "KIN-1", exit=(0, 2))
    if status_of(repo) != "todo" or (repo.path / "one.txt").exists():
        found.append(Fault("wedged", f"after undo the task is {status_of(repo)}"))
    (repo.path.parent / "names").write_text("")
    return found + left(repo) + expect(repo, "run", "KIN-1", exit=(0,)) + over(repo, merges=2)


def rejected(repo: Repo, number: int) -> list[Fault]:
    """The same command again: cancelled, the work kept under a salvage ref, nothing else left."""
    found = expect(repo, "reject", "KIN-1", "-m", "no", exit=(0, 2))
    if status_of(repo) != "cancelled":
        found.append(Fault("wedged", f"after reject the task is {status_of(repo)}"))
    found += left(repo, settled=False)
    return found + expect(repo, "reopen", "KIN-1", exit=(0,)) + reviewed(repo, number)


def reopened(repo: Repo, number: int) -> list[Fault]:
    """The same command again: todo; the earlier work is kept, and the next run begins afresh."""
    found = expect(repo, "reopen", "KIN-1", exit=(0, 2))
    if status_of(repo) != "todo":
        found.append(Fault("wedged", f"after reopen the task is {status_of(repo)}"))
    return found + left(repo, settled=False) + reviewed(repo, number)


def stopped(repo: Repo, number: int) -> list[Fault]:
    """`kin stop` again, if there is still something to stop; then the run goes on."""
    found = expect(repo, "stop", "KIN-1", exit=(0, 2))
    if status_of(repo) not in ("blocked", "todo"):
        found.append(Fault("wedged", f"after stop the task is {status_of(repo)}"))
    (repo.path.parent / "go").touch()
    return found + by_run(repo, number)


def failed(repo: Repo, number: int) -> list[Fault]:
    """The step fails the first time that it comes to its end; then the run goes on."""
    first = repo.kin("run", "KIN-1", exit=None)
    return (by_run(repo, number) if first.returncode == 1 else over(repo)) + (
        [] if first.returncode in (0, 1) else [Fault("wedged", f"exit {first.returncode}: {first.stderr[-300:]}")]
    )


def waits(repo: Repo) -> None:
    repo.kin("run", "KIN-1", exit=3)


def merged(repo: Repo) -> None:
    repo.kin("run", "KIN-1", exit=0)


COMMIT = "\ncommit: true\n"
CASES = (
    Case("run", "auto", ("run", "KIN-1"), by_run),
    Case("run --ready after", "auto", ("run", "KIN-1"), by_ready),
    Case("run then doctor", "auto", ("run", "KIN-1"), by_doctor),
    Case("run to review", "review", ("run", "KIN-1"), reviewed),
    Case("run to review with commit", "review", ("run", "KIN-1"), reviewed, settings=COMMIT),
    Case("run with a failing step", "auto", ("run", "KIN-1"), failed, fails=True),
    Case("run --restart", "review", ("run", "KIN-1", "--restart"), reviewed, waits),
    Case("approve", "review", ("approve", "KIN-1"), approved, waits),
    Case("revise --run", "review", ("revise", "KIN-1", "-m", "better", "--run"), reviewed, waits),
    Case("reject", "review", ("reject", "KIN-1", "-m", "no"), rejected, waits),
    Case("reopen", "review", ("reopen", "KIN-1"), reopened, waits),
    Case("undo", "auto", ("undo", "KIN-1"), undone, merged),
    Case("stop", "auto", ("stop", "KIN-1"), stopped, hangs=True),
    Case("stopped run", "auto", ("run", "KIN-1"), stopped, hangs=True, runner=True),
)


class Place:
    """One worker's folder: a repository, its side files and state, put back to a saved state before each kill."""

    def __init__(self, folder: Path) -> None:
        self.live, self.saved = folder / "live", folder / "saved"
        self.case: Case | None = None

    def at(self, case: Case) -> Repo:
        """The state before the command of `case`; the path is always the same, since worktrees are registered by it."""
        if self.case != case:
            for folder in (self.live, self.saved):
                shutil.rmtree(folder, ignore_errors=True)
            environment(self.live / "home")
            make(fresh(self.live / "repo"), case)
            subprocess.run(["cp", "-a", str(self.live), str(self.saved)], check=True)
            self.case = case
        shutil.rmtree(self.live, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.saved), str(self.live)], check=True)
        return Repo(self.live / "repo")


def strike(repo: Repo, case: Case, point: str, group: bool) -> bool:
    """Kill the command of `case` at `point`; False if it came to its end without passing it."""
    if not case.hangs:
        return killed(repo, *case.command, point=point, group=group) == -9
    env = dict(os.environ) | ({"KIN_FAULT": point} | ({"KIN_FAULT_GROUP": "1"} if group else {}) if case.runner else {})
    words = [sys.executable, "-m", "kin", "run", "KIN-1"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen(words, cwd=repo.path, env=env, start_new_session=True, **quiet)
    wait_for(lambda: (repo.path.parent / "up").exists() or run.poll() is not None)
    if case.runner:
        if run.poll() is None:
            repo.kin("stop", "KIN-1", exit=None)
        return run.wait(60) == -9
    died = killed(repo, *case.command, point=point, group=group) == -9
    if died and point.startswith("#") and int(point[1:]) % 2:
        run.kill()  # in every second case the run dies beside the one who stops it
    if died:
        expect(repo, "stop", "KIN-1", exit=(0, 2))
    run.wait(60)
    return died


def names_of(place: Place, case: Case) -> list[str]:
    """The kill points that the command of `case` passes, in order."""
    repo = place.at(case)
    log = place.live / "points"
    os.environ["KIN_FAULT_LOG"] = str(log)
    try:
        strike(repo, case, "none", False)
    finally:
        del os.environ["KIN_FAULT_LOG"]
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    if case.hangs and not case.runner:
        lines = [line for line in lines if line[0] == lines[-1][0]]  # the last to speak is `kin stop`
    elif case.runner:
        lines = [line for line in lines if line[0] == lines[0][0]]
    return [name for _, name in lines]


class Job(NamedTuple):
    """One kill, or two: the command at point `first`, then the recovery at point `second` (0: not killed)."""

    case: int
    first: int
    second: int
    name: str


def work(job: Job) -> tuple[Job, list[Fault], str]:
    """Do one job in this worker's place."""
    case = CASES[job.case]
    try:
        repo = PLACE.at(case)
        if job.first % 3 == 0:
            disturb(repo)
        if not strike(repo, case, f"#{job.first}", group=job.first % 2 == 0):
            return job, [], "not reached"
        if job.second and killed(repo, *after(case), point=f"#{job.second}", group=job.second % 2 == 1) != -9:
            return job, case.finish(repo, job.first), "recovery not reached"
        expect_views = expect(repo, "list", exit=(0,)) + expect(repo, "status", exit=(0,))
        return job, expect_views + case.finish(repo, job.first), "killed twice" if job.second else "killed"
    except (AssertionError, subprocess.SubprocessError, OSError) as error:
        return job, [Fault("wedged", f"{type(error).__name__}: {error}")], "failed"


def after(case: Case) -> tuple[str, ...]:
    """The command that recovers, to be killed in its turn."""
    return case.command if case.command[0] in ("undo", "approve", "reject", "reopen") else ("run", "KIN-1")


def enter(folder: str) -> None:
    """Give this worker a place of its own."""
    global PLACE
    PLACE = Place(Path(folder) / str(os.getpid()))


def jobs(place: Place, only: list[str], pairs: int, dice: random.Random) -> list[Job]:
    """Every point of every case, and `pairs` sampled pairs of a point and a point of its recovery."""
    singles: list[Job] = []
    for number, case in enumerate(CASES):
        if not only or case.name in only:
            names = names_of(place, case)
            begin = names.index("step.started", names.index("step.started") + 1) + 1 if case.runner else 0
            singles += [Job(number, n, 0, name) for n, name in enumerate(names, 1) if n > begin]
    once = [job for job in singles if not CASES[job.case].hangs]
    doubles = {dice.choice(once)._replace(second=dice.randint(1, 45)) for _ in range(pairs)} if once else set()
    return singles + sorted(doubles)


def main() -> int:
    """Run the campaign."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--processes", type=int, default=2)
    words.add_argument("--only", default="", help="names of cases, with commas")
    words.add_argument("--pairs", type=int, default=60)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--at", type=int, nargs=3, metavar=("CASE", "FIRST", "SECOND"), help="one kill again")
    asked = words.parse_args()
    only = [name.strip() for name in asked.only.split(",") if name.strip()]
    ends: Counter[str] = Counter()
    wrong: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    done: Counter[str] = Counter()
    with scratch() as folder:
        if asked.at:
            plan = [Job(*asked.at, "")]
        else:
            plan = jobs(Place(folder / "plan"), only, asked.pairs, random.Random(asked.seed))
        with multiprocessing.Pool(asked.processes, enter, (str(folder),)) as pool:
            for job, faults, end in pool.imap_unordered(work, plan, chunksize=6):
                ends[end] += 1
                done[CASES[job.case].name] += end.startswith("killed")
                wrong.update({f.kind for f in faults})
                where = f"{CASES[job.case].name} --at {job.case} {job.first} {job.second} {job.name}"
                for fault in faults:
                    print(f"{where}: {fault.kind}: {fault.text}", flush=True)
    for name, count in done.items():
        print(f"{name:24} {count}")
    print(f"{done.total()} distinct (command, point) pairs; {', '.join(f'{v} {k}' for k, v in sorted(ends.items()))}")
    print("; ".join(f"{wrong[kind]} {kind}" for kind in KINDS))
    return 1 if wrong.total() else 0


if __name__ == "__main__":
    sys.exit(main())
