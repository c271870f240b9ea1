"""The other clients that kin knows, driven at night: each works, is kept from writing where it may only read, and says no."""

import json
from collections.abc import Iterator

import pytest
from clients import OTHERS
from conftest import Repo, task_text
from firm import MODELS, Firm
from model_server import ModelServer, by_prompt, login, result, say, shell

pytestmark = pytest.mark.nightly

EDIT = "made.txt\n```\n<<<<<<< SEARCH\n=======\nmade by a tool\n>>>>>>> REPLACE\n```\n"
"""How aider's models change a file: in their text."""


@pytest.fixture(params=list(OTHERS))
def firm(request: pytest.FixtureRequest, project: Repo) -> Iterator[Firm]:
    with ModelServer(lambda asked: say("nothing was scripted")) as server:
        yield Firm(project, request.param, server)


def test_a_client_works_in_the_worktree_and_sees_the_house_rules(firm: Firm) -> None:
    firm.project.commit("rules", **{"AGENTS.md": "house-rule-of-agents\n"})
    said = result(summary="made it", text=EDIT if firm.client == "aider" else "")
    firm.says(
        by_prompt({"Make it": [said] if firm.client == "aider" else [shell("env; echo made by a tool > made.txt"), said]})
    )
    assert firm.do(SECRET_OF_A_PERSON="planted-secret")["status"] == "done"
    assert firm.project.read("made.txt") == "made by a tool\n"
    assert any("house-rule-of-agents" in asked.everything for asked in firm.server.asked)
    assert not any("planted-secret" in asked.everything for asked in firm.server.asked)
    (step,) = firm.record(at="main")["steps"]
    assert (step["agent"], step["summary"], step["status"]) == (firm.client, "made it", "done")
    assert step["tokens"]["in"] >= 100 and step["tokens"]["out"] >= 20
    assert step.get("model") in (MODELS[firm.client], None) and step.get("version") in (OTHERS[firm.client][1], None)
    log = firm.kin("log", "KIN-1").stdout
    assert "made it" in log and '{"type"' not in log


def test_a_role_that_only_reads_changes_nothing(firm: Firm) -> None:
    tries = [shell("echo x > made.txt; rm README.md"), result(summary="read it")]
    firm.says(by_prompt({"Read it": [result(summary="read it", text=EDIT)] if firm.client == "aider" else tries}))
    firm.project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", "Read it", pipeline="\n  - reviewer"))
    firm.project.commit("a task")
    before = firm.project.tip("HEAD^{tree}")
    assert firm.run("run", "KIN-1")["status"] == "done"
    assert firm.project.git("diff", "--name-only", before, "main", "--", ".", ":!.kin") == ""
    kept = firm.kin("salvage", "list", "--json").stdout
    assert json.loads(kept)["data"] == [], "it was kept from writing, not only taken back"


def test_a_key_that_is_refused_blocks_the_task_with_what_to_do(firm: Firm) -> None:
    firm.says(lambda asked: login())
    outcome = firm.do(exit=3)
    assert (outcome["status"], outcome["blocked"]) == ("blocked", "question")
    assert f"{firm.client} is not logged in" in outcome["reason"]
