"""The company's memory: decisions as files, found again, replaced, exported; near copies are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo

from kin.model.decision import Decision, DecisionKind, is_near_copy


def listed(project: Repo, *words: str) -> list[str]:
    return project.kin("decisions", "--quiet", *words).stdout.split()


def data(project: Repo, *words: str) -> Any:
    return json.loads(project.kin(*words, "--json").stdout)["data"]


def test_a_decision_is_written_once_found_by_its_filters_and_shown(project: Repo) -> None:
    project.kin("decide", "Store", "all", "times", "in", "UTC", "-m", "Servers stand in three zones.")
    project.kin("decide", "Tokens live 10 minutes", "--kind", "convention", "--module", "auth", "--path", "src/auth/**")
    project.kin(
        "decide", "npm ci fails behind the proxy", "--kind", "gotcha", "--tag", "ci", "-m", "-", input="Set the mirror."
    )
    assert listed(project) == ["D-1", "D-2", "D-3"]
    assert listed(project, "--kind", "convention") == listed(project, "--module", "auth") == ["D-2"]
    assert listed(project, "--tag", "ci") == listed(project, "--search", "MIRROR") == ["D-3"]
    assert listed(project, "--for", "src/auth/login.py") == listed(project, "--for", "src") == ["D-2"]
    assert listed(project, "--for", "src/mail.py") == []
    one = data(project, "show", "d-1")
    assert one["title"] == "Store all times in UTC" and one["text"] == "Servers stand in three zones."
    assert one["source"]["person"] == "Ada Person" and one["tags"] == [] and one["module"] is None
    page = project.kin("show", "D-2").stdout
    assert "Tokens live 10 minutes" in page and "paths: src/auth/**" in page
    project.kin("check")
    project.kin("show", "D-9", exit=8)


def test_an_agent_in_its_worktree_is_told_what_is_about_a_file_there(project: Repo, tmp_path: Path) -> None:
    project.kin("decide", "Tokens live 10 minutes", "--path", "src/auth/**")
    project.git("worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    (inside := tmp_path / "tree/src").mkdir()
    told = project.kin("decisions", "-q", "--for", "auth/login.py", cwd=inside, env={"KIN_DIR": str(project.path / ".kin")})
    assert told.stdout == "D-1\n"


def test_a_superseded_decision_is_left_out_and_is_back_when_its_successor_goes(project: Repo) -> None:
    project.kin("decide", "Tokens live 10 minutes")
    project.kin("decide", "Tokens live 20 minutes", "--supersedes", "1")
    assert listed(project) == ["D-2"]
    assert listed(project, "--all") == ["D-1", "D-2"]
    assert data(project, "show", "D-1")["superseded_by"] == "D-2"
    (project.path / ".kin/decisions/D-2.yaml").unlink()
    assert listed(project) == ["D-1"]


def test_what_only_repeats_a_decision_is_refused_unless_it_replaces_it_or_is_forced(project: Repo) -> None:
    project.kin("decide", "Store all timestamps in UTC")
    said = project.kin("decide", "Timestamps are stored in UTC", exit=2).stderr
    assert "D-1 says that already" in said and "--supersedes D-1" in said
    project.kin("decide", "Timestamps are stored in UTC", "--supersedes", "D-1")
    project.kin("decide", "Store all timestamps in UTC", exit=2)
    project.kin("decide", "Store all timestamps in UTC", "--force")


COPIES = [
    ("Use UTC everywhere\nServers differ in zone.", "Use UTC everywhere", "Clients convert for display"),
    ("HTTP clients time out after 10 seconds", "Every HTTP client times out after 10 seconds", ""),
    (
        "SQLite locks the file on writes\nDo not share a connection",
        "SQLite locks the file on a write",
        "Never share connections",
    ),
    ("`npm ci` fails behind the proxy\nSet NPM_CONFIG_REGISTRY", "npm ci fails behind the proxy", "set NPM_CONFIG_REGISTRY"),
]
OTHERS = [
    ("Use argparse for the command line\nIt is in the standard library", "Use click for the command line", "It is known best"),
    ("Requests time out after 10 seconds", "Requests time out after 20 seconds", ""),
    ("Use tabs for indentation", "Do not use tabs for indentation", ""),
    ("The API returns 404 for missing users", "The API returns 404 for missing orders", ""),
    ("Redis is the cache", "Redis is not the queue", ""),
    ("Log in JSON", "Log in UTC", ""),
]


@pytest.mark.parametrize(("text", "title", "more", "same"), [*((*c, True) for c in COPIES), *((*o, False) for o in OTHERS)])
def test_a_near_copy_says_the_same_and_a_changed_number_or_a_no_is_none(text: str, title: str, more: str, same: bool) -> None:
    known = [
        Decision("D-1", DecisionKind.gotcha, "The build needs two gigabytes"),
        Decision("D-2", DecisionKind.decision, title, more),
    ]
    assert is_near_copy(text, known) == ("D-2" if same else None)


def test_a_decision_about_files_that_are_gone_is_stale(project: Repo) -> None:
    project.commit("code", src__a_py="x\n", docs__b_md="y\n")
    project.kin("decide", "One", "--path", "src/*", "--path", "lib/**")
    project.kin("decide", "Two", "--path", "docs/b_md")
    assert data(project, "decisions", "--stale")[0]["lost"] == ["lib/**"]
    assert listed(project, "--stale") == ["D-1"]


def test_decisions_are_exported_as_markdown_and_no_file_of_others_is_touched(project: Repo, tmp_path: Path) -> None:
    project.kin("decide", "Store all times in UTC", "-m", "Zones differ.", "--tag", "data")
    project.kin("decide", "Keep times as text", "--supersedes", "D-1", "--force")
    project.kin("decisions", "export", "--adr", "docs/adr")
    first = project.read("docs/adr/0001-store-all-times-in-utc.md")
    assert first.startswith("# Store all times in UTC\n\nSuperseded by D-2 (D-1, decision, ") and "Zones differ." in first
    assert "By Ada Person." in first and "Tags: data" in first
    project.kin("decisions", "export", "--adr", "docs/adr")
    project.write("docs/adr/0002-keep-times-as-text.md", "mine\n")
    project.kin("decisions", "export", "--adr", "docs/adr", exit=2)
    assert project.read("docs/adr/0002-keep-times-as-text.md") == "mine\n"
    project.kin("decisions", "export", exit=2)


def test_a_broken_decision_is_named_and_hides_no_other(project: Repo) -> None:
    project.kin("decide", "One")
    project.write(".kin/decisions/D-2.yaml", "id: D-2\ntitle: Two\nkind: nonsense\n")
    done = project.kin("decisions", "-q")
    assert done.stdout.split() == ["D-1"] and "D-2.yaml:3:" in done.stderr
    project.kin("show", "D-2", exit=7)
