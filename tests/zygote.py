"""A Python that has loaded kin and forks for each call: a process of its own every time, without 150 ms of imports.

Most of a short test was Python importing the same modules again.

A caller connects to the loaded process's socket, hands over three streams and what to run, and is told the new process's pid
and, once that has ended, its exit code. Run as `zygote.py SOCKET WORDS`, this file calls for a shell.
"""

import marshal
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

LATE = ["rich.live", "rich.console", "rich.text", "watchdog.observers", "ruamel.yaml", "filelock", "difflib"]
LATE += ["platformdirs.unix", "encodings.ascii"]
"""What kin imports where it is used."""


def ask(
    answer: socket.socket, words: Sequence[str], cwd: str, env: Mapping[str, str], streams: Sequence[int], session: bool
) -> int:
    """Have `python WORDS` forked with these streams, in a session of its own if wished; its pid."""
    request = marshal.dumps((list(words), cwd, dict(env), session))
    socket.send_fds(answer, [len(request).to_bytes(4, "big")], list(streams))
    answer.sendall(request)
    return int.from_bytes(answer.recv(4), "big")


def serve(listener: socket.socket) -> None:
    """Fork for each that calls, and tell how it ended, until standard input does."""
    import selectors

    signal.signal(signal.SIGCHLD, lambda *_: None)
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    living: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for readable in (0, listener, woken):
            selector.register(readable, selectors.EVENT_READ)
        while 0 not in (ready := {key.fileobj for key, _ in selector.select()}):
            if woken in ready:
                woken.recv(4096)
                reap(living)
            if listener in ready:
                answer, _ = listener.accept()
                pid = os.fork()
                if pid == 0:
                    become(answer)
                living[pid] = answer
                tell(answer, pid.to_bytes(4, "big"))


def reap(living: dict[int, socket.socket]) -> None:
    """Tell those whose processes have ended."""
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with living.pop(pid) as answer:
            tell(answer, b"%d" % os.waitstatus_to_exitcode(status))


def tell(answer: socket.socket, what: bytes) -> None:
    try:
        answer.sendall(what)
    except OSError:  # who asked is gone
        return


def become(answer: socket.socket) -> None:
    """This process as `python WORDS` is a moment after its imports."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        head, streams, _, _ = socket.recv_fds(answer, 4, 3)
        words, cwd, env, session = marshal.loads(answer.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        os.closerange(3, 1024)
        if session:
            os.setsid()
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        code = run(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue
        os._exit(code)


def run(words: Sequence[str]) -> int:
    """Do what the interpreter does for `-m kin WORDS`, `-c TEXT WORDS` or `FILE WORDS`."""
    import io
    import runpy
    import time

    time.tzset()
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), encoding="utf-8", line_buffering=os.isatty(1))
    sys.stderr = io.TextIOWrapper(
        open(2, "wb", closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    if words[0] == "-m":
        sys.argv = list(words[1:])
        if words[1] == "kin":
            from kin.cli.main import main

            return main()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = list(words)
        sys.path[0] = os.path.dirname(os.path.abspath(words[0]))
        runpy.run_path(words[0], run_name="__main__")
    return 0


def load() -> None:
    """Import all of kin, and what its models and long commands need."""
    import gc
    import importlib
    import pkgutil

    import pydantic

    import kin

    for module in pkgutil.walk_packages(kin.__path__, "kin."):
        if module.name not in ("kin.__main__", "kin.runner.process.supervisor"):
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    models = pydantic.BaseModel.__subclasses__()
    for model in models:
        models += model.__subclasses__()
        model.model_rebuild()  # else at its first use
    kin.agents.built_in()  # which is kept, too
    gc.collect()
    gc.freeze()  # what is loaded is shared with every fork: looking for garbage in it would copy its pages


def call(path: str, words: Sequence[str]) -> int:
    """Stand in for `python WORDS` in a shell: its streams, and its exit code."""
    with socket.socket(socket.AF_UNIX) as answer:
        answer.connect(path)
        ask(answer, words, os.getcwd(), os.environ, (0, 1, 2), False)
        return int(answer.recv(16))


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        load()
        serve(socket.socket(fileno=int(sys.argv[1])))
    else:
        code = call(sys.argv[1], sys.argv[2:])
        if code < 0:
            os.kill(os.getpid(), -code)
        sys.exit(code)
