"""The ground that the campaigns stand on: a folder of their own, an environment without the person's settings, this tree's kin.

Kept apart from the suite's conftest only because campaigns also run without pytest's fixtures; the rest is the suite's own.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from conftest import Repo, _environment, task_text  # noqa: E402

from kin.store import locks  # noqa: E402

__all__ = ["ROOT", "Repo", "environment", "fresh", "gated", "left", "pids_with", "runner", "scratch", "task_text"]


@contextmanager
def scratch(where: str | None = None) -> Iterator[Path]:
    """A folder for one campaign, in memory where the system offers it, removed at the end."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="kin-bench-", dir=where or memory, ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


def environment(home: Path, **more: str) -> None:
    """Make this process's environment the one of a person who has only git and this tree's kin, trusted and with leave."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {"PIP_FIND_LINKS", "PIP_CERT", "PIP_DEFAULT_TIMEOUT"}
    env = _environment(home) | {"PYTHONPATH": str(ROOT), "KIN_TRUST": "1", "KIN_ALLOW_WRITE": "1"} | more
    for name in set(os.environ) - set(env) - kept:
        del os.environ[name]
    os.environ.update(env)


def fresh(path: Path) -> Repo:
    """A new repository without hooks, on `main`."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    repo = Repo(path)
    repo.git("init", "-q", "--template=", "-b", "main")
    return repo


def pids_with(mark: str) -> list[int]:
    """Processes that have `mark` in their environment, this one left out."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if pid != os.getpid() and mark.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def runner(repo: Repo, slots: int, dice: random.Random) -> int | None:
    """Who works in a slot that is drawn by lot, so that the last tasks are not hit more often than the first."""
    path = locks.lock_path(str(repo.path / ".git/kin"), f"slot-{dice.randint(1, slots)}")
    who = locks.holder(path) if locks.is_held(path) else None
    return who.pid if who and locks.is_alive(who) else None


def gated(repo: Repo, gate: str) -> tuple[int, list[str]]:
    """How many first-parent commits there are, and those on which the gate fails."""
    commits = repo.git("rev-list", "--first-parent", "HEAD").split()
    tree, red = repo.path.parent / "scratch", []
    repo.git("worktree", "add", "-q", "--detach", str(tree), "HEAD")
    for commit in commits:
        repo.git("checkout", "-q", "--detach", commit, cwd=tree)
        red += [commit] if subprocess.run(["/bin/sh", "-c", gate], cwd=tree).returncode else []
    repo.git("worktree", "remove", "--force", str(tree))
    return len(commits), red


def left(repo: Repo, wrote: list[str]) -> dict[str, list[object]]:
    """What a campaign may not leave, by kind: of the files that steps `wrote`, those that no commit holds, and kin's litter.

    A worktree of branch `side` is a person's.
    """
    kept = set(repo.git("log", "--all", "-m", "--format=", "--name-only", "--diff-filter=A").split())
    worktrees = repo.path.parent / "home/state/kin/worktrees"
    return {
        "worktrees": [*(w for w in repo.git("worktree", "list").splitlines()[1:] if "[side]" not in w), *worktrees.glob("*/*")],
        "refs": [*repo.git("for-each-ref", "--format=%(refname)", "refs/kin/merge", "refs/heads/kin").split()],
        "records": [*(repo.path / ".git/kin/run").rglob("*.yaml"), *(repo.path / ".git/kin/journal").glob("*")],
        "processes": [*pids_with(f"KIN_DIR={repo.path.parent}/")],
        "lock files": [*(repo.path / ".git").rglob("*.lock")],
        "work lost": [name for name in wrote if name not in kept],
        "fsck": [*repo.git("fsck", "--connectivity-only", "--no-dangling", ok=(0, 1, 2, 4, 8)).splitlines()],
    }
