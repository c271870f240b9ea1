"""Finding a project by git's own rules, without git."""

import os
from pathlib import Path

import pytest
from conftest import Repo

from kin.errors import Invalid, NotFound
from kin.store.project import Project, config_folder, file_name, find, find_repository, state_folder


def _store(repo: Repo) -> Project:
    repo.write(".kin/kin.yaml", "key: KIN\n")
    return find(str(repo.path), {})


def test_a_project_is_found_from_any_folder_in_it(repo: Repo) -> None:
    project = _store(repo)
    deep = repo.path / "src" / "deep"
    deep.mkdir(parents=True)
    assert find(str(deep), {}) == project
    assert project.root == str(repo.path)
    assert project.gitdir == project.git_common == str(repo.path / ".git")
    assert project.common == str(repo.path / ".git" / "kin")


def test_no_repository_names_git_init(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="git init"):
        find(str(tmp_path), {})


def test_no_store_names_kin_init(repo: Repo) -> None:
    with pytest.raises(NotFound, match="kin init"):
        find(str(repo.path), {})
    assert find_repository(str(repo.path), {}).root == str(repo.path)


def test_an_empty_dot_git_folder_is_no_repository(repo: Repo) -> None:
    project = _store(repo)
    (repo.path / "vendored" / ".git").mkdir(parents=True)
    assert find(str(repo.path / "vendored"), {}) == project


def test_a_linked_worktree_has_a_store_of_its_own_and_shares_the_common_folder(repo: Repo) -> None:
    repo.commit("kin", **{".kin__kin.yaml": "key: KIN\n"})
    main = find(str(repo.path), {})
    repo.git("worktree", "add", "-q", "../other", "-b", "other")
    linked = find(str(repo.path.parent / "other"), {})
    assert linked.store == str(repo.path.parent / "other" / ".kin")
    assert linked.common == main.common
    assert linked.gitdir == repo.git("rev-parse", "--absolute-git-dir", cwd=repo.path.parent / "other")


def test_a_worktree_whose_store_is_hidden_belongs_to_the_main_checkout(repo: Repo) -> None:
    project = _store(repo)
    repo.git("worktree", "add", "-q", "../other", "-b", "other")
    assert find(str(repo.path.parent / "other"), {}) == project


def test_kin_dir_names_the_store_from_anywhere(repo: Repo, tmp_path: Path) -> None:
    project = _store(repo)
    assert find(str(tmp_path), {"KIN_DIR": project.store}) == project
    with pytest.raises(NotFound, match="KIN_DIR"):
        find(str(tmp_path), {"KIN_DIR": str(tmp_path)})


def test_a_bare_repository_has_no_place_for_tasks(repo: Repo, tmp_path: Path) -> None:
    repo.git("clone", "-q", "--bare", str(repo.path), str(tmp_path / "bare.git"))
    assert find_repository(str(tmp_path / "bare.git"), {}).root == ""
    with pytest.raises(Invalid, match="bare"):
        find(str(tmp_path / "bare.git"), {})


def test_a_submodule_is_a_repository_of_its_own(repo: Repo) -> None:
    _store(repo)
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repo.path), "sub")
    found = find_repository(str(repo.path / "sub"), {})
    assert found.root == str(repo.path / "sub")
    assert found.git_common == str(repo.path / ".git" / "modules" / "sub")


def test_a_path_through_a_link_is_the_same_project(repo: Repo, tmp_path: Path) -> None:
    project = _store(repo)
    (tmp_path / "link").symlink_to(repo.path)
    assert find(str(tmp_path / "link"), {}) == project


def test_a_person_chooses_the_folders_for_state_and_settings(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path / "s"), "XDG_CONFIG_HOME": str(tmp_path / "c")}
    assert (state_folder(env), config_folder(env)) == (str(tmp_path / "s/kin"), str(tmp_path / "c/kin"))
    assert os.path.isabs(state_folder({"XDG_STATE_HOME": "relative"}))


@pytest.mark.parametrize("name", ["release/1.x", "ä b", "..", ".hidden", "x" * 400, "a%2Fb", "\udcff"])
def test_any_branch_name_is_one_file_name(name: str) -> None:
    encoded = file_name(name)
    assert "/" not in encoded
    assert not encoded.startswith(".")
    assert len(os.fsencode(encoded)) < 255
    assert encoded != file_name(name + "x")
