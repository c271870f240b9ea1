"""Processes that a loaded Python forks (zygote.py), used as those of subprocess are.

What a fresh interpreter alone shows (imports, encodings) is started afresh; `FRESH_KIN=1` starts every call so.
"""

import atexit
import contextlib
import functools
import inspect
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zygote

PROGRAM = os.path.abspath(zygote.__file__)


def start(
    words: Sequence[str], *, env: Mapping[str, str] | None = None, wraps: tuple[str, ...] = (), **how: Any
) -> "subprocess.Popen[Any]":
    """`WRAPS python WORDS` as a process of its own that goes on while the test does; `how` is subprocess's.

    Who it is to be (setpriv) has a zygote of its own; behind any other words a Python starts afresh.
    """
    env = os.environ if env is None else env
    forked = "FRESH_KIN" not in env and wraps[:1] in ((), ("setpriv",))
    if not forked or _read_at_start(env) != _loaded(wraps)[1]:
        return subprocess.Popen([*wraps, sys.executable, *words], env=env, **how)
    return _Forked(words, wraps, env=env, **how)


def run(words: Sequence[str], *, input: str = "", timeout: float = 100, **how: Any) -> "subprocess.CompletedProcess[str]":
    """`python WORDS` to its end, with both streams read."""
    for name in ("stdin", "stdout", "stderr"):
        how.setdefault(name, subprocess.PIPE)
    with start(words, text=True, encoding="utf-8", **how) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def stand_in(place: Path, *words: str, fresh: bool = False) -> Path:
    """A program `python WORDS ...` for a shell; a signal to it does not reach what it stands for."""
    argv = ["-P"] if fresh or "FRESH_KIN" in os.environ else ["-IS", PROGRAM, _loaded()[0]]
    place.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *argv, *words])} "$@"\n')
    place.chmod(0o755)
    return place


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    """What an interpreter reads when it starts, or kin before all else."""
    return {name: value for name, value in env.items() if name.startswith(("PYTHON", "LC_", "LANG", "_KIN"))}


@functools.cache
def _loaded(wraps: tuple[str, ...] = ()) -> tuple[str, dict[str, str]]:
    """The socket of this process's zygote, which starts when it is first needed and ends with this process; its environment."""
    place = os.path.join(tempfile.mkdtemp(prefix="kin-"), "zygote")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(64)
        argv = [*wraps, sys.executable, PROGRAM, str(listener.fileno())]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
    atexit.register(shutil.rmtree, os.path.dirname(place))
    atexit.register(process.communicate)
    return place, _read_at_start(os.environ)


class _Forked(subprocess.Popen[Any]):
    def __init__(self, words: Sequence[str], wraps: tuple[str, ...], **how: Any) -> None:
        self._zygote = _loaded(wraps)[0]
        super().__init__([sys.executable, *words], **how)

    def _execute_child(self, *given: Any) -> None:
        wanted = inspect.signature(super()._execute_child).bind(*given).arguments
        ends = [wanted[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        streams = [number if fd == -1 else fd for number, fd in enumerate((ends[0], ends[3], ends[5]))]
        self._answer = socket.socket(socket.AF_UNIX)
        self._answer.connect(self._zygote)
        cwd, session = os.fspath(wanted["cwd"] or os.getcwd()), wanted["start_new_session"]
        self.pid = zygote.ask(self._answer, wanted["args"][1:], cwd, wanted["env"], streams, session)
        self._child_created = True
        self._close_pipe_fds(*ends)

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            self._answer.settimeout(timeout)
            try:
                self.returncode = int(self._answer.recv(16))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._answer.close()
        return self.returncode

    def _internal_poll(self, *_: object, **__: object) -> int | None:
        # closed: subprocess asks once more for each that a test which failed left behind
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._answer.fileno() >= 0:
                self._wait(0)
        return self.returncode
