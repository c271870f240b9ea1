"""Several tasks in one command: side by side, in the order of their dependencies, one failure never another's."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, wait_for
from test_run import add, outcomes, settings, status_of

from kin.cli.dispatch import run
from kin.runner.runs.outcome import Outcome
from kin.store.locks import lock_path, try_lock


def listed(*ids: str) -> str:
    return "".join(f"\n  - {i}" for i in ids)


def started(project: Repo, *words: str) -> subprocess.Popen[str]:
    return project.start(
        *words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_what_did_not_even_start_is_told_with_its_way_out(project: Repo) -> None:
    add(project, run="true")
    project.write(".kin/tasks/KIN-2.yaml", "id: KIN-2\ntitle: T\nstatus: todo\n")
    said = project.kin("run", "--ready", exit=7).stdout
    assert "KIN-2  todo  no agent is named" in said and "`kin add TITLE --run CMD`\n" in said


def test_all_that_are_ready_run_beside_files_that_cannot_be_read_which_are_named(project: Repo) -> None:
    add(project, run="true")
    for name in ("KIN-9", "KIN-8"):
        project.write(f".kin/tasks/{name}.yaml", "<<<\n")
    for words in (("--ready",), ()):
        said = project.kin("run", *words).stderr
        assert [line.split(":")[1] for line in said.splitlines()] == [" .kin/tasks/KIN-8.yaml", " .kin/tasks/KIN-9.yaml"]


def waiting_for(signs: Path, name: str) -> str:
    """A command that says that it runs and then hangs for a long time, in a child that ignores TERM."""
    hang = "import signal,threading; signal.signal(signal.SIGTERM, signal.SIG_IGN); threading.Event().wait(300)"
    return f'echo half > half.txt; touch {signs}/{name}; {sys.executable} -c "{hang}"'


def has_open(pid: int, path: str) -> bool:
    """Whether the process has the file open; it may close others while we look."""
    with suppress(FileNotFoundError):
        return any(os.path.realpath(file) == os.path.realpath(path) for file in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_two_tasks_really_run_at_the_same_time(project: Repo, tmp_path: Path) -> None:
    for number, (me, other) in enumerate((("a", "b"), ("b", "a")), 1):
        script = project.write(f"meet-{me}.sh", "")
        wait = [
            "import os, threading",
            f"open({str(tmp_path / me)!r}, 'w').close()",
            f"ok = any(os.path.exists({str(tmp_path / other)!r}) or threading.Event().wait(0.01) for _ in range(2000))",
            "raise SystemExit(0 if ok else 1)",
        ]
        script.write_text("\n".join(wait))
        add(project, number, f"{sys.executable} meet-{me}.sh && echo {me} > {me}.txt")
    found = outcomes(project, "--ready")
    assert {o["task"] for o in found} == {"KIN-1", "KIN-2"} and all(o["status"] == "done" for o in found)
    assert project.status() == "" and project.read("a.txt") == "a\n" and project.read("b.txt") == "b\n"


def test_a_task_whose_dependency_was_just_merged_starts_by_itself(project: Repo) -> None:
    add(project, 1, "echo one > one.txt")
    add(project, 2, "cat one.txt > two.txt", depends_on=listed("KIN-1"))
    add(project, 3, "cat two.txt > three.txt", depends_on=listed("KIN-2"))
    found = outcomes(project, "--ready")
    assert [o["task"] for o in found] == ["KIN-1", "KIN-2", "KIN-3"]
    assert project.read("three.txt") == "one\n"


def test_named_tasks_run_in_the_order_of_their_dependencies(project: Repo) -> None:
    add(project, 1, "echo one > one.txt")
    add(project, 2, "cat one.txt > two.txt", depends_on=listed("KIN-1"))
    found = outcomes(project, "KIN-2", "KIN-1")
    assert [o["task"] for o in found] == ["KIN-1", "KIN-2"] and project.read("two.txt") == "one\n"


@pytest.mark.parametrize(
    ("status", "way"),
    [
        ("draft", "kin run KIN-1 KIN-2"),
        ("blocked", "kin run KIN-1 KIN-2"),
        ("review", "kin why KIN-1"),
        ("cancelled", "kin why KIN-1"),
        (None, "kin set KIN-2 depends_on-=KIN-1"),
    ],
)
def test_what_a_task_needs_is_named_with_a_command_that_helps(project: Repo, status: str | None, way: str) -> None:
    if status:
        add(project, 1, status=status)
    add(project, 2, depends_on=listed("KIN-1"))
    assert f"`{way}`" in project.kin("run", "KIN-2", exit=6).stderr
    project.kin(*way.split()[1:])


def test_one_failure_stays_one_pipelines(project: Repo) -> None:
    add(project, 1, "exit 3")
    add(project, 2, "echo two > two.txt")
    add(project, 3, "true", depends_on=listed("KIN-1"))
    found = {o["task"]: o for o in outcomes(project, "KIN-1", "KIN-2", "KIN-3", exit=1)}
    assert found["KIN-1"]["blocked"] == "failed" and found["KIN-2"]["status"] == "done"
    assert found["KIN-3"]["exit"] == 6 and found["KIN-3"]["run"] is None and "KIN-1" in str(found["KIN-3"]["reason"])
    assert status_of(project, "KIN-3") == "todo"


def test_a_file_whose_name_is_no_utf_8_stops_no_pipeline_when_it_is_named(project: Repo) -> None:
    odd = os.fsdecode(b"odd\xff")
    project.commit("odd", **{odd: "old\n"})
    for number in (1, 2):
        add(project, number, f"for f in odd*; do echo {number} > $f; done")
    project.write(odd, "a person's\n")
    found = outcomes(project, "KIN-1", "KIN-2", exit=4)
    assert [o["waiting"]["for"] for o in found] == ["merge", "merge"]  # type: ignore[index]


def test_a_branch_whose_name_is_no_utf_8_gets_its_merge_after_a_review(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    odd = os.fsdecode(b"caf\xe9")
    project.git("checkout", "-q", "-b", odd)
    outcomes(project, "KIN-1", exit=3)
    project.kin("approve", "KIN-1")
    assert project.read("hello.txt") == "hello\n" and project.tip() == project.tip(odd) != project.tip("main")
    project.kin("undo", "KIN-1")


def test_tasks_that_touch_the_same_files_do_not_run_together(project: Repo, tmp_path: Path) -> None:
    probe = f"mkdir {tmp_path}/alone && echo x >> all.txt && rmdir {tmp_path}/alone"
    for number in (1, 2, 3):
        add(project, number, probe, touches=listed("src/**"))
    settings(project)
    found = outcomes(project, "--ready", exit=None)
    assert [o["status"] for o in found] == ["done"] * 3, found
    assert project.read("all.txt") == "x\n" * 3


def test_a_task_that_is_being_run_is_refused_with_who_runs_it(project: Repo, tmp_path: Path) -> None:
    add(project, 1, waiting_for(tmp_path, "up"))
    first = started(project, "run", "KIN-1")
    wait_for((tmp_path / "up").exists)
    assert "in_progress" in project.kin("list").stdout
    done = project.kin("run", "KIN-1", exit=6)
    assert str(first.pid) in done.stderr and "kin stop KIN-1" in done.stderr
    assert project.status() == "", "a run writes nothing into tracked files while it runs"
    project.kin("stop", "KIN-1")
    first.communicate(timeout=20)
    assert first.returncode == 143


def test_a_copy_of_the_clone_runs_its_task_without_ending_what_the_original_runs(project: Repo, tmp_path: Path) -> None:
    add(project, 1, f"test -e {tmp_path}/up || {{ {waiting_for(tmp_path, 'up')}; }}; echo 1 > one.txt")
    first = started(project, "run", "KIN-1")
    wait_for((tmp_path / "up").exists)
    copy = Repo(tmp_path / "copy")
    shutil.copytree(project.path, copy.path, symlinks=True)
    copy.kin("run", "KIN-1")
    assert copy.read("one.txt") == "1\n" and "in_progress" in project.kin("list").stdout and first.poll() is None
    project.kin("stop", "KIN-1")
    first.communicate(timeout=20)


def test_a_runner_that_stands_still_is_nobodys_to_take_over(project: Repo, tmp_path: Path) -> None:
    add(project, 1, waiting_for(tmp_path, "up"))
    first = started(project, "run", "KIN-1")
    wait_for((tmp_path / "up").exists)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        project.kin("run", "KIN-1", exit=6)
        project.kin("doctor", "--fix", exit=None)
        project.kin("run", "KIN-1", exit=6)
        assert "in_progress" in project.kin("list").stdout
    finally:
        os.kill(first.pid, signal.SIGCONT)
    project.kin("stop", "KIN-1")
    first.communicate(timeout=20)


def test_stop_does_not_deny_a_run_whose_lock_names_nobody(project: Repo) -> None:
    add(project, 1, "true")
    with try_lock(lock_path(f"{project.path}/.git/kin", "KIN-1")) as held:  # type: ignore[union-attr]
        os.truncate(held.path, 0)
        assert "KIN-1 is being run, and its lock does not say by whom" in project.kin("stop", "1", exit=6).stderr


def test_stop_ends_a_run_that_ctrl_z_stopped_as_any_other(project: Repo, tmp_path: Path) -> None:
    add(project, 1, waiting_for(tmp_path, "up"))
    first = started(project, "run", "KIN-1")
    wait_for((tmp_path / "up").exists)
    os.kill(first.pid, signal.SIGTSTP)
    project.kin("stop", "KIN-1")
    first.communicate(timeout=20)
    assert first.returncode == 143, "it ended by itself and was not killed"


def test_stop_ends_all_processes_keeps_the_work_and_the_run_goes_on(project: Repo, tmp_path: Path) -> None:
    text = f"test -e {tmp_path}/second && exit 0; {waiting_for(tmp_path, 'up')}"
    add(project, 1, text)
    first = started(project, "run", "KIN-1")
    wait_for((tmp_path / "up").exists)
    project.kin("stop", "KIN-1")
    first.communicate(timeout=20)
    text = project.read(".kin/tasks/KIN-1.yaml")
    assert status_of(project) == "blocked" and "manual" in text
    (ref,) = project.git("for-each-ref", "--format=%(refname)", "refs/kin/salvage/KIN-1").splitlines()
    assert project.git("show", f"{ref}:half.txt") == "half"
    (tmp_path / "second").touch()
    project.kin("run", "KIN-1")
    assert status_of(project) == "done"


def test_one_of_several_that_a_person_stops_hides_no_failure(project: Repo, tmp_path: Path) -> None:
    add(project, 1, waiting_for(tmp_path, "up"))
    add(project, 2, "exit 3")
    command = started(project, "run", "--ready", "--json")
    wait_for(lambda: (tmp_path / "up").exists() and status_of(project, "KIN-2") == "blocked")
    project.kin("stop", "KIN-1")
    out, _ = command.communicate(timeout=20)
    assert {o["task"]: o["exit"] for o in json.loads(out)["data"]} == {"KIN-1": 3, "KIN-2": 1}
    assert command.returncode == 1


def test_ctrl_c_cancels_and_leaves_the_task_as_it_was(project: Repo, tmp_path: Path) -> None:
    add(project, 1, waiting_for(tmp_path, "up"))
    first = started(project, "run", "KIN-1")
    wait_for((tmp_path / "up").exists)
    os.kill(first.pid, signal.SIGINT)
    first.communicate(timeout=20)
    assert first.returncode == 130 and status_of(project) == "todo"
    assert [line for line in project.status().splitlines() if "pipelines" not in line] == []


@pytest.mark.parametrize(
    ("lock", "status", "number"), [("queue-main", "cancelled", signal.SIGINT), ("slot-1", None, signal.SIGTERM)]
)
def test_a_signal_while_others_have_what_it_waits_for_stops_it_like_any_other(
    project: Repo, lock: str, status: str | None, number: int
) -> None:
    settings(project, "concurrency: 1")
    add(project)
    path = lock_path(str(project.path / ".git/kin"), lock)
    with try_lock(path) or pytest.fail("free"):
        first = started(project, "run", "KIN-1", "--wait", "--json")
        # both locks are looked at before, when no signal is heard yet: then it has no record, and is in no queue
        runs, queued = project.path / ".git/kin/run/KIN-1", lock_path(str(project.path / ".git/kin"), "KIN-1.queued")
        waits = partial(has_open, first.pid, queued) if status is None else lambda: any(runs.glob("*.yaml"))
        wait_for(lambda: has_open(first.pid, path) and waits())
        first.send_signal(number)
        first.communicate(timeout=20)
    assert first.returncode == 128 + number and status_of(project) == "todo"
    records = [file.read_text() for file in (project.path / ".kin/pipelines").rglob("*.yaml")]
    assert [f"status: {status}" in text for text in records] == ([True] if status else [])
    project.kin("run", "KIN-1")
    assert status_of(project) == "done"


def test_a_step_that_was_finished_when_the_signal_came_is_not_paid_for_again(project: Repo, tmp_path: Path) -> None:
    once_it_ended = "while kill -0 $$; do :; done; kill -TERM $(cut -d' ' -f4 /proc/$PPID/stat)"
    add(project, 1, f"echo 1 | tee -a {tmp_path}/paid > one.txt; trap '' TERM; ({once_it_ended}; sleep 1000) &")
    project.kin("run", "KIN-1", exit=143)
    assert status_of(project) == "todo"
    project.kin("run", "KIN-1")
    assert status_of(project) == "done" and project.read("one.txt") == (tmp_path / "paid").read_text() == "1\n"


def test_a_signal_to_several_reaches_each_of_them(project: Repo, tmp_path: Path) -> None:
    for number in (1, 2):
        add(project, number, waiting_for(tmp_path, f"up{number}"))
    parent = started(project, "run", "--ready", "--json")
    wait_for(lambda: (tmp_path / "up1").exists() and (tmp_path / "up2").exists())
    parent.send_signal(signal.SIGTERM)
    out, _ = parent.communicate(timeout=30)
    assert parent.returncode == 143 and {o["exit"] for o in json.loads(out)["data"]} == {143}


def test_pipelines_end_when_the_command_that_started_them_is_killed(project: Repo, tmp_path: Path) -> None:
    for number in (1, 2):
        add(project, number, waiting_for(tmp_path, f"up{number}"))
    parent = started(project, "run", "--ready")
    wait_for(lambda: (tmp_path / "up1").exists() and (tmp_path / "up2").exists())
    parent.kill()
    parent.communicate(timeout=20)
    wait_for(lambda: "in_progress" not in project.kin("list").stdout)
    assert status_of(project, "KIN-1") == status_of(project, "KIN-2") == "todo"


def test_kill_9_in_a_step_ends_its_processes_and_the_next_run_goes_on(project: Repo, tmp_path: Path) -> None:
    add(project, 1, f"test -e {tmp_path}/second && exit 0; {waiting_for(tmp_path, 'up')}")
    first = started(project, "run", "KIN-1")
    wait_for((tmp_path / "up").exists)
    first.kill()
    first.communicate(timeout=20)
    (tmp_path / "second").touch()
    done = project.kin("run", "--ready", "--json")
    (outcome,) = json.loads(done.stdout)["data"]
    assert outcome["status"] == "done"
    refs = project.git("for-each-ref", "--format=%(refname)", "refs/kin/salvage/KIN-1").splitlines()
    assert [project.git("show", f"{ref}:half.txt") for ref in refs] == ["half"]


def test_more_tasks_than_slots_queue_behind_each_other(project: Repo) -> None:
    settings(project, "concurrency: 2")
    for number in range(1, 6):
        add(project, number, f"echo {number} > f{number}", commit=False)
    project.commit("tasks")
    assert len(outcomes(project, "--ready")) == 5
    assert all((project.path / f"f{n}").exists() for n in range(1, 6)) and project.status() == ""


def run_in_the_only_slot(project: Repo, tmp_path: Path) -> subprocess.Popen[str]:
    """A run of KIN-1 that goes on until it is stopped, beside a KIN-2 that is ready."""
    settings(project, "concurrency: 1")
    add(project, 1, waiting_for(tmp_path, "up"))
    add(project, 2)
    running = started(project, "run", "KIN-1")
    wait_for((tmp_path / "up").exists)
    return running


def stop(project: Repo, *ids: str) -> list[dict[str, Any]]:
    """What `kin stop` says of runs: all that `kin run` says, and more."""
    found: list[dict[str, Any]] = json.loads(project.kin("stop", *ids, "--json").stdout)["data"]
    assert all(set(Outcome._fields) <= set(one) for one in found)
    return found


def test_no_free_slot_is_busy_and_names_wait(project: Repo, tmp_path: Path) -> None:
    first = run_in_the_only_slot(project, tmp_path)
    assert "--wait" in project.kin("run", "KIN-2", exit=6).stderr
    second = started(project, "run", "KIN-2", "--wait")
    project.kin("stop", "KIN-1")
    first.communicate(timeout=20)
    second.communicate(timeout=30)
    assert second.returncode == 0 and status_of(project, "KIN-2") == "done"


def test_a_detached_run_in_the_queue_is_seen_explained_and_taken_out(project: Repo, tmp_path: Path) -> None:
    first = run_in_the_only_slot(project, tmp_path)
    (outcome,) = outcomes(project, "KIN-2", "--detach", exit=6)
    assert (outcome["run"], outcome["status"]) == (None, "todo")
    (outcome,) = outcomes(project, "KIN-2", "--detach", "--wait")
    assert outcome["run"] is None and "kin stop KIN-2" in str(outcome["reason"])
    assert "KIN-2 is todo (queued)\n  it waits in the queue for a slot, behind KIN-1" in project.kin("why", "2").stdout
    assert "KIN-2" in project.kin("status").stdout and project.kin("list", "--ready", "--quiet").stdout == ""
    assert "in the queue already" in project.kin("run", "KIN-2", "--wait", exit=6).stderr
    assert project.kin("stop", "KIN-2").stdout == "KIN-2  taken out of the queue\n"
    assert "KIN-2 is todo\n  all 1 slots are taken" in project.kin("why", "2").stdout
    outcomes(project, "KIN-2", "--detach", "--wait")
    queued, stopped = stop(project, "KIN-2", "KIN-1")
    assert (queued["run"], queued["status"], queued["exit"], queued["queued"]) == (None, "todo", 0, True)
    assert stopped["run"] and (stopped["status"], stopped["blocked"], stopped["exit"]) == ("blocked", "manual", 3)
    assert stopped["step"] == "1-developer" and stopped["branch"] == "kin/KIN-1" and stopped["pid"] == first.pid
    first.communicate(timeout=20)
    (outcome,) = outcomes(project, "KIN-2", "--detach", "--wait")
    assert outcome["run"]  # it had a slot at once
    wait_for(lambda: status_of(project, "KIN-2") == "done")


def test_a_task_that_nobody_named_is_left_if_it_was_blocked_while_it_queued(project: Repo, tmp_path: Path) -> None:
    first = run_in_the_only_slot(project, tmp_path)
    queued = started(project, "run", "--ready", "--wait", "--json")
    wait_for(lambda: "(queued)" in project.kin("why", "2").stdout)
    project.kin("set", "KIN-2", "status=blocked")
    project.kin("stop", "KIN-1")
    first.communicate(timeout=20)
    found = {o["task"]: o for o in json.loads(queued.communicate(timeout=20)[0])["data"]}
    assert (found["KIN-2"]["run"], found["KIN-2"]["exit"]) == (None, 6)
    assert "KIN-2 is blocked by now" in found["KIN-2"]["reason"] and status_of(project, "KIN-1") == "blocked"
    outcomes(project, "KIN-2")


def test_a_task_that_is_being_stopped_is_ready_for_nobody(project: Repo) -> None:
    add(project)
    mark = project.write(".git/kin/run/KIN-1/stopping", "")  # as `kin stop` has it until it has recorded the end
    (outcome,) = outcomes(project, "--ready", exit=6)
    assert "a person stopped KIN-1 just now" in str(outcome["reason"])
    mark.unlink()
    outcomes(project, "--ready")


def test_what_waits_for_a_person_is_named_when_nothing_is_ready(project: Repo) -> None:
    settings(project, mode="review")
    add(project, 1)
    outcomes(project, "KIN-1", exit=3)
    assert "KIN-1" in project.kin("run", "--ready").stdout


def test_a_detached_run_comes_back_with_its_id_and_outlives_its_caller(project: Repo, tmp_path: Path) -> None:
    add(project, 1, f"while ! test -e {tmp_path}/go; do :; done; echo one > one.txt")
    done = project.kin("run", "KIN-1", "--detach", "--json")
    (outcome,) = json.loads(done.stdout)["data"]
    assert outcome["run"] and outcome["status"] == "in_progress"
    assert "in_progress" in project.kin("list").stdout
    again = project.kin("run", "KIN-1", "--detach", exit=6)
    assert "in_progress" in again.stdout and "kin stop KIN-1" in again.stdout
    (tmp_path / "go").touch()
    wait_for(lambda: (project.path / "one.txt").exists() and status_of(project) == "done")
    wait_for(lambda: len(project.git("worktree", "list").splitlines()) == 1)


def test_a_detached_run_that_cannot_have_a_log_says_so_to_its_caller(project: Repo) -> None:
    add(project)
    project.write(".git/kin/logs", "a file")
    (outcome,) = outcomes(project, "--detach", "KIN-1", exit=7)
    assert outcome["run"] is None and "kin/logs" in str(outcome["reason"])
    assert status_of(project) == "todo"


def test_a_detached_run_that_is_killed_before_it_has_a_record_is_no_bug(project: Repo) -> None:
    add(project)
    done = project.kin("run", "--detach", "KIN-1", "--json", exit=1, env={"KIN_FAULT": "claimed"})
    (outcome,) = json.loads(done.stdout)["data"]
    assert outcome["run"] is None and "was killed" in outcome["reason"] and "`kin run KIN-1`" in outcome["reason"]
    outcomes(project, "KIN-1")


def test_a_detached_run_finds_the_sessions_ssh_agent(project: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    add(project, 1, "echo $SSH_AUTH_SOCK > agent.txt")
    with (
        tempfile.TemporaryDirectory() as runtime,
        socket.socket(socket.AF_UNIX) as gone,
        socket.socket(socket.AF_UNIX) as agent,
    ):
        gone.bind(f"{runtime}/ssh-agent.socket")  # nobody listens any more
        agent.bind(f"{runtime}/openssh_agent")
        agent.listen()
        project.kin("run", "KIN-1", "--detach", env={"XDG_RUNTIME_DIR": runtime})
        wait_for(lambda: (project.path / "agent.txt").exists() and project.read("agent.txt"))  # git makes it, then fills it
        assert project.read("agent.txt") == f"{runtime}/openssh_agent\n"


def test_attach_follows_a_detached_run_and_ends_as_it_does(project: Repo, tmp_path: Path) -> None:
    add(project, 1, f"echo first words; {waiting_for(tmp_path, 'up')}")
    project.kin("run", "KIN-1", "--detach")
    wait_for((tmp_path / "up").exists)
    follower = started(project, "attach", "KIN-1")
    project.kin("stop", "KIN-1")
    said, _ = follower.communicate(timeout=30)
    assert "first words" in said
    assert follower.returncode in (3, 130)  # as the file says once `stop` is over, or as the run itself ended just before


def test_restore_begins_with_the_work_that_was_reverted(project: Repo) -> None:
    add(project, 1, "test -e one.txt && echo more >> one.txt || echo one > one.txt")
    project.kin("run", "KIN-1")
    project.git("revert", "--no-edit", "-m", "1", "HEAD")
    project.kin("run", "KIN-1", "--restore")
    assert project.read("one.txt") == "one\nmore\n" and status_of(project) == "done"
    assert project.git("for-each-ref", "refs/kin/merge") == ""


def test_slots_that_all_clones_share_are_counted_over_all_of_them(
    project: Repo, make_repo: Callable[[str], Repo], tmp_path: Path
) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "kin/config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("concurrency: 1\n")
    other = make_repo("other")
    other.write(".kin/kin.yaml", "key: OTH\n\nmode: auto\n")
    other.write(".kin/tasks/OTH-1.yaml", 'id: OTH-1\n\ntitle: T\n\nstatus: todo\n\npipeline:\n  - run: "echo x > x"\n')
    other.commit("tasks")
    add(project, 1, waiting_for(tmp_path, "up"))
    first = started(project, "run", "KIN-1")
    wait_for((tmp_path / "up").exists)
    assert "this machine's 1 slots" in other.kin("run", "OTH-1", exit=6).stderr
    project.kin("stop", "KIN-1")
    first.communicate(timeout=20)
    other.kin("run", "OTH-1")


def test_a_detached_run_keeps_none_of_its_callers_pipes(project: Repo, tmp_path: Path) -> None:
    add(project, 1, f"while ! test -e {tmp_path}/go; do :; done")
    hear, told = os.pipe()
    subprocess.run(
        [sys.executable, "-m", "kin", "run", "KIN-1", "--detach"],
        cwd=project.path,
        pass_fds=(told,),
        check=True,
        capture_output=True,
        timeout=60,
    )
    os.close(told)
    assert os.read(hear, 1) == b"", "the pipe ends although the run goes on"
    os.close(hear)
    assert "in_progress" in project.kin("list").stdout
    (tmp_path / "go").touch()
    wait_for(lambda: status_of(project) == "done")


def test_a_task_that_becomes_ready_later_starts_only_if_its_settings_are_trusted(
    project: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.git("branch", "other")
    add(project, 1, "echo one > one.txt")
    add(project, 2, "true", depends_on=listed("KIN-1"), base="other")
    project.git("switch", "-q", "other")
    project.git("checkout", "main", "--", ".kin")
    settings(project, gates=("touch ran-by-a-stranger",))
    project.git("switch", "-q", "main")
    monkeypatch.delenv("KIN_TRUST")
    project.kin("trust", "--yes")
    found = {o["task"]: o for o in outcomes(project, "--ready", exit=3)}
    assert found["KIN-1"]["status"] == "done"
    assert found["KIN-2"]["exit"] == 3 and found["KIN-2"]["run"] is None and "kin trust" in str(found["KIN-2"]["reason"])
    assert not project.git("branch", "--list", "kin/*")


def test_a_limit_of_the_system_is_no_bug_of_one_of_several(
    project: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def short_of_files(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    for number in (1, 2):
        add(project, number, "true")
    monkeypatch.setattr("kin.runner.runs.many.run_task", short_of_files)
    monkeypatch.chdir(project.path)
    assert run(["run", "1", "2", "--json"], os.environ) == 7
    assert capsys.readouterr().out.count("Too many open files; `ulimit -n` says") == 2
