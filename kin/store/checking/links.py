"""What the files of `.kin/` say of one another, and of what lies outside: ids, references, circles, commands; and what git
knows of them: those that it is in the middle of merging, and statuses that differ from HEAD's."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from kin import git
from kin.errors import Invalid, NotFound, Place
from kin.model.builtin import BUILT_IN_AGENTS, BUILT_IN_PIPELINES
from kin.model.deps import circles, waits_of
from kin.model.fields import KeyPath
from kin.model.globs import matching
from kin.model.ids import TASK_ID, identity
from kin.model.link import LINKS, split
from kin.model.ready import Graph, graph_of
from kin.model.spelling import near
from kin.model.status import TaskStatus, may_move
from kin.model.task import READ, Task
from kin.store import config, entries, files
from kin.store.checking.findings import Finding
from kin.store.checking.inspection import Look, Ref, place_at
from kin.store.checking.renaming import renamings
from kin.store.project import STORE, Project
from kin.store.text import reader


def between(
    project: Project, found: Mapping[str, Look], known: Mapping[str, Task], environ: Mapping[str, str]
) -> Iterator[Finding]:
    """The findings that need more than one file.

    `found` is what each file shows by itself, by its path below `.kin/`; `known` are the tasks that can be read.
    """
    graph = graph_of(known)
    there = {kind: {_stem(name) for name, look in found.items() if look.kind == kind} for kind in ("task", "decision")}
    if "kin.yaml" not in found:
        yield Finding("schema", Place(config.KIN_YAML), f"there is no {config.KIN_YAML}", "`kin init` makes one")
    yield from _names(project, found)
    yield from _tasks(project, graph, there["task"])
    yield from _references(project, found, _Known(project, there, environ))
    yield from _unmerged(project, found)
    yield from _moves(project, known)


def _names(project: Project, found: Mapping[str, Look]) -> Iterator[Finding]:
    for one in renamings(found):
        words = f"the id is {one.claims}, but the file is {os.path.basename(one.name)}"
        yield Finding("file-name", place_at(project, one.name, ("id",)), words, one.why, fixable=bool(one.to or one.new_id))
    if any("-0" in name for name in found):  # nothing else makes two spellings of one number
        yield from _collisions(found)


def _collisions(found: Mapping[str, Look]) -> Iterator[Finding]:
    seen: dict[tuple[str | int, ...], str] = {}
    for name in sorted(found, key=lambda name: (len(name), name)):
        stem, kind = _stem(name), found[name].kind
        if kind in ("task", "decision") and TASK_ID.fullmatch(stem):
            first = seen.setdefault((kind, *identity(stem)), stem)
            if first != stem:
                words = f"{stem} and {first} are one id"
                yield Finding("collision", Place(f"{STORE}/{name}", 1), words, f"`kin renumber {stem}` gives it another one")


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".yaml")


def _tasks(project: Project, graph: Graph, there: set[str]) -> Iterator[Finding]:
    parents = {child for children in graph.children.values() for child in children}
    elsewhere = any(":" in word for needs in graph.depends_on.values() for word, _ in needs)
    linked = entries.load(project, LINKS).found if elsewhere else {}
    for task in graph.tasks.values():
        name = f"tasks/{task.id}.yaml"
        for number, (word, meant) in enumerate(graph.depends_on.get(task.id, ())):
            if (parts := split(word)) and parts[0] in linked:
                continue
            if meant is None and word not in there:
                yield _missing(project, name, ("depends_on", number), word, there)
        if task.parent is not None and task.id not in parents and task.parent not in there:
            yield _missing(project, name, ("parent",), task.parent, there)
    yield from _circles(project, graph)


def _missing(project: Project, name: str, keys: KeyPath, word: str, there: set[str]) -> Finding:
    close = _alike(word, there)
    hint = f"did you mean {close}?" if close else "remove it, or is the task on another branch?"
    return Finding("reference", place_at(project, name, keys), f"there is no task {word}", hint)


def _alike(word: str, known: "set[str] | Sequence[str]") -> str | None:
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
    return close[0] if close else None


def _circles(project: Project, graph: Graph) -> Iterator[Finding]:
    for way in circles(waits_of(graph)):
        words = ", ".join(f"{one} {how} {other}" for one, how, other in way)
        first, _, second = way[0]
        numbers = [n for n, (_, other) in enumerate(graph.depends_on.get(first, ())) if other == second]
        at = (f"tasks/{first}.yaml", ("depends_on", numbers[0])) if numbers else (f"tasks/{second}.yaml", ("parent",))
        yield Finding("circle", place_at(project, *at), f"tasks wait for one another: {words}", "take one of these away")


def _references(project: Project, found: Mapping[str, Look], known: "_Known") -> Iterator[Finding]:
    for name, look in found.items():
        for ref in look.refs:
            if fault := known.fault(ref):
                code, message, hint = fault
                yield Finding(code, place_at(project, name, ref.keys), message, hint)


class _Known:
    def __init__(self, project: Project, there: Mapping[str, set[str]], environ: Mapping[str, str]) -> None:
        from kin.store.roles import role_names

        self.project, self.path = project, environ.get("PATH")
        said = _said(project)
        self.names: dict[str, set[str]] = {
            "role": {*role_names(project.store), "command"},
            "agent": {*BUILT_IN_AGENTS, "command", *_keys(said, "agents"), *_own_agents(environ)},
            "pipeline": {*BUILT_IN_PIPELINES, *_keys(said, "pipelines")},
            "folder": there["task"],
            "task": there["task"],
            "decision": there["decision"],
        }
        self.setup = said.get("setup") is not None
        self.commands: dict[str, tuple[str, str] | None] = {}

    @cached_property
    def files(self) -> list[str]:
        """Every path that git tracks or would track; asked for by the first glob."""
        return git.files(self.project.root)

    def fault(self, ref: Ref) -> tuple[str, str, str] | None:
        """What is wrong with a reference: code, message and hint."""
        if ref.kind == "command":
            if ref.name not in self.commands:
                self.commands[ref.name] = _lost(ref.name, self.project.root, self.path, setup=self.setup)
            lost = self.commands[ref.name]
            return None if lost is None else ("command", *lost)
        if ref.kind == "glob":
            covered = next(matching(ref.name, self.files), None)
            return None if covered else ("glob", f"no file is covered by {ref.name}", "was it moved, or is it misspelt?")
        known = self.names[ref.kind]
        if ref.name in known:
            return None
        if ref.kind == "folder":
            return "orphan", f"it is about {ref.name}, and there is no such task", "`git log` tells when its file went"
        meant = near(ref.name, known) or _alike(ref.name, known)
        hint = f"did you mean `{meant}`?" if meant else _HINTS[ref.kind](known)
        if ref.kind in ("decision", "task"):
            return "reference", f"there is no {ref.kind} {ref.name}", hint
        return ref.kind, f"no {ref.kind} is called '{ref.name}'", hint


_HINTS: Mapping[str, Callable[[set[str]], str]] = {
    "role": lambda known: f"one of {', '.join(sorted(known))}, or write .kin/roles/<name>.md",
    "agent": lambda known: f"one of {', '.join(sorted(known))}, or add it to `agents:` in kin.yaml",
    "pipeline": lambda known: f"one of {', '.join(sorted(known))}",
    "decision": lambda known: "remove it, or is the decision on another branch?",
    "task": lambda known: "remove it, or is the task on another branch?",
}


def _said(project: Project) -> Mapping[str, Any]:
    """What kin.yaml says, {} if it cannot be read: that is a finding of its own."""
    try:
        return reader.read(files.read_text(config.settings_path(project), config.KIN_YAML), config.KIN_YAML)
    except (NotFound, Invalid):
        return {}


def _own_agents(environ: Mapping[str, str]) -> list[str]:
    """Agents that the person's own config.yaml adds. One that cannot be read is no file of this project."""
    try:
        return _keys(config.user_settings(environ), "agents")
    except Invalid:
        return []


def _keys(said: Mapping[str, Any], name: str) -> list[str]:
    held = said.get(name)
    return list(held) if isinstance(held, dict) else []


_OURS, _THEIRS = "2", "3"
_STAGES = {
    frozenset({"1"}): "both sides deleted it",
    frozenset({"1", _OURS}): "it was changed here and deleted on the other side",
    frozenset({"1", _THEIRS}): "it was deleted here and changed on the other side",
    frozenset({_OURS}): "it was renamed to this here, and otherwise on the other side",
    frozenset({_THEIRS}): "it was renamed to this on the other side, and otherwise here",
    frozenset({_OURS, _THEIRS}): "both sides added it",
}


def _unmerged(project: Project, found: Mapping[str, Look]) -> Iterator[Finding]:
    """Files that git counts as unmerged and that hold no markers (those tell for themselves)."""
    stages: dict[str, set[str]] = {}
    out = git.git(project.root, "ls-files", "--unmerged", "-z", "--", STORE).out.decode("utf-8", "surrogateescape")
    for entry in out.split("\0")[:-1]:
        about, _, path = entry.partition("\t")
        stages.setdefault(path, set()).add(about[-1])
    for path, held in stages.items():
        look = found.get(path.removeprefix(f"{STORE}/"))
        marked = look is not None and any(finding.code == "conflict" for finding in look.findings)
        added = held == {_OURS, _THEIRS}
        if marked and not added:
            continue
        words = _STAGES.get(frozenset(held), "both sides changed it")
        if added and path.startswith((f"{STORE}/tasks/", f"{STORE}/decisions/")):
            yield Finding(
                "conflict", Place(path, 1), f"{words}: two were given one id", "keep one here; give the other a new id"
            )
        else:
            hint = "`git add` it when it is right, or `git rm` it"
            yield Finding("conflict", Place(path, 1), f"git is in the middle of merging this file: {words}", hint)


def _moves(project: Project, known: Mapping[str, Task]) -> Iterator[Finding]:
    """Statuses that differ from HEAD's by a move that neither a person nor kin makes."""
    for task_id, old in _before(project):
        if (task := known.get(task_id)) is None:
            continue
        if not may_move(old, task.status) and not may_move(old, task.status, by_kin=True):
            words = f"{task_id} is {old} in HEAD and {task.status} here: nobody moves a task so"
            where = place_at(project, f"tasks/{task_id}.yaml", ("status",))
            yield Finding("move", where, words, "is it what you meant? `kin help moves` lists what it can become")


def _before(project: Project) -> Iterator[tuple[str, TaskStatus]]:
    """What HEAD says of the tasks whose files differ from it: two processes, however many they are."""
    flags = ("-z", "--raw", "--no-renames", "--no-abbrev", "--diff-filter=MT")
    out = git.git(project.root, "diff-index", *flags, "HEAD", "--", f"{STORE}/tasks", ok=(0, 128))
    fields = out.out.decode("utf-8", "surrogateescape").split("\0")[:-1]
    olds = [about.split(" ")[2] for about in fields[::2]]
    for path, raw in zip(fields[1::2], git.blobs(project.root, olds), strict=True):
        try:
            said = reader.read(reader.decode(raw, path), path).get("status")
            yield path.removeprefix(f"{STORE}/tasks/").removesuffix(".yaml"), READ["status"](said)
        except (Invalid, ValueError):
            continue  # what HEAD says cannot be read, so nothing moved from it


_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=\S*")
_WORD = re.compile(r"[A-Za-z0-9_./+-]+")
_OWN = re.compile(
    r"[.:!\[]|alias|break|case|cd|command|continue|do|done|echo|elif|else|esac|eval|exec|exit|export|false|fi|for|getopts|hash"
    r"|if|in|jobs|kill|printf|pwd|read|readonly|return|set|shift|test|then|times|trap|true|type|ulimit|umask|unset|until|wait"
    r"|while"
)
"""Words of /bin/sh itself."""


def _lost(command: str, root: str, path: str | None, *, setup: bool) -> tuple[str, str] | None:
    """What is wrong with a shell command, and a hint; None if its first word is found, or is none that can be looked for.

    A path is looked for below `root`; with a `setup` it may be one that setup makes in each worktree.
    """
    words = command.split()
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words.pop(0)
    if not words:
        return "the command is empty", "write one, or remove it"
    word = words[0]
    if not _WORD.fullmatch(word) or _OWN.fullmatch(word):
        return None
    if "/" in word:
        there = (setup and not os.path.isabs(word)) or os.access(os.path.join(root, word), os.X_OK)
        return None if there else (f"`{word}` is no program here", "is it spelled right, and executable?")
    if shutil.which(word, path=path):
        return None
    return f"`{word}` was not found on PATH", "is it spelled right, and installed here?"
