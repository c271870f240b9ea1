"""A proposal for modules.yaml: what the manifests of workspaces name, and else the folders that hold the code.

Only files that git tracks or would track count, so that no proposed glob matches nothing. Manifests are read as data: nothing
of the project is run, and one that cannot be read proposes nothing.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

from kin import git
from kin.model.globs import covers
from kin.model.module import Module
from kin.store.project import STORE, Project

CONTAINERS = frozenset(
    {"src", "lib", "libs", "pkg", "internal", "cmd"}
    | {"packages", "crates", "apps", "services", "modules"}
    | {"main", "java", "kotlin"}
)
"""Folders that only hold the parts that have names."""
LEFT_OUT = frozenset({"node_modules", "vendor", "third_party", "fixtures", "testdata", "__tests__", "__snapshots__"})
ODD = re.compile(r"[*?\[\]{}\n\\]|^[.-]|^$|\.egg-info$")
"""Folder names that a glob would not take literally, and hidden ones."""
ASIDE = frozenset({"test", "tests", "testing", "doc", "docs", "site", "examples", "bench", "benches", "benchmarks"})
"""Folders that are never the main one, however large."""
LARGEST = 1 << 20
MOST, CROWD = 60, 20
"""Modules that a proposal has at most (a longer map nobody reviews), and packages in a folder that is no container."""


class _Manifest(NamedTuple):
    """A kind of manifest, and which globs it says its members are in (`!` takes out)."""

    name: str
    members: Callable[[str], Iterable[str]]
    listed_in: str = ""


def propose(project: Project) -> list[Module]:
    """The modules that the tree and its manifests suggest, by name."""
    paths = [path for path in git.files(project.root) if not path.startswith(f"{STORE}/")]
    tree = _Tree(project.root, paths)
    found = _gathered(dict(_members(tree)))
    is_workspace = bool(found)
    for folder in _parts(tree, tree.folders_in(""), frozenset(found)):
        found.setdefault(folder, "")
    if not is_workspace and (main := tree.largest(found)):  # one package: its own parts
        for child in tree.folders_in(main):
            found.setdefault(child, "")
    names = _names(sorted(found, key=lambda folder: -tree.count[folder])[:MOST])
    return sorted(Module(names[folder], (f"{folder}/**",), found[folder]) for folder in names)


def _gathered(found: dict[str, str]) -> dict[str, str]:
    """The packages, a crowd of them (examples, playgrounds) as the one folder that holds it."""
    above = [os.path.dirname(folder) for folder in found]
    crowds = {one for one in above if above.count(one) > CROWD and one and os.path.basename(one) not in CONTAINERS}
    kept = {folder: said for folder, said in found.items() if not any(folder.startswith(f"{crowd}/") for crowd in crowds)}
    return kept | dict.fromkeys(sorted(crowds), "")


class _Tree:
    def __init__(self, root: str, paths: list[str]) -> None:
        self.root, self.paths = root, set(paths)
        self.count: dict[str, int] = {}
        self.direct: set[str] = set()
        for path in paths:
            folder = os.path.dirname(path)
            self.direct.add(folder)
            while folder:
                self.count[folder] = self.count.get(folder, 0) + 1
                folder = os.path.dirname(folder)

    def folders_in(self, folder: str) -> list[str]:
        """The folders right below one, as far as they can be a part."""
        below = sorted(name for name in self.count if os.path.dirname(name) == folder)
        return [name for name in below if not _is_odd(name)]

    def largest(self, folders: Iterable[str]) -> str | None:
        """The one that holds more files than all others together, tests and documents aside."""
        ranked = sorted(
            (name for name in folders if os.path.basename(name) not in ASIDE), key=lambda name: -self.count.get(name, 0)
        )
        rest = sum(self.count.get(name, 0) for name in ranked[1:])
        return ranked[0] if ranked and self.count.get(ranked[0], 0) > rest else None

    def manifests(self, name: str) -> list[str]:
        """The files of this name, the higher ones first."""
        found = [path for path in self.paths if path.endswith(f"/{name}") and not _is_odd(os.path.dirname(path))]
        return sorted(found, key=lambda path: (path.count("/"), path))

    def read(self, path: str) -> str:
        """A file's text, "" for one that is not there, too large, or outside of the project."""
        full = os.path.join(self.root, path)
        if path not in self.paths or os.path.islink(full) or not os.path.isfile(full) or os.path.getsize(full) > LARGEST:
            return ""
        with open(full, encoding="utf-8", errors="replace") as file:
            return file.read()


def _members(tree: _Tree) -> Iterator[tuple[str, str]]:
    """The folders of a workspace's packages, and what each says it is for."""
    for kind in MANIFESTS:
        owners, seen = [""], set[str]()
        while owners:
            owner = owners.pop()
            listed = [*kind.members(tree.read(os.path.join(owner, kind.listed_in or kind.name)))]
            globs = [os.path.normpath(os.path.join(owner, glob.lstrip("!"))) for glob in listed if not glob.startswith("!")]
            out = [os.path.normpath(os.path.join(owner, glob[1:])) for glob in listed if glob.startswith("!")]
            for path in tree.manifests(kind.name) if globs else ():
                folder = os.path.dirname(path)
                if folder == owner or (kind.name != "pom.xml" and any(folder.startswith(f"{one}/") for one in seen)):
                    continue  # a package within a package is that one's own business; only Maven's are made so
                if _is_member(folder, globs) and not _is_member(folder, out):
                    owners.append(folder)
                    seen.add(folder)
                    yield folder, _purpose(tree.read(path))


def _is_odd(folder: str) -> bool:
    """Whether a glob would not take the folder's name literally, or what lies there is not the project's own code."""
    return any(ODD.search(part) or part in LEFT_OUT for part in folder.split("/"))


def _is_member(folder: str, globs: Iterable[str]) -> bool:
    """A workspace's `*` stays within a folder, unlike ours."""
    return any(covers(glob, folder) and ("**" in glob or glob.count("/") == folder.count("/")) for glob in globs)


def _parts(tree: _Tree, folders: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """The folders that hold code, beside those `known`: containers, and what holds nothing but one folder, are looked into."""
    for folder in folders:
        below, holds = tree.folders_in(folder), folder in tree.direct
        if folder in known:
            continue
        has_known = any(one.startswith(f"{folder}/") for one in known)
        if has_known or (below and (os.path.basename(folder) in CONTAINERS or (not holds and len(below) == 1))):
            yield from [folder] if holds and not has_known else []
            yield from _parts(tree, below, known)
        else:
            yield folder


def _names(folders: list[str]) -> dict[str, str]:
    """A name for each folder: its last part, or all of it where two would have the same."""
    last = [os.path.basename(folder) for folder in folders]
    return {folder: name if last.count(name) == 1 else folder for folder, name in zip(folders, last, strict=True)}


def _read(loads: Callable[[str], Any], text: str, *keys: str) -> dict[str, Any]:
    """The mapping under these keys of a text, empty if there is none or `loads` cannot read it."""
    try:
        data = loads(text)
    except (ValueError, RecursionError):
        return {}
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _npm(text: str) -> list[str]:
    said = _read(json.loads, text).get("workspaces")
    return _texts(said.get("packages") if isinstance(said, dict) else said)


def _pnpm(text: str) -> list[str]:
    """The list under `packages:` in pnpm-workspace.yaml, whose other keys are none of ours."""
    listed = re.search(r"(?m)^packages:[ \t]*\n((?:[ \t]*(?:-.*|#.*)?\n?)*)", text)
    return re.findall(r"(?m)^[ \t]*-[ \t]+['\"]?([^'\"#\n]+?)['\"]?[ \t]*(?:#.*)?$", listed[1] if listed else "")


def _toml_members(*keys: str) -> Callable[[str], list[str]]:
    def members(text: str) -> list[str]:
        said = _read(tomllib.loads, text, *keys)
        return [*_texts(said.get("members")), *(f"!{glob}" for glob in _texts(said.get("exclude")))]

    return members


def _go(text: str) -> list[str]:
    block = re.sub(r"//.*", "", text)
    listed = " ".join(re.findall(r"\buse\s*\(([^)]*)\)", block) + re.findall(r"(?m)^use[ \t]+([^(\s]+)", block))
    return [word.strip('"`') for word in listed.split()]


def _purpose(manifest: str) -> str:
    found = _DESCRIPTION.search(manifest)
    text = next((group for group in found.groups() if group), "") if found else ""
    return " ".join(text.split()).partition(". ")[0][:200].strip()


_DESCRIPTION = re.compile(r'^description\s*=\s*"([^"\\]*)|[{,]\s*"description"\s*:\s*"([^"\\]*)|<description>([^<>]*)<', re.M)
MANIFESTS = (
    _Manifest("package.json", _npm),
    _Manifest("package.json", _pnpm, "pnpm-workspace.yaml"),
    _Manifest("Cargo.toml", _toml_members("workspace")),
    _Manifest("pyproject.toml", _toml_members("tool", "uv", "workspace")),
    _Manifest("go.mod", _go, "go.work"),
    _Manifest("pom.xml", lambda text: re.findall(r"<module>\s*([^<>\s]+)\s*</module>", re.sub(r"(?s)<!--.*?-->", "", text))),
)
