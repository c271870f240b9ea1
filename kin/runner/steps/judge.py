"""What the end of a step's process means: the claim of whoever played it, held against exit codes, streams and results.

Nothing here touches the worktree; what the step left there is judged in step.py, and may still overrule the best words.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from kin.model import times
from kin.model.result import MAX_RESULT, Result, parse_result, result_of
from kin.model.status import BlockedKind
from kin.runner.process.supervise import Ended
from kin.runner.steps.passage import Passage, Turn
from kin.store import files

if TYPE_CHECKING:
    from kin.model.agent import Agent
    from kin.streams import Reading

TAIL_LINES = 20
"""Lines of each stream that a reason holds."""
OVERLOAD_WAIT = 60.0
"""Seconds to wait for an overloaded service that names no time; no wait is shorter."""
LIMIT_WAIT = 3600.0
"""Seconds to wait for a usage limit whose end nobody names."""
_LIMITS = {
    "timeout": "took longer than its timeout",
    "idle": "said nothing for as long as `limits.idle` allows",
    "first_output": "said nothing at all within `limits.first_output`",
}


class StepEnd(NamedTuple):
    """How a step ended. `status` is done, failed, changes_requested, blocked, waiting or cancelled; `kind` why it blocks the
    task. `until`: RFC 3339, when a waiting one can go on, whose service was overloaded or at a limit; `said`: it gave reasons
    if it changed nothing; `again`: why it failed, for a client that takes up its session then; None: it begins anew.
    """

    status: str
    kind: BlockedKind = BlockedKind.failed
    reason: str = ""
    items: tuple[str, ...] = ()
    back_to: str | None = None
    commit: str | None = None
    until: str | None = None
    overload: bool = False
    said: bool = True
    again: str | None = None


class Verdict(NamedTuple):
    """What is believed of a process's end: the step's end, the summary to keep, the result if it left one."""

    end: StepEnd
    summary: str = ""
    result: Result | None = None


class Played(NamedTuple):
    """A process that played a step, judged: `facts` are what the step's record says of it, `session` what can be taken up."""

    verdict: Verdict
    ended: Ended
    facts: Mapping[str, Any]
    session: str | None = None


def judge_command(p: Passage, turn: Turn, ended: Ended, result_file: str) -> Verdict:
    """A command is believed its exit code; exit 0 is what its result says, if it left one."""
    spec, name = turn.spec, turn.name
    if (broken := _broken(p, name, ended)) is not None:
        return Verdict(broken)
    try:
        result = _left_result(p, result_file)
    except ValueError as error:
        return Verdict(_failed(p, name, f"left a malformed result: {error}", ended))
    summary = p.short(result.summary if result else ended.tail_out)
    if ended.exit != 0:
        if spec.back_to:
            items = tuple(str(i) for i in result.items) if result and result.items else tuple(_tail(p, ended).splitlines())
            return Verdict(StepEnd("changes_requested", items=items, back_to=spec.back_to), summary, result)
        said = f"ended with exit {ended.exit}" if (ended.exit or 0) >= 0 else f"was ended by signal {-(ended.exit or 0)}"
        return Verdict(_failed(p, name, said, ended), summary)
    return Verdict(_believed(p, turn, result) if result else StepEnd("done"), summary, result)


def judge_model(p: Passage, turn: Turn, who: str, agent: "Agent", ended: Ended, reading: "Reading") -> Verdict:
    """A model is believed only if its client's closing line, its exit code and kin's own doing agree that it ended well."""
    name = turn.name
    broken = _broken(p, name, ended)
    if broken is not None and ended.why not in _LIMITS:
        return Verdict(broken)
    if ended.why == "budget" or reading.kind == "budget":
        words = f"step {name} was ended: {who} reached its budget"
        return Verdict(StepEnd("failed", BlockedKind.budget, words, again="reached its budget, which is larger now"))
    if reading.kind in ("limit", "overload"):
        return Verdict(_waits(p, name, who, reading))
    if reading.kind == "login":
        said = f" ({p.short(reading.error)})" if reading.error else ""
        words = f"step {name}: {who} is not logged in{said}; log in{f': `{agent.login}`' if agent.login else ''}"
        return Verdict(StepEnd("blocked", BlockedKind.question, f"{words}, then `kin run {p.task.id}`"))
    if broken is not None:  # after the limits of the service: some clients sleep through those until kin's own end them
        return Verdict(broken)
    if not reading.ok:
        what = f"was played by {who}, which did not end well: {p.short(reading.error)}"
        return Verdict(_failed(p, name, what, None))
    try:
        result = result_of(reading.final)
    except ValueError as error:
        return Verdict(_failed(p, name, f"left a malformed result: {error}", None), p.short(reading.final))
    if result is not None:
        end = _believed(p, turn, result)
        return Verdict(end._replace(said=bool(result.summary.strip())), p.short(result.summary), result)
    final = p.short(reading.final)
    if final.rstrip(" \n\t*_`\")'").endswith("?"):
        return Verdict(_asks(p, name, final.rpartition("\n\n")[2]), final)
    return Verdict(StepEnd("done", said=False), final)


def _failed(p: Passage, name: str, what: str, ended: Ended | None, kind: BlockedKind = BlockedKind.failed) -> StepEnd:
    return StepEnd("failed", kind, reason(p, name, what, ended), again=what)


def _waits(p: Passage, name: str, who: str, reading: "Reading") -> StepEnd:
    """A limit or an overload: never before a minute has gone by, and an overload only once in a row."""
    overload = reading.kind == "overload"
    if overload and who in p.live.overloaded:
        words = f"step {name}: {who} is overloaded again ({p.short(reading.error)}); `kin run {p.task.id}` tries again"
        return StepEnd("failed", reason=words, again="was ended by a service that was too busy")
    soonest = times.now() + timedelta(seconds=OVERLOAD_WAIT)
    latest = times.now() + timedelta(seconds=OVERLOAD_WAIT if overload else LIMIT_WAIT)
    until = max(times.parse(reading.until), soonest) if reading.until else latest
    what = "is overloaded" if overload else "has reached its usage limit"
    said = p.short(reading.error).partition("\n")[0][:200]
    words = f"step {name}: {who} {what}" + (f" ({said})" if said else "")
    return StepEnd("waiting", reason=words, until=times.rfc3339(until), overload=overload)


def _broken(p: Passage, name: str, ended: Ended) -> StepEnd | None:
    """The end of a process that did not end by itself; None if it did."""
    if ended.why == "cancelled":
        return StepEnd("cancelled", reason=f"cancelled during step {name}")
    if ended.why in _LIMITS:
        return _failed(p, name, _LIMITS[ended.why], ended, BlockedKind.timeout)
    if ended.why == "cannot_start":
        return _failed(p, name, f"could not start: {ended.error}", ended)
    if ended.why == "lost":
        return _failed(p, name, "lost its supervisor", ended, BlockedKind.crash)
    return None


def _believed(p: Passage, turn: Turn, result: Result) -> StepEnd:
    if result.status == "changes_requested":
        items = tuple(str(i) for i in result.items) or (result.summary or "changes were asked for, without saying which",)
        return StepEnd("changes_requested", items=items, back_to=result.back_to or turn.spec.back_to)
    if result.status == "blocked" or result.question:
        return _asks(p, turn.name, result.question or result.summary or "no question was given")
    if result.status == "failed":
        return StepEnd("failed", reason=f"step {turn.name} says that it failed: {p.short(result.summary)}")
    return StepEnd("done")


def _asks(p: Passage, name: str, question: str) -> StepEnd:
    hint = f'`kin answer {p.task.id} -m "..."` answers it'
    return StepEnd("blocked", BlockedKind.question, f"step {name} asks: {p.short(question)}; {hint}")


def _left_result(p: Passage, path: str) -> Result | None:
    """The result that a command left, masked; None if it left none. Raises ValueError for one that is malformed."""
    try:
        raw = files.read_stamped(path)[0][: MAX_RESULT + 1]  # never waits: a step can leave a pipe there
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(error.strerror) from error
    return parse_result(p.mask(raw.decode("utf-8", "replace"))) if raw.strip() else None


def _tail(p: Passage, ended: Ended) -> str:
    lines = [line for stream in (ended.tail_out, ended.tail_err) for line in stream.splitlines()[-TAIL_LINES:]]
    return p.short("\n".join(lines))


def reason(p: Passage, name: str, what: str, ended: Ended | None) -> str:
    """Which step, what it said last on both streams (for a client's stream of JSON: nothing), what to type next."""
    next_words = f"`kin log {p.task.id}` shows all of it, `kin run {p.task.id}` tries the step again"
    if ended is None:
        return f"step {name} {what}; {next_words}"
    said = _tail(p, ended)
    return f"step {name} {what}\n{said}\n{next_words}" if said else f"step {name} {what} and said nothing; {next_words}"
