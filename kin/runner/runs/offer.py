"""With `--push`: the work goes onto its own branch of the remote, for a person to merge there, state and code together.

That branch ends in the commit which sets the task to `done` and carries the record, so the host's merge button lands both.
"""

import os
from typing import NamedTuple

from kin import git
from kin.errors import Invalid, KinError
from kin.faults import point
from kin.runner.merge.build import Built
from kin.runner.remote import origin
from kin.runner.remote.forge import cell, pull_request
from kin.runner.runs.bundle import write_bundle
from kin.runner.steps.passage import Passage


class Offered(NamedTuple):
    """What a person is told, and the pull request's address if there is one."""

    words: str
    url: str | None = None


def offer(p: Passage, built: Built) -> Offered:
    """Push `kin/<ID>` and open or update its pull request; what the remote does not take goes into a bundle."""
    cwd, ref = p.project.root, f"refs/heads/kin/{p.task.id}"
    # the merge's second parent is the work and the commit that says `done`; without code the state commit is all
    commit = git.parents(cwd, built.new)[1] if built.branch_tip else built.new
    try:
        there = origin.tip_there(cwd, ref)
    except KinError as error:
        return in_a_file(p, error.message)
    if there and there != commit and (others := _others(cwd, there, commit)):
        words = f"{p.run.branch} on {origin.REMOTE} holds commits that are not kin's ({others[:12]})"
        return Offered(f"{words}: merge them in the task's worktree, then `kin run {p.task.id} --push`")
    point("offer.push")
    done = origin.push(cwd, [git.Lease(ref, commit, there)])
    if done.end != "done":
        return in_a_file(p, done.said)
    point("offer.pushed")
    title = f"{p.task.id}: {p.task.title}"
    remote = git.remote_url(cwd, origin.REMOTE) or ""
    words, url = pull_request(cwd, remote, p.environ, head=p.run.branch, base=p.target.name, title=title, body=_body(p))
    pushed = f"{p.run.branch} on {origin.REMOTE} holds the work and the task as done: merging it lands both"
    return Offered(f"{pushed}; {words}" if words else pushed, url)


def _others(cwd: str, there: str, commit: str) -> str:
    """A commit of the remote's branch that pushing `commit` would throw away and that kin did not make, or nothing."""
    made = git.log_trailers(cwd, ("Kin-Run",), there, f"^{commit}")
    return next((oid for oid, trailers in made if "Kin-Run" not in trailers), "")


def in_a_file(p: Passage, why: str) -> Offered:
    """Keep the work in a bundle, since it cannot be pushed."""
    path = os.path.relpath(os.path.join(p.project.common, "bundles", f"{p.task.id}.bundle"), p.project.root)
    try:
        write_bundle(p, os.path.join(p.project.root, path))
    except (Invalid, OSError) as error:
        return Offered(f"{p.run.branch} could not be pushed ({why}), nor kept in a bundle ({error})")
    return Offered(f"{p.run.branch} could not be pushed ({why}); `kin publish` can, in a job that may: {path}")


def _body(p: Passage) -> str:
    """The pull request's text: what was wanted, and what each step says it did; models may have written all of it."""
    asked = [cell(line) for line in (p.task.description or "").strip().splitlines()]
    wanted = [f"- [ ] {cell(line)}" for line in p.task.acceptance]
    steps = [f"- **{s.id}**: {cell(' '.join(s.summary.split())[:300] or s.status)}" for s in p.run.steps]
    gates = [f"- gate {cell(g.name)}: {g.verdict}" for g in p.run.gates]
    parts = ["\n".join(asked), "\n".join(wanted), "\n".join([*steps, *gates])]
    return "\n\n".join(part for part in [*parts, f"<!-- kin: {p.task.id} -->"] if part) + "\n"
