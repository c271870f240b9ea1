"""Notifications: who is told what when a run ends, and that nothing they do reaches the run."""

import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from conftest import KIN_YAML, Repo, task_text, wait_for


def settings(repo: Repo, *entries: dict[str, Any], mode: str = "auto") -> None:
    text = KIN_YAML.replace("auto", mode) + f"\nnotify: {json.dumps(entries)}\n"
    repo.write(".kin/kin.yaml", text)
    repo.commit("settings")


def add(repo: Repo, run: str = "echo hello > hello.txt", number: int = 1, **fields: str) -> None:
    pipeline = f"\n  - run: {json.dumps(run)}"
    repo.write(f".kin/tasks/KIN-{number}.yaml", task_text(f"KIN-{number}", pipeline=pipeline, **fields))


def log(repo: Repo) -> list[str]:
    """What notifiers wrote down, without times and in order of words: they end when they like."""
    path = repo.path / ".git" / "kin" / "logs" / "notify.log"
    return sorted(line.partition(" ")[2] for line in path.read_text().splitlines()) if path.exists() else []


def test_a_command_is_told_each_end_that_it_asked_for(project: Repo) -> None:
    told = project.path.parent / "told"
    settings(project, {"on": ["review", "done", "blocked"], "run": f"cat >> {told}; exit 3"}, mode="review")
    add(project)
    project.kin("run", "KIN-1", exit=3)
    wait_for(lambda: len(log(project)) == 1)
    project.kin("approve", "KIN-1")
    add(project, "echo no >&2; exit 1", number=2)
    project.kin("run", "KIN-2", exit=1)
    wait_for(lambda: len(log(project)) == 3)
    lines = sorted((json.loads(line) for line in told.read_text().splitlines()), key=lambda one: one["event"])
    assert [(one["event"], one["task"], one["status"]) for one in lines] == [
        ("blocked", "KIN-2", "blocked"),
        ("done", "KIN-1", "done"),
        ("review", "KIN-1", "review"),
    ]
    assert lines[1]["merge"] == project.tip("main") and lines[1]["project"] == "repo" and lines[1]["title"] == "A task"
    assert log(project) == ["blocked KIN-2 run: exit 3", "done KIN-1 run: exit 3", "review KIN-1 run: exit 3"]


def test_a_hook_is_posted_json_and_its_url_is_written_nowhere(project: Repo) -> None:
    got: list[Any] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        settings(project, {"on": "done", "webhook": f"http://127.0.0.1:{server.server_port}/secret-path"})
        add(project)
        project.kin("run", "KIN-1")
        wait_for(lambda: log(project) == ["done KIN-1 post: exit 0"])
    assert [(path, told["event"], told["task"]) for path, told in got] == [("/secret-path", "done", "KIN-1")]
    kept = [p.read_text() for p in (project.path / ".git" / "kin" / "logs").rglob("*") if p.is_file()]
    assert not [text for text in kept if "secret-path" in text]


def test_hanging_ones_are_ended_with_all_that_they_started_and_hold_up_nothing(project: Repo) -> None:
    mark = f"KIN_TEST_MARK={project.path.parent.name}"
    daemon = f"export {mark}; setsid sh -c 'tail -f /dev/null & tail -f /dev/null' & trap '' TERM; tail -f /dev/null"
    quick = f"export {mark}; setsid sh -c 'trap \"\" TERM; tail -f /dev/null' & exit 0"
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        hook = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        settings(
            project,
            {"on": "done", "run": daemon, "timeout": "1"},
            {"on": "done", "run": quick, "timeout": "30"},
            {"on": "done", "webhook": hook, "timeout": "1"},
        )
        add(project)
        began = time.monotonic()
        project.kin("run", "KIN-1")
        ended = time.monotonic() - began
        wait_for(lambda: len(log(project)) == 3)
    assert log(project) == ["done KIN-1 post: ended after 1 s", "done KIN-1 run: ended after 1 s", "done KIN-1 run: exit 0"]
    wait_for(lambda: not _marked(mark))
    assert ended < 20  # how little it is, bench/watch.py measures


def _marked(mark: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mark.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode())
        except OSError:
            continue
    return found


def test_a_crash_is_told_by_who_finds_it_and_only_in_a_trusted_clone(project: Repo, monkeypatch: Any) -> None:
    told = project.path.parent / "told"
    settings(project, {"on": "blocked", "run": f"cat >> {told}"})
    add(project, "kill -9 $PPID; exec tail -f /dev/null")
    project.kin("run", "KIN-1", exit=None, env={"KIN_FAULT": "step.started"})
    monkeypatch.delenv("KIN_TRUST")
    project.kin("run", "--ready", exit=None)
    assert not told.exists() and "blocked" in project.read(".kin/tasks/KIN-1.yaml")
    project.kin("run", "KIN-1", exit=None, env={"KIN_FAULT": "step.started", "KIN_TRUST": "1"})
    project.kin("run", "KIN-1", exit=None, env={"KIN_FAULT": "claimed", "KIN_TRUST": "1"})
    wait_for(lambda: log(project) == ["blocked KIN-1 run: exit 0"])
    assert json.loads(told.read_text())["blocked"] == "crash"


def test_an_entry_names_one_way_and_known_events(project: Repo) -> None:
    project.write(".kin/kin.yaml", KIN_YAML + '\nnotify:\n  - on: [don]\n    run: "true"\n  - on: done\n')
    done = project.kin("check", exit=7)
    assert "notify" in done.stdout and "one of `run` and `webhook`" in done.stdout
