"""Everything under `.kin/` at a glance: which files there are, what is wrong in each, and between them.

What a file shows by itself (inspection.py) is kept in an index of its own, so that only what changed is read again.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from kin import __version__
from kin.errors import Invalid, Place
from kin.store import files, index, tasks
from kin.store.checking import inspection
from kin.store.checking.findings import ERROR, Finding, of_error
from kin.store.project import STORE, Project

OTHERS = frozenset({"README.md", ".gitattributes", ".gitignore", ".gitkeep", ".keep"})
"""Files that people and git put into any folder."""

Tick = Callable[[int, int], None]
"""Told how many files were read, of at most how many."""


class Report(NamedTuple):
    """All findings by file and place, how many files there are, and which of them --fix would tidy."""

    files: int
    findings: list[Finding]
    tidy: dict[str, tuple[str, ...]]

    @property
    def errors(self) -> int:
        return sum(finding.severity == ERROR for finding in self.findings)


class Listing(NamedTuple):
    """The files of `.kin/` as paths below it, and what is wrong with their being there."""

    names: list[str]
    findings: list[Finding]


def check(project: Project, environ: Mapping[str, str], tick: Tick | None = None) -> Report:
    """Look at every file of `.kin/`, and at what they say of one another, of HEAD and of this machine."""
    from kin.store.checking.links import between

    with index.no_gc():
        known = tasks.scan(project, bodies=False).tasks
        there = listing(project)
        found = looks(project, there.names, tick)
        findings = [*there.findings, *(f for look in found.values() for f in look.findings)]
        findings += between(project, found, known, environ)
        tidy = {name: look.tidy for name, look in found.items() if look.tidy}
        return Report(len(there.names) + len(there.findings), sorted(findings, key=lambda f: (f.where, f.code)), tidy)


def looks(project: Project, names: Iterable[str], tick: Tick | None = None) -> dict[str, inspection.Look]:
    """What each file shows by itself, unchanged ones from the index."""
    wanted = list(names)
    read = 0
    alike: dict[index.Row, index.Row] = {}  # most files show nothing, or name the same few things

    def parse(path: str, name: str) -> tuple[index.Row, index.Row, bool] | None:
        nonlocal read
        read += 1
        if tick is not None:
            tick(read, len(wanted))
        if (look := inspection.inspect(project, name)) is None:
            return None
        row = inspection.to_row(look)
        return alike.setdefault(row, row), (), False

    cache = index.cache_path(project.common, project.store)
    version = f"{__version__} {inspection.VERSION}"
    rows = index.scan(project.store, cache, parse, index.by_name, bodies=False, names=wanted, version=version).heads
    known = {row: inspection.from_row(row) for row in set(rows.values())}
    return {name: known[rows[name]] for name in wanted if name in rows}


def listing(project: Project) -> Listing:
    """Walk the folders that kin reads, and name what else lies there."""
    found = Listing([], [])
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in sorted(_entries(os.path.join(project.store, folder)), key=lambda entry: entry.name):
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink() and (fault := _link(project, entry.path, name)):
                found.findings.append(fault)
            elif entry.is_dir():
                if _is_read(name):
                    folders.append(name)
                else:
                    found.findings.append(_stray(name + "/"))
            elif inspection.kind_of(name):
                found.names.append(name)
            elif not (entry.name in OTHERS or entry.name.endswith(files.TEMPORARY) or name.startswith("schema/")):
                found.findings.append(_stray(name))
    return found


def _entries(folder: str) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return


def _is_read(name: str) -> bool:
    top = name.partition("/")[0]
    deep = 1 + inspection.FOLDERS.get(top, ("", 0))[1]
    return top in (*inspection.FOLDERS, "roles", "schema") and name.count("/") < deep


def _stray(name: str) -> Finding:
    if name.endswith((f"{files.GATHERING}/", f"{files.WHOLE}/")):
        hint = "another one ends what it began, `kin doctor --fix` too"
        return Finding("stray", Place(f"{STORE}/{name}"), "a `kin add --file` was killed, or is at work", hint)
    near = "name it .yaml" if name.endswith(inspection.SUFFIXES) else "keep it elsewhere"
    return Finding("stray", Place(f"{STORE}/{name}"), "kin does not read this", near)


def _link(project: Project, path: str, name: str) -> Finding | None:
    """What is wrong with a symbolic link; those within the repository's files are followed."""
    shown = f"{STORE}/{name}"
    try:
        if os.path.exists(files.inside(project, path)):
            return None
    except Invalid as error:
        return of_error("link", error, shown)
    return Finding("link", Place(shown), "a symbolic link leads nowhere", "put a file in its place")
