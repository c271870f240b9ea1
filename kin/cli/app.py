"""The long way: typer parses what the short way (kin.cli.parse) left alone, and says what is wrong with a command line.

typer's commands are generated from the one table of declarations; their functions only hand the values back, so that both
ways end in the same place (kin.cli.output).
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import typer

from kin.cli.commands import COMMANDS, GLOBAL, Command, Opt
from kin.cli.parse import HELP, VERSION, Parsed, about, spread
from kin.errors import Usage

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""typer's own class for every fault of a command line; it has no public name (typer 0.29 vendors click)."""

WORDS = inspect.Parameter(
    "loose_words", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[list[str] | None, typer.Argument()]
)
"""All that is no option: typer tells the two apart, kin.cli.parse says what the words mean."""

_SETTINGS: dict[str, Any] = {"help_option_names": []}
"""HELP is an option like any other: kin.cli.help writes the pages."""


def parse_fully(words: Sequence[str]) -> Parsed:
    """What the command line means. Raises Usage."""
    before: dict[str, Any] = {}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True, context_settings=_SETTINGS)(
        _function("kin", [_option(o) for o in (*GLOBAL, HELP, VERSION)], before.update)
    )
    for row in [COMMANDS[w] for w in dict.fromkeys(words) if w in COMMANDS] or COMMANDS.values():
        _register(app, row)
    try:
        found = typer.main.get_command(app).main(list(words), prog_name="kin", standalone_mode=False)
    except _UsageError as error:
        raise _usage(error) from None
    command, values = found or (None, dict[str, Any]())
    loose = values.pop(WORDS.name, None) or ()
    given = _said(before) | _said(values)
    return spread(command, loose, given) if command and not {"help", "version"} & given.keys() else about(command, given)


def _register(app: typer.Typer, command: Command) -> None:
    parameters = [WORDS, *(_option(o) for o in (*command.options, *GLOBAL, HELP))]
    take = _function(command.name, parameters, lambda values: (command, values))
    app.command(command.name, help=command.help, context_settings=_SETTINGS)(take)


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
    said = typer.Option(*names, f"--{option.name}", help=option.help, show_default=False, min=least)
    flag = option.kind == "flag"
    return inspect.Parameter(
        option.key,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if flag else None,
        annotation=Annotated[hint if flag else hint | None, said],
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
