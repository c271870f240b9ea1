"""The help pages, written from the table of declarations: what `--help` and `kin help` show, without loading typer."""

from collections.abc import Iterable

from kin.cli.commands import COMMANDS, GLOBAL, GROUPS, Command, Opt
from kin.cli.output import Call, Result
from kin.errors import Usage

ABOUT = "kin: a software company in your git repository."
EXITS = (
    "0 done or nothing to do    1 failed: a step, a gate    2 wrong words or a refused move    3 waits for a person",
    "4 conflict    5 budget or time used up    6 busy, try again    7 a file or setting is invalid    8 not found",
)


TOPICS = {
    "settings": "what stands in .kin/kin.yaml",
    "fields": "what stands in a task's file",
    "moves": "which status a task can be given by hand",
}


def help_(call: Call) -> Result:
    """Explain kin or a command."""
    name = call["command"]
    if name is not None and name not in COMMANDS and name not in TOPICS:
        raise Usage(f"no command or topic is called '{name}'", "`kin help` lists them")
    lines = _root() if name is None else _topic(name) if name in TOPICS else page(COMMANDS[name])
    return Result("help", {"command": name, "text": "\n".join(lines)}, lines)


def version_(call: Call) -> Result:
    """Print the version."""
    from kin import __version__

    return Result("version", {"version": __version__}, [f"kin {__version__}"])


def _root() -> list[str]:
    lines = [ABOUT, "", "Usage: kin [-C DIR] COMMAND [ARGUMENTS]"]
    width = max(map(len, COMMANDS))
    for group in GROUPS:
        rows = [(c.name, c.help) for c in COMMANDS.values() if c.group == group]
        lines += ["", group, *_columns(rows, width)]
    lines += ["", "Options for every command", *_columns(map(_option, GLOBAL))]
    lines += ["", "Exit codes", *(f"  {line}" for line in EXITS)]
    more = [("COMMAND", "a command, with examples"), *TOPICS.items()]
    return [*lines, "", "More help", *_columns((f"kin help {name}", about) for name, about in more)]


def page(command: Command) -> list[str]:
    """The lines of a command's help."""
    lines = [f"kin {command.name}: {command.help}", "", f"Usage: {usage(command)}"]
    if command.actions:
        usual = "" if command.needs_action else " (default)"
        rows = [(usage(a, named=a.name), a.help) for a in command.actions]
        lines += ["", "Actions", *_columns([(rows[0][0], rows[0][1] + usual), *rows[1:]])]
    if args := dict.fromkeys(arg for one in (command, *command.actions) for arg in one.args):
        lines += ["", "Arguments", *_columns((a.metavar, a.help) for a in args)]
    if command.options:
        lines += ["", "Options", *_columns(map(_option, command.options))]
    lines += ["", "Options for every command", *_columns(map(_option, GLOBAL))]
    if command.more:
        lines += ["", *command.more]
    if command.examples:
        lines += ["", "Examples"]
        width = max(len(line) for line, why in command.examples if why) if any(w for _, w in command.examples) else 0
        lines += [f"  {line:{width}}  # {why}" if why else f"  {line}" for line, why in command.examples]
    return lines


def usage(command: Command, named: str = "") -> str:
    """The line behind `Usage:`, or with `named` that name and the arguments alone."""
    words = [named] if named else ["kin", command.name, *(["[OPTIONS]"] if command.options else [])]
    if command.actions:
        words.append("ACTION" if command.needs_action else "[ACTION]")
    for arg in command.args:
        word = arg.metavar + ("..." if arg.many else "")
        words.append(word if arg.required else f"[{word}]")
    return " ".join(words)


def _option(option: Opt) -> tuple[str, str]:
    short = f"-{option.short}, " if option.short else "    "
    return f"{short}--{option.name} {option.metavar}".rstrip(), option.help


def _columns(rows: Iterable[tuple[str, str]], width: int = 0) -> list[str]:
    listed = list(rows)
    width = width or max(len(left) for left, _ in listed)
    return [f"  {left:{width}}  {right}" for left, right in listed]


def _topic(name: str) -> list[str]:
    if name == "settings":
        return ["Settings in .kin/kin.yaml; only `key` is needed.", "", *_settings()]
    if name == "fields":
        from kin.model.fields import fields_of
        from kin.model.task import Task

        rows = [
            (d.name, d.field.doc + (f" (also {', '.join(d.field.aliases)})" if d.field.aliases else ""))
            for d in fields_of(Task)
        ]
        return [
            "Fields of a task; `id`, `title` and `status` are needed. Fields of your own begin with x-.",
            "",
            *_columns(rows),
        ]
    return _moves()


def _settings() -> list[str]:
    from kin.model.settings import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        usual = field.get_default(call_default_factory=True)
        plain = isinstance(usual, (str, int, bool)) and not field.is_required()
        rows.append((name, (field.description or "") + (f" (default {str(usual).lower()})" if plain else "")))
    return _columns(row for row in rows if row[1])


def _moves() -> list[str]:
    from kin.model.status import TaskStatus, may_move

    rows = [(old, ", ".join(new for new in TaskStatus if new != old and may_move(old, new))) for old in TaskStatus]
    return ["Moves that a person may make with `kin set ID status=...` or an editor.", "", *_columns(rows)]
