"""The edge: one JSON document or lines for a person, errors as one line, and nothing that a file says moves the cursor."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, task_text

from kin.cli import help as help_module
from kin.cli.dispatch import run
from kin.cli.screen import Screen, ago, cells, clean, fit, pad


def on_terminal(repo: Repo, *words: str, columns: int = 60, env: dict[str, str] | None = None) -> str:
    """What kin prints when its standard output is a terminal of that width."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")} | {"TERM": "xterm"} | (env or {})
    argv = [sys.executable, "-m", "kin", *words]
    process = subprocess.Popen(argv, cwd=repo.path, stdin=subprocess.DEVNULL, stdout=child, stderr=child, env=environ)
    os.close(child)
    said = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # Linux: EIO when the last writer is gone
            break
        if not chunk:
            break
        said += chunk
    os.close(parent)
    assert process.wait(30) == 0, said
    return said.decode().replace("\r\n", "\n")


def document(text: str) -> dict[str, Any]:
    assert text.count("\n") == 1 and text.endswith("\n")
    loaded = json.loads(text)
    assert loaded["kin"] == 1
    return loaded


def test_version_says_the_same_in_each_spelling(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    assert repo.kin("--version").stdout == repo.kin("version").stdout == repo.kin("-C", ".", "--version").stdout
    assert document(repo.kin("--json", "--version").stdout)["data"] == {"version": "0.1.0"}


def test_json_is_one_document_on_success_and_on_error(project: Repo) -> None:
    assert document(project.kin("list", "--json").stdout) == {"kin": 1, "kind": "task.list", "data": [], "warnings": []}
    for words, code, exit in ((["show", "9"], "not_found", 8), (["lits"], "usage", 2), (["list", "-n"], "usage", 2)):
        done = project.kin(*words, "--json", exit=exit)
        error = document(done.stdout)["error"]
        assert done.stderr == ""
        assert (error["code"], error["exit"], error["retryable"]) == (code, exit, False)
        assert error["message"] and error["hint"]


def test_an_invalid_file_is_named_with_line_and_column(project: Repo) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="reddy"))
    done = project.kin("show", "1", exit=7)
    assert done.stderr.startswith("error: .kin/tasks/KIN-1.yaml:5:9: ") and "'reddy'" in done.stderr
    error = document(project.kin("show", "1", "--json", exit=7).stdout)["error"]
    assert (error["file"], error["line"], error["column"]) == (".kin/tasks/KIN-1.yaml", 5, 9)


def test_a_folder_without_repository_is_exit_8(tmp_path: Path) -> None:
    assert "`git init`" in Repo(tmp_path).kin("list", exit=8).stderr


def test_a_folder_that_is_not_there_is_exit_8(project: Repo) -> None:
    assert "cannot change to nowhere" in project.kin("-C", "nowhere", "list", exit=8).stderr


def test_an_unexpected_error_becomes_a_report_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(call: object) -> None:
        raise ZeroDivisionError("by \x1b[2Jzero")

    monkeypatch.setattr(help_module, "version_", broken)
    assert run(["version"], os.environ) == 70
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: kin stumbled: ZeroDivisionError: by \\x1b[2Jzero; the report is in ")
    report = Path(said.err.split("the report is in ")[1].split(";")[0])
    assert "Traceback" in report.read_text() and report.stat().st_mode & 0o077 == 0
    assert run(["version", "--json"], os.environ) == 70
    assert document(capsys.readouterr().out)["error"]["code"] == "bug"


def test_an_error_of_the_system_names_the_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(call: object) -> None:
        raise OSError(28, "No space left on device", "/some/file")

    monkeypatch.setattr(help_module, "version_", full)
    assert run(["version"], os.environ) == 7
    assert capsys.readouterr().err.startswith("error: /some/file: No space left on device; make room on the disk")


def test_ctrl_c_is_130_and_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(call: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(help_module, "version_", interrupted)
    assert run(["version"], os.environ) == 130
    assert capsys.readouterr() == ("", "")
    assert run(["version", "--json"], os.environ) == 130
    assert document(capsys.readouterr().out)["error"]["code"] == "interrupted"


def test_a_reader_that_goes_away_is_no_error(project: Repo) -> None:
    for n in range(1, 400):
        project.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", "A title long enough to fill a pipe " * 5))
    script = f'{sys.executable} -m kin list | head -1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script], cwd=project.path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith("KIN-1 ") and done.stdout.splitlines()[-1] in ("0", "141")


def test_a_closed_standard_output_is_no_error(project: Repo) -> None:
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m kin list >&-"], cwd=project.path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_title_cannot_move_the_cursor(project: Repo) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", '"\\e]0;owned\\a\\u202Egood"'))
    for words in (["list"], ["show", "1"], ["board"]):
        said = project.kin(*words).stdout
        assert "\x1b" not in said and "\x07" not in said and "\u202e" not in said
    assert document(project.kin("list", "--json").stdout)["data"][0]["title"] == "\x1b]0;owned\x07\u202egood"


def test_a_locale_without_unicode_prints_what_it_can(project: Repo) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", "Größe 表"))
    done = project.kin("list", env={"PYTHONIOENCODING": "ascii"})
    assert "Gr\\xf6\\xdfe \\u8868" in done.stdout
    done = project.kin("list", "--json", env={"PYTHONIOENCODING": "ascii"})
    assert document(done.stdout)["data"][0]["title"] == "Größe 表"


def test_a_locale_of_another_encoding_changes_no_text_path_or_command(project: Repo) -> None:
    os.rename(project.path, project.path.parent / "Größe ✓")
    moved = Repo(project.path.parent / "Größe ✓")
    ascii = {"LC_ALL": "C", "PYTHONUTF8": "0"}
    moved.kin("add", "Größe ✓", "--run", "echo 'ü ✓' > 'ü ✓.txt'", env=ascii)
    moved.kin("run", "1", env=ascii)
    assert moved.read("ü ✓.txt") == "ü ✓\n" and "title: Größe ✓\n" in moved.read(".kin/tasks/KIN-1.yaml")


def test_a_terminal_gets_colours_a_heading_and_lines_that_fit(project: Repo) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", "長い題名 " * 20, "blocked"))
    said = on_terminal(project, "list", columns=50)
    assert "\x1b[31mblocked" in said and "TITLE" in said
    plain = on_terminal(project, "list", "--no-color", columns=50)
    assert "\x1b" not in plain and "\x1b" not in on_terminal(project, "list", env={"NO_COLOR": "1"})
    assert "…" in plain and max(map(cells, plain.splitlines())) <= 50


def test_a_pipe_gets_whole_titles_and_no_heading(project: Repo) -> None:
    title = "A title that is much longer than any terminal would be " * 3
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", title.strip()))
    assert project.kin("list", env={"COLUMNS": "40"}).stdout == f"KIN-1  todo  3  {title.strip()}\n"


def test_a_screen_asks_only_where_somebody_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    parent, child = pty.openpty()
    try:
        monkeypatch.setattr(sys, "stdin", os.fdopen(os.dup(child)))
        err = os.fdopen(os.dup(child), "w")
        os.write(parent, b"yes\n")
        assert Screen({}, err=err).ask("Go on?")
        for environ in ({"CI": "true"}, {"KIN_NONINTERACTIVE": "1"}):
            assert not Screen(environ, err=err).ask("Go on?")
        assert not Screen({}, json=True, err=err).may_ask
    finally:
        os.close(parent)
        os.close(child)


@pytest.mark.parametrize(("text", "width"), [("plain", 5), ("日本", 4), ("e\u0301", 1), ("👍", 2), ("", 0)])
def test_width_counts_what_a_terminal_shows(text: str, width: int) -> None:
    assert cells(text) == width
    assert cells(pad(text, 8)) == 8
    assert all(cells(fit(text, n)) <= n for n in range(9))


def test_clean_keeps_lines_and_tabs() -> None:
    assert clean("a\tb\nc\x00\x1b[1m\x85") == "a\tb\nc\\x00\\x1b[1m\\x85"


@pytest.mark.parametrize(
    ("since", "said"),
    [
        ("2026-11-24T10:00:00Z", "5s"),
        ("2026-11-24T09:57:00Z", "3m 5s"),
        ("2026-11-22T10:00:00Z", "2d 0h"),
        ("soon", "unknown time"),
    ],
)
def test_times_past_are_said_in_two_units(since: str, said: str) -> None:
    from datetime import UTC, datetime

    assert ago(since, datetime(2026, 11, 24, 10, 0, 5, tzinfo=UTC)) == said


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
@pytest.mark.parametrize(
    ("command", "exit"),
    [("run KIN-1 > /dev/full", 0), ("list > /dev/full", 7), ("list --json > /dev/full", 7), ("show KIN-9 > /dev/full 2>&1", 8)],
)
def test_a_full_disk_behind_an_output_ends_no_run_and_is_no_traceback(project: Repo, command: str, exit: int) -> None:
    project.kin("add", "One", "--run", "echo 1 > one", "--mode", "auto")
    argv = ["/bin/sh", "-c", f"{sys.executable} -m kin {command}"]
    done = subprocess.run(argv, cwd=project.path, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (exit, False), done.stderr
    assert (project.path / "one").exists() == ("run" in command)


def test_a_run_whose_reader_has_seen_enough_ends_as_it_would_have(project: Repo) -> None:
    project.kin("add", "One", "--run", "echo 1 > one", "--mode", "auto")
    script = f'{sys.executable} -m kin run KIN-1 | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", script], cwd=project.path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "") and (project.path / "one").exists()


HOSTILE = "\x1b]0;x\x07"


def test_names_in_files_of_entries_roles_and_settings_cannot_move_the_cursor(project: Repo) -> None:
    name = '"\\e]0;x\\a"'
    project.write(".kin/environments.yaml", f"{name}: {{host: h}}\n")
    project.write(".kin/modules.yaml", f"{name}: src/**\n")
    project.write(".kin/phases.yaml", f"{name}: {{roles: [tester]}}\n")
    project.write(f".kin/roles/{HOSTILE}.md", "Hello.\n")
    project.write(".kin/roles/own.md", f"---\nagent: {name}\nmodel: {name}\n---\n\nHello.\n")
    project.write(".kin/kin.yaml", project.read(".kin/kin.yaml") + f"\nagent: {name}\n")
    for words in (["env"], ["modules"], ["phase"], ["roles"], ["roles", "show", "own"], ["agents"]):
        said = project.kin(*words).stdout
        assert "\x1b" not in said and ("\\x1b]0;x\\x07" in said or words == ["agents"]), said


@pytest.mark.parametrize(
    ("file", "words", "empty"),
    [
        ("environments", ("env",), ("user", "port", "identity", "purpose")),
        ("modules", ("modules",), ("purpose", "owner")),
        ("phases", ("phase",), ("name", "task")),
        ("links", ("link",), ("relation",)),
    ],
)
def test_entries_as_json_have_the_files_keys_null_for_what_is_empty_and_unknown_ones_beside(
    project: Repo, file: str, words: tuple[str, ...], empty: tuple[str, ...]
) -> None:
    project.write(f".kin/{file}.yaml", "one: {host: h, at: ../x, goal: g, roles: [tester], paths: src, x-own: 7}\n")
    (row,) = document(project.kin(*words, "--json").stdout)["data"]
    assert row["x-own"] == "7" and "extra" not in row and {row[key] for key in empty} == {None}


def test_what_a_decision_leaves_out_is_null(project: Repo) -> None:
    made = document(project.kin("decide", "Use UTC", "--json").stdout)["data"]
    assert made["text"] is made["module"] is made["superseded_by"] is None and made["tags"] == []
    assert made == document(project.kin("show", made["id"], "--json").stdout)["data"]


def test_an_inbox_of_no_project_at_all_is_one_still(tmp_path: Path) -> None:
    done = Repo(tmp_path).kin("inbox", "--all", "--json", env={"XDG_STATE_HOME": str(tmp_path / "none")})
    assert document(done.stdout) == {"kin": 1, "kind": "inbox.list", "data": [], "warnings": []}


def test_a_watcher_that_does_not_end_is_no_document(project: Repo) -> None:
    error = document(project.kin("watch", "--yes", "--json", exit=2).stdout)["error"]
    assert error["code"] == "usage" and "`--jsonl`" in error["hint"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "table"])
def test_json_wins_over_another_form(project: Repo, form: str) -> None:
    project.kin("add", "One")
    assert [task["id"] for task in document(project.kin("list", "--json", "--format", form).stdout)["data"]] == ["KIN-1"]


def test_bytes_on_standard_input_that_are_no_text_become_marks(project: Repo) -> None:
    project.kin("add", "One")
    argv = [sys.executable, "-m", "kin", "note", "1", "-m", "-"]
    env = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    subprocess.run(argv, cwd=project.path, env=env, input=b"a\xffb\r\nc", check=True)
    notes = [note["text"] for note in document(project.kin("show", "1", "--json").stdout)["data"]["notes"]]
    assert notes == ["a\ufffdb\nc"]
