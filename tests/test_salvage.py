"""What an interrupted step left is saved whole, before anything else touches it, and given back."""

import hashlib
import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
import python
from conftest import AS_A_PERSON, Repo, task_text
from desk import RUN, TASK, Desk

from kin import git
from kin.errors import Conflict, NotFound, Usage
from kin.runner.tree import kept, salvage

REF = f"refs/kin/salvage/{TASK}/{RUN}-1-dev"


@pytest.fixture
def desk(project: Repo) -> Desk:
    project.commit("code", src__a="one\n", src__b="two\n", **{".gitignore": "build/\n"})
    return Desk(project)


def held(desk: Desk, ref: str = REF) -> list[str]:
    """What a salvage has beyond the step's first commit."""
    return desk.repo.git("diff", "--name-only", "--no-renames", desk.base, ref).split()


def test_staged_unstaged_untracked_and_deleted_files_are_saved_and_the_worktree_is_as_it_was(desk: Desk) -> None:
    desk.tree.write("src/a", "staged\n")
    desk.tree.write("src/staged", "new\n")
    desk.git("add", "-A")
    desk.tree.write("src/a", "then changed\n")
    desk.tree.write("untracked/deep/x", "x")
    desk.tree.write("build/out", "ignored")
    (desk.path / "src/b").unlink()
    index = Path(desk.made.gitdir, "index")
    before = (hashlib.sha256(index.read_bytes()).digest(), desk.tree.git("status", "--porcelain"), desk.files())
    assert desk.salvage() == salvage.Saved(REF, True, [])
    assert (hashlib.sha256(index.read_bytes()).digest(), desk.tree.git("status", "--porcelain"), desk.files()) == before
    assert held(desk) == ["src/a", "src/b", "src/staged", "untracked/deep/x"]
    assert desk.repo.git("show", f"{REF}:src/a") == "then changed"
    assert git.parents(str(desk.repo.path), REF) == [desk.base]
    assert not list(Path(desk.made.gitdir).glob("*salvage*"))


def test_a_nested_repository_can_have_no_program_run_to_fetch_what_it_lacks(desk: Desk, tmp_path: Path) -> None:
    nested = Repo(desk.path / "nested")
    desk.git("init", "-q", str(nested.path))
    nested.commit("files", top="x", folder__inner="y")
    nested.git("sparse-checkout", "set", "--cone", "--sparse-index", "elsewhere")
    lacking = nested.git("rev-parse", "HEAD:folder")
    (nested.path / ".git/objects" / lacking[:2] / lacking[2:]).unlink()
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": str(desk.repo.path),
        "remote.origin.uploadPack": f"touch {tmp_path / 'ran'}; git-upload-pack",
    }.items():
        nested.git("config", name, value)
    nested.write("new", "work")
    saved = desk.salvage()
    assert "nested/new" in held(desk) and saved.skipped == ["nested/.git"]
    assert not (tmp_path / "ran").exists()


def test_nothing_to_save_leaves_nothing(desk: Desk) -> None:
    assert desk.salvage() == salvage.Saved(None, True, [])
    desk.git("checkout", "-q", "--detach", "HEAD~1")
    assert desk.salvage() == salvage.Saved(None, True, [])
    assert git.refs(str(desk.repo.path), "refs/kin/") == {}


def test_the_agents_commits_are_held_wherever_it_made_them(desk: Desk) -> None:
    desk.tree.write("src/a", "on the branch\n")
    desk.git("commit", "-qam", "one")
    branch = desk.tree.tip("HEAD")
    desk.git("checkout", "-q", "--detach", desk.base)
    desk.tree.write("src/b", "detached\n")
    desk.git("commit", "-qam", "two")
    detached = desk.tree.tip("HEAD")
    desk.tree.write("src/c", "not committed\n")
    assert desk.salvage().complete
    assert git.parents(str(desk.repo.path), REF) == [detached, branch]
    assert held(desk) == ["src/b", "src/c"]


def test_an_unborn_head_a_merge_under_way_and_conflicts_are_saved(desk: Desk) -> None:
    desk.tree.write("src/a", "ours\n")
    desk.git("commit", "-qam", "ours")
    tip = desk.repo.commit("clash", src__a="theirs\n")
    subprocess.run(["git", "merge", "-q", "main"], cwd=desk.path, capture_output=True, check=False)
    assert desk.salvage().complete
    assert git.parents(str(desk.repo.path), REF) == [desk.tree.tip("HEAD"), tip]
    assert "<<<<<<<" in desk.repo.git("show", f"{REF}:src/a")
    desk.git("merge", "--abort")
    desk.git("checkout", "-q", "--orphan", "fresh")
    desk.tree.write("src/c", "orphaned\n")
    saved = desk.salvage()
    assert saved.complete and desk.repo.git("show", f"{saved.ref}:src/c") == "orphaned"


def test_what_an_agent_wrote_under_the_store_is_saved_too(desk: Desk) -> None:
    desk.tree.write(".kin/notes.md", "thoughts\n")
    assert desk.salvage().complete
    assert held(desk) == [".kin/notes.md"]
    assert desk.repo.git("show", f"{REF}:.kin/kin.yaml")


def test_the_same_work_is_saved_once_and_other_work_under_another_name(desk: Desk) -> None:
    desk.tree.write("src/a", "work\n")
    assert desk.salvage().ref == desk.salvage().ref == REF
    desk.tree.write("src/a", "more work\n")
    assert desk.salvage().ref == f"{REF}-2"
    assert desk.repo.git("show", f"{REF}:src/a") == "work"


def test_nested_repositories_are_saved_with_files_and_history(desk: Desk) -> None:
    for name, commits in (("vendor/full", True), ("empty", False)):
        nested = desk.path / name
        nested.mkdir(parents=True)
        desk.git("init", "-q", cwd=nested)
        (nested / "f").write_text(name)
        (nested / ".gitignore").write_text("junk\n")
        (nested / "junk").write_text("x")
        if commits:
            desk.git("add", "-A", cwd=nested)
            desk.git("commit", "-qm", "inner", cwd=nested)
            desk.git("init", "-q", str(nested / "inside"))
            (nested / "inside/g").write_text("g")
    desk.tree.write("src/a", "beside it\n")
    inner = desk.tree.git("rev-parse", "HEAD", cwd=desk.path / "vendor/full")
    assert desk.salvage().complete
    assert held(desk) == [
        "empty/.gitignore",
        "empty/f",
        "src/a",
        "vendor/full/.gitignore",
        "vendor/full/f",
        "vendor/full/inside/g",
    ]
    assert desk.repo.tip(f"{REF}-nested-2") == inner


def test_a_nested_repository_that_was_staged_or_committed_is_saved_as_files(desk: Desk) -> None:
    for name in ("staged", "committed"):
        desk.git("init", "-q", name)
        (desk.path / name / "f").write_text(name)
        desk.git("add", "-A", cwd=desk.path / name)
        desk.git("commit", "-qm", "inner", cwd=desk.path / name)
    desk.git("add", "committed")
    desk.git("commit", "-qm", "a link")
    desk.git("add", "staged")
    assert desk.salvage().complete
    assert held(desk) == ["committed/f", "staged/f"]


def test_large_files_are_left_out_aloud(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage, "SIZE_LIMIT", 1000)
    desk.tree.write("big", "x" * 1001)
    desk.tree.write("small", "x")
    saved = desk.salvage()
    assert (saved.complete, saved.skipped) == (False, ["big"]) and held(desk) == ["small"]
    assert "Not saved: 'big'" in desk.repo.git("log", "-1", "--format=%B", REF)
    (desk.path / "small").unlink()
    assert desk.salvage() == salvage.Saved(None, False, ["big"])


def test_one_file_that_cannot_be_read_does_not_lose_the_others(desk: Desk) -> None:
    desk.repo.git("config", "filter.broken.clean", "false")
    desk.repo.git("config", "filter.broken.required", "true")
    desk.tree.write(".gitattributes", "*.bad filter=broken\n")
    desk.tree.write("a.bad", "x")
    desk.tree.write("src/a", "work\n")
    desk.tree.write("z", "last\n")
    saved = desk.salvage()
    assert (saved.complete, saved.skipped) == (False, ["a.bad"])
    assert held(desk) == [".gitattributes", "src/a", "z"]


def test_names_that_look_like_pathspecs_and_line_ends_that_git_dislikes(desk: Desk) -> None:
    desk.repo.git("config", "core.autocrlf", "true")
    desk.repo.git("config", "core.safecrlf", "true")
    for name in (":(exclude)x", "*", "with\nnewline", "-n"):
        (desk.path / name).write_bytes(b"mixed\r\nline ends\n")
    desk.git("init", "-q", ":nested")
    (desk.path / ":nested/f").write_text("x")
    assert desk.salvage().complete
    names = subprocess.run(["git", "ls-tree", "-rz", "--name-only", REF], cwd=desk.repo.path, capture_output=True, check=True)
    assert {b":(exclude)x", b"*", b"with\nnewline", b"-n", b":nested/f"} <= set(names.stdout.split(b"\0"))


def test_it_needs_no_identity(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.useConfigOnly")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert git.identity(str(desk.path)) is None
    desk.tree.write("src/a", "work\n")
    assert desk.salvage().ref == REF


KILLED = """
import sys
from kin.runner.tree import kept, salvage
salvage.salvage(sys.argv[1], "KIN-12", sys.argv[2], "1-dev", head=sys.argv[3])
"""


@pytest.mark.parametrize("place", ["salvage.commit", "salvage.kept"])
def test_a_salvage_that_was_killed_is_made_once_by_the_next(desk: Desk, place: str) -> None:
    desk.tree.write("src/a", "work\n")
    words = ["-c", KILLED, desk.made.path, RUN, desk.base]
    done = python.run(words, env=dict(os.environ) | {"KIN_FAULT": place})
    assert done.returncode == -9
    assert desk.salvage().ref == REF
    assert list(git.refs(str(desk.repo.path), "refs/kin/salvage/")) == [REF]


def saved_work(desk: Desk) -> kept.Salvaged:
    desk.tree.write("src/a", "saved\n")
    desk.git("commit", "-qam", "committed by the agent")
    desk.tree.write("new", "saved\n")
    (desk.path / "src/b").unlink()
    desk.tree.write(".kin/notes.md", "x\n")
    desk.salvage()
    desk.reset(desk.base)
    return kept.find(desk.project, TASK)


def test_salvages_are_listed_found_shown_and_dropped(desk: Desk) -> None:
    one = saved_work(desk)
    assert (one.ref, one.task, one.start, one.subject) == (REF, TASK, desk.base, f"kin: interrupted work of {TASK}")
    assert kept.list_salvage(desk.project) == [one]
    assert kept.find(desk.project, one.name) == kept.find(desk.project, f"{RUN}-1-dev") == one
    text = git.diff_text(desk.project.git_common, kept.base_of(desk.project, one), one.oid)
    assert "-one" in text and "+saved" in text and "deleted file" in text
    second = salvage.keep(desk.project.git_common, TASK, f"{RUN}-rejected", desk.base)
    with pytest.raises(Usage, match="2 salvages"):
        kept.find(desk.project, TASK)
    kept.drop(desk.project, one)
    assert list(git.refs(str(desk.repo.path), "refs/kin/")) == [second]
    with pytest.raises(Conflict):
        kept.drop(desk.project, one._replace(oid=desk.repo.tip("main~1"), ref=second))
    with pytest.raises(NotFound):
        kept.find(desk.project, "KIN-99")


def test_applying_brings_the_changes_to_a_newer_checkout_but_not_the_store(desk: Desk) -> None:
    one = saved_work(desk)
    desk.repo.commit("main moves on", other="x\n")
    assert kept.apply(desk.project, one, str(desk.repo.path)) == ["new", "src/a", "src/b"]
    assert desk.repo.status().splitlines() == ["A  new", "M  src/a", "D  src/b"]
    assert not (desk.repo.path / ".git/CHERRY_PICK_HEAD").exists()


def test_applying_refuses_a_checkout_with_changes_of_its_own(desk: Desk) -> None:
    one = saved_work(desk)
    apply = lambda: kept.apply(desk.project, one, str(desk.repo.path))  # noqa: E731
    desk.repo.write("README.md", "mine\n")
    with pytest.raises(Usage, match=r"uncommitted changes: README\.md"):
        apply()
    desk.repo.git("checkout", "-q", "README.md")
    desk.repo.write("new", "mine, in the way\n")
    with pytest.raises(Usage, match="uncommitted changes: new"):
        apply()
    (desk.repo.path / "new").unlink()
    Path(desk.repo.path, ".git/REVERT_HEAD").write_text(desk.base)
    with pytest.raises(Usage, match="in the middle of a revert"):
        apply()
    assert desk.repo.status() == ""


def test_applying_minds_neither_the_stores_edits_nor_files_out_of_the_way(desk: Desk) -> None:
    one = saved_work(desk)
    desk.repo.write(".kin/kin.yaml", "key: KIN # edited\n")
    desk.repo.write(".kin/tasks/KIN-1.yaml", "id: KIN-1\n")
    desk.repo.git("add", ".kin/tasks")
    desk.repo.write("elsewhere", "untracked\n")
    kept.apply(desk.project, one, str(desk.repo.path))
    assert sorted(desk.repo.status().splitlines()) == [
        " M .kin/kin.yaml",
        "?? elsewhere",
        "A  .kin/tasks/KIN-1.yaml",
        "A  new",
        "D  src/b",
        "M  src/a",
    ]


def test_a_commit_of_any_date_and_words_in_a_nested_repository_is_listed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.git("init", "-q", "nested")
    with monkeypatch.context() as patch:
        patch.setenv("GIT_COMMITTER_DATE", "@99999999999999 +0000")
        Repo(desk.path / "nested").commit("one\x1ftwo\n\nKin-Start: three\x1ffour", inner="x")
    desk.salvage()
    nested, _ = kept.list_salvage(desk.project)
    assert nested.name.endswith("-nested-1") and nested.at == "9999-12-31T00:00:00Z" and nested.subject.endswith("one\x1ftwo")


def test_applying_what_clashes_leaves_markers_and_says_where(desk: Desk) -> None:
    one = saved_work(desk)
    desk.repo.commit("clash", src__a="theirs\n")
    with pytest.raises(Conflict, match="clash in src/a") as caught:
        kept.apply(desk.project, one, str(desk.repo.path))
    assert caught.value.data["paths"] == ["src/a"]
    assert "<<<<<<<" in desk.repo.read("src/a") and "A  new" in desk.repo.status()


HARD = {
    "a pipe in a file's place": ("rm src/a; mkfifo src/a", {"src/a", "work"}),
    "a file that may not be read": ("chmod 0 work; echo two > src/a; chmod 0 src/a", {"src/a", "work"}),
    "a folder that is closed": ("mkdir deep; echo 1 > deep/in; chmod 0 deep; chmod 500 src", {"deep/in", "work"}),
    "a lost HEAD": ("echo junk > $(git rev-parse --git-dir)/HEAD", {"work"}),
    "a pipe that git would read for ever": ("mkfifo .gitattributes; mkfifo -m 400 src/.gitignore", {"work"}),
}


@pytest.mark.parametrize(("command", "saved"), HARD.values(), ids=HARD)
def test_what_is_hard_to_save_is_saved_and_stops_no_later_run(project: Repo, command: str, saved: set[str]) -> None:
    project.commit("code", src__a="one\n")
    script = 'import sys, runpy, kin.git; kin.git.PIPE_PATIENCE = 0.2; runpy.run_module("kin", run_name="__main__")'
    kin = partial(python.run, ["-c", script, "run", "KIN-1"], cwd=project.path, wraps=AS_A_PERSON, timeout=60)
    again = json.dumps(f"test -e {project.path}/../again && exec true; echo 1 > work; {command}; exit 3")
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=f"\n  - role: developer\n    run: {again}"))
    assert kin().returncode == 1
    (ref,) = project.git("for-each-ref", "--format=%(refname)", "refs/kin/salvage").splitlines()
    assert set(project.git("diff", "--name-only", "main", ref).splitlines()) == saved
    (project.path.parent / "again").touch()
    assert kin().returncode == 0
    assert len(project.git("worktree", "list").splitlines()) == 1
