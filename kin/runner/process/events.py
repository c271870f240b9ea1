"""What happens in a run, told to whoever looks on: a display, a log line in CI, or the parent that runs several tasks.

Telling is one-way. A run never waits for a listener and goes on without one.
"""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kin.runner.process.signals import Cancel


class Event(NamedTuple):
    """Something that happened to `task`.

    `kind`: `queue` (it waits for a slot), `start` (text: run id), `worktree`, `step` (a step began), `line` (it said
    something), `step_end` (text: how it ended), `gate`, `gate_end`, `merge`, `note` (kin says something), `end` (text: the
    outcome in words). `step` is a step's id or a gate's name; `seconds` how long it took.
    """

    task: str
    kind: str
    step: str = ""
    text: str = ""
    seconds: float = 0.0

    def to_json(self) -> bytes:
        """One line. What UTF-8 has no form for, of file names in another encoding, say, is left out of it."""
        return json.dumps(list(self), ensure_ascii=False).encode("utf-8", "replace")

    @classmethod
    def from_json(cls, line: bytes) -> "Event":
        """The event that `to_json` wrote."""
        return cls(*json.loads(line))


Emit = Callable[[Event], None]


class Caller(NamedTuple):
    """Whoever has a run run: the environment that it is to have, who looks on, and by what it is asked to stop."""

    environ: Mapping[str, str]
    emit: Emit
    cancel: Cancel
