"""Plays a CI host: clones as hosts make them, and the `run:` steps of a workflow as a shell gets them."""

import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import python
import yaml
from conftest import Repo

GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://forge.example",
    "GITHUB_REPOSITORY": "ada/app",
    "GITHUB_RUN_ID": "7",
    "GITHUB_REF": "refs/heads/main",
}
"""What GitHub tells a job about a push to main."""


class Remote(Repo):
    """A bare repository that jobs clone and push to."""

    def job(self, name: str, revision: str = "main") -> Repo:
        """A depth-1 clone with a detached HEAD, as a CI host makes it; it knows no branch but the remote's `main`."""
        path = self.path.parent / name
        self.git("clone", "-q", "--depth=1", f"file://{self.path}", str(path))
        job = Repo(path)
        job.git("checkout", "-q", "--detach")
        job.git("branch", "-q", "-D", "main")
        if revision != "main":
            job.git("fetch", "-q", "--depth=1", "origin", revision)
            job.git("checkout", "-q", "FETCH_HEAD")
        return job

    def status_of(self, task_id: str, at: str = "main") -> str:
        text = self.git("show", f"{at}:.kin/tasks/{task_id}.yaml")
        return next(line.removeprefix("status: ") for line in text.splitlines() if line.startswith("status: "))

    def kins(self) -> list[str]:
        """All refs of kin's that the remote has."""
        return self.git("for-each-ref", "--format=%(refname)", "refs/kin", "refs/heads/kin").splitlines()

    def hook(self, text: str, name: str = "pre-receive") -> None:
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


NETWORK = """
import json, os, subprocess, sys, threading
service, remote, orders = sys.argv[1:]
def order():
    try:
        with open(orders) as file: return json.load(file)
    except FileNotFoundError: return {}
begun = order()
if begun.get("down"): sys.exit("connect to host forge.example port 22: Connection timed out")
skipped = service != "git-receive-pack" or begun.get("skip", 0)
now = lambda: {} if skipped else order()
child = subprocess.Popen(["git", service.removeprefix("git-"), remote], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def back():
    while data := os.read(child.stdout.fileno(), 65536):
        if not asked or "answer" not in now(): os.write(1, data)
    over()
def over():
    found = order()
    if service == "git-receive-pack" and found.get("skip"): next = found | {"skip": found["skip"] - 1}
    elif now().keys() & {"after", "answer"}: next = {"down": found.get("then", False)}
    else: next = found
    if next != found:
        with open(f"{orders}.new", "w") as file: json.dump(next, file)
        os.replace(f"{orders}.new", orders)
    child.wait()
    os._exit(0)
left, asked = None, []
reader = threading.Thread(target=back)
reader.start()
while (data := os.read(0, 65536)) and left != 0:
    asked.append(1)
    if "after" in now():
        left = now()["after"] if left is None else left
        data, left = data[:left], left - len(data[:left])
    child.stdin.write(data)
    child.stdin.flush()
child.stdin.close()
reader.join()
"""
"""Stands between git and a bare repository. A file tells it what to do to the push after `skip` others: let only so many bytes
through (`after`), or no `answer`; with `then` the network is down from that moment on."""


class Network:
    """The way of a clone to its remote, which can be cut."""

    def __init__(self, remote: Remote, job: Repo) -> None:
        self.orders = remote.path.parent / "orders"
        program = remote.path.parent / "network.py"
        program.write_text(NETWORK)
        job.git("config", "protocol.ext.allow", "always")
        job.git("remote", "set-url", "origin", f"ext::{sys.executable} -IS {program} %S {remote.path} {self.orders}")

    def cut(self, **how: int) -> None:
        self.orders.write_text(json.dumps(how))

    def heal(self) -> None:
        self.orders.unlink(missing_ok=True)


class Hub:
    """GitHub's REST API of pull requests and comments, as far as kin and its workflows use it, on a socket of gh's.

    `asked` are the methods and paths of all calls.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, str]] = []
        self.comments: dict[int, str] = {}
        self.pull: dict[str, Any] = {}
        self.folder, self.settings = folder, folder / "gh-settings"
        self.settings.mkdir()
        (self.settings / "config.yml").write_text(f"http_unix_socket: {folder / 'hub'}\n")
        hub = self

        class Answer(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                hub.asked.append((self.command, self.path))
                code, said, link = hub.answer(self.command, self.path, json.loads(body or "{}"))
                text = json.dumps(said).encode()
                self.send_response(code)
                for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(text))), ("Link", link)):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = answer

            def address_string(self) -> str:
                return "gh"

            def log_message(self, *_: Any) -> None:
                pass

        self.server = socketserver.ThreadingUnixStreamServer(str(folder / "hub"), Answer)

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method: str, path: str, said: dict[str, Any]) -> tuple[int, Any, str]:
        place, _, query = path.partition("?")
        asked = parse_qs(query)
        if "/pulls" in place:
            if method == "GET":
                mine = self.pull and asked["head"] == [f"ada:{self.pull['head']}"] and asked["base"] == [self.pull["base"]]
                return 200, [self.pull] if mine else [], ""
            if method == "POST" and (self.pull or not {"title", "head", "base"} <= set(said)):
                return 422, {"message": "Validation Failed"}, ""
            self.pull |= said | {"html_url": "https://github.com/ada/app/pull/7"}
            (self.folder / "gh.body").write_text(self.pull["body"])
            return 201, self.pull, ""
        if method == "GET":
            page = int(asked.get("page", ["1"])[0])
            found = [{"id": key, "body": body} for key, body in self.comments.items()][page * 2 - 2 : page * 2]
            more = len(self.comments) > page * 2
            return 200, found, f'<https://api.github.com{place}?page={page + 1}>; rel="next"' if more else ""
        key = int(place.rpartition("/")[2]) if method == "PATCH" else len(self.comments) + 1
        self.comments[key] = said["body"]
        return 201, {"id": key}, ""


def obeyed(log: str) -> list[tuple[str, str]]:
    """The commands, name and value, that GitHub's runner finds in a log: `::name ...::` begins a line, `##[name ...]` stands
    anywhere in one; between `::stop-commands::WORD` and `::WORD::` it looks for none."""
    found: list[tuple[str, str]] = []
    stopped = ""
    for line in re.split("\r\n|\r|\n", log):
        match = re.match(r"\s*::(\S+)[^:]*::(.*)", line) or re.search(r"##\[([^\s\]]+)[^]]*\](.*)", line)
        name, value = match.groups() if match else ("", "")
        if stopped:
            stopped = "" if name == stopped else stopped
        elif name == "stop-commands":
            stopped = value
        elif name:
            found.append((name, value))
    assert not stopped, "the runner is left deaf"
    return found


def perform(workflow: Path, job: str, cwd: Path, values: Mapping[str, str], env: Mapping[str, str]) -> tuple[int, str]:
    """Run the `run:` steps of a GitHub job, but for those that install programs, in `cwd`; the exit code and all that was said.

    `values` are what expressions (`matrix.task`) stand for; one that is not among them is empty, as a secret that is not set.
    """
    read = yaml.safe_load(workflow.read_text())
    told: dict[str, str] = {**os.environ, **GITHUB, **read.get("env", {}), **read["jobs"][job].get("env", {}), **env}
    said = ""
    for step in read["jobs"][job]["steps"]:
        if "run" not in step or step.get("name", "").startswith("Install "):
            continue
        own = {name: _filled(text, values) for name, text in {**told, **step.get("env", {})}.items()}
        done = subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], cwd=cwd, env=own, capture_output=True, text=True)
        said += done.stdout + done.stderr
        if done.returncode:
            return done.returncode, said
    return 0, said


def _filled(text: Any, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda m: next((values[w] for w in m[1].split(" || ") if values.get(w)), ""), str(text))


def path_with_kin(folder: Path, *, fresh: bool = False) -> str:
    """A PATH on which `kin` is the one under test; `fresh`: an interpreter of its own, which looks for modules as usual."""
    folder.mkdir(exist_ok=True)
    python.stand_in(folder / "kin", "-m", "kin", fresh=fresh)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def two_jobs(workflow: Path, remote: Remote, task: str, folder: Path) -> tuple[int, str]:
    """The jobs `run` and `publish` of kin's workflow for one task, in clones of their own, and the artefact between them."""
    folder.mkdir()
    values, path = {"matrix.task": task}, path_with_kin(folder / "bin")
    temp = {"RUNNER_TEMP": str(folder), "GITHUB_ACTOR": "ada", "PATH": path}
    code, said = perform(workflow, "run", remote.job(f"{folder.name}/agent").path, values, temp)
    if not (folder / "kin").exists():
        return code or 1, said
    shutil.copytree(folder / "kin", folder / "sent" / "kin")
    published, more = perform(workflow, "publish", remote.job(f"{folder.name}/publisher").path, values, temp)
    return code or published, said + more
