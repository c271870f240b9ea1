"""What a command gets and gives back, and the one place where results and errors become text or JSON."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from kin.cli.screen import Screen, clean
from kin.errors import Interrupted, KinError, NotFound

if TYPE_CHECKING:
    from kin.store.project import Project
    from kin.store.view import Seen, View

SIGPIPE = 13

BATCH = 500
"""Things that are made JSON and written at once."""


class Result(NamedTuple):
    """What a command found or did.

    `kind` and `data` are the JSON document's (`data` may be a function that makes it, called only with --json); `lines` is
    what a person reads, given or made for the screen; `brief` is printed instead with --quiet (None: `lines` is asked for,
    not chatter, and stays). A `kind` of "" prints no document: the command streamed.
    """

    kind: str
    data: Any = None
    lines: Iterable[str] | Callable[[Screen], Iterable[str]] = ()
    brief: Iterable[str] | None = None
    warnings: Sequence[str] = ()
    exit: int = 0


def fields(one: Any) -> dict[str, Any]:
    """A file's content (a model with `extra`) as a JSON document holds it: what is empty is null, unknown keys are beside the
    others.
    """
    known = {name: None if value == "" else value for name, value in zip(one._fields[:-1], one, strict=False)}
    return {**known, **one.extra}


class Call:
    """A command as it was called: `call["name"]` is the value of an argument or option.

    `based`: in a job about a pull request, the project is the one that this is for, not what is checked out.
    """

    based = False

    def __init__(self, values: Mapping[str, Any], environ: Mapping[str, str], screen: Screen) -> None:
        self.values = values
        self.environ = environ
        self.screen = screen

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def within(self, project: "Project") -> "Call":
        """The same call, about another project and no more than it."""
        other = Call({**self.values, "all": False, "ids": ()}, self.environ, self.screen)
        other.project = project
        return other

    @property
    def cwd(self) -> str:
        """The folder kin was started in, or the one that -C named. Raises NotFound if it is gone."""
        try:
            return os.getcwd()
        except FileNotFoundError:
            raise NotFound("the current folder is gone", "change to one that exists") from None

    @property
    def person(self) -> str:
        """Who is at the keyboard, as git knows them."""
        from kin import git

        return (git.identity(self.project.root) or self.environ.get("USER") or "a person").partition(" <")[0]

    @cached_property
    def project(self) -> "Project":
        """The project that the command is about. Raises NotFound if there is none."""
        from kin.store.project import find

        return find(self.cwd, self.environ)

    def task(self, *, bodies: bool = True, with_reasons: bool = False) -> "tuple[Seen, View]":
        """The task that ID means, as views show it. Raises NotFound, or Invalid if its file cannot be read."""
        from kin.store.tasks import load, resolve
        from kin.store.view import see

        task_id = resolve(self.project, self["id"])
        view = see(self.project, bodies=bodies, with_reasons=with_reasons)
        if task_id not in view.seen:
            load(self.project, task_id)  # says what is wrong with the file
        return view.seen[task_id], view


def show(result: Result, screen: Screen) -> None:
    """Print what a command found: as text, as ids alone, or as one JSON document."""
    if screen.json:
        if result.kind:
            data = result.data() if callable(result.data) else result.data
            document = {"kin": 1, "kind": result.kind, "data": data, "warnings": list(result.warnings)}
            _write_document(document, screen)
        return
    for warning in result.warnings:
        screen.warn(warning)
    lines = result.brief if screen.quiet and result.brief is not None else result.lines
    text = "\n".join(lines(screen) if callable(lines) else lines)
    if text:
        screen.out.write(text + "\n")
    screen.out.flush()


def _write_document(document: dict[str, Any], screen: Screen) -> None:
    """One line of JSON in UTF-8, whatever the locale. Data that come one by one are written so: 100,000 tasks need not be
    held twice.
    """
    from itertools import islice

    data = document.get("data")
    if not isinstance(data, Iterator):
        return _write(_json(document) + b"\n", screen)
    before, after = _json(document | {"data": None}).split(b'"data": null', 1)
    _write(before + b'"data": [', screen)
    comma = b""
    while batch := list(islice(data, BATCH)):
        _write(comma + _json(batch)[1:-1], screen)
        comma = b", "
    return _write(b"]" + after + b"\n", screen)


def _json(value: Any) -> bytes:
    """Characters that UTF-8 cannot hold are escaped. Circles are not looked for, which takes a fifth of the time."""
    from json import JSONEncoder

    try:
        return JSONEncoder(ensure_ascii=False, check_circular=False).encode(value).encode()
    except UnicodeEncodeError:
        return JSONEncoder(check_circular=False).encode(value).encode()


def _write(said: bytes, screen: Screen) -> None:
    screen.out.flush()
    if buffer := getattr(screen.out, "buffer", None):
        buffer.write(said)
        buffer.flush()
    else:
        screen.out.write(said.decode())


def fail(error: KinError, screen: Screen) -> int:
    """Print an error as a line or as the error document."""
    try:
        if screen.json:
            _write_document({"kin": 1, "kind": "error", "error": _as_data(error)}, screen)
        else:
            screen.out.flush()
            if not isinstance(error, Interrupted):
                screen.err.write(f"{screen.paint('error:', 'red')} {clean(str(error))}\n")
        screen.err.flush()
    except OSError:  # the reader is gone, or a disk is full: the code is all that can be said
        gone()
    return error.exit


def _as_data(error: KinError) -> dict[str, Any]:
    data = {
        "code": error.code,
        "exit": error.exit,
        "message": error.message,
        "hint": error.hint or None,
        "retryable": error.retryable,
    }
    if error.where:
        data |= {"file": error.where.path, "line": error.where.line or None, "column": error.where.column or None}
    return data | error.data


def gone() -> int:
    """Whoever read us has closed the pipe: end as quietly as a program that SIGPIPE kills."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            silence(stream)
    return 128 + SIGPIPE


def silence(stream: TextIO) -> None:
    """Lead to nowhere what could not be written to a stream and still waits in it, and all that comes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
