"""`kin trust`: agree to what this clone's settings and roles can start, or take that back."""

from collections.abc import Iterator, Mapping
from typing import Any

from kin.cli.output import Call, Result
from kin.cli.screen import clean, indent

__all__ = ["trust_"]


def trust_(call: Call) -> Result:
    """Show what would run and remember it as agreed to; typing the command is the yes."""
    from kin.store import trust
    from kin.store.config import KIN_YAML, settings_path
    from kin.store.files import read_text
    from kin.store.roles import role_texts

    project = call.project
    if call["forget"]:
        trust.forget(project, call.environ)
        lines = ["This clone is not trusted any more, and nobody has leave to write without being asked."]
        return Result("trust", {"trusted": False, "texts": []}, lines, brief=())
    parts = trust.parts_of(read_text(settings_path(project), KIN_YAML), role_texts(project.store))
    trust.agree(project, trust.texts_here(project), call.environ)
    return Result("trust", {"trusted": True, "texts": list(parts)}, list(_shown(parts)), brief=())


def _shown(parts: Mapping[str, Any]) -> Iterator[str]:
    """What can start programs, by name, as far as a person can take it in."""
    for name, part in parts.items():
        if name.startswith("role "):
            yield f"{clean(name)}: .kin/roles/{clean(name.removeprefix('role '))}.md"
        else:
            yield from (f"{clean(name)}:", *indent(_lines(part)))
    yield "This clone is trusted: the settings and roles above may start programs." if parts else "This clone is trusted."


def _lines(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if isinstance(value, (dict, list)):
                yield from (f"{clean(str(key))}:", *indent(_lines(value)))
            else:
                yield f"{clean(str(key))}: {clean(str(value))}"
    elif isinstance(part, list):
        for item in part:
            first, *rest = [*_lines(item)] or [""]
            yield from (f"- {first}", *indent(rest))
    else:
        yield from clean(str(part)).splitlines()
