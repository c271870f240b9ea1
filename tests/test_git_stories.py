"""What people do with git around kin: pull, rebase, switch, stash, merge, revert. State and code agree after each, and git
refuses nothing because of kin."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import Repo
from killing import killed
from test_run import add, outcomes, settings, status_of

STOP_AT_FIRST = ("-c", "sequence.editor=sed -i 1s/^pick/edit/", "rebase", "-q", "-i")
"""An interactive rebase that stops at its first commit, as a person's does for an edit."""


def cloned(origin: Repo, name: str) -> Repo:
    """A clone with a commit of its own."""
    origin.git("clone", "-q", ".", f"../{name}")
    clone = Repo(origin.path.parent / name)
    clone.commit("own", own="1\n")
    return clone


def agree(repo: Repo, status: str, code: bool, task_id: str = "KIN-1") -> None:
    """State and code say the same, in the checkout and in HEAD, and nothing else lies around."""
    assert status_of(repo, task_id) == status_of(repo, task_id, at="HEAD") == status
    assert (repo.path / "hello.txt").exists() == code
    assert repo.status() == ""


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "never-committed"])
@pytest.mark.parametrize("rebase", ["true", "merges"])
def test_pull_rebase_there_and_here_keeps_state_with_code(project: Repo, rebase: str, committed: bool) -> None:
    other = cloned(project, "other")
    add(project, commit=committed)
    if committed:
        other.git("pull", "-q", "--rebase")
    here = Repo(project.path.parent / "here")
    project.git("clone", "-q", ".", "../here")
    if not committed:
        here.write(".kin/tasks/KIN-1.yaml", project.read(".kin/tasks/KIN-1.yaml"))
        (project.path / ".kin/tasks/KIN-1.yaml").unlink()
    here.kin("run", "KIN-1")
    project.commit("meanwhile", meanwhile="1\n")

    here.git("pull", "-q", f"--rebase={rebase}")
    agree(here, "done", code=True)
    assert (here.path / "meanwhile").exists()

    project.git("pull", "-q", "--ff-only", "../here", "main")
    other.git("pull", "-q", f"--rebase={rebase}")
    agree(other, "done", code=True)
    (record,) = other.git("ls-tree", "-r", "--name-only", "HEAD", ".kin/pipelines/KIN-1/").splitlines()
    assert "status: completed" in other.read(record)
    if rebase == "merges":
        merge = other.git("log", "-1", "--merges", "--format=%H", "--grep=^Kin-Task: KIN-1$", "--first-parent")
        other.git("revert", "--no-edit", "-m", "1", merge)
    else:
        other.kin("undo", "KIN-1")
    agree(other, "todo", code=False)
    other.kin("run", "KIN-1")
    agree(other, "done", code=True)


def test_switch_to_the_target_and_back_is_free_at_every_stage(project: Repo) -> None:
    """While a run from another branch waits, after it, and after it is taken back; a note to it lies in the checkout."""
    settings(project, "base: main", mode="review")
    add(project)
    project.git("branch", "feature")
    project.git("switch", "-q", "feature")
    outcomes(project, "KIN-1", exit=3)
    project.kin("revise", "KIN-1", "-m", "once more", "--run", exit=3)
    for branch in ("main", "feature"):
        project.git("switch", "-q", branch)
        assert status_of(project) == "review"
    project.kin("approve", "KIN-1")
    agree(project, "todo", code=False)
    assert "todo (done on main)" in project.kin("list").stdout
    again = outcomes(project, "KIN-1")
    assert again[0]["run"] is None and "already done on main" in str(again[0]["reason"])
    project.git("switch", "-q", "main")
    agree(project, "done", code=True)
    assert len(list((project.path / ".kin/notes/KIN-1").iterdir())) == 1
    project.git("switch", "-q", "feature")
    project.kin("undo", "KIN-1")
    assert project.status() == "" and status_of(project, at="main") == "todo"
    project.git("switch", "-q", "main")
    agree(project, "todo", code=False)


def test_a_task_done_on_the_branch_that_base_names_is_not_run_again(project: Repo) -> None:
    add(project)
    add(project, 2, "cat hello.txt > two.txt", depends_on="\n  - KIN-1")
    project.git("switch", "-q", "--detach")
    outcomes(project, "KIN-1", "--base", "main")
    tip = project.tip("main")
    (again,) = outcomes(project, "KIN-1", "--base", "main")
    assert again["status"] == "todo (done on main)" and project.tip("main") == tip
    outcomes(project, "KIN-2", "--base", "main")
    assert project.git("show", "main:two.txt") == "hello" and project.status() == ""


def begin_rebase(project: Repo) -> None:
    project.commit("on top", top="1\n")
    project.git(*STOP_AT_FIRST, "HEAD~1")


def untouched(project: Repo, task_id: str = "KIN-1") -> None:
    """kin has edited nothing, so git can go on with what it is in the middle of."""
    assert project.status() == "" and status_of(project, task_id) == "todo"


def test_a_review_that_came_during_a_rebase_is_written_by_the_next_command(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    begin_rebase(project)
    outcomes(project, "KIN-1", "--base", "main", exit=3)
    untouched(project)
    assert "todo (review, not written here yet)" in project.kin("list").stdout
    assert "kin approve KIN-1" in project.kin("inbox").stdout
    project.git("rebase", "--continue")
    untouched(project)
    assert outcomes(project, "--ready") == []
    assert status_of(project) == "review"
    project.kin("approve", "KIN-1")
    agree(project, "done", code=True)


def test_a_merge_waits_for_the_end_of_a_rebase_of_its_target(project: Repo) -> None:
    add(project)
    begin_rebase(project)
    (waits,) = outcomes(project, "KIN-1", "--base", "main", exit=4)
    assert "rebase of main" in str(waits["reason"]) and "kin approve KIN-1" in str(waits["reason"])
    untouched(project)
    refused = project.kin("undo", "KIN-1", exit=2)
    assert "--base main" in refused.stderr
    project.git("rebase", "--continue")
    project.kin("run", "KIN-1")
    agree(project, "done", code=True)
    project.kin("undo", "KIN-1", "--base", "main")
    agree(project, "todo", code=False)


def test_a_failure_during_a_rebase_that_the_run_met_on_its_way(project: Repo) -> None:
    """Not written, not run again, shown to the person, and in the file with its record once git is done."""
    begin = f"cd {project.path} && env -u GIT_COMMITTER_NAME -u GIT_COMMITTER_EMAIL git {STOP_AT_FIRST[0]}"
    begin += f" '{STOP_AT_FIRST[1]}' {' '.join(STOP_AT_FIRST[2:])} HEAD~1"
    add(project, run=f"{begin}; printf '\\033[31mred\\033[0m'; exit 3")
    project.commit("on top", top="1\n")
    outcomes(project, "KIN-1", exit=1)
    untouched(project)
    assert "todo (blocked, not written here yet)" in project.kin("list").stdout
    said = project.kin("run", "--ready", "--base", "main").stdout
    assert "nothing is ready" in said and "waiting for you: KIN-1" in said
    assert "exit 3" in project.kin("inbox").stdout
    untouched(project)
    project.git("rebase", "--continue")
    untouched(project)
    assert outcomes(project, "--ready") == []
    text = project.read(".kin/tasks/KIN-1.yaml")
    assert "status: blocked" in text and "kind: failed" in text
    assert "\n    red\n" in text, "terminal codes have no place in a file"
    (record,) = (project.path / ".kin/pipelines/KIN-1").iterdir()
    assert "status: failed" in record.read_text()


def test_what_a_person_said_after_a_rebase_is_not_overwritten_by_what_was_owed(project: Repo) -> None:
    settings(project, mode="review")
    add(project, run="if grep -q better; then echo better > hello.txt; else echo bad > hello.txt; fi")
    ask = json.dumps({"status": "blocked", "question": "Which colour?"})
    add(project, 2, f"if grep -q blue; then echo blue > c; else echo '{ask}' > $KIN_RESULT; fi")
    begin_rebase(project)
    outcomes(project, "KIN-1", "KIN-2", "--base", "main", exit=3)
    project.git("rebase", "--continue")
    project.kin("revise", "KIN-1", "-m", "better")
    project.kin("answer", "KIN-2", "-m", "blue")
    outcomes(project, "KIN-1", "KIN-2", exit=3)
    project.kin("approve", "KIN-1", "KIN-2")
    assert project.read("hello.txt") == "better\n" and project.read("c") == "blue\n" and project.status() == ""


@pytest.mark.parametrize("way", ["stash", "checkout"])
def test_a_review_that_was_put_away_is_still_approved(project: Repo, way: str) -> None:
    settings(project, mode="review")
    add(project)
    outcomes(project, "KIN-1", exit=3)
    if way == "stash":
        project.write("README.md", "mine\n")
        project.git("stash", "-q")
    else:
        project.git("checkout", "-q", ".")
    assert "todo (a review waits)" in project.kin("list").stdout
    outcomes(project, "KIN-1", exit=3)
    assert project.status() == ""
    project.kin("approve", "KIN-1")
    agree(project, "done", code=True)
    if way == "stash":
        project.git("checkout", "stash@{0}", "--", "README.md")
        assert project.read("README.md") == "mine\n"


def test_pull_and_stash_pop_while_a_review_waits(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    project.git("clone", "-q", ".", "../here")
    here = Repo(project.path.parent / "here")
    outcomes(here, "KIN-1", exit=3)
    project.commit("theirs", theirs="1\n")
    here.git("pull", "-q", "--ff-only")
    here.commit("mine, with the state of the review", mine="1\n")
    project.commit("theirs", theirs="2\n")
    here.git("pull", "-q", "--rebase")
    here.write("README.md", "edited\n")
    here.git("stash", "-q")
    here.git("stash", "pop", "-q")
    here.kin("approve", "KIN-1")
    assert status_of(here) == "done" and (here.path / "hello.txt").exists() and here.status() == " M README.md"
    here.git("commit", "-qam", "readme")
    here.git("revert", "--no-edit", "-m", "1", "HEAD~1")
    agree(here, "todo", code=False)


@pytest.mark.parametrize("point", [None, "move.kin", "move.index", "move.ref"])
def test_a_reopened_task_that_is_run_again_is_done_again(project: Repo, point: str | None) -> None:
    """Both sides of that move say `done`, and the working copy, staged or not, does not; killed in it, too."""
    add(project, run="echo hello >> hello.txt")
    project.kin("run", "KIN-1")
    project.kin("reopen", "KIN-1")
    if point is None:
        project.git("add", "-A")
    else:
        assert killed(project, "run", "KIN-1", point=point) == -9
    project.kin("run", "--ready")
    agree(project, "done", code=True)
    assert project.read("hello.txt") == "hello\nhello\n"
    assert outcomes(project, "--ready") == []


def test_a_target_that_was_renamed_while_a_review_waits(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    outcomes(project, "KIN-1", exit=3)
    project.git("branch", "-m", "main", "trunk")
    assert "`kin run KIN-1 --restart`" in project.kin("approve", "KIN-1", exit=7).stderr
    outcomes(project, "KIN-1", "--restart", exit=3)
    project.kin("approve", "KIN-1")
    agree(project, "done", code=True)


def test_a_target_that_was_renamed_while_a_step_worked(project: Repo) -> None:
    settings(project)
    add(project, run='echo hello > hello.txt; git -C "$KIN_DIR/.." branch -m trunk; git reflog expire --all --expire=now')
    (blocked,) = outcomes(project, "KIN-1", exit=1)
    assert str(blocked["reason"]).startswith("there is no branch main; bring it back, or `kin run KIN-1 --restart`")
    project.git("branch", "main")
    outcomes(project, "KIN-1")


def test_a_branch_that_is_named_and_missing_is_not_recommended(project: Repo) -> None:
    settings(project, "base: nope")
    add(project)
    said = project.kin("run", "KIN-1", exit=7).stderr
    assert said == "error: there is no branch nope; `--base BRANCH` names another\n"
    project.kin("set", "KIN-1", "base=nope", "-q")
    assert "mend `base:` in .kin/tasks/KIN-1.yaml" in project.kin("run", "KIN-1", "--base", "main", exit=7).stderr
    assert "mend `base:` in .kin/tasks/KIN-1.yaml" in project.kin("undo", "KIN-1", exit=7).stderr
    project.git("remote", "add", "origin", "../nowhere")
    assert "`git fetch" in project.kin("run", "KIN-1", exit=7).stderr


AS_A_PERSON = 'cd "$KIN_DIR/.." && env -u GIT_COMMITTER_NAME -u GIT_COMMITTER_EMAIL git'


@pytest.mark.parametrize(
    ("meanwhile", "exit"),
    [("reset -q --hard HEAD~1", 3), ("commit -q --amend -m other", 0)],
    ids=["dropped", "the same change in another commit"],
)
def test_what_a_target_dropped_while_a_step_worked_is_not_brought_back_unasked(
    project: Repo, meanwhile: str, exit: int
) -> None:
    settings(project)
    add(project, run=f"echo hello > hello.txt; {AS_A_PERSON} {meanwhile}")
    project.commit("a secret", **{"secret.txt": "hunter2\n"})
    (found,) = outcomes(project, "KIN-1", exit=exit)
    if exit:
        assert "would bring back what main has dropped" in str(found["reason"]) and " a secret; " in str(found["reason"])
        assert "secret.txt" not in project.git("ls-tree", "-r", "--name-only", "main")


@pytest.mark.parametrize("way", ["rebased", "wanted"])
def test_a_target_that_was_rewritten_while_a_review_waits_is_told_before_the_merge(project: Repo, way: str) -> None:
    settings(project, mode="review")
    add(project)
    project.commit("a secret", **{"secret.txt": "hunter2\n"})
    outcomes(project, "KIN-1", exit=3)
    project.git("reset", "-q", "--hard", "HEAD~1")
    project.commit("better", **{"other.txt": "x\n"})
    said = project.kin("approve", "KIN-1", exit=3).stdout
    assert project.git("log", "-1", "--format=%s") == "better"
    if way == "rebased":
        command = re.findall("`git (rebase .*?)`", said)[0]
        _, path = re.findall("^worktree (.*)$", project.git("worktree", "list", "--porcelain"), re.M)
        project.git(*command.split(), cwd=Path(path))
    project.kin("approve", "KIN-1")
    agree(project, "done", code=True)
    assert ("a secret" in project.git("log", "--format=%s")) == (way == "wanted")


def test_a_branch_that_a_person_merged_by_hand_becomes_done_with_its_record(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    outcomes(project, "KIN-1", exit=3)
    project.git("merge", "-q", "--no-ff", "--no-edit", "kin/KIN-1")
    project.kin("approve", "KIN-1")
    agree(project, "done", code=True)
    assert project.git("branch", "--list", "kin/*") == "" and "Kin-State" in project.git("log", "-1", "--format=%B")


@pytest.mark.parametrize("end", ["true", "exit 3"], ids=["done", "failed"])
def test_a_checkout_that_leaves_for_a_branch_without_kin_is_left_alone(project: Repo, end: str) -> None:
    """The target is merged without a checkout; what cannot be written waits until the task's file is back."""
    project.git("branch", "elsewhere", "main~1")
    person = "GIT_COMMITTER_EMAIL=ada@example.org"  # meanwhile: a step itself may not do this
    add(project, run=f"echo hello > hello.txt; {person} git -C {project.path} switch -q elsewhere; {end}")
    project.kin("run", "KIN-1", exit=0 if end == "true" else 1)
    assert project.status() == "" and not (project.path / ".kin").exists()
    assert "kin init" in project.kin("list", exit=8).stderr
    project.git("switch", "-q", "main")
    if end == "true":
        agree(project, "done", code=True)
        return
    untouched(project)
    assert "todo (blocked, not written here yet)" in project.kin("list").stdout
    assert outcomes(project, "--ready") == []
    assert status_of(project) == "blocked" and len(list((project.path / ".kin/pipelines/KIN-1").iterdir())) == 1


def test_a_task_file_that_is_deleted_while_it_runs_stops_the_merge(project: Repo) -> None:
    add(project, run=f"echo hello > hello.txt; rm {project.path}/.kin/tasks/KIN-1.yaml")
    before = project.tip()
    (stopped,) = outcomes(project, "KIN-1", exit=3)
    assert "deleted by hand" in str(stopped["reason"]) and project.tip() == before
    assert project.git("show", "kin/KIN-1:hello.txt") == "hello"
    project.git("checkout", "-q", ".")
    project.kin("run", "KIN-1")
    agree(project, "done", code=True)


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="Git LFS is not installed")
def test_files_that_git_lfs_keeps_are_run_merged_taken_back_and_salvaged_whole(project: Repo) -> None:
    project.git("lfs", "install", "--local")
    project.git("lfs", "track", "*.bin")
    project.write("large.bin", "one\n")
    project.commit("large files")
    add(project, run="cat large.bin; echo two >> large.bin; echo new > new.bin")
    project.kin("run", "KIN-1")
    assert project.read("large.bin") == "one\ntwo\n" and project.read("new.bin") == "new\n" and project.status() == ""
    assert project.git("show", "main:large.bin").startswith("version https://git-lfs")
    project.kin("undo", "KIN-1")
    assert project.read("large.bin") == "one\n" and project.status() == ""
    add(project, 2, run="echo half >> large.bin; exit 1")
    project.kin("run", "KIN-2", exit=1)
    project.kin("salvage", "apply", "KIN-2")
    assert project.read("large.bin") == "one\nhalf\n"
    pointer = "version https://git-lfs.github.com/spec/v1\\noid sha256:" + "a" * 64 + "\\nsize 1\\n"
    project.git("reset", "-q", "--hard")
    add(project, 3, run=f"printf '{pointer}' > large.bin; echo more > more.bin")
    (outcome,) = outcomes(project, "KIN-3", exit=4)  # nobody has that object: git gives up with half of the files
    assert "Smudge error" in str(outcome["reason"])
    assert project.read("large.bin") == "one\n" and not (project.path / "more.bin").exists()
