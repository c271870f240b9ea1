"""`kin check`: each fault is found, by its code and at its place; nothing else is; `--fix` mends what is mechanical."""

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conftest import Repo, task_text
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import PROFILE, Style

from kin.cli import check as command
from kin.cli import screen
from kin.errors import Busy, Invalid
from kin.model.deps import circles
from kin.model.spelling import near, respellings, spellings
from kin.model.task import Task, build_task
from kin.store import decisions, files, index, schemas
from kin.store.checking import inspection
from kin.store.checking.check import check
from kin.store.checking.findings import CODES, Finding
from kin.store.checking.mend import mend, tidied
from kin.store.project import Project, find
from kin.store.text.reader import read

TASK = task_text("KIN-1")
DECISION = "id: D-1\n\nkind: decision\n\ntitle: T\n"
NOTE = "by: Ada\n\nat: 2026-11-24T09:32:00Z\n\ntext: x\n"
NOTED = ".kin/notes/KIN-1/20261124T093200Z-7f3k.yaml"
RECORD = "run: 20261124T093200Z-7f3k\n\ntask: KIN-1\n\nstatus: completed\n\nstarted: 2026-11-24T09:32:00Z\n"
RECORDED = ".kin/pipelines/KIN-1/20261124T093200Z-7f3k.yaml"
SETTINGS = "key: KIN\n"


@pytest.fixture
def here(project: Repo) -> Project:
    project.write(".kin/tasks/KIN-1.yaml", TASK)
    project.commit("a task")
    return find(str(project.path), {})


def findings(here: Project) -> list[Finding]:
    return check(here, os.environ).findings


def said(here: Project) -> list[str]:
    """Code and place of each finding."""
    return [f"{finding.code} {finding.where}" for finding in findings(here)]


def test_what_kin_writes_is_clean(repo: Repo) -> None:
    repo.kin("init", "--key", "KIN")
    repo.kin("add", "One", "-l", "auth", "-p", "1", "--run", "true", "--mode", "auto")
    repo.kin("add", "Two", "--depends-on", "1", "-d", "Two\nlines")
    repo.kin("note", "1", "-m", "A note", "--to", "tester")
    decisions.add(find(str(repo.path), {}), {"title": "T", "source": {"person": "Ada"}}, today="2026-11-24")
    repo.commit("kin")
    repo.kin("run", "1", "--allow-write", "--trust")
    assert len(list((repo.path / ".kin/pipelines/KIN-1").iterdir())) == 1
    assert "Nothing is wrong in 6 files." in repo.kin("check").stdout


CASES = [
    (".kin/tasks/KIN-2.yaml", b"id: KIN-2\ntitle: \xe9\n", "unreadable :2:8", "UTF-8"),
    (".kin/chat/a.yaml", "turns: []\n", "", ""),
    (".kin/chat/a.yaml", "turns:\n  - by: A\n    at: x\n", "schema :2:5", "`text` is missing"),
    (".kin/roles/my role.md", "Hello.\n", "file-name ", "letters, digits, - and _"),
    (".kin/roles/big.md", "x" * 70_000, "unreadable :1:1", "70,000 bytes, at most 65,536"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}status: done\n", "syntax :6:1", "twice, first in line 5"),
    (".kin/tasks/KIN-1.yaml", "id: KIN-1\ntitle: T\n\tstatus: todo\n", "syntax :3:2", "a tab"),
    (".kin/tasks/KIN-1.yaml", "", "syntax :1:1", "no keys"),
    (".kin/phases.yaml", "a: {tasks: [KIN-77]}\n", "reference :1:13", "there is no task KIN-77"),
    (".kin/phases.yaml", "a: {roles: [testr]}\n", "role :1:13", "did you mean `tester`?"),
    (".kin/phases.yaml", "a: {roles: [{role: tester, rnu: a}]}\n", "schema :1:33", "rnu: there is no such key"),
    (".kin/modules.yaml", "a: {path: docs}\n", "near-miss :1:11", "`a.path` is no key that kin knows"),
    (".kin/modules.yaml", "a: b: c\n", "syntax :1:5", "inside a text"),
    (".kin/tasks/KIN-1.yaml", TASK.replace("todo", "reddy"), "schema :5:9", "unknown value 'reddy'; one of draft, todo"),
    (".kin/tasks/KIN-1.yaml", TASK.replace("title", "x-title"), "schema :1", "`title` is missing"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}plan: perhaps\n", "schema :6:7", "plan: expected true"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}budget: {{usd: 1, eur: 2}}\n", "schema :6:23", "eur: there is no such key"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}pipeline: [{{role: tester, timeout: 5x}}]\n", "schema :6:36", "a duration such as"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}pipeline: []\n", "schema :6:11", "1 to 100 steps"),
    (".kin/decisions/D-1.yaml", DECISION.replace("kind: decision", "kind: idea"), "schema :3:7", "unknown value 'idea'"),
    (NOTED, NOTE.replace("by: ", "from: "), "schema :1", "`by` is missing"),
    (RECORDED, RECORD.replace("completed", "walking"), "schema :5:9", "unknown value 'walking'"),
    (".kin/roles/mine.md", "---\naccess: all\n---\nbody\n", "schema :2:9", "expected read or write"),
    (".kin/roles/mine.md", "---\nname: x\n", "schema :1:1", "no end"),
    (".kin/roles/mine.md", "\ufeff---\naccess: all\n---\nbody\n", "schema :2:9", "expected read or write"),
    (".kin/roles/mine.md", "---\nname: mine\nacess: read\n---\nbody\n", "near-miss :3", "did you mean `access`?"),
    (".kin/kin.yaml", f"{SETTINGS}limits: {{stepp: 5m}}\n", "schema :2:17", "no such key; did you mean `step`?"),
    (".kin/kin.yaml", f"{SETTINGS}gates: [{{name: x}}]\n", "schema :2:9", "gates.0.run: is missing; `kin help settings`"),
    (
        ".kin/kin.yaml",
        f"{SETTINGS}gates: [{{run: 'true', echo a: b}}]\n",
        "schema :2:31",
        "put a text that holds `: ` in quotes",
    ),
    (".kin/kin.yaml", f"{SETTINGS}mode: manual\n", "schema :2:7", "mode: expected 'review' or 'auto', found 'manual'"),
    (".kin/kin.yaml", f"{SETTINGS}concurrency: 0\n", "schema :2:14", "concurrency: expected at least 1, found '0'"),
    (".kin/kin.yaml", f"{SETTINGS}plan: maybe\n", "schema :2:7", "plan: expected true, false or approve, found 'maybe'"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}pipeline: [{{role: tester, timout: 5}}]\n", "schema :6:35", "did you mean `timeout`?"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}acceptance:\n- a: b\n", "schema :7:1", "put a text that holds `: ` in quotes"),
    (".kin/kin.yaml", f"{SETTINGS}notify: 5\n", "schema :2:9", "notify: expected a list, found '5'"),
    (".kin/kin.yaml", f"{SETTINGS}roles: {{tester: codex}}\n", "schema :2:17", "roles.tester: expected a mapping"),
    (".kin/kin.yaml", f"{SETTINGS}budget: {{usd: 1e999}}\n", "schema :2:15", "expected a finite number, found '1e999'"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}budget: {{tokens: inf}}\n", "schema :6:18", "expected a finite number"),
    (".kin/kin.yaml", f"{SETTINGS}concurrency: 2.5\n", "schema :2:14", "expected a whole number, found '2.5'"),
    (".kin/kin.yaml", "mode: auto\n", "schema :1:1", "key"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}deps: [1]\ndepends_on: []\n", "two-spellings :7:13", "`deps` are two spellings"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}prioritiy: 1\n", "near-miss :6:12", "did you mean `priority`?"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}dependsOn: []\n", "near-miss :6:12", "did you mean `depends_on`?"),
    (".kin/tasks/KIN-1.yaml", TASK.replace("todo", "blocked\nblocked: {kind: gate, resaon: x}"), "near-miss :6:31", "`reason`"),
    (".kin/kin.yaml", f"{SETTINGS}gatez: make\n", "unknown-key :2:8", "did you mean `gates`?"),
    (".kin/kin.yaml", f"{SETTINGS}colour: red\n", "unknown-key :2:9", "unknown setting 'colour'"),
    (".kin/kin.yaml", f"format: 2\n{SETTINGS}", "format :1:9", "upgrade kin"),
    (".kin/tasks/KIN-2.yaml", task_text("KIN-3"), "file-name :1:5", "the id is KIN-3, but the file is KIN-2.yaml; make the id"),
    (".kin/tasks/login.yaml", task_text("KIN-3"), "file-name :1:5", "names it KIN-3.yaml"),
    (".kin/tasks/login.yaml", task_text("KIN-1"), "file-name :1:5", "KIN-1 is taken"),
    (".kin/tasks/login.yaml", task_text("login"), "file-name :1:5", "'login' is no id of a task"),
    (".kin/tasks/KIN-2.yml", task_text("KIN-2"), "file-name :1:5", "names it KIN-2.yaml"),
    (".kin/decisions/KIN-3.yaml", DECISION, "file-name :1:5", "names it D-1.yaml"),
    (RECORDED, RECORD.replace("KIN-1", "KIN-2"), "file-name :1:6", "restore it from git"),
    (".kin/notes/KIN-1/a.yml", NOTE, "file-name :1", "end in .yaml"),
    (".kin/tasks/KIN-001.yaml", task_text("KIN-001"), "collision :1", "KIN-001 and KIN-1 are one id"),
    (".kin/decisions/D-01.yaml", DECISION.replace("D-1", "D-01"), "", ""),
    (".kin/tasks/KIN-1.yaml", f"{TASK}depends_on:\n  - KIN-99\n", "reference :7:5", "there is no task KIN-99"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}deps: [KIN-99]\n", "reference :6:8", "there is no task KIN-99"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}parent: KIN-11\n", "reference :6:9", "did you mean KIN-1?"),
    (".kin/decisions/D-1.yaml", f"{DECISION}paths: [README.md, src/**]\n", "glob :6:20", "no file is covered by src/**"),
    (".kin/roles/own.md", "---\nsummary: x\nreads: {roles: [pm, nobody]}\n---\nDo.\n", "role :3", "no role is called 'nobody'"),
    (".kin/modules.yaml", "docs: '*.md'\n\nlib: [README.md, lib/]\n", "glob :3:18", "moved"),
    (".kin/decisions/D-1.yaml", f"{DECISION}supersedes: D-7\n", "reference :6:13", "there is no decision D-7"),
    (".kin/notes/KIN-7/20261124T093200Z-7f3k.yaml", NOTE, "orphan :1", "it is about KIN-7"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}depends_on: KIN-1\n", "circle :6:13", "KIN-1 depends on KIN-1"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}pipeline: fast\n", "pipeline :6:11", "one of default, plan, quick"),
    (
        ".kin/tasks/KIN-1.yaml",
        f"{TASK}pipeline: [tester, {{role: reviewer, back_to: developer}}]\n",
        "pipeline :6:46",
        "no earlier step is played by `developer`",
    ),
    (".kin/tasks/KIN-1.yaml", f"{TASK}pipeline: [develper]\n", "role :6:12", "did you mean `developer`?"),
    (
        ".kin/kin.yaml",
        f"{SETTINGS}pipelines:\n  fast: [{{role: nobody}}]\n",
        "role :3:17",
        "no role is called 'nobody'; one of",
    ),
    (".kin/kin.yaml", f"{SETTINGS}roles: {{revewer: {{model: x}}}}\n", "role :2:18", "did you mean `reviewer`?"),
    (NOTED, f"{NOTE}to: testre\n", "role :6:5", "did you mean `tester`?"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}agent: claud\n", "agent :6:8", "did you mean `claude`?"),
    (".kin/kin.yaml", f"{SETTINGS}agent: [claude, clyde]\n", "agent :2:17", "no agent is called 'clyde'"),
    (".kin/roles/mine.md", "---\nname: mine\nagent: clyde\n---\n", "agent :3", "no agent is called 'clyde'"),
    (".kin/kin.yaml", f"{SETTINGS}gates:\n  - pytst -q\n", "command :3:5", "`pytst` was not found on PATH"),
    (".kin/kin.yaml", f"{SETTINGS}gates:\n  - name: x\n    run: ./test.sh\n", "command :4:10", "`./test.sh` is no program"),
    (".kin/kin.yaml", f"{SETTINGS}setup: A=1 nmp ci\n", "command :2:8", "`nmp` was not found"),
    (".kin/tasks/KIN-1.yaml", f"{TASK}pipeline:\n  - run: ' '\n", "command :7:10", "the command is empty"),
    (".kin/tasks/KIN-1.yaml", TASK.replace("\n", "\r\n"), "line-ends :1", "CRLF"),
    (".kin/tasks/KIN-1.yaml", TASK.rstrip(), "final-newline :5", "no end"),
    (".kin/tasks/KIN-1.yaml~", TASK, "stray ", "does not read this"),
    (".kin/todo.yaml", TASK, "stray ", "does not read this"),
    (".kin/tasks/old/KIN-2.yaml", task_text("KIN-2"), "stray ", "does not read this"),
    (".kin/tasks/KIN-1.yaml", "<<<<<<< HEAD\nid: KIN-1\n=======\nid: KIN-2\n", "conflict :1:1", "without its end"),
]


@pytest.mark.parametrize(("path", "text", "wanted", "words"), CASES, ids=[f"{n}-{case[2]}" for n, case in enumerate(CASES)])
def test_a_fault_is_found_where_it_stands(
    project: Repo, here: Project, path: str, text: str | bytes, wanted: str, words: str
) -> None:
    file = project.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = findings(here)
    code, _, place = wanted.partition(" ")
    shown = ".kin/tasks/old/" if "/old/" in path else path
    assert [f"{f.code} {f.where}" for f in found] == ([f"{code} {shown}{place}"] if code else [])
    assert all(words in f"{f.message}; {f.hint}" for f in found)


def test_every_code_is_found_by_some_test() -> None:
    shown = {case[2].partition(" ")[0] for case in CASES if case[2]}
    assert shown | {"move", "link"} == set(CODES), "`move` and `link` have tests of their own below"


@pytest.mark.parametrize(
    "line",
    [
        *(
            "depends_on: 2",
            "depends_on: [kin-002]",
            "deps: KIN-2",
            "parent: 2",
            "x-prioritiy: 1",
            "estimate: 3",
            "pipeline: quick",
        ),
        *("pipeline: [developer, reviewer, {role: tester, run: true, back_to: developer}]", "status_of: x", "agent: command"),
        *(
            "pipeline: quick",
            "blocked: nonsense",
            "assignee:",
            "mode: Auto",
            "plan: approve",
            "plan: True",
            "pipeline: [{run: 'test -e x && (make; true)'}]",
        ),
    ],
)
def test_what_a_person_may_write_is_not_complained_of(project: Repo, here: Project, line: str) -> None:
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2"))
    project.write(".kin/tasks/KIN-1.yaml", f"{TASK}{line}\n")
    assert said(here) == []


@pytest.mark.parametrize(
    "lines",
    [
        "gates: ['FOO=1 true', '! false', '(cd x && make)', '[ -e x ]', '$TOOL x', 'exec true', sh x]",
        "setup: npm-of-the-tests ci\ngates: [node_modules/.bin/jest]",
        "agents: {mine: {argv: [x]}}\nagent: mine\nroles: {command: {timeout: 5m}}",
        "x-own: 1\npipelines: {mine: [developer]}",
        "gates:\n",
    ],
)
def test_settings_that_work_are_not_complained_of(project: Repo, here: Project, lines: str, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "npm-of-the-tests"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    project.write(".kin/kin.yaml", f"{SETTINGS}{lines}\n")
    assert check(here, {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}).findings == []


def test_an_agent_of_the_persons_own_settings_is_known(project: Repo, here: Project, tmp_path: Path) -> None:
    (tmp_path / "home/config/kin").mkdir(parents=True)
    (tmp_path / "home/config/kin/config.yaml").write_text("agents: {clyde: {argv: [x]}}\n")
    project.write(".kin/tasks/KIN-1.yaml", f"{TASK}agent: clyde\n")
    assert said(here) == []


def test_a_project_without_settings_is_told_so(project: Repo, here: Project) -> None:
    (project.path / ".kin/kin.yaml").unlink()
    (found,) = findings(here)
    assert (found.code, str(found.where)) == ("schema", ".kin/kin.yaml") and "kin init" in found.hint


def test_files_that_belong_there_are_no_strays(project: Repo, here: Project) -> None:
    schemas.write(here)
    for name in ("README.md", ".gitignore", "tasks/.gitkeep", "tasks/.kin.tmp", "links.yaml", "notes/KIN-1/.keep"):
        project.write(f".kin/{name}", "a: b\n")
    assert said(here) == []


def test_links_are_followed_within_the_repository_only(project: Repo, here: Project, tmp_path: Path) -> None:
    project.write("docs/KIN-2.yaml", task_text("KIN-2"))
    (tmp_path / "KIN-3.yaml").write_text(task_text("KIN-3"))
    tasks = project.path / ".kin/tasks"
    (tasks / "KIN-2.yaml").symlink_to("../../docs/KIN-2.yaml")
    assert said(here) == []
    (tasks / "KIN-3.yaml").symlink_to(tmp_path / "KIN-3.yaml")
    (tasks / "KIN-4.yaml").symlink_to("nowhere")
    (project.path / ".kin/roles").symlink_to(project.path / ".git")
    found = findings(here)
    assert [(f.code, str(f.where)) for f in found] == [
        ("link", f".kin/{name}") for name in ("roles", "tasks/KIN-3.yaml", "tasks/KIN-4.yaml")
    ]
    assert ["leads nowhere" in f.message for f in found] == [False, False, True]


# Between files


def test_a_circle_is_told_as_one_way_round(project: Repo, here: Project) -> None:
    links = {2: "depends_on: [KIN-3]", 3: "depends_on:\n  - KIN-1\n  - KIN-4", 4: "x-a: b", 5: "parent: KIN-4", 6: "deps: 4"}
    for number, line in links.items():
        project.write(f".kin/tasks/KIN-{number}.yaml", f"{task_text(f'KIN-{number}')}{line}\n")
    project.write(".kin/tasks/KIN-5.yaml", f"{task_text('KIN-5')}parent: KIN-4\ndepends_on: [6, KIN-2]\n")
    found = findings(here)
    assert [(f.code, str(f.where)) for f in found] == [("circle", ".kin/tasks/KIN-2.yaml:6:14")]
    words = "KIN-2 depends on KIN-3, KIN-3 depends on KIN-4, KIN-4 has the part KIN-5, KIN-5 depends on KIN-2"
    assert found[0].message.endswith(f"one another: {words}")


@PROFILE
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_circles_are_found_for_each_group_once(edges: list[tuple[int, int]]) -> None:
    waits: dict[str, list[tuple[str, str]]] = {}
    for one, other in edges:
        waits.setdefault(str(one), []).append((str(other), "waits for"))
    reach = {str(n): {str(m) for m in range(8) if _reaches(waits, str(n), str(m))} for n in range(8)}
    groups = {frozenset(m for m in reach[n] if n in reach[m]) for n in reach if n in reach[n]}
    found = list(circles(waits))
    assert len(found) == len(groups)
    for way in found:
        assert all((other, how) in waits[one] for one, how, other in way)
        assert [one for one, _, _ in way[1:]] == [other for _, _, other in way[:-1]] and way[0][0] == way[-1][2]
        assert any({one for one, _, _ in way} <= group for group in groups)


def _reaches(waits: dict[str, list[tuple[str, str]]], start: str, end: str) -> bool:
    seen, queue = set[str](), [other for other, _ in waits.get(start, ())]
    while queue:
        if (one := queue.pop()) not in seen:
            seen.add(one)
            queue += [other for other, _ in waits.get(one, ())]
    return end in seen


def test_a_chain_of_ten_thousand_is_no_circle_and_no_recursion() -> None:
    waits = {str(n): [(str(n + 1), "x")] for n in range(10_000)}
    assert list(circles(waits)) == []
    (way,) = circles({**waits, "10000": [("0", "x")]})
    assert len(way) == 10_001


@pytest.mark.parametrize(
    ("old", "new", "odd"),
    [
        *(("done", "review", True), ("done", "in_progress", True), ("cancelled", "done", True), ("done", "closed", False)),
        *(("todo", "done", False), ("todo", "review", False), ("done", "todo", False), ("nonsense", "done", False)),
    ],
)
def test_a_move_that_nobody_makes_is_a_warning(project: Repo, here: Project, old: str, new: str, odd: bool) -> None:
    project.write(".kin/tasks/KIN-1.yaml", TASK.replace("todo", old))
    project.commit("before")
    project.write(".kin/tasks/KIN-1.yaml", TASK.replace("todo", new))
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", status="review"))
    assert said(here) == (["move .kin/tasks/KIN-1.yaml:5:9"] if odd else [])
    assert project.kin("check").returncode == 0


def test_before_the_first_commit_nothing_has_moved(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "new")
    repo.path.mkdir()
    repo.git("init", "-q", "-b", "main")
    repo.write(".kin/kin.yaml", SETTINGS)
    repo.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="review"))
    assert said(find(str(repo.path), {})) == []


# Merging


def branch_and_merge(repo: Repo, ours: dict[str, str | None], theirs: dict[str, str | None]) -> None:
    """Two branches change files (None: delete it) and are merged, as far as git can."""

    def commit(changes: dict[str, str | None]) -> None:
        for name, text in changes.items():
            if text is None:
                (repo.path / name).unlink()
            else:
                repo.write(name, text)
        repo.commit("change")

    repo.git("checkout", "-q", "-b", "topic")
    commit(theirs)
    repo.git("checkout", "-q", "main")
    commit(ours)
    repo.git("merge", "-q", "topic", ok=(0, 1))


ONE = ".kin/tasks/KIN-1.yaml"


def test_a_conflict_is_explained_by_what_each_side_says(project: Repo, here: Project) -> None:
    text = f"{TASK}\npriority: 3\n\nmodule: auth\n\nbase: main\n\nlabels:\n  - a\n"
    project.commit("before", **{ONE.replace("/", "__"): text})
    mine, other = text.replace("3", "1").replace("- a", "- b"), text.replace("3", "2").replace("- a", "- c")
    branch_and_merge(project, {ONE: mine}, {ONE: other})
    (found,) = findings(here)
    assert (found.code, str(found.where)) == ("conflict", f"{ONE}:7:1")
    told = "`priority` is '1' in HEAD and '2' in topic; `labels` is 'b' in HEAD and 'c' in topic"
    assert found.message == f"merge conflict in lines 7, 18: {told}" and "`git add`" in found.hint
    project.write(ONE, mine)
    (found,) = findings(here)
    assert (found.code, found.hint[:9]) == ("conflict", "`git add`") and "both sides changed it" in found.message
    project.git("add", ONE)
    assert said(here) == []


def test_two_tasks_that_were_given_one_id_are_told_apart_from_one_that_both_changed(project: Repo, here: Project) -> None:
    two = ".kin/tasks/KIN-2.yaml"
    branch_and_merge(project, {two: task_text("KIN-2", "Mine")}, {two: task_text("KIN-2", "Theirs")})
    merged, given = findings(here)
    assert "`title` is 'Mine' in HEAD and 'Theirs' in topic" in (merged.message + given.message)
    assert "two were given one id" in (merged.message + given.message)


def test_a_file_that_one_side_deleted_is_named(project: Repo, here: Project) -> None:
    branch_and_merge(project, {ONE: None}, {ONE: TASK.replace("todo", "done")})
    (found,) = findings(here)
    assert found.code == "conflict" and "deleted here and changed on the other side" in found.message


def test_what_a_server_merged_wrongly_is_named(project: Repo, here: Project) -> None:
    two, text = ".kin/tasks/KIN-2.yaml", f"{TASK}\npriority: 3\n\nlabels:\n  - a\n\ncreated: 2026-11-24\n"
    project.commit("before", **{ONE.replace("/", "__"): text, two.replace("/", "__"): task_text("KIN-2")})
    branch_and_merge(
        project,
        {ONE: text.replace("\npriority", "\nmodule: a\n\npriority") + "\ndepends_on: [KIN-2]\n"},
        {ONE: text.replace("\ncreated", "\nmodule: b\n\ncreated"), two: f"{task_text('KIN-2')}depends_on: [KIN-1]\n"},
    )
    assert project.git("ls-files", "-u") == ""
    assert said(here) == [f"syntax {ONE}:14:1"]
    project.write(ONE, project.read(ONE).replace("module: b\n", ""))
    assert said(here) == [f"circle {ONE}:17:14"]


# The command


def test_the_exit_code_says_whether_there_is_an_error(project: Repo, here: Project) -> None:
    project.write(".kin/tasks/KIN-2.yaml", f"{task_text('KIN-2')}prioritiy: 1\n")
    done = project.kin("check")
    assert done.stdout.endswith("1 warning in 3 files.\n") and "warning: `prioritiy` is no key that kin knows" in done.stdout
    project.write(ONE, TASK.replace("todo", "reddy"))
    lines = project.kin("check", exit=7).stdout.splitlines()
    words = "status: unknown value 'reddy'; one of draft, todo, in_progress, review, blocked, done, cancelled"
    assert lines[0] == f"{ONE}:5:9: error: {words} [schema]"
    assert lines[-1] == "1 error and 1 warning in 3 files."


def test_json_is_one_document_with_each_finding(project: Repo, here: Project) -> None:
    project.write(ONE, TASK.replace("todo", "Open").replace("\n", "\r\n"))
    document = json.loads(project.kin("check", "--json").stdout)
    data = document["data"]
    assert (document["kind"], data["files"], data["errors"], data["warnings"]) == ("check", 2, 0, 1)
    assert data["findings"] == [
        {
            "severity": "warning",
            "code": "line-ends",
            "file": ONE,
            "line": 1,
            "column": None,
            "message": "the lines end in CRLF",
            "hint": "set your editor to LF",
            "fixable": True,
        }
    ]
    assert data["tidy"] == [{"file": ONE, "changes": ["CRLF is LF", "`Open` is `todo`"]}] and data["fixed"] == []


def test_annotations_are_what_github_reads(project: Repo, here: Project) -> None:
    project.write(ONE, TASK.replace("todo", "'50%, a: b'"))
    lines = project.kin("check", "--format", "github", exit=7).stdout.splitlines()
    words = "status: unknown value '50%25, a: b'; one of draft, todo"
    assert len(lines) == 1
    assert lines[0].startswith(f"::error file={ONE},line=5,col=9,title=kin check%3A schema::{words}")


def test_paths_say_what_is_shown(project: Repo, here: Project) -> None:
    project.write(ONE, TASK.replace("todo", "reddy"))
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2").replace("todo", "reddy"))
    project.write(".kin/todo.yaml", "a: b\n")
    found = findings(here)

    def shown(*paths: str, cwd: str = ".") -> int:
        wanted = command._wanted(here, str(project.path / cwd), paths)
        return sum(wanted(finding.where.path) for finding in found)

    assert shown() == shown(".") == shown(".kin") == shown(str(project.path)) == 3
    assert shown(ONE) == shown(".kin/todo.yaml") == shown("KIN-1.yaml", cwd=".kin/tasks") == 1
    assert shown("tasks", "todo.yaml", cwd=".kin") == 3 and shown("../.kin/tasks", cwd=".kin") == 2
    assert shown(".kin/kin.yaml") == 0
    assert project.kin("check", ".kin/kin.yaml").stdout == "Nothing is wrong in 4 files.\n"
    assert "not in .kin/" in project.kin("check", "README.md", exit=2).stderr
    assert "there is no" in project.kin("check", ".kin/nothing.yaml", exit=8).stderr


def test_progress_is_shown_at_a_terminal_and_taken_away(project: Repo, here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    class Screen:
        json = quiet = False
        err = Terminal()

    monkeypatch.setattr(screen, "PAUSE", 0)
    with screen.Progress(Screen(), "files read") as tick:  # type: ignore[arg-type]
        check(here, os.environ, tick)
    assert Screen.err.getvalue() == "\r1 of 2 files read\x1b[K\r2 of 2 files read\x1b[K\r\x1b[K"
    Screen.json = True
    with screen.Progress(Screen(), "files read") as tick:  # type: ignore[arg-type]
        assert tick is None


# What is kept


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files of tasks that were looked at. Scans start three seconds from now, so that nothing is too young to be kept."""
    now, inspect, seen = index.time.time_ns, inspection.inspect, list[str]()
    monkeypatch.setattr(index.time, "time_ns", lambda: now() + 3_000_000_000)

    def counted(project: Project, name: str) -> Any:
        seen.append(name)
        return inspect(project, name)

    monkeypatch.setattr(inspection, "inspect", counted)
    return seen


@pytest.fixture
def many(project: Repo, here: Project) -> Project:
    for number in range(2, 42):
        project.write(f".kin/tasks/KIN-{number}.yaml", f"{task_text(f'KIN-{number}')}prioritiy: 1\n")
    project.write(NOTED, NOTE)
    return here


def test_only_what_changed_is_read_again(project: Repo, many: Project, reads: list[str]) -> None:
    first = findings(many)
    assert len(reads) == 43 and len(first) == 40
    reads.clear()
    assert findings(many) == first and reads == []
    project.write(".kin/tasks/KIN-9.yaml", task_text("KIN-9"))
    (project.path / ".kin/tasks/KIN-10.yaml").unlink()
    assert len(findings(many)) == 38 and reads == ["tasks/KIN-9.yaml"]


def test_what_another_kin_found_is_found_anew(many: Project, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = findings(many)
    reads.clear()
    monkeypatch.setattr(inspection, "VERSION", "another")
    assert findings(many) == first and len(reads) == 43


def test_a_damaged_index_costs_time_only(many: Project, reads: list[str]) -> None:
    first = findings(many)
    Path(index.cache_path(many.common, many.store)).write_bytes(b"nonsense")
    reads.clear()
    assert findings(many) == first and len(reads) == 43


# --fix


def fix(here: Project, wanted: Callable[[str], bool] = lambda path: True) -> list[str]:
    done, failed = mend(here, wanted)
    assert failed == []
    return done


def test_what_is_mechanical_is_mended_and_nothing_else_touched(project: Repo, here: Project) -> None:
    text = (
        "# mine\r\n\"deps\": [ 'KIN-2' ]   # both\r\nstatus:  In-Progress\r\npriority: P1 # high\r\nid: KIN-1\r\n"
        "title: T\r\nmode: Auto\r\ntags:\r\n- x"
    )
    (project.path / ONE).write_bytes(text.encode())
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2"))
    assert fix(here) == [
        f"{ONE}: {change}"
        for change in (
            "CRLF is LF",
            "the last line has an end",
            "`deps` is `depends_on`",
            "`In-Progress` is `in_progress`",
            "`P1` is `1`",
            "`Auto` is `auto`",
            "`tags` is `labels`",
        )
    ]
    assert project.read(ONE) == (
        "# mine\n\"depends_on\": [ 'KIN-2' ]   # both\nstatus:  in_progress\npriority: 1 # high\nid: KIN-1\n"
        "title: T\nmode: auto\nlabels:\n- x\n"
    )
    assert fix(here) == [] and said(here) == []


@pytest.mark.parametrize(
    ("name", "task_id", "after"),
    [
        ("login.yaml", "KIN-7", {"KIN-7.yaml": "KIN-7"}),
        ("KIN-7.yml", "KIN-7", {"KIN-7.yaml": "KIN-7"}),
        ("kin-7.yaml", "KIN-7", {"KIN-7.yaml": "KIN-7"}),
        ("KIN-7.yaml", "7", {"KIN-7.yaml": "KIN-7"}),
        ("KIN-7.yaml", "kin-007", {"KIN-7.yaml": "KIN-7"}),
        ("KIN-7.yaml", "KIN-1", {"KIN-7.yaml": "KIN-7"}),
        ("KIN-7.yaml", "login", {"KIN-7.yaml": "KIN-7"}),
        ("KIN-7.yaml", "KIN-8", None),
        ("login.yaml", "KIN-1", None),
        ("login.yaml", "KIN-001", None),
        ("KIN-01.yaml", "KIN-1", None),
        ("D-7.yaml", "KIN-1", None),
    ],
)
def test_name_and_id_agree_where_it_is_clear_which_is_meant(
    project: Repo, here: Project, name: str, task_id: str, after: dict[str, str] | None
) -> None:
    project.write(f".kin/tasks/{name}", task_text(task_id, "The other"))
    assert len(fix(here)) == (after is not None)
    found = {path.name: read(path.read_text(), "")["id"] for path in (project.path / ".kin/tasks").iterdir()}
    assert found == {"KIN-1.yaml": "KIN-1", **({name: task_id} if after is None else after)}
    assert (said(here) == []) == (after is not None)


def test_two_files_that_claim_one_id_are_left_to_a_person(project: Repo, here: Project) -> None:
    for name in ("one.yaml", "two.yaml"):
        project.write(f".kin/tasks/{name}", task_text("KIN-7"))
    assert fix(here) == [] and len(findings(here)) == 2


def test_the_command_prints_each_change_and_what_is_left(project: Repo, here: Project) -> None:
    project.write(ONE, TASK.replace("todo", "Done"))
    project.write(".kin/tasks/login.yaml", task_text("KIN-7") + "prioritiy: 1\n")
    lines = project.kin("check", "--fix", ".kin/tasks/login.yaml").stdout.splitlines()
    assert lines[0] == "fixed  .kin/tasks/login.yaml: its id is KIN-7, so it is KIN-7.yaml now"
    assert project.read(ONE) == TASK.replace("todo", "Done"), "it was not named"
    lines = project.kin("check", "--fix").stdout.splitlines()
    assert lines[0] == f"fixed  {ONE}: `Done` is `done`" and "`prioritiy`" in lines[1]
    assert lines[-1] == "1 warning in 3 files."


@pytest.mark.parametrize("text", ["title: Log in\n", "# mine\n{title: Log in}\n", "\r\ntitle: Log in\r\n"])
def test_a_task_written_with_little_gets_the_id_of_its_file_and_is_to_be_done(project: Repo, here: Project, text: str) -> None:
    project.write(".kin/tasks/KIN-7.yaml", text)
    missing = [found for found in findings(here) if found.code == "schema"]
    assert [found.hint for found in missing][:1] == ["write `id: KIN-7`"] and all(found.fixable for found in missing)
    fix(here)
    assert read(project.read(".kin/tasks/KIN-7.yaml"), "") == {"id": "KIN-7", "title": "Log in", "status": "todo"}
    assert said(here) == [] and fix(here) == []


def test_a_text_that_would_say_another_thing_is_left(project: Repo, here: Project) -> None:
    text = f"{TASK}description: |\n  the end"
    project.write(ONE, text)
    (found,) = findings(here)
    assert (found.code, found.fixable) == ("final-newline", False)
    assert fix(here) == [] and project.read(ONE) == text
    with pytest.raises(Invalid):
        tidied("tasks/KIN-1.yaml", text)


def test_nothing_is_changed_while_git_is_in_the_middle_of_something(project: Repo, here: Project) -> None:
    branch_and_merge(project, {ONE: TASK.replace("todo", "Done")}, {ONE: TASK.replace("todo", "draft")})
    before = project.read(ONE)
    with pytest.raises(Busy, match="middle of a merge"):
        fix(here)
    assert "finish it first" in project.kin("check", "--fix", exit=6).stderr
    assert project.read(ONE) == before


def test_files_of_a_newer_format_are_read_and_not_changed(project: Repo, here: Project) -> None:
    project.write(".kin/kin.yaml", f"format: 2\n{SETTINGS}")
    project.write(ONE, TASK.replace("todo", "Done"))
    assert "[format]" in project.kin("check").stdout
    assert "upgrade kin" in project.kin("check", "--fix", exit=7).stderr
    assert project.read(ONE) == TASK.replace("todo", "Done")


def test_one_file_that_cannot_be_written_keeps_no_other(project: Repo, here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = files.edit_file

    def refusing(project: Project, path: str, change: Any) -> str:
        if path.endswith("KIN-1.yaml"):
            raise Busy("somebody writes KIN-1")
        return edit(project, path, change)

    monkeypatch.setattr(files, "edit_file", refusing)
    for name in ("KIN-1", "KIN-2"):
        project.write(f".kin/tasks/{name}.yaml", task_text(name, status="Done"))
    done, failed = mend(here, lambda path: True)
    assert done == [".kin/tasks/KIN-2.yaml: `Done` is `done`"] and failed == ["somebody writes KIN-1"]


WORDS = {
    "status": st.sampled_from(["Open", "todo", "in progress", "WIP", "closed"]),
    "priority": st.sampled_from(["P1", "high", "3", "+2", "urgent"]),
    "deps": st.lists(st.sampled_from(["KIN-2", "3"]), max_size=2),
    "tags": st.sampled_from(["a", "no"]) | st.lists(st.sampled_from(["a", "1e3", "x y"]), max_size=3),
    "mode": st.sampled_from(["Auto", "review"]) | st.none(),
    "description": st.sampled_from(["one\ntwo", "one\ntwo\n", "x"]),
    "x-own": st.dictionaries(st.sampled_from(["deps", "tags"]), st.sampled_from(["P1", "high"]), max_size=2),
}


@settings(PROFILE, max_examples=PROFILE.max_examples // 5)
@given(st.fixed_dictionaries({}, optional=WORDS), st.integers(0, 2**32))
def test_a_tidied_task_says_the_same_in_its_own_style(words: dict[str, Any], seed: int) -> None:
    text = Style(Random(seed)).document({"id": "KIN-1", "title": "T", "status": "todo", **words})
    try:
        new, changes = tidied("tasks/KIN-1.yaml", text)
    except Invalid:
        assert "\n" not in text[-1:] or "\r" in text or "&" in text or "?" in text, "only odd styles are refused"
        return
    old, _ = build_task(read(text, ""))
    task, _ = build_task(read(new, ""))
    assert task is not None and task == old
    assert list(respellings(Task, read(new, ""))) == [] and tidied("tasks/KIN-1.yaml", new) == (new, [])
    assert bool(changes) == (new != text) and "\r" not in new and new.endswith("\n")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        *(("prioritiy", "priority"), ("lables", "labels"), ("titel", "title"), ("Depends-on", "depends_on"), ("dep", "deps")),
        *(("dependsOn", "depends_on"), ("acceptence", "acceptance"), ("tag", "tags"), ("modul", "module")),
        *(("estimate", None), ("node", None), ("created_by", None), ("due", None), ("epic", None), ("points", None)),
    ],
)
def test_a_near_miss_is_a_slip_of_the_pen_and_not_any_other_word(word: str, meant: str | None) -> None:
    assert near(word, spellings(Task)) == meant
