"""What a run tells the CI job that it is part of: annotations, the step's summary and outputs, a JUnit file.

Everything that an agent said is escaped for where it goes: a log line, a Markdown table and an XML file each have ways to be
tricked. While tasks run, the host is told to take no line of the log for a command.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kin.cli.cost import Sum
from kin.cli.output import Call, Result
from kin.errors import KinError
from kin.runner.remote.forge import cell, fenced
from kin.runner.remote.host import job_of
from kin.runner.remote.store_at import store_at
from kin.runner.remote.target import find_target

if TYPE_CHECKING:
    from kin.model.record import Run

COMMANDS = ("github", "gitea")
"""Hosts that read commands out of the log."""
MOST = 60_000
"""Characters of a summary or a comment: hosts refuse longer ones."""


def told(call: Call, command: Callable[[Call], Result]) -> Result:
    """Perform a command that runs tasks, and tell the job how it ended."""
    host = job_of(call.environ).host
    if not host and not call.values.get("junit") and not call.values.get("at"):
        return command(call)
    try:
        with _fence(call, host), _base_store(call):
            result = command(call)
    except KinError as error:
        _tell(call, host, [{"task": "kin", "status": error.code, "exit": error.exit, "reason": str(error)}])
        if host in COMMANDS:  # what is printed behind the fence is read for commands again
            error.message, error.hint = tame(error.message), tame(error.hint)
        raise
    _tell(call, host, result.data if isinstance(result.data, list) else [])
    if host in COMMANDS:
        lines = result.lines(call.screen) if callable(result.lines) else result.lines
        return result._replace(lines=list(map(tame, lines)), warnings=list(map(tame, result.warnings)))
    return result


def tame(text: str) -> str:
    """Text of which no line is a command to GitHub: one begins with `::`, in its older form `##[` may stand anywhere."""
    return re.sub(r"^(\s*:):|(##)\[", lambda m: f"{m[1]}\u200b:" if m[1] else f"{m[2]}\u200b[", text, flags=re.MULTILINE)


@contextmanager
def _base_store(call: Call) -> Iterator[None]:
    """For a pull request the command works on its target's store: what is checked out may be a stranger's."""
    job, wanted = job_of(call.environ), call.values.get("at")
    if not wanted and not job.pull:
        yield
        return
    project = call.project
    if not wanted and job.branch:
        # asked where a relative core.hooksPath (husky's, say) does not lead to hooks that the pull request brings
        outside = project._replace(root=project.git_common)
        wanted = find_target(outside, job.branch, push=bool(call.values.get("push", True))).oid
    with store_at(project, wanted or "HEAD") as call.project:
        call.based = True
        try:
            yield
        finally:
            call.project, call.based = project, False


@contextmanager
def _fence(call: Call, host: str) -> Iterator[None]:
    if host not in COMMANDS or call.screen.json:
        yield
        return
    word = os.urandom(16).hex()
    call.screen.say(f"::stop-commands::{word}")
    try:
        yield
    finally:
        call.screen.say(f"::{word}::")


def _tell(call: Call, host: str, ended: Sequence[Mapping[str, Any]]) -> None:
    runs = [record_of(call, one) for one in ended]
    if host in COMMANDS:
        from kin.cli.check import github

        for one in ended:
            if one["exit"]:
                level = "notice" if one["exit"] == 3 else "warning" if one["exit"] == 6 else "error"
                call.screen.err.write(github(level, f"{one['task']}: {one['status']}", one["reason"]) + "\n")
    if path := call.environ.get("GITHUB_STEP_SUMMARY"):
        _append(path, summary(ended, runs))
    if path := call.environ.get("GITHUB_OUTPUT"):
        _append(path, "".join(f"{key}={' '.join(str(value).split())}\n" for key, value in outputs(ended, runs).items()))
    if path := call.values.get("junit"):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "wb") as file:
            file.write(junit(ended, runs))


def _append(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def record_of(call: Call, one: Mapping[str, Any]) -> "Run | None":
    """The record of the run that ended so: the live one, else the one that its merge brought."""
    from kin import git
    from kin.store import records

    if not one.get("run"):
        return None
    live = records.live(call.project, one["task"])
    if live and live.run == one["run"]:
        return live
    path = f".kin/pipelines/{one['task']}/{one['run']}.yaml"
    raw = git.blob(call.project.root, one["merge"], path) if one.get("merge") else None
    return records.parse(raw.decode(), path) if raw else None


def cost_of(runs: "Sequence[Run | None]") -> Sum:
    """What the runs' steps have cost together."""
    total = Sum()
    for step in (step for run in runs if run for step in run.steps):
        total = total.plus(step)
    return total


def outputs(ended: Sequence[Mapping[str, Any]], runs: "Sequence[Run | None]") -> dict[str, object]:
    """The job's outputs: of several tasks, status, branch and commit are those of the first that decided the exit code."""
    first = next((one for one in ended if one["exit"]), ended[0] if ended else {})
    cost = cost_of(runs)
    return {
        "status": first.get("status", "nothing ready"),
        "cost_usd": round(cost.cost_usd, 4),
        "tokens": cost.tokens_in + cost.tokens_out,
        "branch": first.get("branch") or "",
        "sha": first.get("merge") or "",
        "url": first.get("url") or "",
    }


def summary(ended: Sequence[Mapping[str, Any]], runs: "Sequence[Run | None]") -> str:
    """Markdown: a row a task, and below it the whole reason of each that is not done."""
    lines = ["### kin", "", "| task | status | cost | tokens | |", "| --- | --- | --- | --- | --- |"]
    for one, run in zip(ended, runs, strict=True):
        cost = cost_of([run])
        first = (one["reason"].splitlines() or [""])[0]
        cells = (one["task"], one["status"], f"${cost.cost_usd:.2f}", f"{cost.tokens_in + cost.tokens_out:,}", first)
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    for one in ended:
        if one["exit"] and "\n" in one["reason"]:
            lines += ["", f"<details><summary>{cell(one['task'])}</summary>", "", *fenced(one["reason"]), "", "</details>"]
    return shortened("\n".join(lines) + "\n")


def shortened(text: str) -> str:
    """Text that a host takes."""
    return text if len(text) <= MOST else text[:MOST].rpartition("\n")[0] + "\n\n(shortened)\n"


def junit(ended: Sequence[Mapping[str, Any]], runs: "Sequence[Run | None]") -> bytes:
    """JUnit XML: a suite a task, a case a step and a gate."""
    from xml.etree import ElementTree as xml

    root = xml.Element("testsuites", name="kin")
    for one, run in zip(ended, runs, strict=True):
        suite = xml.SubElement(root, "testsuite", name=one["task"])
        cases = [(s.id, s.seconds, str(s.status), s.reason) for s in run.steps] if run else []
        cases += [(f"gate {g.name}", g.seconds, g.verdict, one["reason"]) for g in run.gates] if run else []
        if one["exit"] and not any(status in ("failed", "fail", "error") for _, _, status, _ in cases):
            cases.append((one["status"], 0.0, "skipped" if one["exit"] in (3, 6) else "failed", one["reason"]))
        for name, seconds, status, reason in cases:
            case = xml.SubElement(suite, "testcase", classname=one["task"], name=_legal(name), time=f"{seconds:.3f}")
            if status in ("failed", "fail", "error"):
                xml.SubElement(case, "failure", message=_legal(reason.partition("\n")[0])).text = _legal(reason)
            elif status not in ("done", "pass"):
                xml.SubElement(case, "skipped", message=_legal(reason.partition("\n")[0]))
        suite.set("tests", str(len(cases)))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
        suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    return bytes(xml.tostring(root, "utf-8", xml_declaration=True)) + b"\n"


def _legal(text: str) -> str:
    """Text without the characters that XML 1.0 cannot hold."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
