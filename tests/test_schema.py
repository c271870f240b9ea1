"""The schemas in `.kin/schema/`: they take what kin writes and what kin takes, name what is wrong, and are found by a path."""

import json
import os
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from kin.model import schema
from kin.model.entries import Kind
from kin.model.fields import build
from kin.model.kinds import KINDS
from kin.model.record import GateRecord, Run, StepRecord
from kin.model.settings import check_settings
from kin.model.status import RunStatus, StepStatus
from kin.model.task import Note, build_task
from kin.store import decisions, records, schemas
from kin.store.project import Project, find
from kin.store.text.reader import read, read_fast

TEMPLATE = Path(__file__).parent.parent / ".kin-template" / "kin.yaml"
HEAD = "id: KIN-1\ntitle: T\nstatus: todo\n"


def typed(text: str) -> Any:
    """The text as an editor's language server types it: numbers and booleans, but no dates."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, (date, datetime)) else value

    return plain(YAML(typ="safe", pure=True).load(text))


def faults(kind: str, text: str) -> list[str]:
    """What the schema of this kind of file says against the text."""
    made = json.loads(schema.schema_text(kind, {}))
    Draft7Validator.check_schema(made)
    return [error.message for error in Draft7Validator(made).iter_errors(typed(text))]


@pytest.fixture
def here(project: Repo) -> Project:
    """The project as `kin init` leaves it."""
    found = find(str(project.path), {})
    assert len(schemas.write(found)[0]) == len(schema.SCHEMAS)
    return found


@pytest.fixture
def initialised(here: Project, project: Repo) -> Repo:
    return project


def test_a_task_that_kin_writes_is_valid(initialised: Repo) -> None:
    initialised.kin("add", "1.10")
    words = ["-l", "auto", "-l", "1e3", "-p", "1", "-d", "Two\nlines", "--acceptance", "yes", "--touches", "src/**", "--mode"]
    initialised.kin("add", "All", *words, "auto", "--base", "main", "--depends-on", "1", "--parent", "1", "--run", "true")
    initialised.kin("set", "2", "status=blocked", "budget.usd=3", "x-estimate=2d", "assignee=Ada", "plan=approve")
    for name in ("KIN-1", "KIN-2"):
        assert faults("task", initialised.read(f".kin/tasks/{name}.yaml")) == []


def test_other_files_that_kin_writes_are_valid(here: Project, initialised: Repo) -> None:
    source = {"task": "KIN-1", "run": "20261124T093200Z-7f3k", "role": "architect"}
    data = {"title": "Use passkeys", "text": "Because.", "tags": ["auth"], "paths": ["src/**"], "source": source}
    decisions.add(here, data, today="2026-11-24")
    assert faults("decision", initialised.read(".kin/decisions/D-1.yaml")) == []
    initialised.kin("add", "A task")
    initialised.kin("note", "1", "-m", "404", "--to", "tester")
    (note,) = (initialised.path / ".kin/notes/KIN-1").iterdir()
    assert faults("note", note.read_text()) == []
    step = StepRecord("1-dev", "dev", StepStatus.done, exit=-9, tokens={"in": 5}, cost_usd=0.25, summary="1")
    run = Run("20261124T093200Z-7f3k", "KIN-1", RunStatus.completed, "2026-11-24T09:32:00Z", steps=(step,))
    run = run._replace(gates=(GateRecord("pytest", "pass", 0, 1.5),), merge="1234567")
    assert faults("record", records.record_text(run)) == []


def test_the_settings_of_the_template_are_valid_with_and_without_comments() -> None:
    filled = TEMPLATE.read_text().replace("{key}", "KIN").replace("{gate}", "make test")
    for text in (filled, re.sub(r"^#(?! \S)", "", filled, flags=re.MULTILINE)):
        assert faults("kin", text) == []


@pytest.mark.parametrize(
    "text",
    [
        "status: Open\n",
        "status: in-progress\n",
        "priority: P1\n",
        "priority: High\n",
        "priority: '2'\n",
        "title: 404\n",
        "title: true\n",
        "labels: auto\n",
        "labels: [1, auto, null]\n",
        "deps: KIN-2\n",
        "tags: [a]\n",
        "assignee:\nmode:\npipeline:\nbudget:\nlabels:\nplan:\n",
        "pipeline: quick\n",
        "pipeline: [developer, {run: true, timeout: 10m, idle: 90}]\n",
        "budget: {usd: '5', minutes: 60}\n",
        "whatever: [1, {a: b}]\n",
        "status: blocked\nblocked: {kind: Question, reason: 5}\n",
    ],
)
def test_what_kin_takes_of_a_task_is_valid(text: str) -> None:
    written = "".join(f"{line}\n" for line in HEAD.splitlines() if line.split(":")[0] not in read(text, "")) + text
    task, problems = build_task(read(written, ""))
    assert task is not None, problems
    assert faults("task", written) == []


@pytest.mark.parametrize(
    "text",
    [
        "gates: pytest\n",
        "gates:\n  - {run: true, timeout: 90}\n  - 'false'\n",
        "mode: auto\ncommit: yes\n",
        "concurrency: '3'\nlimits: {step: 90, idle: 2h, rounds: '2'}\n",
        "agent: claude\nprotect: src/**\nsecrets: A\n",
        "plan: approve\npipelines: {fast: developer, slow: [architect, {role: tester, run: make}]}\n",
        "roles: {reviewer: {agent: [codex, claude], timeout: 5m}}\nagents: {mine: {argv: [x]}}\n",
        "base:\ngates:\nmode:\nids:\nlimits:\n",
        "x-mine: 1\n",
    ],
)
def test_what_kin_takes_of_settings_is_valid(text: str) -> None:
    text = f"key: KIN\n{text}"
    assert check_settings(read(text, "")).problems == []
    assert faults("kin", text) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("task", HEAD.replace("todo", "reddy")),
        ("task", HEAD.replace("KIN-1", "kin1")),
        ("task", "id: KIN-1\ntitle: T\n"),
        ("task", f"{HEAD}priority: 7\n"),
        ("task", f"{HEAD}priority: soon\n"),
        ("task", f"{HEAD}mode: perhaps\n"),
        ("task", f"{HEAD}labels: {{a: b}}\n"),
        ("task", f"{HEAD}deps: {{a: b}}\n"),
        ("task", "id: KIN-1\ntitle: T\nstatus: blocked\nblocked: {kind: bad}\n"),
        ("task", f"{HEAD}pipeline: [{{roole: tester}}]\n"),
        ("task", HEAD.replace("title: T", f"title: {'x' * 201}")),
        ("decision", "id: D-1\nkind: perhaps\ntitle: T\n"),
        ("note", "by: Ada\nat: now\ntext: T\nfor: nothing\n"),
        ("record", "run: r\ntask: KIN-1\nstatus: walking\nstarted: now\n"),
        ("kin", "mode: auto\n"),
        ("kin", "key: KIN\nlimits: {stepp: 5m}\n"),
        ("kin", "key: KIN\nmode: perhaps\n"),
    ],
)
def test_what_is_wrong_is_found(kind: str, text: str) -> None:
    said = faults(kind, text)
    data = read(text, "")
    if kind == "kin":
        assert check_settings(data).problems
    elif kind == "task" and "kin1" not in text and "roole" not in text:
        assert build_task(data)[0] is None
    elif kind == "note":
        assert build(Note, data)[0] is None
    assert said


def test_new_files_name_their_schema_by_a_path_that_leads_there(here: Project, initialised: Repo) -> None:
    initialised.kin("add", "A task")
    initialised.kin("note", "1", "-m", "text")
    decisions.add(here, {"title": "T"}, today="2026-11-24")
    written = [p for folder in ("tasks", "notes", "decisions") for p in (initialised.path / ".kin" / folder).rglob("*.yaml")]
    written.append(initialised.write(".kin/kin.yaml", TEMPLATE.read_text().replace("{key}", "KIN")))
    for path in written:
        match = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
        assert match, path
        there = Path(os.path.normpath(path.parent / match[1]))
        assert there.parent == initialised.path / ".kin/schema" and json.loads(there.read_text())["properties"]
        assert read_fast(path.read_text()), f"{path} is read slowly"
    assert len(written) == 4


def test_a_project_without_schemas_gets_no_line_that_leads_nowhere(project: Repo) -> None:
    project.kin("add", "A task")
    assert project.read(".kin/tasks/KIN-1.yaml").startswith("id: KIN-1\n")


ENTRIES = {
    "modules": ("auth: src/auth/**\nmail:\n  paths: [a, b]\n  owner: tester\n", "auth:\n  owner: [a, b]\n"),
    "phases": ("one: {goal: g, roles: [pm, {role: tester, run: x}]}\ntwo: {tasks: KIN-1}\n", "one: {status: begun}\n"),
    "environments": ("web: web-1\ndb: {host: db, port: 22}\n", "db: {host: db, port: [22]}\n"),
    "links": ("api: ../api\nweb: {url: https://example.org/x.git}\n", "api: {at: [a]}\n"),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.stem)
def test_files_of_named_entries_have_schemas_that_agree_with_kin(kind: Kind[Any]) -> None:
    good, bad = ENTRIES[kind.stem]
    assert faults(kind.stem, good) == [] and kind.build(read(good, ""))[1] == []
    assert faults(kind.stem, bad) and kind.build(read(bad, ""))[1]


def test_an_editor_finds_the_schema_from_the_copy_that_kin_edit_opens(initialised: Repo, tmp_path: Path) -> None:
    initialised.kin("add", "A task")
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\ncat "$(dirname "$1")/../schema/task.json" > {tmp_path}/found\n')
    editor.chmod(0o755)
    initialised.kin("edit", "1", env={"EDITOR": str(editor)})
    assert (tmp_path / "found").read_text() == initialised.read(".kin/schema/task.json")


def test_init_makes_each_schema_once_and_says_so(repo: Repo) -> None:
    assert "Made .kin/kin.yaml, .kin/.gitattributes, .kin/schema.\n" in repo.kin("init", "--key", "KIN").stdout
    assert {path.stem for path in (repo.path / ".kin/schema").iterdir()} == set(schema.SCHEMAS)
    assert faults("kin", repo.read(".kin/kin.yaml")) == []
    data = json.loads(repo.kin("init", "--json").stdout)["data"]
    assert (data["created"], data["renewed"]) == ([], [])


@pytest.mark.parametrize("saved", [lambda text: text, lambda text: text.replace("\n", "\r\n")], ids=["as it was", "with CRLF"])
def test_what_an_older_kin_wrote_is_renewed(here: Project, initialised: Repo, saved: Any) -> None:
    old = schemas._text("task")
    older = old.replace("Where it stands", "Where it stood")
    mark, path = schemas._MARK.search(older), initialised.path / ".kin/schema/task.json"
    assert mark
    older = older.replace(mark[1], schemas._digest(older.replace(mark[0], schemas._SAYS)))
    path.write_bytes(saved(older).encode())
    assert schemas.write(here) == ([], [".kin/schema/task.json"])
    assert path.read_text() == old


def test_what_a_person_changed_stays(here: Project, initialised: Repo) -> None:
    mine = initialised.write(
        ".kin/schema/task.json", initialised.read(".kin/schema/task.json").replace("Where it stands", "State")
    )
    own = initialised.write(".kin/schema/note.json", "{}\n")
    (initialised.path / ".kin/schema/kin.json").unlink()
    before = mine.read_text()
    assert schemas.write(here) == ([".kin/schema/kin.json"], [])
    assert (mine.read_text(), own.read_text()) == (before, "{}\n")


def test_the_schemas_of_a_newer_format_are_a_newer_kins(here: Project, initialised: Repo) -> None:
    initialised.write(".kin/kin.yaml", "format: 2\nkey: KIN\n")
    (initialised.path / ".kin/schema/task.json").unlink()
    assert schemas.write(here) == ([], [])


def test_a_problem_says_which_key_it_misses_however_its_words_are_put() -> None:
    problems = build_task({"id": "KIN-1", "status": "reddy"})[1]
    assert [(problem.path, problem.missing) for problem in problems] == [(("status",), None), ((), "title")]
