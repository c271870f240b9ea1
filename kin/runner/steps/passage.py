"""A run under way: what its steps, gates and merge need to know, and the one way in which its record changes.

The record is a frozen value; `save` replaces it and makes it durable before anything is built on it. Nothing here waits or
decides.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kin.model.record import Live, Run, StepRecord
from kin.model.settings import Settings, StepSpec
from kin.model.status import RunStatus
from kin.model.task import Task
from kin.runner.process.events import Emit, Event
from kin.runner.process.logs import StepLog, plain
from kin.runner.process.signals import Cancel
from kin.runner.process.supervise import Ended, Limits, Supervisor, own_pids
from kin.runner.remote.share import Share
from kin.runner.remote.target import Target
from kin.runner.steps.casting import Cast, access_of, role_of
from kin.runner.tree.commit import State
from kin.store import records
from kin.store.locks import Held
from kin.store.project import Project, state_folder
from kin.store.roles import Role

MAX_SUMMARY = 2000
"""Characters of a summary or a reason that a record keeps."""


def digest(*values: Any) -> str:
    """A short, stable name for plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def step_id(index: int, spec: StepSpec) -> str:
    """`<n>-<role>`, from 1."""
    return f"{index + 1}-{spec.role}"


class Turn(NamedTuple):
    """A step whose turn it is: its place in the run, its id, its definition, and whether it may `read` or `write`."""

    place: int
    name: str
    spec: StepSpec
    access: str


def spec_digest(spec: StepSpec) -> str:
    """What makes a finished step another one when it is edited: who plays it and what it runs, not its limits."""
    return digest(spec.role, spec.run, spec.brief, spec.agent, spec.model, spec.access)


@dataclass
class Passage:
    """One run in this process.

    `cast` is who may play each step (None: a command); `plays` whether this process may start agents: an approval may not.
    `text` is the task file's text, `planners` how many of its first steps plan (`plan_only`: no others run), `path` the task's
    worktree, `fresh` its git folder as long as `setup` did not run there, `seen` how it stands if the last step left it
    untouched, `slot` the number of its slot; `share` what it holds on the remote with `--push`; `bundle` the file that the
    finished work is handed over in.
    """

    project: Project
    settings: Settings
    target: Target
    task: Task
    text: str
    specs: tuple[StepSpec, ...]
    cast: tuple[Cast | None, ...]
    run: Run
    environ: Mapping[str, str]
    emit: Emit
    cancel: Cancel
    kids: Held
    planners: int = 0
    plan_only: bool = False
    plays: bool = False
    slot: int = 0
    path: str = ""
    fresh: str | None = None
    seen: State | None = None
    mask: Callable[[str], str] = str
    share: Share | None = None
    bundle: str | None = None
    _foreseen: Run | None = field(default=None, repr=False)
    _supervisor: Supervisor | None = field(default=None, repr=False)
    _roles: dict[tuple[str, bool], Role] = field(default_factory=dict, repr=False)

    @property
    def live(self) -> Live:
        return self.run.live

    @property
    def pm_step(self) -> str:
        """The step whose answer is the plan; "" if nobody plans."""
        return step_id(self.planners - 1, self.specs[self.planners - 1]) if self.planners else ""

    @property
    def branch_ref(self) -> str:
        return f"refs/heads/{self.run.branch}"

    @property
    def supervisor(self) -> Supervisor:
        """The process that starts and ends all that this run starts; made when first needed."""
        if self._supervisor is None:
            before = own_pids() if self.settings.unshare else ()
            if self.settings.unshare and not before:
                self.say("note", text="`unshare: true` cannot be had on this system; steps run without a pid namespace")
            self._supervisor = Supervisor(run=self.run.run, kids=self.kids, cancel=self.cancel, mask=self.mask, before=before)
        return self._supervisor

    @property
    def tmp(self) -> str:
        """The run's own folder outside the repository: prompts, homes, TMPDIR. Clients keep their commands in worktree and
        TMPDIR, so what tells the client what it may do, and what kin writes there, lies beside that one."""
        return _folder(os.path.join(state_folder(self.environ), "tmp", self.run.run))

    @property
    def tmpdir(self) -> str:
        """The steps' TMPDIR, short enough for sockets."""
        return _folder(os.path.join(self.tmp, "t"))

    def role(self, spec: StepSpec) -> Role:
        """The role of a step, read once a run: what is edited while it runs holds from the next one."""
        key = spec.role, spec.run is None
        if key not in self._roles:
            self._roles[key] = role_of(spec, self.project.store)
        return self._roles[key]

    def turn(self, index: int) -> Turn:
        spec = self.specs[index]
        return Turn(index, step_id(index, spec), spec, access_of(spec, self.role(spec)))

    def home(self, step: str, agent: str) -> str:
        """The private home of an agent in a step; it outlives this process if the session in it is to be taken up."""
        return _folder(os.path.join(self.tmp, f"home-{step}-{agent}"))

    def wording(self, index: int) -> str:
        """What a step's session was told for good: if that is edited, the session cannot be taken up."""
        task = self.task
        return digest(spec_digest(self.specs[index]), task.title, task.description, task.acceptance)

    def session(self, index: int, agent: str) -> str | None:
        """The session of `agent` that the step at `index` goes on in; None if it starts anew."""
        kept = self.live.sessions.get(step_id(index, self.specs[index]), {})
        if kept.get("agent") != agent or kept.get("of") != self.wording(index):
            return None
        return str(kept["session"])

    def integrates(self, index: int) -> bool:
        """Whether the step at `index` is the integrator's attempt at a conflict, which kin adds to a run."""
        return self.live.integrates is not None and index == len(self.specs) - 1

    def say(self, kind: str, step: str = "", text: str = "", seconds: float = 0.0) -> None:
        """Tell whoever looks on."""
        self.emit(Event(self.task.id, kind, step, text, seconds))

    def save(self, **changes: Any) -> None:
        """Change the record and make it durable. Keys of `Live` and of `Run` may be mixed."""
        self.run = self._changed(changes)
        foreseen, self._foreseen = self._foreseen, None
        records.save_live(self.project, self.run, prepared=foreseen == self.run)

    def foresee(self, **changes: Any) -> None:
        """Write beforehand what `save` would write for these changes. If it comes out otherwise, that is written then."""
        self._foreseen, run = None, self._changed(changes)
        with suppress(OSError):  # `save` tries again, and says what is wrong
            records.prepare_live(self.project, run)
            self._foreseen = run

    def _changed(self, changes: Mapping[str, Any]) -> Run:
        live = {key: value for key, value in changes.items() if key in Live._fields and key not in Run._fields}
        return self.run.holding(**live)._replace(**{key: value for key, value in changes.items() if key not in live})

    def with_step(self, index: int, **changes: Any) -> tuple[StepRecord, ...]:
        steps = list(self.run.steps)
        steps[index] = steps[index]._replace(**changes)
        return tuple(steps)

    def short(self, text: str) -> str:
        """`text` as records and task files may hold it: masked, no terminal codes, no paths of this machine, not too long."""
        text = "\n".join(map(str.rstrip, plain(text).split("\n")))  # YAML has no block for lines that end in spaces
        home = self.environ.get("HOME", "")
        for path, name in ((self.path, "."), (self.project.root, "."), (self.project.git_common, ".git"), (home, "~")):
            if len(path) > 1:
                text = text.replace(path, name)
        text = self.mask(text).strip()
        return text if len(text) <= MAX_SUMMARY else text[: MAX_SUMMARY // 2] + "\n[...]\n" + text[-MAX_SUMMARY // 2 :]

    def step_env(self, role: str, step: str) -> dict[str, str]:
        """What a command finds in its environment: who it is, where the store is, ports and files of its own.

        The committer's mail names task and run, so that the reflog of any ref that it moves names the culprit (rule 23).
        """
        slot = max(self.slot, 1)
        return {
            "KIN_TASK": self.task.id,
            "KIN_ROLE": role,
            "KIN_RUN": self.run.run,
            "KIN_STEP": step,
            "KIN_DIR": self.project.store,
            "KIN_RESULT": os.path.join(self.tmpdir, f"{step}.result.json"),
            "KIN_SLOT": str(slot),
            "KIN_PORT_BASE": str(20000 + 100 * slot),
            "COMPOSE_PROJECT_NAME": self.task.id.lower(),
            "TMPDIR": self.tmpdir,
            "GIT_COMMITTER_NAME": "kin",
            "GIT_COMMITTER_EMAIL": f"{self.task.id}.{self.run.run}@kin",
        }

    def log(self, name: str) -> StepLog:
        """The log of a step, a gate or the set-up."""
        return StepLog(records.logs_folder(self.project, self.task.id, self.run.run), name, self.mask)

    def shell(self, text: str, name: str, *, role: str, cwd: str, seconds: float, stdin: str | None = None) -> Ended:
        """Run a command that a person wrote, as `role` in the step, gate or set-up `name`; `stdin` is a file's path."""
        with self.log(name) as log:
            return self.supervisor.run(
                ["/bin/sh", "-c", text],
                cwd=cwd,
                env={**self.environ, **self.step_env(role, name)},
                stdin=stdin,
                limits=Limits(seconds),
                log=log,
                on_line=lambda _, line: self.say("line", name, line),
            )

    def close(self) -> None:
        """End what the run started and clear its folder, but for the homes of sessions that are to be taken up."""
        if self._supervisor is not None:
            self._supervisor.close()
            self._supervisor = None
        top = os.path.join(state_folder(self.environ), "tmp", self.run.run)
        if not self.live.sessions or self.run.status == RunStatus.completed:
            shutil.rmtree(top, ignore_errors=True)
            return
        kept = {f"home-{step}-{of['agent']}" for step, of in self.live.sessions.items()}
        for name in set(os.listdir(self.tmp)) - kept:  # made again if a step removed it
            path = os.path.join(top, name)
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


def _folder(path: str) -> str:
    if not os.path.isdir(path):
        os.makedirs(path, mode=0o700, exist_ok=True)
    return path
