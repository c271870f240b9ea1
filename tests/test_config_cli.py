"""`kin config`: each setting with its value and the line that it comes from."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo

SETTINGS = """\
key: KIN
mode: auto          # as gates allow
gates:
  - make check
  - {name: slow, run: make slow, timeout: 5m}
limits: {idle: 10m}
pipelines:
  fix: [debugger, {run: make check}]
agents: {mine: {argv: [mine]}}
notify: [{run: say}]
base:
"""


def config(repo: Repo, *words: str) -> dict[str, dict[str, Any]]:
    document = json.loads(repo.kin("config", *words, "--json").stdout)
    assert document["kind"] == "config.list"
    return {row["name"]: row for row in document["data"]}


def own(text: str) -> Path:
    """The person's own config.yaml."""
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "kin/config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_every_setting_has_a_value_and_its_origin(project: Repo) -> None:
    from kin.model.settings import Settings

    project.write(".kin/kin.yaml", SETTINGS)
    found = config(project)
    assert {name.partition(".")[0] for name in found} == set(Settings.model_fields)
    assert found["mode"] == {"name": "mode", "value": "auto", "source": "project", "places": [".kin/kin.yaml:2:7"]}
    assert found["gates"]["value"] == ["make check", {"name": "slow", "run": "make slow", "timeout": 300.0}]
    assert found["limits.idle"]["value"] == 600.0 and found["limits.idle"]["places"] == [".kin/kin.yaml:6:16"]
    assert found["limits.step"] == {"name": "limits.step", "value": 3600.0, "source": "default", "places": []}
    assert found["pipelines.fix"]["value"] == ["debugger", {"run": "make check"}]
    assert found["pipelines.quick"]["source"] == "default"
    assert (found["base"]["value"], found["base"]["source"]) == (None, "default")


def test_the_persons_own_settings_stand_where_kin_yaml_is_silent(project: Repo) -> None:
    path = own("agent: codex\nagents: {mine: {argv: [other]}, theirs: {argv: [t]}}\nnotify: [{run: beep}]\nconcurrency: 9\n")
    project.write(".kin/kin.yaml", SETTINGS)
    found = config(project)
    assert (found["agent"]["value"], found["agent"]["places"]) == (["codex"], [f"{path}:1:8"])
    assert (found["agents.mine"]["value"], found["agents.mine"]["source"]) == ({"argv": ["mine"]}, "project")
    assert found["agents.theirs"]["source"] == "user"
    assert found["notify"]["source"] == "project and user" and len(found["notify"]["value"]) == 2
    assert found["concurrency"]["value"] == 5 and found["user.concurrency"]["value"] == "9"


def test_names_choose_and_a_wrong_one_is_told(project: Repo) -> None:
    assert {"budget.usd", "budget.minutes", "mode"} <= (found := set(config(project, "budget", "mode")))
    assert all(name == "mode" or name.startswith("budget.") for name in found)
    assert "kin help settings" in project.kin("config", "colour", exit=2).stderr
    said = project.kin("config", "limits").stdout.splitlines()
    assert said[0].split() == ["limits.step", "1h", "default"]


def test_unknown_keys_are_warned_of_and_a_fault_is_placed(project: Repo) -> None:
    project.write(".kin/kin.yaml", "key: KIN\nconcurency: 3\nx-mine: 1\n")
    assert project.kin("config", "-q").stderr.count("unknown setting") == 1
    project.write(".kin/kin.yaml", "key: KIN\nmode: perhaps\n")
    assert ".kin/kin.yaml:2:7" in project.kin("config", exit=7).stderr


def test_a_home_that_is_no_folder_has_no_settings_and_a_run_needs_but_a_place_for_its_state(
    project: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.commit("kin")
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/dev/null")
    for words in (["config"], ["roles"], ["list"], ["gc"], ["watch", "--once"]):
        project.kin(*words)
    project.kin("add", "A task", "--run", "true")
    run = ("run", "1", "--allow-write")
    monkeypatch.delenv("KIN_TRUST")
    assert "`kin trust`" in project.kin(*run, exit=3).stderr
    monkeypatch.setenv("KIN_TRUST", "1")
    assert "set XDG_STATE_HOME" in project.kin(*run, exit=1).stdout
    project.kin(*run, env={"XDG_STATE_HOME": str(tmp_path / "state")})


def test_a_fault_in_the_persons_own_file_is_told_there(project: Repo) -> None:
    path = own("agent: claude\nagents:\n  mine:\n    argv: [x]\n    format: nope\n")
    said = project.kin("config", exit=7).stderr
    assert f"{path}:5:13: agents.mine.format: no format is called 'nope'" in said
    project.write(".kin/kin.yaml", "key: KIN\n\nmode: never\n\nagents: {mine: {argv: [x]}}\n")
    assert ".kin/kin.yaml:3:7: mode: " in project.kin("config", exit=7).stderr
