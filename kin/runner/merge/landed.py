"""Whether a run's work is on its target already: asked of git, since a kill may fall between the move and the record."""

import os
from collections.abc import Iterable

from kin import git
from kin.model.task import Task
from kin.store.arrivals import asked_for
from kin.store.project import Project
from kin.store.remembered import recall, remember


def landed_run(cwd: str, target: str, run_id: str, start: str | None) -> str | None:
    """The commit on the first-parent line of commit `target` that brought the work of `run_id`, or None.

    Merges carry `Kin-Task`, state commits `Kin-State: <ID> done`. Only what came after `start`, where the run began, is read.
    """
    if target == start:
        return None
    since = (f"^{start}",) if start and git.tip(cwd, start) else ()
    for oid, trailers in git.log_trailers(cwd, ("Kin-Run", "Kin-Task", "Kin-State"), target, *since, first_parent=True):
        brought = "Kin-Task" in trailers or trailers.get("Kin-State", "").endswith(" done")
        if trailers.get("Kin-Run") == run_id and brought:
            return oid
    return None


class History:
    """By task the run whose work came last, as far as a clone's history was read: only what came since is read then."""

    def __init__(self) -> None:
        self._head, self._landings = "", dict[str, str]()

    def landings(self, project: Project) -> dict[str, str]:
        """Those of what HEAD holds now."""
        head = git.tip(project.root, "HEAD") or ""
        old = self._head
        if head == old:
            return self._landings
        grown = bool(old and head) and git.tip(project.root, old) and git.is_ancestor(project.root, old, head)
        since = (f"^{old}",) if grown else ()
        found: dict[str, str] = {}
        wanted = ("Kin-Run", "Kin-Task", "Kin-State")
        for _, trailers in git.log_trailers(project.root, wanted, head, *since, grep="^Kin-(Task|State): ") if head else ():
            task = trailers.get("Kin-Task") or trailers.get("Kin-State", "").removesuffix(" done")
            if "Kin-Run" in trailers and " " not in task:
                found.setdefault(task, trailers["Kin-Run"])
        self._head, self._landings = head, {**self._landings, **found} if since else found
        return self._landings


def reverted_runs(project: Project, ids: Iterable[str], history: History) -> dict[str, str]:
    """Those of the tasks whose last landing on HEAD was taken back, with the run that it was: its record went with it.

    One that a person reopened since (`reopened`) is not among them.
    """
    if not (ids := list(ids)):
        return {}
    landed = history.landings(project)
    pardoned = {task: run for task, (_, run) in recall(project).reopened.items()}

    runs = {i: landed[i] for i in ids if i in landed and pardoned.get(i) != landed[i]}
    folder = os.path.join(project.store, "pipelines")
    return {i: run for i, run in runs.items() if not os.path.lexists(os.path.join(folder, i, run + ".yaml"))}


def reopened(project: Project, task: Task) -> None:
    """Remember that a person wants the task as it is now, in spite of a revert: nothing of it keeps the watcher off."""
    run = reverted_runs(project, (task.id,), History()).get(task.id, "")
    remember(project, lambda held: held._replace(reopened={**held.reopened, task.id: (asked_for(task), run)}))
