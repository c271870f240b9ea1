"""What a person sees while tasks run: lines that move at a terminal, plain ones in a pipe, none with --json."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kin.cli.output import silence
from kin.cli.screen import Screen, clean, fit
from kin.runner.process.events import Event
from kin.runner.runs.outcome import Outcome

if TYPE_CHECKING:
    from rich.live import Live

SUMMARY = 160
"""Columns of a run's reason in the list of outcomes; `kin why` has all of it."""
TICK = 0.25
"""Seconds between two pictures at a terminal."""


class Display:
    """Listens to runs. At a terminal one line a running task, with step, time and its last words, above it what ended."""

    def __init__(self, screen: Screen, *, alone: bool) -> None:
        self.screen = screen
        self.quiet = screen.json or screen.quiet
        self.rows: dict[str, tuple[str, float, str]] = {}
        self.live: Live | None = None
        if screen.terminal and not self.quiet:
            from rich import console, live

            printer = console.Console(no_color=not screen.color, highlight=False, soft_wrap=True)
            # Alone, the run is in this process and rich's thread draws; with several, processes are forked and it must not.
            self.live = live.Live(
                console=printer, auto_refresh=alone, refresh_per_second=1 / TICK, transient=True, get_renderable=self._picture
            )

    def __enter__(self) -> "Display":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    @property
    def tick_seconds(self) -> float | None:
        """How often `tick` wants to be called."""
        return TICK if self.live else None

    def tick(self) -> None:
        """Draw anew."""
        if self.live:
            self.live.refresh()

    def hear(self, event: Event) -> None:
        """Take in what happened."""
        if self.quiet:
            return
        task, words = event.task, _words(event, self.screen)
        if event.kind in ("queue", "step", "gate", "merge", "worktree", "start"):
            self.rows[task] = (event.step or event.kind, time.monotonic(), "")
        elif event.kind == "line":
            step, since, _ = self.rows.get(task, ("", time.monotonic(), ""))
            self.rows[task] = (step, since, clean(event.text.strip().rpartition("\n")[2]))
        elif event.kind == "end":
            self.rows.pop(task, None)
        if words and (self.live is None or event.kind in ("queue", "step_end", "gate_end", "note", "end")):
            self.print(f"{task}  {words}")

    def print(self, line: str) -> None:
        """A line above what moves."""
        if self.live:
            from rich.text import Text

            self.live.console.print(Text.from_ansi(line))
        else:
            try:
                self.screen.say(line)
            except OSError:  # whoever reads has seen enough, or their disk is full: the run goes on, and its exit code tells
                silence(self.screen.out)

    def _picture(self) -> Any:
        from rich.text import Text

        width = max(20, self.screen.width - 1)
        lines = []
        for task, (step, since, said) in self.rows.items():
            lines.append(fit(f"{task}  {step}  {time.monotonic() - since:.0f} s  {said}", width))
        return Text("\n".join(lines), no_wrap=True)


def _words(event: Event, screen: Screen) -> str:
    text = clean(event.text)
    first = text.splitlines()[0] if text else ""
    took = f" ({event.seconds:.1f} s)" if event.seconds >= 0.05 else ""
    match event.kind:
        case "start":
            return f"run {text}"
        case "step":
            return f"{event.step}: {first}" if first else f"{event.step} started"
        case "line":
            return f"{event.step} | {text}" if screen.verbose else ""
        case "step_end":
            return f"{event.step} {first}{took}"
        case "gate":
            return f"gate {event.step}"
        case "gate_end":
            return f"gate {event.step}: {text}{took}"
        case "queue" | "note" | "end":
            return text
        case "merge":
            return "merging"
    return ""


def outcome_lines(outcomes: Sequence[Outcome], screen: Screen) -> list[str]:
    """A line a task: how it stands now, and why."""
    lines = []
    for o in outcomes:
        said = " ".join(o.reason.split())
        first = fit(said, SUMMARY) if o.run else said
        kind = f" ({o.blocked})" if o.blocked else ""
        lines.append(f"{o.task}  {screen.status(o.status)}{kind}{'  ' + clean(first) if first else ''}")
    return lines
