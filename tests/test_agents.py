"""Agents as data: what starts a client, what it may see, and what `kin agents` tells of it."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from kin.agents import Start, built_in, candidates, known, npm_version, start
from kin.errors import Invalid
from kin.model.agent import FORMATS, Agent
from kin.model.builtin import BUILT_IN_AGENTS
from kin.model.settings import Settings, StepSpec, check_settings
from kin.model.status import TaskStatus
from kin.model.task import Task
from kin.store.roles import Role
from kin.streams import READERS
from tests.conftest import KIN_YAML, Repo


def settings(**more: Any) -> Settings:
    found = check_settings({"key": "KIN", **more})
    assert found.settings, found.problems
    return found.settings


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH in which every built-in client can be found; each prints its version and a line of JSON."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in BUILT_IN_AGENTS:
        program(folder / name, f"[ \"$1\" = --version ] && echo '{name} 1.2.3 (x)'")
    return folder


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def begin(agent: Agent, programs: Path, tmp_path: Path, **more: Any) -> Start:
    prompt, home, work = tmp_path / "prompt.md", tmp_path / "private", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir(exist_ok=True)
    prompt.write_text("Write to me@example.org about @README.md\n")
    given = {"access": "write", "model": None, "environ": {"PATH": str(programs)}, "cwd": str(work)} | more
    return start(agent, prompt=str(prompt), home=str(home), **given)


def test_the_names_that_need_no_file_are_those_of_the_file_and_every_format_has_a_reader() -> None:
    assert set(built_in()) == set(BUILT_IN_AGENTS)
    assert set(READERS) == set(FORMATS) and "command" not in built_in()
    assert all(agent.read != agent.write and agent.version and agent.login and agent.install for agent in built_in().values())
    for agent in built_in().values():  # by their full names, so that their values can be masked
        assert {sign for sign in agent.logged_in if not sign.startswith("~")} <= set(agent.env)


def test_each_client_is_told_what_it_may_do_and_with_which_model(programs: Path, tmp_path: Path) -> None:
    for name, agent in built_in().items():
        both = {a: begin(agent, programs, tmp_path, access=a, model="m-1", session="s-1", usd=2.5) for a in ("read", "write")}
        for access, begun in both.items():
            line = " ".join(begun.argv)
            assert begun.argv[0] == str(programs / name)
            assert "m-1" in line and ("s-1" in line) == bool(agent.resume) and ("2.5000" in line) == bool(agent.budget)
            assert " ".join(getattr(agent, access)) in line
            assert not re.search(r"\{[a-z]+\}", line + "".join(begun.env.values()))
        assert both["read"].argv != both["write"].argv
        assert (both["read"].stdin is None) == (agent.prompt == "file")


def test_an_agent_sees_only_the_variables_that_are_named(programs: Path, tmp_path: Path) -> None:
    named = {"PATH": str(programs), "HOME": "/home/ada", "LC_ALL": "C", "https_proxy": "p", "KIN_RUN": "r"}
    named |= {"ANTHROPIC_API_KEY": "k"}
    secret = {"AWS_SECRET_ACCESS_KEY": "x", "DEPLOY_TOKEN": "x", "SSH_AUTH_SOCK": "x", "KIN_TRUST": "1", "KIN_ALLOW_WRITE": "1"}
    secret |= {"OPENAI_API_KEY": "x", "GIT_DIR": "x", "LD_PRELOAD": "x", "PYTHONPATH": "x"}
    claude = built_in()["claude"]
    assert begin(claude, programs, tmp_path, environ=named | secret).env == named | claude.set


def test_a_prompt_is_literal_also_for_a_client_that_reads_files_named_in_it(programs: Path, tmp_path: Path) -> None:
    agents = built_in()
    plain = begin(agents["claude"], programs, tmp_path).stdin
    escaped = begin(agents["gemini"], programs, tmp_path).stdin
    assert plain and Path(plain).read_text() == "Write to me@example.org about @README.md\n"
    assert escaped and Path(escaped).read_text() == "Write to me\\@example.org about \\@README.md\n"


def test_a_repositorys_words_to_agents_reach_a_client_that_reads_no_settings(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "secret").write_text("PRIVATE")
    (tmp_path / "work/AGENTS.md").write_text("Use tabs.")
    (tmp_path / "work/CLAUDE.md").symlink_to("AGENTS.md")
    begin(built_in()["claude"], programs, tmp_path)
    told = tmp_path / "private/instructions.md"
    assert told.read_text() == "AGENTS.md of this repository says:\n\nUse tabs."
    (tmp_path / "work/CLAUDE.md").unlink()
    (tmp_path / "work/CLAUDE.md").symlink_to(tmp_path / "secret")
    begin(built_in()["claude"], programs, tmp_path)
    assert "PRIVATE" not in told.read_text()


def test_they_stand_before_the_prompt_of_a_client_that_has_no_place_for_them(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/AGENTS.md").write_text("Use tabs.")
    gemini = built_in()["gemini"]
    resumed = begin(gemini, programs, tmp_path, session="s-1").stdin
    assert resumed and Path(resumed).read_text().startswith("Write to me")
    first = begin(gemini, programs, tmp_path).stdin
    assert first and Path(first).read_text().startswith("AGENTS.md of this repository says:\n\nUse tabs.\n\nWrite to me")


@pytest.mark.parametrize(("agent", "file"), [("opencode", "opencode.json"), ("gemini", ".gemini/settings.json")])
def test_a_client_that_would_start_what_a_repository_names_is_not_started(
    programs: Path, tmp_path: Path, agent: str, file: str
) -> None:
    (tmp_path / "work" / file).parent.mkdir(parents=True)
    (tmp_path / "work" / file).write_text("{}")
    with pytest.raises(Invalid, match=re.escape(file)):
        begin(built_in()[agent], programs, tmp_path)
    trusting = known(settings(agents={agent: {"unsafe": []}}))[agent]
    assert begin(trusting, programs, tmp_path).argv


def test_a_client_that_is_not_installed_is_named_with_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        begin(built_in()["codex"], tmp_path / "nothing", tmp_path)
    assert "codex is not on PATH" in str(caught.value) and "npm install" in caught.value.hint


def test_a_project_adds_agents_and_changes_some_keys_of_others() -> None:
    agents = known(settings(agents={"mine": {"argv": ["mine", "-x"]}, "claude": {"extra": "--verbose", "env": "MY_PROXY"}}))
    was, now = built_in()["claude"], agents["claude"]
    assert agents["mine"].argv == ("mine", "-x") and agents["mine"].format == "text"
    assert now.extra == ("--verbose",) and now.env == (*was.env, "MY_PROXY") and now.argv == was.argv
    assert agents["codex"] == built_in()["codex"]


def test_the_most_special_setting_says_who_plays_a_role() -> None:
    task, role = Task("KIN-1", "t", TaskStatus.todo, agent="from-task"), Role("reviewer", agent="from-role")
    everywhere = settings(agent=["a", "b", "a"], roles={"reviewer": {"agent": ["c", "d"]}})
    spec = StepSpec(role="reviewer")
    assert candidates(StepSpec(role="reviewer", agent="e"), role, task, everywhere) == ("e",)
    assert candidates(spec, role, task, everywhere) == ("c", "d")
    assert candidates(spec, role, task, settings(agent="a")) == ("from-task",)
    assert candidates(spec, role, None, settings(agent="a")) == ("from-role",)
    assert candidates(spec, None, None, settings(agent=["a", "b", "a"])) == ("a", "b")
    assert candidates(spec, None, None, settings()) == ()
    assert candidates(StepSpec(run="true"), role, task, everywhere) == ("command",)


def test_a_fault_in_an_entry_is_told_with_its_line(project: Repo) -> None:
    entry = "agents:\n  claude:\n    signs:\n      limit: '('\n  mine:\n    format: text\n"
    project.write(".kin/kin.yaml", KIN_YAML + "\n" + entry.replace("  mine:\n    format: text\n", ""))
    assert ".kin/kin.yaml:10:14: error: agents.claude.signs.limit" in project.kin("check", exit=7).stdout
    project.write(".kin/kin.yaml", KIN_YAML + "\n" + entry.replace("'('", "'x'"))
    assert "mine needs `argv`" in project.kin("check", exit=7).stdout


def rows(repo: Repo, programs: Path) -> dict[str, dict[str, Any]]:
    path = f"{programs}:{os.environ['PATH']}"
    document = json.loads(repo.kin("agents", "--json", env={"PATH": path, "OPENAI_API_KEY": "k"}).stdout)
    assert document["kind"] == "agent.list"
    return {row["name"]: row for row in document["data"]}


def test_kin_agents_tells_what_is_found_and_which_roles_it_would_play(project: Repo, programs: Path) -> None:
    project.write(".kin/kin.yaml", KIN_YAML + "\nagent: [nobody, claude]\n\nroles:\n  reviewer:\n    agent: codex\n")
    found = rows(project, programs)
    assert found["claude"]["path"] == str(programs / "claude") and found["claude"]["version"] == "1.2.3"
    assert found["codex"]["roles"] == ["reviewer"] and "developer" in found["claude"]["roles"]
    assert (found["claude"]["logged_in"], found["codex"]["logged_in"]) == (None, "OPENAI_API_KEY")


def test_the_version_of_what_npm_installed_is_told_without_starting_it(programs: Path, tmp_path: Path) -> None:
    package = tmp_path / "lib/node_modules/@openai/codex"
    package.joinpath("bin").mkdir(parents=True)
    package.joinpath("package.json").write_text('{"version": "0.169.0"}')
    (tmp_path / "bin/codex").unlink()
    (tmp_path / "bin/codex").symlink_to(program(package / "bin/codex.js", "exit 1"))
    assert npm_version(str(tmp_path / "bin/codex")) == "0.169.0"
    assert npm_version(str(programs / "claude")) is None


def test_kin_agents_starts_nothing_that_a_repository_names(project: Repo, programs: Path, tmp_path: Path) -> None:
    evil = program(tmp_path / "evil", f"touch {tmp_path / 'started'}")
    entries = f"\nagents:\n  mine:\n    argv: [{evil}]\n    version: [{evil}]\n  claude:\n    version: [{evil}]\n"
    project.write(".kin/kin.yaml", KIN_YAML + entries)
    project.commit("theirs")
    assert rows(project, programs)["mine"]["path"] == str(evil)
    project.kin("trust", "--forget")
    assert "kin trust" in project.kin("agents", "test", "mine", exit=3, env={"KIN_TRUST": ""}).stderr
    assert not (tmp_path / "started").exists()


def test_a_trial_tells_whether_an_agent_answers_and_keeps_off(project: Repo, tmp_path: Path) -> None:
    good = program(tmp_path / "good", "cat >/dev/null; echo ready")
    bad = program(tmp_path / "bad", "touch kin-was-here.txt; echo ready")
    lines = [f"  {p.name}:\n    argv: {p}\n" for p in (good, bad)]
    project.write(".kin/kin.yaml", KIN_YAML + "\nagents:\n" + "".join(lines))
    data = json.loads(project.kin("agents", "test", "good", "--json").stdout)["data"]
    assert (data["started"], data["answered"], data["kept_off"], data["kind"]) == (True, True, True, None)
    assert "must not play" in project.kin("agents", "test", "bad", exit=7).stdout
    assert project.status().count("kin-was-here") == 0
