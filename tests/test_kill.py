"""kill -9 of the runner at durable steps: one more command finishes the task once, and nothing is lost or left behind.

A sample of all points runs here; bench/kill_points.py runs every one.
"""

import pytest
from conftest import Repo, wait_for
from killing import copy, is_over, killed, make, passages, points


@pytest.mark.parametrize("part", range(4))
def test_a_run_killed_anywhere_is_finished_by_the_next(project: Repo, part: int) -> None:
    make(project, "auto")
    total = points(copy(project, "measure"), "run", "KIN-1", exit=0)
    assert total > 30
    for n in range(1 + part, total + 1, 16):
        repo = copy(project, f"killed-{n}")
        assert killed(repo, "run", "KIN-1", point=f"#{n}", group=n % 2 == 0) == -9
        wait_for(lambda repo=repo: not [w for w in is_over(repo) if w.startswith("process")])
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
