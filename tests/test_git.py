"""The door to git: what git says is understood, whatever the names, the environment and the repository are like."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Repo

from kin import git
from kin.errors import Invalid, Usage


def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a `git` in front of the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("said", "old"),
    [
        ("git version 2.37.9", True),
        ("git version 1.99.0", True),
        ("git version 2.38.0", False),
        ("git version 2.39.5 (Apple Git-154)", False),
        ("git version 2.50.GIT", False),
        ("git version 3.0.windows.1", False),
    ],
)
def test_an_old_git_is_refused_by_its_number(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, old: bool
) -> None:
    fake_git(tmp_path, monkeypatch, f"echo '{said}'")
    if not old:
        git.require(str(repo.path), {})
        return
    with pytest.raises(Invalid, match=r"git is \d\.\d+, kin needs 2\.38"):
        git.require(str(repo.path), {})


def test_a_missing_git_and_a_missing_folder_are_told_apart(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="is gone"):
        git.git(str(repo.path / "nowhere"), "version")
    with pytest.raises(Invalid, match="is not a folder"):
        git.git(str(repo.path / "README.md"), "version")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Invalid, match="git is not installed"):
        git.git(str(repo.path), "version")


def test_a_git_that_does_not_answer_is_an_error_of_gits(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path, monkeypatch, "exec sleep 60")
    with pytest.raises(git.GitError, match=r"no answer within 0\.05 s"):
        git.git(str(repo.path), "version", timeout=0.05)


def test_a_push_in_quarantine_is_refused(repo: Repo) -> None:
    with pytest.raises(Usage, match="receives a push"):
        git.require(str(repo.path), {"GIT_QUARANTINE_PATH": "/x"})


def test_variables_of_a_hook_do_not_turn_git_to_another_repository(
    repo: Repo, make_repo: Callable[[str], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_repo("other")
    tip = other.commit("elsewhere")
    monkeypatch.setenv("GIT_DIR", str(repo.path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repo.path))
    monkeypatch.setenv("GIT_INDEX_FILE", str(repo.path / ".git/index.lock"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Nobody")
    assert git.tip(str(other.path), "HEAD") == tip
    assert git.is_clean(str(other.path))
    made = git.commit_tree(str(other.path), git.tree_of(str(other.path), "HEAD"), [tip], "#1 subject\n")
    assert git.git(str(other.path), "log", "-1", "--format=%an %s", made).text == "Ada Person #1 subject"


def test_what_git_said_is_in_the_error(repo: Repo) -> None:
    with pytest.raises(git.GitError, match=r"git rev-list nowhere failed: fatal: .*'nowhere'") as caught:
        git.git(str(repo.path), "rev-list", "nowhere")
    assert caught.value.exit == 7 and caught.value.out.code == 128


def test_status_tells_every_kind_of_difference(repo: Repo) -> None:
    repo.commit("files", staged="1", both="1", unstaged="1", gone="1", mode="1", moved="long enough to be a rename\n")
    for name in ("staged", "both"):
        repo.write(name, "2")
    repo.git("mv", "moved", "renamed")
    repo.git("add", "-A")
    for name in ("both", "unstaged"):
        repo.write(name, "3")
    (repo.path / "gone").unlink()
    (repo.path / "mode").chmod(0o755)
    repo.write("new\nline/äö", "x")
    repo.git("init", "-q", "nested")
    status = git.status(str(repo.path))
    assert {e.path: e.xy for e in status.entries} == {
        "staged": "M.",
        "both": "MM",
        "unstaged": ".M",
        "gone": ".D",
        "mode": ".M",
        "moved": "D.",
        "renamed": "A.",
        "new\nline/äö": "??",
        "nested/": "??",
    }
    mode = next(e for e in status.entries if e.path == "mode")
    assert (mode.head_mode, mode.index_mode, mode.work_mode) == ("100644", "100644", "100755")
    assert (status.head, status.branch) == (repo.tip(), "refs/heads/main")


def test_status_tells_conflicts_and_where_head_is(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "side")
    repo.commit("side", **{"README.md": "side\n", "added": "side\n"})
    repo.git("checkout", "-q", "main")
    repo.commit("main", **{"README.md": "main\n", "added": "main\n"})
    repo.git("checkout", "-q", "--detach")
    repo.git("merge", "side", ok=(1,))
    status = git.status(str(repo.path))
    assert {(e.path, e.xy, e.unmerged) for e in status.entries} == {("README.md", "UU", True), ("added", "AA", True)}
    assert status.branch is None and status.head == repo.tip()
    assert git.under_way(str(repo.path / ".git")) == "merge"


def test_unborn_bare_and_shallow_repositories_are_known(repo: Repo, tmp_path: Path) -> None:
    unborn, bare, shallow = (str(tmp_path / name) for name in ("unborn", "bare", "shallow"))
    repo.commit("second")
    repo.git("init", "-q", unborn)
    repo.git("clone", "-q", "--bare", ".", bare)
    repo.git("clone", "-q", "--depth", "1", f"file://{repo.path}", shallow)
    ask = lambda path: (git.tip(path, "HEAD") is None, git.is_bare(path), git.is_shallow(path))  # noqa: E731
    assert ask(unborn) == (True, False, False)
    assert ask(bare) == (False, True, False)
    assert ask(shallow) == (False, False, True)
    assert ask(str(repo.path)) == (False, False, False)
    assert git.status(unborn) == git.Status(None, "refs/heads/main", ())


def test_changes_between_trees_are_whole_whatever_the_names(repo: Repo) -> None:
    old = repo.commit("old", gone="same content here\n", kept="1", turned="file")
    (repo.path / "turned").unlink()
    (repo.path / "turned").symlink_to("kept")
    (repo.path / "gone").rename(repo.path / "with\nline :(top)")
    new = repo.commit("new", kept="2", sub__a="1")
    found = git.changes(str(repo.path), old, new)
    assert [(c.path, c.old.mode, c.new.mode) for c in found] == [
        ("gone", "100644", "000000"),
        ("kept", "100644", "100644"),
        ("sub/a", "000000", "100644"),
        ("turned", "100644", "120000"),
        ("with\nline :(top)", "000000", "100644"),
    ]
    blob = repo.git("rev-parse", f"{new}:sub/a")
    assert git.changes(str(repo.path), old, new, "sub") == [
        git.Change("sub/a", git.TreeEntry("000000", "0" * 40), git.TreeEntry("100644", blob))
    ]


def test_a_persons_diff_settings_start_no_program(repo: Repo) -> None:
    repo.git("config", "diff.external", "false")
    repo.git("config", "color.ui", "always")
    old, new = repo.tip(), repo.commit("new", a="1\n")
    assert git.diff_text(str(repo.path), old, new).startswith("diff --git a/a b/a")


def test_trailers_are_read_for_many_commits_at_once(repo: Repo) -> None:
    first = repo.commit("one\n\nKin-Task: KIN-1\nKin-Run: r1")
    second = repo.commit("two, which only mentions Kin-Task: KIN-9 in its subject")
    third = repo.commit("three\n\nbody\n\nKin-Task: KIN-2\nOther: x")
    said = git.log_trailers(str(repo.path), ["Kin-Task", "Kin-Run"], "main", f"^{first}~1")
    assert said == [(third, {"Kin-Task": "KIN-2"}), (second, {}), (first, {"Kin-Task": "KIN-1", "Kin-Run": "r1"})]
    assert git.log_trailers(str(repo.path), ["Kin-Task"], "main", limit=1) == [(third, {"Kin-Task": "KIN-2"})]


def test_names_on_all_branches_take_three_processes(
    project: Repo, make_repo: Callable[[str], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    cwd = str(project.path)
    assert git.names_on_branches(cwd, ".kin/tasks") == set()
    project.commit("one", **{".kin__tasks__KIN-1.yaml": "x"})
    for number in range(2, 6):
        project.git("checkout", "-q", "-b", f"b{number}", "main")
        project.commit("more", **{f".kin__tasks__KIN-{number}.yaml": "x\nKIN-99.yaml\n"})
    project.git("checkout", "-q", "main")
    other = make_repo("other")
    other.commit("far", **{".kin__tasks__KIN-77.yaml": "x"})
    project.git("fetch", "-q", str(other.path), "main:refs/remotes/origin/main")
    calls: list[str] = []
    real = git.git
    monkeypatch.setattr(git, "git", lambda cwd, *a, **k: (calls.append(a[0]), real(cwd, *a, **k))[1])
    assert git.names_on_branches(cwd, ".kin/tasks") == {f"KIN-{n}.yaml" for n in (1, 2, 3, 4, 5, 77)}
    assert len(calls) == 3


def test_longer_object_ids_are_understood(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.git("init", "-q", "--object-format=sha256", str(tmp_path / "long"), cwd=tmp_path)
    long = Repo(tmp_path / "long")
    tip = long.commit("one", **{".kin__tasks__KIN-1.yaml": "x"})
    assert len(tip) == 64 and git.names_on_branches(str(long.path), ".kin/tasks") == {"KIN-1.yaml"}
    assert git.update_ref(str(long.path), "refs/heads/new", tip, None, "why")
    assert not git.update_ref(str(long.path), "refs/heads/new", tip, None, "why")
    assert git.status(str(long.path)).head == tip


def test_a_ref_moves_only_from_where_it_is_expected(repo: Repo) -> None:
    cwd, first = str(repo.path), repo.tip()
    second = repo.commit("second")
    assert git.update_ref(cwd, "refs/heads/x", first, None, "made")
    assert not git.update_ref(cwd, "refs/heads/x", second, second, "wrong")
    assert git.update_ref(cwd, "refs/heads/x", second, first, "moved")
    assert repo.git("reflog", "--format=%gs", "refs/heads/x").split() == ["moved", "made"]
    assert not git.delete_ref(cwd, "refs/heads/x", first) and git.delete_ref(cwd, "refs/heads/x", second)
    assert git.tip(cwd, "refs/heads/x") is None and git.refs(cwd, "refs/heads/") == {"refs/heads/main": second}


def test_a_reflog_tells_who_moved_a_ref_whatever_the_mailmap_of_the_checkout_says(repo: Repo) -> None:
    repo.commit("one", **{".mailmap": "Ada <ada@example.org> <KIN-1.run@kin>\n"})
    repo.git("-c", "user.email=KIN-1.run@kin", "commit", "-q", "--allow-empty", "-m", "an agent's")
    assert [moment.mail for moment in git.reflog(str(repo.path))][:2] == ["KIN-1.run@kin", "ada@example.org"]


def test_a_message_may_name_a_person_in_another_encoding(repo: Repo) -> None:
    cwd = str(repo.path)
    oid = git.commit_tree(cwd, git.tree_of(cwd, "HEAD"), [], "by Andr\udce9\n")
    assert git.git(cwd, "cat-file", "commit", oid).out.endswith("by André\n".encode())  # git takes it for Latin-1


def test_a_tree_gets_one_entry_from_another(repo: Repo) -> None:
    with_store = repo.commit("store", a="1", **{".kin__kin.yaml": "key: KIN\n"})
    without = repo.tip("HEAD~1")
    cwd = str(repo.path)
    names = lambda tree: git.git(cwd, "ls-tree", "-r", "--name-only", tree).text.split()  # noqa: E731
    assert names(git.replaced(cwd, with_store, ".kin", without)) == ["README.md", "a"]
    assert names(git.replaced(cwd, without, ".kin", with_store)) == [".kin/kin.yaml", "README.md"]
    assert git.replaced(cwd, with_store, ".kin", with_store) == git.tree_of(cwd, with_store)


def test_worktrees_are_listed_with_what_locks_them(repo: Repo, tmp_path: Path) -> None:
    odd = str(tmp_path / "with\nline")
    repo.git("worktree", "add", "-q", "--lock", "--reason", "kin KIN-1 r", "-b", "side", odd)
    repo.git("worktree", "add", "-q", "--detach", str(tmp_path / "detached"))
    main, *linked = git.worktrees(str(repo.path))
    side, detached = sorted(linked, key=lambda worktree: worktree.branch is None)
    assert (main.path, main.branch, main.reason) == (str(repo.path), "refs/heads/main", "")
    assert (side.path, side.branch, side.reason) == (odd, "refs/heads/side", "kin KIN-1 r")
    assert (detached.branch, detached.head) == (None, repo.tip())
    assert git.common_of(git.linked_gitdir(str(tmp_path / "detached")) or "") == str(repo.path / ".git")


def test_parents_and_ancestors(repo: Repo) -> None:
    cwd, root = str(repo.path), repo.tip()
    repo.git("checkout", "-q", "-b", "side")
    side = repo.commit("side", s="1")
    repo.git("checkout", "-q", "main")
    main = repo.commit("main", m="1")
    repo.git("merge", "-q", "--no-edit", "side")
    assert git.parents(cwd, "HEAD") == [main, side] and git.parents(cwd, root) == []
    assert git.merge_base(cwd, main, side) == root
    assert git.is_ancestor(cwd, side, "HEAD") and not git.is_ancestor(cwd, side, main)


def test_a_lock_is_handed_to_git(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path, monkeypatch, 'ls -l /proc/$$/fd/"$FD" | sed "s/.*-> //"')
    with open(tmp_path / "lock", "w") as lock:
        said = git.git(str(repo.path), "version", env={"FD": str(lock.fileno())}, fds=(lock.fileno(),))
        assert said.text == str(tmp_path / "lock")


def test_ctrl_c_does_not_reach_git(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path, monkeypatch, "ps -o sid= -p $$")
    ours = subprocess.run(["ps", "-o", "sid=", "-p", str(os.getpid())], capture_output=True, text=True, check=True).stdout
    assert git.git(str(repo.path), "version").text.strip() != ours.strip()


def test_the_end_of_git_is_waited_for_without_a_nap(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"slept for {seconds} s"))
    for _ in range(50):
        git.git(str(repo.path), "rev-parse", "HEAD")


def test_a_branch_is_read_from_files_as_git_reads_it(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    cwd, common, first, tree = str(repo.path), repo.path / ".git", repo.tip(), repo.tip("HEAD^{tree}")
    repo.git("switch", "-q", "-c", "kin/KIN-1")
    second = repo.commit("work")

    def said() -> list[str | None]:
        names = ["refs/heads/main", "refs/heads/kin/KIN-1", "refs/heads/kin", "refs/remotes/origin/main", first, second, tree]
        found = [git.tip(cwd, name) for name in names]
        asked = [repo.git("rev-parse", "-q", "--verify", f"{name}^{{commit}}", ok=(0, 1, 128)) or None for name in names]
        assert found == asked
        return found

    with monkeypatch.context() as patch:
        patch.setattr(git, "git", None)  # no process is needed for these
        found = [git.tip(cwd, name) for name in ("refs/heads/main", "refs/heads/kin/KIN-1", "refs/heads/none", second)]
        assert found == [first, second, None, second]
    assert said() == [first, second, None, None, first, second, None]
    repo.git("pack-refs", "--all")
    assert said()[:2] == [first, second]
    third = repo.commit("more")
    repo.git("update-ref", "refs/remotes/origin/main", first)
    assert said()[:4] == [first, third, None, first]
    repo.git("gc", "-q")
    assert said()[:4] == [first, third, None, first]
    repo.git("symbolic-ref", "refs/heads/main", "refs/heads/kin/KIN-1")
    assert said()[0] == third
    repo.git("branch", "-q", "-D", "main")
    assert said()[0] is None
    fourth = repo.commit("and more")
    assert said()[1] == fourth
    loose = common / "objects" / fourth[:2] / fourth[2:]
    loose.unlink()
    loose.write_bytes(b"cut short")
    assert said()[1] is None
    (common / "refs/heads/kin/KIN-1").write_text("nonsense\n")
    assert said()[1] is None


def test_who_has_a_branch_checked_out_is_read_from_every_head(repo: Repo, tmp_path: Path) -> None:
    cwd, common, ref = str(repo.path), repo.path / ".git", "refs/heads/work"
    repo.git("branch", "work")
    assert git.heads_on(str(common), ref) == git.checkouts_of(cwd, ref) == []
    repo.git("worktree", "add", "-q", str(tmp_path / "one"), "work")
    repo.git("worktree", "add", "-q", "-f", str(tmp_path / "two"), "work")
    heads = [common / "worktrees/one/HEAD", common / "worktrees/two/HEAD"]
    assert sorted(git.heads_on(str(common), ref) or ()) == [str(head.parent) for head in heads]
    assert git.checkouts_of(cwd, ref) == [str(tmp_path / "one"), str(tmp_path / "two")]
    heads[0].write_text("ref:   refs/heads/work")  # by hand
    assert git.head_ref(str(tmp_path / "one")) == ref and len(git.heads_on(str(common), ref) or ()) == 2
    repo.git("switch", "-q", "--detach", cwd=tmp_path / "one")
    assert git.head_ref(str(tmp_path / "one")) is None
    assert git.heads_on(str(common), ref) == [str(heads[1].parent)]
    heads[1].unlink()
    heads[1].symlink_to("refs/heads/work")  # core.preferSymlinkRefs
    assert git.heads_on(str(common), ref) is None and git.head_ref(str(tmp_path / "two")) == ref
    assert git.checkouts_of(cwd, ref) == [str(tmp_path / "two")]


def test_another_users_repository_is_left_to_git(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may refuse it, since its settings name programs."""
    first = repo.tip()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        patch.setattr(git, "git", lambda *_, **__: git.Out(128, b"", "fatal: detected dubious ownership"))
        assert git.tip(str(repo.path), "refs/heads/main") is None
    assert git.tip(str(repo.path), "refs/heads/main") == first


def test_settings_that_git_cannot_read_are_told_from_a_person_it_does_not_know(project: Repo) -> None:
    project.kin("add", "One", "--run", "true")
    project.write(".git/config", "[broken\n")
    said = project.kin("run", "1", exit=7).stderr
    assert "bad config line 1" in said and "who you are" not in said


def test_a_git_that_a_signal_ended_names_it() -> None:
    assert "File size limit exceeded" in str(git.GitError(["fast-import"], git.Out(-25, b"", "")))


def test_what_git_itself_calls_a_repositorys_variables_turns_no_run(project: Repo) -> None:
    listed = project.git("rev-parse", "--local-env-vars").split()
    env = {name: "/nowhere" for name in listed if not name.startswith(("GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"))}
    project.kin("add", "One", "--run", "echo one > one.txt", env=env)
    project.kin("run", "1", env=env)
    assert project.read("one.txt") == "one\n"
