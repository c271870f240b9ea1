"""One step: a process that plays a role in the task's worktree, judged by what it left, committed or salvaged.

An agent's word is a claim. The exit code, the result file and the worktree are read after every process that the step
started is gone; only then does its work become one commit on the branch.
"""

import math
import os
from typing import NamedTuple

from kin import git
from kin.errors import Failed, Invalid
from kin.faults import point
from kin.model.result import MAX_RESULT, Result, parse_result
from kin.model.settings import StepSpec
from kin.model.status import BlockedKind, StepStatus
from kin.runner import commit, salvage, worktree
from kin.runner.aside import how_to_see
from kin.runner.logs import StepLog
from kin.runner.passage import Passage, digest, now, step_id
from kin.runner.prompts import prompt_for
from kin.runner.proposals import keep
from kin.runner.supervise import Ended, Limits
from kin.store import records
from kin.store.roles import Role, find_role, load_role

__all__ = ["StepEnd", "access_of", "command_of", "play", "role_of", "spec_digest"]

_STATUS = {"done": StepStatus.done, "cancelled": StepStatus.pending}
TAIL_LINES = 20
"""Lines of each stream that a reason holds."""


class StepEnd(NamedTuple):
    """How a step ended. `status` is done, failed, changes_requested, blocked or cancelled; `kind` why it blocks the task."""

    status: str
    kind: BlockedKind = BlockedKind.failed
    reason: str = ""
    items: tuple[str, ...] = ()
    back_to: str | None = None
    commit: str | None = None


def spec_digest(spec: StepSpec) -> str:
    """What makes a finished step another one when it is edited: who plays it and what it runs, not its limits."""
    return digest(spec.role, spec.run, spec.brief, spec.agent, spec.model, spec.access)


def role_of(spec: StepSpec, store: str) -> Role:
    """The role of a step; a command may play one that the roster does not hold. Raises NotFound for a model's."""
    if spec.run is None:
        return find_role(store, spec.role)
    return load_role(store, spec.role) or Role(spec.role)


def access_of(spec: StepSpec, role: Role) -> str:
    """`read` or `write`: what the step says, else a command may write, else what the role says."""
    return spec.access or ("write" if spec.run is not None else role.access)


def command_of(spec: StepSpec) -> list[str]:
    """The arguments of a step's process. Raises Invalid if only a model could play it."""
    if spec.run is None:
        raise Invalid(
            f"no agent is set up that could play {spec.role}",
            "make the step a command (`run:` in the pipeline, `kin add TITLE --run CMD`); clients named by `agent:` come later",
        )
    return ["/bin/sh", "-c", spec.run]


def _write_prompt(p: Passage, index: int, path: str) -> None:
    spec = p.specs[index]
    items = p.live.items.get(step_id(index, spec), [])
    listed = items if isinstance(items, list) else [items]
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        role = role_of(spec, p.project.store)
        prompt = prompt_for(p.project, p.task, spec, role, p.run.steps[:index], listed, step_id(index, spec))
        file.write(p.mask(prompt.text))


def play(p: Passage, index: int) -> StepEnd:
    """Run the step at `index` and make its end durable: its commit, its status and its summary, before this returns."""
    spec = p.specs[index]
    name = step_id(index, spec)
    before = p.seen or commit.look(p.path)
    p.seen = None
    env = {**p.environ, **p.step_env(spec.role, name)}
    _forget(env["KIN_RESULT"])
    prompt = os.path.join(p.tmp, f"{name}.prompt.md")
    _write_prompt(p, index, prompt)
    p.say("step", name, spec.run or "")
    point("step.started")
    limit, left = spec.timeout or p.settings.limits.step, _seconds_left(p)
    with StepLog(records.logs_folder(p.project, p.task.id, p.run.run), name, p.mask) as log:
        ended = p.supervisor.run(
            command_of(spec),
            cwd=p.path,
            env=env,
            stdin=prompt,
            limits=Limits(min(limit, max(left, 0.001))),
            log=log,
            on_line=lambda stream, text: p.say("line", name, text),
        )
    point("step.ended")
    end, summary = _judge(p, spec, name, ended, env["KIN_RESULT"])
    if ended.why == "timeout" and left < limit:
        words = f"step {name} was ended: the run's {p.settings.budget.minutes:g} minutes are used up"
        end = StepEnd("failed", BlockedKind.budget, f"{words}; raise `budget:` and `kin run {p.task.id}` goes on")
    end = _settle(p, index, before, end)
    point("step.settled")
    _record(p, index, end, ended, summary)
    p.say("step_end", name, end.status if end.status != "failed" else end.reason, ended.seconds)
    return end


def _seconds_left(p: Passage) -> float:
    """What is left of the run's budget of minutes, for its steps together."""
    minutes = p.settings.budget.minutes
    return math.inf if minutes is None else minutes * 60 - p.live.spent


def _forget(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def _judge(p: Passage, spec: StepSpec, name: str, ended: Ended, result_file: str) -> tuple[StepEnd, str]:
    """What the process's end means, and the summary to keep."""
    if ended.why == "cancelled":
        return StepEnd("cancelled", reason=f"cancelled during step {name}"), ""
    if ended.why in ("timeout", "idle", "first_output"):
        return StepEnd("failed", BlockedKind.timeout, _reason(p, name, f"ran into its limit ({ended.why})", ended)), ""
    if ended.why == "cannot_start":
        return StepEnd("failed", BlockedKind.failed, _reason(p, name, f"could not start: {ended.error}", ended)), ""
    if ended.why == "lost":
        return StepEnd("failed", BlockedKind.crash, _reason(p, name, "lost its supervisor", ended)), ""
    try:
        result = _result(result_file)
    except ValueError as error:
        return StepEnd("failed", BlockedKind.failed, _reason(p, name, f"left a malformed result: {error}", ended)), ""
    summary = p.short(result.summary if result else ended.tail_out)
    if ended.exit != 0:
        tail = tuple(_tail(p, ended).splitlines())
        if spec.back_to:
            items = tuple(str(i) for i in result.items) if result and result.items else tail
            return StepEnd("changes_requested", items=items, back_to=spec.back_to), summary
        said = f"ended with exit {ended.exit}" if (ended.exit or 0) >= 0 else f"was ended by signal {-(ended.exit or 0)}"
        return StepEnd("failed", BlockedKind.failed, _reason(p, name, said, ended)), summary
    if result is None:
        return StepEnd("done"), summary
    summary = p.short(summary + keep(p, name, spec.role, result))
    return _judge_result(p, spec, name, result), summary


def _judge_result(p: Passage, spec: StepSpec, name: str, result: Result) -> StepEnd:
    if result.status == "changes_requested":
        items = tuple(str(i) for i in result.items) or (result.summary or "changes were asked for, without saying which",)
        return StepEnd("changes_requested", items=items, back_to=result.back_to or spec.back_to)
    if result.status == "blocked" or result.question:
        question = p.short(result.question or result.summary or "no question was given")
        hint = f'`kin answer {p.task.id} -m "..."` answers it'
        return StepEnd("blocked", BlockedKind.question, f"step {name} asks: {question}; {hint}")
    if result.status == "failed":
        return StepEnd("failed", BlockedKind.failed, f"step {name} says that it failed: {p.short(result.summary)}")
    return StepEnd("done")


def _result(path: str) -> Result | None:
    """The result that a command left; None if it left none. Raises ValueError for one that is malformed."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_RESULT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(error.strerror) from error
    return parse_result(raw) if raw.strip() else None


def _tail(p: Passage, ended: Ended) -> str:
    lines = [line for stream in (ended.tail_out, ended.tail_err) for line in stream.splitlines()[-TAIL_LINES:]]
    return p.short("\n".join(lines))


def _reason(p: Passage, name: str, what: str, ended: Ended) -> str:
    """Which step, what it said last on both streams, what to type next."""
    said = _tail(p, ended)
    next_words = f"`kin log {p.task.id}` shows all of it, `kin run {p.task.id}` tries the step again"
    return f"step {name} {what}\n{said}\n{next_words}" if said else f"step {name} {what} and said nothing; {next_words}"


def _settle(p: Passage, index: int, before: commit.State, end: StepEnd) -> StepEnd:
    """Commit what a step that ended well left, salvage what any other left; what it must not have done makes it failed."""
    spec = p.specs[index]
    name = step_id(index, spec)
    try:
        after = commit.look(p.path)
    except Failed as error:
        return StepEnd("failed", BlockedKind.failed, f"after step {name} {error.message}; {error.hint}")
    target = p.target.oid if after.head == before.head else git.tip(p.project.root, p.target.ref) or p.target.oid
    found = commit.found_out(p.project, p.path, before, p.branch_ref, target, p.task.id, p.run.run, after=after)
    if found:
        kept = _salvage(p, name)
        did = "; ".join(found)
        return StepEnd("failed", BlockedKind.failed, f"step {name} did what no step may: {p.short(did)}{kept}")
    role = role_of(spec, p.project.store)
    if end.status in ("failed", "cancelled"):
        return end._replace(reason=end.reason + _salvage(p, name))
    if access_of(spec, role) == "read":
        return _drop_changes(p, name, before.head or p.target.oid, end, after)
    message, trailers = f"kin: {p.task.id}-{spec.role}", {"Kin-Step": name, "Kin-Run": p.run.run}
    start = before.head or p.target.oid
    fds = (p.kids.fd,)  # a git that outlives a killed kin is waited for by whoever runs the task next (rule 15)
    done = commit.commit_step(p.path, p.branch_ref, start, message, trailers, after=after, target=target, fds=fds)
    if done is None and after.clean:
        p.seen = after  # nothing but kin touches the worktree between two steps
    return end._replace(commit=done or start)


def _drop_changes(p: Passage, name: str, start: str, end: StepEnd, after: commit.State) -> StepEnd:
    """A step with access: read left nothing, or what it left goes into salvage and never reaches the branch."""
    if after.clean and after.head == start:
        p.seen = after
        return end._replace(commit=start)
    saved = _saved(p, name)
    if not saved.complete:
        listed = ", ".join(saved.skipped[:5])
        return StepEnd(
            "failed", BlockedKind.failed, f"step {name} has access: read, and what it wrote cannot be saved: {listed}"
        )
    worktree.reset_to(p.project, p.path, start, fds=(p.kids.fd,))
    if saved.ref:
        p.say("note", name, f"{name} has access: read; its changes were dropped; they are kept: {how_to_see(saved.ref)}")
    return end._replace(commit=start)


def _saved(p: Passage, name: str) -> salvage.Saved:
    start = p.live.head or p.live.start or p.target.oid
    return salvage.salvage(p.path, p.task.id, p.run.run, name, head=start, fds=(p.kids.fd,))


def _salvage(p: Passage, name: str) -> str:
    """Save what the worktree holds beyond the last finished step; words that say where, or nothing if there was nothing."""
    saved = _saved(p, name)
    if saved.ref is None:
        return ""
    return f"; its work is kept: {how_to_see(saved.ref)}"


def _record(p: Passage, index: int, end: StepEnd, ended: Ended, summary: str) -> None:
    spec = p.specs[index]
    name = step_id(index, spec)
    done = end.status in ("done", "changes_requested")
    steps = p.with_step(
        index,
        status=StepStatus.done
        if end.status == "done"
        else StepStatus.failed
        if end.status != "cancelled"
        else StepStatus.pending,
        agent="command" if spec.run is not None else spec.agent,
        commit=end.commit,
        ended=now(),
        exit=ended.exit,
        reason="" if done else p.short(end.reason),
        summary=summary,
    )
    if end.status == "done" and index + 1 < len(steps) and not p.cancel.level:
        # One write serves the end of this step and the start of the next.
        after = steps[index + 1]._replace(status=StepStatus.running, started=now(), ended=None, exit=None, reason="")
        steps = (*steps[: index + 1], after, *steps[index + 2 :])
    spent = round(p.live.spent + ended.seconds, 1)
    changes: dict[str, object] = {"steps": steps, "specs": {**p.live.specs, name: spec_digest(spec)}, "spent": spent}
    if done:
        changes |= {
            "head": end.commit or p.live.head,
            "crashes": 0,
            "items": {k: v for k, v in p.live.items.items() if k != name},
        }
    p.save(**changes)
