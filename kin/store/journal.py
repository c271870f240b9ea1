"""The journal: side effects under way, as intent, effect, record. What a killed kin was doing is decided from here and git.

An entry is a JSON file in the git common dir, written before its effect and removed after; it is never changed in place.
"""

import json
import os
from typing import Any

from kin.errors import Invalid, Place
from kin.store import files
from kin.store.project import Project, file_name


def _folder(project: Project) -> str:
    return os.path.join(project.common, "journal")


def _path(project: Project, name: str) -> str:
    return os.path.join(_folder(project), file_name(name) + ".json")


def write(project: Project, name: str, entry: dict[str, Any]) -> None:
    """Write an entry, durable when this returns; the effect may follow."""
    files.write_own(_path(project, name), json.dumps(entry, indent=1, sort_keys=True) + "\n")


def read(project: Project, name: str) -> dict[str, Any] | None:
    """The entry of that name, or None. Raises Invalid if it is damaged: recovery must not guess."""
    return _load(_path(project, name))


def _load(path: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(files.read_stamped(path)[0])
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise Invalid(f"the journal entry cannot be read: {error}", "`kin doctor` looks at it", Place(path)) from error
    if not isinstance(entry, dict):
        raise Invalid("the journal entry is no mapping", "`kin doctor` looks at it", Place(path))
    return entry


def remove(project: Project, name: str) -> None:
    """Remove an entry once its effect is recorded elsewhere; one that is gone already is fine."""
    files.remove_own(_path(project, name))


def look(project: Project) -> tuple[dict[str, dict[str, Any]], list[Invalid]]:
    """Every entry that can be read, by its file's name without `.json`, and what is wrong with the others."""
    entries: dict[str, dict[str, Any]] = {}
    faults: list[Invalid] = []
    for name in sorted(files.names_in(_folder(project), ".json")):
        try:
            if (entry := _load(os.path.join(_folder(project), name))) is not None:
                entries[name.removesuffix(".json")] = entry
        except Invalid as fault:
            faults.append(fault)
    return entries, faults
