"""What the watcher costs and survives.

    python bench/watch.py [latency idle pull storm git editors kill notify overflow] [--tasks N]

Without names all of them. A line each with its figures, then `FAILED` and exit 1 if a bound of docs/benchmarks.md does not
hold. `limits` (no watches at all) is in the suite.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ground import Repo, environment, fresh, scratch
from idle import resident, spent

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from conftest import task_text, wait_for
from test_watch import Watching, merges

Found = tuple[str, bool]


def project(folder: Path, *lines: str, slots: int = 5) -> Repo:
    repo = fresh(folder / "repo")
    head = ["format: 1", "key: KIN", "mode: auto", f"concurrency: {slots}", "watch: {max_starts_per_hour: 100000}", *lines]
    repo.write(".kin/kin.yaml", "\n\n".join(head) + "\n")
    repo.write(".kin/.gitattributes", "* text eol=lf\n")
    (repo.path / ".kin" / "tasks").mkdir()
    repo.commit("kin")
    return repo


def auto(number: int, run: str = "true", **fields: str) -> str:
    fields.setdefault("labels", "\n  - auto")
    return task_text(f"KIN-{number}", pipeline=f"\n  - run: {json.dumps(run)}", **fields)


def path_of(repo: Repo, number: int) -> Path:
    return repo.path / ".kin" / "tasks" / f"KIN-{number}.yaml"


def put(path: Path, text: str) -> None:
    """Save as most programs do: another file, then a rename."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def over(repo: Repo) -> bool:
    return not list((repo.path / ".git" / "kin" / "run").glob("*/*.yaml"))


def latency(folder: Path, tasks: int) -> Found:
    """From a save to the first instruction of the agent, against what the worktree alone takes."""
    repo = project(folder)
    one, took = Watching(repo), []
    for n in range(1, 31):
        stamp = folder / f"stamp-{n}"
        text = auto(n, f"date +%s%N > {stamp}.new; mv {stamp}.new {stamp}")
        began = time.time_ns()
        put(path_of(repo, n), text)
        wait_for(stamp.exists)
        took.append((int(stamp.read_text()) - began) / 1e6)
        one.wait("end", f"KIN-{n}")
    one.end()
    worktree = []
    for n in range(30):
        began = time.perf_counter()
        repo.git("worktree", "add", "-q", "--no-checkout", "--lock", "-b", f"x{n}", str(folder / f"wt{n}"))
        repo.git("read-tree", "-m", "-u", "HEAD", cwd=folder / f"wt{n}")
        worktree.append((time.perf_counter() - began) * 1000)
    median, own = statistics.median(took), statistics.median(worktree)
    return (
        f"save to agent: median {median:.0f} ms of 30 (p90 {sorted(took)[26]:.0f}), worktree alone {own:.0f} ms",
        median - own <= 300,
    )


def idle(folder: Path, tasks: int) -> Found:
    """An idle watcher beside many tasks: processor and memory."""
    repo = project(folder)
    for n in range(1, tasks + 1):
        path_of(repo, n).write_text(task_text(f"KIN-{n}", f"Task {n}", description="|\n  Some words about it.\n  And more."))
    repo.commit("tasks")
    one = Watching(repo)
    repo.kin("list")
    put(path_of(repo, 1), auto(1))
    one.wait("end", "KIN-1")
    threading.Event().wait(5)
    before, began = spent(one.process.pid), time.monotonic()
    threading.Event().wait(120)
    share = 100 * (spent(one.process.pid) - before) / (time.monotonic() - began)
    memory = resident(one.process.pid)
    one.end()
    return f"idle with {tasks} tasks: {share:.2f} % of a core over 120 s, {memory:.0f} MB", share < 0.5 and memory < 80


def pull(folder: Path, tasks: int) -> Found:
    """A pull brings 500 tasks labelled auto: one decision, and each is started once, in ready order."""
    many, log = 500, folder / "log"
    repo = project(folder, "agents: {}")
    repo.write(".kin/kin.yaml", repo.read(".kin/kin.yaml").replace("100000", "100000, pulled: true"))
    repo.commit("pulled")
    repo.git("clone", "-q", str(repo.path), str(folder / "other"), cwd=folder)
    other = Repo(folder / "other")
    for n in range(1, many + 1):
        other.write(f".kin/tasks/KIN-{n}.yaml", auto(n, f"echo {n} >> {log}", priority=str(1 + n % 5)))
    other.commit("500 tasks")
    one = Watching(repo)
    began = time.monotonic()
    repo.git("pull", "-q", str(other.path), "main")
    first = one.wait("decision")["text"]
    wait_for(lambda: len(one.of("end")) >= many, 3600)
    took = time.monotonic() - began
    order = [int(str(x["task"]).rpartition("-")[2]) for x in one.of("start")]
    ran = Counter(map(int, log.read_text().split()))
    one.end()
    wanted = sorted(range(1, many + 1), key=lambda n: (1 + n % 5, n))
    good = (
        first == "5 start, 495 wait their turn, 0 are kept"
        and order == wanted
        and set(ran.values()) == {1}
        and len(ran) == many
    )
    return f"pull of {many}: {first!r}; {len(order)} starts in ready order: {order == wanted}, each once; {took:.0f} s", good


def storm(folder: Path, tasks: int) -> Found:
    """200 saves a second of one file, in place and by rename: one start, of a text that was there."""
    log = folder / "log"
    repo = project(folder)
    one = Watching(repo)
    path, began, n = path_of(repo, 1), time.monotonic(), 0
    while n < 2000:
        n += 1
        text = auto(1, f"echo {n} >> {log}", description=f"|\n  {'words ' * 20}\n  {n}")
        (path.write_text if n % 2 else lambda t: put(path, t))(text)
        threading.Event().wait(max(0.0, began + n / 205 - time.monotonic()))
        if one.of("start"):
            break
    rate = n / (time.monotonic() - began)
    wait_for(lambda: one.of("end", "KIN-1"), 60)
    threading.Event().wait(3)
    starts, ran, broken = len(one.of("start")), log.read_text().split(), [x["text"] for x in one.of("note")]
    one.end()
    good = starts == 1 and len(ran) == 1 and not broken and rate >= 200
    return f"storm: {n} saves, {rate:.0f} a second, {starts} start, ran {ran}, said {broken}", good


def by_git(folder: Path, tasks: int) -> Found:
    """Checkout, stash, a rebase of 50 commits, bisect, a branch without .kin/: nothing that was only in between is started."""
    log = folder / "log"
    repo = project(folder)
    repo.git("switch", "-q", "-c", "base")
    repo.commit("upstream", upstream="x")
    repo.git("switch", "-q", "main")
    for n in range(1, 51):  # each commit makes a task that the next one takes back
        if n > 1:
            path_of(repo, n - 1).unlink()
        repo.write(f".kin/tasks/KIN-{n}.yaml", auto(n, f"echo {n} >> {log}", status="todo" if n < 50 else "draft"))
        repo.commit(f"commit {n}")
    one = Watching(repo)
    for _ in range(3):
        repo.git("rebase", "-q", "--force-rebase", "base")
        repo.git("bisect", "start", "HEAD", "HEAD~40")
        for _ in range(4):
            repo.git("bisect", "bad", ok=(0, 1))
        repo.git("bisect", "reset")
        repo.git("switch", "-q", "--orphan", "empty")
        repo.git("commit", "-q", "--allow-empty", "-m", "no kin")
        repo.git("switch", "-q", "main")
        repo.git("branch", "-q", "-D", "empty")
        repo.git("checkout", "-q", "HEAD~20", "--detach")
        repo.git("switch", "-q", "main")
        put(path_of(repo, 50), auto(50, f"echo 50 >> {log}", status="draft", priority="2"))
        repo.git("stash", "-q")
        repo.git("stash", "pop", "-q")
        repo.git("checkout", "-q", "--", ".kin")
    threading.Event().wait(2)
    between = [x["task"] for x in one.of("start")]
    put(path_of(repo, 50), auto(50, f"echo 50 >> {log}"))
    repo.git("stash", "-q")
    repo.git("stash", "pop", "-q")
    one.wait("end", "KIN-50")
    ran = log.read_text().split()
    one.end()
    return f"git: started of states in between {between}, at the end {ran}", not between and ran == ["50"]


def editors(folder: Path, tasks: int) -> Found:
    """The ways in which editors save: each save of a task labelled auto is one start, and no swap file is complained of."""
    repo, log = project(folder), folder / "log"
    one, done = Watching(repo), []
    for n, (name, edit) in enumerate(EDITORS.items(), 1):
        if not shutil.which(name.split()[0]) and not name.startswith("code"):
            continue
        path = path_of(repo, n)
        put(path, auto(n, f"echo {n} >> {log}", status="draft"))
        edit(path)
        try:
            one.wait("end", f"KIN-{n}")
        except AssertionError:
            one.end()
            return f"editors: {name} was missed", False
        done.append(name)
    threading.Event().wait(2)
    ran, notes = Counter(log.read_text().split()), [x["text"] for x in one.of("note")]
    one.end()
    return f"editors: {', '.join(done)}; said {notes}", set(ran.values()) == {1} and len(ran) == len(done) and not notes


def _sh(*words: str, keys: bytes | None = None) -> None:
    subprocess.run(words, input=keys, check=True, capture_output=True, timeout=60, env=dict(os.environ) | {"TERM": "xterm"})


def _typed(path: Path, command: str, keys: list[str]) -> None:
    """Drive an editor in a terminal of its own by keys."""
    import pty

    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp("sh", ["sh", "-c", f"exec {command} {path}"])
    shown = threading.Thread(target=lambda: _swallow(fd), daemon=True)
    shown.start()
    for key in keys:
        threading.Event().wait(1.0)
        os.write(fd, key.encode())
    os.waitpid(pid, 0)


def _swallow(fd: int) -> None:
    try:
        while os.read(fd, 65536):
            pass
    except OSError:
        return


def _in_place(path: Path) -> None:
    text = path.read_text().replace("draft", "todo")
    with path.open("r+") as file:  # truncate, write in two pieces: what is read in between is half a file
        file.truncate(0)
        file.write(text[:20])
        file.flush()
        file.write(text[20:])


EDITORS: dict[str, Callable[[Path], None]] = {
    "sed -i": lambda path: _sh("sed", "-i", "s/status: draft/status: todo/", str(path)),
    "vim": lambda path: _sh("vim", "-u", "NONE", "-es", "-c", "%s/status: draft/status: todo/", "-c", "wq", str(path)),
    "vim with backup": lambda path: _sh(
        "vim", "-u", "NONE", "-es", "-c", "set backup writebackup backupcopy=no", "-c", "%s/draft/todo/", "-c", "wq", str(path)
    ),
    "nano": lambda path: _typed(path, "nano", ["\x1c", "status: draft\r", "status: todo\r", "a", "\x0f", "\r", "\x18"]),
    "emacs": lambda path: _sh(
        *(
            "emacs",
            "-Q",
            "--batch",
            str(path),
            "--eval",
            '(progn (replace-string "status: draft" "status: todo") (save-buffer))',
        )
    ),
    "code in place": _in_place,
    "code by rename": lambda path: put(path, path.read_text().replace("draft", "todo")),
}


def kill(folder: Path, tasks: int) -> Found:
    """kill -9 of the watcher at spread moments while 20 tasks are under way; each is merged once."""
    many, log, dice = 20, folder / "log", random.Random(1)
    repo = project(folder)
    for n in range(1, many + 1):
        put(path_of(repo, n), auto(n, f"echo {n} >> {log}; echo {n} > file-{n}"))
    kills = 0
    while len(merges(repo)) < many or kills < 60:
        one = Watching(repo)
        threading.Event().wait(dice.random() * 0.6)
        one.end(signal.SIGKILL)
        kills += 1
        if len(merges(repo)) >= many and kills < 60 and over(repo):
            for n in range(many + 1, many + 21):
                put(path_of(repo, n), auto(n, f"echo {n} >> {log}; echo {n} > file-{n}"))
            many += 20
        if kills > 400:
            break
    wait_for(lambda: over(repo), 120)
    counts, ran = Counter(merges(repo)), Counter(log.read_text().split())
    good = len(counts) == many and set(counts.values()) == {1} and set(ran.values()) == {1}
    return (
        f"kill: {kills} kills, {len(counts)} of {many} merged, at most {max(counts.values())} times",
        good,
    )


def notify(folder: Path, tasks: int) -> Found:
    """What a hook that hangs and a command that leaves a daemon add to a run, in its own process."""
    from kin.model.settings import Notify
    from kin.runner.runs.notify import notify as tell
    from kin.runner.runs.outcome import Outcome
    from kin.store.project import find

    repo = project(folder)
    where = find(str(repo.path), os.environ)
    took = []
    with socket.create_server(("127.0.0.1", 0), backlog=200) as deaf:
        entries = [
            Notify(webhook=f"http://127.0.0.1:{deaf.getsockname()[1]}/", timeout=1.0),
            Notify(run="KIN_BENCH_MARK=1 setsid tail -f /dev/null & exit 0", timeout=1.0),
        ]
        for entry in entries * 20:
            began = time.perf_counter()
            tell(where, [entry], Outcome("KIN-1", "r", "done", 0), "A task", os.environ)
            took.append((time.perf_counter() - began) * 1000)
            threading.Event().wait(0.5)  # else the earlier ones, not the telling, are what is measured
        log = repo.path / ".git/kin/logs/notify.log"
        wait_for(lambda: len(log.read_text().splitlines()) == 40, 120)
    left = subprocess.run(
        ["pgrep", "-f", "kin.runner.process.notifier|^tail -f /dev/null$"], capture_output=True, text=True
    ).stdout.split()
    median, worst = statistics.median(took), max(took)
    return f"notify: {median:.1f} ms a receiver (worst {worst:.1f}), left {left}", median < 10 and not left


def overflow(folder: Path, tasks: int) -> Found:
    """More events than the kernel keeps: said, and nothing is missed."""
    repo = project(folder)
    one = Watching(repo)
    one.process.send_signal(signal.SIGSTOP)
    tasks_folder = path_of(repo, 1).parent
    for n in range(20_000):
        (tasks_folder / f"noise-{n % 2}.txt").write_text("x")  # the kernel folds equal events together
        if n == 19_000:
            put(path_of(repo, 1), auto(1))
    one.process.send_signal(signal.SIGCONT)
    one.wait("end", "KIN-1")
    said = [x["text"] for x in one.of("overflow")]
    one.end()
    return f"overflow: said {said}", bool(said) and merges(repo) == [] and "status: done" in repo.read(".kin/tasks/KIN-1.yaml")


ALL = {"latency": latency, "idle": idle, "pull": pull, "storm": storm, "git": by_git, "editors": editors}
ALL |= {"kill": kill, "notify": notify, "overflow": overflow}


def main() -> int:
    """Do what is asked for."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("names", nargs="*", choices=[[], *ALL])
    words.add_argument("--tasks", type=int, default=10_000)
    asked = words.parse_args()
    failed = []
    for name in asked.names or ALL:
        with scratch() as folder:
            environment(folder / "home")
            said, good = ALL[name](folder, asked.tasks)
            print(said if good else f"FAILED {said}", flush=True)
            failed += [] if good else [name]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
