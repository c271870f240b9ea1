"""Schedules: each firing makes one task, whatever is killed; what overlaps or was missed is dealt with as the settings say."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import KIN_YAML, Repo
from killing import killed

from kin.model.settings import check_settings
from kin.runner.watch.schedules import fire
from kin.store.config import load_settings
from kin.store.project import Project, find
from kin.store.view import see

NEW_YEAR = "schedules:\n  - name: yearly\n    cron: 0 0 1 1 *\n    missed: latest\n    task: {title: Look back, status: done}\n"


def settings(repo: Repo, text: str) -> Project:
    repo.write(".kin/kin.yaml", KIN_YAML + "\n" + text)
    return find(str(repo.path), os.environ)


def made(repo: Repo) -> list[str]:
    return sorted(path.stem for path in (repo.path / ".kin" / "tasks").glob("*.yaml"))


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def pass_by(project: Project, now: datetime) -> list[str]:
    return fire(project, load_settings(project), see(project, bodies=False), now)


@pytest.mark.parametrize("point", ["schedule.intended", "schedule.made"])
def test_a_firing_is_made_once_wherever_the_watcher_is_killed(project: Repo, point: str) -> None:
    settings(project, NEW_YEAR)
    project.kin("watch", "--once")
    state = project.path / ".git" / "kin" / "watch.json"
    held = json.loads(state.read_text())
    assert made(project) == [] and "yearly" in held["fired"]
    state.write_text(json.dumps(held | {"fired": {"yearly": "2024-06-01T00:00:00Z"}}))
    assert killed(project, "watch", "--once", point=point) == -9
    project.kin("watch", "--once", env={"KIN_ALLOW_WRITE": "0"})
    project.kin("watch", "--once", env={"KIN_ALLOW_WRITE": "0"})
    assert made(project) == ["KIN-1"]
    text = project.read(".kin/tasks/KIN-1.yaml")
    assert "title: Look back" in text and "status: todo" in text and "- auto" in text and "schedule:yearly" in text


def test_a_schedule_that_came_by_git_makes_nothing_before_somebody_agreed(
    project: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KIN_TRUST")
    settings(project, NEW_YEAR)
    project.commit("as a pull leaves it")
    state = project.path / ".git" / "kin" / "watch.json"
    state.parent.mkdir(exist_ok=True)
    old = {"fired": {"yearly": "2024-06-01T00:00:00Z"}, "starts": [], "making": {}, "reopened": {}}
    state.write_text(json.dumps(old))
    assert "no schedule fires" in project.kin("watch", "--once", "--yes").stdout
    assert made(project) == []
    project.kin("trust", "--yes")
    project.kin("watch", "--once")
    assert made(project) == ["KIN-1"]


def test_overlap_and_missed_times_are_dealt_with_as_the_settings_say(project: Repo) -> None:
    where = settings(
        project,
        "schedules:\n  - {name: skips, cron: 0 * * * *}\n"
        "  - {name: queues, cron: 30 3 * * *, overlap: queue, missed: latest}\n",
    )
    assert pass_by(where, at(1)) == []
    assert pass_by(where, at(1, 0, 59)) == []
    assert pass_by(where, at(1, 1)) == ["schedule skips: made KIN-1"]
    assert pass_by(where, at(1, 1)) == []
    assert pass_by(where, at(1, 2)) == ["schedule skips: left out, KIN-1 is still under way"]
    project.write(".kin/tasks/KIN-1.yaml", project.read(".kin/tasks/KIN-1.yaml").replace("todo", "done"))
    said = pass_by(where, at(3, 9, 10))
    assert said == ["schedule skips: 2026-11-03T09:00:00Z was missed", "schedule queues: made KIN-2"]
    assert pass_by(where, at(4, 3, 31))[-1] == "schedule queues: made KIN-3"
    assert made(project) == ["KIN-1", "KIN-2", "KIN-3"]


def test_times_are_local_to_the_schedules_zone_over_a_change_of_clocks(project: Repo) -> None:
    entry = {"name": "n", "cron": "30 2 * * *", "timezone": "Europe/Vienna"}
    found = check_settings({"key": "KIN", "schedules": [entry]}).settings
    assert found is not None
    moment, due = datetime(2026, 3, 27, 12, tzinfo=UTC), []
    for _ in range(3):
        moment = found.schedules[0].due(moment)
        due.append(moment.strftime("%d %H:%M"))
    assert due[0] == "28 01:30" and due[2] == "30 00:30" and due[1].startswith("29 0")  # 2:30 does not exist on the 29th
    assert found.schedules[0].due(moment + timedelta(seconds=1), back=True) == moment


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"name": "n", "cron": "61 * * * *"}, "cron '61 * * * *'"),
        ({"name": "n", "cron": "0 0 * * *", "timezone": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        ({"name": "n", "cron": "0 0 * * *", "task": {"priority": "soon"}}, "task: "),
        ({"name": "two words", "cron": "0 0 * * *"}, "name"),
    ],
)
def test_what_could_never_fire_is_refused_with_the_settings(entry: dict[str, object], words: str, tmp_path: Path) -> None:
    (problem, *_) = check_settings({"key": "KIN", "schedules": [entry]}).problems
    assert words in problem.message
