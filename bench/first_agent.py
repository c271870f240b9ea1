"""From `kin run` to the first agent at work, in a repository of 20,000 files, as a multiple of `git worktree add`.

    python bench/first_agent.py [--files 20000] [--pairs 7] [--folder DIR]

Each pair makes a worktree by git alone and runs a task whose first step says when it began, in turn, so that a busy
machine slows both alike. The bound is 1.25. Exit 1 if the median of the pairs is beyond it.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ground import Repo, environment, fresh, scratch, task_text

BOUND = 1.25


def make(folder: Path, files: int) -> Repo:
    """A repository of so many files of some 2 KB in folders of a hundred."""
    repo = fresh(folder / "repo")
    for n in range(files):
        repo.write(f"src/part{n // 100}/file{n}.py", f"number = {n}\n" * 150)
    repo.write(".kin/kin.yaml", "format: 1\n\nkey: KIN\n\nmode: auto\n")
    repo.write(".gitattributes", "")
    repo.commit("files")
    return repo


def worktree(repo: Repo, path: Path) -> float:
    """Seconds of `git worktree add`."""
    began = time.perf_counter()
    repo.git("worktree", "add", "-q", "--detach", str(path))
    seconds = time.perf_counter() - began
    repo.git("worktree", "remove", "--force", str(path))
    return seconds


def first_agent(repo: Repo, number: int, sign: Path) -> float:
    """Seconds from the start of `kin run` until its first step has begun."""
    task = f"KIN-{number}"
    step = f"\n  - role: developer\n    run: touch {sign}"
    repo.write(f".kin/tasks/{task}.yaml", task_text(task, pipeline=step))
    repo.commit("a task")
    began = time.time()
    subprocess.run([sys.executable, "-m", "kin", "run", task, "--quiet"], cwd=repo.path, check=True)
    seconds = sign.stat().st_mtime - began
    sign.unlink()
    return seconds


def main() -> int:
    """Measure in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--folder", default=None)
    words = parser.parse_args()
    with scratch(words.folder) as folder:
        environment(folder / "home")
        repo, pairs = make(folder, words.files), []
        for n in range(words.pairs + 1):
            pairs.append((worktree(repo, folder / "plain"), first_agent(repo, n + 1, folder / "sign")))
    bare, ours = (statistics.median(column) for column in zip(*pairs[1:], strict=True))  # the first one warms up
    ratio = statistics.median(kin / git for git, kin in pairs[1:])
    print(f"git worktree add    {bare:6.3f} s\nto the first agent  {ours:6.3f} s\nratio  {ratio:.2f} (bound: {BOUND})")
    return 0 if ratio <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
