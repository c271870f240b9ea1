"""Editors: the real yaml-language-server, over LSP, completes and checks the files that kin writes.

It comes from npm, once, into the person's own cache folder. Without node and npm these tests are skipped, and say so.
"""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clients
import pytest
from conftest import Repo

from kin.model.status import TaskStatus
from kin.store import decisions
from kin.store.project import find

VERSION = "1.19.2"
PROGRAM = "node_modules/yaml-language-server/bin/yaml-language-server"
PATIENCE = 20.0


def language_server() -> Path:
    """The language server's program. Skips the test if it cannot be had here."""
    try:
        return clients.installed("yaml-language-server", VERSION, "--ignore-scripts") / PROGRAM
    except clients.Missing as error:
        pytest.skip(f"editors were not tried: {error}")


class Server:
    """A language server and the few words to use it."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(["node", program, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.came: queue.Queue[dict[str, Any]] = queue.Queue()
        self.number = 0
        threading.Thread(target=self._listen, daemon=True).start()
        snippets = {"textDocument": {"completion": {"completionItem": {"snippetSupport": True}}, "publishDiagnostics": {}}}
        self.ask("initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": snippets})
        self.tell("initialized", {})
        settings = {"yaml": {"validate": True, "completion": True, "schemaStore": {"enable": False}}}
        self.tell("workspace/didChangeConfiguration", {"settings": settings})

    def _listen(self) -> None:
        assert self.process.stdout
        while line := self.process.stdout.readline():
            length = int(line.partition(b":")[2])
            while self.process.stdout.readline().strip():
                pass
            self.came.put(json.loads(self.process.stdout.read(length)))

    def _send(self, **message: Any) -> None:
        assert self.process.stdin
        raw = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(raw), raw))
        self.process.stdin.flush()

    def tell(self, method: str, params: Any) -> None:
        self._send(method=method, params=params)

    def _next(self) -> dict[str, Any]:
        message = self.came.get(timeout=PATIENCE)
        if "method" in message and "id" in message:
            self._send(id=message["id"], result=None)
        return message

    def ask(self, method: str, params: Any) -> Any:
        self.number += 1
        self._send(id=self.number, method=method, params=params)
        while (message := self._next()).get("id") != self.number or "method" in message:
            pass
        return message["result"]

    def open(self, path: Path, text: str) -> list[dict[str, Any]]:
        """Open this text as a new file beside `path`; what the server marks in it."""
        self.number += 1
        self.uri = path.with_name(f"{self.number}-{path.name}").as_uri()
        about = {"uri": self.uri, "languageId": "yaml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": about})
        while True:
            message = self._next()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == self.uri:
                found: list[dict[str, Any]] = message["params"]["diagnostics"]
                return found

    def complete(self, path: Path, text: str) -> list[str]:
        """What the server offers at the mark `^` in the text."""
        before, _, after = text.partition("^")
        self.open(path, before + after)
        place = {"line": before.count("\n"), "character": len(before) - before.rfind("\n") - 1}
        found = self.ask("textDocument/completion", {"textDocument": {"uri": self.uri}, "position": place})
        return [item["label"] for item in found["items"]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server(language_server())
    yield started
    started.ask("shutdown", None)
    started.tell("exit", None)
    assert started.process.wait(timeout=PATIENCE) == 0


@pytest.fixture
def task(repo: Repo) -> Path:
    """The file of a task that `kin add` wrote."""
    repo.kin("init", "--key", "KIN")
    repo.kin("add", "Log in", "-l", "auth", "-p", "2", "-d", "Two\nlines", "--run", "true")
    return repo.path / ".kin/tasks/KIN-1.yaml"


def test_statuses_are_completed(server: Server, task: Path) -> None:
    text = task.read_text()
    assert server.complete(task, text.replace("status: todo", "status: ^")) == list(TaskStatus)


def test_keys_are_completed_in_their_canonical_spelling(server: Server, task: Path) -> None:
    offered = server.complete(task, f"{task.read_text()}\n^")
    assert {"depends_on", "acceptance", "touches"} <= set(offered)
    assert not {"deps", "tags", "id", "labels"} & set(offered), "aliases, or keys that are there"


def test_a_wrong_status_is_marked_where_it_stands(server: Server, task: Path) -> None:
    text = task.read_text().replace("status: todo", "status: reddy")
    (found,) = server.open(task, text)
    line = text[: text.index("reddy")].count("\n")
    assert found["range"]["start"] == {"line": line, "character": len("status: ")}
    assert all(f'"{status}"' in found["message"] for status in TaskStatus)


def test_nothing_is_marked_in_what_kin_writes(server: Server, task: Path, repo: Repo) -> None:
    repo.kin("note", "1", "-m", "404")
    decisions.add(find(str(repo.path), {}), {"title": "1.10", "text": "yes"}, today="2026-11-24")
    written = list((repo.path / ".kin").rglob("*.yaml"))
    assert len(written) == 4
    assert [(path.name, server.open(path, path.read_text())) for path in written] == [(path.name, []) for path in written]


def test_settings_are_completed_and_checked(server: Server, task: Path, repo: Repo) -> None:
    path = repo.path / ".kin/kin.yaml"
    text = path.read_text()
    assert server.complete(path, text.replace("mode: review", "mode: ^"))[:2] == ["review", "auto"]
    (found,) = server.open(path, f"{text}limits:\n  stepp: 5m\n")
    assert "stepp" in found["message"]
