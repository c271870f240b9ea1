"""One file of `.kin/` looked at by itself: what is wrong in it, what it refers to, and what could be tidied.

What it finds depends on the file's bytes and name alone, so that `check.py` can keep it in an index.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from kin.errors import Invalid, NotFound, Place
from kin.model.decision import Decision
from kin.model.entries import Kind
from kin.model.fields import KeyPath, Problem, build, dotted
from kin.model.ids import TASK_ID, is_name
from kin.model.kinds import KINDS
from kin.model.module import MODULES
from kin.model.phase import PHASES
from kin.model.record import Run
from kin.model.spelling import near, near_misses, respellings, spellings, twice
from kin.model.task import FORMAT, Note, Task, build_task
from kin.store import files, index
from kin.store.chats import Talk
from kin.store.checking import conflicts
from kin.store.checking.findings import Finding, of_error
from kin.store.project import STORE, Project
from kin.store.roles import BOUNDS as ROLE_BOUNDS
from kin.store.roles import Role, parse_role
from kin.store.text import reader
from kin.store.text.nodes import Bounds

VERSION = "6"
"""Of what is looked for: another one makes kept findings worthless."""

SINGLE = {"kin.yaml": "settings", **{kind.file: kind.stem for kind in KINDS}}
"""The files that stand in `.kin/` itself, and their kinds."""
FOLDERS = {
    "tasks": ("task", 0),
    "decisions": ("decision", 0),
    "notes": ("note", 1),
    "pipelines": ("record", 1),
    "chat": ("chat", 0),
}
"""What the YAML files in a folder are, and how many folders deeper they lie."""
SUFFIXES = (".yaml", ".yml")


class Ref(NamedTuple):
    """Something that a file names and that must exist: `kind` is task, decision, pipeline, role, agent, glob or command."""

    kind: str
    name: str
    keys: KeyPath


class Look(NamedTuple):
    """What a file of some kind shows. `claims` is the id that it says of itself, if that is not its name; `tidy` what --fix
    would do to its text.
    """

    kind: str
    findings: tuple[Finding, ...] = ()
    refs: tuple[Ref, ...] = ()
    claims: str | None = None
    tidy: tuple[str, ...] = ()


def to_row(look: Look) -> index.Row:
    """The look as marshal can hold it."""
    findings = tuple((f.code, tuple(f.where), f.message, f.hint, int(f.fixable)) for f in look.findings)
    return look.kind, findings, tuple(map(tuple, look.refs)), look.claims, look.tidy


def from_row(row: index.Row) -> Look:
    """The look that `to_row` made a row of."""
    kind, findings, refs, claims, tidy = row
    told = tuple(Finding(code, Place(*where), message, hint, bool(fix)) for code, where, message, hint, fix in findings)
    return Look(kind, told, tuple(Ref(*ref) for ref in refs), claims, tidy)


def kind_of(name: str) -> str | None:
    """What the file at `name`, relative to `.kin/`, must be: `role`, or a kind of FOLDERS or SINGLE; None if it is not read."""
    folder, _, file = name.partition("/")
    deep = file.count("/")
    if not file:
        return SINGLE.get(name)
    if folder == "roles":
        return "role" if file.endswith(".md") and not deep else None
    kind, wanted = FOLDERS.get(folder, (None, 0))
    return kind if file.endswith(SUFFIXES) and deep == wanted else None


MODELS: Mapping[str, type[Any]] = {"task": Task, "decision": Decision, "note": Note}
"""Those of the files that people write, whose keys may be spelled in several ways."""


def inspect(project: Project, name: str) -> Look | None:
    """Look at the file `name`, relative to `.kin/`; None if it is gone."""
    shown, kind = f"{STORE}/{name}", kind_of(name)
    if kind is None:
        return None
    try:
        text = files.read_text(os.path.join(project.store, name), shown, ROLE_BOUNDS if kind == "role" else None)
    except NotFound:
        return None
    except Invalid as error:
        return Look(kind, (of_error("unreadable", error, shown),))
    if kind == "role":
        return _role(text, shown)
    if conflict := conflicts.explain(text, shown):
        return Look(kind, (conflict,))
    bounds = reader.TASK_BOUNDS if kind == "task" else reader.RECORD_BOUNDS
    try:
        data = reader.read(text, shown, bounds)
    except Invalid as error:
        return Look(kind, (of_error("syntax", error, shown),))
    file = _File(name, kind, text, data, bounds)
    _LOOK[kind](file)
    return file.look()


class _File:
    """A file that can be read, and what is found in it."""

    def __init__(self, name: str, kind: str, text: str, data: dict[str, Any], bounds: Bounds) -> None:
        self.name, self.shown, self.kind = name, f"{STORE}/{name}", kind
        self.text, self.data, self.bounds = text, data, bounds
        self.stem = os.path.basename(name).rsplit(".", 1)[0]
        self.findings: list[Finding] = []
        self.refs: list[Ref] = []
        self.claims: str | None = None
        self.tidy: list[str] = []

    def find(self, code: str, keys: KeyPath, message: str, hint: str = "", *, fixable: bool = False) -> None:
        where = place_in(self.text, self.shown, keys, self.bounds)
        self.findings.append(Finding(code, where, message, hint, fixable))

    def refer(self, kind: str, name: Any, *keys: str | int) -> None:
        """Note that the value at `keys` must be the name of something; what is no text is the schema's to say."""
        if isinstance(name, str):
            self.refs.append(Ref(kind, name, keys))

    def problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.find("schema", problem.path, problem.message)

    def fits(self, model: type[Any], problems: list[Problem]) -> None:
        """What is wrong with the keys and values of a file of this model."""
        doubles = dict(twice(model, self.data))
        for key, other in doubles.items():
            self.find("two-spellings", (key,), f"`{key}` and `{other}` are two spellings of one key", "keep one of them")
        self.problems(p for p in problems if p.path[:1] not in {(key,) for key in doubles})
        self.misses(model, self.data)
        if not doubles:
            self.tidy += [f"`{one.old}` is `{one.new}`" for one in respellings(model, self.data)]

    def misses(self, model: type[Any], data: Mapping[str, Any], *keys: str) -> None:
        """Unknown keys that look like known ones, in what stands at `keys`."""
        for path, meant in near_misses(model, data):
            word = f"`{dotted((*keys, *path))}` is no key that kin knows"
            self.find("near-miss", (*keys, *path), word, f"did you mean `{meant}`? A key of your own begins with `x-`")

    def named(self, said: Any) -> None:
        """Compare the id that the file says of itself with its name."""
        if isinstance(said, str) and (said != self.stem or not self.name.endswith(".yaml")):
            self.claims = said

    def look(self) -> Look:
        """All that was found, and what is wrong with the lines themselves."""
        if "\r\n" in self.text:
            line = self.text[: self.text.index("\r\n")].count("\n") + 1
            words = "the lines end in CRLF"
            self.findings.append(Finding("line-ends", Place(self.shown, line), words, "set your editor to LF", fixable=True))
            self.tidy.insert(0, "CRLF is LF")
        if not self.text.endswith("\n"):
            # Below a `|` the end would belong to the value, and what a value means is a person's.
            same = reader.read(self.text + "\n", self.shown, self.bounds) == self.data
            place = Place(self.shown, self.text.count("\n") + 1)
            self.findings.append(Finding("final-newline", place, "the last line has no end", fixable=same))
            self.tidy += ["the last line has an end"] if same else []
        return Look(self.kind, tuple(self.findings), tuple(self.refs), self.claims, tuple(self.tidy))


def place_in(text: str, shown: str, keys: KeyPath, bounds: Bounds = reader.RECORD_BOUNDS) -> Place:
    """Where the value at `keys` stands, or what is nearest; the whole file if there are none."""
    return reader.place_of(text, shown, keys, bounds) if keys else Place(shown, 1)


def _in_role(text: str, shown: str, keys: KeyPath) -> Place:
    lines = enumerate(text.splitlines(), 1)
    return Place(shown, next((number for number, line in lines if keys and line.startswith(f"{keys[0]}:")), 1))


def place_at(project: Project, name: str, keys: KeyPath) -> Place:
    """Where the file `name` says something, whatever the spelling of the first key. Reads the file again."""
    shown = f"{STORE}/{name}"
    try:
        text = files.read_text(os.path.join(project.store, name), shown)
    except (NotFound, Invalid):
        return Place(shown)
    if kind_of(name) == "role":  # only its front matter is YAML
        return _in_role(text, shown, keys)
    places = [place_in(text, shown, keys)]
    if keys and (model := MODELS.get(kind_of(name) or "")):
        also = [alias for alias, canonical in spellings(model).items() if canonical == keys[0] != alias]
        places += [place_in(text, shown, (alias, *keys[1:])) for alias in also]
    return max(places)


def left_out(stem: str, data: Mapping[str, Any]) -> dict[str, str]:
    """What a person need not think of in a task's file: its id, which is the file's name, and that it is to be done."""
    known = spellings(Task)
    there = {known.get(key) for key in data}
    return {k: v for k, v in {"id": stem, "status": "todo"}.items() if k not in there and TASK_ID.fullmatch(stem)}


def _task(file: _File) -> None:
    absent = left_out(file.stem, file.data)
    file.fits(Task, [problem for problem in build_task(file.data)[1] if problem.missing not in absent])
    for key, value in absent.items():
        file.find("schema", (), f"`{key}` is missing", f"write `{key}: {value}`", fixable=True)
        file.tidy.append(f"`{key}: {value}` is written")
    file.named(file.data.get("id"))
    if not TASK_ID.fullmatch(file.stem) and file.claims is None:
        file.find("file-name", ("id",), f"'{file.stem}' is no id of a task", "KEY-<number>, or KEY-<CATEGORY>-<number>")
    file.refer("agent", file.data.get("agent"), "agent")
    if isinstance(budget := file.data.get("budget"), dict):
        from kin.model.settings import Budget, problems_in

        file.problems(p._replace(path=("budget", *p.path)) for p in problems_in(Budget, budget))
    pipeline = file.data.get("pipeline")
    if isinstance(pipeline, str):
        file.refer("pipeline", pipeline, "pipeline")
    elif pipeline is not None:
        look_at_steps(file, pipeline, "pipeline")


def look_at_steps(file: _File, said: Any, *keys: str) -> None:
    """The steps of a pipeline at `keys`, or its only one: each by itself, what they name, and whom work is sent back to."""
    from kin.model.settings import MAX_STEPS, StepSpec, nobody_before, problems_in

    steps = [*_each(said, *keys)]
    if not 1 <= len(steps) <= MAX_STEPS:
        file.find("schema", keys, f"a pipeline has 1 to {MAX_STEPS} steps, this one {len(steps)}")
    earlier: set[str] = set()
    for step, at in steps:
        if keys[0] != "pipelines":  # those of kin.yaml are checked with all of it
            file.problems(p._replace(path=(*at, *p.path)) for p in problems_in(StepSpec, step))
        parts = {"role": step} if isinstance(step, str) else step if isinstance(step, dict) else {}
        for kind, key in (("role", "role"), ("agent", "agent"), ("command", "run")):
            file.refer(kind, parts.get(key), *at, *(() if isinstance(step, str) else (key,)))
        if isinstance(back := parts.get("back_to"), str) and (lost := nobody_before(back, earlier)):
            file.find("pipeline", (*at, "back_to"), lost, "name the role of an earlier step")
        earlier.add(parts.get("role") or "command")


def _decision(file: _File) -> None:
    file.fits(Decision, build(Decision, file.data)[1])
    file.named(file.data.get("id"))
    file.refer("decision", file.data.get("supersedes"), "supersedes")
    for glob, keys in _each(file.data.get("paths"), "paths"):
        file.refer("glob", glob, *keys)


def _entries(file: _File, kind: Kind[Any]) -> None:
    file.problems(kind.build(file.data)[1])
    for name, said in file.data.items():
        if isinstance(said, dict):
            file.misses(kind.model, said, name)


def _modules(file: _File) -> None:
    _entries(file, MODULES)
    for name, said in file.data.items():
        for glob, keys in _each(said.get("paths"), name, "paths") if isinstance(said, dict) else _each(said, name):
            file.refer("glob", glob, *keys)
        file.refer("role", said.get("owner") if isinstance(said, dict) else None, name, "owner")


def _phases(file: _File) -> None:
    _entries(file, PHASES)
    for name, said in file.data.items():
        if isinstance(said, dict):
            if said.get("roles"):
                look_at_steps(file, said["roles"], name, "roles")
            for task, keys in _each(said.get("tasks"), name, "tasks"):
                file.refer("task", task, *keys)


def _each(said: Any, *keys: str) -> Iterator[tuple[Any, KeyPath]]:
    """Each of what may be one thing or a list, and the keys that lead to it."""
    if not isinstance(said, list):
        yield said, keys
        return
    for number, one in enumerate(said):
        yield one, (*keys, number)


def _note(file: _File) -> None:
    file.fits(Note, build(Note, file.data)[1])
    file.refer("role", file.data.get("to"), "to")
    _filed(file)


def _record(file: _File) -> None:
    run, problems = build(Run, file.data)
    file.problems(problems)
    if run is not None and (run.task, run.run) != (folder := os.path.basename(os.path.dirname(file.name)), file.stem):
        words = f"the record says run {run.run} of {run.task}, the file is {folder}/{file.stem}"
        file.find("file-name", ("run",), words, "records are kin's: restore it from git")
    _filed(file)


def _filed(file: _File) -> None:
    """What lies below a task's folder: the task must exist."""
    if not file.name.endswith(".yaml"):
        file.find("file-name", (), "kin reads only names that end in .yaml", f"name it {file.stem}.yaml")
    file.refer("folder", os.path.basename(os.path.dirname(file.name)))


def _role(text: str, shown: str) -> Look:
    name = os.path.basename(shown).removesuffix(".md")
    if not is_name(name):
        words = "a role's name has letters, digits, - and _, at most 40"
        return Look("role", (Finding("file-name", Place(shown), words, "name the file otherwise"),))
    try:
        role = parse_role(text, name, shown)
    except Invalid as error:
        return Look("role", (of_error("schema", error, shown),))
    heard = role.reads.get("roles")
    refs = [Ref("role", name, ("reads",)) for name in (heard if isinstance(heard, list) else ()) if isinstance(name, str)]
    slips = [
        Finding("near-miss", _in_role(text, shown, path), f"`{dotted(path)}` is no key of a role", f"did you mean `{meant}`?")
        for path, meant in near_misses(Role, role.extra)
    ]
    return Look("role", tuple(slips), (*refs, *([Ref("agent", role.agent, ("agent",))] if role.agent else [])))


def _settings(file: _File) -> None:
    from kin.model.settings import Settings, check_settings

    data = file.data
    for problem in check_settings(data).problems:
        file.find("schema", problem.path, problem.message, "`kin help settings` explains settings")
    for key in data:
        if key not in Settings.model_fields and not key.startswith("x-"):
            meant = near(key, Settings.model_fields)
            file.find("unknown-key", (key,), f"unknown setting '{key}'", f"did you mean `{meant}`?" if meant else "")
    if isinstance(found := data.get("format"), str) and found.isdigit() and int(found) > FORMAT:
        words = f"the files are of format {found}, this kin writes {FORMAT}"
        file.find("format", ("format",), words, "upgrade kin: this one only reads them")
    _refs_of_settings(file, data)


def _refs_of_settings(file: _File, data: Mapping[str, Any]) -> None:
    agents = [*_each(data.get("agent"), "agent")]
    for name, about in _pairs(data.get("roles")):
        file.refer("role", name, "roles", name)
        agents += _each(about.get("agent"), "roles", name, "agent") if isinstance(about, dict) else ()
    for agent, keys in agents:
        file.refer("agent", agent, *keys)
    for name, steps in _pairs(data.get("pipelines")):
        look_at_steps(file, steps, "pipelines", name)
    file.refer("command", data.get("setup"), "setup")
    for gate, keys in _each(data.get("gates"), "gates"):
        in_map = isinstance(gate, dict)
        file.refer("command", gate["run"] if in_map and "run" in gate else gate, *keys, *(("run",) if in_map else ()))


def _pairs(said: Any) -> list[tuple[str, Any]]:
    return list(said.items()) if isinstance(said, dict) else []


_LOOK: Mapping[str, Callable[[_File], None]] = {
    "task": _task,
    "decision": _decision,
    "note": _note,
    "record": _record,
    "chat": lambda file: file.problems(build(Talk, file.data)[1]),
    "settings": _settings,
    **{kind.stem: partial(_entries, kind=kind) for kind in KINDS},
    "modules": _modules,
    "phases": _phases,
}
