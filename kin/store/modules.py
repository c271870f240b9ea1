"""The map of modules: `.kin/modules.yaml`, which part of the code has which name, purpose and owner."""

import os

from kin.errors import Invalid, NotFound
from kin.model.module import Module, build_modules
from kin.store import files, reader
from kin.store.project import STORE, Project

SHOWN = f"{STORE}/modules.yaml"


def load(project: Project) -> tuple[list[Module], list[Invalid]]:
    """The modules as the file lists them, and what is wrong with the rest of it; none if there is no file."""
    path = os.path.join(project.store, "modules.yaml")
    if not os.path.exists(path):
        return [], []
    try:
        text = files.read_text(path, SHOWN)
        found, wrong = build_modules(reader.read(text, SHOWN, reader.RECORD_BOUNDS))
    except NotFound:
        return [], []
    except Invalid as error:
        return [], [error]
    return found, [Invalid(p.message, "", reader.place_of(text, SHOWN, p.path, reader.RECORD_BOUNDS)) for p in wrong]
