"""Talks with the PM: `.kin/chat/<run-style id>.yaml`, one file a talk, written anew after each answer."""

import os
from typing import Annotated, Any, NamedTuple

from kin.errors import NotFound
from kin.model.fields import Field, at_most_one_line, data_of, list_of, mapping, number, text, words
from kin.store import config, files
from kin.store.project import STORE, Project
from kin.store.text import emit, reader


class Turn(NamedTuple):
    """What somebody said; of an answer also who played the PM and what it cost."""

    by: Annotated[str, Field("A person's name, or a role", at_most_one_line(200))]
    at: Annotated[str, Field("When, RFC 3339 in UTC", at_most_one_line(40))]
    text: Annotated[str, Field("What was said", text)]
    agent: Annotated[str | None, Field("The program that played the role", text)] = None
    model: Annotated[str | None, Field("Its model", text)] = None
    tokens: Annotated[dict[str, Any] | None, Field("in, out, cached", mapping)] = None
    cost_usd: Annotated[float | None, Field("What it cost", number)] = None


class Talk(NamedTuple):
    """A talk, and the tasks that came of it."""

    turns: Annotated[tuple[Turn, ...], Field("What was said, in order", list_of(Turn))] = ()
    tasks: Annotated[tuple[str, ...], Field("The tasks that were written", words)] = ()


def save(project: Project, talk_id: str, talk: Talk) -> None:
    """Write a talk's file, durable when this returns."""
    config.refuse_newer_format(project)
    files.replace(project, _path(project, talk_id), emit.document(data_of(talk), Talk._fields), expect=None)


def newest(project: Project) -> str | None:
    """The id of the talk in which something was said last: ids of the same second have no order."""
    folder = os.path.join(project.store, "chat")
    last = max(files.names_in(folder, ".yaml"), key=lambda name: os.stat(os.path.join(folder, name)).st_mtime_ns, default=None)
    return last and last.removesuffix(".yaml")


def load(project: Project, talk_id: str) -> Talk:
    """A talk, empty if nothing was said yet. Raises Invalid for a file that is none."""
    shown = f"{STORE}/chat/{talk_id}.yaml"
    try:
        said = files.read_text(_path(project, talk_id), shown)
    except NotFound:
        return Talk()
    return reader.built(Talk, said, shown)


def _path(project: Project, talk_id: str) -> str:
    return os.path.join(project.store, "chat", talk_id + ".yaml")
