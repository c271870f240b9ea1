"""`kin watch` as people meet it: real files, real git, real processes; what starts, what must not, and what it outlives."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import KIN_YAML, Repo, task_text, wait_for
from test_many import has_open

Watch = Callable[..., "Watching"]


class Watching:
    """A watcher that runs, and all that it has told."""

    def __init__(self, repo: Repo, *words: str, command: tuple[str, ...] = ()) -> None:
        self.told: list[dict[str, Any]] = []
        words = ("watch", "--jsonl", *words)
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        if command:
            argv = [*command, sys.executable, "-m", "kin", *words]
            self.process = subprocess.Popen(argv, cwd=repo.path, **how)
        else:
            self.process = repo.start(*words, **how)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait("watching")

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.told.append(json.loads(line))

    def of(self, kind: str, task: str | None = None) -> list[dict[str, Any]]:
        return [one for one in list(self.told) if one["kind"] == kind and task in (None, one["task"])]

    def wait(self, kind: str, task: str | None = None, count: int = 1) -> dict[str, Any]:
        """The last of `count` such lines, waited for."""
        try:
            found = wait_for(lambda: self.process.poll() is not None or len(self.of(kind, task)) >= count)
        except AssertionError:
            raise AssertionError(f"no {count} {kind} of {task} in {self.told}") from None
        assert found and len(self.of(kind, task)) >= count, (self.told, self.end())
        return self.of(kind, task)[count - 1]

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it; its exit code and what it complained of."""
        self.process.send_signal(number)
        assert self.process.stderr
        said = self.process.stderr.read()
        code = self.process.wait(20)
        self._reader.join(20)
        self.process.stderr.close()
        return code, said


@pytest.fixture
def watch(project: Repo) -> Iterator[Watch]:
    """Start watchers in the project; all that still run are ended."""
    started: list[Watching] = []

    def start(*words: str, repo: Repo = project, command: tuple[str, ...] = ()) -> Watching:
        started.append(Watching(repo, *words, command=command))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)
    for lock in (project.path / ".git" / "kin" / "locks").glob("KIN-*"):  # what they started outlives them
        wait_for(lambda lock=lock: not _is_held(lock))


def _is_held(lock: Path) -> bool:
    from kin.store.locks import is_held

    return is_held(str(lock))


def auto(number: int, run: str = "echo hello > hello-$KIN_TASK.txt", **fields: str) -> str:
    fields.setdefault("labels", "\n  - auto")
    return task_text(f"KIN-{number}", pipeline=f"\n  - run: {json.dumps(run)}", **fields)


def save(repo: Repo, number: int, run: str = "echo hello > hello-$KIN_TASK.txt", **fields: str) -> Path:
    return repo.write(f".kin/tasks/KIN-{number}.yaml", auto(number, run, **fields))


def settings(repo: Repo, *lines: str, message: str = "settings") -> None:
    repo.write(".kin/kin.yaml", KIN_YAML + "".join(f"\n{line}\n" for line in lines))
    repo.commit(message)


def merges(repo: Repo) -> list[str]:
    """The tasks whose merges are on main, oldest first."""
    form = "--format=%(trailers:key=Kin-Task,valueonly,separator=%x20)"
    return [line for line in reversed(repo.git("log", "--first-parent", form, "main").split("\n")) if line]


def why(repo: Repo, task: str) -> list[str]:
    found = json.loads(repo.kin("why", task, "--json").stdout)["data"]["reasons"]
    return [reason["text"] for reason in found if reason["kind"] == "watch"]


def test_a_saved_task_is_started_once_and_a_second_watcher_says_who_watches(project: Repo, watch: Watch) -> None:
    one = watch()
    second = project.kin("watch", "--once", exit=6)
    assert f"as pid {one.process.pid}" in second.stderr
    path = save(project, 1)
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", "No label"))
    project.write(".kin/tasks/KIN-3.yaml", "id: KIN-3\ntitle: [broken\n")
    save(project, 4, status="draft")
    one.wait("end", "KIN-1")
    os.utime(path)
    save(project, 5, priority="1")
    one.wait("end", "KIN-5")
    assert merges(project) == ["KIN-1", "KIN-5"]
    assert [one["task"] for one in one.of("start")] == ["KIN-1", "KIN-5"]
    assert len([n for n in one.of("note") if "KIN-3.yaml:2" in n["text"]]) == 1
    code, said = one.end()
    assert (code, said) == (0, "")


def test_what_git_brought_is_not_started_and_what_was_made_here_is(project: Repo, make_repo: Any, watch: Watch) -> None:
    other = Repo(project.path.parent / "other")
    project.git("clone", "-q", str(project.path), str(other.path), cwd=project.path.parent)
    save(other, 1)
    save(other, 2)
    other.git("config", "user.email", "ada@example.org")  # names and mails are forged easily
    other.commit("more tasks")
    one = watch()
    project.git("pull", "-q", str(other.path), "main")
    assert "arrived by git" in one.wait("kept", "KIN-1")["text"] and one.wait("kept", "KIN-2")
    assert "`kin watch` does not start it: it arrived by git" in why(project, "KIN-1")[0]
    assert one.of("start") == []
    project.kin("set", "KIN-2", "priority=1")  # a hand in this checkout
    one.wait("end", "KIN-2")
    save(project, 3)
    project.git("add", ".kin/tasks/KIN-3.yaml")
    project.git("commit", "-q", "-m", "mine", "--", ".kin/tasks/KIN-3.yaml")
    one.wait("end", "KIN-3")
    project.write(".kin/kin.yaml", KIN_YAML + "\nwatch:\n  pulled: true\n")  # read anew
    one.wait("end", "KIN-1")
    assert sorted(merges(project)) == ["KIN-1", "KIN-2", "KIN-3"]


@pytest.mark.parametrize("many", [1, 1000], ids=["asked as a folder", "asked by name"])
def test_my_own_commits_count_as_mine_after_a_rebase_too(project: Repo, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from kin.store.arrivals import arrivals
    from kin.store.project import find

    project.git("switch", "-q", "-c", "side", "HEAD")
    project.commit("upstream", other__txt="x")
    project.git("switch", "-q", "main")
    save(project, 1)
    project.commit("mine")
    save(project, 2, **{"x-proposed-by": "KIN-1 1-developer"})
    project.commit("an agent's, committed by me")
    project.git("rebase", "-q", "side")
    save(project, 3)
    monkeypatch.setattr("kin.store.arrivals.MANY", many)
    found = arrivals(find(str(project.path), os.environ), ["KIN-1", "KIN-2", "KIN-3", "KIN-4"])
    assert {i: str(a.origin) for i, a in found.items()} == {"KIN-1": "own", "KIN-2": "agent", "KIN-3": "own"}
    project.kin("add", "By an agent", env={"KIN_RUN": "r", "KIN_TASK": "KIN-1", "KIN_STEP": "1-developer"})
    assert arrivals(find(str(project.path), os.environ), ["KIN-4"])["KIN-4"].origin == "agent"


def test_what_starts_first_goes_by_order_slots_touches_and_the_hours_number(project: Repo) -> None:
    from kin.model.settings import Watch
    from kin.runner.watch.reconcile import Known, decide, wanted
    from kin.store.arrivals import Arrival, Origin
    from kin.store.project import find
    from kin.store.view import see

    for number, fields in enumerate(({"priority": "2"}, {}, {"priority": "1"}, {"priority": "5"}, {"status": "draft"}), 1):
        save(project, number, touches="\n  - src/a" if number in (1, 2) else "\n  - docs", **fields)
    view = see(find(str(project.path), os.environ), bodies=False)
    asking = wanted(view)
    known = Known({i: Arrival(Origin.own, i, i, False) for i in asking}, {}, {}, {}, {}, (), 0, 5)
    assert list(asking) == ["KIN-3", "KIN-1", "KIN-2", "KIN-4"]
    free = decide(view, asking, known, Watch())
    assert ([s.task for s in free.start], free.queue) == (["KIN-3", "KIN-1"], ["KIN-2", "KIN-4"])
    one = decide(view, asking, known._replace(slots=1), Watch())
    assert ([s.task for s in one.start], one.queue) == (["KIN-3"], ["KIN-1", "KIN-2", "KIN-4"])
    stopping = decide(view, asking, known._replace(stopping={"KIN-3"}), Watch())  # its lock is free, and `kin stop` not over
    assert [s.task for s in stopping.start] == ["KIN-1", "KIN-4"] and stopping.kept["KIN-3"].kind == "stopped"
    late = decide(view, asking, known._replace(starts=59), Watch())
    assert [s.task for s in late.start] == ["KIN-3"] and late.kept["KIN-1"].kind == "rate"


def test_without_leave_no_step_that_may_write_is_started(project: Repo, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIN_ALLOW_WRITE")
    save(project, 1)
    project.write(".kin/tasks/KIN-2.yaml", auto(2).replace("- run:", "- access: read\n    run:"))
    one = watch()
    assert "--allow-write" in one.wait("kept", "KIN-1")["text"]
    one.wait("end", "KIN-2")
    one.end()
    two = watch("--allow-write")
    two.wait("end", "KIN-1")
    assert why(project, "KIN-1") == []


def test_the_first_watcher_of_a_clone_shows_what_it_would_start(project: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIN_TRUST")
    save(project, 1)
    done = project.kin("watch", "--once", exit=3)
    assert "KIN-1  would start now: labelled auto" in done.stderr and "--yes" in done.stderr
    data = json.loads(project.kin("watch", "--once", "--yes", "--json").stdout)["data"]
    assert [(one["kind"], "kin trust" in one["text"]) for one in data if one["task"]] == [("kept", True)]
    project.kin("trust", "--yes")
    data = json.loads(project.kin("watch", "--once", "--json").stdout)["data"]
    assert [one["task"] for one in data if one["kind"] == "start"] == ["KIN-1"]
    wait_for(lambda: merges(project) == ["KIN-1"])


def test_reverted_and_stopped_ones_need_a_persons_word(project: Repo, watch: Watch) -> None:
    save(project, 1)
    one = watch()
    one.wait("end", "KIN-1")
    project.git("revert", "--no-edit", "-m", "1", "HEAD")
    assert "was reverted" in one.wait("kept", "KIN-1")["text"]
    save(project, 2, "touch started; exec tail -f /dev/null")
    one.wait("start", "KIN-2")
    wait_for(lambda: "1-command" in project.kin("status").stdout)
    project.kin("stop", "KIN-2")
    one.wait("end", "KIN-2")
    project.kin("set", "KIN-2", "status=todo")
    wait_for(lambda: any("a person stopped" in kept["text"] for kept in one.of("kept", "KIN-2")))
    project.kin("reopen", "KIN-1")  # which changes no file of a task that is todo
    one.wait("end", "KIN-1", count=2)
    save(project, 2)
    assert len(one.of("start", "KIN-2")) == 1
    project.kin("reopen", "KIN-2")
    one.wait("end", "KIN-2", count=2)
    assert sorted(merges(project)) == ["KIN-1", "KIN-1", "KIN-2"]


def test_what_landed_is_told_for_the_history_that_is_checked_out(project: Repo) -> None:
    from kin.runner.merge.landed import History, reverted_runs
    from kin.store.project import find

    save(project, 1)
    project.commit("a task")
    project.kin("run", "KIN-1")
    here, (record,) = find(str(project.path), os.environ), (project.path / ".kin/pipelines/KIN-1").iterdir()
    history = History()
    assert reverted_runs(here, ["KIN-1"], history) == {}
    project.git("revert", "--no-edit", "-m", "1", "HEAD")
    assert reverted_runs(here, ["KIN-1"], history) == {"KIN-1": record.stem}
    project.git("reset", "-q", "--hard", "HEAD^^")  # a history that is not a longer one of what was read
    assert reverted_runs(here, ["KIN-1"], history) == {}


def test_while_git_is_in_the_middle_of_something_nothing_is_started(project: Repo, watch: Watch) -> None:
    project.commit("a", a="1\n")
    save(project, 1, status="draft")
    project.commit("a draft")
    one = watch()
    project.git("bisect", "start", "HEAD", "HEAD~2")
    save(project, 1)
    assert "bisects" in one.wait("quiet")["text"]
    (project.path / ".kin" / "tasks" / "KIN-1.yaml").unlink()
    project.git("bisect", "reset")
    project.git("switch", "-q", "--orphan", "empty")
    project.git("commit", "-q", "--allow-empty", "-m", "no kin here")
    one.wait("quiet", count=2)
    project.git("switch", "-q", "main")
    assert one.of("start") == []
    save(project, 2)
    one.wait("end", "KIN-2")
    assert merges(project) == ["KIN-2"]


def test_a_merge_of_kins_own_is_not_taken_for_git_at_work(project: Repo) -> None:
    from kin.runner.watch.eyes import Eyes
    from kin.store.project import find

    save(project, 1)
    eyes = Eyes(find(str(project.path), os.environ))
    project.kin("run", "KIN-1")
    after, lock = time.monotonic(), project.path / ".git" / "index.lock"
    lock.touch()  # as a git that finds nothing to write; events of one folder come in order
    lock.unlink()
    wait_for(lambda: eyes.changed > after and eyes.by_git == 0.0)
    project.commit("git's own", a="1")
    wait_for(lambda: eyes.by_git > after)
    eyes.close()


def test_a_run_that_dropped_its_record_and_still_holds_its_lock_has_not_ended(project: Repo) -> None:
    from kin.runner.process.signals import Cancel
    from kin.runner.watch.watcher import Happening, May, Watcher
    from kin.store.locks import lock_path, try_lock
    from kin.store.project import find
    from kin.store.view import see

    here, told = find(str(project.path), os.environ), list[Happening]()
    save(project, 1, status="done")
    watcher = Watcher(here, os.environ, May(), told.append, Cancel(), running={"KIN-1": "20261124T093200Z-7f3k"})
    with try_lock(lock_path(here.common, "KIN-1")) or pytest.fail("free"):
        watcher._tell_changes(see(here, bodies=False))
    assert told == []
    watcher._tell_changes(see(here, bodies=False))
    assert [(one.kind, one.text) for one in told] == [("end", "done")]


def test_it_outwaits_what_a_killed_one_was_about_to_start(project: Repo) -> None:
    lock = str(project.path / ".git/kin/locks/watch")
    program = "import os, sys; from kin.store import locks; held = locks.try_lock(sys.argv[1])"
    program += "; os.fork() and os._exit(0); sys.stdin.read()"  # what it forked holds on to the lock
    with subprocess.Popen([sys.executable, "-c", program, lock], stdin=subprocess.PIPE) as dead:
        dead.wait()
        one = project.start("watch", "--jsonl", stdout=subprocess.PIPE, text=True)
        wait_for(lambda: has_open(one.pid, lock))
        with pytest.raises(subprocess.TimeoutExpired):
            one.wait(0.2)
    assert json.loads(one.stdout.readline())["kind"] == "watching"
    one.terminate()
    one.communicate()


def test_killed_at_any_moment_it_goes_on_and_each_task_is_merged_once(project: Repo, watch: Watch) -> None:
    for number in range(1, 5):
        save(project, number, f"echo {number} > file-{number}.txt; echo {number} >> {project.path.parent}/ran")
    for kill_after in ("decision", "start", "end"):
        one = watch()
        one.wait(kill_after)
        one.end(signal.SIGKILL)
    last = watch()
    for number in range(1, 5):
        wait_for(lambda number=number: "status: done" in project.read(f".kin/tasks/KIN-{number}.yaml"), 40)
    save(project, 5)
    last.wait("end", "KIN-5")
    assert sorted(merges(project)) == ["KIN-1", "KIN-2", "KIN-3", "KIN-4", "KIN-5"]
    assert sorted((project.path.parent / "ran").read_text().split()) == ["1", "2", "3", "4"]


def test_a_pending_merge_is_finished_when_nothing_is_in_its_way_any_more(project: Repo, watch: Watch) -> None:
    project.commit("code", code="one\n")
    project.write("code", "my own edit\n")
    save(project, 1, "echo two > code")
    one = watch()
    one.wait("end", "KIN-1")
    assert "code is in the way" in one.wait("kept", "KIN-1")["text"]
    project.git("checkout", "-q", "--", "code")
    one.wait("end", "KIN-1", count=2)
    assert project.read("code") == "two\n" and merges(project) == ["KIN-1"]


@pytest.mark.parametrize(
    "limit", ["echo 0 > /proc/sys/user/max_inotify_instances", "echo 2 > /proc/sys/user/max_inotify_watches"]
)
def test_where_events_do_not_work_it_says_so_and_looks_itself(project: Repo, watch: Watch, limit: str) -> None:
    inside = ("unshare", "-Ur", "sh", "-c", f'{limit} && exec "$@"', "sh")
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    one = watch(command=inside)
    assert "every 2 s" in one.wait("polling")["text"]
    save(project, 1)
    one.wait("end", "KIN-1")
    assert merges(project) == ["KIN-1"]


def test_units_name_the_clone_and_let_pipelines_live(project: Repo) -> None:
    text = project.kin("watch", "--print-unit", "systemd", "--allow-write").stdout
    assert f'"-C" "{project.path}" "watch" "--allow-write"' in text and "KillMode=process" in text
    assert f"<string>{project.path}</string>" in project.kin("watch", "--print-unit", "launchd").stdout
