"""What the tests of moving, recovery and undo share: a repository with a task whose merge is built, and a look at all of it."""

import json
import os
import subprocess
from pathlib import Path

import python

from kin.runner.merge.build import Built, Work, build_merge
from kin.store.project import Project, find
from tests.conftest import Repo, task_text

RUN = "20261124T093200Z-7f3k"
MAIN = "refs/heads/main"
TASK = ".kin/tasks/KIN-1.yaml"
RECORD = f".kin/pipelines/KIN-1/{RUN}.yaml"
DECISION = ".kin/decisions/D-1.yaml"


def project_of(repo: Repo) -> Project:
    """The project as kin finds it."""
    return find(str(repo.path), os.environ)


def prepare(repo: Repo) -> None:
    """Code, an ignored name, a committed task; then `work` on its branch that changes, adds and deletes; back on main."""
    files = {"changed": "old\n", "deleted": "old\n", "kept": "old\n", "other": "old\n", ".gitignore": "*.log\n"}
    repo.commit("code", **files, **{TASK.replace("/", "__"): task_text("KIN-1", priority="2")})
    repo.git("switch", "-q", "-c", "kin/KIN-1")
    repo.git("rm", "-q", "deleted")
    repo.commit("work", changed="new\n", src__added="new\n", top="new\n")
    repo.git("switch", "-q", "main")


def build(repo: Repo, target: str = MAIN, **extra: str) -> Built:
    """The merge of `kin/KIN-1`, with a record and a decision."""
    path = repo.path / TASK
    files = {RECORD.removeprefix(".kin/"): b"run: 1\n", DECISION.removeprefix(".kin/"): b"id: D-1\n"}
    files |= {name.replace("__", "/"): text.encode() for name, text in extra.items()}
    work = Work(target, "KIN-1", RUN, path.read_bytes() if path.exists() else None, files)
    made = build_merge(project_of(repo), work, repo.tip("kin/KIN-1"), "A task")
    assert isinstance(made, Built)
    return made


def snapshot(repo: Repo, cwd: Path | None = None) -> dict[str, object]:
    """All that a person could see or lose: refs, HEAD, index, status, every file in the checkout, every lock in `.git`."""
    root = cwd or repo.path
    git = lambda *a: subprocess.run(["git", *a], cwd=root, capture_output=True, check=False).stdout  # noqa: E731
    files = {}
    for folder, names, found in os.walk(root):
        names[:] = [n for n in names if n != ".git"]
        for name in found:
            full = os.path.join(folder, name)
            files[os.path.relpath(full, root)] = os.readlink(full) if os.path.islink(full) else Path(full).read_bytes()
    return {
        "refs": git("for-each-ref", "refs/heads"),
        "head": git("symbolic-ref", "HEAD") + git("rev-parse", "HEAD"),
        "index": git("ls-files", "-s", "-v"),
        "status": git("status", "--porcelain", "-z"),
        "files": files,
        "litter": litter(repo),
    }


def litter(repo: Repo) -> list[str]:
    """Locks, private indexes and temporary files of kin or git anywhere in the repository, and journal entries."""
    found = []
    for folder, _, names in os.walk(repo.path):
        for name in names:
            full = os.path.relpath(os.path.join(folder, name), repo.path)
            if "kin/journal/." in full:
                continue  # goes with the next write of the entry, and nobody reads it
            if name.endswith((".lock", ".tmp")) or name.startswith("kin-") or "/kin/journal/" in f"/{full}":
                found.append(full)
    return found


def run_killed(
    repo: Repo, what: str, made: Built | None = None, fault: str = "", *, everything: bool = False, **environ: str
) -> int:
    """Move, recover or undo in a process of its own that dies at `fault`, its living git children with it if `everything`.

    Its return code: negative if it was killed.
    """
    words = [str(Path(__file__).with_name("mover.py")), what, json.dumps(made), "everything" if everything else ""]
    env = dict(os.environ) | environ | ({"KIN_FAULT": fault} if fault else {})
    return python.run(words, cwd=repo.path, env=env, start_new_session=True).returncode
