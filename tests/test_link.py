"""Links: tasks that wait for tasks of another project."""

import json
import shutil
from collections.abc import Callable

import pytest
from conftest import Repo, task_text


@pytest.fixture
def other(project: Repo, make_repo: Callable[[str], Repo]) -> Repo:
    """A second project beside the first, linked as `api`, with one open task."""
    repo = make_repo("other")
    repo.write(".kin/kin.yaml", "format: 1\n\nkey: API\n")
    repo.write(".kin/tasks/API-7.yaml", task_text("API-7"))
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline="\n  - run: touch done"))
    project.kin("link", "add", "api", "../other", "--relation", "what we call")
    project.kin("set", "1", "depends_on+=api:api-7")
    return repo


def reasons(project: Repo) -> str:
    return " ".join(r["text"] for r in json.loads(project.kin("why", "1", "--json").stdout)["data"]["reasons"])


def test_a_task_waits_for_one_of_a_linked_project(project: Repo, other: Repo) -> None:
    assert "api:API-7, which it depends on, is todo" in reasons(project)
    assert "nothing is ready" in project.kin("run", "--ready").stdout
    project.kin("run", "1", exit=6)
    other.write(".kin/tasks/API-7.yaml", task_text("API-7", status="done"))
    project.kin("run", "1")
    assert (project.path / "done").exists()


def test_a_linked_project_that_moves_breaks_or_goes_never_breaks_this_one(project: Repo, other: Repo) -> None:
    other.write(".kin/tasks/API-7.yaml", "status: [")
    assert "cannot be seen" in reasons(project)
    shutil.rmtree(other.path)
    assert "api is not at ../other" in reasons(project)
    assert "KIN-1" in project.kin("list").stdout
    assert "api" in project.kin("link", "check", exit=7).stdout
    project.kin("check")


def test_a_role_that_reads_all_modules_is_told_those_of_linked_projects(project: Repo, other: Repo) -> None:
    other.write(".kin/modules.yaml", "web: {paths: [src/web/**], purpose: The pages}\n")
    told = project.kin("context", "1", "--role", "architect").stdout
    assert "web of the linked project api: src/web/**\n  The pages" in told
    assert "linked project" not in project.kin("context", "1", "--role", "developer").stdout
    other.write(".kin/modules.yaml", "web: [broken\n")
    assert "linked project" not in project.kin("context", "1", "--role", "architect").stdout


def test_a_link_that_nobody_knows_is_named(project: Repo, other: Repo) -> None:
    project.kin("add", "More", "--depends-on", "web:WEB-1", exit=8)
    said = project.kin("link", "rm", "api")
    assert "KIN-1 depend on tasks of api" in said.stderr
    assert "kin link add api" in reasons(project)
    assert "reference" in project.kin("check", "--json", exit=7).stdout


def test_a_url_leads_to_a_clone_that_is_trusted(project: Repo, other: Repo) -> None:
    other.git("remote", "add", "origin", "https://example.org/api.git")
    project.kin("link", "add", "web", "https://example.org/api.git")
    project.kin("set", "1", "depends_on=web:API-7")
    assert "has no clone here that you trust" in reasons(project)
    other.kin("trust", "--yes", env={"KIN_TRUST": ""})
    assert "is todo" in reasons(project)


def test_hand_written_links_keep_their_comments(project: Repo) -> None:
    project.write(".kin/links.yaml", "api: ../api  # beside us\n")
    project.kin("link", "add", "web", "../web")
    assert project.read(".kin/links.yaml").startswith("api: ../api  # beside us\n")
    names = [row["name"] for row in json.loads(project.kin("link", "--json").stdout)["data"]]
    assert names == ["api", "web"]
    project.write(".kin/links.yaml", "api: {relation: x}\n")
    assert ".kin/links.yaml:1" in project.kin("link").stderr
