"""A link: another project that this one's tasks may depend on, as an entry of links.yaml."""

from typing import Annotated, Any, NamedTuple

from kin.model.entries import Kind
from kin.model.fields import Field, at_most_one_line
from kin.model.ids import is_name

_SHORT = at_most_one_line(1000)


def _name(plain: Any) -> str:
    word = at_most_one_line(40)(plain)
    if not is_name(word):
        raise ValueError("a link's name has letters, digits, - and _")
    return word


class Link(NamedTuple):
    """`at` is a path from the repository's root, or the URL of a git repository of which the person has a trusted clone."""

    name: Annotated[str, Field("Its name, the key in the file", _name)]
    at: Annotated[str, Field("A path from the repository's root, or a git URL", _SHORT, ("path", "url"))]
    relation: Annotated[str, Field("How it is related, in a sentence", _SHORT)] = ""
    extra: dict[str, Any] = {}


LINKS = Kind("links.yaml", Link, "at")


def split(word: str) -> tuple[str, str] | None:
    """`other:API-7` as the link's name and the task there; None for a task of this project."""
    name, colon, task = word.partition(":")
    return (name, task) if colon and name and task else None
