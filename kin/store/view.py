"""What people and programs are shown: task files, live runs and locks joined, for list, show, board, status, inbox and why.

The file wins: what is shown is its status, except that a claimed task is `in_progress`, and what a run or the target knows
beyond it stands in brackets. Reading changes nothing.
"""

import os
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from kin.errors import Invalid
from kin.model.fields import build
from kin.model.ready import Facts, Graph, Reason, graph_of, in_order, is_closed, ready_ids, reasons
from kin.model.status import OPEN, RunStatus, TaskStatus, WaitFor
from kin.model.task import Task
from kin.store import config, index, locks, tasks
from kin.store.project import STORE, Project, branch_here

if TYPE_CHECKING:
    from kin.model.record import Run


class Seen(NamedTuple):
    """A task as it is shown. `status` is its word, `shown` that and what is known beyond it; `run` the id of its live run."""

    task: Task
    shown: str
    status: str
    ready: bool
    run: str | None
    reasons: tuple[Reason, ...] = ()


class View(NamedTuple):
    """All tasks by id and how they hang together, all ids in ready order, the ready ones among them, what could not be read,
    live runs by task, and the names of the locks that are held."""

    seen: dict[str, Seen]
    graph: Graph
    order: list[str]
    ready: list[str]
    warnings: list[str]
    runs: "dict[str, Run]"
    held: frozenset[str]


def see(
    project: Project,
    *,
    with_reasons: bool | Collection[str] = False,
    bodies: bool = True,
    now: str | None = None,
    base: str | None = None,
) -> View:
    """Look at everything. `with_reasons` says for every task, or for those named, why it does not run.

    Without `bodies` descriptions stay empty, which is faster. `now` is RFC 3339 in UTC. `base` is the target of tasks that
    name none, if it is another than the settings'.
    """
    with index.no_gc():
        found = tasks.scan(project, bodies=bodies)
        settings = config.quick(project)
        slots = [f"slot-{n}" for n in range(1, settings.concurrency + 1)]
        running, live, warnings = _running(project, slots)
        live = {i: run for i, run in live.items() if i not in found.tasks or not is_closed(found.tasks[i], run)}
        graph = graph_of(found.tasks)
        done_on = _done_on_target(project, found.tasks, base or settings.base)
        queued = locks.queued(running)
        now = now or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        facts = Facts(running, live, done_on, now, _linked(project, graph), queued)
        explained: Collection[str] = found.tasks if with_reasons is True else with_reasons or ()
        taken = Reason("slot", f"all {len(slots)} slots are taken; `kin run --wait` waits for one")
        full = [taken] if running.issuperset(slots) else []
        ready = ready_ids(graph, facts)
        seen = {i: _plain(Seen, (t, t.status, t.status, i in ready, None, ())) for i, t in found.tasks.items()}
        for task_id in {*explained, *running, *queued, *live, *facts.done_on}.intersection(seen):
            task, known = found.tasks[task_id], ()
            if task_id in explained:
                more = _more_reasons(project, task, graph, facts, full) if task_id in ready else ()
                known = (*reasons(task, graph, facts), *more)
            seen[task_id] = _seen(task, facts, task_id in ready, known)
        order = list(seen) if found.in_order else in_order(graph)
        said = [*(str(b.error) for b in found.broken), *warnings]
        return View(seen, graph, order, [i for i in order if i in ready], said, live, running)


def _linked(project: Project, graph: Graph) -> dict[str, str]:
    words = {word for needs in graph.depends_on.values() for word, other in needs if other is None and ":" in word}
    if not words:
        return {}
    from kin.store import linked  # most projects have none

    return linked.standing(project, words)


_plain = tuple.__new__  # half the time of Seen(...), ten thousand times a list


def _running(project: Project, slots: list[str]) -> tuple[frozenset[str], "dict[str, Run]", list[str]]:
    """The tasks whose lock is held, the live runs by task, and what could not be read.

    A record is read before the lock is asked. One that says `running` beside a free lock may have ended in between, so it is
    read again; if it still says so, its process is dead, and what it did is the watchdog's to put right.
    """
    if not os.path.isdir(os.path.join(project.common, "run")):
        return locks.held_names(project.common, slots), {}, []
    from kin.store import records  # with its model 2 ms, which a clone that never ran anything need not pay

    runs, warnings = records.all_live(project)
    live = {run.task: run for run in runs}
    alive = [task for task, run in live.items() if run.status == RunStatus.running]
    held = locks.held_names(project.common, (*alive, *slots))
    for task in alive:
        if task not in held:
            with suppress(Invalid):  # it was readable a moment ago; the next look tells what is wrong now
                live.pop(task)
                if again := records.live(project, task):
                    live[task] = again
    return held, live, warnings


def _seen(task: Task, facts: Facts, ready: bool, known: tuple[Reason, ...]) -> Seen:
    run = facts.runs.get(task.id)
    if task.id in facts.running:
        return Seen(task, "in_progress", "in_progress", ready, run.run if run else None, known)
    status = task.status.value
    more = f"done on {facts.done_on[task.id]}" if task.id in facts.done_on else _beyond(task, run, ready)
    more = "queued" if task.id in facts.queued else more
    return Seen(task, f"{status} ({more})" if more else status, status, ready, run.run if run else None, known)


_BEYOND = {
    WaitFor.review: "a review waits",
    WaitFor.plan: "a plan waits",
    WaitFor.question: "a question waits",
    WaitFor.merge: "its merge waits",
    WaitFor.tasks: "its parts run",
}


def _beyond(task: Task, run: "Run | None", ready: bool) -> str:
    """What the live run knows beyond the file's status."""
    if run is None:
        return ""
    owed = run.live.pending_edit
    if owed and owed.get("status") != task.status:
        return f"{owed.get('status')}, not written here yet"
    if run.status == RunStatus.running:
        return "its process died"
    if run.status != RunStatus.waiting or run.waiting is None:
        return ""
    if run.waiting.for_ == WaitFor.review and task.status == TaskStatus.review:
        return ""
    if run.waiting.for_ == WaitFor.limit:
        return f"waits until {run.waiting.until}" if run.waiting.until else "waits for a limit"
    return "its parts are done" if ready and run.waiting.for_ == WaitFor.tasks else _BEYOND[run.waiting.for_]


def _more_reasons(project: Project, task: Task, graph: Graph, facts: Facts, slots: list[Reason]) -> list[Reason]:
    """What holds up a task that is ready in itself: it runs with the next `kin run` after that."""
    others = [graph.tasks[i] for i in facts.runs if i in facts.running and i in graph.tasks]
    if not others:
        return slots
    from kin.model.module import MODULES, meeting
    from kin.store import entries

    touching = meeting(task, others, entries.readable(project, MODULES))
    return [*slots, *(Reason("touches", f"{other}, which runs, touches the same files", other) for other in touching)]


def _done_on_target(project: Project, found: Mapping[str, Task], base: str | None) -> dict[str, str]:
    """Tasks that are open here and done on their target, and that target's name.

    Asked only where a target is not the branch that is checked out here: one `git grep` finds the few candidates.
    """
    here = branch_here(project)
    base = base or here
    wanted: dict[str, set[str]] = {}
    for task in found.values():
        target = task.base or base
        if target is not None and target != here and task.status in OPEN:
            wanted.setdefault(target, set()).add(task.id)
    return {task_id: target for target, ids in wanted.items() for task_id in _done_at(project, target, ids)}


def _done_at(project: Project, target: str, ids: set[str]) -> Iterable[str]:
    from kin import git

    name = target.removeprefix("refs/heads/")
    pattern = "status[\"']?[ \\t]*:[ \\t]*[\"']?(done|closed|completed)"
    for ref in (f"refs/heads/{name}", f"refs/remotes/origin/{name}"):
        words = ("grep", "--no-color", "-l", "-z", "-i", "-E", "-e", pattern, ref, "--", f"{STORE}/tasks")
        out = git.git(project.root, *words, ok=(0, 1, 128))
        if out.code == 128:
            continue  # no such branch here
        paths = [p.partition(":")[2] for p in out.out.decode("utf-8", "surrogateescape").split("\0")]
        for path in paths:
            task_id = os.path.basename(path).removesuffix(".yaml")
            if task_id in ids and _says_done(git.blob(project.root, ref, path)):
                yield task_id
        return


def _says_done(raw: bytes | None) -> bool:
    from kin.store.text import reader

    try:
        data: dict[str, Any] = reader.read(reader.decode(raw or b"", ""), "")
    except Invalid:
        return False
    head = {key: data.get(key) for key in ("id", "title", "status")}
    task, _ = build(Task, head)
    return task is not None and task.status == TaskStatus.done
