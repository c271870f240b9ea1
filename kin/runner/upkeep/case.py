"""A clone as `kin doctor` looks at it, each part read once, and what a check finds in it."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

from kin import git
from kin.errors import Invalid, NotFound
from kin.model.ids import TASK_ID
from kin.model.record import Run
from kin.model.settings import Settings
from kin.runner.tree import worktree
from kin.store import config, locks, records
from kin.store.project import Project


class Row(NamedTuple):
    """What a check, which is called `name`, found: `verdict` is ok, warn or bad; `fix` says what to do; `mend` does it, safely,
    and says what it did, if `did` does not."""

    verdict: str
    words: str
    fix: str = ""
    mend: Callable[[], object] | None = None
    did: str = ""
    name: str = ""


class Case:
    """The clone as the checks look at it: each part is read once, when a check first asks for it."""

    def __init__(self, project: Project, environ: Mapping[str, str]) -> None:
        self.project = project
        self.environ = environ

    @cached_property
    def settings(self) -> Settings:
        """Settings, or the built-in ones if kin.yaml cannot be read (a check says so)."""
        try:
            return config.load_settings(self.project, self.environ)
        except (Invalid, NotFound):
            return Settings(key=config.quick(self.project).key)

    @cached_property
    def live(self) -> tuple[dict[str, Run], list[str]]:
        """Live records by task, and what is wrong with those that cannot be read."""
        runs, warnings = records.all_live(self.project)
        return {run.task: run for run in runs}, warnings

    @cached_property
    def held(self) -> frozenset[str]:
        doubtful = (f"{task}{tail}" for task in self.live[0] for tail in ("", ".kids"))
        return locks.held_names(self.project.common, doubtful)

    @cached_property
    def worktrees(self) -> list[git.Worktree]:
        """kin's own linked worktrees."""
        return [w for w in git.worktrees(self.project.git_common)[1:] if w.reason.startswith("kin ")]

    @cached_property
    def branches(self) -> dict[str, str]:
        found = git.refs(self.project.git_common, "refs/heads/kin/").items()
        return {task: oid for ref, oid in found if TASK_ID.fullmatch(task := ref.removeprefix("refs/heads/kin/"))}

    @cached_property
    def target(self) -> tuple[str, str] | None:
        """Name and tip of the branch that work is merged into, if there is one."""
        name = self.settings.base or (git.head_ref(self.project.root) or "").removeprefix("refs/heads/")
        tip = git.tip(self.project.root, f"refs/heads/{name}") if name else None
        return (name, tip) if tip else None

    @cached_property
    def root(self) -> str:
        return worktree.root(self.project, self.settings, self.environ)

    def is_merged(self, oid: str) -> bool:
        return self.target is not None and git.is_ancestor(self.project.git_common, oid, self.target[1])
