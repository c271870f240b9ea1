"""The two ways through the command line agree: the short parser, typer, and the functions that the table names."""

import importlib
import inspect
from pathlib import Path

import pytest
from conftest import Repo
from hypothesis import given, settings
from hypothesis import strategies as st

from kin.cli.app import parse_fully
from kin.cli.commands import COMMANDS, GLOBAL, GROUPS, Command, Opt
from kin.cli.help import page
from kin.cli.parse import flags_of, parse
from kin.errors import KinError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_has_a_function_that_takes_a_call(name: str) -> None:
    command = COMMANDS[name]
    assert command.group in GROUPS
    for one in command.actions or (command,):
        function = getattr(importlib.import_module(f"kin.cli.{one.module}"), one.function)
        assert list(inspect.signature(function).parameters) == ["call"]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda c: c.name)
def test_a_command_spells_each_option_once_and_explains_it(command: Command) -> None:
    options = (*command.options, *GLOBAL)
    spellings = [f"--{o.name}" for o in options] + [f"-{o.short}" for o in options if o.short]
    assert len(spellings) == len(set(spellings))
    for one in command.actions or (command,):
        assert len({o.key for o in options} | {a.name for a in one.args}) == len(options) + len(one.args)
        assert all(not arg.many for arg in one.args[:-1])
    assert all(o.help for o in options)
    assert all(len(line) <= 120 for line in page(command))


def test_examples_in_the_help_are_understood() -> None:
    import shlex

    for command in COMMANDS.values():
        for line, _ in command.examples:
            for part in line.split(" && "):
                words = shlex.split(part)
                if words[0] == "kin" and "|" not in words and "$(" not in part:
                    assert (parsed := parse(words[1:])) is not None, line
                    name = words[1].replace("--", "")
                    assert parsed.command in (COMMANDS[name], *COMMANDS[name].actions)


def _option_words(option: Opt, data: st.DataObject) -> list[str]:
    if option.kind == "flag":
        return [data.draw(st.sampled_from([f"--{option.name}", *([f"-{option.short}"] if option.short else [])]))]
    values = st.sampled_from(option.choices) if option.choices else st.sampled_from(["3", "a b", "", "=", "x=y", "-", "ü"])
    value = data.draw(st.integers(0, 99).map(str) if option.kind == "int" else values)
    spelled = [[f"--{option.name}", value], [f"--{option.name}={value}"]]
    return data.draw(st.sampled_from(spelled + ([[f"-{option.short}", value]] if option.short else [])))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_typer_reads_every_line_as_the_short_way_does(data: st.DataObject) -> None:
    command = data.draw(st.sampled_from(list(COMMANDS.values())))
    options = list(flags_of(command).values())
    chosen = [o for o in data.draw(st.lists(st.sampled_from(options), max_size=4)) if o.name != "help"]
    actions = [action.name for action in command.actions]
    words = data.draw(st.lists(st.sampled_from([*actions, "12", "KIN-3", "a=b", "-", "labels-=x"]), max_size=3))
    pieces = [[w] for w in words] + [_option_words(o, data) for o in chosen]
    before = data.draw(st.lists(st.sampled_from(GLOBAL), max_size=2))
    line = [w for o in before for w in _option_words(o, data)]
    line += [command.name, *(w for piece in data.draw(st.permutations(pieces)) for w in piece)]
    try:
        short = parse(line)
    except KinError:
        short = None
    if short is None:
        with pytest.raises(KinError) as refused:
            parse_fully(line)
        assert refused.value.exit == 2
    else:
        assert parse_fully(line) == short


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lits", "did you mean 'list'?"),
        ("list --priorit 1", "--priority"),
        ("list --limit many", "valid integer"),
        ("list --format xml", "'table', 'json', 'jsonl', 'csv'"),
        ("show", "missing argument 'ID'"),
        ("show 1 2", "unexpected extra argument"),
        ("add --label", "requires an argument"),
        ("--jsn list", "--json"),
    ],
)
def test_wrong_words_are_one_line_that_says_what_to_do(line: str, says: str, tmp_path: Path) -> None:
    done = Repo(tmp_path).kin(*line.split(), exit=2)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert says.lower() in done.stderr.lower() and "`kin help" in done.stderr


def test_a_title_may_begin_with_a_dash_behind_two(project: Repo) -> None:
    project.kin("add", "--", "-x is refused", "--run")
    assert "title: -x is refused --run" in project.read(".kin/tasks/KIN-1.yaml").replace('"', "")


def test_short_flags_may_be_joined(project: Repo) -> None:
    project.kin("add", "One", "-lauth")
    assert project.kin("list", "-aq", "-lauth").stdout == "KIN-1\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"], ["--json", "-h"]])
def test_kin_alone_explains_itself(words: list[str], tmp_path: Path) -> None:
    assert "Usage: kin [-C DIR] COMMAND" in Repo(tmp_path).kin(*words).stdout


@pytest.mark.parametrize("words", [["add", "--help"], ["help", "add"], ["add", "-h", "--run"], ["add", "--nonsense", "--help"]])
def test_help_of_a_command_shows_usage_and_examples(words: list[str], tmp_path: Path) -> None:
    done = Repo(tmp_path).kin(*words, exit=None)
    assert done.returncode == (2 if "--nonsense" in words or "--run" in words else 0)
    if done.returncode == 0:
        assert "Usage: kin add [OPTIONS] [TITLE...]" in done.stdout and "Examples" in done.stdout
