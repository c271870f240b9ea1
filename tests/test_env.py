"""Environments: machines that are named, looked at, and hold no secret."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Repo, wait_for
from test_models import Company, result, said

from kin.model.environment import looks_secret

LETTERS = "q7Zt3mXw9KpB2vRn5YhJ8sLd4GfC6aTe"
SECRETS = [
    "hunter2-is-my-password=Tr0ub4dor&3x",
    "password: correct horse",
    "token=9f8e7d6c5b4a",
    "api_key = 12345",
    "secret:abc",
    "postgres://app:s3cr3t@db/prod",
    "https://ci:pa55@example.org/x.git",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----",
    f"ghp_{LETTERS}",
    f"gho_{LETTERS}",
    f"github_pat_{LETTERS}",
    f"glpat-{LETTERS[:20]}",
    f"sk-{LETTERS}",
    f"sk-ant-api03-{LETTERS}",
    f"sk_live_{LETTERS[:24]}",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "xoxb-123456789012-abcdefABCDEF",
    f"AIza{LETTERS}abc",
    f"npm_{LETTERS}abcd",
    f"pypi-{LETTERS}",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x",
    f"dop_v1_{LETTERS}",
    f"SG.{LETTERS}",
    "$2b$12$KIXQv1bq9eYbq8h3sJ0m1e",
    "$6$rounds=5000$salt$hash",
    "Bearer 0123456789abcdefgh",
    LETTERS,
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
]
WORDS = [
    "web",
    "db",
    "cache-1",
    "mail.example.org",
    "10.0.0.7",
    "fe80::1",
    "deploy",
    "www-data",
    "id_ed25519",
    "deploy_ed25519",
]
WORDS += [
    "staging",
    "The machine that answers for the shop",
    "Debian 12, nginx, PostgreSQL 16",
    "Asks nobody",
    "backup at 02:30",
]
ORDINARY = [
    *WORDS,
    *(f"web-{n:02}.eu-west-{n % 3}.compute.example.com" for n in range(60)),
    *(f"ip-10-0-{n}-7.internal" for n in range(40)),
    *(f"2001:db8::{n:x}" for n in range(30)),
    *(f"id_rsa_customer{n}" for n in range(30)),
    *(f"kubernetes-node-pool-{n}-production" for n in range(25)),
]


@pytest.mark.parametrize("value", SECRETS)
def test_what_looks_like_a_secret_is_told(value: str) -> None:
    assert looks_secret(value)


def test_no_ordinary_value_is_taken_for_a_secret() -> None:
    assert len(ORDINARY) >= 200
    assert [value for value in ORDINARY if looks_secret(value)] == []


def test_each_secret_in_the_file_is_refused_with_its_place_and_nothing_ordinary_is(project: Repo) -> None:
    def refused(values: list[str]) -> list[tuple[str, int, int]]:
        lines = (f"m{n:03}: {{host: h, x-note: {json.dumps(value)}}}\n" for n, value in enumerate(values))
        project.write(".kin/environments.yaml", "".join(lines))
        found = json.loads(project.kin("check", "--json", exit=None).stdout)["data"]["findings"]
        return [(one["file"], one["line"], one["column"]) for one in found]

    assert refused(SECRETS) == [(".kin/environments.yaml", n, 25) for n in range(1, len(SECRETS) + 1)]
    assert refused(ORDINARY) == []


def test_a_secret_in_the_file_is_refused_with_its_place_and_where_to_put_it(project: Repo) -> None:
    project.write(".kin/environments.yaml", "web:\n  host: web-1\n  user: deploy\n  password: 1234\n\ndb: db-1\n")
    said = project.kin("env", "scan", "web", exit=7).stderr
    assert ".kin/environments.yaml:4:" in said and "environment variable" in said
    assert "schema" in project.kin("check", "--json", exit=7).stdout
    assert [one["name"] for one in json.loads(project.kin("env", "--json").stdout)["data"]] == ["db"]
    assert not (project.path / ".kin/tasks").exists(), "nothing was made"


def test_a_scan_looks_and_what_it_finds_becomes_decisions(project: Repo) -> None:
    project.write(".kin/environments.yaml", "web: {host: web-1, user: deploy, port: 2222}  # the shop\n")
    finding = {"kind": "gotcha", "title": "The clock is an hour late", "text": "timedatectl says so"}
    result = json.dumps({"status": "done", "summary": "looked", "decisions": [finding]})
    told = "grep -q 'ssh -o BatchMode=yes -p 2222 -l deploy -- web-1' || exit 1; touch stray"
    project.kin("env", "scan", "web", "--run", f"{told}; echo '{result}' > $KIN_RESULT")
    decision = project.read(".kin/decisions/D-1.yaml")
    assert "kind: gotcha" in decision and "- env:web" in decision and "role: sysadmin" in decision
    assert "status: done" in project.read(".kin/tasks/KIN-1.yaml")
    assert not (project.path / "stray").exists(), "it may only look"
    project.kin("env", "scan", "mail", exit=8)


def test_a_model_plays_the_sysadmin(project: Repo, tmp_path: Path) -> None:
    company = Company(project, tmp_path / "agents")
    company.settings()
    finding = {"kind": "gotcha", "title": "The disk is nearly full", "text": "df says 97 %"}
    company.answers("claude", company.says("found", said(result(summary="looked", decisions=[finding]))))
    project.write(".kin/environments.yaml", "web: {host: web-1, user: deploy}\n")
    project.kin("env", "scan", "web")
    assert "ssh -o BatchMode=yes -l deploy -- web-1" in company.prompts()[0] and "--read-only" in company.argv(1)
    assert "- env:web" in project.read(".kin/decisions/D-1.yaml")


def test_the_watcher_offers_to_look_when_an_entry_changes(project: Repo) -> None:
    def offers() -> list[str]:
        said = json.loads(project.kin("watch", "--once", "--yes", "--json").stdout)["data"]
        return [one["text"].partition(" looked")[0] for one in said if one["kind"] == "offer"]

    project.write(".kin/environments.yaml", "web: web-1\ndb: db-1\n")
    assert offers() == ["nobody had web", "nobody had db"]
    project.kin("env", "scan", "web", "--run", "true")
    assert offers() == ["nobody had db"]
    project.write(".kin/environments.yaml", "web: {host: web-1, user: me}  # was: nobody\n")
    assert offers() == ["nobody had web"]


SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@pytest.mark.skipif(not SSHD or os.geteuid() != 0, reason="needs sshd, and root to run it")
def test_a_scan_logs_in_over_a_real_sshd(project: Repo, tmp_path: Path) -> None:
    home = Path(os.environ["HOME"]) / ".ssh"
    home.mkdir(mode=0o700)
    for key in (home / "look", tmp_path / "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    keys = shutil.copy(home / "look.pub", tmp_path / "allowed")
    port = 20000 + os.getpid() % 20000
    lines = [f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {tmp_path}/host", f"AuthorizedKeysFile {keys}"]
    lines += ["StrictModes no", "UsePAM no", f"PidFile {tmp_path}/sshd.pid", "PermitRootLogin prohibit-password"]
    (tmp_path / "sshd_config").write_text("\n".join(lines) + "\n")
    os.makedirs("/run/sshd", exist_ok=True)
    daemon = subprocess.Popen([str(SSHD), "-D", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        wait_for((tmp_path / "sshd.pid").exists)
        strange = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"  # a test may not write the person's known hosts
        found = """command=$(grep -o 'ssh -o BatchMode[^`]*' | head -1)
            system=$(eval "ssh %s ${command#ssh } uname -s") || exit 1
            echo '{"decisions": [{"title": "It runs '$system'", "text": "uname says so"}]}' > $KIN_RESULT"""
        project.write(".kin/environments.yaml", f"box: {{host: 127.0.0.1, user: root, port: {port}, identity: look}}\n")
        project.kin("env", "scan", "box", "--run", found % strange)
        assert "It runs Linux" in project.read(".kin/decisions/D-1.yaml")
    finally:
        daemon.terminate()
        daemon.wait()
