"""What `kin check` can find: a stable word for each kind of fault, how grave it is, and where it stands."""

from collections.abc import Mapping
from typing import NamedTuple

from kin.errors import Invalid, Place

ERROR, WARNING = "error", "warning"

CODES: Mapping[str, tuple[str, str]] = {
    "unreadable": (ERROR, "It cannot be opened, is too large, or is no UTF-8"),
    "conflict": (ERROR, "It holds merge conflict markers, or git is in the middle of merging it"),
    "syntax": (ERROR, "It is no YAML that kin reads"),
    "schema": (ERROR, "A key is missing, or a value does not fit"),
    "two-spellings": (ERROR, "A key stands there in two spellings"),
    "near-miss": (WARNING, "An unknown key looks like a known one"),
    "unknown-key": (WARNING, "kin.yaml has a key that kin does not know"),
    "file-name": (ERROR, "The file's name is not its id"),
    "collision": (ERROR, "Two files have one id: `KIN-7` and `KIN-007`"),
    "reference": (ERROR, "A task or decision that it refers to does not exist"),
    "orphan": (WARNING, "A note or record is about a task that does not exist"),
    "circle": (ERROR, "Tasks wait for one another"),
    "pipeline": (ERROR, "No pipeline has this name, or a step sends work back to nobody"),
    "role": (ERROR, "No role has this name"),
    "agent": (WARNING, "No agent has this name, neither built in nor in kin.yaml"),
    "command": (WARNING, "The first word of a gate, a setup or a step's command was not found"),
    "glob": (WARNING, "A path glob of a module or a decision covers no file: what it was about is gone, or it is misspelt"),
    "move": (WARNING, "The status differs from HEAD's by a move that nobody may make"),
    "format": (WARNING, "The files are of a newer format than this kin writes"),
    "link": (ERROR, "A symbolic link leads nowhere, or out of the repository's files"),
    "stray": (WARNING, "kin does not read this file"),
    "line-ends": (WARNING, "Its lines end in CRLF, which conflicts with every merge"),
    "final-newline": (WARNING, "Its last line has no end"),
}
"""Each kind of fault: how grave it is, and what it means. Programs rely on the words."""


class Finding(NamedTuple):
    """A fault in a file. `fixable`: `kin check --fix` mends it."""

    code: str
    where: Place
    message: str
    hint: str = ""
    fixable: bool = False

    @property
    def severity(self) -> str:
        return CODES[self.code][0]


def of_error(code: str, error: Invalid, shown: str) -> Finding:
    """What reading a file raised, as a finding."""
    return Finding(code, error.where or Place(shown), error.message, error.hint)
