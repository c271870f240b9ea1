"""Tasks from the command line: what a person types becomes the smallest change of a file, or one line that says why not."""

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, task_text

from kin.cli.dispatch import run
from kin.model.record import Run
from kin.model.status import RunStatus
from kin.store.locks import lock_path, try_lock
from kin.store.project import find
from kin.store.records import save_live
from kin.store.resting import settings_now


def here(repo: Repo, *words: str, exit: int = 0) -> tuple[str, str]:
    """Run kin in this process, which is quicker than starting one; what it printed to either stream."""
    before, out, err = os.getcwd(), io.StringIO(), io.StringIO()
    os.chdir(repo.path)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = run(words, os.environ)
    finally:
        os.chdir(before)
    assert code == exit, out.getvalue() + err.getvalue()
    return out.getvalue(), err.getvalue()


def data(repo: Repo, *words: str, **more: Any) -> Any:
    said = repo.kin(*words, "--json", **more).stdout if more else here(repo, *words, "--json")[0]
    return json.loads(said)["data"]


def put(repo: Repo, number: int, **fields: str) -> str:
    """Write task KIN-<number>; its file's name."""
    name = f".kin/tasks/KIN-{number}.yaml"
    title = fields.pop("title", f"Task {number}")
    repo.write(name, task_text(f"KIN-{number}", title, fields.pop("status", "todo"), **fields))
    return name


def editor(tmp_path: Path, script: str) -> dict[str, str]:
    """An editor that is a shell script; `$1` is the file."""
    path = tmp_path / "my editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"EDITOR": f"'{path}'"}


# add


def test_add_writes_one_file_in_the_canonical_layout(project: Repo) -> None:
    put(project, 9)
    said = project.kin(
        *(
            "add",
            "Log in",
            "with a passkey",
            "-l",
            "auth,ux",
            "-l",
            "auth",
            "-p",
            "high",
            "--depends-on",
            "9",
            "--mode",
            "auto",
        ),
        *(
            "--touches",
            "src/auth/**",
            "--module",
            "auth",
            "-d",
            "Why:\nbecause",
            "--acceptance",
            "yes, it works",
            "--assignee",
            "Ada",
        ),
    )
    assert said.stdout == "KIN-10  .kin/tasks/KIN-10.yaml\n"
    text = project.read(".kin/tasks/KIN-10.yaml")
    created = next(line for line in text.splitlines() if line.startswith("created: "))
    assert text.replace(created, "created: 2026-11-24") == (
        "id: KIN-10\n\ntitle: Log in with a passkey\n\nstatus: todo\n\npriority: 1\n\nassignee: Ada\n\n"
        "labels:\n  - auth\n  - ux\n\n"
        "depends_on:\n  - KIN-9\n\nmodule: auth\n\ntouches:\n  - src/auth/**\n\nmode: auto\n\ncreated: 2026-11-24\n\n"
        "description: |\n  Why:\n  because\n\nacceptance:\n  - yes, it works\n"
    )
    assert project.status() == "?? .kin/tasks/"


def test_add_with_run_is_a_task_of_one_command(project: Repo) -> None:
    assert data(project, "add", "Build", "--run", "make -j2")[0]["pipeline"] == [{"run": "make -j2"}]


def test_add_takes_titles_as_they_are(project: Repo) -> None:
    for title in ("1.10", "NO", "2026-11-24", "a: b # c", "'quoted'", "ünï"):
        assert data(project, "add", title)[0]["title"] == title


@pytest.mark.parametrize(
    ("words", "exit", "says"),
    [
        (["add", " "], 2, "title: must not be empty"),
        (["add", "x" * 201], 2, "201 characters"),
        (["add", "x", "-p", "9"], 2, "priority"),
        (["add", "x", "--depends-on", "7"], 8, "KIN-7"),
        (["add", "x", "--run", "a", "--pipeline", "quick"], 2, "exclude"),
        (["add", "x", "--run", ""], 2, "--run needs a command"),
        (["add", "x", "--pipeline", "nosuch"], 2, "nosuch"),
    ],
)
def test_add_refuses_and_writes_nothing(project: Repo, words: list[str], exit: int, says: str) -> None:
    assert says in here(project, *words, exit=exit)[1]
    assert not (project.path / ".kin/tasks").exists()


def test_a_decision_in_a_tasks_place_is_told_apart(project: Repo) -> None:
    assert "kin decide ... --supersedes D-1" in here(project, "set", "d-1", "title=x", exit=8)[1]


def test_an_add_that_is_refused_uses_up_no_number(project: Repo) -> None:
    first = data(project, "add", "x")[0]["id"]
    here(project, "add", "x", "-p", "9", exit=2)
    assert [first, data(project, "add", "x")[0]["id"]] == ["KIN-1", "KIN-2"]


def test_add_tells_that_the_key_is_not_the_one_in_a_wrong_kin_yaml(project: Repo) -> None:
    project.write(".kin/kin.yaml", "key: web\n")
    assert "key: 'web' is no key" in here(project, "add", "x")[1]


def test_add_reads_a_description_from_standard_input(project: Repo) -> None:
    assert data(project, "add", "x", "-d", "-", input="one\ntwo\n")[0]["description"] == "one\ntwo\n"


# set


def test_set_changes_its_own_lines_only(project: Repo) -> None:
    name = put(project, 1, priority="4   # low", labels="[b, a] # mine")
    assert (
        project.kin("set", "1", "priority=high", "labels+=c", "labels-=b").stdout == "KIN-1  priority=1 labels+=c labels-=b\n"
    )
    assert project.read(name) == task_text("KIN-1", "Task 1", priority="1   # low", labels="[a, c] # mine")


def test_set_writes_nested_own_and_removed_fields(project: Repo) -> None:
    name = put(project, 1, assignee="Ada", tags="[x]")
    project.kin("set", "KIN-1", "assignee=", "budget.usd=3", "x-estimate=2d", "labels+=z")
    text = project.read(name)
    assert "assignee" not in text and "budget:\n  usd: 3\n" in text and 'x-estimate: "2d"\n' in text
    assert "tags: [x, z]\n" in text and "labels" not in text
    project.kin("set", "1", "x-estimate=", "tags=")
    assert "x-estimate" not in project.read(name) and "tags" not in project.read(name)


def test_set_takes_several_tasks(project: Repo) -> None:
    put(project, 1)
    put(project, 2)
    assert [t["priority"] for t in data(project, "set", "1", "kin-2", "1", "priority=2")] == [2, 2]


def test_set_moves_status_as_the_table_says(project: Repo) -> None:
    name = put(project, 1)
    project.kin("set", "1", "status=blocked", "blocked.reason=waiting for Bob")
    assert "blocked:\n  kind: manual\n  reason: waiting for Bob\n" in project.read(name)
    project.kin("set", "1", "status=open")
    assert project.read(name) == task_text("KIN-1", "Task 1")
    project.kin("set", "1", "status=done")
    assert "`kin reopen KIN-1` first" in project.kin("set", "1", "status=blocked", exit=2).stderr


@pytest.mark.parametrize(
    ("word", "exit", "says"),
    [
        ("prioritiy=1", 2, "did you mean priority?"),
        ("priority=9", 2, "from 1 to 5"),
        ("status=reddy", 2, "unknown value 'reddy'"),
        ("status=review", 2, "only a run"),
        ("mode=fast", 2, "review, auto"),
        ("id=KIN-2", 2, "an id cannot be set"),
        ("title=", 2, "cannot be removed"),
        ("title+=x", 2, "is no list"),
        ("title.x=1", 2, "no fields of its own"),
        ("blocked=x", 2, "a mapping"),
        ("blocked.who=x", 2, "no field 'who'"),
        ("depends_on=KIN-99", 8, "KIN-99"),
        ("depends_on+=1", 2, "leads back to it"),
        ("parent=2", 2, "leads back to it"),
        ("plan=maybe", 2, "plan: expected true, false or approve"),
        ("pipeline=nosuch", 2, "no pipeline is called 'nosuch'; one of default, plan, quick"),
        ("budget.usd=-1", 2, "usd: expected at least 0, found"),
        ("budget.step.euro=1", 2, "step.euro: there is no such key"),
        ("budget.usd+=1", 2, "is no list"),
        ("nothing", 2, "which task, and what"),
    ],
)
def test_set_refuses_and_changes_nothing(project: Repo, word: str, exit: int, says: str) -> None:
    name = put(project, 1)
    put(project, 2, parent="KIN-1")
    before = project.read(name)
    assert says in here(project, "set", "1", word, exit=exit)[1]
    assert project.read(name) == before


def test_set_takes_what_check_only_warns_of(project: Repo) -> None:
    put(project, 1)
    project.kin("set", "1", "agent=nosuch", "plan=Yes", "budget.step.usd=1")
    assert data(project, "show", "1")["plan"] == "true"
    assert "warning: no agent is called 'nosuch'" in project.kin("check").stdout


def test_set_says_when_quotes_were_forgotten(project: Repo) -> None:
    put(project, 1)
    assert "'title=New name'" in project.kin("set", "1", "title=New", "name", exit=2).stderr


def test_set_refuses_a_newer_format(project: Repo) -> None:
    put(project, 1)
    project.write(".kin/kin.yaml", "format: 2\nkey: KIN\n")
    assert "format 2" in project.kin("set", "1", "priority=1", exit=7).stderr
    done = project.kin("list")
    assert done.stdout.startswith("KIN-1") and "newer than this kin" in done.stderr


# list, show, board


@pytest.fixture
def many(project: Repo) -> Repo:
    put(project, 1, title="Alpha login", priority="2", labels="[auth]", created="2026-11-02", module="core")
    put(project, 2, title="beta", labels="[auth, ux]", created="2026-11-01", assignee="Ada")
    put(project, 3, title="gamma", depends_on="[KIN-1]", created="2026-11-03")
    put(project, 4, title="delta", status="blocked", description="the Login page")
    put(project, 5, title="omega", status="done")
    put(project, 6, title="psi", status="draft", depends_on="[KIN-2]")
    return project


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("", "1 2 3 4 6"),
        ("--all", "1 2 3 4 5 6"),
        ("--ready", "1 2"),
        ("-s todo -s blocked", "1 2 3 4"),
        ("-s done", "5"),
        ("-s open,closed", "1 2 3 5"),
        ("-l auth -l ux", "2"),
        ("--module core", "1"),
        ("-p 2", "1"),
        ("-p 1-2", "1"),
        ("-p p2 -s done", ""),
        ("--assignee ada", "2"),
        ("--assignee=", "1 3 4 6"),
        ("--depends-on 1", "3"),
        ("--search LOGIN", "1 4"),
        ("--sort -id", "6 4 3 2 1"),
        ("--sort title", "1 2 4 3 6"),
        ("--sort created --limit 2", "4 6"),
        ("--sort status", "6 1 2 3 4"),
    ],
)
def test_filters_of_list_compose(many: Repo, words: str, ids: str) -> None:
    assert [t["id"] for t in data(many, "list", *words.split())] == [f"KIN-{n}" for n in ids.split()]
    assert here(many, "list", *words.split(), "-q")[0].split() == [f"KIN-{n}" for n in ids.split()]


def test_list_prints_what_was_asked_for(many: Repo) -> None:
    assert many.kin("list", "-s", "todo").stdout == (
        "KIN-1  todo  2  Alpha login\nKIN-2  todo  3  beta\nKIN-3  todo  3  gamma\n"
    )
    assert (
        many.kin("list", "-l", "auth", "--columns", "title,labels,ready").stdout
        == "Alpha login  auth     yes\nbeta         auth,ux  yes\n"
    )
    csv = many.kin("list", "--format", "csv", "--columns", "id,labels", "-l", "ux").stdout
    assert csv == 'id,labels\nKIN-2,"auth,ux"\n'
    lines = many.kin("list", "--format", "jsonl", "-p", "2").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["KIN-1"]
    assert json.loads(many.kin("list", "--format", "json", "-p", "2").stdout)["kind"] == "task.list"
    assert "no column is called 'nosuch'" in many.kin("list", "--columns", "nosuch", exit=2).stderr
    assert "cannot sort by" in many.kin("list", "--sort", "nosuch", exit=2).stderr


def test_a_task_as_json_has_every_key(project: Repo) -> None:
    put(project, 1, labels="[b]", **{"x-own": "{a: [1.10]}"})
    (entry,) = data(project, "list")
    assert entry == {
        **dict.fromkeys(
            ("blocked", "assignee", "parent", "module", "mode", "base", "agent", "budget", "plan", "pipeline", "created")
        ),
        "id": "KIN-1",
        "title": "Task 1",
        "status": "todo",
        "stored_status": "todo",
        "ready": True,
        "run": None,
        "priority": 3,
        "labels": ["b"],
        "depends_on": [],
        "touches": [],
        "acceptance": [],
        "description": None,
        "x-own": {"a": ["1.10"]},
    }


def test_a_broken_file_is_a_warning_in_a_list(many: Repo) -> None:
    many.write(".kin/tasks/KIN-7.yaml", "id: KIN-7\ntitle: [\n")
    done = many.kin("list")
    assert "KIN-1" in done.stdout and "warning: .kin/tasks/KIN-7.yaml:" in done.stderr
    assert any("KIN-7.yaml" in w for w in json.loads(many.kin("list", "--json").stdout)["warnings"])


@pytest.mark.parametrize("fault", ["gates: [pytest\n", "mode: auto\n", "\tbase: main\n", "# \udcff\n"])
def test_a_fault_in_the_settings_gives_no_task_another_key(many: Repo, fault: str) -> None:
    text = f'\ufeffkey: "KIN"  # ours\nmode: auto\n{fault}'
    (many.path / ".kin/kin.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert many.kin("run", "1", exit=7).stderr.startswith("error: .kin/kin.yaml:")
    assert many.kin("add", "One more").stdout.startswith("KIN-")
    assert "KIN-1" in many.kin("show", "1").stdout


def test_show_tells_all_of_a_task(many: Repo) -> None:
    many.kin("note", "3", "-m", "Look at\nthe docs", "--to", "tester")
    said = many.kin("show", "3").stdout
    for part in (
        "KIN-3  gamma\n",
        "todo · priority 3",
        "KIN-1 (todo)",
        "Notes",
        "Ada Person to tester",
        "the docs",
        "KIN-3.yaml",
    ):
        assert part in said
    entry = data(many, "show", "3")
    assert (entry["path"], entry["notes"][0]["to"], entry["pipelines"]) == (".kin/tasks/KIN-3.yaml", "tester", [])


def test_a_claimed_task_is_shown_in_progress(many: Repo) -> None:
    here = find(str(many.path), os.environ)
    save_live(here, Run("20261124T093200Z-7f3k", "KIN-1", RunStatus.running, "2026-11-24T09:32:00Z"))
    held = try_lock(lock_path(here.common, "KIN-1"))
    assert held is not None
    with held:
        entry = data(many, "show", "1")
        assert (entry["status"], entry["stored_status"], entry["run"]) == ("in_progress", "todo", "20261124T093200Z-7f3k")
        assert [t["id"] for t in data(many, "list", "-s", "in_progress")] == ["KIN-1"]
        assert "is being run" in many.kin("rm", "1", "--force", exit=6).stderr


def test_board_puts_tasks_in_columns_that_fit(many: Repo) -> None:
    put(many, 7, title="長い題名 " * 9)
    said = many.kin("board").stdout
    assert all(word in said for word in ("TODO 4", "DRAFT 1", "BLOCKED 1", "DONE 1", "› KIN-1", "…"))
    columns = data(many, "board")
    assert [c["status"] for c in columns] == ["draft", "todo", "in_progress", "review", "blocked", "done", "cancelled"]
    assert [t["id"] for t in columns[4]["tasks"]] == ["KIN-4"]


# edit


def test_edit_puts_a_valid_text_in_place_as_it_was_written(project: Repo, tmp_path: Path) -> None:
    name = put(project, 1)
    project.kin("edit", "1", env=editor(tmp_path, """sed -i 's/Task 1/New name  # why/' "$1"; cp "$1" seen.yaml"""))
    assert "title: New name  # why\n" in project.read(name)
    assert not list((project.path / ".git/kin/edit").rglob("*.yaml"))


def test_edit_without_a_change_says_so(project: Repo, tmp_path: Path) -> None:
    put(project, 1)
    assert "nothing changed" in project.kin("edit", "1", env=editor(tmp_path, "true")).stdout


@pytest.mark.parametrize(
    ("script", "exit", "says"),
    [
        ("""sed -i 's/status: todo/status: reddy/' "$1" """, 7, ":5:9: status: unknown value 'reddy'"),
        ("""sed -i 's/id: KIN-1/id: KIN-2/' "$1" """, 7, "the file is KIN-1.yaml"),
        ("""sed -i 's/status: todo/status: review/' "$1" """, 2, "only a run"),
        ("""printf 'a: [' >> "$1" """, 7, ":6:"),
    ],
)
def test_edit_keeps_an_invalid_text_and_the_task_as_it_was(
    project: Repo, tmp_path: Path, script: str, exit: int, says: str
) -> None:
    name = put(project, 1)
    before = project.read(name)
    done = project.kin("edit", "1", exit=exit, env=editor(tmp_path, script + """; cp "$1" mine"""))
    assert says in done.stderr and "what you wrote is in " in done.stderr
    kept = Path(done.stderr.split("what you wrote is in ")[1].strip())
    assert kept.read_text() == project.read("mine") and project.read(name) == before


def test_edit_mends_a_broken_file(project: Repo, tmp_path: Path) -> None:
    project.write(".kin/tasks/KIN-1.yaml", "id: KIN-1\ntitle: x\nstatus: reddy\n")
    project.kin("edit", "1", env=editor(tmp_path, """sed -i 's/reddy/todo/' "$1" """))
    assert project.read(".kin/tasks/KIN-1.yaml") == "id: KIN-1\ntitle: x\nstatus: todo\n"


def test_edit_keeps_what_somebody_else_changed_meanwhile(project: Repo, tmp_path: Path) -> None:
    name = put(project, 1, priority="3", assignee="Ada")
    script = f"""sed -i 's/Task 1/Mine # why/' "$1"; sed -i 's/priority: 3/priority: 1/; /assignee/d' {name}"""
    project.kin("edit", "1", env=editor(tmp_path, script))
    text = project.read(name)
    assert "title: Mine # why\n" in text and "priority: 1\n" in text and "assignee" not in text


def test_edit_of_the_same_key_by_two_is_busy_and_loses_neither(project: Repo, tmp_path: Path) -> None:
    name = put(project, 1)
    script = f"""sed -i 's/Task 1/Mine/' "$1"; sed -i 's/Task 1/Theirs/' {name}"""
    done = project.kin("edit", "1", "--json", exit=6, env=editor(tmp_path, script))
    error = json.loads(done.stdout)["error"]
    assert "'Theirs'" in error["message"] and "'Mine'" in error["message"] and error["retryable"]
    assert "title: Theirs" in project.read(name) and "title: Mine" in Path(error["kept"]).read_text()


@pytest.mark.parametrize("command", ["edit", "note"])
def test_an_editor_that_fails_changes_nothing_and_leaves_what_was_written(project: Repo, tmp_path: Path, command: str) -> None:
    name = put(project, 1)
    before = project.read(name)
    texts = project.path / ".git/kin/edit"
    for failing in ({}, editor(tmp_path, "exit 3")):
        assert "what it left" not in project.kin(command, "1", exit=1 if failing else 2, env=failing).stderr
        assert not list(texts.glob("[0-9]*"))
    said = project.kin(command, "1", exit=1, env=editor(tmp_path, """echo mine >> "$1"; exit 3""")).stderr
    assert "exit 3" in said and Path(said.rpartition(" in ")[2].strip()).read_text().endswith("mine\n")
    assert project.read(name) == before and not (project.path / ".kin/notes").exists()
    assert len(json.loads(project.kin("init", "--remove", "--json").stdout)["data"]["texts"]) == 1


def test_ctrl_c_in_an_editor_is_the_editors(project: Repo, tmp_path: Path) -> None:
    name = put(project, 1)
    script = """trap '' INT; kill -INT "$(basename "$(dirname "$1")")"; sed -i 's/Task 1/Mine/' "$1" """
    project.kin("edit", "1", env=editor(tmp_path, script))
    assert "title: Mine" in project.read(name)


# note, rm


def test_a_note_is_a_file_of_its_own(project: Repo, tmp_path: Path) -> None:
    put(project, 1)
    note = data(project, "note", "1", "-m", "-", input="from a pipe\n")
    assert (note["by"], note["text"], note["for"]) == ("Ada Person", "from a pipe", "info")
    assert "text: from a pipe\n" in project.read(f".kin/notes/KIN-1/{note['id']}.yaml")
    script = """echo "# a comment of kin's" >> "$1"; echo "from an editor" >> "$1" """
    assert data(project, "note", "1", env=editor(tmp_path, script))["text"] == "from an editor"
    assert "the note is empty" in project.kin("note", "1", exit=2, env=editor(tmp_path, "true")).stderr
    assert "no role is called 'nosuch'" in project.kin("note", "1", "-m", "x", "--to", "nosuch", exit=8).stderr
    assert len(data(project, "show", "1")["notes"]) == 2


def test_rm_refuses_what_others_need(project: Repo) -> None:
    one = put(project, 1)
    two = put(project, 2, depends_on="[KIN-1]")
    done = project.kin("rm", "1", exit=2)
    assert "KIN-2 refers to KIN-1" in done.stderr and "status=cancelled" in done.stderr
    assert project.kin("rm", "1", "2").stdout == "KIN-1  removed\nKIN-2  removed\n"
    assert not (project.path / one).exists() and not (project.path / two).exists()
    put(project, 1)
    put(project, 2, parent="KIN-1")
    project.kin("rm", "1", "--force")
    assert not (project.path / one).exists()


@pytest.mark.parametrize("words", [["rm", "1"], ["roles", "new", "own"], ["modules", "scan", "--write"]])
def test_a_newer_format_is_written_by_nobody(project: Repo, words: list[str]) -> None:
    put(project, 1)
    project.write(".kin/kin.yaml", "format: 2\nkey: KIN\n")
    before = project.status()
    assert "upgrade kin" in project.kin(*words, exit=7).stderr and project.status() == before


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_list_does_not_wait_for_what_stands_in_the_place_of_settings(project: Repo, kind: str) -> None:
    settings = project.path / ".kin/kin.yaml"
    settings.unlink()
    os.mkfifo(settings) if kind == "pipe" else settings.symlink_to("/dev/zero")
    assert not settings_now(find(str(project.path), {})).strip(b"\0")
    assert "cannot be read: it is no regular file" in project.kin("list").stderr
