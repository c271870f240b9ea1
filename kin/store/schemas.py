"""The schemas in `.kin/schema/`: a file of `.kin/` names its own in its first line, so that editors find it offline everywhere.

They are kin's own and carry a checksum of themselves: one that nobody changed is renewed by a newer kin, any other stays.
"""

import os
import re

from kin.errors import NotFound
from kin.model.task import FORMAT
from kin.store import config, files
from kin.store.project import STORE, Project

FOLDER = "schema"
_SAYS = "`kin init` writes this file, and renews it unless it was changed "
_MARK = re.compile(re.escape(_SAYS) + "([0-9a-f]{16})")


def first_line(project: Project, kind: str, above: str = "..") -> str:
    """The line by which a new file names its schema, `above` being the way from its folder to `.kin`; "" if there is none."""
    if not os.path.exists(os.path.join(project.store, FOLDER, kind + ".json")):
        return ""
    return f"# yaml-language-server: $schema={above}/{FOLDER}/{kind}.json\n\n"


def write(project: Project) -> tuple[list[str], list[str]]:
    """Write the schemas that are missing and renew those that an older kin wrote; the paths of both, from the root.

    A store of a newer format has a newer kin's schemas, which stay.
    """
    from kin.model.schema import SCHEMAS

    made: list[str] = []
    renewed: list[str] = []
    if config.quick(project).format > FORMAT:
        return made, renewed
    for kind in SCHEMAS:
        path, shown = os.path.join(project.store, FOLDER, kind + ".json"), f"{STORE}/{FOLDER}/{kind}.json"
        new = _text(kind)
        try:
            old = files.read_text(path, shown)
        except NotFound:
            files.replace(project, path, new, expect=None)
            made.append(shown)
            continue
        if old != new and _is_ours(old):
            files.replace(project, path, new, expect=old.encode())
            renewed.append(shown)
    return made, renewed


def _text(kind: str) -> str:
    from kin.model.schema import schema_text

    text = schema_text(kind, {"$comment": _SAYS})
    return text.replace(_SAYS, _SAYS + _digest(text), 1)


def _is_ours(text: str) -> bool:
    """Whether the text is as some kin wrote it; an editor's or git's CRLF does not make it another."""
    text = text.replace("\r\n", "\n")
    match = _MARK.search(text)
    return match is not None and match[1] == _digest(text.replace(match[0], _SAYS, 1))


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:16]
