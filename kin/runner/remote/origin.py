"""What kin asks of the remote and pushes to it. Only `--push`, `--bundle` and `publish` use the network.

A push that failed is judged by what the remote has afterwards, not by its words, which each host writes otherwise: done
(the connection was lost behind it), moved (others were faster), or refused where it was.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from kin import git
from kin.errors import Busy, Invalid
from kin.store.locks import wait_until

REMOTE = "origin"
NETWORK = 600.0
"""Seconds that one exchange with the remote may take before it counts as lost."""
BUSY_WAIT = 10.0
"""Seconds to wait for the end of another push that holds the ref's lock on the remote."""

_DENIED = re.compile(
    r"authentication failed|could not read (username|password)|permission (to .* )?denied|\b4(01|03|13)\b|"
    r"not appear to be a git|not found",
    re.IGNORECASE,
)
_LOCKED = re.compile(r"cannot lock ref|failed to lock|failed to update ref|unable to create '[^']*\.lock'", re.IGNORECASE)


_CUT = re.compile(
    r"early EOF|eof before pack|hung up unexpectedly|unexpected disconnect|\[remote failure\]|RPC failed|timed out|broken pipe|"
    r"connection (reset|refused|closed)|could not resolve|failed to connect|network is unreachable|empty reply",
    re.IGNORECASE,
)
"""What git, ssh and curl say of a push that ended on its way; the remote may be there again by now."""


class Unreachable(Busy):
    """No word from the remote: the network is gone, or the host is down."""


class Denied(Invalid):
    """The remote, or what is in its place, does not let us in."""


class Pushed(NamedTuple):
    """How a push ended: `done`, `moved`, `refused` or `unreachable`; the remote's word; what it has of the refs afterwards."""

    end: str
    said: str
    tips: dict[str, str]


def tracking(name: str) -> str:
    """The ref under which this clone remembers branch `name` of the remote."""
    return f"refs/remotes/{REMOTE}/{name}"


def tips(cwd: str, *refs: str) -> dict[str, str]:
    """What the remote has of `refs` now. Raises Unreachable, Denied."""
    try:
        lines = git.git(cwd, "ls-remote", "--end-of-options", REMOTE, *refs, timeout=NETWORK).text.splitlines()
    except git.GitError as error:
        raise _unreachable(error) from error
    found = {ref: oid for oid, _, ref in (line.partition("\t") for line in lines)}
    return {ref: found[ref] for ref in refs if ref in found}  # a pattern also matches at the end of longer names


def bring(cwd: str, *refs: str, flags: Sequence[str] = ()) -> None:
    """Fetch refs: a branch to where the clone tracks it, kin's own ones under their own names. Raises as `tips` does."""
    named = [(ref, tracking(ref.removeprefix("refs/heads/")) if ref.startswith("refs/heads/") else ref) for ref in refs]
    words = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", *flags, "--end-of-options")
    try:
        git.git(cwd, *words, REMOTE, *(f"+{ref}:{here}" for ref, here in named), timeout=NETWORK)
    except git.GitError as error:
        raise _unreachable(error) from error


def tip_there(cwd: str, ref: str) -> str | None:
    """The commit that branch `ref` has on the remote, brought here; None if the remote has no such branch."""
    there = tips(cwd, ref).get(ref)
    if there and git.tip(cwd, tracking(ref.removeprefix("refs/heads/"))) != there:
        bring(cwd, ref)
    return there


def connect(cwd: str, one: str, other: str, since: str, *refs: str) -> None:
    """Deepen a shallow clone until two commits have a common history: first to the time `since` (epoch), else to the root."""
    for flag in (f"--shallow-since={since}", "--unshallow"):
        if not git.is_shallow(cwd) or git.merge_base(cwd, one, other):
            return
        try:
            bring(cwd, *refs, flags=(flag,))
        except Busy:
            if flag == "--unshallow":
                raise  # the first one is refused where nothing is that young


def push(cwd: str, leases: Sequence[git.Lease], *, hooks: bool = True) -> Pushed:
    """Push all or nothing, and find out how that ended. Never raises for what the remote or the network does."""
    try:
        out = git.push(cwd, REMOTE, leases, hooks=hooks, timeout=NETWORK)
    except git.GitError as error:  # no answer in time
        out = error.out
    if out.code == 0:
        return Pushed("done", "", {lease.ref: lease.new for lease in leases if lease.new})
    said, refs = _reason(out), [lease.ref for lease in leases]
    try:
        found = tips(cwd, *refs)
        if _same(leases, found) and _LOCKED.search(out.text + out.err):
            # another push is just moving the ref: a lock that is contended, if a far one
            wait_until(lambda: None if _same(leases, tips(cwd, *refs)) else True, BUSY_WAIT)
            found = tips(cwd, *refs)
    except (Busy, Invalid) as error:
        return Pushed("unreachable", error.message, {})
    if all(found.get(lease.ref) == lease.new for lease in leases):
        return Pushed("done", "", found)  # the answer was lost, not the push
    if not _same(leases, found):
        return Pushed("moved", said, found)
    lost = out.code < 0 or (_CUT.search(out.text + out.err) and not _DENIED.search(out.err))
    return Pushed("unreachable" if lost else "refused", said, found)


def _same(leases: Sequence[git.Lease], found: dict[str, str]) -> bool:
    return all(found.get(lease.ref) == lease.old for lease in leases)


def _reason(out: git.Out) -> str:
    """What the remote said, in a line: its own words, then git's for the ref."""
    own = [line.removeprefix("remote:").strip() for line in out.err.splitlines() if line.startswith("remote:")]
    refs = re.findall(r"^!\t\S*:(\S+)\t\[[^]]*\] \((.*)\)$", out.text, re.MULTILINE)
    named = [f"{ref.removeprefix('refs/heads/')}: {why}" for ref, why in refs if "atomic" not in why]
    fatal = [line.removeprefix("fatal:").strip() for line in out.err.splitlines() if line.startswith("fatal:")]
    said = [*[line for line in own if line][:5], *named] or fatal or [f"git push ended with exit {out.code}"]
    return _without_token("; ".join(said))


def _without_token(text: str) -> str:
    return re.sub(r"(?<=://)[^@/\s]+@", "", text)


def _unreachable(error: git.GitError) -> Unreachable | Denied:
    said = error.out.err.strip() or error.message
    words = _without_token(f"{REMOTE} cannot be reached: {'; '.join(said.splitlines()[:2])}")
    if _DENIED.search(said):
        return Denied(words, f"`git remote -v` shows where {REMOTE} is; its token or key must be allowed to read it")
    return Unreachable(words, "try again when the network is there")
