"""Whether a run's work is on its target already: asked of git, since a kill may fall between the move and the record."""

from kin import git


def landed_run(cwd: str, target: str, run_id: str, start: str | None) -> str | None:
    """The commit on the first-parent line of commit `target` that brought the work of `run_id`, or None.

    Merges carry `Kin-Task`, state commits `Kin-State: <ID> done`. Only what came after `start`, where the run began, is read.
    """
    since = (f"^{start}",) if start and git.tip(cwd, start) else ()
    for oid, trailers in git.log_trailers(cwd, ("Kin-Run", "Kin-Task", "Kin-State"), target, *since, first_parent=True):
        brought = "Kin-Task" in trailers or trailers.get("Kin-State", "").endswith(" done")
        if trailers.get("Kin-Run") == run_id and brought:
            return oid
    return None
