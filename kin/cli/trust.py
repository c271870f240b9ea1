"""`kin trust`: what this clone's settings and roles can start; agree to it, or take that back."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kin import git
from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, indent
from kin.errors import KinError
from kin.runner.remote.target import find_target
from kin.store import trust
from kin.store.config import KIN_YAML, quick, settings_path
from kin.store.files import read_text
from kin.store.project import Project
from kin.store.roles import role_texts
from kin.store.trust import parts_of, texts_of


class Texts(NamedTuple):
    """What can start programs, by name, and the digests that a yes remembers: of one reading, so a yes is to what is shown."""

    parts: dict[str, Any]
    digests: dict[str, str]


def trust_(call: Call) -> Result:
    """Show what would run; remember it as agreed to if the person says so, at the prompt or by --yes."""
    project, screen = call.project, call.screen
    if call["forget"]:
        trust.forget(project, call.environ)
        lines = ["This clone is not trusted any more, and nobody has leave to write without being asked."]
        return Result("trust", {"trusted": False, "leave": False, "new": [], "texts": []}, lines, brief=())
    here, target = _read(project)
    texts = Texts({**target.parts, **here.parts}, target.digests | here.digests)
    new = trust.not_agreed(project, texts.digests, call.environ)
    shown = list(_shown(texts.parts, new, screen))
    if new and not call["yes"] and screen.may_ask:
        screen.out.write("\n".join([*shown, ""]))
        shown = []
    agreed = not new or call["yes"] or screen.ask("May these start programs in this clone? (remembered)")
    if new and agreed:
        trust.agree(project, texts.digests, call.environ)
    data = {
        "trusted": trust.said_yes(project, "trusted", call.environ),
        "leave": trust.said_yes(project, "leave", call.environ),
        "new": [] if agreed else list(new),
        "texts": list(texts.parts),
    }
    trusted = f"This clone is trusted{': the settings and roles above may start programs' if texts.parts else ''}."
    shown += [trusted] if agreed else [f"Not agreed to: {clean(', '.join(new))}. Nothing was remembered."]
    if not agreed and not screen.may_ask:
        shown.append("`kin trust --yes` agrees to it where nobody can be asked.")
    return Result("trust", data, shown, brief=(), exit=0 if agreed else 3)


def _read(project: Project) -> tuple[Texts, Texts]:
    """What the store's own files name, and what the tip of `base` names if that branch is not checked out here."""
    roles = role_texts(project.store)  # always the store's: a target's own are never used

    def texts(settings: str, at: str = "") -> Texts:
        tail = f" on {at}" if at else ""
        parts = {name + tail: part for name, part in parts_of(settings, roles).items()}
        return Texts(parts, texts_of(settings, roles, at))

    here = texts(read_text(settings_path(project), KIN_YAML))
    try:
        target = find_target(project, quick(project).base)
    except KinError:  # no target yet: nothing of it can be started, and a run says why
        return here, Texts({}, {})
    there = git.blob(project.root, target.oid, KIN_YAML) if not target.here else None
    if there is None:
        return here, Texts({}, {})
    other = texts(there.decode("utf-8", "replace"), target.name)
    same = set(here.digests.values())
    fresh = {name: digest for name, digest in other.digests.items() if digest not in same}
    return here, Texts({name: other.parts[name] for name in fresh}, fresh)


def _shown(parts: Mapping[str, Any], new: Mapping[str, str], screen: Screen) -> Iterator[str]:
    """What can start programs, by name, as far as a person can take it in; what was not agreed to is marked."""
    for name, part in parts.items():
        mark = screen.paint("  (not agreed to)", "yellow") if name in new else ""
        if name.startswith("role "):
            yield f"{clean(name)}: .kin/roles/{clean(name.removeprefix('role '))}.md{mark}"
        else:
            yield from (f"{clean(name)}:{mark}", *indent(_lines(part)))


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
