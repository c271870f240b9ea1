"""Kills kin at random moments while it makes, commits, salvages, resets and removes a worktree; alone, or with its git.

After each kill one round of the ordinary calls must find or make the worktree, save what is in it, put it back and remove it:
no file missing, no lock, no registration and no folder left, `git status` of the checkout clean, `git fsck` content.

    python bench/kill_worktree.py --seed 1 --rounds 100
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from kin import git
from kin.model.settings import Settings
from kin.runner.tree import commit, salvage, worktree
from kin.store.project import Project, find_repository

FILES = 1500
BRANCH = "refs/heads/kin/KIN-1"
SETTINGS = Settings(key="KIN")

VICTIM = """
import os, sys
from kin.model.settings import Settings
from kin.runner.tree import commit, salvage, worktree
from kin.store.project import find_repository
project, tip, mode = find_repository(sys.argv[1], os.environ), sys.argv[2], sys.argv[3]
print("go", flush=True)
made = worktree.ensure(project, Settings(key="KIN"), "KIN-1", "r", tip, os.environ)
worktree.mark_ready(made.gitdir)
for number in range(400):
    for name in (f"d{number % 50}/f{number}", f"d{number % 50}/new{number}"):
        with open(os.path.join(made.path, name), "w") as file:
            file.write("work")
if mode == "commit":
    commit.commit_step(made.path, "refs/heads/kin/KIN-1", tip, "step", {"Kin-Step": "1"}, target=tip)
else:
    salvage.salvage(made.path, "KIN-1", "r", "1", head=tip)
    worktree.reset_to(project, made.path, tip)
worktree.remove(project, made.path, "refs/heads/kin/KIN-1", tip)
worktree.discard(project, made.path)
"""


def main() -> None:
    """Run the rounds and print what they came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100)
    asked = parser.parse_args()
    chance, counts = random.Random(asked.seed), Counter[str]()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as base:
        os.environ |= {"XDG_STATE_HOME": f"{base}/state", "GIT_CONFIG_GLOBAL": "/dev/null"}
        project = make_repository(Path(base, "repo"))
        tip = git.tip(project.root, "main") or ""
        for _ in range(asked.rounds):
            counts[kill_one(project, tip, chance)] += 1
            check(project, tip)
    print(f"seed {asked.seed}: {dict(counts)}, 0 violations")


def make_repository(path: Path) -> Project:
    """Code, and a store that worktrees hide."""
    path.mkdir()
    for number in range(FILES):
        file = path / f"d{number % 50}/f{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{number}\n" * 20)
    (path / ".kin").mkdir()
    (path / ".kin/kin.yaml").write_text("key: KIN\n")
    settings = [("user.name", "Ada"), ("user.email", "ada@example.org")]
    for words in (
        ["init", "-q", "-b", "main"],
        *(["config", *pair] for pair in settings),
        ["add", "-A"],
        ["commit", "-qm", "x"],
    ):
        git.git(str(path), *words)
    return find_repository(str(path), os.environ)


def kill_one(project: Project, tip: str, chance: random.Random) -> str:
    """One life of the victim: how it ended."""
    mode = chance.choice(["commit", "salvage"])
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, project.root, tip, mode], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert victim.stdout and victim.stderr
    victim.stdout.readline()
    threading.Event().wait(chance.random() * 0.45)
    children = below(victim.pid)
    victim.kill()
    with_git = chance.random() < 0.6
    for child in children if with_git else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    said = victim.stderr.read().decode()
    if victim.wait() not in (0, -signal.SIGKILL):
        raise SystemExit(f"the victim failed by itself:\n{said}")
    while any(os.path.exists(f"/proc/{child}") for child in children):  # kin's claim waits for them by its inherited lock
        threading.Event().wait(0.002)
    return "ended before" if victim.returncode == 0 else "killed with its git" if with_git and children else "killed alone"


def below(pid: int) -> list[int]:
    """All descendants of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()):
                found += [child, *below(child)]
    return found


def check(project: Project, tip: str) -> None:
    """The ordinary calls mend everything; nothing is missing, nothing is left."""
    made = worktree.ensure(project, SETTINGS, "KIN-1", "r", tip, os.environ)
    saved = salvage.salvage(made.path, "KIN-1", "r", "again", head=tip)
    assert saved.complete, saved
    worktree.reset_to(project, made.path, tip)
    state = commit.look(made.path)
    assert (state.clean, state.head, state.branch, state.store) == (True, tip, BRANCH, False), state
    assert sum(len(names) for folder, _, names in os.walk(made.path) if ".git" not in folder) == FILES + 1
    assert len(git.worktrees(project.root)) == 2
    worktree.discard(project, made.path)
    git.delete_ref(project.root, BRANCH, tip)
    assert not os.path.isdir(f"{project.git_common}/worktrees") and os.listdir(os.path.dirname(made.path)) == []
    assert git.is_clean(project.root)
    git.git(project.root, "fsck", "--connectivity-only")


if __name__ == "__main__":
    main()
