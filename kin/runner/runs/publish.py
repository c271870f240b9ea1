"""`kin publish`: a run out of a bundle is taken to its end by a job that may push and starts no agent.

The bundle's maker may have been turned by what it read, so only the work and the steps' own words are taken from it: target,
pipeline, settings and gates are this clone's, verdicts and approvals count for nothing, gates run again.
"""

import json
from collections.abc import Mapping

from kin import git
from kin.errors import Busy, Invalid
from kin.model.record import Run
from kin.model.result import parse_result
from kin.model.status import BlockedKind
from kin.runner.process.events import Caller
from kin.runner.remote.share import Share, installed, read_run, run_ref, shared
from kin.runner.runs import claim
from kin.runner.runs.begin import Asked, Plan, begin_record, first_unfinished, plan_for
from kin.runner.runs.bundle import check_claims, open_bundle
from kin.runner.runs.ending import block, cancel
from kin.runner.runs.finish import finish
from kin.runner.runs.outcome import Outcome
from kin.runner.runs.pipeline import passage_for
from kin.runner.runs.planning import go_on
from kin.runner.steps import proposals
from kin.runner.steps.passage import Passage
from kin.store import records
from kin.store.project import Project


def plan_of(
    project: Project, path: str, asked: Asked, environ: Mapping[str, str], wanted: str | None = None
) -> tuple[Plan, str]:
    """The plan, by this clone's own files, of the task whose run the bundle holds, and the run's commit, brought here.

    Raises Invalid for a bundle that cannot be believed, or of another task than `wanted`.
    """
    task_id, oid = open_bundle(project.root, path)
    if wanted not in (None, task_id):
        raise Invalid(f"{path} holds a run of {task_id}, not of {wanted}", "look at the job that made it")
    plan = plan_for(project, task_id, asked, environ)
    check_claims(project.root, *read_run(project.root, task_id, oid), plan.target)
    git.git(project.root, "update-ref", run_ref(task_id), oid)
    return plan, oid


def publish(project: Project, plan: Plan, oid: str, asked: Asked, caller: Caller) -> Outcome:
    """Gate and merge the run of commit `oid`, offer it for review, or tell the remote why it is blocked.

    Raises Invalid if it is not a run of this pipeline into this target.
    """
    task_id = plan.task.id
    with claim.claim_task(project, task_id), shared(project, task_id, plan.target, caller) as share:
        run = installed(project, task_id, oid, plan.target.oid)
        if run is None:
            return Outcome(task_id, None, "done", 0, reason=f"{task_id} is already done on {plan.target.name}")
        plan = plan_for(project, task_id, asked, caller.environ)  # again behind the lock, with the steps that the PM planned
        plain = run._replace(gates=()).holding(verdicts=(), approved=None, approved_by=None, given={}, pending_edit=None)
        run, words = begin_record(plan, plain.holding(budget={}, reserved={}), asked)
        if words:
            raise Invalid(f"the bundle's steps are not those of {task_id} here: {words}", "run it again")
        with claim.claim_kids(project, task_id, run.run, None) as kids:
            p = passage_for(project, plan, run, caller, kids)
            return _through(p, share, run)


def _through(p: Passage, share: Share, sent: Run) -> Outcome:
    held = records.live(p.project, p.task.id)
    edit = held.live.pending_edit if held else None
    p.share = share
    proposed = p.live.proposals
    try:
        said = (step._replace(summary=p.short(step.summary), reason=p.short(step.reason)) for step in p.run.steps)
        p.save(proposals=(), steps=tuple(said))
        for entry in proposed:  # through the same sieve as from an agent
            proposals.keep(p, str(entry.get("step")), str(entry.get("role")), parse_result(json.dumps(entry)))
        if p.planners and (ended := go_on(p)) is not None:
            return ended
        if first_unfinished(p.run) is None:
            return finish(p)
        why = (edit or {}).get("blocked")
        if isinstance(why, dict) and why.get("kind") in list(BlockedKind):
            return block(p, BlockedKind(why["kind"]), p.short(str(why.get("reason", ""))))
        return cancel(p, f"its steps are not finished: {p.short(sent.reason)}", Busy.exit)
    finally:
        p.close()
        share.leave(p.run)
