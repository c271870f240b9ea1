"""Fifty tasks of three steps in five slots, while a random runner is killed every 300 ms, for as long as it takes.

    python bench/crowd.py [--tasks 50] [--slots 5] [--every 0.3] [--seed 1] [--minutes 30]

`kin run --ready` is started again until every task is done. One kill in twenty hits the command itself, the others whoever
works in a slot drawn by lot, as its lock names it. A task that crashed three times in a row without a finished step is left
to a person by `--ready`; here it is named to `kin run`. In the end each task must have been merged exactly once, the gate
must pass on every first-parent commit, all that agents wrote must be on some ref, and nothing may be left. Exit 1 if
anything is wrong.
"""

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from ground import Repo, environment, fresh, gated, left, runner, scratch

GATE = "for d in work/*; do test -e $d/1 -a -e $d/2 -a -e $d/3 || exit 1; done"
STEP = "cd $(mkdir -p {d} && echo {d}) && echo > {step}.$$ && echo {d}/{step}.$$ >> {names} && sleep 0.1 && touch {step}"


def make(repo: Repo, tasks: int, slots: int, names: Path) -> None:
    """A project whose tasks each leave three files, and under names of their own what each passage wrote."""
    lines = ["format: 1", "key: KIN", "mode: auto", f"concurrency: {slots}", f"gates:\n  - {json.dumps(GATE)}"]
    repo.write(".kin/kin.yaml", "\n\n".join(lines) + "\n")
    for n in range(1, tasks + 1):
        steps = (STEP.format(d=f"work/{n}", step=step, names=names) for step in (1, 2, 3))
        pipeline = "".join(f"\n  - role: developer\n    run: {json.dumps(step)}" for step in steps)
        repo.write(f".kin/tasks/KIN-{n}.yaml", f"id: KIN-{n}\n\ntitle: Part {n}\n\nstatus: todo\n\npipeline:{pipeline}\n")
    repo.write("work/0/1", "")
    repo.write("work/0/2", "")
    repo.write("work/0/3", "")
    repo.commit("tasks")


class Killer:
    """Kills a random runner every so often, until it is told to end."""

    def __init__(self, repo: Repo, slots: int, every: float, dice: random.Random) -> None:
        self.repo, self.slots, self.every, self.dice = repo, slots, every, dice
        self.counts: Counter[str] = Counter()
        self.command: subprocess.Popen[bytes] | None = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        while not self.over.wait(self.every):
            command = self.command
            if command and command.poll() is None and self.dice.random() < 0.05:
                command.kill()
                self.counts["commands"] += 1
            elif (pid := runner(self.repo, self.slots, self.dice)) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.counts["runners"] += 1
            else:
                self.counts["nobody there"] += 1


def states(repo: Repo) -> dict[str, tuple[str, str]]:
    """Status and kind of block of every task, as its file says."""
    found = {}
    for path in sorted((repo.path / ".kin/tasks").glob("KIN-*.yaml")):
        text = path.read_text()
        kind = re.search(r"(?m)^  kind: (\w+)$", text)
        found[path.stem] = (re.search(r"(?m)^status: (\w+)$", text)[1], kind[1] if kind else "")  # type: ignore[index]
    return found


def campaign(repo: Repo, killer: Killer, deadline: float) -> Counter[str]:
    """Start `kin run` until every task is done or the time is up."""
    counts: Counter[str] = Counter()
    before: dict[str, tuple[str, str]] = {}
    exit_code = -1
    while time.monotonic() < deadline:
        now = states(repo)
        open_ones = [task for task, (status, _) in now.items() if status != "done"]
        if not open_ones:
            break
        # what `--ready`, come to its end by itself, left as it was, waits for a person
        stuck = [t for t in open_ones if now[t][0] == "blocked"] if now == before and exit_code >= 0 else []
        words = ["run", *stuck] if stuck else ["run", "--ready"]
        counts["commands"] += 1
        counts["tasks named to kin run"] += len(stuck)
        before = now
        quiet = {"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        with subprocess.Popen([sys.executable, "-m", "kin", *words], cwd=repo.path, stderr=subprocess.PIPE, **quiet) as command:
            killer.command = command
            said = command.stderr.read().decode() if command.stderr else ""
        exit_code = command.returncode
        counts[f"exit {exit_code}"] += 1
        if "Traceback" in said or exit_code == 70:
            print(f"a bug: {said[-2000:]}", flush=True)
            counts["bugs"] += 1
    return counts


def verdict(repo: Repo, tasks: int, names: Path) -> tuple[dict[str, int], list[str]]:
    """Counts of what came of it, and a line for everything that is wrong."""
    landed = Counter(repo.git("log", "--first-parent", "--format=%(trailers:key=Kin-Task,valueonly)").split())
    once = sum(landed[f"KIN-{n}"] == 1 for n in range(1, tasks + 1))
    wrong = [f"{task} was merged {n} times" for task, n in landed.items() if n > 1]
    wrong += [f"KIN-{n} was not merged" for n in range(1, tasks + 1) if not landed[f"KIN-{n}"]]
    commits, red = gated(repo, GATE)
    if red:
        wrong.append(f"the gate fails on {len(red)} commits")
    wrote = names.read_text().split()
    leftovers = {"git status": repo.status().splitlines(), **left(repo, wrote)}
    wrong += [f"{kind}: {', '.join(map(str, found[:5]))}" for kind, found in leftovers.items() if found]
    counts = {"merged exactly once": once, "commits": commits, "green": commits - len(red), "passages of steps": len(wrote)}
    counts["salvaged"] = len(repo.git("for-each-ref", "refs/kin/salvage").splitlines())
    return counts | {kind: len(found) for kind, found in leftovers.items()}, wrong


def main() -> int:
    """Run the campaign."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--tasks", type=int, default=50)
    words.add_argument("--slots", type=int, default=5)
    words.add_argument("--every", type=float, default=0.3, help="seconds between two kills")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--minutes", type=float, default=30, help="give up after so long")
    asked = words.parse_args()
    with scratch() as folder:
        environment(folder / "home")
        repo, names = fresh(folder / "repo"), folder / "names"
        make(repo, asked.tasks, asked.slots, names)
        killer = Killer(repo, asked.slots, asked.every, random.Random(asked.seed))
        started = time.monotonic()
        killer.thread.start()
        commands = campaign(repo, killer, started + 60 * asked.minutes)
        killer.over.set()
        killer.thread.join()
        seconds = time.monotonic() - started
        counts, wrong = verdict(repo, asked.tasks, names)
        wrong += [f"{commands['bugs']} bugs"] if commands["bugs"] else []
        print(f"{seconds:.0f} s; killed: {dict(killer.counts)}; kin run: {dict(commands)}")
        print("; ".join(f"{n} {kind}" for kind, n in counts.items()))
        for line in wrong:
            print(f"wrong: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
