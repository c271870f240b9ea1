"""Killing kin at a chosen point and looking at what is left: shared by the suite's sample and the campaign in bench/."""

import json
import os
import shutil
from pathlib import Path

import python
from conftest import Repo, task_text

STEPS = """
  - role: architect
    run: "echo one > one.txt; echo one >> {log}"
  - role: developer
    run: "echo two > two.txt; echo two >> {log}"\
"""


def make(repo: Repo, mode: str) -> None:
    """A project with one task of two steps that count their passages, and a gate that counts too."""
    log = repo.path.parent / f"{repo.path.name}.log"
    gate = json.dumps(f"test -e one.txt && echo gate >> {log}")
    repo.write(".kin/kin.yaml", f"format: 1\n\nkey: KIN\n\nmode: {mode}\n\ngates:\n  - {gate}\n")
    repo.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=STEPS.format(log=log)))
    repo.commit("a task")


def copy(repo: Repo, name: str) -> Repo:
    """A copy of a project under another name, its log named after it."""
    path = repo.path.parent / name
    shutil.copytree(repo.path, path, symlinks=True)
    new = Repo(path)
    old_log, log = f"{repo.path}.log", f"{path}.log"
    for file in (".kin/tasks/KIN-1.yaml", ".kin/kin.yaml"):
        new.write(file, new.read(file).replace(old_log, log))
    new.git("add", "-A")
    new.git("commit", "-q", "--amend", "--no-edit")
    return new


def passages(repo: Repo) -> list[str]:
    log = Path(f"{repo.path}.log")
    return log.read_text().split() if log.exists() else []


def points(repo: Repo, *command: str, exit: int) -> int:
    """How many kill points `kin <command>` passes in its own process."""
    log = repo.path.parent / f"{repo.path.name}.points"
    repo.kin(*command, env={"KIN_FAULT_LOG": str(log)}, exit=exit)
    return len(log.read_text().splitlines())


def is_over(repo: Repo) -> list[str]:
    """What is wrong after a task was taken to its end: an empty list if nothing is."""
    wrong = []
    merges = repo.git("log", "--first-parent", "--format=%H", "--grep=^Kin-Task: KIN-1$", "main").splitlines()
    if len(merges) != 1:
        wrong.append(f"{len(merges)} merges")
    if repo.status():
        wrong.append(f"status: {repo.status()}")
    for name in ("one", "two"):
        if not (repo.path / f"{name}.txt").exists():
            wrong.append(f"{name}.txt is missing")
    if "status: done" not in repo.read(".kin/tasks/KIN-1.yaml"):
        wrong.append("not done")
    if len(repo.git("worktree", "list").splitlines()) != 1:
        wrong.append("a worktree is left")
    if left := repo.git("for-each-ref", "refs/kin/merge", "refs/heads/kin"):
        wrong.append(f"refs are left: {left}")
    common = repo.path / ".git"
    wrong += [f"left: {p.relative_to(common)}" for p in common.rglob("*.lock")]
    kin = common / "kin"
    wrong += [
        f"left: {p.relative_to(common)}" for folder in ("run", "journal") for p in (kin / folder).rglob("*") if p.is_file()
    ]
    wrong += [f"left: {p.name}" for p in common.glob("kin-*")]
    wrong += [f"temporary: {p}" for p in repo.path.rglob(".*.tmp")]
    return wrong + processes(repo)


def processes(repo: Repo) -> list[str]:
    """Processes of steps that still live: the store's path is in their environment."""
    mark = f"KIN_DIR={repo.path}/.kin\0".encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mark in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(f"process {pid} lives: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}")
        except OSError:
            continue
    return found


def killed(repo: Repo, *command: str, point: str, group: bool = False) -> int:
    """Run kin with a kill point in a session of its own; the exit code (-9: it was killed)."""
    env = dict(os.environ) | {"KIN_FAULT": point} | ({"KIN_FAULT_GROUP": "1"} if group else {})
    done = python.run(["-m", "kin", *command], cwd=repo.path, env=env, start_new_session=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode
