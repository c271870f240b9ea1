"""`kin publish` and `kin ci`: kin's part in a CI host's jobs, beside `kin run --push`."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from kin import __version__, git
from kin.cli.consent import consent
from kin.cli.cost import money
from kin.cli.job import cost_of, shortened, told
from kin.cli.output import Call, Result
from kin.cli.run import report, starter
from kin.cli.screen import counted
from kin.cli.show_run import Display
from kin.errors import Invalid, NotFound, Usage
from kin.model.record import Run
from kin.resources import shipped
from kin.runner.process.events import Caller
from kin.runner.process.signals import Cancel
from kin.runner.remote.forge import cell
from kin.runner.remote.host import job_of
from kin.runner.remote.target import find_target
from kin.runner.runs.begin import Asked
from kin.runner.runs.publish import plan_of, publish
from kin.store import decisions, files, records, tasks
from kin.store.view import see

FOLDERS = {"github": ".github", "gitlab": ".gitlab", "woodpecker": ".woodpecker"}
"""Where each host looks for what it is to do."""
MATRIX = 256
"""Jobs that GitHub takes of one matrix; what is ready beyond that is so the next time, too."""
MARKER = "<!-- kin report -->"
"""The comment's first line, by which it is found again, whoever wrote it."""


def publish_(call: Call) -> Result:
    """Land what a job without the right to push handed over."""
    return told(call, _publish)


def _publish(call: Call) -> Result:
    asked = Asked(base=call["base"], started_by=starter(call), push=True, plays=False)
    wanted = call["task"] and tasks.resolve(call.project, call["task"])
    plan, oid = plan_of(call.project, call["file"], asked, call.environ, wanted)
    consent(call, [plan], steps=False)
    with Display(call.screen, alone=True) as display, Cancel() as cancel:
        outcome = publish(call.project, plan, oid, asked, Caller(call.environ, display.hear, cancel))
    return report([outcome], told=True)


def ci_init(call: Call) -> Result:
    """Write a host's workflows; what is there stays."""
    host = call["host"] or job_of(call.environ).host
    if host not in FOLDERS:
        raise Usage("which host?", f"`kin ci init` and one of {', '.join(FOLDERS)}")
    source, made, kept = os.path.join(shipped(".kin-template"), "ci", host), [], []
    for folder, _, names in os.walk(source):
        for name in sorted(names):
            inner = os.path.relpath(os.path.join(folder, name), source)
            shown = os.path.join(FOLDERS[host], inner)
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                text = file.read().replace("{version}", __version__)
            path = os.path.join(call.project.root, shown)
            if os.path.lexists(path):
                kept.append(shown)
                continue
            files.write_new(path, text)
            made.append(shown)
    lines = [*(f"made   {path}" for path in made), *(f"kept   {path}: it was there" for path in kept)]
    lines.append("Look at them, commit them; their first lines say what they need. `kin doctor --ci` checks a job.")
    return Result("ci", {"host": host, "made": made, "kept": kept}, lines)


def ci_matrix(call: Call) -> Result:
    """Ids among the first line's words (`kin:KIN-12`, `/kin run KIN-12`), else all that are ready."""
    first = (" ".join(call["ids"]).splitlines() or [""])[0]
    asked = [word.removeprefix("kin:") for word in first.split() if word not in ("/kin", "run")]
    ids = [tasks.resolve(call.project, word) for word in asked] if asked else list(see(call.project).ready)
    text = json.dumps(list(dict.fromkeys(ids))[:MATRIX])
    if path := call.environ.get("GITHUB_OUTPUT"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"tasks={text}\n")
    return Result("ci", json.loads(text), [text])


def ci_report(call: Call) -> Result:
    """Markdown of what HEAD does to tasks, decisions and the bill, compared with `--base`."""
    cwd = call.project.root
    base = call["base"] and git.tip(cwd, call["base"])
    if call["base"] and not base:
        raise NotFound(f"there is no commit {call['base']}", "fetch it first: `git fetch --depth=2` in a job at depth 1")
    head = git.tip(cwd, "HEAD") or ""
    if not base:
        target = find_target(call.project, job_of(call.environ).branch)
        base = git.merge_base(cwd, target.oid, head) or target.oid
    changed = [c.path for c in git.changes(cwd, base, head, ".kin/")]
    rows = list(_tasks(cwd, base, head, changed))
    found = [_parsed(cwd, head, path, decisions.parse) for path in changed if path.startswith(".kin/decisions/")]
    taken = [one for one in found if one is not None]
    runs = [_parsed(cwd, head, path, records.parse) for path in changed if path.startswith(".kin/pipelines/")]
    lines = [MARKER, "### kin", ""]
    lines += ["| task | | status |", "| --- | --- | --- |"] if rows else ["No task changes."]
    lines += [f"| {' | '.join(map(cell, (r['task'], r['title'])))} | {cell(r['before'])} → {cell(r['after'])} |" for r in rows]
    lines += ["", "**Decisions**", ""] if taken else []
    lines += [f"- {cell(one.id)}: {cell(one.title)} ({cell(one.kind)})" for one in taken]
    lines += ["", _bill(runs)] if any(runs) else []
    data = {"base": base, "head": head, "tasks": rows, "decisions": [one.id for one in taken]}
    return Result("ci", data, [shortened("\n".join(lines))])


def _tasks(cwd: str, base: str, head: str, changed: Sequence[str]) -> Iterator[dict[str, str]]:
    for path in changed:
        if match := re.fullmatch(r"\.kin/tasks/([^/]+)\.yaml", path):
            before, after = _parsed(cwd, base, path, tasks.parse), _parsed(cwd, head, path, tasks.parse)
            said = [str(task.status) if task else "absent" for task in (before, after)]
            one = after or before
            if one and (said[0] != said[1] or before.title != after.title):
                yield {"task": match[1], "title": one.title, "before": said[0], "after": said[1]}


def _parsed(cwd: str, revision: str, path: str, parse: Any) -> Any:
    """The file as `revision` has it; None if it is not there, or wrong, which `kin check` tells."""
    raw = git.blob(cwd, revision, path)
    try:
        return None if raw is None else parse(raw.decode("utf-8", "replace"), path)
    except Invalid:
        return None


def _bill(runs: Sequence[Run | None]) -> str:
    cost, number = cost_of(runs), sum(run is not None for run in runs)
    return f"**Cost**: {counted(number, 'run')}, {cost.tokens_in + cost.tokens_out:,} tokens, {money(cost)}"
