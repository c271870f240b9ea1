"""Every command of kin, declared once in commands.txt: where its function lives, arguments, options, help and examples.

The short parser (kin.cli.parse), typer's commands (kin.cli.app), the help pages and shell completion are all made from that
table. A new command is a block there and a function `<name>_(call: Call) -> Result`, or `<name>_<action>` for each of its
actions, in the module of its name, which is imported only when the command is called. A block is laid out as help shows it:

    module.name ARG [ARG...]: What it does       the module is told where it is another one; [ACTION]: the first is usual
        ARG  What it is                          may stand under `+ arguments` instead, for all commands
        action ARG  What it does                 in place of arguments
        -o, --option METAVAR...  What it is      no METAVAR: a flag; N: a number; `a|b` or `NAME=a|b`: one of these
        + shared                                 the options of the block `+ shared`
        | More words
        $ an example  # and why

`...` means that there may be several. Completion offers what METAVAR and ARG name (kin.cli.completion).
"""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple


class Arg(NamedTuple):
    """A positional argument; its value is text, or a tuple of texts if there may be `many`."""

    metavar: str
    help: str
    many: bool
    required: bool

    @property
    def name(self) -> str:
        """Its name in a call's values."""
        return self.metavar.lower()


class Opt(NamedTuple):
    """An option; with `many` it may come again and its value is a tuple. One without a metavar is a flag."""

    name: str
    help: str
    metavar: str = ""
    short: str = ""
    many: bool = False
    choices: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """How its value is read."""
        return "flag" if not self.metavar else "choice" if self.choices else "int" if self.metavar == "N" else "text"

    @property
    def key(self) -> str:
        """Its name in a call's values: one that Python takes for a parameter's."""
        return "for_" if self.name == "for" else self.name.replace("-", "_")

    @property
    def default(self) -> Any:
        """Its value when it was not given."""
        return False if not self.metavar else () if self.many else None


class Command(NamedTuple):
    """A command, or an action of one: `kin.cli.<module>` holds its function. One with actions has no arguments of its own."""

    name: str
    module: str
    function: str
    help: str
    group: str
    args: tuple[Arg, ...]
    options: tuple[Opt, ...]
    examples: tuple[tuple[str, str], ...] = ()
    more: tuple[str, ...] = ()
    actions: "tuple[Command, ...]" = ()
    needs_action: bool = False


_BLOCKS: dict[str, tuple[str, list[str]]] = {}
"""By command its group, and the lines of its block."""
_SHARED: dict[str, list[str]] = {}

with open(os.path.join(os.path.dirname(__file__), "commands.txt"), encoding="utf-8") as _file:
    for _block in _file.read().split("\n\n"):
        _head, *_lines = _block.splitlines()
        if _head.startswith("== "):
            _group = _head[3:]
        elif _head.startswith("+ "):
            _SHARED[_head[2:]] = _lines
        else:
            _BLOCKS[_head.partition(":")[0].partition(" ")[0].rpartition(".")[2]] = (_group, [_head, *_lines])


def _option(spelled: str, about: str) -> Opt:
    *short, long = spelled.split(", ")
    name, _, value = long.removeprefix("--").partition(" ")
    metavar, _, choices = value.removesuffix("...").partition("=")
    listed = (choices or metavar).split("|")
    short_name = short[0].removeprefix("-") if short else ""
    return Opt(name, about, metavar, short_name, value.endswith("..."), tuple(listed) if len(listed) > 1 else ())


def _options(lines: list[str]) -> Iterator[Opt]:
    for line in map(str.strip, lines):
        if line.startswith("-"):
            yield _option(*line.split("  ", 1))
        elif line.startswith("+ "):
            yield from _options(_SHARED[line[2:]])


def _argument(spelled: str, told: Mapping[str, str]) -> Arg:
    name = spelled.strip("[].")
    return Arg(name, told[name], "..." in spelled, not spelled.startswith("["))


@cache
def _command(name: str) -> Command:
    group, (head, *lines) = _BLOCKS[name]
    spelled, _, about = head.partition(": ")
    path, *words = spelled.split(" ")
    code = name.replace("-", "_")
    module = path.rpartition(".")[0] or code
    options = tuple(_options(lines))
    rows = [line.strip() for line in lines]
    pairs = [row.split("  ", 1) for row in [*map(str.strip, _SHARED["arguments"]), *rows] if row[0].isalpha()]
    told = {left: right for left, right in pairs if left.isupper()}
    actions = []
    for left, right in pairs:
        if not left.isupper():
            action, *wanted = left.split(" ")
            args = tuple(_argument(word, told) for word in wanted)
            actions.append(Command(action, module, f"{code}_{action}", right, group, args, options))
    args = () if actions else tuple(_argument(word, told) for word in words)
    shown = [row[2:].partition("  # ") for row in rows if row.startswith("$")]
    examples = tuple((line, why) for line, _, why in shown)
    more = tuple(row[2:] for row in rows if row.startswith("|"))
    return Command(name, module, f"{code}_", about, group, args, options, examples, more, tuple(actions), "ACTION" in words)


class _Table(Mapping[str, Command]):
    """A row is read when it is asked for: most calls need one."""

    def __getitem__(self, name: str) -> Command:
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_BLOCKS)

    def __len__(self) -> int:
        return len(_BLOCKS)


COMMANDS: Mapping[str, Command] = _Table()
GROUPS = tuple(dict.fromkeys(group for group, _ in _BLOCKS.values()))
GLOBAL = tuple(_options(_SHARED["everywhere"]))
"""Options that every command takes, before or behind its name."""
