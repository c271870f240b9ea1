"""The long way: typer parses what the short way (kin.cli.parse) left alone, and says what is wrong with a command line.

typer's commands are generated from the one table of declarations; their functions only hand the values back, so that both
ways end in the same place (kin.cli.output).
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from kin.cli.commands import COMMANDS, GLOBAL, Command, Opt
from kin.cli.help import page
from kin.cli.parse import VERSION, Parsed, defaults, spread
from kin.errors import Usage

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""typer's own class for every fault of a command line; it has no public name (typer 0.29 vendors click)."""

WORDS = inspect.Parameter(
    "loose_words", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[list[str] | None, typer.Argument()]
)
"""All that is no option: typer tells the two apart, kin.cli.parse says what the words mean."""

_SETTINGS = {"help_option_names": ["-h", "--help"]}


class _Group(TyperGroup):
    def get_help(self, ctx: typer.Context) -> str:  # type: ignore[override]
        return "\n".join(page(None))


class _One(TyperCommand):
    def get_help(self, ctx: typer.Context) -> str:  # type: ignore[override]
        return "\n".join(page(COMMANDS[self.name or ""]))


def parse_fully(words: Sequence[str]) -> Parsed | None:
    """What the command line means; None if it asked for help, which has then been printed. Raises Usage."""
    before: dict[str, Any] = {}
    app = typer.Typer(cls=_Group, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True, context_settings=_SETTINGS)(
        _function("kin", [_option(o) for o in (*GLOBAL, VERSION)], before.update)
    )
    for command in [COMMANDS[w] for w in dict.fromkeys(words) if w in COMMANDS] or COMMANDS.values():
        _register(app, command)
    try:
        found = typer.main.get_command(app).main(list(words), prog_name="kin", standalone_mode=False)
    except _UsageError as error:
        raise _usage(error) from None
    if isinstance(found, tuple):
        command, values = found
        return spread(command, values.pop(WORDS.name) or (), _said(before) | _said(values))
    if found is None:
        about = COMMANDS["version" if before.get("version") else "help"]
        return Parsed(about, defaults(about) | {k: v for k, v in _said(before).items() if k != "version"})
    return None


def _register(app: typer.Typer, command: Command) -> None:
    parameters = [WORDS, *(_option(o) for o in (*command.options, *GLOBAL))]
    take = _function(command.name, parameters, lambda values: (command, values))
    app.command(command.name, cls=_One, help=command.help, context_settings=_SETTINGS)(take)


def _function(name: str, parameters: list[inspect.Parameter], take: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    """A function that typer reads `parameters` from and that gives their values to `take`."""

    def command(**values: Any) -> Any:
        return take(values)

    command.__name__ = name
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _option(option: Opt) -> inspect.Parameter:
    hint: Any = {"flag": bool, "int": int}.get(option.kind, str)
    if option.kind == "choice":
        hint = Literal[option.choices]
    if option.many:
        hint = list[hint]
    names = [f"-{option.short}"] if option.short else []
    least = 0 if option.kind == "int" else None
    about = typer.Option(*names, f"--{option.name}", help=option.help, show_default=False, min=least)
    flag = option.kind == "flag"
    return inspect.Parameter(
        option.key,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if flag else None,
        annotation=Annotated[hint if flag else hint | None, about],
    )


def _said(values: dict[str, Any]) -> dict[str, Any]:
    """Only what the line gave, lists as tuples."""
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return {k: v for k, v in plain.items() if v is not None and v is not False and v != ()}  # 0 is a value


def _usage(error: Any) -> Usage:
    message = error.format_message().rstrip(".").replace("Value error, ", "")
    name = error.ctx.info_name if error.ctx is not None else "kin"
    hint = f"`kin help {name}`" if name in COMMANDS else "`kin help` lists the commands"
    return Usage(message[:1].lower() + message[1:], hint)
