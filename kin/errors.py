"""What can go wrong, as a person and a CI job see it: one class for each exit code, and where the fault lies.

Errors are raised where they are known and caught at the command line's edge, which turns them into one line and an exit
code. The table of codes is the contract's (docs/reference.md, "Exit codes").
"""

import errno
import os
from typing import Any, ClassVar, NamedTuple

LIMITS = {
    errno.ENOSPC: "make room on the disk, for files too: `df -i` counts them",
    errno.EMFILE: "`ulimit -n` says how many files a process may open",
    errno.EAGAIN: "`ulimit -u`, or a container, says how many processes may run",
}
"""What stands behind the system's no where its own words do not say it."""


class Place(NamedTuple):
    """Where in a file a fault lies: path as the person would type it, line and column from 1 (0: the whole file)."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column}" if self.column else f"{self.path}:{self.line}"


class KinError(Exception):
    """Something that kin refuses or cannot do. `message` says what, `hint` how to mend it, `where` the file at fault.

    `data` travels into the JSON error document beside code and message (`holder`, `paths`, `until`, ...).
    """

    code: ClassVar[str] = "failed"
    exit: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, hint: str = "", where: Place | None = None, **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where
        self.data = data

    def __str__(self) -> str:
        """One line: `file:line:column: what; how to mend it`."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}{' ' if text.endswith('?') else '; '}{self.hint}" if self.hint else text


class Failed(KinError):
    """A task ended blocked: a step, a gate, no work, a crash."""


class Usage(KinError):
    """Wrong words, or a move that the table of moves refuses."""

    code, exit = "usage", 2


class Waits(KinError):
    """Only a person can let it go on: review, a question, trust, leave to write."""

    code, exit = "waits", 3


class Conflict(KinError):
    """A merge conflict, or a merge that something in the checkout blocks."""

    code, exit = "conflict", 4


class Busy(KinError):
    """Somebody else holds what is needed; trying again later can help."""

    code, exit, retryable = "busy", 6, True


class Invalid(KinError):
    """A file, a setting, git or an agent that cannot be used as it is."""

    code, exit = "invalid", 7


class NotFound(KinError):
    """No such id, project or repository."""

    code, exit = "not_found", 8


class Bug(KinError):
    """kin contradicted itself."""

    code, exit = "bug", 70


class Interrupted(KinError):
    """A signal ended the command; `exit` is 128 + its number."""

    code = "interrupted"

    def __init__(self, signal_number: int, message: str = "interrupted", hint: str = "") -> None:
        super().__init__(message, hint)
        self.exit = 128 + signal_number  # type: ignore[misc]


def of_system(error: OSError) -> Invalid:
    """The system's no as an error of ours: which file, and why."""
    named = " -> ".join(os.fsdecode(n) for n in (error.filename, error.filename2) if isinstance(n, (str, bytes)))
    reason = error.strerror or str(error) or type(error).__name__
    return Invalid(f"{named}: {reason}" if named else reason, LIMITS.get(error.errno or 0, ""))
