"""A move that is killed at any instant leaves, after recovery, all of the old state or all of the new one."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import python

from kin.runner.merge import checkout, refs
from kin.runner.merge.build import Built
from kin.runner.merge.move import Moved, move
from kin.runner.merge.recover import recover_moves
from kin.store import locks
from tests.conftest import Repo
from tests.moving import DECISION, RECORD, TASK, build, litter, prepare, project_of, run_killed, snapshot


class Scene(NamedTuple):
    """A person at work in a checkout, a merge to be moved into it, and all of the state before and after."""

    repo: Repo
    made: Built
    before: dict[str, object]
    after: dict[str, object]


def at_work(repo: Repo) -> None:
    """Staged, unstaged, untracked work, hand edits of the task's file in both places, and files that the merge brings too."""
    repo.write("kept", "staged\n")
    repo.write(TASK, repo.read(TASK).replace("A task", "Better title"))
    repo.git("add", "kept", TASK)
    repo.write("kept", "and unstaged\n")
    repo.write("untracked", "u\n")
    repo.write(TASK, repo.read(TASK).replace("priority: 2", "priority: 1").replace("todo", "review"))
    repo.write(DECISION, "id: D-1\n")
    repo.write(RECORD, "run: earlier version\n")


@pytest.fixture(scope="module")
def first_scene(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Filled by the first test that needs it; the others copy its repository."""
    return []


@pytest.fixture
def scene(first_scene: list[Scene], project: Repo, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    if not first_scene:
        prepare(project)
        at_work(project)
        made = build(project)
        before = snapshot(project)
        kept = tmp_path_factory.mktemp("scene")
        shutil.copytree(project.path, kept / "repo", symlinks=True)
        assert isinstance(move(project_of(project), made, message="kin: merge KIN-1"), Moved)
        first_scene.append(Scene(Repo(kept / "repo"), made, before, snapshot(project)))
    found = first_scene[0]
    shutil.rmtree(project.path)
    shutil.copytree(found.repo.path, project.path, symlinks=True)
    return found._replace(repo=project)


def check(scene: Scene, *, moved: bool) -> None:
    """Everything is as before or as after, nothing else; what was taken back then moves; recovery has nothing left to do."""
    assert snapshot(scene.repo) == (scene.after if moved else scene.before)
    assert recover_moves(project_of(scene.repo)) == []
    if not moved:
        assert isinstance(move(project_of(scene.repo), scene.made, message="kin: merge KIN-1"), Moved)
        assert snapshot(scene.repo) == scene.after


JOURNAL = ["files.tmp", "files.own"]
EDIT = ["files.tmp", "files.swapped", "files.done"]
STEPS = [
    *JOURNAL, "move.journal", "move.index_lock", "move.prepared", *JOURNAL, "move.planned", *EDIT, *EDIT, "move.kin",
    "move.entries", "move.files", "move.staged", "move.index", "move.ref", "move.unlocked", "move.settled", "move.forgotten",
]  # fmt: skip
"""Every durable step of this move, in order; the two edits are the task's file and the run's record."""

MOVED = STEPS.index("move.ref")


def passed(scene: Scene, what: str, tmp_path: Path) -> list[str]:
    """The names of the kill points that a whole move or recovery passes."""
    log = tmp_path / "points"
    assert run_killed(scene.repo, what, scene.made, KIN_FAULT_LOG=str(log)) == 0
    return [line.split()[1] for line in log.read_text().splitlines()]


def test_these_are_all_the_steps(scene: Scene, tmp_path: Path) -> None:
    assert passed(scene, "move", tmp_path) == STEPS


@pytest.mark.parametrize("number", range(len(STEPS)), ids=lambda n: f"{n + 1}-{STEPS[n]}")
def test_kill_after_any_step_leaves_old_or_new(scene: Scene, number: int) -> None:
    assert run_killed(scene.repo, "move", scene.made, f"#{number + 1}") == -9
    moved = number >= MOVED
    said = recover_moves(project_of(scene.repo))
    assert all(("finished" if moved else "taken back") in line for line in said)
    assert len(said) == (STEPS.index("files.own") <= number < len(STEPS) - 1)
    check(scene, moved=moved)


@pytest.mark.parametrize("step", ["prepared", "planned", "kin", "files", "index", "ref"])
def test_kill_of_everything_leaves_no_lock_behind(scene: Scene, step: str) -> None:
    """git dies too, with the ref's lock and HEAD's in its hands."""
    assert run_killed(scene.repo, "move", scene.made, f"move.{step}", everything=True) == -9
    if step != "ref":
        assert {".git/HEAD.lock", ".git/index.lock", ".git/refs/heads/main.lock"} <= set(litter(scene.repo))
    recover_moves(project_of(scene.repo))
    check(scene, moved=step == "ref")


RECOVERY = [
    "recover.ref_locks", "recover.index_lock", "recover.private_index", "recover.files", *EDIT, *EDIT, "recover.kin",
    "recover.index", "move.unlocked", "move.forgotten",
]  # fmt: skip


def test_these_are_all_the_steps_of_recovery(scene: Scene, tmp_path: Path) -> None:
    run_killed(scene.repo, "move", scene.made, "move.index")
    assert passed(scene, "recover", tmp_path) == RECOVERY


@pytest.mark.parametrize("number", range(len(RECOVERY)), ids=lambda n: f"{n + 1}-{RECOVERY[n]}")
def test_recovery_can_be_killed_too(scene: Scene, number: int) -> None:
    run_killed(scene.repo, "move", scene.made, "move.index", everything=True)
    assert run_killed(scene.repo, "recover", scene.made, f"#{number + 1}") == -9
    recover_moves(project_of(scene.repo))
    check(scene, moved=False)


@pytest.mark.parametrize("step", ["recover.files", "recover.kin", "recover.index", "move.unlocked"])
def test_recovery_of_a_finished_move_can_be_killed_too(scene: Scene, step: str) -> None:
    run_killed(scene.repo, "move", scene.made, "move.ref")
    assert run_killed(scene.repo, "recover", scene.made, step) == -9
    recover_moves(project_of(scene.repo))
    check(scene, moved=True)


def with_filter(repo: Repo, command: str) -> Built:
    """The merge also brings `zz`, whose filter runs `command` while read-tree is at work."""
    repo.git("switch", "-q", "kin/KIN-1")
    repo.commit("filtered", **{".gitattributes": "zz filter=odd\n", "zz": "1\n"})
    repo.git("switch", "-q", "main")
    repo.git("config", "filter.odd.smudge", command)
    return build(repo)


def killed_in_read_tree(repo: Repo, tmp_path: Path, command: str) -> tuple[Built, dict[str, object]]:
    prepare(repo)
    made = with_filter(repo, f"kill -9 $(cat {tmp_path}/pid) {command} 2>{tmp_path}/said; cat")
    repo.write(TASK, repo.read(TASK).replace("priority: 2", "priority: 1"))
    before = snapshot(repo)
    assert run_killed(repo, "move", made) == -9
    return made, before


def test_kill_of_everything_within_read_tree_takes_back_half_moved_files(project: Repo, tmp_path: Path) -> None:
    made, before = killed_in_read_tree(project, tmp_path, "$PPID")
    project.git("config", "--unset", "filter.odd.smudge")
    assert project.read("changed") == "new\n" and not (project.path / "zz").exists()
    assert "taken back" in recover_moves(project_of(project))[0]
    assert snapshot(project) == before
    assert isinstance(move(project_of(project), made, message="m"), Moved) and project.status() == f" M {TASK}"


def test_recovery_waits_for_the_git_that_a_killed_kin_left_at_work(project: Repo, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    _, before = killed_in_read_tree(project, tmp_path, f"; cat {gate} > {gate}.out")
    assert locks.is_held(locks.lock_path(project_of(project).common, "move-main"))
    said: list[str] = []
    recovery = threading.Thread(target=lambda: said.extend(recover_moves(project_of(project))))
    recovery.start()
    assert project.read("changed") == "new\n" and not said
    gate.write_text("go on\n")
    recovery.join(30)
    assert "taken back" in said[0] and snapshot(project) == before


def test_file_that_was_cut_short_is_put_back(scene: Scene) -> None:
    run_killed(scene.repo, "move", scene.made, "move.files", everything=True)
    scene.repo.write("changed", "ne")
    recover_moves(project_of(scene.repo))
    check(scene, moved=False)


def test_edits_made_between_crash_and_recovery_stay_and_are_named(scene: Scene) -> None:
    run_killed(scene.repo, "move", scene.made, "move.index")
    scene.repo.write("changed", "mine\n")
    scene.repo.write(TASK, scene.repo.read(TASK).replace("priority: 1", "priority: 5"))
    assert "left as they are: changed" in recover_moves(project_of(scene.repo))[0]
    assert scene.repo.read("changed") == "mine\n"
    assert "priority: 5" in scene.repo.read(TASK) and "status: review" in scene.repo.read(TASK)
    assert not (scene.repo.path / "top").exists() and litter(scene.repo) == []


def test_commit_of_a_person_who_removed_the_lock_is_kept(scene: Scene) -> None:
    """The merge was staged, so the commit holds all of it, `done` too; recovery goes by what HEAD has now."""
    run_killed(scene.repo, "move", scene.made, "move.index", everything=True)
    for name in (".git/index.lock", ".git/HEAD.lock", ".git/refs/heads/main.lock"):
        (scene.repo.path / name).unlink()
    scene.repo.git("commit", "-q", "-m", "whatever this is")
    tree = scene.repo.tip("HEAD^{tree}")
    recover_moves(project_of(scene.repo))
    assert scene.repo.tip("HEAD^{tree}") == tree and litter(scene.repo) == []
    assert scene.repo.read("changed") == "new\n" and scene.repo.read("kept") == "and unstaged\n"
    assert "Better title\n\nstatus: done" in scene.repo.git("show", f"HEAD:{TASK}")


def test_missing_file_stays_missing_when_the_move_is_taken_back(scene: Scene) -> None:
    (scene.repo.path / "changed").unlink()
    before = snapshot(scene.repo)
    run_killed(scene.repo, "move", scene.made, "move.files")
    recover_moves(project_of(scene.repo))
    assert snapshot(scene.repo) == before


def test_index_in_other_hands_leaves_the_journal_for_the_next_command(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "INDEX_PATIENCE", 0.05)
    run_killed(scene.repo, "move", scene.made, "move.files")
    lock = scene.repo.path / ".git/index.lock"
    lock.write_text("")
    assert "cannot be put right yet" in recover_moves(project_of(scene.repo))[0]
    lock.unlink()
    assert "taken back" in recover_moves(project_of(scene.repo))[0]
    check(scene, moved=False)


def test_move_with_nobodys_checkout_is_recovered_with_the_stores_file(scene: Scene) -> None:
    scene.repo.git("stash", "-q", "-u")
    scene.repo.git("switch", "-q", "-c", "feature")
    scene.repo.write(TASK, scene.repo.read(TASK).replace("todo", "review"))
    run_killed(scene.repo, "move", scene.made, "move.ref")
    assert "finished" in recover_moves(project_of(scene.repo))[0]
    assert scene.repo.status() == "" and "status: todo" in scene.repo.read(TASK)


def test_damaged_entry_is_named_and_stops_no_other(scene: Scene) -> None:
    run_killed(scene.repo, "move", scene.made, "move.files")
    damaged = scene.repo.write(".git/kin/journal/a-torn.json", "{")
    said = recover_moves(project_of(scene.repo))
    assert "a-torn.json" in said[0] and "taken back" in said[1]
    damaged.unlink()
    check(scene, moved=False)


def test_worktree_that_is_gone_takes_its_journal_along(scene: Scene) -> None:
    scene.repo.git("stash", "-q", "-u")
    scene.repo.git("switch", "-q", "-c", "feature")
    scene.repo.git("worktree", "add", "-q", "../second", "main")
    run_killed(scene.repo, "move", scene.made, "move.files")
    shutil.rmtree(scene.repo.path.parent / "second")
    recover_moves(project_of(scene.repo))
    assert scene.repo.tip("main") == scene.made.old and recover_moves(project_of(scene.repo)) == []


@pytest.mark.parametrize("content", [b"", b"new"])
def test_lock_of_a_killed_git_is_removed_where_nobody_has_the_target(
    scene: Scene, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after it wrote the new id into the lock that it had just made."""
    monkeypatch.setattr(refs, "LOCK_LIFE", 0.05)
    scene.repo.git("switch", "-q", "-c", "feature", "-f")
    run_killed(scene.repo, "move", scene.made, "move.journal")
    lock = scene.repo.path / ".git/refs/heads/main.lock"
    lock.write_bytes(scene.made.new.encode() if content else b"")
    recover_moves(project_of(scene.repo))
    assert not lock.exists() and litter(scene.repo) == []


def test_lock_of_another_git_at_work_is_left_alone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refs, "LOCK_LIFE", 0.05)
    run_killed(scene.repo, "move", scene.made, "move.files", everything=True)
    lock = scene.repo.path / ".git/refs/heads/main.lock"
    lock.write_text(scene.made.old)
    recover_moves(project_of(scene.repo))
    assert lock.read_text() == scene.made.old


def _sparse(repo: Repo) -> None:
    """The person's own sparse checkout leaves out a folder in which the merge changes, adds and deletes files."""
    for name in ("changed", "deleted"):
        repo.write(f"far/{name}", "old\n")
    repo.commit("far")
    repo.git("switch", "-q", "kin/KIN-1")
    repo.git("merge", "-q", "-m", "main", "main")
    repo.git("rm", "-q", "far/deleted")
    repo.commit("far work", far__changed="new\n", far__added="new\n")
    repo.git("switch", "-q", "main")
    repo.git("sparse-checkout", "set", "--no-cone", "/*", "!/far/")


def _crlf(repo: Repo) -> None:
    """What is in the files is not what is in the commits."""
    repo.git("config", "core.autocrlf", "true")
    repo.git("rm", "-q", "-r", "--cached", ".")
    repo.git("reset", "-q", "--hard")
    assert b"\r\n" in (repo.path / "changed").read_bytes()


def _split_index(repo: Repo) -> None:
    repo.git("config", "core.splitIndex", "true")
    repo.git("update-index", "--split-index")


@pytest.mark.parametrize("step", ["files", "index", "ref"])
@pytest.mark.parametrize("lay", [_sparse, _crlf, _split_index], ids=lambda f: f.__name__.strip("_"))
def test_odd_checkouts_are_put_right_too(project: Repo, lay: Callable[[Repo], None], step: str) -> None:
    prepare(project)
    lay(project)
    made = build(project)
    project.write("kept", "mine\n")
    before = snapshot(project)
    assert run_killed(project, "move", made, f"move.{step}") == -9
    recover_moves(project_of(project))
    if step != "ref":
        assert snapshot(project) == before
        assert isinstance(move(project_of(project), made, message="m"), Moved)
    assert project.status() == " M kept" and project.read("changed") == "new\n" and not (project.path / "far").exists()
    assert project.git("ls-files", "-s", "far/added").startswith("100644") == (lay is _sparse) and litter(project) == []


def test_lock_on_a_merge_ref_that_a_killed_git_left_is_removed(project: Repo) -> None:
    lock = project.write(".git/refs/kin/merge/KIN-1.lock", "")
    project.kin("run", "--ready")
    assert not lock.exists()


def test_random_kills_break_nothing() -> None:
    """A short piece of the campaign in bench/."""
    done = python.run([str(Path(__file__).parents[1] / "bench/kill_move.py"), "--runs", "6", "--seed", "1"])
    assert done.returncode == 0 and "6 runs, seed 1: 0 wrong" in done.stdout, done.stdout + done.stderr
