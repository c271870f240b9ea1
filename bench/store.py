"""What the store costs: listing N tasks against the floor, and one write of each kind, durable.

    python bench/store.py [--tasks 10000] [--rounds 21] [--folder DIR]

The floor of a list is a bare interpreter that stats the same files and loads the same index. Floor and commands run in turn,
so that a busy machine slows all alike; the ratio counts, and a list should stay below 1.6 floors. Where Taskwarrior is
installed (`task`), its commands run in the same turns on as many tasks, and what kin must show against them is printed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kin.model.record import Live, Run, StepRecord
from kin.model.status import RunStatus
from kin.store import index, records, tasks
from kin.store.project import Project, find
from kin.store.text.splice import Set

TASK = """id: KIN-{n}

title: Log in with a passkey, part {n}

status: todo

priority: {priority}

labels:
  - auto
  - web

{depends}touches:
  - src/auth/**

created: 2026-11-{day:02}

description: |
  Users with a registered passkey can log in without a password.
  This is the second line.

acceptance:
  - A test logs in with a recorded assertion
"""

FLOOR = """
import gc, marshal, os, sys
gc.disable()
folder = os.open(sys.argv[1], os.O_RDONLY)
found = [(name, os.stat(name, dir_fd=folder)) for name in os.listdir(folder)]
raw = open(sys.argv[2], "rb").read()
at = raw.index(b"\\n") + 1
for _ in range(2):
    end = at + 12 + int.from_bytes(raw[at : at + 8], "big")
    marshal.loads(raw[at + 12 : end])
    at = end
os._exit(0)
"""


def make(folder: str, count: int) -> Project:
    """A repository with `count` tasks that nobody has touched for an hour."""
    subprocess.run(["git", "init", "-q", folder], check=True)
    path = Path(folder, ".kin", "tasks")
    path.mkdir(parents=True)
    Path(folder, ".kin", "kin.yaml").write_text("format: 1\n\nkey: KIN\n")
    hour_ago = time.time() - 3600
    for n in range(1, count + 1):
        depends = f"depends_on:\n  - KIN-{n - 1}\n\n" if n % 3 == 0 else ""
        file = path / f"KIN-{n}.yaml"
        file.write_text(TASK.format(n=n, priority=1 + n % 5, day=1 + n % 28, depends=depends))
        os.utime(file, (hour_ago, hour_ago))
    # The ctime cannot be set back: an index is only believed once it is two seconds old.
    subprocess.run(["sleep", "2.5"], check=True)
    return find(folder, {})


MUST = (
    ("kin list", 1.6, "floor"),
    ("a TAB", 1.05, "floor"),  # 50 ms
    ("kin list", 0.5, "task list"),
    ("kin list", 1.0, "task next"),
    ("kin list --json", 1.0, "task export"),
    ("kin set 5", 2.5, "task modify"),
    ("kin add", 2.5, "task add"),
)
"""A command takes at most so many times what another one takes."""


def taskwarrior(count: int, folder: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Commands of Taskwarrior that read and that write, on `count` tasks in `folder`; none where it is not installed."""
    if shutil.which("task") is None:
        return {}, {}
    Path(folder, "taskrc").write_text(f"data.location={folder}\nconfirmation=off\nverbose=nothing\ndefaultwidth=120\n")
    task = ["task", f"rc:{folder}/taskrc"]
    made = [
        {
            "description": f"Log in with a passkey, part {n}",
            "status": "pending",
            "priority": "HML"[n % 3],
            "tags": ["auto", "web"],
            "entry": f"202611{1 + n % 28:02}T090000Z",
        }
        for n in range(count)
    ]
    subprocess.run([*task, "import"], input=json.dumps(made).encode(), stdout=subprocess.DEVNULL, check=True)
    reads = {f"task {word}": [*task, word] for word in ("list", "next", "export")}
    return reads, {"task modify": [*task, "5", "modify", "priority:H"], "task add": [*task, "add", "Another one"]}


def lists(project: Project, rounds: int, reads: dict[str, list[str]], writes: dict[str, list[str]]) -> None:
    """Cold scan, then floor and commands in turn, another program's too."""
    folder = os.path.join(project.store, "tasks")
    cache = index.cache_path(project.common, folder)
    started = time.perf_counter()
    found = tasks.scan(project)
    print(f"cold scan of {len(found.tasks)}      {1000 * (time.perf_counter() - started):8.1f} ms")
    kin = [str(Path(sys.executable).parent / "kin"), "-C", project.root]  # the installed script, as people call it
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "floor": [sys.executable, "-c", FLOOR, folder, cache],
        "kin list": [*kin, "list"],
        "kin list --json": [*kin, "list", "--json"],
        "kin show 5": [*kin, "show", "5"],
        "a TAB": ["env", "-C", project.root, "_KIN_COMPLETE=bash:1", kin[0], "show", "KIN-99"],
        **reads,
    }
    changes = {"kin set 5": [*kin, "set", "5", "priority=2"], "kin add": [*kin, "add", "Another one"], **writes}
    times: dict[str, list[float]] = {name: [] for name in (*commands, *changes)}
    for turn in (commands, changes):  # a list after a change reads what changed: not what is measured here
        for _ in range(rounds):
            for name, argv in turn.items():
                started = time.perf_counter()
                subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
                times[name].append(1000 * (time.perf_counter() - started))
    floor = statistics.median(times["floor"])
    for name, taken in times.items():
        low, middle, _ = statistics.quantiles(taken, n=4)
        print(f"{name:24} {middle:8.1f} ms  (lower quartile {low:.1f}, {middle / floor:.2f} floors)")
    for name, most, other in MUST:
        if other in times:
            ratio = statistics.median(times[name]) / statistics.median(times[other])
            print(f"{name:16} / {other:12} {ratio:5.2f}  (at most {most:g}){'' if ratio <= most else '  MISSED'}")


def writes(project: Project, rounds: int) -> None:
    """One write of each kind, in this process."""
    steps = tuple(StepRecord(f"{n}-developer", "developer", summary="did\nit") for n in range(4))
    run = Run("20261124T093200Z-7f3k", "KIN-1", RunStatus.running, "2026-11-24T09:32:00Z", steps=steps, live=Live(pid=1))
    kinds = {
        "add a task": lambda n: tasks.add(project, {"title": "x"}, today="2026-11-24"),
        "change a task": lambda n: tasks.change(project, "KIN-2", [Set(("priority",), 1 + n % 5)]),
        "save a live record": lambda n: records.save_live(project, run._replace(reason=str(n))),
    }
    for name, write in kinds.items():
        taken = []
        for n in range(rounds):
            started = time.perf_counter()
            write(n)
            taken.append(1000 * (time.perf_counter() - started))
        print(f"{name:24} {statistics.median(taken):8.2f} ms  (least {min(taken):.2f})")


def checks(project: Project, rounds: int) -> None:
    """`kin check` of everything: first without an index, then with one."""
    argv = [sys.executable, "-m", "kin", "-C", project.root, "check"]
    taken = []
    for _ in range(1 + rounds):
        started = time.perf_counter()
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        taken.append(1000 * (time.perf_counter() - started))
    print(f"kin check, cold          {taken[0]:8.1f} ms")
    print(f"kin check, warm          {statistics.median(taken[1:]):8.1f} ms  (least {min(taken[1:]):.1f})")


def peaks(project: Project) -> None:
    """How much memory commands take, the first without an index: none more than 300 MB, of 100,000 tasks either.

    Measured first: a child's figure is never less than what this process holds when it starts it.
    """
    for words in ("list", "list", "list --json", "board", "deps 9", "why 5", "check", "inbox", "renumber 7", "doctor"):
        argv = [sys.executable, "-m", "kin", "-C", project.root, *words.split()]
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        most = os.wait4(child.pid, 0)[2].ru_maxrss / 1024
        print(f"kin {words:20} {most:8.0f} MB{'' if most <= 300 else '  MISSED'}")
    shutil.rmtree(os.path.join(project.common, "cache"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--folder", help="where to put the repository: the file system that is measured")
    asked = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed kin is compiled once, not at every start
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder, tempfile.TemporaryDirectory(dir=asked.folder) as other:
        project = make(folder, asked.tasks)
        peaks(project)
        lists(project, asked.rounds, *taskwarrior(asked.tasks, other))
        checks(project, asked.rounds)
        writes(project, asked.rounds)


if __name__ == "__main__":
    main()
