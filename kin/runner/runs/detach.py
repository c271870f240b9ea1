"""A run that outlives whoever started it: a session of its own, no terminal, no open streams, followed by `kin log -f`.

The caller learns the run's id, or why nothing runs, over a pipe; then the pipe closes and nothing binds the two.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import RawIOBase
from typing import Any, NoReturn

from kin.errors import Failed, Invalid, KinError, of_system
from kin.runner.process.events import Caller, Event
from kin.runner.process.signals import ASKING, Cancel
from kin.runner.runs.begin import Asked
from kin.runner.runs.many import Crew, run_many
from kin.runner.runs.outcome import Outcome
from kin.runner.runs.pipeline import run_task
from kin.store import locks
from kin.store.config import load_settings
from kin.store.project import Project
from kin.store.tasks import load

SSH_AGENTS = ("ssh-agent.socket", "openssh_agent", "gcr/ssh", "keyring/ssh", "gnupg/S.gpg-agent.ssh")
"""Where systemd, Debian, GNOME (new and old) and GnuPG put their agents' sockets, below the user's runtime folder."""


Allow = Callable[[str], None]


def start_detached(
    project: Project, ids: Sequence[str], asked: Asked, *, environ: Mapping[str, str], allow: Allow | None = None
) -> Outcome:
    """Start a run of a task in a process of its own and come back once it has its record.

    With `allow` (see `run_many`) several tasks run from there, and what plans make of them; the first to start is told of.
    The outcome's run is None if nothing runs (`exit` and `reason` say why), or if it queues for a slot (`asked.wait`).
    """
    hear, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hear)
        _leave(project, ids, asked, environ, os.fdopen(tell, "wb", 0), allow)
    os.close(tell)
    with os.fdopen(hear, "rb") as pipe:
        line = pipe.readline()
    os.waitpid(pid, 0)  # the one in between, which has left already
    if not line:
        words = f"its process was killed before it had a record; `kin run {ids[0]}` starts it again"
        return Outcome(ids[0], None, "unknown", Failed.exit, reason=words)
    return Outcome(*json.loads(line))


def _log_path(project: Project) -> str:
    return os.path.join(project.common, "logs", "detached.log")


def _leave(
    project: Project, ids: Sequence[str], asked: Asked, environ: Mapping[str, str], tell: RawIOBase, allow: Allow | None
) -> NoReturn:
    """Become a process that belongs to nobody and run the tasks. Never returns into the caller."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)  # so that it can never get a terminal again, and init collects it
        _close_streams(project, tell.fileno())
        for number in ASKING:
            signal.signal(number, signal.SIG_DFL)
        _run(project, ids, asked, {**environ, **_ssh_agent(environ), "KIN_NONINTERACTIVE": "1"}, tell, allow)
    except OSError as error:
        if tell.closed:
            traceback.print_exc()  # into the log that stands for standard error
        _say(tell, Outcome(ids[0], None, "unknown", Invalid.exit, reason=str(of_system(error))))
    except BaseException:
        traceback.print_exc()  # there is nobody left to raise to
        _say(tell, Outcome(ids[0], None, "unknown", 70, reason=f"it did not start; {_log_path(project)} says why"))
    finally:
        os._exit(0)


def _say(tell: RawIOBase, outcome: Outcome | tuple[Any, ...]) -> None:
    """Tell whoever started this, once."""
    if not tell.closed:
        with suppress(BrokenPipeError):  # who started us was killed meanwhile: the run goes on
            tell.write(json.dumps(list(outcome)).encode() + b"\n")
        tell.close()


def _close_streams(project: Project, tell: int) -> None:
    """Give the standard streams new ends and close all else: a caller's pipe that we kept would never end for its reader."""
    os.makedirs(os.path.dirname(_log_path(project)), mode=0o700, exist_ok=True)
    nowhere = os.open(os.devnull, os.O_RDWR)
    log = os.open(_log_path(project), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, stream in ((nowhere, 0), (nowhere, 1), (log, 2)):
        os.dup2(source, stream)
    os.closerange(3, tell)
    os.closerange(tell + 1, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))


def _ssh_agent(environ: Mapping[str, str]) -> dict[str, str]:
    """The session's ssh agent for a run whose caller knows of none, as editors and cron do: the first that answers."""
    if "SSH_AUTH_SOCK" in environ:
        return {}
    if sys.platform == "darwin":
        paths = [subprocess.run(["launchctl", "getenv", "SSH_AUTH_SOCK"], capture_output=True, text=True).stdout.strip()]
    else:
        runtime = environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        paths = [os.path.join(runtime, name) for name in SSH_AGENTS]
    for path in filter(os.path.exists, paths):
        with socket.socket(socket.AF_UNIX) as agent, suppress(OSError):
            agent.connect(path)
            return {"SSH_AUTH_SOCK": path}
    return {}


def _run(
    project: Project, ids: Sequence[str], asked: Asked, environ: Mapping[str, str], tell: RawIOBase, allow: Allow | None
) -> None:
    task_id = ids[0]

    def emit(event: Event) -> None:
        if event.kind == "start":
            _say(tell, Outcome(event.task, event.text, "in_progress", 0, reason=f"`kin log -f {event.task}` follows it"))
        elif event.kind == "queue":
            words = f"{event.text}; `kin why {event.task}` shows behind whom, `kin stop {event.task}` takes it out"
            _say(tell, Outcome(event.task, None, load(project, event.task)[0].status.value, 0, reason=words))

    if allow is not None:
        slots = load_settings(project, environ).concurrency
        for outcome in run_many(Crew(project, asked, environ, emit, slots, False, list(ids), allow)):
            _say(tell, outcome)
        return
    with Cancel() as cancel:
        try:
            _say(tell, run_task(project, task_id, asked, Caller(environ, emit, cancel)))
        except KinError as error:
            status = "unknown"
            with suppress(KinError):  # it may be what cannot be read
                taken = locks.is_held(locks.lock_path(project.common, task_id))
                status = "in_progress" if taken else load(project, task_id)[0].status.value
            _say(tell, Outcome(task_id, None, status, error.exit, reason=str(error)))
