"""A step's work: looked at, judged, made one commit."""

import os
import subprocess
from pathlib import Path

import pytest
import python
from conftest import Repo
from desk import BRANCH, TRAILERS, Desk

from kin import git
from kin.errors import Failed
from kin.runner.tree import commit


@pytest.fixture
def desk(project: Repo) -> Desk:
    project.commit("code", src__a="one\n", src__b="two\n")
    return Desk(project)


def test_a_step_becomes_one_commit_with_its_trailers_by_the_person(desk: Desk) -> None:
    before = desk.look()
    desk.tree.write("src/a", "changed\n")
    desk.tree.write("src/new", "new\n")
    (desk.path / "src/b").unlink()
    assert desk.found_out(before) == []
    oid = desk.commit(before)
    assert oid == desk.repo.tip(BRANCH) and desk.tree.git("rev-parse", "HEAD^") == desk.base
    said = desk.tree.git("log", "-1", "--format=%an <%ae> %cn|%B").strip()
    assert said == "Ada Person <ada@example.org> Ada Person|kin: KIN-12-dev\n\nKin-Step: 1-dev\nKin-Run: 20261124T093200Z-7f3k"
    assert desk.tree.git("diff", "--name-status", "HEAD^", "HEAD") == "M\tsrc/a\nD\tsrc/b\nA\tsrc/new"
    assert desk.look().clean
    assert commit.is_committed(desk.made.path, BRANCH, TRAILERS)
    assert not commit.is_committed(desk.made.path, BRANCH, TRAILERS | {"Kin-Step": "2-dev"})


def test_a_pipe_in_the_place_of_a_file_that_git_reads_for_a_log_holds_up_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "PIPE_PATIENCE", 0.1)
    os.mkfifo(desk.path / ".mailmap")
    assert not commit.is_committed(desk.made.path, BRANCH, TRAILERS)


def test_a_step_that_did_nothing_costs_one_git_process_and_no_commit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = desk.look()
    calls: list[tuple[str, ...]] = []
    real = git.git
    monkeypatch.setattr(git, "git", lambda cwd, *a, **k: (calls.append(a), real(cwd, *a, **k))[1])
    after = desk.look()
    assert commit.found_out(desk.project, desk.made.path, before, BRANCH, desk.base, "KIN-12", "r", after=after) == []
    assert commit.commit_step(desk.made.path, BRANCH, before.head or "", "m", {}, after=after) is None
    assert [call[0] for call in calls] == ["status"]


def test_odd_names_modes_and_links_are_committed_as_they_are(desk: Desk) -> None:
    before = desk.look()
    names = [b"with\nnewline", b"\xff\xfenot-utf8", b":(top)magic", b"*star", b"-dash", b'quo"te', "äöü".encode()]
    for name in names:
        (desk.path / os.fsdecode(name)).write_bytes(name)
    script = desk.tree.write("run.sh", "#!/bin/sh\n")
    script.chmod(0o755)
    (desk.path / "link").symlink_to("src/a")
    (desk.path / "dangling").symlink_to("../../nowhere")
    (desk.path / "src/a").rename(desk.path / "src/renamed")
    assert desk.commit(before)
    tree = subprocess.run(["git", "ls-tree", "-r", "-z", "HEAD"], cwd=desk.path, capture_output=True, check=True).stdout
    held = {line.partition(b"\t")[2]: line[:6] for line in tree.split(b"\0")[:-1]}
    assert all(held[name] == b"100644" for name in names)
    assert (held[b"run.sh"], held[b"link"], held[b"dangling"]) == (b"100755", b"120000", b"120000")
    assert b"src/a" not in held and b"src/renamed" in held
    assert desk.look().clean
    script.chmod(0o644)
    assert desk.commit(desk.look()) is None or desk.tree.git("ls-tree", "HEAD", "run.sh").startswith("100644")


def test_ignore_rules_of_the_step_itself_hold(desk: Desk) -> None:
    before = desk.look()
    desk.tree.write(".gitignore", "build/\n*.log\n")
    desk.tree.write("build/out", "x")
    desk.tree.write("a.log", "x")
    assert desk.commit(before)
    assert desk.tree.git("diff", "--name-only", "HEAD^", "HEAD") == ".gitignore"


def test_carriage_returns_alone_are_no_work_where_git_converts_them(desk: Desk) -> None:
    desk.repo.git("config", "core.autocrlf", "input")
    before = desk.look()
    (desk.path / "src/a").write_bytes(b"one\r\n")
    assert desk.commit(before) is None
    assert desk.repo.tip(BRANCH) == desk.base
    (desk.path / "src/a").write_bytes(b"two\r\n")
    assert desk.commit(before)
    assert desk.tree.git("cat-file", "blob", "HEAD:src/a") == "two"


def test_the_agents_commits_are_folded_into_one(desk: Desk) -> None:
    before = desk.look()
    desk.tree.write("src/a", "first\n")
    desk.git("commit", "-qam", "one")
    desk.tree.write("src/c", "second\n")
    desk.git("add", "-A")
    desk.git("commit", "-qm", "two")
    desk.tree.write("src/d", "not committed\n")
    assert desk.found_out(before) == []
    desk.commit(before)
    assert desk.tree.git("rev-list", "--count", f"{desk.base}..HEAD") == "1"
    assert desk.tree.git("diff", "--name-only", desk.base, "HEAD").split() == ["src/a", "src/c", "src/d"]
    assert desk.look().clean


def test_commits_that_undo_each_other_leave_the_branch_where_it_was(desk: Desk) -> None:
    before = desk.look()
    desk.tree.write("src/a", "first\n")
    desk.git("commit", "-qam", "one")
    desk.git("revert", "--no-edit", "HEAD")
    assert desk.commit(before) is None
    assert desk.repo.tip(BRANCH) == desk.base and desk.look().clean


def test_a_merge_of_the_target_is_kept_and_the_rest_folded(desk: Desk) -> None:
    desk.tree.write("src/a", "ours\n")
    first = desk.commit(desk.look())
    moved = desk.repo.commit("target moves", src__b="theirs\n")
    desk.repo.write(".kin/tasks/KIN-1.yaml", "id: KIN-1\n")
    tip = desk.repo.commit("target moves in .kin too")
    before = desk.look()
    desk.tree.write("src/c", "before the merge\n")
    desk.git("add", "-A")
    desk.git("commit", "-qm", "own")
    desk.git("merge", "-q", "--no-edit", "main")
    desk.tree.write("src/d", "after the merge\n")
    assert desk.found_out(before) == []
    new = desk.commit(before)
    assert git.parents(str(desk.path), new or "") == [first, tip] and moved != tip
    assert desk.tree.git("diff", "--name-only", tip, "HEAD").split() == ["src/a", "src/c", "src/d"]
    assert not (desk.path / ".kin").exists() and desk.look().clean


def test_a_merge_of_the_target_that_was_not_committed_is_concluded(desk: Desk) -> None:
    desk.tree.write("src/a", "ours\n")
    first = desk.commit(desk.look())
    tip = desk.repo.commit("target moves", src__a="theirs\n")
    before = desk.look()
    subprocess.run(["git", "merge", "-q", "main"], cwd=desk.path, capture_output=True, check=False)
    assert desk.found_out(before) == ["left merge conflicts in src/a"]
    assert desk.found_out(before, resolving=True) == ["left merge conflicts in src/a"]
    with pytest.raises(Failed, match="merge conflicts in src/a"):
        desk.commit(before)
    desk.tree.write("src/a", "both\n")
    assert desk.found_out(before, resolving=True) == []
    new = desk.commit(before)
    assert git.parents(str(desk.path), new or "") == [first, tip]
    assert desk.look().clean and desk.tree.git("status", "--porcelain") == ""


def test_a_branch_that_only_followed_the_target_gets_no_commit(desk: Desk) -> None:
    before = desk.look()
    tip = desk.repo.commit("target moves", src__b="theirs\n")
    desk.git("merge", "-q", "main")
    assert desk.found_out(before) == []
    assert desk.commit(before) == tip
    assert not commit.has_own_commits(str(desk.path), tip, desk.repo.tip("main"))


def test_a_merge_of_another_branch_is_folded(desk: Desk) -> None:
    desk.repo.git("checkout", "-q", "-b", "other")
    desk.repo.commit("other work", src__o="o\n")
    desk.repo.git("checkout", "-q", "main")
    before = desk.look()
    desk.git("merge", "-q", "--no-ff", "--no-edit", "other")
    new = desk.commit(before)
    assert git.parents(str(desk.path), new or "") == [desk.base]
    assert desk.tree.read("src/o") == "o\n"


def test_leaving_the_branch_is_found_out(desk: Desk) -> None:
    before = desk.look()
    desk.git("checkout", "-q", "--detach")
    assert desk.found_out(before) == ["detached HEAD from kin/KIN-12"]
    desk.git("checkout", "-q", "-b", "mine")
    assert desk.found_out(before) == ["switched from kin/KIN-12 to mine", "moved refs/heads/mine"]
    with pytest.raises(Failed, match="not on kin/KIN-12"):
        desk.commit(before)


def test_rewriting_the_branch_is_found_out(desk: Desk) -> None:
    desk.tree.write("src/a", "first\n")
    first = desk.commit(desk.look())
    before = desk.look()
    desk.git("commit", "-q", "--amend", "-m", "mine now")
    assert desk.found_out(before) == [f"rewrote its branch: {first[:10]} is no longer in it"]  # type: ignore[index]


def test_moving_another_ref_is_found_out_by_its_reflog(desk: Desk) -> None:
    desk.repo.git("branch", "victim")
    desk.repo.git("branch", "restored")
    before = desk.look()
    desk.repo.commit("a person moves main meanwhile", src__b="person\n")
    desk.git("branch", "-f", "restored", "main")
    desk.git("branch", "-f", "restored", desk.base)
    assert desk.found_out(before) == []
    desk.git("update-ref", "refs/heads/victim", "main")
    assert desk.found_out(before) == ["moved refs/heads/victim"]
    desk.repo.git("reflog", "expire", "--expire=now", "victim", "--rewrite")
    desk.git("update-ref", "refs/heads/victim", desk.base)
    desk.git("update-ref", "refs/heads/victim", "main")
    assert desk.found_out(before) == ["moved refs/heads/victim"]


def test_what_the_run_moved_before_this_step_is_not_held_against_it(desk: Desk) -> None:
    desk.git("branch", "old-sin")
    before = desk.look()
    desk.repo.commit("a person moves on", src__b="person\n")
    desk.repo.git("branch", "-f", "old-sin", "main")
    assert desk.found_out(before) == []


def test_a_stash_left_behind_is_found_out_and_one_taken_back_is_not(desk: Desk) -> None:
    before = desk.look()
    desk.tree.write("src/a", "stashed\n")
    desk.git("stash")
    assert desk.found_out(before) == ["moved refs/stash"]
    desk.git("stash", "pop")
    assert desk.found_out(before) == []


def test_notes_and_the_main_checkouts_head_are_not_a_steps_to_move(desk: Desk) -> None:
    before = desk.look()
    desk.repo.git("switch", "-q", "-c", "a-persons-own")
    desk.git("notes", "add", "-m", "by the step")
    assert desk.found_out(before) == ["moved refs/notes/commits"]
    desk.git("checkout", "-q", "--detach", "main~1", cwd=desk.repo.path)
    assert sorted(desk.found_out(before)) == ["moved HEAD", "moved refs/notes/commits"]


def test_the_main_checkout_on_another_branch_at_the_same_commit_has_moved(desk: Desk) -> None:
    before = desk.look()
    desk.git("switch", "-q", "--detach", cwd=desk.repo.path)
    desk.git("switch", "-q", "main", cwd=desk.repo.path)
    assert desk.found_out(before) == []
    desk.git("switch", "-q", "-c", "the-steps\u2028own", cwd=desk.repo.path)
    assert sorted(desk.found_out(before)) == ["moved HEAD", "moved refs/heads/the-steps\u2028own"]


def test_another_spelling_of_the_stores_name_is_the_store_where_case_does_not_count(desk: Desk) -> None:
    before = desk.look()
    desk.tree.write(".KIN/kin.yaml", "x")
    assert desk.found_out(before) == ["wrote under .kin/: .KIN/kin.yaml"]
    desk.git("add", "-A")
    desk.git("commit", "-qm", "sneaky")
    assert desk.found_out(before) == ["committed changes under .kin/: .KIN/kin.yaml"]


def test_writing_under_the_store_is_found_out(desk: Desk) -> None:
    before = desk.look()
    (desk.path / ".kin").mkdir()
    assert desk.found_out(before) == []
    desk.tree.write(".kin/tasks/KIN-1.yaml", "x")
    assert desk.found_out(before) == ["wrote under .kin/: .kin/tasks/KIN-1.yaml"]
    desk.git("add", "--sparse", "-A")
    desk.git("commit", "-qm", "sneaky")
    assert "committed changes under .kin/: .kin/tasks/KIN-1.yaml" in desk.found_out(before)


def test_ignored_files_under_the_store_are_found_out(desk: Desk) -> None:
    desk.repo.write(".git/info/exclude", "secret\n")
    before = desk.look()
    desk.tree.write(".kin/secret", "x")
    assert desk.found_out(before) == ["wrote under .kin/: .kin/secret"]


def test_a_nested_repository_is_found_out_committed_or_not(desk: Desk) -> None:
    before = desk.look()
    nested = desk.path / "vendor/thing"
    nested.mkdir(parents=True)
    desk.git("init", "-q", cwd=nested)
    assert desk.found_out(before) == ["made a repository inside the worktree: vendor/thing"]
    (nested / "f").write_text("x")
    desk.git("add", "-A", cwd=nested)
    desk.git("commit", "-qm", "inner", cwd=nested)
    with pytest.raises(Failed, match="repository inside"):
        desk.commit(before)
    desk.git("add", "-A")
    assert desk.found_out(before) == ["made a repository inside the worktree: vendor/thing"]
    desk.git("commit", "-qm", "with a link")
    assert desk.found_out(before) == ["committed a repository inside the worktree: vendor/thing"]
    with pytest.raises(Failed, match="repository inside"):
        desk.commit(before)


def test_a_submodule_that_came_with_the_target_is_nobodys_fault(desk: Desk, make_repo: object) -> None:
    library = make_repo("library")  # type: ignore[operator]
    before = desk.look()
    desk.repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "lib")
    tip = desk.repo.commit("a submodule")
    desk.tree.write("src/a", "mine\n")
    desk.git("commit", "-qam", "own")
    desk.git("merge", "-q", "--no-edit", "main")
    assert desk.found_out(before) == []
    assert git.parents(str(desk.path), desk.commit(before) or "") == [tip]


def test_an_unfinished_rebase_is_found_out(desk: Desk) -> None:
    desk.tree.write("src/a", "ours\n")
    desk.commit(desk.look())
    desk.repo.commit("clash", src__a="theirs\n")
    before = desk.look()
    subprocess.run(["git", "rebase", "-q", "main"], cwd=desk.path, capture_output=True, check=False)
    found = desk.found_out(before)
    assert found[:2] == ["detached HEAD from kin/KIN-12", "left a rebase unfinished"]
    assert "left merge conflicts in src/a" in found


def test_a_deleted_worktree_is_found_out(desk: Desk) -> None:
    (desk.path / ".git").unlink()
    with pytest.raises(Failed, match="worktree is gone"):
        desk.look()


def test_locks_that_a_killed_git_left_do_not_stop_the_commit(desk: Desk) -> None:
    before = desk.look()
    desk.tree.write("src/a", "changed\n")
    Path(desk.made.gitdir, "index.lock").write_text("")
    Path(desk.project.git_common, f"{BRANCH}.lock").write_text("")
    assert desk.commit(before)


def test_a_broken_index_is_made_anew(desk: Desk) -> None:
    before = desk.look()
    desk.tree.write("src/a", "changed\n")
    index = Path(desk.made.gitdir, "index")
    index.write_bytes(bytes(index.stat().st_size))
    assert [e.path for e in desk.look().entries] == ["src/a"]
    assert desk.commit(before)
    assert desk.tree.git("diff", "--name-only", "HEAD^", "HEAD") == "src/a"


KILLED = """
import sys
from kin.runner.tree import commit
commit.commit_step(sys.argv[1], "refs/heads/kin/KIN-12", sys.argv[2], "kin: KIN-12-dev", {"Kin-Step": "1-dev"})
"""


@pytest.mark.parametrize("place", ["commit.staged", "commit.written", "commit.moved"])
def test_a_commit_that_was_killed_is_finished_by_the_next_call(desk: Desk, place: str) -> None:
    before = desk.look()
    desk.tree.write("src/a", "changed\n")
    desk.tree.write("new", "new\n")
    done = python.run(["-c", KILLED, desk.made.path, before.head or ""], env=dict(os.environ) | {"KIN_FAULT": place})
    assert done.returncode == -9
    assert desk.found_out(before) == []
    desk.commit(before)
    assert desk.tree.git("rev-list", "--count", f"{desk.base}..HEAD") == "1"
    assert desk.tree.git("diff", "--name-only", desk.base, "HEAD").split() == ["new", "src/a"]
    assert desk.look().clean
