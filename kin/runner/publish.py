"""`kin publish`: a run out of a bundle is taken to its end by a job that may push and starts no agent.

The bundle's maker may have been turned by what it read, so only the work and the steps' own words are taken from it: target,
pipeline, settings and gates are this clone's, verdicts and approvals count for nothing, gates run again.
"""

import json
from collections.abc import Mapping

from kin.errors import Busy, Invalid
from kin.model.record import Run
from kin.model.result import parse_result
from kin.model.status import BlockedKind
from kin.runner import claim, proposals
from kin.runner.begin import Asked, Plan, begin_record, first_unfinished, plan_for
from kin.runner.bundle import open_bundle
from kin.runner.ending import Outcome, block, cancel
from kin.runner.events import Emit
from kin.runner.finish import finish
from kin.runner.passage import Passage
from kin.runner.pipeline import passage_for
from kin.runner.share import Share, installed, shared
from kin.runner.signals import Cancel
from kin.store import records
from kin.store.project import Project


def plan_of(project: Project, path: str, asked: Asked, environ: Mapping[str, str]) -> tuple[Plan, str]:
    """The plan, by this clone's own files, of the task whose run the bundle holds, and the run's commit, brought here."""
    task_id, oid = open_bundle(project.root, path)
    return plan_for(project, task_id, asked, environ), oid


def publish(
    project: Project, plan: Plan, oid: str, asked: Asked, *, environ: Mapping[str, str], emit: Emit, cancel: Cancel
) -> Outcome:
    """Gate and merge the run of commit `oid`, offer it for review, or tell the remote why it is blocked.

    Raises Invalid if it is not a run of this pipeline into this target.
    """
    task_id = plan.task.id
    with (
        claim.claim_task(project, task_id),
        shared(project, task_id, plan.target, environ, cancel, emit) as share,
    ):
        plan = plan_for(project, task_id, asked, environ)
        run = installed(project, task_id, oid, plan.target.oid)
        if run is None:
            return Outcome(task_id, None, "done", 0, reason=f"{task_id} is already done on {plan.target.name}")
        if run.base != plan.target.name:
            raise Invalid(f"the bundle is for {run.base}, {task_id} is for {plan.target.name}", "run it again")
        run, words = begin_record(project, plan, _without_verdicts(run), asked)
        if words:
            raise Invalid(f"the bundle's steps are not those of {task_id} here: {words}", "run it again")
        with claim.claim_kids(project, task_id, run.run, None) as kids:
            p = passage_for(project, plan, run, environ, emit, cancel, kids)
            return _through(p, share, run)


def _without_verdicts(run: Run) -> Run:
    return run._replace(gates=()).holding(verdicts=(), approved=None, approved_by=None, given={}, pending_edit=None)


def _through(p: Passage, share: Share, sent: Run) -> Outcome:
    held = records.live(p.project, p.task.id)
    edit = held.live.pending_edit if held else None
    p.share = share
    proposed = p.live.proposals
    try:
        p.save(proposals=())
        for entry in proposed:  # through the same sieve as from an agent
            proposals.keep(p, str(entry.get("step")), str(entry.get("role")), parse_result(json.dumps(entry)))
        if first_unfinished(p.run) is None:
            return finish(p)
        reason = (edit or {}).get("blocked") or {}
        if reason.get("kind") in list(BlockedKind):
            return block(p, BlockedKind(reason["kind"]), str(reason.get("reason", "")))
        return cancel(p, f"its steps are not finished: {sent.reason}", Busy.exit)
    except ValueError as error:
        raise Invalid(f"the bundle holds a malformed proposal: {error}", "run it again") from error
    finally:
        p.close()
        share.leave(p.run)
