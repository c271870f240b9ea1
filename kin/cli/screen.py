"""The terminal: where words go, how wide it is, whether it shows colours and whether somebody is there to be asked.

Everything that a file or an agent said passes `clean` before it reaches a terminal: a title from a cloned repository must
not move the cursor or set the window's name.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from datetime import datetime

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36"}
STATUS_STYLES = {
    "draft": "dim",
    "in_progress": "cyan",
    "review": "yellow",
    "blocked": "red",
    "done": "green",
    "cancelled": "dim",
}
PAUSE = 0.1
"""Seconds between two states of the line; before the first one three of these pass, since most commands end by then."""
_CONTROLS = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if n not in (9, 10)}
_CONTROLS.update((n, f"\\u{n:04x}") for n in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


class Screen:
    """What a command may print to, and how. With `json` only the document is printed (kin.cli.output does it)."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        no_color: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.json, self.quiet, self.verbose = json, quiet, verbose
        self.out = _open(out or sys.stdout)
        self.err = _open(err or sys.stderr)
        self.terminal = self.out.isatty() and not environ.get("CI")  # a CI host's log may say that it is one
        plain = no_color or bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self.color = self.terminal and not plain
        self.width = _width(self.out, environ) if self.terminal else 0
        self.may_ask = (
            not (json or environ.get("CI") or environ.get("KIN_NONINTERACTIVE"))
            and sys.stdin is not None
            and sys.stdin.isatty()
            and self.err.isatty()
        )

    def paint(self, text: str, style: str) -> str:
        """`text` in a style, where colours are shown."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color and style and text else text

    def status(self, word: str, shown: str = "") -> str:
        """A task's status in its colour; `shown` is what is printed, if that is more than the word."""
        return self.paint(shown or word, STATUS_STYLES.get(word, ""))

    def say(self, text: str = "") -> None:
        """Print a line while the command is still at work; nothing with --json or --quiet."""
        if not (self.json or self.quiet):
            self.out.write(text + "\n")
            self.out.flush()

    def warn(self, text: str) -> None:
        """Print a warning to standard error."""
        self.err.write(f"{self.paint('warning:', 'yellow')} {clean(text)}\n")

    def ask(self, question: str) -> bool:
        """A person's yes or no; no where nobody can be asked. The question stands on standard error."""
        if not self.may_ask:
            return False
        self.err.write(f"{question} [y/N] ")
        self.err.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")


class Progress:
    """A line that tells how far a long command has come. `with` gives `tick(done, most)`, which shows it on standard error as
    `1,200 of 10,000 <what>`, or None where that is no terminal.
    """

    def __init__(self, screen: Screen, what: str) -> None:
        self.err, self.what = screen.err, what
        self.next = monotonic() + 3 * PAUSE
        self.seen = self.err.isatty() and not (screen.json or screen.quiet)
        self.shown = False

    def __enter__(self) -> Callable[[int, int], None] | None:
        return self._tick if self.seen else None

    def _tick(self, done: int, most: int) -> None:
        if monotonic() >= self.next:
            self.next = monotonic() + PAUSE
            self.err.write(f"\r{done:,} of {most:,} {self.what}\x1b[K")
            self.err.flush()
            self.shown = True

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self.err.write("\r\x1b[K")
            self.err.flush()


def _open(stream: TextIO | None) -> TextIO:
    """The stream, made unable to fail on a character; a closed one (`>&-`) becomes nothing."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="backslashreplace")
    return stream


def _width(out: TextIO, environ: Mapping[str, str]) -> int:
    if (columns := environ.get("COLUMNS", "")).isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(out.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def clean(text: str) -> str:
    """`text` with control characters and marks that reverse the reading order made visible; newlines and tabs stay."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def cells(text: str) -> int:
    """How many columns of a terminal `text` fills: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    wide = sum(east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(category(c) in ("Mn", "Me", "Cf") for c in text)


def fit(text: str, width: int) -> str:
    """`text` in at most `width` columns, cut with an ellipsis."""
    if cells(text) <= width:
        return text
    kept, used = [], 1
    for letter in text:
        used += cells(letter)
        if used > width:
            break
        kept.append(letter)
    return "".join(kept).rstrip() + "…" if width > 0 else ""


def pad(text: str, width: int) -> str:
    """`text` filled with spaces to `width` columns."""
    return text + " " * (width - cells(text))


def indent(lines: Iterable[str], by: str = "  ") -> list[str]:
    """Lines moved to the right; empty ones stay empty."""
    return [by + line if line else line for line in lines]


def counted(number: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def gist(text: str) -> str:
    """The first line of a reason, without the hint behind it: where the commands to type are listed anyway."""
    lines = text.strip().splitlines()
    return clean(lines[0].partition("; `kin ")[0]) if lines else ""


def ago(since: str, moment: "datetime") -> str:
    """How long before `moment` the time `since` (RFC 3339 in UTC) was, in its two largest units."""
    from kin.model.times import parse

    try:
        seconds = max(0, int((moment - parse(since)).total_seconds()))
    except ValueError:
        return "unknown time"
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds % 60}s" if minutes else f"{seconds}s"
