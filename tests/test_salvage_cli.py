"""`kin salvage`: what interrupted steps left can be seen, brought back and dropped, and nothing else deletes it."""

import json
from typing import Any

import pytest
from conftest import Repo


def fail_a_step(project: Repo, command: str = "echo half > half.txt; exit 3") -> str:
    """Run a step that fails with work in its worktree; the name of its salvage."""
    project.kin("add", "A task", "--run", command)
    project.kin("run", "KIN-1", exit=1)
    (name,) = names(project)
    return name


def names(project: Repo) -> list[str]:
    return project.kin("salvage", "-q").stdout.split()


def document(project: Repo, *words: str, exit: int = 0) -> Any:
    return json.loads(project.kin("salvage", *words, "--json", exit=exit).stdout)


def test_nothing_salvaged_is_an_empty_list(project: Repo) -> None:
    assert document(project)["data"] == [] and "Nothing" in project.kin("salvage").stdout


def test_the_work_of_a_failed_step_is_listed_and_shown_by_the_tasks_id(project: Repo) -> None:
    name = fail_a_step(project)
    found = document(project, "list", "1")
    assert found["kind"] == "salvage.list"
    (one,) = found["data"]
    assert (one["name"], one["task"], one["paths"]) == (name, "KIN-1", ["half.txt"]) and one["created"].endswith("Z")
    assert name in project.kin("salvage").stdout and "1 file" in project.kin("salvage").stdout
    assert "+half" in project.kin("salvage", "show", "1").stdout
    assert "+half" in document(project, "show", name)["data"]["patch"]
    assert document(project, "list", "KIN-2")["data"] == []


def test_applying_works_beside_the_states_that_kin_wrote_and_keeps_the_salvage(project: Repo) -> None:
    name = fail_a_step(project)
    assert " .kin/" in project.status()
    assert document(project, "apply", "KIN-1")["data"]["paths"] == ["half.txt"]
    assert "A  half.txt" in project.status() and names(project) == [name]


def test_applying_refuses_a_checkout_with_other_changes_and_one_in_the_middle_of_a_merge(project: Repo) -> None:
    fail_a_step(project)
    project.write("README.md", "mine\n")
    assert "uncommitted" in project.kin("salvage", "apply", "1", exit=2).stderr
    project.git("checkout", "-q", "README.md")
    (project.path / ".git/MERGE_HEAD").write_text(project.tip() + "\n")
    assert "middle of a merge" in project.kin("salvage", "apply", "1", exit=2).stderr
    assert not (project.path / "half.txt").exists()


def test_a_clash_leaves_markers_and_exit_4(project: Repo) -> None:
    fail_a_step(project, "echo agent > README.md; exit 3")
    project.commit("main moves on", README__md="x\n")
    project.commit("main moves on", **{"README.md": "person\n"})
    error = document(project, "apply", "1", exit=4)["error"]
    assert error["paths"] == ["README.md"] and "<<<<<<<" in project.read("README.md")


def test_dropping_deletes_just_the_named_one_and_tells_its_commit(project: Repo) -> None:
    name = fail_a_step(project)
    project.git("update-ref", "refs/kin/salvage/KIN-2/other", "HEAD")
    commit = project.tip(f"refs/kin/salvage/{name}")
    assert commit[:12] in project.kin("salvage", "drop", name).stdout
    assert names(project) == ["KIN-2/other"]


@pytest.mark.parametrize(
    ("words", "exit", "said"),
    [
        (("mend",), 2, "one of list, show, apply, drop"),
        (("show",), 2, "missing argument 'SALVAGE'"),
        (("drop",), 2, "missing argument 'SALVAGES'"),
        (("apply", "a", "b"), 2, "unexpected extra argument (b)"),
        (("show", "KIN-9"), 8, "`kin salvage list`"),
    ],
)
def test_wrong_words_say_what_is_right(project: Repo, words: tuple[str, ...], exit: int, said: str) -> None:
    assert said in project.kin("salvage", *words, exit=exit).stderr


@pytest.mark.parametrize("dirty", [False, True])
def test_rejected_work_is_shown_whole_not_only_its_last_step(project: Repo, dirty: bool) -> None:
    project.write(".kin/kin.yaml", "key: KIN\nmode: review\npipelines: {default: [{run: echo 1 > one}, {run: echo 2 > two}]}\n")
    project.kin("add", "A task")
    project.kin("run", "KIN-1", exit=3)
    if dirty:
        (worktree,) = project.path.parent.glob("home/state/kin/worktrees/*/KIN-1")
        (worktree / "three").write_text("3\n")
    project.commit("main moves on", other="x\n")
    project.kin("reject", "KIN-1", "-m", "no")
    (one,) = document(project)["data"]
    assert one["paths"] == (["one", "three", "two"] if dirty else ["one", "two"])
