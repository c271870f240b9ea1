"""What the tests of worktrees, step commits and salvage share: a task's worktree in which a test plays the agent."""

import os
import subprocess
from pathlib import Path

from conftest import Repo

from kin.model.settings import Settings
from kin.runner.tree import commit, salvage, worktree
from kin.store.project import Project, find_repository

TASK, RUN = "KIN-12", "20261124T093200Z-7f3k"
BRANCH = f"refs/heads/kin/{TASK}"
TRAILERS = {"Kin-Step": "1-dev", "Kin-Run": RUN}


class Desk:
    """The worktree of KIN-12. `git` speaks as the agent, whose committer's mail names task and run."""

    def __init__(self, repo: Repo, **settings: str) -> None:
        self.repo = repo
        self.settings = Settings(key="KIN", **settings)
        self.project: Project = find_repository(str(repo.path), os.environ)
        self.base = repo.tip("refs/heads/main")
        self.sit()

    def sit(self) -> None:
        """Make the worktree, or find it again."""
        self.made = worktree.ensure(self.project, self.settings, TASK, RUN, self.base, os.environ)
        self.path = Path(self.made.path)
        self.tree = Repo(self.path)

    @property
    def folder(self) -> Path:
        return Path(worktree.folder(self.project, self.settings, TASK, os.environ))

    def look(self) -> commit.State:
        return commit.look(self.made.path)

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        env = dict(os.environ) | {"GIT_COMMITTER_NAME": "agent", "GIT_COMMITTER_EMAIL": f"{TASK}.{RUN}@kin"}
        done = subprocess.run(["git", *arguments], cwd=cwd or self.path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"git {arguments}: {done.stdout}{done.stderr}"
        return done.stdout.rstrip("\n")

    def found_out(self, before: commit.State, **more: bool) -> list[str]:
        target = self.repo.tip("refs/heads/main")
        return commit.found_out(self.project, self.made.path, before, BRANCH, target, TASK, RUN, after=self.look(), **more)

    def commit(self, before: commit.State) -> str | None:
        assert before.head
        target = self.repo.tip("refs/heads/main")
        return commit.commit_step(self.made.path, BRANCH, before.head, "kin: KIN-12-dev", TRAILERS, target=target)

    def salvage(self, head: str | None = None, step: str = "1-dev") -> salvage.Saved:
        return salvage.salvage(self.made.path, TASK, RUN, step, head=head or self.base)

    def reset(self, commit_id: str) -> None:
        worktree.reset_to(self.project, self.made.path, commit_id)

    def files(self) -> set[str]:
        """Every file below the worktree, `.git` left out."""
        return {
            str(file.relative_to(self.path))
            for file in self.path.rglob("*")
            if (file.is_file() or file.is_symlink()) and ".git" not in file.relative_to(self.path).parts
        }
