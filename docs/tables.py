"""Writes the tables of reference.md from the declarations in kin, so that the two cannot drift apart.

`python docs/tables.py` brings the page up to date; a test fails if that would change anything. A table stands between
`<!-- table: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from kin import errors
from kin.cli.commands import COMMANDS, GLOBAL, GROUPS, Opt
from kin.cli.help import usage
from kin.model import agent, record, settings, status, task
from kin.model.fields import fields_of
from kin.store.checking.findings import CODES

PAGE = Path(__file__).parent / "reference.md"
AGENTS = Path(__file__).parent.parent / "agents"
BLOCK = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    lines = [[_cell(str(cell)) for cell in row] for row in (head, *rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    # what stands in backquotes is shown as it is; elsewhere a `<` would begin a tag
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if n % 2 else part.replace("<", "&lt;") for n, part in enumerate(parts))


def commands() -> str:
    """All commands by group."""
    listed = [c for group in GROUPS for c in COMMANDS.values() if c.group == group]
    rows = []
    for c in listed:
        rows.append((f"`{usage(c, c.name)}`", c.help, _options(c.options)))
        rows += [(f"`{usage(a, f'{c.name} {a.name}')}`", a.help, "") for a in c.actions]
    return table(("command", "does", "options"), rows) + f"\nEverywhere: {_options(GLOBAL)}.\n"


def _options(options: Iterable[Opt]) -> str:
    return ", ".join("`" + (f"-{o.short}, " if o.short else "") + f"--{o.name} {o.metavar}".strip() + "`" for o in options)


def settings_of(model: type[BaseModel], above: str = "") -> list[tuple[str, str, str]]:
    """A model's settings as rows: name, default, sentence; nested models follow their own line."""
    rows = []
    for name, field in model.model_fields.items():
        if not field.description and not above:
            continue
        rows.append((f"`{above}{name}`", _default(field.get_default(call_default_factory=True)), field.description or ""))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += settings_of(field.annotation, f"{above}{name}.")
    return rows


def _default(value: Any) -> str:
    if isinstance(value, BaseModel) or value is None or repr(value) == "PydanticUndefined" or value in ((), {}, [], ""):
        return ""
    if isinstance(value, float):
        return f"`{value / 60:g}m`" if value >= 60 else f"`{value:g}s`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return ", ".join(f"`{v}`" for v in value) if isinstance(value, tuple) else f"`{value}`"


def fields(model: type[Any]) -> str:
    """A record's or task's fields, with the other spellings that are read."""
    rows = []
    for declared in fields_of(model):
        if declared.name == "live":  # never in a committed record
            continue
        also = ", ".join(f"`{a}`" for a in declared.field.aliases if a != "for")
        name = declared.name.rstrip("_")
        rows.append((f"`{name}`" + (" (required)" if declared.required else ""), declared.field.doc, also))
    return table(("key", "meaning", "also read as"), rows)


def moves() -> str:
    """Which status a person may set, and which kin."""
    names = list(status.TaskStatus)
    rows = []
    for old in names:
        by_hand = [n for n in names if n != old and status.may_move(old, n)]
        by_kin = [n for n in names if n != old and status.may_move(old, n, by_kin=True)]
        rows.append((f"`{old}`", ", ".join(f"`{n}`" for n in by_hand), ", ".join(f"`{n}`" for n in by_kin)))
    return table(("from", "a person sets", "kin sets"), rows)


def kinds() -> str:
    """Why a task is blocked, and what `kin run` exits with."""
    return table(("kind", "exit"), [(f"`{kind}`", status.BLOCKED_EXIT[kind]) for kind in status.BlockedKind])


def codes() -> str:
    """Errors by exit code."""
    found = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.KinError)]
    classes = sorted((c for c in found if c not in (errors.KinError, errors.Interrupted)), key=lambda c: c.exit)
    rows = [("0", "", "Merged, or done without code, or done already; nothing ready")]
    rows += [(str(c.exit), f"`{c.code}`", (c.__doc__ or "").splitlines()[0].rstrip(".")) for c in classes]
    return table(("exit", "`error.code`", "when"), [*rows, ("130, 143", "`interrupted`", "Ctrl-C, SIGTERM")])


def roles() -> str:
    """The roster."""
    rows = []
    for path in sorted(AGENTS.glob("*.md")):
        head = dict(line.split(": ", 1) for line in path.read_text().split("---\n")[1].splitlines() if ": " in line)
        rows.append((f"`{head['name']}`", head["summary"], head["access"]))
    return table(("role", "does", "access"), rows)


def aliases() -> str:
    """Words that are read as a status or a priority."""
    words: dict[str, list[str]] = {}
    for word, meant in (*task.STATUS_ALIASES.items(), *task.PRIORITIES.items()):
        words.setdefault(str(meant), []).append(f"`{word}`")
    return table(("read as", "words"), [(f"`{meant}`", ", ".join(found)) for meant, found in words.items()])


def findings() -> str:
    """What `kin check` finds."""
    rows = [(f"`{code}`", severity, meaning) for code, (severity, meaning) in CODES.items()]
    return table(("code", "severity", "meaning"), rows)


def step() -> str:
    """The keys of a step."""
    return keys_of(settings.StepSpec)


def keys_of(model: type[BaseModel]) -> str:
    """The keys of an entry in kin.yaml."""
    return table(("key", "default", "meaning"), settings_of(model))


TABLES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": lambda: table(("setting", "default", "meaning"), settings_of(settings.Settings)),
    "step": step,
    "agent": lambda: keys_of(agent.Agent),
    "schedule": lambda: keys_of(settings.Schedule),
    "notify": lambda: keys_of(settings.Notify),
    "task": lambda: fields(task.Task),
    "note": lambda: fields(task.Note),
    "run": lambda: fields(record.Run),
    "run-step": lambda: fields(record.StepRecord),
    "moves": moves,
    "kinds": kinds,
    "codes": codes,
    "roles": roles,
    "aliases": aliases,
    "findings": findings,
}


def renewed(text: str) -> str:
    """The page with all its tables as they are now."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{TABLES[m[2]]()}\n{m[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
