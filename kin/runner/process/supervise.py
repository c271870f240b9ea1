"""Driving the supervisor: one step at a time is started, read, limited, cancelled, and reported once nothing of it lives.

The loop waits on descriptors with monotonic deadlines and does nothing else: output, the supervisor's answer, and the wish to
stop. The write ends of the two output pipes belong to the supervisor and serve all its steps; since it reports a step's end
after everything that could write is dead, an empty pipe is then the end of the output, and nobody waits for an end of file
that a stray could withhold.
"""

import marshal
import math
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from kin.runner.process import reap
from kin.runner.process.lines import READ_SIZE, Lines
from kin.runner.process.logs import StepLog
from kin.runner.process.mask import Mask
from kin.runner.process.signals import Cancel
from kin.store.locks import Held

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "supervisor.py")
KILLED_WITHIN = 10.0
"""Seconds after KILL in which a step must be gone; what hangs in the kernel, or is another user's, is given up then."""
CLOSED_WITHIN = 5.0
LONGEST_WAIT = 24 * 3600.0
"""Seconds; the kernel's counter of milliseconds ends after 24 days, and limits may be longer."""
PIPE_SIZE = 1024 * 1024
DRAIN_READS = 2 * PIPE_SIZE // READ_SIZE

OnLine = Callable[[str, str], None]
"""Called with "stdout" or "stderr" and each whole, masked line."""


class Limits(NamedTuple):
    """Seconds: for the whole step, between two outputs, and until the first one. None: no such limit."""

    total: float
    idle: float | None = None
    first_output: float | None = None


class Ended(NamedTuple):
    """How a step ended.

    `exit` is the exit code, negative for a signal, None if unknown. `why`: `exited`, before kin asked it to; `timeout`, `idle`,
    `first_output` (a limit); `cancelled`; `lost` (the supervisor was killed); `cannot_start`; or what was given to
    `Supervisor.stop`. The tails are the last 4,000 masked characters of each stream. `error` says more about `lost` and
    `cannot_start`.
    """

    exit: int | None
    why: str
    seconds: float
    tail_out: str = ""
    tail_err: str = ""
    error: str = ""


class _Gone(Exception):
    """The supervisor's side of the socket is closed."""


class Supervisor:
    """The supervisor of one run. It starts in the background when this is made, and ends all its processes on `close`.

    `kids` is the held lock KIN-12.kids, which it and the agents inherit; `grace` is the time in seconds between TERM and KILL;
    `before` are words that are put before every command. Not for several threads at once; each run has its own.
    """

    def __init__(
        self, *, run: str, kids: Held, cancel: Cancel, mask: Mask, grace: float = 5.0, before: Sequence[str] = ()
    ) -> None:
        self._run, self._kids, self._cancel, self._mask, self._grace = run, kids, cancel, mask, grace
        self._before = before
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = ""
        self._start()

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        stdin: str | None = None,
        limits: Limits,
        log: StepLog | None = None,
        on_line: OnLine | None = None,
    ) -> Ended:
        """Run one command to its end, and the end of all that it started. `env` is its whole environment.

        `stdin` is a file; None is /dev/null. An error that `on_line` raises ends the step and comes out here.
        """
        if self._cancel.level:
            return Ended(None, "cancelled", 0.0)
        process = self._process or self._start()
        self._stop = ""
        step = _Step(self._mask, limits, self._grace, log, on_line)
        try:
            self._send(([*self._before, *argv], cwd, dict(env), stdin or ""))
            status, error, unasked, left = self._wait(step)
        except _Gone:
            return self._lost(step, process)
        except BaseException:
            self.close()
            raise
        self._drain(step)
        if left:  # the next step's supervisor has nothing to do with it
            self.close()
            step.note(f"pid {', '.join(map(str, left))} cannot be ended: another user's?")
        if not reap.LINUX:
            reap.end_leftovers(self._kids.path, self._run)
        if error:
            return step.end(None, "cannot_start", error)
        return step.end(os.waitstatus_to_exitcode(status), "exited" if unasked else step.ending)

    def stop(self, why: str) -> None:
        """End the step that runs, as a limit would; for `on_line`. `why` becomes `Ended.why` (`budget`)."""
        self._stop = why

    def close(self) -> None:
        """End the supervisor and whatever it still has. Closing twice is harmless."""
        if self._process is not None:
            self._end_supervisor(self._process)
            self._close_pipes()

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        self._control, theirs = socket.socketpair()
        (self._out, out), (self._err, err) = _output_pipe(), _output_pipe()
        inherited = (theirs.fileno(), out, err, self._kids.fd)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", PROGRAM, *map(str, inherited), self._run],
            pass_fds=inherited,
            start_new_session=True,  # a terminal's Ctrl-C and hang-up are for the runner alone
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,  # should it ever break, its traceback is in the step's log
            cwd="/",
        )
        theirs.close()
        self._control.settimeout(KILLED_WITHIN)
        os.close(out)
        os.close(err)
        self._selector = selectors.DefaultSelector()
        for fd in (self._control.fileno(), self._out, self._err):
            self._selector.register(fd, selectors.EVENT_READ)
        return self._process

    def _wait(self, step: "_Step") -> tuple[int, str, bool, list[int]]:
        """Read and watch until the supervisor says that the step is gone, and give its answer. Raises _Gone."""
        watched = [self._cancel.fd, self._cancel.fd_at_once]
        for fd in watched:
            self._selector.register(fd, selectors.EVENT_READ)
        try:
            while True:
                events = self._selector.select(step.wait())
                answer = None
                for key, _ in events:
                    if key.fd == self._control.fileno():
                        answer = self._receive()
                    elif key.fd in watched:
                        self._selector.unregister(key.fd)  # it stays readable
                        watched.remove(key.fd)
                    else:
                        self._read(step, key.fd)
                if answer:
                    return answer
                if number := step.due(time.monotonic(), bool(events), self._cancel.level, self._stop):
                    self._send(int(number))
                if step.hopeless:
                    raise _Gone
        finally:
            for fd in watched:
                self._selector.unregister(fd)

    def _read(self, step: "_Step", fd: int) -> bool:
        """Hand on what one output pipe holds, at most READ_SIZE; whether it held something."""
        try:
            raw = os.read(fd, READ_SIZE)
        except BlockingIOError:
            return False
        if raw:
            step.take("stdout" if fd == self._out else "stderr", raw, time.monotonic())
        else:  # all writers are dead: the supervisor's end is noticed on the other descriptor
            self._selector.unregister(fd)
        return bool(raw)

    def _drain(self, step: "_Step") -> None:
        """Read to the end what dead processes have written, which the pipes held; and no further, should one have survived."""
        for fd in (self._out, self._err):
            if fd in self._selector.get_map():
                for _ in range(DRAIN_READS):
                    if not self._read(step, fd):
                        break
        step.finish()

    def _lost(self, step: "_Step", process: "subprocess.Popen[bytes]") -> Ended:
        """The supervisor is dead, or cannot end the step: end what it left, and begin with a new one next time."""
        self._end_supervisor(process)
        ended = reap.end_leftovers(self._kids.path, self._run)
        left = reap.find_leftovers(self._kids.path, self._run)
        self._drain(step)
        self._close_pipes()
        error = f"the step's supervisor was lost; {ended} processes that it left were ended"
        if left:
            error += f"; pid {', '.join(map(str, sorted(left)))} cannot be ended"
        return step.end(None, step.ending or "lost", error)

    def _end_supervisor(self, process: "subprocess.Popen[bytes]") -> None:
        """Tell it to end everything and itself; if it does not, end it."""
        self._process = None
        with suppress(OSError):  # it may be gone already
            self._control.shutdown(socket.SHUT_WR)
        if not self._closed_within(CLOSED_WITHIN):
            # It was stopped, or waits for a process that cannot die. SIGCONT first: it alone sees all of its descendants.
            process.send_signal(signal.SIGCONT)
            if not self._closed_within(CLOSED_WITHIN):
                process.kill()
        process.wait()

    def _close_pipes(self) -> None:
        self._selector.close()
        self._control.close()
        for fd in (self._out, self._err):
            os.close(fd)

    def _send(self, message: tuple[list[str], str, dict[str, str], str] | int) -> None:
        body = marshal.dumps(message)
        try:
            self._control.sendall(len(body).to_bytes(4, "big") + body)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            raise _Gone from None

    def _receive(self) -> tuple[int, str, bool, list[int]]:
        """The answer, which is short and comes in one piece."""
        try:
            raw = self._control.recv(65536)
        except ConnectionResetError:
            raw = b""
        if not raw:
            raise _Gone
        answer: tuple[int, str, bool, list[int]] = marshal.loads(raw[4:])
        return answer

    def _closed_within(self, seconds: float) -> bool:
        """Whether the supervisor closes its side, which is its end, within that time."""
        self._control.settimeout(seconds)
        try:
            while self._control.recv(65536):
                pass
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass
        return True


class _Step:
    """A step that runs: its output so far, its deadlines, and how far its ending has come."""

    def __init__(self, mask: Mask, limits: Limits, grace: float, log: StepLog | None, on_line: OnLine | None) -> None:
        self.ending = ""
        self.hopeless = False
        self._streams = {"stdout": Lines(mask), "stderr": Lines(mask)}
        self._limits, self._grace, self._log, self._on_line = limits, grace, log, on_line
        self._began = time.monotonic()
        self._last: float | None = None
        self._left_out = 0
        self._kill_at = self._give_up_at = math.inf

    def take(self, stream: str, raw: bytes, now: float) -> None:
        self._last = now
        self._hand_on(stream, self._streams[stream].feed(raw, now))

    def finish(self) -> None:
        """Hand on last lines that nothing ended, and say what was left out."""
        for stream, lines in self._streams.items():
            self._hand_on(stream, lines.finish())

    def _hand_on(self, stream: str, lines: list[str]) -> None:
        if not lines:
            return
        left_out = sum(s.left_out for s in self._streams.values())
        if self._log:
            if left_out > self._left_out:
                self._log.note(f"{left_out - self._left_out} bytes of output were left out: they came faster than can be kept")
            self._log.write(stream, lines)
        self._left_out = left_out
        if self._on_line:
            for line in lines:
                self._on_line(stream, line)

    def note(self, text: str) -> None:
        if self._log:
            self._log.note(text)

    def deadlines(self) -> list[tuple[float, str]]:
        """When which limit ends the step."""
        total, idle, first = self._limits
        times = [(self._began + total, "timeout")]
        if self._last is None and first is not None:
            times.append((self._began + first, "first_output"))
        if idle is not None:
            times.append(((self._last or self._began) + idle, "idle"))
        return times

    def wait(self) -> float | None:
        """Seconds until something is due if nothing happens."""
        due = min(self.deadlines())[0] if not self.ending else min(self._kill_at, self._give_up_at)
        return None if due == math.inf else min(max(0.0, due - time.monotonic()), LONGEST_WAIT)

    def due(self, now: float, stirred: bool, cancel: int, stop: str) -> int:
        """The signal that the step must be sent now, or 0.

        `stirred`: something just came in. Then it is not silent, however late it is: kin may have been stopped or busy, and
        the step's output have waited in the pipe.
        """
        if not self.ending:
            when, limit = min(self.deadlines())
            over = now >= when and (limit == "timeout" or not stirred)
            self.ending = "cancelled" if cancel else stop or (limit if over else "")
            if not self.ending:
                return 0
            self._kill_at = now + self._grace
            if cancel < 2:
                return signal.SIGTERM
        if now >= self._give_up_at:
            self.hopeless = True
        if (now >= self._kill_at or cancel == 2) and self._give_up_at == math.inf:
            self._kill_at, self._give_up_at = math.inf, now + KILLED_WITHIN
            return signal.SIGKILL
        return 0

    def end(self, status: int | None, why: str, error: str = "") -> Ended:
        out, err = self._streams["stdout"].tail, self._streams["stderr"].tail
        return Ended(status, why, time.monotonic() - self._began, out, err, error)


def own_pids() -> tuple[str, ...]:
    """Words before a command that give it a pid namespace of its own, which dies with it; () where that is not to be had.

    A shell is the namespace's first process: as such, a command without a handler for TERM would not be ended by it.
    """
    program, words = shutil.which("unshare"), ("--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--")
    for user in ((), ("--map-current-user",)) if program else ():
        before = (str(program), *user, *words, "/bin/sh", "-c", '"$@"; exit $?', "sh")
        if not subprocess.run((*before, "true"), stdin=subprocess.DEVNULL, capture_output=True).returncode:
            return before
    return ()


def _output_pipe() -> tuple[int, int]:
    """A pipe whose read end does not block; as large as Linux gives everybody, for agents that print much."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # the user's pipes hold too much already: a small one works too
            fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return ours, theirs
