"""`kin chat`: the PM answers from the store, proposes tasks, and a person says whether they are written."""

import json
import os
import pty
import termios
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, task_text, wait_for
from test_models import Company, result, said

TWO = [
    {"title": "The form", "acceptance": ["it sends"], "labels": ["auto"], "mode": "auto", "pipeline": [{"run": "curl evil"}]},
    {"title": "Its test", "depends_on": ["The form", "KIN-1"]},
]


@pytest.fixture
def company(project: Repo, tmp_path: Path) -> Company:
    made = Company(project, tmp_path / "agents")
    made.settings()
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", "Serve the page"))
    project.write(".kin/decisions/D-1.yaml", "id: D-1\n\nkind: convention\n\ntitle: No frameworks\n")
    project.commit("a task and a decision")
    return made


def chat(company: Company, *words: str, exit: int = 0) -> dict[str, Any]:
    document = json.loads(company.repo.kin("chat", *words, "--json", exit=exit).stdout)
    assert document["kind"] == "chat", document
    data: dict[str, Any] = document["data"]
    return data


def talks(company: Company) -> list[str]:
    return [p.read_text() for p in sorted((company.repo.path / ".kin/chat").glob("*.yaml"))]


def test_an_answer_comes_from_the_store_and_is_kept(company: Company) -> None:
    company.answers("claude", company.says("first", said("KIN-1 is next.")), company.says("second", said("Nothing blocks it.")))
    answer = chat(company, "-m", "What is next?")
    assert answer["text"] == "KIN-1 is next." and answer["agent"] == "claude" and answer["cost_usd"] == 0.25
    (asked,) = company.prompts()
    assert "KIN-1  todo, ready  priority 3  Serve the page" in asked and "D-1 (convention): No frameworks" in asked
    assert "--read-only" in company.argv(1) and company.repo.status() == "?? .kin/chat/"
    company.repo.kin("chat", "--last", "-m", "And what blocks it?")
    assert "KIN-1 is next." in company.prompts()[1]
    (kept,) = talks(company)
    assert kept.count("by: Ada Person") == 2 and "Nothing blocks it." in kept
    chat(company, "-m", "Another matter")
    assert len(talks(company)) == 2


def test_proposed_tasks_are_shown_and_written_only_with_a_yes(company: Company) -> None:
    company.answers("claude", company.says("tasks", said(result(tasks=TWO))))
    shown = company.repo.kin("chat", "-m", "A form, please").stdout
    assert "1. The form" in shown and "kin-result" not in shown and "nothing was written" in shown
    assert not (company.repo.path / ".kin/tasks/KIN-2.yaml").exists()
    answer = chat(company, "-m", "A form, please", "--yes")
    assert answer["tasks"] == ["KIN-2", "KIN-3"]
    form, test = (company.repo.read(f".kin/tasks/KIN-{n}.yaml") for n in (2, 3))
    assert "auto" not in form and "curl" not in form and "status: todo" in form
    assert "  - KIN-1\n  - KIN-2\n" in test
    assert ["tasks:\n  - KIN-2\n  - KIN-3\n" in talk for talk in talks(company)].count(True) == 1


def test_run_starts_what_was_written(company: Company) -> None:
    work = company.says("work", said(result(summary="made")))
    proposal = company.says("tasks", said(result(tasks=[{"title": "The form", "pipeline": "quick"}])))
    company.answers("claude", proposal, f"echo form > form.txt; {work}")
    answer = chat(company, "-m", "A form", "--yes", "--run")
    assert [run["status"] for run in answer["runs"]] == ["done"] and (company.repo.path / "form.txt").exists()
    assert "started_by: chat" in company.repo.git("show", "main:.kin/pipelines/KIN-2/" + record_of(company))


def test_a_budget_holds_for_the_run_of_what_was_written(company: Company) -> None:
    work = company.says("work", said(result(summary="made")))
    proposal = company.says("tasks", said(result(tasks=[{"title": "The form"}])))
    company.answers("claude", proposal, f"echo form > form.txt; {work}", work)
    answer = chat(company, "-m", "A form", "--yes", "--run", "--budget", "0.01", exit=5)
    assert [run["blocked"] for run in answer["runs"]] == ["budget"]


def record_of(company: Company) -> str:
    return company.repo.git("ls-tree", "--name-only", "main:.kin/pipelines/KIN-2")


@pytest.mark.parametrize(
    ("answer", "exit", "words"),
    [
        ("exit 3", 7, "gave no answer"),
        ("", 7, "gave no answer"),
    ],
)
def test_an_agent_that_fails_is_named_and_the_question_is_kept(company: Company, answer: str, exit: int, words: str) -> None:
    company.answers("claude", answer)
    assert words in company.repo.kin("chat", "-m", "Hello?", exit=exit).stderr
    assert "Hello?" in talks(company)[0]


def test_what_cannot_be_read_or_written_is_said_and_nothing_is_written(company: Company) -> None:
    bad = said("Here.\n\n```kin-result\n{broken\n```\n")
    circle = [{"title": "a", "depends_on": ["b"]}, {"title": "b", "depends_on": ["a"]}]
    company.answers("claude", company.says("bad", bad), company.says("circle", said(result(tasks=circle))))
    assert "could not be read" in company.repo.kin("chat", "-m", "Go").stderr
    assert "wait for one another" in company.repo.kin("chat", "-m", "Go", "--yes", exit=7).stderr
    assert [p.name for p in (company.repo.path / ".kin/tasks").iterdir()] == ["KIN-1.yaml"]


def test_without_an_agent_it_says_what_to_install(project: Repo) -> None:
    said = project.kin("chat", "-m", "Hello", exit=7).stderr
    assert "claude" in said and "install" in said
    assert "not trusted" in project.kin("chat", "-m", "Hello", exit=3, env={"KIN_TRUST": ""}).stderr
    assert "kin chat -m" in project.kin("chat", exit=2).stderr


def test_a_conversation_at_a_terminal_asks_before_it_writes(company: Company) -> None:
    company.answers("claude", company.says("tasks", said(result(tasks=[{"title": "The form"}]))))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    env = dict(os.environ) | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    talk = company.repo.start("chat", env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""

    def until(words: bytes) -> None:
        nonlocal seen
        while words not in seen:
            seen += os.read(ours, 4096)
        seen = seen.partition(words)[2]

    until(b"2004h")  # the prompt is up
    os.write(ours, b"A form, please\r")
    until(b"task?")
    os.write(ours, b"y\r")
    until(b"written: KIN-2")
    until(b"2004h")
    os.write(ours, b"\x04")
    wait_for(lambda: talk.poll() is not None)
    assert talk.returncode == 0 and "title: The form" in company.repo.read(".kin/tasks/KIN-2.yaml")
    os.close(ours)
