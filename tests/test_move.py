"""Moving a merge into a checkout where a person is at work: everything of theirs survives, or nothing moves."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kin.model.status import TaskStatus
from kin.runner.merge import checkout
from kin.runner.merge import move as move_module
from kin.runner.merge.build import Built, Work, build_state
from kin.runner.merge.move import Moved, Pending, move, post_merge
from kin.runner.merge.recover import recover_moves
from kin.runner.merge.taskfile import Standing
from kin.runner.merge.undo import undo
from kin.runner.process.signals import Cancel
from tests.conftest import Repo, task_text
from tests.moving import DECISION, MAIN, RECORD, RUN, TASK, build, litter, prepare, project_of, snapshot


@pytest.fixture
def ready(project: Repo) -> Repo:
    prepare(project)
    return project


def moved(repo: Repo, made: Built, cwd: Path | None = None) -> Moved:
    """Move, and check that code, index and state have arrived and nothing is left over."""
    done = move(project_of(repo), made, message="kin: merge KIN-1")
    assert isinstance(done, Moved), done
    assert repo.tip(made.target) == made.new == done.oid
    assert litter(repo) == [] and repo.git("for-each-ref", "refs/kin") == ""
    if cwd:
        assert (cwd / "changed").read_text() == (cwd / "src/added").read_text() == "new\n" and not (cwd / "deleted").exists()
        assert "status: done" in (cwd / TASK).read_text() and (cwd / RECORD).read_text() == "run: 1\n"
    return done


def refused(repo: Repo, made: Built) -> Pending:
    """Try to move, and check that nothing at all has changed."""
    before = snapshot(repo)
    done = move(project_of(repo), made, message="kin: merge KIN-1")
    assert isinstance(done, Pending), done
    assert snapshot(repo) == before
    return done


def test_clean_checkout_is_clean_again_on_the_merge(ready: Repo) -> None:
    moved(ready, build(ready), ready.path)
    assert ready.status() == "" and ready.git("reflog", "-1", "--format=%gs", "main") == "kin: merge KIN-1"
    assert ready.git("fsck", "--no-dangling") == ""


def test_other_work_is_left_as_it_was(ready: Repo) -> None:
    """Unstaged, staged, both on one file, newly added, intent to add, removed, untracked and ignored."""
    ready.write("kept", "staged\n")
    ready.write("brand", "new\n")
    ready.git("add", "kept", "brand")
    ready.write("kept", "and unstaged\n")
    ready.write("intent", "to add\n")
    ready.git("add", "-N", "intent")
    ready.git("rm", "-q", "other")
    ready.write("untracked", "u\n")
    ready.write("src/x.log", "ignored\n")
    before, index = ready.status(), ready.git("ls-files", "-s", "kept", "brand", "intent")
    moved(ready, build(ready), ready.path)
    assert ready.status() == before and ready.git("ls-files", "-s", "kept", "brand", "intent") == index
    assert ready.read("kept") == "and unstaged\n" and ready.read("src/x.log") == "ignored\n"


def _unstaged(repo: Repo) -> list[str]:
    repo.write("changed", "mine\n")
    return ["changed"]


def _staged(repo: Repo) -> list[str]:
    repo.write("changed", "mine\n")
    repo.git("add", "changed")
    return ["changed"]


def _staged_and_put_back(repo: Repo) -> list[str]:
    _staged(repo)
    repo.write("changed", "old\n")
    return ["changed"]


def _deleted_is_edited(repo: Repo) -> list[str]:
    repo.write("deleted", "mine\n")
    return ["deleted"]


def _untracked(repo: Repo) -> list[str]:
    repo.write("top", "mine\n")
    repo.write("src/added", "mine\n")
    return ["src/added", "top"]


def _ignored(repo: Repo) -> list[str]:
    repo.write(".git/info/exclude", "top\n")
    repo.write("top", "precious\n")
    return ["top"]


def _folder(repo: Repo) -> list[str]:
    repo.write("top/build.log", "ignored\n")
    return ["top/build.log"]


def _staged_in_folder(repo: Repo) -> list[str]:
    repo.write("top/mine", "1\n")
    repo.git("add", "top/mine")
    return ["top/mine"]


def _file_for_folder(repo: Repo) -> list[str]:
    repo.write("src", "mine\n")
    return ["src"]


def _link_for_folder(repo: Repo) -> list[str]:
    (repo.path / "elsewhere").mkdir()
    (repo.path / "src").symlink_to("elsewhere")
    return ["src"]


def _several(repo: Repo) -> list[str]:
    return sorted([*_staged(repo), *_deleted_is_edited(repo), *_untracked(repo)])


def _conflicted_stash(repo: Repo) -> list[str]:
    repo.write("kept", "mine\n")
    repo.git("stash", "-q")
    repo.commit("theirs", kept="theirs\n")
    repo.git("stash", "pop", "-q", ok=(1,))
    return ["kept"]


def _racy(repo: Repo) -> list[str]:
    """An edit of the same size in the index's own instant: only the index's old time gives it away (rule 8)."""
    now = time.time_ns()
    os.utime(repo.path / "changed", ns=(now, now))
    repo.git("update-index", "--refresh", "changed")
    os.utime(repo.path / ".git/index", ns=(now, now))
    repo.write("changed", "OLD\n")
    os.utime(repo.path / "changed", ns=(now, now))
    return ["changed"]


def _hidden_edit(repo: Repo) -> list[str]:
    repo.git("update-index", "--assume-unchanged", "changed")
    repo.write("changed", "mine\n")
    return ["changed"]


IN_THE_WAY = [
    _unstaged, _staged, _staged_and_put_back, _deleted_is_edited, _untracked, _ignored, _folder, _staged_in_folder,
    _file_for_folder, _link_for_folder, _several, _conflicted_stash, _racy, _hidden_edit,
]  # fmt: skip


@pytest.mark.parametrize("lay", IN_THE_WAY, ids=lambda f: f.__name__.strip("_"))
def test_whatever_is_in_the_way_is_named_and_stays(ready: Repo, lay: Callable[[Repo], list[str]]) -> None:
    paths = lay(ready)
    assert list(refused(ready, build(ready)).paths) == paths


def test_once_the_way_is_free_the_same_merge_moves(ready: Repo) -> None:
    made = build(ready)
    ready.write("changed", "mine\n")
    refused(ready, made)
    ready.git("stash", "-q")
    moved(ready, made, ready.path)


def test_touched_but_unchanged_files_are_not_in_the_way(ready: Repo) -> None:
    for name in ("changed", "deleted", TASK):
        os.utime(ready.path / name, (1, 1))
    moved(ready, build(ready), ready.path)


def test_missing_file_is_not_in_the_way(ready: Repo) -> None:
    (ready.path / "changed").unlink()
    moved(ready, build(ready), ready.path)
    assert ready.status() == ""


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("unstaged", [False, True])
def test_hand_edits_of_the_task_file_survive(ready: Repo, staged: bool, unstaged: bool) -> None:
    """Also beside the status that kin wrote there; the merge itself does not carry them."""
    made = build(ready)
    if staged:
        ready.write(TASK, ready.read(TASK).replace("A task", "Better title"))
        ready.git("add", TASK)
    if unstaged:
        ready.write(TASK, ready.read(TASK).replace("priority: 2", "priority: 1").replace("todo", "review"))
    moved(ready, made, ready.path)
    changed = [
        line
        for line in ready.git("diff", "HEAD", "-U0", "--", TASK).splitlines()
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    wanted = (["-title: A task", "+title: Better title"] if staged else []) + (
        ["-priority: 2", "+priority: 1"] if unstaged else []
    )
    assert changed == wanted and "Better" not in ready.git("show", f"main:{TASK}")
    assert ready.git("diff", "--cached", "--name-only") == (TASK if staged else "")


def test_save_between_plan_and_move_survives(ready: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    made, publish = build(ready), move_module.kinfiles.apply

    def save_first(*words: Any) -> None:
        ready.write(TASK, ready.read(TASK).replace("A task", "Saved just now"))
        publish(*words)

    monkeypatch.setattr(move_module.kinfiles, "apply", save_first)
    moved(ready, made, ready.path)
    assert "Saved just now" in ready.read(TASK)


@pytest.mark.parametrize("staged", [False, True])
def test_task_that_was_never_committed_is_tracked_after(ready: Repo, staged: bool) -> None:
    ready.git("rm", "-q", "--cached", TASK)
    ready.git("commit", "-q", "-m", "not committed")
    ready.write(TASK, task_text("KIN-1", status="review"))
    made = build(ready)
    if staged:
        ready.git("add", TASK)
    ready.write(TASK, ready.read(TASK).replace("A task", "Edited since"))
    moved(ready, made, ready.path)
    assert ready.git("ls-files", TASK) == TASK and ready.status() == f" M {TASK}"
    assert "title: A task" in ready.git("show", f":{TASK}") and "Edited since" in ready.read(TASK)


@pytest.mark.parametrize("status", ["cancelled", "in_progress"])
def test_a_status_by_hand_stops_the_merge(ready: Repo, status: str) -> None:
    made = build(ready)
    ready.write(TASK, ready.read(TASK).replace("todo", status))
    stop = refused(ready, made)
    assert stop.paths == (TASK,) and status in stop.reason


def test_unreadable_task_file_stops_the_merge(ready: Repo) -> None:
    made = build(ready)
    ready.write(TASK, "status: [\n")
    assert refused(ready, made).paths == (TASK,)


def test_file_that_an_editor_is_writing_stops_the_merge(ready: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    from kin.store import files

    monkeypatch.setattr(files, "PATIENCE", 0.05)
    made = build(ready)
    with open(ready.path / TASK, "r+"):
        assert "being written" in refused(ready, made).reason


def test_files_of_the_store_that_are_there_already(ready: Repo) -> None:
    """Notes and records lie in the working tree before the merge brings them; only another content is in the way."""
    ready.write(RECORD, "run: earlier version\n")
    ready.write(DECISION, "id: D-1\n")
    moved(ready, build(ready), ready.path)
    assert ready.status() == ""


def test_other_content_of_a_new_store_file_is_in_the_way(ready: Repo) -> None:
    ready.write(DECISION, "id: mine\n")
    assert refused(ready, build(ready)).paths == (DECISION,)


def test_staged_or_missing_task_files_keep_their_absence(ready: Repo) -> None:
    made = build(ready)
    ready.git("rm", "-q", TASK)
    moved(ready, made)
    assert ready.status() == f"D  {TASK}"


def test_state_commit_moves_like_a_merge(ready: Repo) -> None:
    ready.write("changed", "mine\n")
    whole = ready.read(TASK).encode()
    made = build_state(project_of(ready), Work(MAIN, "KIN-1", RUN, whole, {}))
    moved(ready, made)
    assert ready.status() == " M changed" and "status: done" in ready.read(TASK)


def _rebase(repo: Repo) -> None:
    repo.git("branch", "onto", "main~1")
    repo.git("-c", "sequence.editor=sed -i 1s/^pick/edit/", "rebase", "-q", "-i", "onto")


def _rebase_elsewhere(repo: Repo) -> None:
    """main is in no checkout any more: it shows as detached in the worktree that rebases it."""
    _rebase(repo)
    repo.git("worktree", "add", "-q", "--detach", "../second")


def _update_refs(repo: Repo) -> None:
    repo.git("switch", "-q", "-c", "stacked")
    repo.commit("on top", stacked="1\n")
    repo.git("-c", "sequence.editor=sed -i 1s/^pick/edit/", "rebase", "-q", "-i", "--update-refs", "main~1")


def _bisect(repo: Repo) -> None:
    repo.git("bisect", "start")
    repo.git("bisect", "bad", "main")
    repo.git("bisect", "good", "main~2")


def _merge(repo: Repo) -> None:
    repo.git("switch", "-q", "-c", "side")
    repo.commit("side", side="1\n")
    repo.git("switch", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "--no-commit", "side")


def _cherry_pick(repo: Repo) -> None:
    repo.git("branch", "side")
    repo.git("switch", "-q", "side")
    pick = repo.commit("side", kept="side\n")
    repo.git("switch", "-q", "main")
    repo.commit("mine", kept="mine\n")
    repo.git("cherry-pick", pick, ok=(1,))


BUSY = [_rebase, _rebase_elsewhere, _update_refs, _bisect, _merge, _cherry_pick]


@pytest.mark.parametrize("start", BUSY, ids=lambda f: f.__name__.strip("_"))
def test_git_in_the_middle_of_something_is_not_disturbed(ready: Repo, start: Callable[[Repo], None]) -> None:
    start(ready)
    assert "under way" in refused(ready, build(ready)).reason


def test_switch_between_look_and_move_moves_nothing(ready: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    made, keep = build(ready), move_module.keep_index
    ready.git("branch", "feature")

    def switch_first(*words: Any) -> bool:
        ready.git("switch", "-q", "feature")
        return keep(*words)

    monkeypatch.setattr(move_module, "keep_index", switch_first)
    done = move(project_of(ready), made, message="m")
    assert isinstance(done, Pending) and "switched" in done.reason
    assert (
        ready.git("rev-parse", "--abbrev-ref", "HEAD") == "feature" and ready.status() == "" and ready.tip("main") == made.old
    )


def test_target_that_moved_is_told_apart(ready: Repo) -> None:
    made = build(ready)
    ready.commit("meanwhile", kept="more\n")
    stop = refused(ready, made)
    assert stop.stale and "moved" in stop.reason


def test_hook_veto_moves_nothing(ready: Repo) -> None:
    made = build(ready)
    hook = ready.write(".git/hooks/reference-transaction", "#!/bin/sh\necho not today >&2\n[ $1 != prepared ]\n")
    hook.chmod(0o755)
    stop = refused(ready, made)
    assert not stop.stale and "not today" in stop.reason


def test_post_merge_hook_runs_after_and_its_failure_is_a_warning(ready: Repo) -> None:
    hook = ready.write(".git/hooks/post-merge", "#!/bin/sh\ngit rev-parse HEAD > hooked\necho no >&2\nexit 3\n")
    hook.chmod(0o755)
    made = build(ready)
    cancel = Cancel()
    assert post_merge(moved(ready, made, ready.path), cancel.fd) == "the post-merge hook failed: no"
    assert ready.read("hooked").strip() == made.new


def test_index_in_other_hands_moves_nothing(ready: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "INDEX_PATIENCE", 0.05)
    made = build(ready)
    lock = ready.write(".git/index.lock", "")
    done = move(project_of(ready), made, message="m")
    assert isinstance(done, Pending) and "index.lock" in done.reason
    assert lock.read_text() == "" and litter(ready) == [".git/index.lock"] and ready.tip("main") == made.old
    lock.unlink()
    moved(ready, made, ready.path)


def test_ref_in_other_hands_moves_nothing(ready: Repo) -> None:
    made = build(ready)
    lock = ready.write(".git/refs/heads/main.lock", "")
    assert isinstance(move(project_of(ready), made, message="m"), Pending)
    assert lock.exists()
    lock.unlink()
    moved(ready, made, ready.path)


@pytest.mark.parametrize("status", ["review", "blocked", "todo"])
def test_target_nowhere_moves_alone_and_the_store_stays_switchable(ready: Repo, status: str) -> None:
    ready.git("switch", "-q", "-c", "feature")
    made = build(ready)
    block = "\n\nblocked:\n  kind: gate\n  reason: red" if status == "blocked" else ""
    ready.write(TASK, ready.read(TASK).replace("status: todo", f"status: {status}{block}"))
    moved(ready, made)
    assert ready.status() == "" and "status: todo" in ready.read(TASK)
    ready.git("switch", "-q", "main")
    assert "status: done" in ready.read(TASK)


def test_store_in_the_middle_of_a_rebase_is_settled_by_the_next_command(ready: Repo) -> None:
    made = build(ready)
    ready.git("switch", "-q", "-c", "feature")
    ready.commit("more", feature="1\n")
    ready.git("-c", "sequence.editor=sed -i 1s/^pick/edit/", "rebase", "-q", "-i", "HEAD~1")
    ready.write(TASK, ready.read(TASK).replace("todo", "review"))
    assert isinstance(move(project_of(ready), made, message="m"), Moved)
    assert "KIN-1" in recover_moves(project_of(ready))[0] and "status: review" in ready.read(TASK)
    ready.git("rebase", "--quit")
    assert recover_moves(project_of(ready)) == []
    assert "status: todo" in ready.read(TASK) and litter(ready) == []


def test_state_that_is_told_on_a_target_elsewhere_holds_for_the_store_too(ready: Repo) -> None:
    ready.git("switch", "-q", "-c", "feature")
    ready.write(TASK, ready.read(TASK).replace("todo", "review"))
    moved(ready, build_state(project_of(ready), Work(MAIN, "KIN-1", RUN, None, {}), Standing(TaskStatus.review)))
    assert "status: review" in ready.read(TASK)


def test_detached_head_stays_where_it_is(ready: Repo) -> None:
    ready.git("switch", "-q", "--detach")
    head = ready.tip()
    moved(ready, build(ready))
    assert ready.tip() == head and ready.status() == ""


def test_target_in_another_worktree_moves_there(ready: Repo) -> None:
    ready.git("switch", "-q", "-c", "feature")
    ready.git("worktree", "add", "-q", "../second", "main")
    second = ready.path.parent / "second"
    (second / "kept").write_text("mine\n")
    ready.write("changed", "mine, on feature\n")
    moved(ready, build(ready), second)
    assert ready.git("status", "--porcelain", cwd=second) == " M kept"
    assert ready.status() == " M changed" and "status: todo" in ready.read(TASK)


def test_target_that_is_checked_out_twice_does_not_move(ready: Repo) -> None:
    ready.git("worktree", "add", "-q", "-f", "../second", "main")
    assert "twice" in refused(ready, build(ready)).reason


def test_target_in_a_worktree_that_is_not_there_does_not_move(ready: Repo) -> None:
    ready.git("switch", "-q", "-c", "feature")
    ready.git("worktree", "add", "-q", "../second", "main")
    (ready.path.parent / "second").rename(ready.path.parent / "unmounted")
    assert "not there" in refused(ready, build(ready)).reason


def test_target_that_only_origin_has_is_made(ready: Repo) -> None:
    ready.git("update-ref", "refs/remotes/origin/release", "main")
    made = build(ready, "refs/heads/release")
    moved(ready, made)
    assert ready.tip("release") == made.new and ready.tip("main") == made.old


def test_worktree_without_the_store_stays_without_it(ready: Repo) -> None:
    """As a task's own worktree is, when another task is merged into its branch."""
    ready.git("switch", "-q", "-c", "feature")
    ready.git("worktree", "add", "-q", "--no-checkout", "../second", "main")
    second = ready.path.parent / "second"
    ready.git("config", "core.sparseCheckout", "true")
    ready.write(".git/worktrees/second/info/sparse-checkout", "/*\n!/.kin/\n")
    ready.git("read-tree", "-m", "-u", "HEAD", cwd=second)
    made = build(ready)
    moved(ready, made)
    assert (second / "src/added").exists() and not (second / ".kin").exists()
    assert ready.git("status", "--porcelain", cwd=second) == "" and ready.git("write-tree", cwd=second) == ready.tip(
        f"{made.new}^{{tree}}"
    )


@pytest.mark.parametrize("name", ["with space", "quo'te\"s", "ümläut-日本"])
def test_odd_paths(make_repo: Callable[[str], Repo], name: str) -> None:
    repo = make_repo(name)
    repo.write(".kin/kin.yaml", "key: KIN\n")
    prepare(repo)
    repo.git("switch", "-q", "kin/KIN-1")
    repo.commit("odd", **{f"{name}/{name} \t": "1\n", "line\nbreak": "2\n"})
    repo.git("switch", "-q", "main")
    moved(repo, build(repo), repo.path)
    assert repo.read(f"{name}/{name} \t") == "1\n" and repo.status() == ""


def test_called_from_inside_a_hook(ready: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ready.path, ready.path.parent / "wrong")
    monkeypatch.setenv("GIT_DIR", str(ready.path.parent / "wrong/.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(ready.path.parent / "wrong/.git/index.lock"))
    made = build_in_hook(ready)
    done = move(project_of(ready), made, message="m")
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert isinstance(done, Moved) and ready.tip("main") == made.new and ready.status() == ""


def build_in_hook(repo: Repo) -> Built:
    with pytest.MonkeyPatch.context() as outside:
        outside.delenv("GIT_DIR")
        outside.delenv("GIT_INDEX_FILE")
        return build(repo)


def test_filter_that_fails_on_a_late_file_moves_nothing(ready: Repo) -> None:
    """read-tree ends with half of the files moved; they go back (rule 9)."""
    ready.git("switch", "-q", "kin/KIN-1")
    ready.commit("filtered", **{".gitattributes": "zz filter=broken\n", "zz": "1\n"})
    ready.git("switch", "-q", "main")
    ready.git("config", "filter.broken.smudge", "false")
    ready.git("config", "filter.broken.required", "true")
    ready.write("kept", "mine\n")
    ready.write(TASK, ready.read(TASK).replace("A task", "Edited"))
    refused(ready, build(ready))


def test_unstaged_and_already_staged_content_of_the_merge_may_stay(ready: Repo) -> None:
    made = build(ready)
    ready.write("changed", "new\n")
    ready.git("add", "changed")
    moved(ready, made, ready.path)
    assert ready.status() == ""


def test_submodule_moves_in_the_index_and_the_person_is_told(ready: Repo, tmp_path: Path) -> None:
    ready.git("clone", "-q", str(ready.path), str(tmp_path / "library"))
    ready.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "library"), "library")
    ready.commit("submodule")
    ready.git("switch", "-q", "kin/KIN-1")
    ready.git("merge", "-q", "-m", "main", "main")
    ready.git("checkout", "-q", "--detach", "HEAD~1", cwd=ready.path / "library")
    ready.commit("other library")
    ready.git("switch", "-q", "main")
    ready.git("submodule", "update", "-q")
    here = ready.git("rev-parse", "HEAD", cwd=ready.path / "library")
    assert "library" in moved(ready, build(ready), ready.path).warnings[0]
    assert ready.status() == " M library" and ready.git("rev-parse", "HEAD", cwd=ready.path / "library") == here


def test_repository_with_long_ids(make_repo: Callable[[str], Repo]) -> None:
    repo = make_repo("long")
    shutil.rmtree(repo.path)
    repo.path.mkdir()
    repo.git("init", "-q", "--object-format=sha256", "-b", "main")
    repo.write(".kin/kin.yaml", "key: KIN\n")
    prepare(repo)
    moved(repo, build(repo), repo.path)
    assert repo.status() == "" and len(repo.tip()) == 64
    done = undo(project_of(repo), "KIN-1", MAIN)
    assert isinstance(done, Moved) and repo.status() == "" and repo.read("changed") == "old\n"
