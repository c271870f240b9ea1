"""What git knows of the files of `.kin/`: those that it is in the middle of merging, and statuses that differ from HEAD's."""

from collections.abc import Iterator, Mapping

from kin import git
from kin.errors import Invalid, Place
from kin.model.status import TaskStatus, may_move
from kin.model.task import READ, Task
from kin.store.checking.findings import Finding
from kin.store.checking.inspection import Look, place_at
from kin.store.project import STORE, Project
from kin.store.text import reader

_OURS, _THEIRS = "2", "3"
_STAGES = {
    frozenset({"1"}): "both sides deleted it",
    frozenset({"1", _OURS}): "it was changed here and deleted on the other side",
    frozenset({"1", _THEIRS}): "it was deleted here and changed on the other side",
    frozenset({_OURS}): "it was renamed to this here, and otherwise on the other side",
    frozenset({_THEIRS}): "it was renamed to this on the other side, and otherwise here",
    frozenset({_OURS, _THEIRS}): "both sides added it",
}


def unmerged(project: Project, found: Mapping[str, Look]) -> Iterator[Finding]:
    """Files that git counts as unmerged and that hold no markers (those tell for themselves)."""
    stages: dict[str, set[str]] = {}
    out = git.git(project.root, "ls-files", "--unmerged", "-z", "--", STORE).out.decode("utf-8", "surrogateescape")
    for entry in out.split("\0")[:-1]:
        about, _, path = entry.partition("\t")
        stages.setdefault(path, set()).add(about[-1])
    for path, held in stages.items():
        look = found.get(path.removeprefix(f"{STORE}/"))
        marked = look is not None and any(finding.code == "conflict" for finding in look.findings)
        added = held == {_OURS, _THEIRS}
        if marked and not added:
            continue
        words = _STAGES.get(frozenset(held), "both sides changed it")
        if added and path.startswith((f"{STORE}/tasks/", f"{STORE}/decisions/")):
            yield Finding(
                "conflict", Place(path, 1), f"{words}: two were given one id", "keep one here; give the other a new id"
            )
        else:
            hint = "`git add` it when it is right, or `git rm` it"
            yield Finding("conflict", Place(path, 1), f"git is in the middle of merging this file: {words}", hint)


def moves(project: Project, known: Mapping[str, Task]) -> Iterator[Finding]:
    """Statuses that differ from HEAD's by a move that neither a person nor kin makes."""
    for task_id, old in _before(project):
        if (task := known.get(task_id)) is None:
            continue
        if not may_move(old, task.status) and not may_move(old, task.status, by_kin=True):
            words = f"{task_id} is {old} in HEAD and {task.status} here: nobody moves a task so"
            where = place_at(project, f"tasks/{task_id}.yaml", ("status",))
            yield Finding("move", where, words, "is it what you meant? `kin help moves` lists what it can become")


def _before(project: Project) -> Iterator[tuple[str, TaskStatus]]:
    """What HEAD says of the tasks whose files differ from it: two processes, however many they are."""
    flags = ("-z", "--raw", "--no-renames", "--no-abbrev", "--diff-filter=MT")
    out = git.git(project.root, "diff-index", *flags, "HEAD", "--", f"{STORE}/tasks", ok=(0, 128))
    fields = out.out.decode("utf-8", "surrogateescape").split("\0")[:-1]
    olds = [about.split(" ")[2] for about in fields[::2]]
    for path, raw in zip(fields[1::2], git.blobs(project.root, olds), strict=True):
        try:
            said = reader.read(reader.decode(raw, path), path).get("status")
            yield path.removeprefix(f"{STORE}/tasks/").removesuffix(".yaml"), READ["status"](said)
        except (Invalid, ValueError):
            continue  # what HEAD says cannot be read, so nothing moved from it
