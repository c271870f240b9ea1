"""Which of the project's machines were looked at since their entries changed: this clone remembers it, no file does."""

from kin.model.environment import ENVIRONMENTS, Environment
from kin.store import entries
from kin.store.arrivals import digest
from kin.store.project import Project
from kin.store.remembered import recall, remember


def unscanned(project: Project) -> list[str]:
    """The names of those that nobody had looked at as they are now."""
    found = entries.load(project, ENVIRONMENTS).found
    scanned = recall(project).scanned if found else {}
    return [name for name, one in found.items() if scanned.get(name) != digest(repr(one))]


def mark_scanned(project: Project, one: Environment) -> None:
    """Remember that it is being looked at as it is now."""
    remember(project, lambda held: held._replace(scanned={**held.scanned, one.name: digest(repr(one))}))
