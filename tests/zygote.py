"""A kin that is loaded once and forks for each call: a process of its own every time, without its 150 ms of imports.

Most of a short test was Python importing the same modules again. What a fresh interpreter alone shows (imports, encodings,
faults armed at the start) is started afresh; `FRESH_KIN=1` starts every call so.
"""

import contextlib
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

FRESH = ("PYTHON", "KIN_FAULT", "LC_", "LANG", "_KIN")
"""How variables begin that an interpreter or kin reads when it starts."""


class Zygote:
    """The loaded process, and how to have a call of kin forked from it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, os.path.abspath(__file__), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def close(self) -> None:
        """End it; calls that are under way go on."""
        self._socket.close()
        self._process.wait()

    def run(
        self, words: Sequence[str], *, cwd: str, env: dict[str, str], input: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` returns for `python -m kin WORDS`."""
        pipes = [os.pipe() for _ in range(3)]
        (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = pipes
        answer, theirs = socket.socketpair()
        what = json.dumps({"words": list(words), "cwd": cwd, "env": env}).encode("utf-8", "surrogateescape")
        request = os.memfd_create("request")
        os.pwrite(request, what, 0)
        socket.send_fds(self._socket, [b"kin"], [request, theirs.fileno(), stdin, stdout, stderr])
        for fd in (request, stdin, stdout, stderr):
            os.close(fd)
        theirs.close()
        said: dict[int, bytes] = {}
        readers = [threading.Thread(target=_drain, args=(fd, said), daemon=True) for fd in (from_stdout, from_stderr)]
        for reader in readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError), open(to_stdin, "wb") as file:
            file.write(input.encode())
        deadline = time.monotonic() + timeout
        for reader in readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        answer.settimeout(max(0.1, deadline - time.monotonic()))
        with answer:
            code = answer.recv(16)
        if any(reader.is_alive() for reader in readers):
            raise subprocess.TimeoutExpired(["kin", *words], timeout)
        out, err = (said[fd].decode().replace("\r\n", "\n") for fd in (from_stdout, from_stderr))
        return subprocess.CompletedProcess(["kin", *words], int(code), out, err)


def _drain(fd: int, said: dict[int, bytes]) -> None:
    with open(fd, "rb") as file:
        said[fd] = file.read()


def _serve(requests: socket.socket) -> None:
    """Fork for each request one process that forks kin, waits for it and tells how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        words, fds, _, _ = socket.recv_fds(requests, 16, 5)
        if not words:
            return
        if os.fork() == 0:
            requests.close()
            _handle(*fds)
        for fd in fds:
            os.close(fd)


def _handle(request: int, answer: int, *streams: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked = json.loads(os.pread(request, os.fstat(request).st_size, 0).decode("utf-8", "surrogateescape"))
    os.close(request)
    child = os.fork()
    if child == 0:
        os.close(answer)
        _become_kin(asked, streams)
    for fd in streams:
        os.close(fd)
    _, status = os.waitpid(child, 0)
    os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become_kin(asked: dict[str, object], streams: Sequence[int]) -> None:
    """This process as `python -m kin` is a moment after its imports."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(str(asked["cwd"]))
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[call-overload]
    time.tzset()
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        open(2, "wb", closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    from kin.cli.main import main

    sys.argv = ["kin", *asked["words"]]  # type: ignore[misc]
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0)


def _load() -> None:
    """Import all of kin, and what its models and long commands need."""
    import kin

    for module in pkgutil.walk_packages(kin.__path__, "kin."):
        if module.name not in ("kin.__main__", "kin.runner.process.supervisor"):
            importlib.import_module(module.name)
    for name in ("rich.live", "rich.console", "rich.text", "watchdog.observers", "ruamel.yaml", "filelock", "difflib"):
        importlib.import_module(name)


if __name__ == "__main__":
    _load()
    _serve(socket.socket(fileno=int(sys.argv[1])))
