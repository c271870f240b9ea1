"""kill -9 of the runner at durable steps: one more command finishes the task once, and nothing is lost or left behind.

A sample of all points runs here; bench/kill_points.py runs every one.
"""

import json
import os
import signal
from pathlib import Path

import pytest
import python
from conftest import Repo, wait_for
from killing import copy, is_over, killed, make, passages, points, processes


@pytest.mark.parametrize("part", range(4))
def test_a_run_killed_anywhere_is_finished_by_the_next(project: Repo, part: int) -> None:
    make(project, "auto")
    total = points(copy(project, "measure"), "run", "KIN-1", exit=0)
    assert total > 30
    for n in range(1 + part, total + 1, 16):
        repo = copy(project, f"killed-{n}")
        assert killed(repo, "run", "KIN-1", point=f"#{n}", group=n % 2 == 0) == -9
        wait_for(lambda repo=repo: not processes(repo))
        repo.kin("run", "KIN-1", exit=0)
        assert is_over(repo) == [], f"point {n}"
        seen = passages(repo)
        assert seen.count("one") <= 2 and seen.count("two") <= 2 and len([s for s in seen if s != "gate"]) <= 3, f"point {n}"


@pytest.mark.parametrize("part", range(4))
def test_an_approval_killed_anywhere_is_finished_by_the_next(project: Repo, part: int) -> None:
    make(project, "review")
    for n in range(1 + part * 3, 40, 12):
        repo = copy(project, f"killed-{n}")
        repo.kin("run", "KIN-1", exit=3)
        if killed(repo, "approve", "KIN-1", point=f"#{n}", group=n % 2 == 1) == -9:
            repo.kin("approve", "KIN-1", exit=None)
            if "status: done" not in repo.read(".kin/tasks/KIN-1.yaml"):
                repo.kin("run", "KIN-1", exit=0)
        assert is_over(repo) == [], f"point {n}"
        assert passages(repo) == ["one", "two", "gate"], f"point {n}"


@pytest.mark.parametrize("first", ["worktree.added", "step.ended", "commit.moved", "move.files", "move.ref", "completed.saved"])
def test_a_recovery_that_is_killed_too_is_finished_by_the_next(project: Repo, first: str) -> None:
    make(project, "auto")
    for n in (1, 4, 9, 14):
        repo = copy(project, f"killed-{n}")
        assert killed(repo, "run", "KIN-1", point=first) == -9
        killed(repo, "run", "KIN-1", point=f"#{n}")
        repo.kin("run", "KIN-1", exit=0)
        assert is_over(repo) == [], f"{first}, then point {n}"


def test_a_rejection_killed_anywhere_is_finished_by_the_same_command(project: Repo) -> None:
    make(project, "review")
    for n in (4, 10, 13, 16):
        repo = copy(project, f"killed-{n}")
        repo.kin("run", "KIN-1", exit=3)
        assert killed(repo, "reject", "KIN-1", "-m", "no", point=f"#{n}") == -9
        repo.kin("reject", "KIN-1", "-m", "no")
        assert "status: cancelled" in repo.read(".kin/tasks/KIN-1.yaml"), f"point {n}"
        assert not [p for p in (repo.path / ".git/kin/run").rglob("*") if p.is_file()], f"point {n}"
        assert repo.git("for-each-ref", "refs/kin/salvage/KIN-1") and not repo.git("branch", "--list", "kin/*")


@pytest.mark.parametrize("again", ["approve", "run"])
def test_an_approval_that_is_interrupted_goes_on(project: Repo, tmp_path: Path, again: str) -> None:
    make(project, "review")
    project.kin("run", "KIN-1", exit=3)
    os.mkfifo(tmp_path / "nothing")
    gate = json.dumps(f"test -e {tmp_path}/go || {{ touch {tmp_path}/up; exec cat {tmp_path}/nothing; }}")
    project.write(".kin/kin.yaml", f"format: 1\n\nkey: KIN\n\nmode: review\n\ngates:\n  - {gate}\n")
    project.commit("another gate")
    approval = project.start("approve", "KIN-1")
    wait_for((tmp_path / "up").exists)
    approval.send_signal(signal.SIGINT)
    assert approval.wait(20) == 130
    (tmp_path / "go").touch()
    project.kin(again, "KIN-1")
    assert "status: done" in project.read(".kin/tasks/KIN-1.yaml")


def test_work_whose_branch_is_gone_is_brought_back_before_it_is_merged(project: Repo) -> None:
    make(project, "review")
    project.kin("run", "KIN-1", exit=3)
    worktree = project.git("worktree", "list", "--porcelain").split("\n\n")[1].split("\n")[0].removeprefix("worktree ")
    project.git("worktree", "unlock", worktree)
    project.git("worktree", "remove", "--force", worktree)
    project.git("branch", "-D", "kin/KIN-1")
    assert "brings it back" in project.kin("approve", "KIN-1", exit=1).stdout
    project.kin("run", "KIN-1", exit=3)
    project.kin("approve", "KIN-1")
    assert is_over(project) == []


def test_people_at_several_desks_and_a_killer_lose_nothing() -> None:
    """A short piece of the campaign in bench/."""
    office = str(Path(__file__).parents[1] / "bench/office.py")
    done = python.run([office, "--tasks", "2", "--desks", "3", "--moves", "8", "--seed", "3"])
    assert done.returncode == 0, done.stdout + done.stderr
