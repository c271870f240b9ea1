"""People at several desks use kin on the same tasks at once, by drawn lots, while others edit the YAML and somebody kills.

    python bench/office.py [--tasks 5] [--desks 4] [--moves 60] [--two] [--watch] [--commit] [--every 0.4] [--seed 1]

Every desk types commands (run, detached or not, stop, approve, revise, reject, reopen, undo, set, note, ...), edits task files
by hand and commits them, in one checkout, or with `--two` every other one in a second worktree, on a branch beside. `--every`
seconds a runner or a command is killed (0: nobody is); with `--watch` a watcher starts tasks, too, and is killed like all
others. Then all go home and one person brings every task to its end. No command may have broken, each must have answered with
one JSON document; no hand edit and no file that an agent wrote may be lost; each run is merged at most once, the gate passes on
every first-parent commit, and nothing is left. Exit 1 if anything is wrong.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crowd
from ground import Repo, environment, fresh, gated, left, pids_with, runner, scratch

STEP = "mkdir -p {d} && echo {d}/{step}.$$ > {d}/{step}.$$ && echo {d}/{step}.$$ >> {names} && sleep 0.3 && touch {d}/{step}"
GATE = "for d in work/*; do test -e $d/1 -a -e $d/2 || exit 1; done"


def make(repo: Repo, tasks: int, names: Path, commit: bool) -> None:
    """Tasks of two steps, every other one merged by itself; the files that steps write stand in `names`."""
    lines = ["format: 1", "key: KIN", "base: main", "mode: review", "concurrency: 3", f"gates:\n  - {json.dumps(GATE)}"]
    repo.write(".kin/kin.yaml", "\n\n".join([*lines, f"commit: {str(commit).lower()}"]) + "\n")
    for n in range(1, tasks + 1):
        steps = (STEP.format(d=f"work/{n}", step=step, names=names) for step in (1, 2))
        pipeline = "".join(f"\n  - role: developer\n    run: {json.dumps(step)}" for step in steps)
        mode = "\n\nlabels:\n  - auto\n\nmode: auto" if n % 2 else ""
        repo.write(f".kin/tasks/KIN-{n}.yaml", f"id: KIN-{n}\n\ntitle: Part {n}\n\nstatus: todo{mode}\n\npipeline:{pipeline}\n")
    repo.write("work/0/1", "")
    repo.write("work/0/2", "")
    names.touch()
    repo.commit("tasks")


PIPES: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


class Office:
    """One checkout, its desks, and what went wrong at them."""

    def __init__(self, repo: Repo, tasks: int, moves: int, seed: int, two: bool) -> None:
        self.repo, self.tasks, self.moves, self.seed = repo, [f"KIN-{n}" for n in range(1, tasks + 1)], moves, seed
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.edits: list[tuple[Path, str]] = []
        self.places = [repo.path]
        if two:
            self.places.append(repo.path.with_name("second"))
            repo.git("worktree", "add", "-q", "-b", "side", str(self.places[1]))
        self.busy: dict[int, subprocess.Popen[str]] = {}
        self.over, self.git_in_use, self.editing = threading.Event(), threading.Lock(), threading.Lock()

    def kin(self, desk: int, *words: str) -> int:
        """Type a command; what it may not do is written down."""
        command = [sys.executable, "-m", "kin", *words, "--json"]
        with subprocess.Popen(command, cwd=self.place(desk), **PIPES) as process:
            self.busy[desk] = process
            out, err = process.communicate()
            self.busy.pop(desk)
        code = process.returncode
        self.counts[f"{words[0]} {code}"] += 1
        if code in (-signal.SIGKILL, -signal.SIGTERM):  # `kin stop` ends whoever holds the task
            return code
        try:
            json.loads(out)
        except ValueError:
            self.wrong.append(f"{' '.join(words)}: exit {code}, no JSON: {out[-300:]!r} {err[-300:]!r}")
        if code == 70 or code < 0 or "Traceback" in out + err:
            self.wrong.append(f"{' '.join(words)}: exit {code}: {out[-1500:]} {err[-1500:]}")
        return code

    def place(self, desk: int) -> Path:
        """The checkout that somebody sits at."""
        return self.places[desk % len(self.places)]

    def move(self, desk: int, number: int, dice: random.Random) -> None:
        """One move of somebody at a desk."""
        task = dice.choice(self.tasks)
        commands = {
            ("run", task): 6,
            ("run", task, "--detach"): 3,
            ("run", "--ready"): 1,
            ("run", task, "--restart"): 1,
            ("run", task, "--restore"): 1,
            ("approve", task): 5,
            ("stop", task): 2,
            ("revise", task, "-m", "again, please"): 2,
            ("reject", task, "-m", "no"): 1,
            ("reopen", task): 2,
            ("undo", task): 2,
            ("set", task, f"priority={dice.randint(1, 5)}"): 1,
            ("set", task, "status=todo"): 1,
            ("note", task, "-m", f"from desk {desk}"): 1,
            ("why", task): 1,
            ("list", "--all"): 1,
            ("check",): 1,
            ("doctor", "--fix"): 1,
        }
        by_hand: dict[Callable[[], None], int] = {
            lambda: self.edit(self.place(desk) / f".kin/tasks/{task}.yaml", f"# {desk}.{number}"): 4,
            lambda: self.git(desk, ("add", ".kin"), ("commit", "-q", "-m", f"desk {desk}")): 2,
            lambda: self.git(desk, ("switch", "-q", "--detach"), back=True): 1,
            lambda: self.git(desk, ("gc", "-q", "--prune=now")): 1,
            lambda: self.merge(desk, task): 1,
        }
        choices = [*commands.items(), *by_hand.items()]
        chosen = dice.choices([c for c, _ in choices], [weight for _, weight in choices])[0]
        if isinstance(chosen, tuple):
            self.kin(desk, *chosen)
        else:
            chosen()

    def edit(self, path: Path, words: str) -> None:
        """Add a line to a task's file as an editor saves it: read, changed, and put in its place if nobody else wrote it."""
        with self.editing:  # people who save over one another would be their own fault
            seen = path.stat()
            new = path.with_name(f".{path.stem}.{words[2:]}.swp")
            new.write_text(f"{path.read_text()}{words}\n")
            now = path.stat()
            if (seen.st_ino, seen.st_mtime_ns) == (now.st_ino, now.st_mtime_ns):
                os.replace(new, path)
                self.edits.append((path, words))
                self.counts["edits"] += 1
            else:
                new.unlink()

    def git(self, desk: int, *commands: tuple[str, ...], back: bool = False) -> None:
        """Use git as a person would, who meets kin's locks and tries again some other time; one of them at a time."""
        place = self.place(desk)
        quiet: dict[str, Any] = {"cwd": place, "capture_output": True, "stdin": subprocess.DEVNULL}
        home = "main" if place == self.repo.path else "side"
        with self.git_in_use:
            for words in commands:
                done = subprocess.run(["git", *words], **quiet)
                self.counts[f"git {words[0]} {done.returncode}"] += 1
            while back and subprocess.run(["git", "switch", "-q", home], **quiet).returncode:
                self.counts["git switch back again"] += 1

    def merge(self, desk: int, task: str) -> None:
        """Merge by hand what waits for a review."""
        if self.place(desk) == self.repo.path and crowd.states(self.repo)[task][0] == "review":
            self.git(desk, ("merge", "-q", "--no-edit", f"kin/{task}"))

    def desk(self, number: int) -> None:
        """A day at one desk."""
        dice = random.Random(f"{self.seed}.{number}")
        try:
            for move in range(self.moves):
                self.move(number, move, dice)
        except Exception as error:
            self.wrong.append(f"desk {number}: {error!r}")

    def watch(self) -> None:
        """Keep a watcher alive, which is killed like everybody else; in the end it is asked to go."""
        while not self.over.is_set():
            with subprocess.Popen([sys.executable, "-m", "kin", "watch", "--jsonl"], cwd=self.repo.path, **PIPES) as process:
                self.busy[10] = process
                reader = threading.Thread(target=lambda process=process: process.communicate())
                reader.start()
                while reader.is_alive() and not self.over.wait(0.1):
                    pass
                process.terminate()
                reader.join()
                self.busy.pop(10)
            self.counts[f"watch {process.returncode}"] += 1
            if process.returncode not in (-signal.SIGKILL, -signal.SIGTERM, 143, 0):
                self.wrong.append(f"the watcher ended with {process.returncode}")

    def kill(self, every: float) -> None:
        """Kill a runner in a slot or what is typed at a desk, until the day is over."""
        dice = random.Random(f"{self.seed}.kill")
        while not self.over.wait(every):
            process = self.busy.get(dice.randint(1, 12))
            pid = runner(self.repo, 3, dice)
            with contextlib.suppress(ProcessLookupError):
                if process is not None:
                    process.kill()
                    self.counts["killed at a desk"] += 1
                elif pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    self.counts["killed runners"] += 1

    def settle(self) -> None:
        """One person brings all tasks to their ends, with the command that each one's status asks for."""
        deadline = time.monotonic() + 60
        while pids_with(f"KIN_DIR={self.repo.path.parent}/") and time.monotonic() < deadline:
            threading.Event().wait(0.1)
        for _ in range(8):
            states = crowd.states(self.repo)
            if all(status == "done" for status, _ in states.values()):
                return
            for task, (status, _) in states.items():
                verb = {"review": "approve", "cancelled": "reopen", "done": ""}.get(status, "run")
                code = self.kin(0, verb, task) if verb else 0
                if code == 2 and verb == "approve":  # its run was given up from the other checkout
                    self.kin(0, "reopen", task)
                elif code in (3, 4) and verb == "run":
                    self.kin(0, "approve", task)
                elif code == 1 and verb == "run":
                    self.kin(0, "run", task, "--restart")
        self.wrong += [
            f"{task} is not done but {state}" for task, state in crowd.states(self.repo).items() if state[0] != "done"
        ]


def verdict(office: Office, names: Path) -> list[str]:
    """A line for everything that is wrong in the end."""
    repo, wrong = office.repo, office.wrong
    runs = Counter(repo.git("log", "--first-parent", "--merges", "--format=%(trailers:key=Kin-Run,valueonly)").split())
    wrong += [f"run {run} was merged {n} times" for run, n in runs.items() if n > 1]
    lost = [(path, words) for path, words in office.edits if words not in path.read_text().splitlines()]
    wrong += [f"a hand edit of {path} is lost: {words}" for path, words in lost]
    wrote = names.read_text().split()
    commits, red = gated(repo, GATE)
    found = {
        "the gate fails on": red,
        "code that nobody wrote": [line for line in repo.status().splitlines() if not line[3:].startswith(".kin/")],
        "strange files": [p for p in (repo.path / ".kin").rglob(".*") if p.name not in (".gitattributes", ".gitignore")],
        **left(repo, wrote),
    }
    wrong += [f"{kind}: {', '.join(map(str, those[:5]))}" for kind, those in found.items() if those]
    print(f"{len(runs)} runs merged, {commits} commits, {len(wrote)} passages of steps, {len(office.edits)} hand edits")
    return wrong


def main() -> int:
    """Run the campaign."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--tasks", type=int, default=5)
    words.add_argument("--desks", type=int, default=4)
    words.add_argument("--moves", type=int, default=60, help="at each desk")
    words.add_argument("--two", action="store_true", help="every other desk has a worktree of its own")
    words.add_argument("--watch", action="store_true", help="a watcher starts tasks with the label auto")
    words.add_argument("--commit", action="store_true", help="`commit: true` in kin.yaml")
    words.add_argument("--every", type=float, default=0.4, help="seconds between two kills; 0: none")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--keep", help="copy the repository there if anything is wrong")
    asked = words.parse_args()
    with scratch() as folder:
        environment(folder / "home")
        repo, names = fresh(folder / "repo"), folder / "names"
        make(repo, asked.tasks, names, asked.commit)
        office = Office(repo, asked.tasks, asked.moves, asked.seed, asked.two)
        desks = [threading.Thread(target=office.desk, args=(n,)) for n in range(1, asked.desks + 1)]
        killer = threading.Thread(target=office.kill, args=(asked.every,))
        watcher = threading.Thread(target=office.watch)
        for thread in [*desks, *([killer] if asked.every else []), *([watcher] if asked.watch else [])]:
            thread.start()
        for thread in desks:
            thread.join()
        office.over.set()
        if asked.watch:
            watcher.join()
        office.settle()
        wrong = verdict(office, names)
        print("; ".join(f"{n} {kind}" for kind, n in sorted(office.counts.items())))
        for line in wrong:
            print(f"wrong: {line}")
        if wrong and asked.keep:
            subprocess.run(["cp", "-a", str(folder), asked.keep], check=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
