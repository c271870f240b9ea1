"""`kin init`: asks nothing, overwrites nothing, commits nothing, and can be taken back."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo
from killing import killed
from test_run import add, settings


def init(repo: Repo, *words: str, **more: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(repo.kin("init", *words, "--json", **more).stdout)["data"]
    return data


def test_outside_of_a_repository_it_names_git_init(tmp_path: Path) -> None:
    assert "`git init`" in Repo(tmp_path).kin("init", exit=8).stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


def test_it_makes_a_project_whose_commands_work_and_commits_nothing(make_repo: Any) -> None:
    repo = make_repo("web-shop 2")
    before = repo.tip()
    said = repo.kin("init").stdout
    assert "Made .kin/kin.yaml, .kin/.gitattributes, .kin/schema." in said and "kin add" in said and "yours to commit" in said
    assert len(said.splitlines()) <= 24
    assert (repo.tip(), repo.status()) == (before, "?? .kin/")
    assert repo.kin("add", "First", "-q").stdout == "WEBSHOP2-1\n"
    assert repo.kin("list", "-q").stdout == "WEBSHOP2-1\n"


def test_it_works_before_the_first_commit_and_from_a_folder_below(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "new")
    (repo.path / "src").mkdir(parents=True)
    repo.git("init", "-q", "-b", "main")
    repo.kin("init", cwd=repo.path / "src")
    assert sorted(p.name for p in (repo.path / ".kin").iterdir()) == [".gitattributes", "kin.yaml", "schema", "tasks"]


def test_a_second_time_changes_nothing_that_a_person_wrote(repo: Repo) -> None:
    repo.write(".kin/.gitattributes", "# mine\n")
    repo.write(".kin/schema/task.json", "{}\n")
    made = init(repo, "--key", "ABC")["created"]
    mine = {".gitattributes", "schema/task.json"}
    assert made[0] == ".kin/kin.yaml"
    assert set(made) | {f".kin/{name}" for name in mine} == {
        f".kin/{path.relative_to(repo.path / '.kin')}" for path in (repo.path / ".kin").rglob("*") if path.is_file()
    }
    assert not mine & {name.removeprefix(".kin/") for name in made}
    text = repo.read(".kin/kin.yaml").replace("mode: review", "mode: auto # mine")
    repo.write(".kin/kin.yaml", text)
    assert init(repo)["created"] == []
    assert init(repo, "--key", "ABC")["key"] == "ABC"
    assert (repo.read(".kin/kin.yaml"), repo.read(".kin/.gitattributes")) == (text, "# mine\n")
    assert repo.read(".kin/schema/task.json") == "{}\n"
    assert "key is ABC already" in repo.kin("init", "--key", "XYZ", exit=2).stderr


@pytest.mark.parametrize("key", ["D", "abc", "TOOLONGKEY", "1A", ""])
def test_a_key_that_cannot_be_one_is_refused_before_anything_is_made(repo: Repo, key: str) -> None:
    assert "cannot be a key" in repo.kin("init", "--key", key, exit=2).stderr
    assert not (repo.path / ".kin").exists()


@pytest.mark.parametrize(
    ("file", "text", "gate"),
    [
        ("pyproject.toml", "[tool.pytest.ini_options]\n", "pytest -q"),
        ("pyproject.toml", "[project]\nname = 'x'\n", None),
        ("package.json", '{"scripts": {"test": "jest"}}', "npm test"),
        ("package.json", '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}', None),
        ("package.json", "{broken", None),
        ("Makefile", "all:\n\techo\ntest: all\n\techo\n", "make test"),
        ("Makefile", "test := 1\n", None),
        ("Cargo.toml", "[package]\n", "cargo test"),
        ("go.mod", "module x\n", "go test ./..."),
        ("README.md", "pytest\n", None),
    ],
)
def test_a_gate_is_proposed_as_a_comment_and_made_real_on_demand(repo: Repo, file: str, text: str, gate: str | None) -> None:
    repo.write(file, text)
    data = init(repo)
    assert (data["proposed_gate"], data["gates"]) == (gate, [])
    commented = repo.read(".kin/kin.yaml")
    assert f"#gates:\n#  - {gate or 'make test'}\n" in commented
    assert init(repo, "--gates")["gates"] == ([gate] if gate else [])
    if gate:
        assert repo.read(".kin/kin.yaml") == commented.replace(f"#gates:\n#  - {gate}", f"gates:\n  - {gate}")


def test_gates_of_a_persons_own_stay_alone(repo: Repo) -> None:
    repo.write("go.mod", "module x\n")
    repo.write(".kin/kin.yaml", "key: KIN\ngates: [make lint]\n")
    assert init(repo, "--gates")["gates"] == ["make lint"]
    assert repo.read(".kin/kin.yaml") == "key: KIN\ngates: [make lint]\n"
    repo.write(".kin/kin.yaml", "key: KIN # mine\nsetup: make\n")
    assert init(repo, "--gates")["gates"] == ["go test ./..."]
    assert "key: KIN # mine\n" in repo.read(".kin/kin.yaml") and "setup: make\n" in repo.read(".kin/kin.yaml")


def test_a_broken_kin_yaml_is_named_and_left(repo: Repo) -> None:
    repo.write(".kin/kin.yaml", "key: KIN\nmode: perhaps\n")
    assert ".kin/kin.yaml:2:7: mode" in repo.kin("init", exit=7).stderr


def test_agents_on_the_path_are_found(repo: Repo, tmp_path: Path) -> None:
    for name in ("codex", "aider"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    assert init(repo, env={"PATH": path})["agents"] == ["codex", "aider"]
    text = repo.read(".kin/kin.yaml")
    assert "\nagent: codex\n" in text and "\n#    agent: aider\n" in text


def test_an_agent_is_only_proposed_where_none_is_found_or_the_person_has_named_one(repo: Repo, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "codex"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    config = tmp_path / "home/config/kin/config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("agent: gemini\n")
    init(repo, env={"PATH": f"{program.parent}:/usr/bin:/bin"})
    assert "\n#agent: codex\n" in repo.read(".kin/kin.yaml")
    shutil.rmtree(repo.path / ".kin")
    config.unlink()
    init(repo, env={"PATH": "/usr/bin:/bin"})
    text = repo.read(".kin/kin.yaml")
    assert "\n#agent: claude\n" in text and "\n#    agent: codex\n" in text


def test_the_clone_that_init_ran_in_is_trusted_and_another_is_not(repo: Repo, tmp_path: Path) -> None:
    from kin.store.project import find
    from kin.store.trust import not_agreed, said_yes, texts_here

    repo.write("go.mod", "module x\n")
    init(repo, "--gates")
    repo.commit("kin")
    here = find(str(repo.path), os.environ)
    assert said_yes(here, "trusted") and not_agreed(here, texts_here(here)) == {}
    repo.git("clone", "-q", ".", str(tmp_path / "other"))
    other = find(str(tmp_path / "other"), os.environ)
    assert not said_yes(other, "trusted") and "gates" in not_agreed(other, texts_here(other))
    there = Repo(tmp_path / "other")
    assert "go test" in there.kin("trust", "--yes").stdout
    assert said_yes(other, "trusted") and not_agreed(other, texts_here(other)) == {}
    there.kin("trust", "--forget")
    assert not said_yes(other, "trusted")


def test_a_linked_worktree_has_the_main_checkouts_project(repo: Repo, tmp_path: Path) -> None:
    init(repo)
    repo.git("worktree", "add", "-q", str(tmp_path / "side"))
    assert init(Repo(tmp_path / "side"))["store"] == str(repo.path / ".kin")
    assert not (tmp_path / "side" / ".kin").exists()


def test_a_bare_repository_is_told_apart(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "bare.git")
    repo.path.mkdir()
    repo.git("init", "-q", "--bare")
    assert "bare repository" in repo.kin("init", exit=7).stderr


def test_remove_takes_back_all_but_the_folder(project: Repo) -> None:
    from kin.store.project import find
    from kin.store.trust import said_yes

    config = (project.path / ".git/config").read_text()
    init(project)
    project.kin("add", "One")
    assert "kin merge-file" in project.git("config", "merge.kin.driver")
    project.git("config", "includeIf.gitdir:./worktrees/KIN-*.path", "kin/worktree.gitconfig")
    project.git("config", "includeIf.gitdir:~/mine/.path", "mine.gitconfig")
    project.git("branch", "kin/KIN-7")
    assert "kin/KIN-7" in project.kin("init", "--remove").stdout
    left = (project.path / ".git/config").read_text()
    assert "mine.gitconfig" in left and "worktree.gitconfig" not in left and "merge-file" not in left
    assert config in left
    assert [p.name for p in (project.path / ".git/kin").iterdir()] == ["locks"]
    assert not said_yes(find(str(project.path), os.environ), "trusted")
    assert (project.path / ".kin/tasks/KIN-1.yaml").exists()
    project.kin("init", "--remove")


@pytest.mark.parametrize(
    ("lock", "way"), [("KIN-1", "`kin stop KIN-1`"), ("KIN-1.queued", "`kin stop KIN-1`"), ("watch", "`kin watch`")]
)
def test_remove_waits_for_whatever_lives(project: Repo, lock: str, way: str) -> None:
    from kin.model.record import Run
    from kin.model.status import RunStatus
    from kin.store.locks import lock_path, try_lock
    from kin.store.project import find
    from kin.store.records import save_live

    here = find(str(project.path), os.environ)
    save_live(here, Run("20261124T093200Z-7f3k", "KIN-1", RunStatus.running, "2026-11-24T09:32:00Z"))
    held = try_lock(lock_path(here.common, lock))
    assert held is not None
    with held:
        assert way in project.kin("init", "--remove", exit=6).stderr
    assert (project.path / ".git/kin/run").exists()


def test_remove_puts_right_what_a_kill_cut_short_and_names_what_it_leaves(project: Repo) -> None:
    settings(project)
    add(project)
    add(project, 2, "echo half > half.txt; exit 1")
    project.kin("run", "KIN-2", exit=1)
    project.kin("edit", "KIN-2", env={"EDITOR": "sh -c 'echo mine > $0; exit 1'", "VISUAL": ""}, exit=1)
    before = project.tip()
    assert killed(project, "run", "KIN-1", point="move.index") == -9 and (project.path / ".git/index.lock").exists()
    said = json.loads(project.kin("init", "--remove", "--json").stdout)["data"]
    assert said["branches"] == ["kin/KIN-1", "kin/KIN-2"] and len(said["salvages"]) == 1
    assert [Path(path).name for path in said["worktrees"]] == ["KIN-1", "KIN-2"]
    assert all(Path(path).is_dir() for path in said["worktrees"])
    assert [Path(path).read_text() for path in said["texts"]] == ["mine\n"]
    assert project.tip() == before and not (project.path / ".git/index.lock").exists()
    project.commit("nothing is in a person's way")
