"""`kin gc`: what is old is named first, and only that is deleted, and only on a yes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, task_text

from kin.model.record import Live, Run
from kin.model.status import RunStatus
from kin.runner.upkeep import collect
from kin.store import locks, records
from kin.store.project import Project, find

OLD, NEW = "20200101T000000Z-7f3k", "20261124T093200Z-7f3k"
LONG_AGO = "2020-01-01T00:00:00Z"


def here(repo: Repo) -> Project:
    return find(str(repo.path), os.environ)


def gc(repo: Repo, *words: str, exit: int = 0) -> Any:
    document = json.loads(repo.kin("gc", *words, "--json", exit=exit).stdout)
    assert document["kind"] == "gc"
    return document["data"] | {"warnings": document["warnings"]}


def names(data: Any) -> list[tuple[str, str]]:
    return [(old["kind"], old["name"]) for old in data["found"]]


def keep(repo: Repo, name: str, committed: str | None = None, kept: str | None = None) -> None:
    """A salvage of work that was committed at one time and put aside at another; None is now."""
    with pytest.MonkeyPatch.context() as patch:
        if committed:
            patch.setenv("GIT_COMMITTER_DATE", committed)
        oid = repo.git("commit-tree", "-m", "kin: interrupted work", "main^{tree}", "-p", "main")
        if kept:
            patch.setenv("GIT_COMMITTER_DATE", kept)
        else:
            patch.delenv("GIT_COMMITTER_DATE", raising=False)
        repo.git("update-ref", "--create-reflog", "-m", "kin: kept", f"refs/kin/salvage/{name}", oid)


def salvages(repo: Repo) -> list[str]:
    return repo.git("for-each-ref", "--format=%(refname:lstrip=3)", "refs/kin/salvage").split()


def log(repo: Repo, run: str, *, old: bool = True) -> Path:
    path = repo.write(f".git/kin/logs/KIN-1/{run}/1-dev.jsonl", "x" * 5000)
    if old:
        os.utime(path, (1, 1))
        os.utime(path.parent, (1, 1))
    return path


def live(repo: Repo, run: str, status: RunStatus = RunStatus.failed, worktree: str | None = None) -> Path:
    record = Run(run, "KIN-1", status, LONG_AGO, base="main", live=Live(worktree=worktree))
    records.save_live(here(repo), record)
    return Path(records.live_path(here(repo), "KIN-1", run))


def test_a_young_clone_has_nothing_to_delete(project: Repo) -> None:
    keep(project, f"KIN-1/{NEW}-1-dev")
    log(project, NEW, old=False)
    assert gc(project, "--yes")["found"] == [] and "Nothing is older than 30d" in project.kin("gc").stdout
    assert len(salvages(project)) == 1


def test_without_a_yes_it_only_says_what_it_would_delete(project: Repo) -> None:
    keep(project, f"KIN-1/{OLD}-1-dev", LONG_AGO, LONG_AGO)
    path = log(project, OLD)
    data = gc(project)
    assert names(data) == [("salvage", f"KIN-1/{OLD}-1-dev"), ("log", f"KIN-1/{OLD}")] and not data["deleted"]
    said = project.kin("gc").stdout
    assert f"KIN-1/{OLD}-1-dev" in said and "Nothing was deleted" in said and "`--yes`" in said
    assert path.exists() and len(salvages(project)) == 1


def test_a_yes_deletes_just_what_is_older_than_the_bound(project: Repo) -> None:
    keep(project, f"KIN-1/{OLD}-1-dev", LONG_AGO, LONG_AGO)
    keep(project, f"KIN-1/{NEW}-1-dev")
    old, new = log(project, OLD), log(project, NEW, old=False)
    assert gc(project, "--older-than", "365d", "--yes")["deleted"]
    assert salvages(project) == [f"KIN-1/{NEW}-1-dev"]
    assert not old.parent.exists() and new.exists()
    assert gc(project, "--yes")["found"] == []


def test_a_branch_of_old_commits_that_was_put_aside_today_is_young(project: Repo) -> None:
    keep(project, f"KIN-1/{NEW}-rejected", LONG_AGO)
    assert gc(project, "--yes")["found"] == []


def test_a_run_that_can_go_on_keeps_its_record_and_its_logs(project: Repo) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="blocked"))
    record, path = live(project, OLD), log(project, OLD)
    assert gc(project, "--yes")["found"] == []
    assert record.exists() and path.exists()


@pytest.mark.parametrize("status", ["done", "cancelled", None])
def test_a_record_that_nobody_takes_up_goes_with_its_empty_folder(project: Repo, status: str | None) -> None:
    if status:
        project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status=status))
    record = live(project, OLD)
    assert names(gc(project, "--yes")) == [("record", f"KIN-1/{OLD}")]
    assert not record.parent.exists()


def test_a_record_that_a_newer_run_replaced_goes_and_the_newer_stays(project: Repo) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="todo"))
    old, new = live(project, OLD), live(project, NEW)
    assert names(gc(project, "--yes")) == [("record", f"KIN-1/{OLD}")]
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("work", ["branch", "worktree", "running", "elsewhere", "damaged"])
def test_a_record_on_which_work_may_hang_stays(project: Repo, work: str) -> None:
    record = live(project, OLD, RunStatus.running if work == "running" else RunStatus.failed)
    if work == "branch":
        project.git("branch", "kin/KIN-1")
    elif work == "worktree":
        live(project, OLD, worktree=str(project.path))
    elif work == "elsewhere":  # the task is on a branch that is not checked out
        project.git("switch", "-q", "-c", "other")
        project.commit("task", **{".kin/tasks/KIN-1.yaml": task_text("KIN-1")})
        project.git("switch", "-q", "main")
    elif work == "damaged":
        record.write_text("{broken")
    assert gc(project, "--yes")["found"] == [] and record.exists()


def test_temporary_folders_of_this_clones_dead_runs_go_and_others_stay(project: Repo) -> None:
    log(project, OLD, old=False)
    top = Path(os.environ["XDG_STATE_HOME"]) / "kin/tmp"
    for run in (OLD, "20200101T000000Z-zzzz"):
        (top / run).mkdir(parents=True)
        os.utime(top / run, (1, 1))
    assert names(gc(project, "--yes")) == [("temporary", OLD)]
    assert [path.name for path in top.iterdir()] == ["20200101T000000Z-zzzz"]


def test_what_is_being_run_is_left_and_said(project: Repo) -> None:
    keep(project, f"KIN-1/{OLD}-1-dev", LONG_AGO, LONG_AGO)
    path = log(project, OLD)
    with locks.try_lock(locks.lock_path(here(project).common, "KIN-1")) or pytest.fail("not free"):
        data = gc(project, "--yes")
    assert data["found"] == [] and len(data["warnings"]) == 2 and "is being run" in data["warnings"][0]
    assert path.exists() and salvages(project)


def test_what_changed_since_it_was_shown_is_left(project: Repo) -> None:
    from kin.model.times import now

    keep(project, f"KIN-1/{OLD}-1-dev", LONG_AGO, LONG_AGO)
    path = log(project, OLD)
    found = collect.find(here(project), 86400, now(), os.environ)
    keep(project, f"KIN-1/{OLD}-1-dev")
    path.write_text("a run went on\n")
    gone, left = collect.delete(here(project), found)
    assert gone == [] and len(left) == 2 and path.exists() and salvages(project)


def test_what_is_not_kins_is_never_looked_at(project: Repo, tmp_path: Path) -> None:
    log(project, OLD)
    mine = project.write(".git/kin/logs/mine/20200101T000000Z-7f3k/a", "x")
    link = project.path / ".git/kin/logs/KIN-1/20200101T000000Z-aaaa"
    link.symlink_to(tmp_path)
    for path in (mine, mine.parent):
        os.utime(path, (1, 1))
    assert names(gc(project, "--yes")) == [("log", f"KIN-1/{OLD}")]
    assert mine.exists() and link.is_symlink() and tmp_path.is_dir()


@pytest.mark.parametrize("bound", ["soon", "0", "-1d", ""])
def test_a_bound_that_is_none_is_refused(project: Repo, bound: str) -> None:
    assert "older-than" in project.kin("gc", f"--older-than={bound}", exit=2).stderr
