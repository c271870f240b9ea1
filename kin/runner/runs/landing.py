"""The target moves to a built commit: here, and with `--push` on the remote first, so that no other clone is ever behind it."""

from typing import NamedTuple

from kin import git
from kin.faults import point
from kin.runner.merge.build import Built
from kin.runner.merge.checkout import Pending
from kin.runner.merge.move import Moved, move
from kin.runner.merge.settle import settle
from kin.runner.remote import origin
from kin.runner.steps.passage import Passage


class Refused(NamedTuple):
    """The remote did not take it: why, and whether that was the network and no refusal."""

    reason: str
    unreachable: bool


def land(p: Passage, built: Built, *, message: str, over: bool) -> Moved | Pending | Refused:
    """Move `built.target`; nothing has changed anywhere unless Moved comes back. `message` goes into the reflog.

    With `--push` the remote moves if it is where it was looked at last and the task's claim is still ours; `over` gives the
    claim and the run's ref back in the same push. A Pending that is `stale` tells that others were faster.
    """
    if p.share is None:
        return move(p.project, built, message=message)
    with p.share.lock:
        if p.share.claim is None:
            return Pending(p.share.lost)
        leases = [*(p.share.landing() if over else p.share.renewal())]
        point("land.push")
        done = p.share.push([git.Lease(built.target, built.new, p.target.there), *leases], hooks=True)
        point("land.pushed")
        if done.end == "done":
            p.share.pushed(leases)
        elif done.end == "moved":
            return Pending(p.share.lost if p.share.is_lost(done) else f"{p.target.name} moved meanwhile", stale=True)
        else:
            return Refused(done.said, done.end == "unreachable")
    git.git(p.project.root, "update-ref", origin.tracking(p.target.name), built.new)
    return _follow(p, built, message)


def _follow(p: Passage, built: Built, message: str) -> Moved:
    """Move the branch here, too, if it was where the remote was, or if nobody has it checked out; else it is left behind."""
    cwd, name = p.project.root, p.target.name
    here = git.tip(cwd, built.target)
    if here in (None, built.old) or not git.checkouts_of(cwd, built.target):
        moved = move(p.project, built._replace(old=here or built.old), message=message)
        if isinstance(moved, Moved):
            return moved
        why = moved.reason
    else:
        settle(p.project, {"path": "", "task": built.task, "run": built.run, "ref": built.target, "new": built.new})
        why = "others' commits came in between"
    return Moved(built.new, (f"{origin.REMOTE} has it; {name} here is behind ({why}): `git pull`",))
