"""Telling people and programs how a run ended: each in a process of its own (process/notifier.py) that no run waits for."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from kin.model.settings import Notify
from kin.model.status import BlockedKind, WaitFor
from kin.runner.runs.outcome import Outcome
from kin.store.project import Project

_WAITS = {WaitFor.review: "review", WaitFor.plan: "review", WaitFor.question: "question"}
_BLOCKED = {BlockedKind.question: "question", BlockedKind.budget: "budget"}


def event_of(outcome: Outcome) -> str | None:
    """What an outcome is to those who want to be told, as `on:` names it; None if it is nothing to them."""
    if outcome.blocked:
        return _BLOCKED.get(BlockedKind(outcome.blocked), "blocked")
    if outcome.waiting:
        return _WAITS.get(outcome.waiting["for"], "waiting")
    return "done" if outcome.exit == 0 else None


def notify(project: Project, entries: Sequence[Notify], outcome: Outcome, title: str, environ: Mapping[str, str]) -> None:
    """Start telling all who want to know of this outcome. Takes a few milliseconds; never raises, whatever they name."""
    event = event_of(outcome)
    for entry in entries:
        if event in entry.on:
            name = os.path.basename(project.root)
            told = {"kin": 1, "event": event, "project": name, "title": title} | outcome._asdict()
            _start(project, entry, f"{event} {outcome.task}", json.dumps(told).encode() + b"\n", environ)


def _start(project: Project, entry: Notify, what: str, told: bytes, environ: Mapping[str, str]) -> None:
    """The text is smaller than a pipe, so writing it waits for nobody. A URL may hold a secret: it goes by the environment."""
    argv = [sys.executable, "-P", "-X", "utf8", "-m", "kin.runner.process.notifier", str(entry.timeout), what]
    env = {**environ, "KIN_DIR": project.store, "KIN_NOTIFY": entry.webhook or entry.run or ""}
    path = os.path.join(project.common, "logs", "notify.log")
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(
                [*argv, "post" if entry.webhook else "run"],
                cwd=project.root,
                env=env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        assert process.stdin
        process.stdin.write(told)
        process.stdin.close()
        process.returncode = 0  # nobody waits for it: it belongs to init once we are gone
    except OSError:  # no processes, files or space left: the run's end is not held up by that
        return
