"""What a merge is made of: the chain of commits, by which git's own tools keep state and code together."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kin import git
from kin.errors import Invalid, NotFound
from kin.model.status import TaskStatus
from kin.runner.merge import refs
from kin.runner.merge.build import Built, Clash, Work, build_merge, build_state, code_key
from kin.runner.merge.compose import CannotSign, NewCommit, write_commits
from kin.runner.merge.taskfile import Standing
from kin.store.project import Project, find
from tests.conftest import Repo, task_text

RUN = "20261124T093200Z-7f3k"
MAIN = "refs/heads/main"
TASK = ".kin/tasks/KIN-1.yaml"
RECORD = f"pipelines/KIN-1/{RUN}.yaml"


def project_of(repo: Repo) -> Project:
    return find(str(repo.path), os.environ)


def branch_with(repo: Repo, **files: str) -> str:
    """A commit on `kin/KIN-1` that starts at the current tip; the checkout stays on its branch."""
    here = repo.git("rev-parse", "--abbrev-ref", "HEAD")
    repo.git("switch", "-q", "-C", "kin/KIN-1")
    oid = repo.commit("work", **files)
    repo.git("switch", "-q", here)
    return oid


def merge(repo: Repo, branch: str, whole: str | None = None, sign: bool = False) -> Built | Clash | None:
    extra = {RECORD: b"run: x\n", "decisions/D-1.yaml": b"id: D-1\n"}
    work = Work(MAIN, "KIN-1", RUN, whole.encode() if whole is not None else None, extra, sign)
    return build_merge(project_of(repo), work, branch, "A task")


def built(repo: Repo, branch: str, whole: str | None = None, sign: bool = False) -> Built:
    found = merge(repo, branch, whole, sign)
    assert isinstance(found, Built)
    return found


def status_in(repo: Repo, revision: str) -> str:
    return next(line for line in repo.git("show", f"{revision}:{TASK}").splitlines() if line.startswith("status:"))


@pytest.fixture
def with_task(project: Repo) -> Repo:
    project.commit("task", **{TASK.replace("/", "__"): task_text("KIN-1")})
    return project


def test_merge_changes_one_line_of_the_task_and_touches_no_checkout(with_task: Repo) -> None:
    work = branch_with(with_task, src__a="code\n")
    before = with_task.git("rev-parse", "HEAD", MAIN), with_task.status()
    made = built(with_task, work)
    assert (with_task.git("rev-parse", "HEAD", MAIN), with_task.status()) == before
    assert with_task.tip("refs/kin/merge/KIN-1") == made.new
    assert with_task.git("diff", "--numstat", f"{made.new}^1", made.new, "--", TASK).split()[:2] == ["1", "1"]
    changed = with_task.git("diff", "--name-only", f"{made.new}^1", made.new).splitlines()
    assert changed == [".kin/decisions/D-1.yaml", f".kin/{RECORD}", TASK, "src/a"]
    assert with_task.git("log", "-1", "--format=%s|%(trailers:only,unfold)", made.new).split("|") == [
        "kin: KIN-1 A task",
        f"Kin-Task: KIN-1\nKin-Run: {RUN}\n".strip(),
    ]
    assert with_task.git("rev-parse", f"{made.new}^2^") == work and made.branch_tip == work


@pytest.mark.parametrize("held", [None, "review", "todo"])
def test_plain_revert_gives_code_back_and_todo(project: Repo, held: str | None) -> None:
    """Also where the target held the task in another status, or never."""
    if held:
        project.commit("task", **{TASK.replace("/", "__"): task_text("KIN-1", status=held)})
    made = built(project, branch_with(project, src__a="code\n"), whole=task_text("KIN-1", status="review", x="by hand"))
    assert status_in(project, f"{made.new}^1") == "status: todo"
    project.git("reset", "-q", "--hard", made.new)
    assert status_in(project, "HEAD") == "status: done"
    project.git("revert", "--no-edit", "-m", "1", "HEAD")
    assert status_in(project, "HEAD") == "status: todo"
    assert not (project.path / "src").exists() and not (project.path / ".kin/pipelines").exists()
    if not held:
        assert "x: by hand" in project.read(TASK)


@pytest.mark.parametrize("held", [None, "review", "todo"])
@pytest.mark.parametrize("how", ["true", "merges"])
def test_pull_rebase_keeps_code_and_state(project: Repo, tmp_path: Path, how: str, held: str | None) -> None:
    if held:
        project.commit("task", **{TASK.replace("/", "__"): task_text("KIN-1", status=held)})
    origin = tmp_path / "origin"
    project.git("clone", "-q", "--bare", str(project.path), str(origin))
    project.git("remote", "add", "origin", str(origin))
    project.git("fetch", "-q")
    project.git("branch", "-q", "-u", "origin/main")
    other = tmp_path / "other"
    project.git("clone", "-q", str(origin), str(other))
    made = built(project, branch_with(project, src__a="code\n"), whole=task_text("KIN-1", status="review"))
    project.git("reset", "-q", "--hard", made.new)
    Repo(other).commit("elsewhere", other="theirs\n")
    Repo(other).git("push", "-q")
    project.git("pull", "-q", f"--rebase={how}")
    assert project.read("src/a") == "code\n" and project.read("other") == "theirs\n"
    assert status_in(project, "HEAD") == "status: done"
    assert project.read(f".kin/{RECORD}") == "run: x\n" and project.status() == ""


def test_moved_target_keeps_its_own_store(with_task: Repo) -> None:
    """Whatever the branch did under .kin/ stays out, whatever main did there stays in, also where both touched one line."""
    work = branch_with(with_task, **{"src__a": "code\n", ".kin__kin.yaml": "key: EVIL\n", ".kin__tasks__KIN-9.yaml": "x: 1\n"})
    with_task.commit(
        "settings", **{".kin__kin.yaml": "key: KIN\nmode: review\n", TASK.replace("/", "__"): task_text("KIN-1", "New")}
    )
    made = built(with_task, work)
    assert with_task.git("show", f"{made.new}:.kin/kin.yaml") == "key: KIN\nmode: review"
    assert "title: New" in with_task.git("show", f"{made.new}:{TASK}") and status_in(with_task, made.new) == "status: done"
    assert with_task.git("ls-tree", "--name-only", made.new, ".kin/tasks/") == TASK
    assert with_task.git("show", f"{made.new}:src/a") == "code"


def test_conflict_in_code_names_its_paths_and_builds_nothing(with_task: Repo) -> None:
    work = branch_with(with_task, README="theirs\n", src__a="1\n")
    with_task.commit("mine", README="mine\n", src__a="2\n")
    assert merge(with_task, work) == Clash(("README", "src/a"))
    assert with_task.git("for-each-ref", "refs/kin") == ""


def test_contained_branch_is_nothing_to_merge(with_task: Repo) -> None:
    assert merge(with_task, with_task.tip()) is None


def test_unknown_branch_is_an_error_and_no_conflict(with_task: Repo) -> None:
    with pytest.raises(Invalid):
        merge(with_task, "1" * 40)


def test_task_that_is_nowhere_cannot_be_merged(project: Repo) -> None:
    with pytest.raises(NotFound, match="neither in the working tree nor on the target"):
        merge(project, branch_with(project, a="1\n"))


def test_merge_drivers_run_wherever_the_target_is(with_task: Repo) -> None:
    """git reads .gitattributes from a work tree only: with the target checked out nowhere it would conflict here (rule 13)."""
    with_task.commit("base", **{".gitattributes": "*.u merge=union\n", "f.u": "0\n"})
    work = branch_with(with_task, **{"f.u": "0\ntheirs\n"})
    with_task.commit("mine", **{"f.u": "0\nmine\n"})
    here = built(with_task, work)
    with_task.git("branch", "-q", "-D", "kin/KIN-1")
    with_task.git("switch", "-q", "--detach")
    with_task.git("rm", "-q", ".gitattributes")
    nowhere = built(with_task, work)
    assert here.code == nowhere.code
    assert with_task.git("show", f"{nowhere.new}:f.u") in ("0\nmine\ntheirs", "0\ntheirs\nmine")


def test_verdicts_are_bound_to_code_alone(with_task: Repo) -> None:
    cwd, before = str(with_task.path), with_task.tip()
    state = with_task.commit("state", **{TASK.replace("/", "__"): task_text("KIN-1", "Other")})
    code = with_task.commit("code", src__b="1\n")
    assert code_key(cwd, before) == code_key(cwd, state) != code_key(cwd, code)


@pytest.mark.parametrize("held", [None, "todo"])
def test_state_commit_brings_done_without_code(project: Repo, held: str | None) -> None:
    if held:
        project.commit("task", **{TASK.replace("/", "__"): task_text("KIN-1", status=held)})
    whole = task_text("KIN-1", status="review").encode()
    made = build_state(project_of(project), Work(MAIN, "KIN-1", RUN, whole, {RECORD: b"r\n"}))
    assert (
        project.git("log", "-1", "--format=%s %(trailers:only,key=Kin-State)", made.new).strip()
        == "kin: KIN-1 is done Kin-State: KIN-1 done"
    )
    assert status_in(project, f"{made.new}^") == "status: todo" and status_in(project, made.new) == "status: done"
    assert made.code == code_key(str(project.path), "HEAD") and made.branch_tip is None


def test_blocked_can_be_told_on_the_target(with_task: Repo) -> None:
    why = {"kind": "gate", "reason": "red"}
    work = Work(MAIN, "KIN-1", RUN, None, {})
    made = build_state(project_of(with_task), work, Standing(TaskStatus.blocked, why))
    text = with_task.git("show", f"{made.new}:{TASK}")
    assert "status: blocked" in text and "kind: gate" in text and with_task.tip(f"{made.new}^") == with_task.tip()


def test_merge_without_a_key_to_sign_with_waits_for_a_person(with_task: Repo) -> None:
    with_task.git("config", "gpg.program", "false")
    with pytest.raises(CannotSign, match="could not sign") as caught:
        merge(with_task, branch_with(with_task, a="1\n"), sign=True)
    assert caught.value.exit == 3


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")
def test_signed_merge_has_the_signature(with_task: Repo, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with_task.git("config", "gpg.format", "ssh")
    with_task.git("config", "user.signingkey", str(key))
    made = built(with_task, branch_with(with_task, a="1\n"), sign=True)
    assert "gpgsig" in with_task.git("cat-file", "commit", made.new)
    assert with_task.tip("refs/kin/merge/KIN-1") == made.new


def test_gc_does_not_take_the_merge(with_task: Repo) -> None:
    made = built(with_task, branch_with(with_task, a="1\n"))
    with_task.git("branch", "-q", "-D", "kin/KIN-1")
    with_task.git("reflog", "expire", "--expire=now", "--all")
    with_task.git("gc", "-q", "--prune=now")
    assert git.tip(str(with_task.path), made.new) == made.new


def test_lock_that_a_killed_git_left_on_the_merges_ref_does_not_stop_the_next(
    with_task: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs, "LOCK_LIFE", 0.05)
    lock = with_task.write(".git/refs/kin/merge/KIN-1.lock", "")
    built(with_task, branch_with(with_task, a="1\n"))
    assert not lock.exists()


def test_chain_that_cannot_be_written_leaves_nothing_behind(with_task: Repo) -> None:
    before = sorted(os.listdir(with_task.path / ".git"))
    with pytest.raises(git.GitError, match="fast-import failed"):
        write_commits(str(with_task.path), "refs/kin/merge/KIN-1", [NewCommit(("1" * 40,), "m", {})])
    assert sorted(os.listdir(with_task.path / ".git")) == before and with_task.git("for-each-ref", "refs/kin") == ""
