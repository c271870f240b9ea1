"""What a role is told: a prompt composed from its role, the task and what came before, in a fixed order.

Pure and deterministic: the same inputs give the same bytes. What stays the same from step to step comes first, so that a
model's prompt cache can hit; everything that a repository, a person or another agent wrote is fenced as data.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kin.model.record import StepRecord
from kin.model.status import StepStatus
from kin.model.task import Note, Task

__all__ = ["Handover", "compose"]

PROTOCOL = """\
End with one fenced block that says how it went; nothing counts but this block and the files you changed:

```kin-result
{"status": "done", "summary": "what you did and what the next one must know"}
```

`status` is one of done, changes_requested, blocked, failed. With changes_requested give `items`: a list of
{"file", "line", "what"}. If only a person can decide, say blocked and give one `question`. What the project should
remember goes into `decisions`: a list of {"kind", "title", "text"}."""

COMMAND_PROTOCOL = """\
You are a command: exit 0 means done. To say more, write JSON to the file named by KIN_RESULT:
{"status": "done|changes_requested|blocked|failed", "summary": "...", "items": [{"file": "...", "line": 1, "what": "..."}]}."""

KEPT_SUMMARY = 2000
"""Characters of an earlier step's summary that a prompt holds."""


class Handover(NamedTuple):
    """What the builder needs beside the task: the role's prompt, the steps so far, what was sent back, notes, the brief."""

    role: str
    body: str
    is_command: bool
    steps: Sequence[StepRecord]
    items: Sequence[str] = ()
    notes: Sequence[tuple[str, Note]] = ()
    brief: str = ""
    reads: Mapping[str, Any] = {}


def fence(text: str) -> str:
    """`text` between fences longer than any fence within it: what stands inside is data, whatever it says."""
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}text\n{text.rstrip()}\n{ticks}"


def compose(task: Task, given: Handover) -> str:
    """The prompt for one step, Markdown, ending in a newline."""
    parts = [f"You are the {given.role.replace('_', ' ')} in a team that works on one task."]
    if given.body:
        parts.append(given.body)
    parts.append("# How to finish\n\n" + (COMMAND_PROTOCOL if given.is_command else PROTOCOL))
    parts.append(_task(task))
    parts.extend(part for part in (_earlier(given), _notes(given), _items(given)) if part)
    if given.brief:
        parts.append("# Your part in this task\n\n" + given.brief.strip())
    return "\n\n".join(parts) + "\n"


def _task(task: Task) -> str:
    lines = [f"# The task: {task.id}", "", fence(f"{task.title}\n\n{task.description}".rstrip())]
    if task.acceptance:
        lines += ["", "It is done when:", "", fence("\n".join(f"- {line}" for line in task.acceptance))]
    return "\n".join(lines)


def _earlier(given: Handover) -> str:
    wanted = given.reads.get("roles")
    done = [s for s in given.steps if s.status == StepStatus.done and s.summary]
    if isinstance(wanted, list) and wanted and "all" not in wanted:
        done = [s for s in done if s.role in wanted]
    if not done:
        return ""
    return "# What earlier steps handed on\n\n" + "\n\n".join(f"{s.id}:\n\n{fence(s.summary[:KEPT_SUMMARY])}" for s in done)


def _notes(given: Handover) -> str:
    if not given.notes:
        return ""
    told = "\n\n".join(f"{note.by} ({note.for_}, {note.at}):\n\n{fence(note.text)}" for _, note in given.notes)
    return "# Notes\n\n" + told


def _items(given: Handover) -> str:
    if not given.items:
        return ""
    return "# Changes that were asked for\n\n" + fence("\n".join(f"- {item}" for item in given.items))
