"""A run's record: one passage of a task through its steps, as it is committed and as it lives in the common dir.

What lives (`Live`) holds paths, pids and sessions and never leaves the clone; `committed` is the part that is history.
"""

import re
from typing import Annotated, Any, NamedTuple

from kin.model.fields import Field, build, choice, integer, list_of, mapping, nested, number, raw, text, words
from kin.model.status import RunStatus, StepStatus, WaitFor


def _mappings(plain: Any) -> tuple[dict[str, Any], ...]:
    return tuple(mapping(item) for item in raw(plain) or ())


def _counts(plain: Any) -> dict[str, int]:
    """Counts by name; what somebody made no number counts as nothing."""
    words = {name: str(value) for name, value in mapping(plain).items()}
    return {name: int(word) if word.isdecimal() and len(word) < 19 else 0 for name, word in words.items()}


def _branch(plain: Any) -> str:
    """A branch's name. Bytes of it that are no UTF-8 stand as `\\udce9`: in git no name holds a backslash."""
    return re.sub(r"\\(udc[89a-f][0-9a-f])", lambda match: chr(int(match[1][1:], 16)), text(plain))


_COUNT = integer(-(10**11), 10**12 - 1)


class Waiting(NamedTuple):
    """What a waiting run waits for; `until` RFC 3339 in UTC; `paths` block a pending merge."""

    for_: Annotated[WaitFor, Field("What it waits for", choice(WaitFor), ("for",))]
    until: Annotated[str | None, Field("When it goes on", text)] = None
    reason: Annotated[str, Field("Why", text)] = ""
    paths: Annotated[tuple[str, ...], Field("Files in the way", words)] = ()


class StepRecord(NamedTuple):
    """One agent process playing one role. `exit` is the exit code, negative for a signal; times RFC 3339 in UTC."""

    id: Annotated[str, Field("<n>-<role>", text)]
    role: Annotated[str, Field("Who played it", text)]
    status: Annotated[StepStatus, Field("Where it stands", choice(StepStatus))] = StepStatus.pending
    agent: Annotated[str | None, Field("The program that played it", text)] = None
    version: Annotated[str | None, Field("Its version", text)] = None
    model: Annotated[str | None, Field("Its model", text)] = None
    commit: Annotated[str | None, Field("The branch's commit after it", text)] = None
    started: Annotated[str | None, Field("When it started", text)] = None
    ended: Annotated[str | None, Field("When it ended", text)] = None
    exit: Annotated[int | None, Field("Exit code, negative for a signal", _COUNT)] = None
    seconds: Annotated[float, Field("How long it took, all rounds together", number)] = 0.0
    reason: Annotated[str, Field("Why it failed", text)] = ""
    summary: Annotated[str, Field("What it says it did, at most 2,000 masked characters", text)] = ""
    tokens: Annotated[dict[str, int] | None, Field("in, out, cached; all rounds together", _counts)] = None
    cost_usd: Annotated[float | None, Field("What it cost, all rounds together; absent if nobody told", number)] = None


class GateRecord(NamedTuple):
    """A gate's last verdict in a run."""

    name: Annotated[str, Field("The gate", text)]
    verdict: Annotated[str, Field("pass, fail or error", text)]
    exit: Annotated[int | None, Field("Exit code, negative for a signal", _COUNT)] = None
    seconds: Annotated[float, Field("How long it took", number)] = 0.0


class PlanRecord(NamedTuple):
    """What the PM said a run shall do; without a `hash` it has not said it yet. `files` are parts that are not written yet."""

    hash: Annotated[str, Field("What an agreement is bound to", text)] = ""
    steps: Annotated[tuple[dict[str, Any], ...], Field("Steps and names of pipelines", _mappings)] = ()
    parts: Annotated[tuple[str, ...], Field("The tasks that it was split into", words)] = ()
    files: Annotated[dict[str, Any], Field("By id: a part's file that is not written yet", mapping)] = {}
    agreed: Annotated[str | None, Field("The hash that a person agreed to", text)] = None
    agreed_by: Annotated[str | None, Field("Who agreed", text)] = None


class Live(NamedTuple):
    """What only the live record holds. Oids are full hex; `verdicts` are keys of trees and gates that passed."""

    pid: Annotated[int | None, Field("The runner", _COUNT)] = None
    worktree: Annotated[str | None, Field("The worktree's absolute path", text)] = None
    start: Annotated[str | None, Field("Target's tip when the branch was made", text)] = None
    head: Annotated[str | None, Field("The branch's tip after the last finished step", text)] = None
    specs: Annotated[dict[str, Any], Field("By step id: the hash of its definition", mapping)] = {}
    items: Annotated[dict[str, Any], Field("By step id: what a later step asked to change", mapping)] = {}
    rounds: Annotated[dict[str, Any], Field("By step id: how often it sent work back", mapping)] = {}
    sessions: Annotated[dict[str, Any], Field("By step id: the agent's session that can be taken up", mapping)] = {}
    limited: Annotated[dict[str, Any], Field("By agent: until when it can play nothing", mapping)] = {}
    overloaded: Annotated[tuple[str, ...], Field("Agents that were overloaded at the step under way", words)] = ()
    budget: Annotated[dict[str, Any], Field("What a person allowed this run, by unit", mapping)] = {}
    reserved: Annotated[dict[str, Any], Field("What the step under way may use of the day's budget", mapping)] = {}
    integrates: Annotated[str | None, Field("The target's commit that the integrator merges, in its one attempt", text)] = None
    verdicts: Annotated[tuple[str, ...], Field("Hashes of (tree, gates) that passed", words)] = ()
    approved: Annotated[str | None, Field("The branch tip that a person approved", text)] = None
    approved_by: Annotated[str | None, Field("Who approved it", text)] = None
    unruly: Annotated[str, Field("The model's step under which settings, roles or the task's file changed", text)] = ""
    crashes: Annotated[int, Field("Crashes in a row without a finished step", integer(0, 10**6))] = 0
    proposals: Annotated[tuple[dict[str, Any], ...], Field("By step: decisions and tasks that it proposes", _mappings)] = ()
    given: Annotated[dict[str, Any], Field("By proposal: the id of its file", mapping)] = {}
    word: Annotated[str | None, Field("A person's last word: `stop` keeps the watcher off, `go` sends it on", text)] = None
    asked: Annotated[str | None, Field("Digest of what its task asked for when it was started", text)] = None
    plan: Annotated[PlanRecord | None, Field("What the PM planned, if it was asked to", nested(PlanRecord))] = None
    pending_edit: Annotated[dict[str, Any] | None, Field("A task file edit that git's state put off", mapping)] = None


class Run(NamedTuple):
    """A run; field order is the file's. `live` is empty in what is committed."""

    run: Annotated[str, Field("Its id, sortable by time", text)]
    task: Annotated[str, Field("The task", text)]
    status: Annotated[RunStatus, Field("Where it stands", choice(RunStatus))]
    started: Annotated[str, Field("When it started, RFC 3339 in UTC", text)]
    ended: Annotated[str | None, Field("When it ended", text)] = None
    started_by: Annotated[str, Field("person, watch, phase, env, chat, ci or schedule", text)] = "person"
    base: Annotated[str, Field("The target branch's short name", _branch)] = ""
    branch: Annotated[str, Field("The work branch's short name", text)] = ""
    merge: Annotated[str | None, Field("The merge commit", text)] = None
    reason: Annotated[str, Field("Why it ended as it did", text)] = ""
    waiting: Annotated[Waiting | None, Field("What it waits for", nested(Waiting))] = None
    steps: Annotated[tuple[StepRecord, ...], Field("The steps in order", list_of(StepRecord))] = ()
    gates: Annotated[tuple[GateRecord, ...], Field("The gates' last verdicts", list_of(GateRecord))] = ()
    proposed: Annotated[dict[str, Any] | None, Field("Decisions and tasks that steps proposed", raw)] = None
    live: Annotated[Live, Field("What never leaves the clone", nested(Live))] = Live()

    @property
    def waits_for(self) -> WaitFor | None:
        return self.waiting.for_ if self.waiting else None

    def holding(self, **changes: Any) -> "Run":
        """The run with changes in what never leaves the clone."""
        return self._replace(live=self.live._replace(**changes))


def run_from_data(data: dict[str, Any]) -> Run:
    """The record whose plain data (kin.model.fields.data_of) this is. Raises ValueError if it is none."""
    run, problems = build(Run, data)
    if run is None:
        raise ValueError("; ".join(p.message for p in problems))
    return run


def committed(run: Run) -> Run:
    """The part of a record that is history: no path, host, pid, prompt or session."""
    return run._replace(live=Live(), waiting=None)
