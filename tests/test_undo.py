"""Taking a task back from its target, by kin or by git, and bringing its work again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kin.errors import NotFound, Usage
from kin.runner.merge.build import Built, Clash, Work, build_state
from kin.runner.merge.move import Moved, Pending, move
from kin.runner.merge.recover import recover_moves
from kin.runner.merge.undo import landed, restored, undo
from tests.conftest import Repo
from tests.moving import DECISION, MAIN, RECORD, RUN, TASK, build, litter, prepare, project_of, run_killed, snapshot


@pytest.fixture
def merged(project: Repo) -> Repo:
    """A task whose merge is on main, with later work on top."""
    prepare(project)
    assert isinstance(move(project_of(project), build(project, notes__KIN_1__n="by: Ada\n"), message="m"), Moved)
    project.commit("later", later="later\n")
    return project


def taken_back(repo: Repo) -> str:
    done = undo(project_of(repo), "KIN-1", MAIN)
    assert isinstance(done, Moved), done
    assert repo.tip("main") == done.oid and litter(repo) == [] and repo.git("for-each-ref", "refs/kin") == ""
    return done.oid


def test_undo_gives_code_back_and_todo_and_keeps_the_rest(merged: Repo) -> None:
    merge = landed(str(merged.path), "main", "KIN-1")
    taken_back(merged)
    assert merged.read("changed") == merged.read("deleted") == "old\n" and merged.read("later") == "later\n"
    assert not (merged.path / "src").exists() and not (merged.path / "top").exists()
    assert "status: todo" in merged.read(TASK) and not (merged.path / RECORD).exists() and not (merged.path / DECISION).exists()
    assert merged.read(".kin/notes/KIN_1/n") == "by: Ada\n" and merged.status() == ""
    assert (
        merged.git("log", "-1", "--format=%B").rstrip()
        == f'Revert "kin: KIN-1 A task"\n\nThis reverts commit {merge}.\n\nKin-Undo: KIN-1'
    )
    assert "status: todo" in merged.git("show", f"main:{TASK}")


def test_other_work_in_the_checkout_is_left_as_it_was(merged: Repo) -> None:
    merged.write("kept", "staged\n")
    merged.git("add", "kept")
    merged.write("kept", "mine\n")
    merged.write(TASK, merged.read(TASK).replace("priority: 2", "priority: 1"))
    before = merged.status()
    taken_back(merged)
    assert merged.status() == before and merged.read("kept") == "mine\n"
    assert "status: todo" in merged.read(TASK) and "priority: 1" in merged.read(TASK)


@pytest.mark.parametrize("path", ["changed", DECISION])
def test_edits_in_the_way_move_nothing(merged: Repo, path: str) -> None:
    merged.write(path, "id: mine\n")
    before = snapshot(merged)
    done = undo(project_of(merged), "KIN-1", MAIN)
    assert isinstance(done, Pending) and done.paths == (path,)
    assert snapshot(merged) == before and merged.git("for-each-ref", "refs/kin") == ""


def test_later_work_on_the_same_lines_conflicts(merged: Repo) -> None:
    merged.commit("on top", changed="newer\n")
    before = snapshot(merged)
    assert undo(project_of(merged), "KIN-1", MAIN) == Clash(("changed",))
    assert snapshot(merged) == before


def test_later_work_under_the_store_does_not_conflict(merged: Repo) -> None:
    """git itself would, if the task was set to a third status since."""
    merged.write(TASK, merged.read(TASK).replace("status: done", "status: cancelled"))
    merged.write(DECISION, "id: D-1\n\ntitle: edited since\n")
    merged.commit("by hand")
    taken_back(merged)
    assert "status: todo" in merged.read(TASK) and "edited since" in merged.read(DECISION)
    assert not (merged.path / RECORD).exists()


def test_state_commit_is_taken_back(project: Repo) -> None:
    prepare(project)
    work = Work(MAIN, "KIN-1", RUN, None, {RECORD.removeprefix(".kin/"): b"run: 1\n"})
    made = build_state(project_of(project), work)
    assert isinstance(move(project_of(project), made, message="m"), Moved)
    taken_back(project)
    assert "status: todo" in project.read(TASK) and not (project.path / RECORD).exists() and project.read("changed") == "old\n"


def test_task_that_was_never_merged_cannot_be_undone(project: Repo) -> None:
    prepare(project)
    with pytest.raises(NotFound, match="never merged"):
        undo(project_of(project), "KIN-1", MAIN)


@pytest.mark.parametrize("by_git", [False, True])
def test_undo_happens_once(merged: Repo, by_git: bool) -> None:
    if by_git:
        merged.git("revert", "--no-edit", "-m", "1", str(landed(str(merged.path), "main", "KIN-1")))
    else:
        taken_back(merged)
    with pytest.raises(Usage, match="already"):
        undo(project_of(merged), "KIN-1", MAIN)


def test_code_of_a_task_that_was_only_reopened_is_taken_back(merged: Repo) -> None:
    merged.write(TASK, merged.read(TASK).replace("done", "todo"))
    merged.commit("reopened")
    taken_back(merged)
    assert merged.read("changed") == "old\n" and "status: todo" in merged.read(TASK)


def test_merge_that_a_rebase_has_flattened_is_taken_back_whole(project: Repo) -> None:
    prepare(project)
    project.git("switch", "-q", "kin/KIN-1")
    project.git("commit", "-q", "--amend", "-m", f"kin: KIN-1-developer\n\nKin-Step: 1-developer\nKin-Run: {RUN}")
    project.git("switch", "-q", "main")
    assert isinstance(move(project_of(project), build(project), message="m"), Moved)
    project.git("branch", "elsewhere", "main~1")
    project.git("switch", "-q", "elsewhere")
    project.commit("elsewhere", elsewhere="1\n")
    project.git("switch", "-q", "main")
    project.git("rebase", "-q", "elsewhere")
    assert project.git("log", "--merges", "--format=%s") == ""
    taken_back(project)
    assert project.read("changed") == project.read("deleted") == "old\n" and not (project.path / "top").exists()
    assert "status: todo" in project.read(TASK) and not (project.path / RECORD).exists() and project.read("elsewhere") == "1\n"


def _rename(repo: Repo) -> None:
    repo.git("mv", "changed", "renamed")


def _rename_folder(repo: Repo) -> None:
    repo.git("mv", "src", "lib")


def _mode(repo: Repo) -> None:
    (repo.path / "changed").chmod(0o755)


def _delete(repo: Repo) -> None:
    repo.git("rm", "-q", "changed")


def _neighbour(repo: Repo) -> None:
    repo.write("src/neighbour", "1\n")


def _readd(repo: Repo) -> None:
    repo.write("deleted", "again\n")


LATER = [_rename, _rename_folder, _mode, _delete, _neighbour, _readd]


@pytest.mark.parametrize("later", LATER, ids=lambda f: f.__name__.strip("_"))
def test_code_is_what_git_revert_makes_of_it(merged: Repo, later: Callable[[Repo], None]) -> None:
    """The proof for making it without a worktree: the same tree, or the same conflicts."""
    later(merged)
    merged.commit("later still")
    merge = str(landed(str(merged.path), "main", "KIN-1"))
    merged.git("worktree", "add", "-q", "--detach", "../judge", "main")
    judge = merged.path.parent / "judge"
    merged.git("revert", "--no-commit", "-m", "1", merge, ok=(0, 1), cwd=judge)
    names = lambda *a: {n for n in merged.git(*a, cwd=judge).split("\0") if n and not n.startswith(".kin/")}  # noqa: E731
    conflicts = names("diff", "--name-only", "--diff-filter=U", "-z")
    done = undo(project_of(merged), "KIN-1", MAIN)
    if conflicts:
        assert isinstance(done, Clash) and set(done.paths) == conflicts
    else:
        assert isinstance(done, Moved)
        assert names("diff", "--cached", "--name-only", "-z", done.oid) == set()


def test_killed_undo_is_taken_back(merged: Repo) -> None:
    before = snapshot(merged)
    assert run_killed(merged, "undo", fault="move.index") == -9
    assert "taken back" in recover_moves(project_of(merged))[0]
    assert snapshot(merged) == before
    taken_back(merged)


@pytest.mark.parametrize("by_git", [False, True])
def test_reverted_work_comes_back_on_a_fresh_branch(merged: Repo, by_git: bool) -> None:
    cwd, words = str(merged.path), {"target": MAIN, "task_id": "KIN-1", "run_id": "20261125T000000Z-aaaa"}
    assert restored(project_of(merged), **words) is None
    if by_git:
        merged.git("revert", "--no-edit", "-m", "1", str(landed(cwd, "main", "KIN-1")))
    else:
        taken_back(merged)
    back = restored(project_of(merged), **words)
    assert isinstance(back, str) and merged.tip(f"{back}^") == merged.tip("main")
    assert merged.git("diff", "--name-only", "main", back).splitlines() == ["changed", "deleted", "src/added", "top"]
    merged.git("branch", "-q", "-f", "kin/KIN-1", back)
    again = build(merged)
    assert isinstance(again, Built) and isinstance(move(project_of(merged), again, message="m"), Moved)
    assert merged.read("changed") == "new\n" and "status: done" in merged.read(TASK)
    assert landed(cwd, "main", "KIN-1") == again.new


def test_restored_work_can_conflict(merged: Repo) -> None:
    taken_back(merged)
    merged.commit("other way", changed="another\n")
    words = {"target": MAIN, "task_id": "KIN-1", "run_id": "20261125T000000Z-aaaa"}
    assert restored(project_of(merged), **words) == Clash(("changed",))


def test_undo_where_nobody_has_the_target_checked_out(merged: Repo, tmp_path: Path) -> None:
    merged.git("switch", "-q", "-c", "feature")
    status = merged.read(TASK)
    taken_back(merged)
    assert merged.read(TASK) == status and "status: todo" in merged.git("show", f"main:{TASK}") and merged.status() == ""
