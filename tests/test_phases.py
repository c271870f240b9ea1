"""Phases: a person starts one, its roles hand on what they found, a person approves, and the next may start."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import Repo, wait_for
from killing import killed
from test_models import Company, result, said

RESEARCH = json.dumps({"summary": "Three ways; the second fits", "decisions": [{"title": "Use the second way"}]})


@pytest.fixture
def phased(project: Repo, tmp_path: Path) -> Repo:
    (tmp_path / "answer.json").write_text(RESEARCH)
    look = f"test -e {tmp_path}/slow && cat {tmp_path}/slow; touch traces; cp {tmp_path}/answer.json $KIN_RESULT"
    text = f"""\
research:
  name: Look around            # two roles
  goal: What do others do?
  roles:
    - role: tech_researcher
      run: {json.dumps(look)}
    - role: business_analyst
      run: "cat > {tmp_path}/prompt; echo weighed"
  status: pending

build:
  tasks: [KIN-1, KIN-2]
"""
    for number in (1, 2):
        steps = f"\n  - run: echo {number} > {number}.txt"
        project.write(f".kin/tasks/KIN-{number}.yaml", f"id: KIN-{number}\ntitle: t\nstatus: todo\npipeline:{steps}\n")
    project.write(".kin/phases.yaml", text)
    project.commit("phases")
    return project


def standing(repo: Repo) -> dict[str, str]:
    return {row["id"]: row["status"] for row in json.loads(repo.kin("phase", "--json").stdout)["data"]}


def test_the_story_of_two_phases(phased: Repo, tmp_path: Path) -> None:
    assert "research comes before it" in phased.kin("phase", "start", "build", exit=3).stderr
    phased.kin("phase", "start", "research", exit=3)
    assert standing(phased) == {"research": "review", "build": "pending"}
    assert "name: Look around            # two roles\n" in phased.read(".kin/phases.yaml")
    assert "research is review" in phased.kin("phase", "start", "build", exit=6).stderr
    phased.kin("phase", "revise", "research", "-m", "Ask for the price, too")
    phased.kin("phase", "start", "research", exit=3)
    phased.kin("phase", "approve", "research")
    assert standing(phased)["research"] == "approved"
    assert "title: Use the second way" in phased.read(".kin/decisions/D-1.yaml")
    told = [p.read_text() for p in (phased.path / ".kin/notes/KIN-3").iterdir()]
    assert any("by: tech_researcher" in t and "the second fits" in t for t in told) and any("weighed" in t for t in told)
    assert not (phased.path / "traces").exists() and "What do others do?" in (tmp_path / "prompt").read_text()
    phased.kin("phase", "start", "build")
    assert standing(phased)["build"] == "review" and (phased.path / "2.txt").exists()
    phased.kin("phase", "approve", "build")
    assert standing(phased) == {"research": "approved", "build": "approved"}
    assert "is approved" in phased.kin("phase", "start", "build", exit=2).stderr


def test_a_start_that_meets_no_free_slot_leaves_everything_as_it_was(phased: Repo, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hold")
    busy = [f"KIN-{n}" for n in range(11, 16)]
    for one in busy:
        text = f"id: {one}\ntitle: t\nstatus: todo\npipeline:\n  - run: touch {tmp_path}/{one}; cat {tmp_path}/hold\n"
        phased.write(f".kin/tasks/{one}.yaml", text)
    phased.commit("five that hold all slots")
    runs = phased.start("run", *busy, stdout=subprocess.DEVNULL)
    wait_for(lambda: all((tmp_path / one).exists() for one in busy))
    files = {p: p.stat().st_mtime_ns for p in (phased.path / ".kin").rglob("*")}
    assert "all 5 slots are taken" in phased.kin("phase", "start", "research", exit=6).stderr
    assert {p: p.stat().st_mtime_ns for p in (phased.path / ".kin").rglob("*")} == files
    with open(tmp_path / "hold", "w"):  # all five read it, and end when it is closed
        pass
    assert runs.wait(30) == 0


def test_models_play_a_phase_and_what_they_found_is_remembered(project: Repo, tmp_path: Path) -> None:
    company = Company(project, tmp_path / "agents")
    company.settings()
    found = result(summary="Two markets", decisions=[{"kind": "decision", "title": "Begin in Austria", "text": "It is near"}])
    company.answers("claude", company.says("found", said(found)), company.says("weighed", said(result(summary="Weighed"))))
    project.write(".kin/phases.yaml", "market: {goal: Who would buy it?, roles: [market_researcher, business_analyst]}\n")
    project.kin("phase", "start", "market", exit=3)
    first, second = company.prompts()
    assert "Who would buy it?" in first and "Two markets" in second and "--read-only" in company.argv(1)
    project.kin("phase", "approve", "market")
    assert "title: Begin in Austria" in project.read(".kin/decisions/D-1.yaml")
    assert standing(project) == {"market": "approved"}


def test_a_start_that_was_killed_leaves_no_second_task(phased: Repo) -> None:
    assert killed(phased, "phase", "start", "research", point="phase.made") == -9
    assert standing(phased)["research"] == "pending" and (phased.path / ".kin/tasks/KIN-3.yaml").exists()
    phased.kin("phase", "start", "research", exit=3)
    assert "task: KIN-3" in phased.read(".kin/phases.yaml") and not (phased.path / ".kin/tasks/KIN-4.yaml").exists()


def test_without_trust_no_task_is_made(phased: Repo) -> None:
    phased.kin("phase", "start", "research", exit=3, env={"KIN_TRUST": "", "KIN_NONINTERACTIVE": "1"})
    assert phased.status() == "" and standing(phased)["research"] == "pending"


def test_a_rejected_phase_may_be_started_anew(phased: Repo) -> None:
    phased.kin("phase", "start", "research", exit=3)
    phased.kin("phase", "reject", "research", "-m", "Not now")
    assert standing(phased)["research"] == "rejected"
    assert "nothing to reject" in phased.kin("phase", "reject", "research", exit=2).stderr
    phased.kin("phase", "start", "research", exit=3)
    assert "task: KIN-4" in phased.read(".kin/phases.yaml") and standing(phased)["research"] == "review"


def test_an_approval_of_its_task_counts_for_the_phase(phased: Repo) -> None:
    phased.kin("phase", "start", "research", exit=3)
    phased.kin("approve", "KIN-3")
    assert standing(phased)["research"] == "approved"
    phased.kin("phase", "start", "build")


def test_a_phase_that_says_neither_roles_nor_tasks_is_named_with_its_line(phased: Repo) -> None:
    phased.write(".kin/phases.yaml", "one:\n  goal: nothing\n")
    assert ".kin/phases.yaml:2:3" in phased.kin("phase", exit=7).stderr


def test_words_to_a_phase_may_come_from_standard_input(phased: Repo, tmp_path: Path) -> None:
    phased.kin("phase", "start", "research", "--allow-write", exit=3)
    assert "needs words" in phased.kin("phase", "revise", "research", "-m", "-", input=" \n", exit=2).stderr
    phased.kin("phase", "revise", "research", "-m", "-", input="Look again\n")
    task = json.loads(phased.kin("list", "--json").stdout)["data"][0]["id"]
    notes = json.loads(phased.kin("show", task, "--json").stdout)["data"]["notes"]
    assert [note["text"] for note in notes][-1] == "Look again"
