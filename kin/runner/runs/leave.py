"""What a person must have agreed to before a plan may run: texts that can start programs, and leave to change files.

The command line asks for it (kin.cli.consent); the watcher only ever looks.
"""

from collections.abc import Mapping, Sequence

from kin import git
from kin.runner.runs.begin import Plan
from kin.runner.steps.casting import may_write
from kin.store import trust
from kin.store.config import KIN_YAML
from kin.store.project import Project
from kin.store.roles import role_texts


def unagreed(project: Project, plans: Sequence[Plan], environ: Mapping[str, str]) -> dict[str, str]:
    """Settings and roles, of the store and of each target's tip, that could start programs and were not agreed to."""
    texts = trust.texts_here(project)
    for plan in plans:
        if not plan.target.here:
            settings = git.blob(project.root, plan.target.oid, KIN_YAML) or b""
            texts |= trust.texts_of(settings.decode("utf-8", "replace"), role_texts(project.store), plan.target.name)
    return trust.not_agreed(project, texts, environ)


def writes(project: Project, plan: Plan) -> bool:
    """Whether a step of the plan may change files, or one that the PM has yet to name."""
    return plan.is_open or any(may_write(spec, project.store) for spec in plan.specs)
