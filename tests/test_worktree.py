"""A task's worktree: made, found again, mended, put back, removed; and killed between any two of its steps."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import python
from conftest import Repo
from desk import BRANCH, RUN, TASK, Desk

from kin import git
from kin.errors import Busy, Conflict, Invalid
from kin.runner.merge.refs import RefUpdate
from kin.runner.tree import salvage, worktree
from kin.runner.tree.aside import set_aside
from kin.runner.tree.removal import remove_folder
from kin.store import locks
from kin.store.project import find_repository


@pytest.fixture
def coded(project: Repo) -> Repo:
    project.write(".kin/tasks/KIN-12.yaml", "id: KIN-12\n")
    project.commit("code", src__a="one\n", src__b="two\n", **{".gitignore": "build/\n.env*\n"})
    return project


@pytest.fixture
def desk(coded: Repo) -> Desk:
    return Desk(coded)


def listed(repo: Repo) -> list[str]:
    return [w.path for w in git.worktrees(str(repo.path))][1:]


def test_a_worktree_has_the_code_on_its_branch_and_hides_the_store(desk: Desk) -> None:
    assert desk.path == desk.folder and not desk.path.is_relative_to(desk.repo.path)
    assert desk.files() == {"README.md", "src/a", "src/b", ".gitignore"}
    assert desk.tree.git("symbolic-ref", "HEAD") == BRANCH and desk.made.start == desk.base
    assert desk.look().clean and desk.made.fresh
    assert desk.repo.status() == ""
    assert "worktreeConfig" not in desk.repo.read(".git/config")


def test_the_store_stays_hidden_through_the_agents_own_merges_and_checkouts(desk: Desk) -> None:
    desk.repo.write(".kin/tasks/KIN-12.yaml", "id: KIN-12\n\nstatus: done\n")
    desk.repo.write(".kin/tasks/KIN-13.yaml", "id: KIN-13\n")
    desk.repo.commit("the store moves", src__b="theirs\n")
    desk.tree.write("src/a", "mine\n")
    desk.git("commit", "-qam", "own")
    desk.git("merge", "-q", "--no-edit", "main")
    desk.tree.write("src/a", "again\n")
    desk.git("stash")
    desk.git("checkout", "-q", "main", "--", ".")
    desk.git("reset", "-q", "--hard", "HEAD")
    desk.git("stash", "pop")
    assert not (desk.path / ".kin").exists()


def test_several_processes_write_a_checkout_unless_the_person_says_how_many(
    coded: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded.git("config", "checkout.thresholdForParallelism", "2")
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    desk = Desk(coded)
    assert "checkout--worker" in trace.read_text()
    assert desk.files() == {"README.md", "src/a", "src/b", ".gitignore"} and desk.look().clean
    coded.git("config", "checkout.workers", "1")
    trace.unlink()
    worktree.ensure(desk.project, desk.settings, "KIN-13", RUN, desk.base, os.environ)
    assert "read-tree" in trace.read_text() and "checkout--worker" not in trace.read_text()


def test_a_system_that_allows_no_more_processes_has_one_write_the_checkout(
    coded: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    refuse = "echo half > src/b; echo 'fatal: failed to spawn checkout worker' >&2; exit 128"
    only_one = f'case "$*" in *"checkout.workers=1 "*) ;; *read-tree*) mkdir src; {refuse} ;; esac'
    fake.write_text(f'#!/bin/sh\n{only_one}\nexec {shutil.which("git")} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    desk = Desk(coded)
    assert desk.tree.read("src/b") == "two\n" and desk.look().clean


def test_it_is_found_again_as_it_was(desk: Desk) -> None:
    desk.tree.write("src/a", "work\n")
    worktree.mark_ready(desk.made.gitdir)
    first = desk.made
    desk.sit()
    assert desk.made == first._replace(fresh=False, new=False)
    assert desk.tree.read("src/a") == "work\n"


def test_setup_is_wanted_until_it_went_well(desk: Desk) -> None:
    desk.sit()
    assert desk.made.fresh
    worktree.mark_ready(desk.made.gitdir)
    desk.sit()
    assert not desk.made.fresh


def test_a_sparse_checkout_of_the_persons_own_is_respected(coded: Repo) -> None:
    coded.git("sparse-checkout", "set", "--no-cone", "/*", "!/src/b")
    desk = Desk(coded)
    assert "src/b" not in desk.files() and ".kin/kin.yaml" in desk.files()
    before = desk.look()
    assert desk.found_out(before) == []
    desk.tree.write(".kin/kin.yaml", "key: X\n")
    assert desk.found_out(before) == ["wrote under .kin/: .kin/kin.yaml"]


@pytest.mark.parametrize("name", ["with space", "quo'te\"d", "äöü-日本", "[glob]*"])
def test_a_repository_may_have_any_name(make_repo: Callable[[str], Repo], name: str) -> None:
    repo = make_repo(name)
    repo.write(".kin/kin.yaml", "key: KIN\n")
    repo.commit("kin")
    desk = Desk(repo)
    assert desk.files() == {"README.md"}
    before = desk.look()
    desk.tree.write("new", "x")
    assert desk.commit(before) and desk.look().clean


def test_the_clone_can_be_moved(desk: Desk, tmp_path: Path) -> None:
    desk.tree.write("src/a", "work\n")
    desk.repo.path.rename(tmp_path / "moved")
    moved = Desk(Repo(tmp_path / "moved"))
    assert moved.path == desk.path and not (desk.path / ".kin").exists()
    assert moved.tree.git("status", "--porcelain") == " M src/a"
    assert moved.tree.git("config", "--bool", "core.sparseCheckout") == "true"


@pytest.mark.parametrize("made_again", [False, True])
def test_a_worktree_that_a_person_moved_comes_back_with_what_is_in_it(desk: Desk, tmp_path: Path, made_again: bool) -> None:
    desk.tree.write("src/a", "work\n")
    desk.repo.git("worktree", "move", "-f", "-f", str(desk.path), str(tmp_path / "moved"))
    if made_again:
        desk.path.mkdir()
    desk.sit()
    assert desk.path == desk.folder and not (tmp_path / "moved").exists()
    assert desk.tree.git("status", "--porcelain") == " M src/a"
    desk.reset(desk.base)
    assert desk.look().clean and desk.tree.git("symbolic-ref", "HEAD") == BRANCH


def test_a_copy_of_the_clone_leaves_the_worktrees_of_the_original_alone(desk: Desk, tmp_path: Path) -> None:
    desk.tree.write("src/a", "work\n")
    shutil.copytree(desk.repo.path, tmp_path / "copy", symlinks=True)
    copy = Desk(Repo(tmp_path / "copy"))
    assert copy.path != desk.path and copy.tree.read("src/a") == "one\n"
    assert desk.tree.git("status", "--porcelain") == " M src/a"
    shutil.copytree(desk.repo.path, tmp_path / "second", symlinks=True)
    other = find_repository(str(tmp_path / "second"), os.environ)
    worktree.discard(other, desk.made.path)
    assert worktree.remove(other, desk.made.path, BRANCH, desk.base) is None
    assert desk.tree.git("status", "--porcelain") == " M src/a"


def test_a_project_of_nothing_but_a_store_has_an_empty_worktree(project: Repo) -> None:
    project.git("rm", "-q", "README.md")
    project.commit("only the store")
    desk = Desk(project)
    assert desk.files() == set() and desk.look().clean
    before = desk.look()
    desk.tree.write("first", "x")
    oid = desk.commit(before)
    assert oid and desk.look().clean
    (desk.path / "first").unlink()
    assert desk.commit(desk.look()) and desk.look().clean
    desk.reset(desk.base)
    assert desk.look().clean and desk.files() == set()


def test_hooks_that_fail_stop_nothing_of_kins(coded: Repo) -> None:
    names = ("post-checkout", "pre-commit", "commit-msg", "post-commit", "post-index-change", "post-merge")
    for name in names:
        coded.write(f".git/hooks/{name}", "#!/bin/sh\nexit 1\n").chmod(0o755)
    desk = Desk(coded)
    desk.tree.write("src/a", "work\n")
    oid = desk.commit(desk.look()) or ""
    desk.reset(desk.base)
    assert worktree.fast_forward(desk.made.path, BRANCH, desk.base, oid)
    assert worktree.remove(desk.project, desk.made.path, BRANCH, oid) is None


def test_a_hook_that_forbids_the_branch_leaves_nothing_behind(coded: Repo) -> None:
    script = '#!/bin/sh\n[ "$1" = prepared ] && grep -q refs/heads/kin/ && exit 1\nexit 0\n'
    coded.write(".git/hooks/reference-transaction", script).chmod(0o755)
    with pytest.raises(git.GitError):
        Desk(coded)
    assert listed(coded) == [] and coded.git("branch", "--list", "kin/*") == ""
    (coded.path / ".git/hooks/reference-transaction").unlink()
    assert Desk(coded).look().clean


def test_a_persons_own_worktree_with_such_a_name_is_whole(desk: Desk, tmp_path: Path) -> None:
    desk.repo.git("worktree", "add", "-q", "--detach", str(tmp_path / "KIN-foo"))
    assert (tmp_path / "KIN-foo/.kin/kin.yaml").exists()


def test_without_a_commit_there_is_nothing_to_start_from(desk: Desk) -> None:
    with pytest.raises(Invalid, match="no commit to start from") as caught:
        worktree.ensure(desk.project, desk.settings, "KIN-13", RUN, None, os.environ)
    assert "commit once first" in caught.value.hint


def test_a_branch_that_a_person_has_checked_out_is_refused(coded: Repo) -> None:
    coded.git("checkout", "-q", "-b", "kin/KIN-12")
    with pytest.raises(Busy, match="kin/KIN-12 is checked out in"):
        Desk(coded)
    assert listed(coded) == []


def test_a_folder_that_is_not_kins_is_refused_and_left_alone(coded: Repo, tmp_path: Path) -> None:
    theirs = tmp_path / "trees" / TASK
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("years of work")
    with pytest.raises(Invalid, match="in the way"):
        Desk(coded, worktrees=str(theirs.parent))
    assert (theirs / "thesis.txt").read_text() == "years of work"
    assert coded.git("branch", "--list", "kin/*") == "" and listed(coded) == []


def test_a_branch_called_kin_is_named_as_the_obstacle(coded: Repo) -> None:
    coded.git("branch", "kin")
    with pytest.raises(Invalid, match="a branch called kin is in the way"):
        Desk(coded)
    assert listed(coded) == []


def test_worktrees_can_be_put_elsewhere_and_one_that_lies_at_the_old_place_is_used_there(desk: Desk, tmp_path: Path) -> None:
    desk.tree.write("src/a", "work\n")
    desk.settings = desk.settings.model_copy(update={"worktrees": str(tmp_path / "elsewhere")})
    old = desk.path
    desk.sit()
    assert desk.path == old and desk.tree.read("src/a") == "work\n"
    shutil.rmtree(old)
    desk.sit()
    assert desk.path == tmp_path / "elsewhere" / TASK and desk.tree.read("src/a") == "one\n"


def test_a_folder_deleted_by_hand_is_made_again_with_the_branchs_work(desk: Desk) -> None:
    desk.tree.write("src/a", "work\n")
    oid = desk.commit(desk.look())
    worktree.mark_ready(desk.made.gitdir)
    shutil.rmtree(desk.path)
    desk.sit()
    assert desk.made.start == oid and desk.made.fresh
    assert desk.tree.read("src/a") == "work\n" and desk.look().clean
    assert len(listed(desk.repo)) == 1


def test_a_commit_that_only_a_deleted_worktree_held_is_kept(desk: Desk) -> None:
    desk.git("checkout", "-q", "--detach")
    desk.tree.write("src/a", "work\n")
    desk.git("commit", "-qam", "detached")
    oid = desk.tree.tip("HEAD")
    shutil.rmtree(desk.path)
    desk.sit()
    assert desk.repo.tip(f"refs/kin/salvage/{TASK}/{RUN}-head") == oid


def test_a_deleted_branch_comes_back_where_the_worktree_had_it(desk: Desk) -> None:
    desk.tree.write("src/a", "work\n")
    oid = desk.commit(desk.look())
    desk.git("update-ref", "-d", BRANCH)
    desk.tree.write("src/b", "uncommitted\n")
    saved = desk.salvage(oid)
    assert saved.complete and git.parents(str(desk.repo.path), saved.ref or "") == [oid]
    desk.sit()
    assert desk.made.start == oid == desk.repo.tip(BRANCH)
    assert desk.tree.git("status", "--porcelain") == " M src/b"


def test_a_lost_index_or_git_file_costs_no_work(desk: Desk) -> None:
    worktree.mark_ready(desk.made.gitdir)
    desk.tree.write("src/a", "work\n")
    desk.tree.write("src/new", "work\n")
    for lost in (Path(desk.made.gitdir, "index"), desk.path / ".git", Path(desk.made.gitdir, "commondir")):
        lost.unlink()
    desk.sit()
    assert desk.tree.git("status", "--porcelain").splitlines() == [" M src/a", "?? src/new"]


def test_a_worktree_turned_into_another_repository_is_saved_before_it_is_made_again(desk: Desk) -> None:
    (desk.path / ".git").unlink()
    desk.git("init", "-q")
    desk.tree.write("src/a", "work\n")
    desk.git("add", "-A")
    desk.git("commit", "-qm", "a new life")
    oid = desk.tree.tip("HEAD")
    desk.sit()
    assert desk.look().clean and desk.tree.git("symbolic-ref", "HEAD") == BRANCH
    kept = f"refs/kin/salvage/{TASK}/{RUN}-stray"
    assert desk.repo.git("show", f"{kept}:src/a") == "work"
    assert desk.repo.tip(f"{kept}-nested-1") == oid


def test_a_worktree_that_lost_its_git_file_is_saved_before_it_is_discarded(desk: Desk) -> None:
    desk.tree.write("src/a", "work\n")
    (desk.path / ".git").unlink()
    worktree.discard(desk.project, desk.made.path)
    assert not desk.path.exists() and listed(desk.repo) == []
    assert desk.repo.git("diff", "--name-only", desk.base, f"refs/kin/salvage/{TASK}/discarded-stray") == "src/a"


def test_a_folder_that_git_forgot_is_saved_before_it_makes_place(desk: Desk) -> None:
    desk.tree.write("src/a", "work\n")
    shutil.rmtree(desk.made.gitdir)
    desk.sit()
    assert desk.tree.read("src/a") == "one\n"
    assert desk.repo.git("diff", "--name-only", desk.base, f"refs/kin/salvage/{TASK}/{RUN}-stray") == "src/a"


def test_a_forgotten_folder_that_cannot_be_saved_whole_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage, "SIZE_LIMIT", 10)
    desk.tree.write("big", "x" * 11)
    shutil.rmtree(desk.made.gitdir)
    with pytest.raises(Invalid, match=r"could not be saved whole \(big\)"):
        desk.sit()
    assert desk.tree.read("big") == "x" * 11


def test_a_thousand_folders_within_each_other_are_removed(tmp_path: Path) -> None:
    deep = "import os\nfor _ in range(1100):\n  os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", deep], cwd=tmp_path, check=True)
    remove_folder(str(tmp_path / "d"))
    assert not (tmp_path / "d").exists()


def test_a_file_in_a_worktrees_place_is_put_aside(desk: Desk) -> None:
    shutil.rmtree(desk.path)
    desk.path.write_text("left\n")
    desk.sit()
    assert desk.tree.read("src/a") == "one\n"
    assert Path(f"{desk.path}.found").read_text() == "left\n"


def test_ignored_files_that_are_named_are_copied_once(coded: Repo) -> None:
    coded.write(".worktreeinclude", ".env*\n!.env.prod\nbuild/cache/\nREADME.md\n")
    coded.write(".env", "SECRET=1\n").chmod(0o600)
    coded.write(".env.prod", "SECRET=2\n")
    coded.write("build/cache/deep/x", "cached")
    coded.write("build/other", "not named")
    (coded.path / "build/cache/link").symlink_to("deep/x")
    coded.write("untracked", "neither ignored nor named")
    desk = Desk(coded)
    copied = desk.files() - {"README.md", "src/a", "src/b", ".gitignore", ".worktreeinclude"}
    assert copied == {".env", "build/cache/deep/x", "build/cache/link"}
    assert (desk.path / ".env").stat().st_mode & 0o777 == 0o600
    assert (desk.path / "build/cache/link").readlink() == Path("deep/x")
    desk.tree.write(".env", "changed by a step\n")
    desk.sit()
    assert desk.tree.read(".env") == "changed by a step\n"
    assert desk.look().clean


def test_copies_do_not_follow_a_link_out_of_the_worktree(coded: Repo, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (coded.path / "conf").symlink_to(tmp_path / "outside")
    coded.commit("a link out")
    (coded.path / "conf").unlink()
    coded.write("conf/.env", "SECRET=1\n")
    coded.write(".worktreeinclude", ".env\n")
    Desk(coded)
    assert list((tmp_path / "outside").iterdir()) == []


def test_reset_takes_back_everything_but_ignored_files(desk: Desk) -> None:
    desk.tree.write("src/a", "work\n")
    done = desk.commit(desk.look()) or ""
    desk.tree.write("build/cache", "kept")
    desk.git("checkout", "-q", "-b", "astray")
    desk.tree.write("src/a", "more\n")
    desk.git("commit", "-qam", "astray")
    desk.tree.write("untracked/x", "x")
    desk.tree.write(".kin/tasks/KIN-99.yaml", "x")
    (desk.path / "nested").mkdir()
    desk.git("init", "-q", cwd=desk.path / "nested")
    desk.git("add", "src")
    Path(desk.made.gitdir, "index.lock").write_text("")
    desk.reset(done)
    assert desk.files() == {"README.md", "src/a", "src/b", ".gitignore", "build/cache"}
    state = desk.look()
    assert (state.head, state.branch, state.clean, state.store) == (done, BRANCH, True, False)


def test_reset_ends_a_rebase_and_a_disabled_sparse_checkout(desk: Desk) -> None:
    desk.tree.write("src/a", "ours\n")
    done = desk.commit(desk.look()) or ""
    desk.repo.commit("clash", src__a="theirs\n")
    desk.git("sparse-checkout", "disable")
    assert (desk.path / ".kin").exists()
    subprocess.run(["git", "rebase", "-q", "main"], cwd=desk.path, capture_output=True, check=False)
    desk.reset(done)
    state = desk.look()
    assert (state.head, state.branch, state.clean, state.store, state.under_way) == (done, BRANCH, True, False, None)
    assert desk.tree.git("status", "--porcelain") == "" and desk.tree.read("src/a") == "ours\n"


def test_a_branch_without_work_follows_the_target(desk: Desk) -> None:
    desk.tree.write("build/cache", "kept")
    tip = desk.repo.commit("target moves", src__a="theirs\n", src__new="new\n", **{".kin__tasks__KIN-13.yaml": "x\n"})
    assert worktree.fast_forward(desk.made.path, BRANCH, desk.base, tip)
    assert desk.tree.read("src/a") == "theirs\n" and desk.tree.read("build/cache") == "kept"
    assert desk.look().clean and desk.repo.tip(BRANCH) == tip and not (desk.path / ".kin").exists()
    assert not worktree.fast_forward(desk.made.path, BRANCH, desk.base, tip)


def test_a_throwaway_worktree_is_gone_afterwards_whatever_happened_in_it(desk: Desk) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        worktree.throwaway(desk.project, desk.settings, desk.base, "KIN-12-gates", os.environ) as path,
    ):
        assert sorted(os.listdir(path)) == [".git", ".gitignore", "README.md", "src"]
        Path(path, "left").write_text("by a gate")
        raise ZeroDivisionError
    assert not os.path.exists(path) and listed(desk.repo) == [desk.made.path]


def test_a_throwaway_worktree_of_a_killed_run_is_cleared_by_the_next(desk: Desk) -> None:
    manager = worktree.throwaway(desk.project, desk.settings, desk.base, "KIN-12-gates", os.environ)
    left = Path(manager.__enter__(), "left")
    left.write_text("by a gate")
    with worktree.throwaway(desk.project, desk.settings, desk.base, "KIN-12-gates", os.environ):
        assert not left.exists()
    manager = worktree.throwaway(desk.project, desk.settings, desk.base, "KIN-12-gates", os.environ)
    manager.__enter__()
    assert worktree.remove(desk.project, desk.made.path, BRANCH, desk.base) is None
    assert listed(desk.repo) == [] and not left.parent.exists()


def merged(desk: Desk) -> str:
    desk.tree.write("src/a", "work\n")
    desk.commit(desk.look())
    desk.repo.git("merge", "-q", "--no-edit", "kin/KIN-12")
    return desk.repo.tip("main")


def test_a_merged_worktree_and_branch_are_removed(desk: Desk) -> None:
    target = merged(desk)
    desk.tree.write("build/out", "ignored")
    readonly = desk.path / "build/cache"
    readonly.mkdir()
    (readonly / "x").write_text("x")
    readonly.chmod(0o500)
    assert worktree.remove(desk.project, desk.made.path, BRANCH, target) is None
    assert not desk.path.exists() and listed(desk.repo) == []
    assert git.tip(str(desk.repo.path), BRANCH) is None
    assert worktree.remove(desk.project, desk.made.path, BRANCH, target) is None


def test_a_merged_worktree_of_a_clone_that_was_moved_is_removed(desk: Desk, tmp_path: Path) -> None:
    target = merged(desk)
    desk.repo.path.rename(tmp_path / "moved")
    moved = Repo(tmp_path / "moved")
    assert worktree.remove(find_repository(str(moved.path), {}), desk.made.path, BRANCH, target) is None
    assert not desk.path.exists() and listed(moved) == []


def test_nothing_is_removed_while_something_would_be_lost(desk: Desk) -> None:
    target = merged(desk)
    remove = lambda: worktree.remove(desk.project, desk.made.path, BRANCH, target)  # noqa: E731
    desk.tree.write("src/new", "x")
    assert remove() == "the worktree has uncommitted files: src/new"
    desk.git("add", "-A")
    desk.git("commit", "-qm", "more")
    assert remove() == "kin/KIN-12 has commits that are not merged"
    desk.git("checkout", "-q", "--detach")
    desk.repo.git("update-ref", BRANCH, target)
    assert remove() == "the worktree's HEAD has commits that are not merged"
    assert desk.tree.read("src/new") == "x" and desk.repo.tip(BRANCH) == target


def test_commits_that_only_a_submodule_of_the_worktree_holds_keep_it(desk: Desk, make_repo: Callable[[str], Repo]) -> None:
    library = make_repo("library")
    desk.repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "lib")
    tip = desk.repo.commit("a submodule")
    worktree.fast_forward(desk.made.path, BRANCH, desk.base, tip)
    desk.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    desk.git("commit", "-q", "--allow-empty", "-m", "unpushed", cwd=desk.path / "lib")
    inner = desk.tree.git("rev-parse", "HEAD", cwd=desk.path / "lib")
    desk.git("checkout", "-q", "--detach", "origin/main", cwd=desk.path / "lib")
    desk.git("branch", "mine", inner, cwd=desk.path / "lib")
    reason = worktree.remove(desk.project, desk.made.path, BRANCH, tip)
    assert reason == "the submodule lib has commits that were not pushed"
    with pytest.raises(Conflict, match="lib has commits"):
        worktree.discard(desk.project, desk.made.path)
    desk.git("branch", "-D", "mine", cwd=desk.path / "lib")
    (desk.path / "lib/new").write_text("x")
    assert worktree.remove(desk.project, desk.made.path, BRANCH, tip) == "the submodule lib has changed files"
    with pytest.raises(Conflict, match="lib has changed files"):
        worktree.discard(desk.project, desk.made.path)
    (desk.path / "lib/new").unlink()
    assert worktree.remove(desk.project, desk.made.path, BRANCH, tip) is None
    assert not desk.path.exists()


@pytest.fixture
def with_library(desk: Desk, make_repo: Callable[[str], Repo], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The worktree on a target that has a submodule, `lib`, which has one, `lib/inner`; neither is checked out."""
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'protocol.file.allow'='always'")
    inner, library = make_repo("inner"), make_repo("library")
    inner.commit("files", a="inner")
    library.git("submodule", "--quiet", "add", str(inner.path), "inner")
    library.commit("files", a="one\n")
    desk.repo.git("submodule", "--quiet", "add", str(library.path), "lib")
    tip = desk.repo.commit("a submodule")
    worktree.fast_forward(desk.made.path, BRANCH, desk.base, tip)
    desk.base = tip
    return desk


@pytest.mark.parametrize("honest", [False, True])
def test_no_git_of_kins_reads_the_settings_of_a_repository_that_a_step_put_in_a_submodules_place(
    with_library: Desk, honest: bool, tmp_path: Path
) -> None:
    desk, ran = with_library, tmp_path / "ran"
    if honest:  # then only the submodule's own submodule is another
        desk.git("submodule", "--quiet", "update", "--init")
    lib = desk.path / ("lib/inner" if honest else "lib")
    desk.repo.git("config", "submodule.recurse", "true")
    aside = ("--separate-git-dir", str(tmp_path / "elsewhere")) if honest else ()
    desk.git("clone", "-q", *aside, str(desk.repo.path.parent / ("inner" if honest else "library")), str(lib))
    (lib / ".gitattributes").write_text("* filter=mine\n")
    (lib / "b").write_text("a file\n")
    desk.git("config", "filter.mine.clean", f"touch {ran}; cat", cwd=lib)
    os.utime(lib / "a", (1, 1))
    before = desk.look()
    desk.tree.write("new", "x")
    assert desk.salvage().complete
    assert desk.commit(before) is not None
    desk.tree.write("src/a", "changed\n")
    desk.reset(desk.tree.tip("HEAD"))
    assert git.is_clean(desk.made.path)
    reason = worktree.remove(desk.project, desk.made.path, BRANCH, desk.tree.tip("HEAD"))
    assert reason == f"the submodule {lib.relative_to(desk.path)} is another repository than git made"
    (lib / ".git").rename(tmp_path / "aside")
    os.mkfifo(lib / ".git")
    assert desk.look().head
    assert not ran.exists()


def test_hooks_that_a_step_writes_are_not_run_by_kins_own_git_and_those_elsewhere_are(desk: Desk, tmp_path: Path) -> None:
    ran, asked = tmp_path / "ran", tmp_path / "asked"
    for name in ("post-index-change", "reference-transaction", "post-checkout"):
        for tree, mark in ((desk.tree, ran), (desk.repo, asked)):
            tree.write(f".husky/{name}", f"#!/bin/sh\ntouch {mark}\n").chmod(0o755)
    desk.repo.git("config", "core.hooksPath", ".husky")
    asked.unlink(missing_ok=True)
    desk.tree.write("src/a", "changed\n")
    assert desk.salvage().complete
    before = desk.look()
    assert desk.commit(before) is not None
    desk.reset(desk.base)
    assert not ran.exists() and not asked.exists()
    desk.repo.git("config", "core.hooksPath", str(desk.repo.path / ".husky"))
    desk.tree.write("src/a", "changed\n")
    desk.reset(desk.base)
    assert asked.exists() and not ran.exists()


def test_a_merge_into_a_tasks_own_branch_runs_no_hook_that_its_step_wrote(desk: Desk, tmp_path: Path) -> None:
    desk.repo.git("config", "core.hooksPath", ".husky")
    desk.tree.write(".husky/reference-transaction", f"#!/bin/sh\ntouch {tmp_path}/ran\n").chmod(0o755)
    new = git.commit_tree(desk.made.path, git.tree_of(desk.made.path, "HEAD"), [desk.base], "merged\n")
    with RefUpdate(desk.made.path, BRANCH, new, desk.base, "merged", ()) as ref:
        assert ref.prepare() is None and ref.commit() is None
    assert desk.tree.tip() == new and not (tmp_path / "ran").exists()


def test_a_worktree_whose_git_file_a_step_changed_is_set_aside_without_reading_what_it_leads_to(
    desk: Desk, tmp_path: Path
) -> None:
    ran, elsewhere = tmp_path / "ran", tmp_path / "elsewhere"
    desk.repo.git("config", "core.hooksPath", ".husky")
    desk.tree.write(".husky/post-index-change", f"#!/bin/sh\ntouch {ran}\n").chmod(0o755)
    desk.tree.write("src/a", "work\n")
    (desk.path / ".git").unlink()
    desk.git("init", "-q", "--separate-git-dir", str(elsewhere))
    (elsewhere / "HEAD").write_text(desk.base + "\n")
    (elsewhere / "objects/info").mkdir(exist_ok=True)
    (elsewhere / "objects/info/alternates").write_text(f"{desk.repo.path}/.git/objects\n")
    desk.git("read-tree", "HEAD")
    desk.git("config", "filter.mine.clean", f"touch {ran}; cat")
    desk.tree.write(".gitattributes", "* filter=mine\n")
    os.utime(desk.path / "src/b", (1, 1))
    kept = worktree.remove(desk.project, desk.made.path, BRANCH, desk.base)
    assert kept == "the worktree's `.git` is gone, or leads elsewhere"
    set_aside(desk.project, TASK, RUN, "rejected", path=desk.made.path, target=desk.base)
    assert not ran.exists() and not desk.path.exists()
    assert desk.repo.git("show", f"refs/kin/salvage/{TASK}/discarded-stray:src/a") == "work"


def test_changed_files_at_any_depth_of_submodules_are_seen(with_library: Desk) -> None:
    desk = with_library
    desk.git("submodule", "--quiet", "update", "--init", "--recursive")
    assert git.is_clean(desk.made.path)
    (desk.path / "lib/inner/a").write_text("other")
    assert list(git.uncommitted_submodules(desk.made.path, desk.made.gitdir)) == [("lib/inner", True)]
    assert not git.is_clean(desk.made.path)
    (desk.path / "lib/inner/a").write_text("inner")
    (desk.path / "lib/new").write_text("x")
    assert list(git.uncommitted_submodules(desk.made.path, desk.made.gitdir)) == [("lib", True)]
    desk.git("commit", "-q", "--allow-empty", "-m", "moved", cwd=desk.path / "lib")
    before = desk.look()
    assert desk.commit(before), "the submodule's new commit is work of the step"
    assert desk.look().clean


def test_parallel_runs_make_their_worktrees_without_tripping(desk: Desk) -> None:
    made, failed = [], []

    def make(number: int) -> None:
        done = python.run(["-c", MAKE, str(desk.repo.path), f"KIN-{number}", desk.base])
        (failed if done.returncode else made).append(done.stderr)

    threads = [threading.Thread(target=make, args=(n,)) for n in range(20, 26)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and len(listed(desk.repo)) == 7


MAKE = """
import os, sys
from kin.model.settings import Settings
from kin.runner.tree import salvage, worktree
from kin.runner.tree.removal import remove_folder
from kin.store.project import find_repository
project, settings = find_repository(sys.argv[1], os.environ), Settings(key="KIN")
made = worktree.ensure(project, settings, sys.argv[2], "r", sys.argv[3], os.environ)
if "reset" in sys.argv:
    worktree.reset_to(project, made.path, sys.argv[3])
if "remove" in sys.argv:
    worktree.remove(project, made.path, "refs/heads/kin/" + sys.argv[2], sys.argv[3])
"""


def killed(desk: Desk, point: str, *more: str) -> None:
    """A process of its own dies at a kill point."""
    words = ["-c", MAKE, str(desk.repo.path), TASK, desk.repo.tip("main"), *more]
    done = python.run(words, env=dict(os.environ) | {"KIN_FAULT": point})
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize(
    "point", ["worktree.config", "worktree.added", "worktree.sparse", "worktree.checked_out", "worktree.copied"]
)
def test_a_worktree_that_was_killed_while_being_made_is_whole_after_the_next_call(coded: Repo, point: str) -> None:
    coded.write(".worktreeinclude", ".env\n")
    coded.write(".env", "SECRET=1\n")
    desk = Desk.__new__(Desk)
    desk.repo = coded
    killed(desk, point)
    Desk.__init__(desk, coded)
    assert desk.files() == {"README.md", "src/a", "src/b", ".gitignore", ".env"}
    assert desk.look().clean and desk.made.fresh and listed(coded) == [desk.made.path]


@pytest.mark.parametrize("cut", ["gitdir", "HEAD", "commondir", "index"])
def test_a_registration_that_git_was_killed_in_is_cleared(desk: Desk, cut: str) -> None:
    Path(desk.made.gitdir, "index").unlink()
    Path(desk.made.gitdir, "index.lock").write_text("")
    Path(desk.made.gitdir, cut).unlink(missing_ok=True)
    desk.sit()
    assert desk.files() == {"README.md", "src/a", "src/b", ".gitignore"}
    assert desk.look().clean and listed(desk.repo) == [desk.made.path]


@pytest.mark.parametrize("point", ["worktree.attached", "worktree.reset", "worktree.cleaned"])
def test_a_reset_that_was_killed_is_finished_by_the_next(desk: Desk, point: str) -> None:
    desk.git("checkout", "-q", "-b", "astray")
    desk.tree.write("src/a", "work\n")
    desk.tree.write("new", "x")
    killed(desk, point, "reset")
    desk.reset(desk.base)
    assert desk.files() == {"README.md", "src/a", "src/b", ".gitignore"}
    assert desk.look().clean and desk.look().branch == BRANCH


@pytest.mark.parametrize(
    "point", ["worktree.removing", "worktree.folder_removed", "worktree.removed", "worktree.branch_deleted"]
)
def test_a_removal_that_was_killed_is_finished_by_the_next(desk: Desk, point: str) -> None:
    target = merged(desk)
    killed(desk, point, "remove")
    assert worktree.remove(desk.project, desk.made.path, BRANCH, target) is None
    assert not desk.path.exists() and listed(desk.repo) == [] and git.tip(str(desk.repo.path), BRANCH) is None


def test_a_worktree_whose_removal_was_killed_is_made_anew_by_a_run(desk: Desk) -> None:
    merged(desk)
    killed(desk, "worktree.removing", "remove")
    (desk.path / "src/a").unlink()
    desk.sit()
    assert desk.tree.read("src/a") == "work\n" and desk.look().clean


def test_the_lock_is_inherited_by_git_so_that_an_orphan_is_waited_for(desk: Desk, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    lock = locks.lock_path(desk.project.common, "git")
    script = tmp_path / "smudge"
    script.write_text(f'#!/bin/sh\nfor fd in /proc/self/fd/*; do readlink "$fd"; done > "{seen}"; cat\n')
    script.chmod(0o755)
    desk.repo.git("config", "filter.look.smudge", str(script))
    desk.repo.git("config", "filter.look.clean", "cat")
    tip = desk.repo.commit("filtered", **{".gitattributes": "src/a filter=look\n"})
    worktree.ensure(desk.project, desk.settings, "KIN-13", RUN, tip, os.environ)
    assert lock in seen.read_text().splitlines()
