"""What the context builder needs for a step, read from the store and from git; what it makes of it is kin.context's."""

from collections.abc import Sequence

from kin import git
from kin.context import LIMITS, Diff, Handover, Prompt, compose
from kin.errors import NotFound
from kin.model.builtin import PLAN
from kin.model.module import MODULES
from kin.model.record import StepRecord
from kin.model.settings import StepSpec
from kin.model.status import RunStatus
from kin.model.task import Task
from kin.runner.steps.changed import files_between, range_of
from kin.store import config, decisions, entries, linked, notes, records
from kin.store.project import Project
from kin.store.roles import Role, load_role, role_names

SHORTEST_LINE = 10
"""Characters that a line of a patch has, about, at least: so many lines cannot all be shown, and are not asked for."""


def prompt_for(
    project: Project,
    task: Task,
    spec: StepSpec,
    role: Role,
    earlier: Sequence[StepRecord],
    items: Sequence[str] = (),
    step: str = "",
) -> Prompt:
    """The prompt of the step with the id `step`, as it would be sent now.

    A command gets it on standard input and seldom reads it, so what takes git to find out is left to it.
    """
    is_command, reads, told = spec.run is not None, role.reads, notes.of_task(project, task.id)
    given = Handover(spec.role, role.body, is_command, earlier, items, told, spec.brief or "", reads, step=step)
    if role.body:
        given = given._replace(
            decisions=list(decisions.scan(project)[0].values()),
            modules=entries.readable(project, MODULES),
            linked=linked.modules_of(project) if reads.get("modules") == "all" else (),
            failure=_failure(project, task),
        )
    if not is_command:
        given = given._replace(
            roster=_roster(project, role.name) if reads.get("roster") else (),
            diff=_diff(project, task) if reads.get("diff") else None,
        )
    return compose(task, given)


def _failure(project: Project, task: Task) -> str:
    """Why the task is blocked, else why its last run failed."""
    if task.blocked is not None:
        return task.blocked.reason
    last = next(reversed(records.ended(project, task.id)), None)
    return last.reason if last is not None and last.status == RunStatus.failed else ""


def _roster(project: Project, but: str) -> list[tuple[str, str]]:
    """Name and summary of every role, with what it may do, and the project's pipelines."""
    found = [role for name in role_names(project.store) if name != but and (role := load_role(project.store, name))]
    pipelines = config.load_settings(project).pipelines.items()
    named = [(f"pipeline {n}", ", ".join(s.role for s in steps)) for n, steps in pipelines if n != PLAN]
    return [*((role.name, f"{role.summary} ({role.access})") for role in found), *named]


def _diff(project: Project, task: Task) -> Diff | None:
    """What the task's branch changes, if it has one: the files, and the first patches, as many as could be shown."""
    try:
        between = range_of(project, task.id)
    except NotFound:
        return None
    changed = files_between(project, between)
    lines, wanted = LIMITS["diff"] // SHORTEST_LINE, list[str]()
    for one in changed:
        lines -= (one.added or 0) + (one.removed or 0)
        if lines < 0:
            break
        wanted += [one.path] if one.added is not None else []
    patch = git.diff_text(project.root, between.old, between.new, *wanted) if wanted else ""
    return Diff(between.old, [one.path for one in changed], patch)
