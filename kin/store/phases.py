"""The project's phases: `.kin/phases.yaml`, in the order in which they are to be gone through."""

import os

from kin.model.phase import ORDER, Phase, PhaseStatus, build_phases
from kin.store import config, entries, files, reader
from kin.store.project import STORE, Project

SHOWN = f"{STORE}/phases.yaml"


def load(project: Project) -> list[Phase]:
    """All phases; none if there is no file. Raises Invalid with the place of the first fault: half a plan is none."""
    found, wrong = entries.load(project, "phases.yaml", build_phases)
    if wrong:
        raise wrong[0]
    return found


def mark(project: Project, phase_id: str, status: PhaseStatus, task: str | None = None) -> None:
    """Write where a phase stands, and the task in which its roles run if it is given; nothing else changes."""
    from kin.store.splice import Set, edit

    config.refuse_newer_format(project)
    changes = [Set((phase_id, "status"), status.value), *([Set((phase_id, "task"), task)] if task else [])]
    files.edit_file(
        project,
        _path(project),
        lambda text: edit(text, changes, order=ORDER, aliases={}, path=SHOWN, bounds=reader.RECORD_BOUNDS),
    )


def _path(project: Project) -> str:
    return os.path.join(project.store, "phases.yaml")
