"""The roster: roles as Markdown files with front matter, shipped with kin and overridden in `.kin/roles/`."""

import os
from typing import Annotated, Any, NamedTuple

from kin.errors import Invalid, NotFound, Place
from kin.model.fields import Field, at_most_one_line, build, mapping, seconds
from kin.model.ids import is_name
from kin.resources import shipped
from kin.store import files
from kin.store.project import STORE
from kin.store.text.nodes import Bounds

BOUNDS = Bounds(size=64 * 1024)
"""Of a role's file."""


def _access(plain: Any) -> str:
    if plain in ("read", "write"):
        return str(plain)
    raise ValueError("expected read or write")


class Role(NamedTuple):
    """Who plays a step. `body` is the prompt; `reads` says what its context holds."""

    name: Annotated[str, Field("Its name, the file's too", at_most_one_line(40))]
    summary: Annotated[str, Field("What it is for, one line", at_most_one_line(300))] = ""
    access: Annotated[str, Field("read or write", _access)] = "write"
    reads: Annotated[dict[str, Any], Field("kinds, tags, modules, roles; diff, roster", mapping)] = {}
    agent: Annotated[str | None, Field("Who plays it unless the project says", at_most_one_line(60))] = None
    model: Annotated[str | None, Field("Which model unless the project says", at_most_one_line(120))] = None
    timeout: Annotated[float | None, Field("Longest time", seconds)] = None
    extra: dict[str, Any] = {}
    body: str = ""


def _folders(store: str) -> list[str]:
    return [os.path.join(store, "roles"), shipped("agents")]


def role_names(store: str) -> list[str]:
    """The names of all roles, the project's own too, sorted; a file that no step could name is none."""
    return sorted({name[:-3] for folder in _folders(store) for name in files.names_in(folder, ".md") if is_name(name[:-3])})


def role_texts(store: str) -> dict[str, str]:
    """The project's own role files by name: texts that trust is asked for. Raises Invalid for one that is no text."""
    folder = os.path.join(store, "roles")
    return {name[:-3]: _read(os.path.join(folder, name), _shown(name)) for name in sorted(files.names_in(folder, ".md"))}


def find_role(store: str, name: str) -> Role:
    """The role `name`, the project's own file first. Raises NotFound, or Invalid with the place of a fault."""
    if (role := load_role(store, name)) is not None:
        return role
    known = ", ".join(role_names(store))
    raise NotFound(f"no role is called '{name}'", f"one of {known}, or write .kin/roles/{name}.md")


def load_role(store: str, name: str) -> Role | None:
    """The role `name`, or None if nobody wrote it. Raises Invalid with the place of a fault."""
    for folder in _folders(store):
        path = os.path.join(folder, name + ".md")
        if os.path.isfile(path):
            shown = _shown(name + ".md") if folder.startswith(store) else path
            return parse_role(_read(path, shown), name, shown)
    return None


def parse_role(content: str, name: str, path: str) -> Role:
    """The role in a file's text: front matter between `---` lines, then the prompt."""
    from kin.store.text.reader import place_of, read

    head, body = _split(content, path)
    role, problems = build(Role, {"name": name, **(read(head, path) if head.strip() else {})})
    if role is None:
        raise Invalid(problems[0].message, "mend the front matter", place_of(head, path, problems[0].path))
    return role._replace(name=name, body=body.strip())


def _split(content: str, path: str) -> tuple[str, str]:
    content = content.removeprefix("\ufeff")  # an editor's mark: with it, `access: read` would not be seen
    lines = content.splitlines(keepends=True)
    if not lines or lines[0].strip() != "---":
        return "", content
    for number, line in enumerate(lines[1:], 1):
        if line.strip() == "---":
            return "\n" + "".join(lines[1:number]), "".join(lines[number + 1 :])  # a line for `---`, so that places are right
    raise Invalid("the front matter has no end", "close it with a line `---`", Place(path, 1, 1))


def _shown(name: str) -> str:
    """The project's own file of this name, as a person would type it."""
    return f"{STORE}/roles/{name}"


def _read(path: str, shown: str) -> str:
    return files.read_text(path, shown, BOUNDS)
