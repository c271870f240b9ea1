"""The pre-commit hook: opt-in, beside other hooks, on what is staged; and the same through the real pre-commit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Repo, task_text
from hosts import path_with_kin

ROOT = Path(__file__).parent.parent


@pytest.fixture
def hooked(project: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A project with a person's own pre-commit hook, and kin on PATH."""
    monkeypatch.setenv("PATH", path_with_kin(tmp_path / "bin"))
    project.write(".git/hooks/pre-commit", "#!/bin/sh\necho own >> ../own.log\ntest ! -e forbidden\n").chmod(0o755)
    return project


def commit(project: Repo, *words: str) -> int:
    done = subprocess.run(["git", "commit", "-q", "-m", "x", *words], cwd=project.path, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    sys.stdout.write(done.stdout + done.stderr)
    return done.returncode


def test_the_hook_checks_what_is_staged_and_keeps_the_hook_that_was_there(hooked: Repo) -> None:
    own = hooked.read(".git/hooks/pre-commit")
    hooked.kin("hooks", "install")
    assert "already" in hooked.kin("hooks", "install").stdout
    hooked.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="reddy"))
    hooked.git("add", ".kin")
    hooked.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1"))
    assert commit(hooked) == 1, "what is staged is wrong, whatever the file says now"
    hooked.git("add", ".kin")
    hooked.write(".kin/tasks/KIN-1.yaml", "status: [")
    hooked.write(".kin/tasks/KIN-2.yaml", "id: [")
    assert commit(hooked) == 0, "what is not staged holds nobody up"
    assert commit(hooked, "--", ".kin/tasks/KIN-1.yaml") == 1, "a commit of some files has an index of its own"
    hooked.git("checkout", "-q", "--", ".kin/tasks/KIN-1.yaml")
    hooked.write("forbidden", "")
    hooked.git("add", "forbidden")
    assert commit(hooked) == 1, "the hook that was there still says no"
    hooked.kin("hooks", "remove")
    assert hooked.read(".git/hooks/pre-commit") == own and not list((hooked.path / ".git/hooks").glob("*kin*"))


def test_hooks_that_belong_to_the_project_are_not_touched(hooked: Repo) -> None:
    hooked.git("config", "core.hooksPath", ".husky")
    hooked.write(".husky/pre-commit", "#!/bin/sh\n")
    assert "kin check --staged" in hooked.kin("hooks", "install", exit=2).stderr
    assert hooked.read(".husky/pre-commit") == "#!/bin/sh\n"


def test_the_real_pre_commit_runs_kin_check_and_lives_beside_kins_hook(hooked: Repo, tmp_path: Path) -> None:
    pytest.importorskip("pre_commit", reason="pre-commit is not installed: .pre-commit-hooks.yaml was not tried with it")
    (tmp_path / "hooks").mkdir()
    source = Repo(tmp_path / "hooks")
    source.git("init", "-q")
    revision = source.commit(**{".pre-commit-hooks.yaml": (ROOT / ".pre-commit-hooks.yaml").read_text()})
    # `language: system` so that the kin under test is run, not one from a registry
    hook = "{id: kin-check, language: system}"
    config = f"repos:\n  - repo: {source.path}\n    rev: {revision}\n    hooks:\n      - {hook}\n"
    hooked.commit("config", **{".pre-commit-config.yaml": config})
    hooked.kin("hooks", "install")
    program = [sys.executable, "-m", "pre_commit"]
    subprocess.run([*program, "install"], cwd=hooked.path, check=True, capture_output=True, env=dict(os.environ))
    hooked.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="reddy"))
    hooked.git("add", ".kin")
    done = subprocess.run([*program, "run"], cwd=hooked.path, capture_output=True, text=True)
    assert done.returncode == 1 and "'reddy'" in done.stdout + done.stderr
    assert commit(hooked) == 1
    hooked.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1"))
    hooked.git("add", ".kin")
    assert commit(hooked) == 0
    hooked.kin("hooks", "remove")
    assert "pre-commit.com" in hooked.read(".git/hooks/pre-commit")
    hooked.kin("hooks", "install")
    hooked.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="reddy"))
    hooked.git("add", ".kin")
    (hooked.path.parent / "own.log").unlink()
    assert commit(hooked) == 1, "over pre-commit's hook, too"
    hooked.git("reset", "-q", "--hard")
    assert commit(hooked, "--allow-empty") == 0 and hooked.read("../own.log") == "own\nown\n", "each hook is run, and once"
    hooked.kin("hooks", "remove")
    assert "pre-commit.com" in hooked.read(".git/hooks/pre-commit")
