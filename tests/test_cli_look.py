"""Looking: what runs, what it said, what waits for a person and why, and what a branch changes."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, task_text, wait_for
from test_cli_output import on_terminal
from test_cli_tasks import data, here, put
from test_streams import RECORDINGS

from kin.model.record import Live, Run, StepRecord, Waiting
from kin.model.status import RunStatus, StepStatus, WaitFor
from kin.runner.process.logs import StepLog
from kin.store.locks import Held, lock_path, try_lock
from kin.store.project import Project, find
from kin.store.records import drop_live, logs_folder, save_live, save_record

RUN = "20261124T093200Z-7f3k"
STARTED = "2026-11-24T09:32:00Z"
STEPS = (
    StepRecord("1-developer", "developer", StepStatus.done, started=STARTED, ended=STARTED),
    StepRecord("2-tester", "tester", StepStatus.running, agent="command", started=STARTED),
)


def project_of(repo: Repo) -> Project:
    return find(str(repo.path), os.environ)


def a_run(repo: Repo, number: int = 1, status: RunStatus = RunStatus.running, **more: Any) -> Run:
    """A live run of KIN-<number>, saved."""
    run = Run(RUN, f"KIN-{number}", status, STARTED, base="main", branch=f"kin/KIN-{number}", steps=STEPS, live=Live(), **more)
    save_live(project_of(repo), run)
    return run


def waiting(repo: Repo, number: int, for_: WaitFor, **more: Any) -> Run:
    return a_run(repo, number, RunStatus.waiting, waiting=Waiting(for_, **more))


def claimed(repo: Repo, number: int = 1) -> AbstractContextManager[Held]:
    held = try_lock(lock_path(project_of(repo).common, f"KIN-{number}"))
    assert held is not None
    return held


def log(repo: Repo, step: str, *lines: str, stream: str = "stdout", number: int = 1, at: float = 1_795_000_000.0) -> None:
    folder = logs_folder(project_of(repo), f"KIN-{number}", RUN)
    with StepLog(folder, step, lambda text: text, clock=lambda: at) as out:  # type: ignore[arg-type]
        out.write(stream, lines)


# status


def test_status_names_the_step_and_its_last_words(project: Repo) -> None:
    put(project, 1, title="Log in")
    a_run(project)
    log(project, "1-developer", "early")
    log(project, "2-tester", "late \x1b[31mred\x1b[0m", "   ")
    with claimed(project):
        (row,) = data(project, "status")["running"]
        said = here(project, "status")[0]
    assert (row["task"], row["step"], row["last"], row["agent"]) == ("KIN-1", "2-tester", "late red", "command")
    assert "KIN-1  Log in\n  2-tester, " in said and "late red" in said


def test_status_tells_a_dead_run_from_a_living_one(project: Repo) -> None:
    put(project, 1)
    a_run(project)
    found = data(project, "status")
    assert found["running"] == [] and "its process died" in found["waiting"][0]["reason"]
    assert "Nothing runs." in here(project, "status")[0]


def test_status_shows_what_a_run_waits_for(project: Repo) -> None:
    put(project, 1)
    put(project, 2)
    waiting(project, 1, WaitFor.limit, until="2999-01-01T00:00:00Z", reason="usage limit")
    said = here(project, "status")[0]
    assert "waits for limit until 2999-01-01T00:00:00Z: usage limit" in said
    assert "1 task is ready: `kin run` starts it." in said
    assert data(project, "status", "2") == {"running": [], "queued": [], "waiting": [], "ended": []}


def test_status_with_all_tells_how_the_last_run_ended(project: Repo) -> None:
    put(project, 1)
    save_record(project_of(project), a_run(project, 1, RunStatus.failed, ended=STARTED, reason="the gate\nsaid no"))
    (row,) = data(project, "status", "--ended")["ended"]
    assert (row["task"], row["status"], row["reason"]) == ("KIN-1", "failed", "the gate\nsaid no")
    assert ": the gate\n" in here(project, "status", "1")[0]


# log


def test_log_prints_each_steps_lines_in_order(project: Repo) -> None:
    put(project, 1)
    log(project, "1-developer", "one", "\x1b[1mtwo\x1b[0m\x07")
    log(project, "2-tester", "three", stream="stderr", at=1_795_000_001.0)
    assert here(project, "log", "1")[0] == (
        "11:06:40 1-developer  one\n11:06:40 1-developer  two\\x07\n11:06:41 2-tester  three\n"
    )
    assert here(project, "log", "1", "--raw", "--step", "1")[0] == "one\n\x1b[1mtwo\x1b[0m\x07\n"
    lines = [json.loads(line) for line in here(project, "log", "1", "--jsonl", "--step", "tester")[0].splitlines()]
    assert lines == [{"time": "2026-11-18T11:06:41.000Z", "step": "2-tester", "stream": "stderr", "text": "three"}]
    assert [line["text"] for line in data(project, "log", "1")][:1] == ["one"]


@pytest.mark.parametrize("agent", ["claude", "codex", "gemini", "opencode", "qwen", "aider"])
def test_what_an_agents_client_printed_for_programs_is_told_in_words(project: Repo, agent: str) -> None:
    put(project, 1)
    steps = (StepRecord("1-developer", "developer", StepStatus.running, started=STARTED),)
    save_live(project_of(project), a_run(project)._replace(steps=steps))
    log(project, "1-developer", f"played by {agent}", stream="kin")
    with claimed(project):
        assert f"KIN-1  Task 1\n  1-developer by {agent}, " in here(project, "status")[0]
        for line in RECORDINGS[f"{agent}-done"][:-1]:
            channel, _, text = line.partition(" ")
            log(project, "1-developer", text, stream=f"std{channel}")
        assert data(project, "status")["running"][0]["agent"] == agent
        if agent != "aider":  # its last words are what it cost
            assert data(project, "status")["running"][0]["last"] == "All is written."
    said, raw = here(project, "log", "1")[0], here(project, "log", "1", "--raw")[0]
    assert "All is written." in said and '{"type"' not in said
    assert (agent == "aider") or ("out.txt" in said and '{"type"' in raw)


def test_the_result_that_a_model_ends_with_is_told_in_words(project: Repo) -> None:
    put(project, 1)
    a_run(project)
    answer = 'I looked.\n\n```kin-result\n{"status": "changes_requested", "summary": "two faults"}\n```\n'
    message = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
    log(project, "2-tester", "played by claude", stream="kin")
    log(project, "2-tester", json.dumps({"type": "assistant", "message": message}))
    with claimed(project):
        assert data(project, "status")["running"][0]["last"] == "changes_requested: two faults"
    said = here(project, "log", "1")[0].splitlines()
    assert [line.partition("  ")[2] for line in said] == ["played by claude", "I looked.", "changes_requested: two faults"]


def test_a_step_that_printed_nothing_has_an_empty_log_and_a_person_is_told(project: Repo) -> None:
    put(project, 1)
    save_record(project_of(project), a_run(project))
    drop_live(project_of(project), a_run(project))
    log(project, "1-developer")
    assert not os.listdir(logs_folder(project_of(project), "KIN-1", RUN))
    assert here(project, "log", "1") == ("", f"run {RUN} has said nothing\n")
    assert here(project, "log", "1", "--step", "developer") == ("", "1-developer has said nothing\n")
    assert here(project, "log", "1", "--raw") == ("", "")


def test_a_pipe_that_a_step_put_in_its_logs_place_holds_up_no_status(project: Repo) -> None:
    put(project, 1)
    a_run(project)
    log(project, "1-developer", "before it")
    os.mkfifo(os.path.join(logs_folder(project_of(project), "KIN-1", RUN), "2-tester.jsonl"))
    with claimed(project):
        assert data(project, "status")["running"][0]["last"] == "before it"


def test_a_clients_line_that_is_too_long_for_one_record_is_told_whole(project: Repo) -> None:
    put(project, 1)
    a_run(project)
    message = {"role": "assistant", "content": [{"type": "text", "text": "x" * 200_000}]}
    log(project, "1-developer", "played by claude", stream="kin")
    log(project, "1-developer", json.dumps({"type": "assistant", "message": message}))
    assert here(project, "log", "1")[0].endswith(f"1-developer  {'x' * 200_000}\n")


def test_log_says_what_there_is_if_it_is_not_what_was_asked_for(project: Repo) -> None:
    put(project, 1)
    assert "has no log in this clone" in here(project, "log", "1", exit=8)[1]
    log(project, "1-developer", "one")
    assert "there are 1-developer" in here(project, "log", "1", "--step", "9", exit=8)[1]
    assert RUN in here(project, "log", "1", "--run", "nosuch", exit=8)[1]
    assert "--jsonl" in here(project, "log", "1", "-f", "--json", exit=2)[0]


def test_log_follows_a_run_to_its_end(project: Repo) -> None:
    put(project, 1)
    log(project, "1-developer", "first")
    with claimed(project):
        reader = project.start("log", "-f", "1", "--raw", stdout=subprocess.PIPE, text=True)
        assert reader.stdout is not None and reader.stdout.readline() == "first\n"
        log(project, "2-tester", "second", at=1_795_000_002.0)
        assert reader.stdout.readline() == "second\n"
        assert reader.poll() is None
    wait_for(lambda: reader.poll() is not None)
    assert (reader.returncode, reader.stdout.read()) == (0, "")
    reader.stdout.close()


def test_log_follows_also_where_no_program_may_hear_of_changes(project: Repo) -> None:
    none = ("unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"', "sh")
    if subprocess.run([*none, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    project.kin("add", "One", "--run", "echo one")
    project.kin("run", "1", "--detach")
    assert "one\n" in project.kin("log", "-f", "1", "--raw", wraps=none).stdout
    assert "file system   [" not in project.kin("doctor", wraps=none).stdout


# why and inbox


def test_why_tells_every_reason(project: Repo) -> None:
    put(project, 1, status="blocked", blocked="{kind: gate, reason: pytest said no}")
    put(project, 2, depends_on="[KIN-1, KIN-9]")
    reasons = data(project, "why", "2")["reasons"]
    assert [(r["kind"], r["ref"]) for r in reasons] == [("dependency", "KIN-1"), ("dependency", "KIN-9")]
    said = here(project, "why", "2")[0]
    assert "KIN-2 is todo\n" in said and "KIN-1" in said and "KIN-9" in said
    assert "pytest said no" in here(project, "why", "1")[0]
    put(project, 3)
    assert "nothing in the files is in its way: `kin run KIN-3`" in here(project, "why", "3")[0]


@pytest.mark.parametrize(
    ("make", "kind", "command"),
    [
        (lambda repo: waiting(repo, 1, WaitFor.review), "review", "kin diff KIN-1"),
        (lambda repo: waiting(repo, 1, WaitFor.plan), "plan", "kin plan KIN-1"),
        (lambda repo: waiting(repo, 1, WaitFor.question, reason="Which one?"), "question", "kin answer KIN-1 -m ..."),
        (lambda repo: waiting(repo, 1, WaitFor.merge, paths=("a.txt",)), "merge", "kin why KIN-1"),
        (lambda repo: waiting(repo, 1, WaitFor.limit, until="2999-01-01T00:00:00Z"), None, None),
        (lambda repo: put(repo, 1, status="blocked", blocked="{kind: gate}"), "gate", "kin log KIN-1"),
        (lambda repo: put(repo, 1, status="blocked"), "manual", "kin run KIN-1"),
        (lambda repo: put(repo, 1, status="review"), "review", "kin show KIN-1"),
        (lambda repo: put(repo, 1, status="done"), None, None),
    ],
)
def test_inbox_lists_what_waits_for_a_person_and_what_to_type(
    project: Repo, make: Callable[[Repo], object], kind: str | None, command: str | None
) -> None:
    put(project, 1)
    make(project)
    items = data(project, "inbox")
    assert [(i["kind"], i["commands"][0]) for i in items] == ([(kind, command)] if kind else [])
    said = here(project, "inbox")[0]
    assert (f"`{command}`" in said) if kind else said == "Nothing waits for you.\n"


def test_a_review_whose_run_is_elsewhere_is_explained_by_what_can_be_typed_here(project: Repo) -> None:
    put(project, 1, status="review", pipeline="\n  - run: echo x > x")
    way = "kin set KIN-1 status=todo"
    assert data(project, "inbox")[0]["commands"][1] == way
    said = here(project, "why", "1")[0]
    assert f"`{way}`" in said and "approve" not in said
    project.kin(*way.split()[1:])
    project.kin("run", "1")


# diff


@pytest.fixture
def branch(project: Repo) -> Repo:
    """KIN-1 with a branch that changes two files and `.kin/`; main has moved on since."""
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1"))
    project.commit("task", **{"a.txt": "one\n", "old name.txt": "same\n" * 9})
    project.git("switch", "-q", "-c", "kin/KIN-1")
    project.git("mv", "old name.txt", "new.txt")
    project.commit("work", **{"a.txt": "two\n", "b.bin": "\0", ".kin__x.yaml": "x: 1\n"})
    project.git("switch", "-q", "main")
    project.commit("else", **{"else.txt": "else\n"})
    return project


def test_diff_shows_the_branch_without_the_store(branch: Repo) -> None:
    said = branch.kin("diff", "1").stdout
    assert "-one\n+two\n" in said and ".kin" not in said and "else.txt" not in said and "\x1b" not in said
    assert branch.kin("diff", "1", "--name-only").stdout.split() == ["a.txt", "b.bin", "new.txt"]
    found = data(branch, "diff", "1")
    assert (found["base"], found["branch"]) == ("main", "kin/KIN-1")
    assert found["files"] == [
        {"path": "a.txt", "added": 1, "removed": 1, "old": None},
        {"path": "b.bin", "added": None, "removed": None, "old": None},
        {"path": "new.txt", "added": 0, "removed": 0, "old": "old name.txt"},
    ]
    assert "+two" in found["patch"]


def test_diff_into_a_pipe_is_a_patch_that_git_applies_byte_for_byte(branch: Repo) -> None:
    branch.git("switch", "-q", "kin/KIN-1")
    (branch.path / "dos.txt").write_bytes(b"caf\xe9\r\n\x0c\r\n")
    branch.git("add", "dos.txt")
    branch.git("commit", "-q", "-m", "in another encoding")
    branch.git("switch", "-q", "main")
    with branch.start("diff", "1", stdout=subprocess.PIPE) as shown:
        patch = shown.communicate()[0]
    subprocess.run(["git", "apply", "--exclude=b.bin"], cwd=branch.path, input=patch, check=True)
    assert (branch.path / "dos.txt").read_bytes() == b"caf\xe9\r\n\x0c\r\n"


def test_diff_at_a_terminal_goes_through_the_persons_pager(branch: Repo, tmp_path: Path) -> None:
    pager = {"GIT_PAGER": f"tee {tmp_path / 'paged'}"}
    assert "\x1b[32m" in on_terminal(branch, "diff", "1", env=pager)
    assert "two" in (tmp_path / "paged").read_text()


def test_diff_after_the_merge_shows_what_it_brought(branch: Repo) -> None:
    message = "kin: KIN-1 A task\n\nKin-Task: KIN-1\nKin-Run: " + RUN
    branch.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="done"))
    branch.git("merge", "-q", "--no-ff", "--no-commit", "kin/KIN-1", ok=(0, 1))
    branch.git("add", "-A")
    branch.git("commit", "-q", "-m", message)
    for _ in range(2):
        assert [f["path"] for f in data(branch, "diff", "1")["files"]] == ["a.txt", "b.bin", "new.txt"]
        branch.git("branch", "-q", "-D", "kin/KIN-1", ok=(0, 1))


def test_diff_of_a_task_that_never_ran_says_so(project: Repo) -> None:
    put(project, 1)
    assert "`kin run KIN-1` makes one" in here(project, "diff", "1", exit=8)[1]


def test_all_projects_that_are_trusted_are_looked_at(project: Repo, make_repo: Callable[[str], Repo]) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="review"))
    project.kin("trust", "--yes", env={"KIN_TRUST": ""})
    other = make_repo("other")
    other.kin("init", "--key", "WEB")
    gone = make_repo("gone")
    gone.kin("init", "--key", "OLD")
    shutil.rmtree(gone.path / ".kin")
    found = {row["project"]: row["items"] for row in json.loads(project.kin("inbox", "--all", "--json").stdout)["data"]}
    assert found == {str(other.path): [], str(project.path): found[str(project.path)]}
    assert found[str(project.path)][0]["task"] == "KIN-1"
    said = other.kin("status", "--all", env={"KIN_DIR": str(other.path / ".kin")})
    assert str(project.path) in said.stdout and str(other.path) in said.stdout and str(gone.path) in said.stderr


def test_priorities_are_those_that_a_file_may_say(project: Repo) -> None:
    for priority in ("1", "high", "3"):
        project.kin("add", "x", "-p", priority)
    listed = lambda *words: [line.split()[0] for line in project.kin("list", *words).stdout.splitlines()]  # noqa: E731
    assert listed("-p", "high") == listed("-p", "p1-highest") == ["KIN-1", "KIN-2"] and listed("-p", "2-5") == ["KIN-3"]
    assert listed("-s", "To Do") == ["KIN-1", "KIN-2", "KIN-3"]
    for words in (("-p", "1-99999999999"), ("-p", "0"), ("-p", "-"), ("-s", "reddy"), ("-n", "-1")):
        project.kin("list", *words, exit=2)
