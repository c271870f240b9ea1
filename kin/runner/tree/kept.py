"""What was salvaged: listed, shown, brought back into a checkout, dropped. Only `drop` ever deletes one."""

from datetime import UTC, datetime
from typing import NamedTuple

from kin import git
from kin.errors import Conflict, NotFound, Usage
from kin.model import times
from kin.runner.tree.salvage import PREFIX, SOMEBODY
from kin.store.project import Project


class Salvaged(NamedTuple):
    """A salvage as `kin salvage list` shows it; `start` is the commit that the step began on, `at` RFC 3339."""

    ref: str
    name: str
    task: str
    oid: str
    at: str
    subject: str
    start: str | None


LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""A nested repository's commit is the step's own: it may be dated later than any calendar goes, and say what it likes."""


def list_salvage(project: Project) -> list[Salvaged]:
    """What was saved, newest first."""
    fields = ("refname", "objectname", "committerdate:unix", "trailers:key=Kin-Start,valueonly", "subject")
    shape = "%1f".join(f"%({field})" for field in fields) + "%00"
    out = git.git(project.git_common, "for-each-ref", "--sort=-committerdate", f"--format={shape}", PREFIX).text
    found = []
    for record in out.split("\0\n" if "\0\n" in out else "\0"):
        if record.strip("\0\n"):
            ref, oid, at, start, subject = record.strip("\0\n").split("\x1f", 4)
            name = ref.removeprefix(PREFIX)
            saved = times.rfc3339(datetime.fromtimestamp(min(int(at), LATEST), UTC))
            found.append(Salvaged(ref, name, name.partition("/")[0], oid, saved, subject, start.strip() or None))
    return found


def find(project: Project, word: str) -> Salvaged:
    """The salvage that `word` names: its name, its ref, or a task's id if that has just one. Raises NotFound, Usage."""
    everything = list_salvage(project)
    exact = [s for s in everything if word in (s.name, s.ref)]
    found = exact or [s for s in everything if s.task == word or s.name.endswith(f"/{word}")]
    if not found:
        raise NotFound(f"nothing was salvaged under the name {word}", "`kin salvage list` shows what was")
    if len(found) > 1:
        raise Usage(f"{word} has {len(found)} salvages: {', '.join(s.name for s in found)}", "name one of them")
    return found[0]


def apply(project: Project, one: Salvaged, path: str) -> list[str]:
    """Bring the changes of a salvage into the worktree at `path`, staged and uncommitted; the paths that it changed.

    What it holds of `.kin/` stays out. Raises Usage if the checkout has changes of its own (those of `.kin/` and untracked
    files elsewhere do not matter), Conflict if the changes clash: then the clashing files hold conflict markers, as after
    any `git cherry-pick`.
    """
    root = git.git(path, "rev-parse", "--show-toplevel").text
    base = base_of(project, one)
    changed = [c.path for c in git.changes(root, base, one.oid) if not c.path.startswith(".kin/")]
    entries = git.status(root).entries
    dirty = [e.path for e in entries if not e.path.startswith(".kin/") and (e.xy != "??" or e.path in changed)]
    if dirty:
        raise Usage(f"this checkout has uncommitted changes: {', '.join(dirty[:5])}", "commit or stash them first")
    if doing := git.under_way(git.git_dir(root)):
        raise Usage(f"this checkout is in the middle of a {doing}", "finish it first: `git status` tells how")
    tree = git.replaced(root, one.oid, ".kin", base)
    pick = git.commit_tree(root, tree, [base], f"kin: {one.name}\n", env=SOMEBODY)
    out = git.git(root, "cherry-pick", "--no-commit", "--allow-empty", pick, ok=(0, 1))
    if out.code:
        clash = [e.path for e in git.status(root).entries if e.unmerged]
        if not clash:
            raise git.GitError(("cherry-pick",), out)
        raise Conflict(f"the salvaged changes clash in {', '.join(clash)}", "mend the marked places and `git add`", paths=clash)
    return changed


def drop(project: Project, one: Salvaged) -> None:
    """Forget a salvage. Raises Conflict if it changed meanwhile."""
    if not git.delete_ref(project.git_common, one.ref, one.oid):
        raise Conflict(f"{one.name} could not be deleted", "it changed, or a hook forbids it")


def base_of(project: Project, one: Salvaged) -> str:
    """What to compare a salvage with: where the step began, where a branch put aside left all others, else nothing at all."""
    cwd = project.git_common
    if one.start and (oid := git.tip(cwd, one.start)):
        return oid
    heads = [ref for ref in git.refs(cwd, "refs/heads/") if not ref.startswith("refs/heads/kin/")]
    found = git.git(cwd, "merge-base", one.oid, *heads, ok=(0, 1)).text if heads else ""
    return found or git.tip(cwd, f"{one.oid}^1") or git.git(cwd, "hash-object", "-t", "tree", "--stdin", input=b"").text
