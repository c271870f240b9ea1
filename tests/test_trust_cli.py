"""`kin trust`: what a clone could start is shown, and agreed to only by a person's yes."""

import json
import os
import pty
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, wait_for
from test_watch import Watching

GATES = "key: KIN\n\ngates:\n  - make check\n"


@pytest.fixture
def clone(repo: Repo, tmp_path: Path) -> Repo:
    """A clone that nobody trusts, of a project with a gate and a role of its own."""
    repo.write(".kin/kin.yaml", GATES)
    repo.write(".kin/roles/tester.md", "---\nname: tester\n---\nTest it.\n")
    repo.commit("kin")
    repo.git("clone", "-q", ".", str(tmp_path / "clone"))
    return Repo(tmp_path / "clone")


def trust(repo: Repo, *words: str, exit: int = 0) -> Any:
    document = json.loads(repo.kin("trust", *words, "--json", exit=exit).stdout)
    assert document["kind"] == "trust"
    return document["data"]


def test_where_nobody_can_be_asked_it_shows_and_remembers_nothing(clone: Repo) -> None:
    said = clone.kin("trust", exit=3).stdout
    assert "make check" in said and ".kin/roles/tester.md" in said and "`kin trust --yes`" in said
    data = trust(clone, exit=3)
    assert not data["trusted"] and data["new"] == ["gates", "role tester", "tasks' own commands"]


def test_yes_agrees_to_what_was_shown_and_forget_takes_it_back(clone: Repo) -> None:
    assert trust(clone, "--yes") == {"trusted": True, "leave": False, "new": [], "texts": ["gates", "role tester"]}
    assert trust(clone)["trusted"]
    assert not trust(clone, "--forget")["trusted"]
    trust(clone, exit=3)


def test_only_what_changed_since_is_new(clone: Repo) -> None:
    trust(clone, "--yes")
    clone.commit("theirs", **{".kin/kin.yaml": GATES.replace("check", "evil")})
    assert trust(clone, exit=3)["new"] == ["gates"]
    said = clone.kin("trust", exit=3).stdout
    assert "gates:  (not agreed to)" in said and "tester.md\n" in said
    trust(clone, "--yes")
    assert "not agreed" not in clone.kin("trust").stdout


def test_the_settings_on_the_target_are_shown_too_when_another_branch_is_checked_out(clone: Repo) -> None:
    clone.git("checkout", "-q", "-b", "side")
    clone.commit("side", **{".kin/kin.yaml": "key: KIN\nbase: main\ngates: [make side]\n"})
    said = clone.kin("trust", "--yes").stdout
    assert "gates on main:" in said and "make check" in said and "make side" in said
    clone.git("checkout", "-q", "main")
    assert trust(clone)["new"] == []


@pytest.mark.parametrize(("answer", "exit"), [("y", 0), ("n", 3), ("", 3)])
def test_at_a_terminal_it_asks(clone: Repo, answer: str, exit: int) -> None:
    parent, child = pty.openpty()
    kin = clone.start("trust", stdin=child, stdout=child, stderr=child)
    os.close(child)
    said = b""

    def asked() -> bool:
        nonlocal said
        said += os.read(parent, 4096)
        return b"[y/N]" in said

    wait_for(asked)
    os.write(parent, f"{answer}\n".encode())
    assert kin.wait(20) == exit
    os.close(parent)
    assert b"make check" in said
    assert trust(clone, exit=exit)["trusted"] is (exit == 0)


HOOKS = ("post-checkout", "post-index-change", "pre-commit", "post-commit", "post-merge", "reference-transaction", "update")


def plant(clone: Repo, log: Path) -> None:
    """A command in every place of a clone that can name one; each leaves a line in `log`.

    A filter is only named: it takes the person's own settings to make it a program, as git-lfs does, and git runs it then.
    """
    mine = lambda name: f"echo {name} >> {log}; cat"  # noqa: E731
    settings = {
        "key": "KIN",
        "mode": "auto",
        "setup": mine("setup"),
        "gates": [mine("gate")],
        "agent": "evil",
        "agents": {
            name: {"argv": ["sh", "-c", mine("agent")], "version": ["sh", "-c", mine("v")]} for name in ("evil", "codex")
        },
        "notify": [{"run": mine("notify")}],
        "pipelines": {"default": [{"run": mine("step")}], "quick": ["developer"]},
        "schedules": [{"name": "often", "cron": "* * * * *", "missed": "latest", "task": {"labels": ["auto"]}}],
        "watch": {"pulled": True, "agent_made": True, "allow_write": True},
    }
    lines = "\n".join(f"\n{key}: {json.dumps(value)}" for key, value in settings.items())
    task = {"id": "KIN-1", "title": "A task", "status": "todo", "labels": ["auto"], "pipeline": [{"run": mine("task")}]}
    clone.write(".kin/kin.yaml", lines + "\n")
    clone.write(".kin/roles/developer.md", "---\nname: developer\nagent: evil\n---\nObey.\n")
    clone.write(".kin/tasks/KIN-1.yaml", "\n".join(f"{key}: {json.dumps(value)}" for key, value in task.items()) + "\n")
    clone.write(".gitattributes", "* diff=evil filter=evil merge=evil\n")
    clone.write(".env", f"GIT_EXTERNAL_DIFF={mine('env')}\n")
    clone.commit("hostile")
    for name in HOOKS:
        clone.write(f".git/hooks/{name}", f"#!/bin/sh\n{mine(name)}\n").chmod(0o755)
    clone.write("fsmonitor", f"#!/bin/sh\n{mine('fsmonitor')}\n").chmod(0o755)
    keys = ("alias.status", "diff.external", "diff.evil.command", "diff.evil.textconv", "merge.evil.driver", "core.pager")
    for key in (*keys, "credential.helper", "core.sshCommand", "core.editor"):
        clone.git("config", key, ("!" if key in ("alias.status", "credential.helper") else "") + mine(key))
    clone.git("config", "core.fsmonitor", str(clone.path / "fsmonitor"))


def test_an_untrusted_clone_starts_no_program_that_it_names(
    clone: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "started"
    plant(clone, log)
    log.unlink(missing_ok=True)  # what git itself started for the test
    monkeypatch.setenv("KIN_ALLOW_WRITE", "1")
    for words in ("list", "board", "status", "check", "doctor", "doctor --fix", "show 1", "why 1", "agents", "roles"):
        clone.kin(*words.split())
    for words in ("run 1", "run --ready", "run 1 --detach", "do Anything", "approve 1", "watch --allow-write", "trust"):
        clone.kin(*words.split(), exit=3)
    watch = Watching(clone, "--yes", "--allow-write")
    assert "trust" in watch.wait("kept")["text"] and "trust" in watch.wait("kept", "KIN-1")["text"]
    watch.end()
    assert not log.exists(), log.read_text()
