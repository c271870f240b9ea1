"""One step: a process that plays a role in the task's worktree, judged by what it left, committed or salvaged.

An agent's word is a claim. The exit code, the result file and the worktree are read after every process that the step
started is gone; only then does its work become one commit on the branch.
"""

import math
import os
from collections.abc import Callable

from kin import git
from kin.context import fence
from kin.errors import Failed
from kin.faults import point
from kin.model.spending import added, exhausted
from kin.model.status import BlockedKind, StepStatus
from kin.model.times import written
from kin.runner.steps import budgets
from kin.runner.steps.casting import time_limit
from kin.runner.steps.judge import Played, StepEnd, judge_command
from kin.runner.steps.passage import Passage, Turn, digest, spec_digest
from kin.runner.steps.prompts import prompt_for
from kin.runner.steps.proposals import keep
from kin.runner.tree import commit, salvage, worktree
from kin.runner.tree.aside import how_to_see
from kin.store import files, notes, tasks
from kin.store.roles import role_texts

_STATUS = {"done": StepStatus.done, "cancelled": StepStatus.pending, "waiting": StepStatus.pending}
GO_ON = (
    "Go on with this task where you stopped; nothing of yours was changed. End with the `kin-result` block as you were told."
)


def _write_prompt(p: Passage, turn: Turn, session: bool, path: str) -> None:
    """The whole prompt; for a client that takes up its session only what is new since it stopped."""
    spec, name = turn.spec, turn.name
    if session:
        kept = p.live.sessions[name]
        new = [n for _, n in notes.of_task(p.project, p.task.id) if n.at >= kept["at"] and n.to in (None, spec.role)]
        said = [f"This step {why}"] if (why := kept.get("why")) else []
        text = "\n\n".join((*said, GO_ON, *(f"{note.by} says ({note.for_}):\n\n{fence(note.text)}" for note in new))) + "\n"
    else:
        items = p.live.items.get(name, [])
        listed = items if isinstance(items, list) else [items]
        role = p.role(spec)
        text = prompt_for(p.project, p.task, spec, role, p.run.steps[: turn.place], listed, name).text
    # Written over the last step's: a file that is emptied first is one that some file systems write out at once.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(p.mask(text))
        file.truncate()


def play(p: Passage, index: int, who: str | None = None) -> StepEnd:
    """Run the step at `index` and make its end durable: its commit, its status and its summary, before this returns.

    `who` is the agent that plays it; None for a command.
    """
    turn = p.turn(index)
    spec, name = turn.spec, turn.name
    caps = budgets.caps_for(p, index)
    if (cap := exhausted(caps)) is not None:
        return budgets.over(p, name, cap, "was not started")
    before = p.seen or commit.look(p.path)
    p.seen = None
    prompt = os.path.join(p.tmp, "prompt.md")
    _write_prompt(p, turn, who is not None and p.session(index, who) is not None, prompt)
    p.say("step", name, spec.run or f"played by {who}")
    point("step.started")
    limit = time_limit(spec, p.role(spec), p.settings)
    left = caps["minutes"].left * 60 if "minutes" in caps else math.inf
    if who is None:
        played = _command(p, turn, prompt, min(limit, left))
    else:
        from kin.runner.steps.player import perform

        rules = _rules(p)
        played = perform(p, turn, who, prompt, caps, min(limit, left))
        if _rules(p) != rules:  # by whomever: that a person did it, the person says by approving the merge
            p.save(unruly=name)
    point("step.ended")
    verdict = played.verdict
    if verdict.result is not None and verdict.end.status in ("done", "changes_requested"):
        dropped = keep(p, name, spec.role, verdict.result)
        played = played._replace(verdict=verdict._replace(summary=p.short(verdict.summary + dropped)))
    end = verdict.end
    if played.ended.why == "timeout" and left < limit:
        end = budgets.over(p, name, caps["minutes"])
    at = written()

    def foresee() -> None:
        """Most steps that end well and leave nothing to commit: their record is written while git looks at the worktree."""
        if end.status == "done":
            p.foresee(**_changes(p, turn, end._replace(commit=before.head or p.target.oid), played, at))

    settled = _settle(p, turn, before, end, foresee)
    point("step.settled")
    p.save(**_changes(p, turn, settled, played, at))
    said = settled.reason.removeprefix(f"step {name} ") if settled.status in ("failed", "waiting") else settled.status
    p.say("step_end", name, said, played.ended.seconds)
    return settled


def _rules(p: Passage) -> str:
    paths = (os.path.join(p.project.store, "kin.yaml"), tasks.task_path(p.project, p.task.id))
    texts = [files.read_stamped(path)[0].decode("utf-8", "replace") if os.path.isfile(path) else "" for path in paths]
    return digest(texts, role_texts(p.project.store))


def _command(p: Passage, turn: Turn, prompt: str, seconds: float) -> Played:
    spec, name = turn.spec, turn.name
    left = p.step_env(spec.role, name)["KIN_RESULT"]
    if os.path.lexists(left):
        os.unlink(left)
    ended = p.shell(spec.run or "", name, role=spec.role, cwd=p.path, seconds=seconds, stdin=prompt)
    return Played(judge_command(p, turn, ended, left), ended, {"agent": "command"})


def _settle(p: Passage, turn: Turn, before: commit.State, end: StepEnd, beside: Callable[[], None]) -> StepEnd:
    """Commit what a step that ended well left, salvage what any other left; what it must not have done makes it failed.

    `beside` is called while git looks.
    """
    name = turn.name
    try:
        after = commit.look(p.path, before, beside)
    except Failed as error:
        return StepEnd("failed", BlockedKind.failed, f"after step {name} {error.message}; {error.hint}")
    target = p.target.oid if after.head == before.head else git.tip(p.project.root, p.target.ref) or p.target.oid
    found = commit.found_out(
        p.project, p.path, before, p.branch_ref, target, p.task.id, p.run.run, after=after, resolving=p.integrates(turn.place)
    )
    if found:
        kept = _salvage(p, name)
        did = "; ".join(found)
        return StepEnd("failed", BlockedKind.failed, f"step {name} did what no step may: {p.short(did)}{kept}")
    if end.status in ("failed", "cancelled"):
        return end._replace(reason=end.reason + _salvage(p, name))
    if end.status in ("blocked", "waiting"):
        return end  # it goes on here if its client takes up the session; else what is here is saved before it starts anew
    if turn.access == "read":
        return _drop_changes(p, name, before.head or p.target.oid, end, after)
    message, trailers = f"kin: {p.task.id}-{turn.spec.role}", {"Kin-Step": name, "Kin-Run": p.run.run}
    start = before.head or p.target.oid
    fds = (p.kids.fd,)  # a git that outlives a killed kin is waited for by whoever runs the task next (rule 15)
    done = commit.commit_step(p.path, p.branch_ref, start, message, trailers, after=after, target=target, fds=fds)
    if done is not None or after.clean:
        p.seen = after.committed(done or start)  # nothing but kin touches the worktree between two steps
    if done is None and not end.said and end.status == "done":
        words = f"step {name} changed nothing and does not say why; `kin log {p.task.id}` shows what it did instead"
        return StepEnd("failed", BlockedKind.no_work, words)
    return end._replace(commit=done or start)


def _drop_changes(p: Passage, name: str, start: str, end: StepEnd, after: commit.State) -> StepEnd:
    """A step with access: read left nothing, or what it left goes into salvage and never reaches the branch."""
    if after.clean and after.head == start:
        p.seen = after
        return end._replace(commit=start)
    saved = _saved(p, name)
    if not saved.complete:
        words = f"step {name} has access: read, and wrote; {'; '.join(saved.left(p.task.id))}"
        return StepEnd("failed", BlockedKind.failed, words)
    worktree.reset_to(p.project, p.path, start, fds=(p.kids.fd,))
    if saved.ref:
        p.say("note", name, f"{name} has access: read; its changes were dropped; they are kept: {how_to_see(saved.ref)}")
    return end._replace(commit=start)


def _saved(p: Passage, name: str) -> salvage.Saved:
    start = p.live.head or p.live.start or p.target.oid
    return salvage.salvage(p.path, p.task.id, p.run.run, name, head=start, fds=(p.kids.fd,))


def _salvage(p: Passage, name: str) -> str:
    """Save what the worktree holds beyond the last finished step; words on what went where, none if there was nothing."""
    saved = _saved(p, name)
    kept = f"; its work is kept: {how_to_see(saved.ref)}" if saved.ref else ""
    return kept if saved.complete else "; ".join((kept, *saved.left(p.task.id)))


def _changes(p: Passage, turn: Turn, end: StepEnd, played: Played, at: str) -> dict[str, object]:
    index, name, spec, _ = turn
    done = end.status in ("done", "changes_requested")
    ended, facts, old = played.ended, dict(played.facts), p.run.steps[index]
    facts["tokens"] = added(old.tokens, facts.get("tokens"))
    if old.cost_usd is not None:
        facts["cost_usd"] = old.cost_usd + (facts.get("cost_usd") or 0.0)
    steps = p.with_step(
        index,
        status=_STATUS.get(end.status, StepStatus.failed),
        commit=end.commit,
        ended=at,
        exit=ended.exit,
        seconds=round(old.seconds + ended.seconds, 1),
        reason="" if done else p.short(end.reason),
        summary=played.verdict.summary,
        **facts,
    )
    if end.status == "done" and index + 1 < len(steps) and not p.cancel.level:
        # One write serves the end of this step and the start of the next.
        after = steps[index + 1]._replace(status=StepStatus.running, started=at, ended=None, exit=None, reason="")
        steps = (*steps[: index + 1], after, *steps[index + 2 :])
    changes: dict[str, object] = {"steps": steps, "specs": {**p.live.specs, name: spec_digest(spec)}, "reserved": {}}
    if done:
        changes |= {
            "head": end.commit or p.live.head,
            "crashes": 0,
            "items": {k: v for k, v in p.live.items.items() if k != name},
        }
    if spec.run is None:
        changes |= _model_changes(p, turn, end, played)
    return changes


def _model_changes(p: Passage, turn: Turn, end: StepEnd, played: Played) -> dict[str, object]:
    """What the live record keeps of an agent: its session for a step that goes on, and until when it can play nothing."""
    name, who = turn.name, played.facts["agent"]
    sessions = {k: v for k, v in p.live.sessions.items() if k != name}
    # A session that failed twice without an answer may be one that its client, or the service, does not take any more.
    answered = "yes" if any(played.facts["tokens"].values()) or end.again is None else ""
    failed = end.again is not None and (answered or p.live.sessions.get(name, {}).get("answered"))
    if played.session and (failed or end.status in ("blocked", "waiting", "cancelled")):
        kept = {"agent": who, "session": played.session, "of": p.wording(turn.place), "at": written()}
        before = p.live.sessions.get(name, {}) if p.session(turn.place, who) == played.session else {}
        used = {**played.facts["tokens"], "usd": played.facts["cost_usd"] or 0.0}
        counted = {unit: n + float(before.get("counted", {}).get(unit, 0)) for unit, n in used.items()}
        sessions[name] = kept | {"why": end.again or "", "answered": answered, "counted": counted}
    changes: dict[str, object] = {"sessions": sessions}
    if end.status == "waiting":
        changes["limited"] = {**p.live.limited, who: end.until}
    if end.status != "waiting" or not end.overload:
        changes["overloaded"] = ()
    else:
        changes["overloaded"] = (*p.live.overloaded, who)
    return changes
