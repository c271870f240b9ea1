"""Notes: what people and roles said about a task, each in a file of its own that is written once.

A file a note, because two notes appended to one file conflict in git even where nobody disagrees.
"""

import os

from kin.model.fields import data_of
from kin.model.ids import run_id
from kin.model.task import Note
from kin.store import config, files
from kin.store.project import STORE, Project
from kin.store.text import emit, reader

ORDER = ("by", "at", "for", "to", "text")


def add(project: Project, task: str, note: Note) -> str:
    """Write a note on a task, durable when this returns; its id, which sorts by `note.at`."""
    from kin.store import schemas

    config.refuse_newer_format(project)
    text = emit.document(data_of(note), ORDER, head=schemas.first_line(project, "note", "../.."))
    stamp = note.at.translate({ord(c): None for c in "-:"})
    while True:
        note_id = run_id(stamp, int.from_bytes(os.urandom(3), "big"))
        try:
            files.add_file(project, os.path.join(project.store, "notes", task, note_id + ".yaml"), text)
            return note_id
        except FileExistsError:
            continue


def of_task(project: Project, task: str) -> list[tuple[str, Note]]:
    """A task's notes with their ids, oldest first. Raises Invalid for one that cannot be read."""
    folder = os.path.join(project.store, "notes", task)
    names = sorted(files.names_in(folder, ".yaml"))
    shown = f"{STORE}/notes/{task}"
    texts = ((name, files.read_text(os.path.join(folder, name), f"{shown}/{name}")) for name in names)
    return [(name.removesuffix(".yaml"), reader.built(Note, text, f"{shown}/{name}")) for name, text in texts]
