"""A line at a terminal that tells how far a long command has come; nothing where nobody watches."""

from time import monotonic

from kin.cli.screen import Screen

PAUSE = 0.1
"""Seconds between two states of the line; before the first one three of these pass, since most commands end by then."""


class Progress:
    """`tick(done, most)` shows `1,200 of 10,000 <what>` on standard error; it is None where that is no terminal."""

    def __init__(self, screen: Screen, what: str) -> None:
        self.err, self.what = screen.err, what
        self.next = monotonic() + 3 * PAUSE
        self.tick = self._tick if self.err.isatty() and not (screen.json or screen.quiet) else None
        self.shown = False

    def _tick(self, done: int, most: int) -> None:
        if monotonic() >= self.next:
            self.next = monotonic() + PAUSE
            self.err.write(f"\r{done:,} of {most:,} {self.what}\x1b[K")
            self.err.flush()
            self.shown = True

    def close(self) -> None:
        """Take the line away."""
        if self.shown:
            self.err.write("\r\x1b[K")
            self.err.flush()
