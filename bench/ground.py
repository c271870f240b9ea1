"""The ground that the campaigns stand on: a folder of their own, an environment without the person's settings, this tree's kin.

Kept apart from the suite's conftest only because campaigns also run without pytest's fixtures; the rest is the suite's own.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from conftest import Repo, _environment, task_text  # noqa: E402

__all__ = ["ROOT", "Repo", "environment", "fresh", "pids_with", "scratch", "task_text"]


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
