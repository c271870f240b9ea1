"""The short way in front of typer: reads the usual forms of a command line in microseconds, from the same table.

Whatever is not plain (an unknown option, `--`, a value that looks like an option) is not judged here: the answer is None, and
typer, which takes 130 ms to load, parses the line or says what is wrong with it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kin.cli.commands import COMMANDS, GLOBAL, Command, Opt
from kin.errors import Usage


class Parsed(NamedTuple):
    """A command line that was understood. `values` has one entry for each argument, option and global option."""

    command: Command
    values: dict[str, Any]


class _NotPlain(Exception):
    pass


HELP = Opt("help", "Explain the command", short="h")
VERSION = Opt("version", "Print kin's version")


def _spellings(options: Iterable[Opt]) -> dict[str, Opt]:
    flags = {}
    for option in options:
        flags[f"--{option.name}"] = option
        if option.short:
            flags[f"-{option.short}"] = option
    return flags


_EVERYWHERE = _spellings((*GLOBAL, HELP))
_BEFORE = _EVERYWHERE | _spellings((VERSION,))


def defaults(command: Command) -> dict[str, Any]:
    """The values of a call that gives nothing."""
    values: dict[str, Any] = {arg.name: () if arg.many else None for arg in command.args}
    values.update((option.key, option.default) for option in (*GLOBAL, *command.options))
    return values


def flags_of(command: Command | None) -> dict[str, Opt]:
    """Every spelling of an option that `command` takes, or that may stand before any."""
    return _EVERYWHERE | _spellings(command.options) if command else _EVERYWHERE


def parse(words: Sequence[str]) -> Parsed | None:
    """What the command line means, or None if typer must look at it. Raises Usage for words too many or too few."""
    given: dict[str, Any] = {}
    position = 0
    try:
        while position < len(words) and words[position].startswith("-"):
            position = _take_option(words, position, _BEFORE, given)
        if position == len(words) or "version" in given or "help" in given:
            return about(None, given)
        command = COMMANDS.get(words[position])
        if command is None:
            return None
        flags, loose, position = flags_of(command), list[str](), position + 1
        while position < len(words):
            if words[position].startswith("-") and words[position] != "-":
                position = _take_option(words, position, flags, given)
            else:
                loose.append(words[position])
                position += 1
        if "help" in given:
            return about(command, given)
        return spread(command, loose, given)
    except _NotPlain:
        return None


def about(command: Command | None, given: dict[str, Any]) -> Parsed:
    """`kin`, `--version` and `--help` are the commands `help` and `version` in another spelling."""
    row = COMMANDS["version" if given.pop("version", False) else "help"]
    given.pop("help", None)
    known = {k: v for k, v in given.items() if k in {o.key for o in GLOBAL}}
    return Parsed(row, defaults(row) | known | ({"command": command.name} if command else {}))


def _take_option(words: Sequence[str], position: int, flags: dict[str, Opt], given: dict[str, Any]) -> int:
    """Read the option at `position` into `given` and return the position behind it."""
    name, equals, value = words[position].partition("=")
    option = flags.get(name)
    if option is None or (equals and not name.startswith("--")):
        raise _NotPlain
    if option.kind == "flag":
        if equals:
            raise _NotPlain
        given[option.key] = True
        return position + 1
    if not equals:
        position += 1
        if position == len(words) or (words[position].startswith("-") and words[position] != "-"):
            raise _NotPlain
        value = words[position]
    typed = _typed(option, value)
    given[option.key] = (*given.get(option.key, ()), typed) if option.many else typed
    return position + 1


def _typed(option: Opt, value: str) -> Any:
    if option.kind == "int":
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise _NotPlain
        return int(value)
    if option.kind == "choice" and value not in option.choices:
        raise _NotPlain
    return value


def spread(command: Command, loose: Sequence[str], given: dict[str, Any]) -> Parsed:
    """The call with the words that are no options spread over actions and arguments; the last argument may be many.

    Raises Usage if they do not fit.
    """
    hint = f"`kin help {command.name}`"
    if command.actions:
        word, *loose = loose or [""] if command.needs_action else loose or [command.actions[0].name]
        names = [action.name for action in command.actions]
        if word not in names:
            what = f"`kin {command.name}` cannot '{word}'" if word else f"what is `kin {command.name}` to do?"
            raise Usage(what, f"one of {', '.join(names)}")
        command = command.actions[names.index(word)]
    values: dict[str, Any] = {}
    for arg in command.args:
        if arg.many:
            values[arg.name], loose = tuple(loose), []
        elif loose:
            values[arg.name], *loose = loose
        if arg.required and not values.get(arg.name):
            raise Usage(f"missing argument '{arg.metavar}'", hint)
    if loose:
        raise Usage(f"got unexpected extra argument{'s' if loose[1:] else ''} ({' '.join(loose)})", hint)
    return Parsed(command, defaults(command) | given | values)
