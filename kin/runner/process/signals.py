"""How a command is asked to stop: signals become descriptors that every waiting loop, in any thread, can watch.

Apart from what reacts, because Python runs a signal's handler in the main thread only and only between two instructions: a
loop that is just about to wait would sleep through it. The kernel's handler writes to a pipe at once instead.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kin.errors import Interrupted

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_PRESS = 0.05
"""Seconds in which a second SIGINT is the same Ctrl-C: wrappers (npm, uv) pass on what the terminal sent us already."""


@contextmanager
def taking_signals(wake: int) -> Iterator[None]:
    """Have the numbers of signals that ask to stop written into the pipe `wake`; not of those that were ignored."""
    os.set_blocking(wake, False)
    before_fd = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    # Any handler will do: it makes the kernel's own write to the pipe, even while the main thread is busy.
    taken = (number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN)
    before = {number: signal.signal(number, lambda *_: None) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)


class Cancel:
    """Whether, how urgently and by which signal we are asked to stop.

    `level` is 0, 1 (stop cleanly) or 2 (at once: a second Ctrl-C), `number` the first signal. `fd` is readable from level 1
    on, `fd_at_once` from level 2, for good: nobody reads from them, so any number of loops can watch. As a context manager
    it takes SIGINT, SIGTERM and SIGHUP, except those that were ignored (nohup, a shell's background job). Python code then
    sees no KeyboardInterrupt, so prompts belong before it.
    """

    def __init__(self) -> None:
        self.level = 0
        self.number = 0
        self._pressed = 0.0
        self._lock = threading.Lock()
        (self.fd, first), (self.fd_at_once, second) = os.pipe(), os.pipe()
        self._ends = [first, second]

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Ask to stop, as signal `number` does; a second SIGINT asks to stop at once."""
        with self._lock:
            now = time.monotonic()
            again = number == signal.SIGINT and self.level == 1 and now - self._pressed > SAME_PRESS
            if number == signal.SIGINT:
                self._pressed = now
            if self.level == 0 or again:
                self.number = self.number or number
                self.level += 1
                os.close(self._ends.pop(0))  # end of file: readable from now on

    def check(self) -> None:
        """Raise Interrupted if we are asked to stop."""
        if self.level:
            raise Interrupted(self.number)

    def __enter__(self) -> "Cancel":
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        self._taken = taking_signals(self._wake)
        self._taken.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._taken.__exit__(*error)
        os.write(self._wake, b"\0")
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)

    def _listen(self) -> None:
        """Turn signal numbers into levels until the context ends; a thread, so that it needs nobody's loop."""
        while True:
            for number in os.read(self._woken, 256):
                if number == 0:
                    return
                if number in ASKING:
                    self.ask(number)

    def __del__(self) -> None:
        for fd in (*self._ends, self.fd, self.fd_at_once):
            os.close(fd)
