"""Which tasks are ready, in which order, and every reason why one is not: computed from tasks and runs, stored nowhere."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kin.model.ids import identity, normalise
from kin.model.status import OPEN, BlockedKind, RunStatus, TaskStatus, WaitFor
from kin.model.task import Blocked, Task

if TYPE_CHECKING:
    from kin.model.record import Run  # only who has runs pays for their model

MAX_CRASHES = 3
"""How often in a row, without a finished step in between, a crashed run is taken up again before a person must look."""


class Reason(NamedTuple):
    """Why a task does not run: a kind for programs, a sentence for people, and the task, run or branch that it is about."""

    kind: str
    text: str
    ref: str = ""


class Graph(NamedTuple):
    """How tasks hang together. A dependency is the word in the file and the id that it means, None if no task has it."""

    tasks: Mapping[str, Task]
    depends_on: Mapping[str, Sequence[tuple[str, str | None]]]
    dependents: Mapping[str, Sequence[str]]
    children: Mapping[str, Sequence[str]]


class Facts(NamedTuple):
    """What the files do not say: whose lock is held, live runs by task, what is done on its target but not here, the time.

    `linked`: by a dependency in another project, why it is not met, "" if it is. `queued`: who waits for a slot.
    """

    running: Collection[str]
    runs: "Mapping[str, Run]"
    done_on: Mapping[str, str]
    now: str
    linked: Mapping[str, str] = {}
    queued: Collection[str] = ()


def graph_of(tasks: Mapping[str, Task]) -> Graph:
    """The dependencies and parents of `tasks`, looked up as a person means them (`9` and `kin-009` are KIN-9)."""
    depends_on: dict[str, list[tuple[str, str | None]]] = {}
    dependents: dict[str, list[str]] = {}
    children: dict[str, list[str]] = {}
    numbers: dict[tuple[str | int, ...], str] = {}

    def meant(word: str, by: Task) -> str | None:
        if word in tasks:
            return word
        found = normalise(word, by.id.partition("-")[0])
        if found is None or found in tasks:
            return found
        if not numbers:
            numbers.update((identity(i), i) for i in tasks)
        return numbers.get(identity(found))

    for task in tasks.values():
        for word in task.depends_on:
            other = meant(word, task)
            depends_on.setdefault(task.id, []).append((word, other))
            if other is not None:
                dependents.setdefault(other, []).append(task.id)
        if task.parent is not None and (parent := meant(task.parent, task)) is not None:
            children.setdefault(parent, []).append(task.id)
    return Graph(tasks, depends_on, dependents, children)


def in_order(graph: Graph) -> list[str]:
    """All ids: by priority, then what most open tasks wait for directly, then age, then number."""
    waits = {i: sum(graph.tasks[d].status in OPEN for d in others) for i, others in graph.dependents.items()}
    keys = []
    for task_id, task in graph.tasks.items():
        number = task_id.rpartition("-")[2]
        by_number = int(number) if number.isdigit() else 0
        keys.append((task.priority, -waits.get(task_id, 0), task.created or "~", by_number, task_id))
    keys.sort()
    return [key[4] for key in keys]


def ready_ids(graph: Graph, facts: Facts) -> set[str]:
    """The tasks that no reason keeps back. Every list asks it, so only the few with something to look into are looked into."""
    tasks = graph.tasks
    todo = {i for i, task in tasks.items() if task.status is TaskStatus.todo}
    crashed = {i for i, task in tasks.items() if task.status is TaskStatus.blocked}
    done = {i for i, task in tasks.items() if task.status is TaskStatus.done}
    done = {i for i in done if not _arrives(i, facts)} if facts.runs else done
    done |= {*facts.done_on}
    met = {word for word, why in facts.linked.items() if not why}
    unmet = {i for i, needs in graph.depends_on.items() if any(other not in done and word not in met for word, other in needs)}
    look = (todo & {*facts.runs, *facts.done_on, *graph.depends_on, *graph.children}) | crashed
    found = todo.difference(look, facts.running, facts.queued)
    return found | {i for i in look - unmet if next(reasons(tasks[i], graph, facts), None) is None}


def _is_unmet(other: str | None, graph: Graph, facts: Facts) -> bool:
    if other is None:
        return True
    is_done = graph.tasks[other].status is TaskStatus.done and not _arrives(other, facts)
    return not is_done and other not in facts.done_on


def _arrives(task_id: str, facts: Facts) -> bool:
    """Whether its file speaks of a merge that is not over: files move first, and a kill before the ref takes them back."""
    return task_id in facts.runs and facts.runs[task_id].status == RunStatus.running


def reasons(task: Task, graph: Graph, facts: Facts) -> Iterator[Reason]:
    """Every reason why `task` does not run now; none: it is ready. In this order: who, itself, its run, dependencies, parts."""
    if task.id in facts.running:
        yield Reason("running", "it is being run", facts.runs[task.id].run if task.id in facts.runs else "")
    elif task.id in facts.queued:
        others = sorted(graph.tasks.keys() & facts.running) or ["what runs in other clones on this machine"]
        words = f"it waits in the queue for a slot, behind {', '.join(others)}; `kin stop {task.id}` takes it out"
        yield Reason("queued", words)
    if task.id in facts.done_on:
        yield Reason("status", f"it is done on {facts.done_on[task.id]}", facts.done_on[task.id])
    run = facts.runs.get(task.id)
    task = as_owed(task, run)
    if task.status != TaskStatus.todo:
        yield from _status(task, run)
    if run is not None and run.waiting is not None and run.status == RunStatus.waiting:
        yield from _waiting(task.id, run, facts.now)
    for word, other in graph.depends_on.get(task.id, ()):
        if other is None and facts.linked.get(word) == "":
            continue
        if other is None:
            words = facts.linked.get(word) or f"{word}, which it depends on, does not exist"
            yield Reason("dependency", words, word)
        elif _is_unmet(other, graph, facts):
            yield Reason("dependency", f"{other}, which it depends on, is {_standing(other, graph)}", other)
    for child in graph.children.get(task.id, ()):
        if (graph.tasks[child].status in OPEN or _arrives(child, facts)) and child not in facts.done_on:
            yield Reason("child", f"{child}, a part of it, is {_standing(child, graph)}", child)


def _standing(task_id: str, graph: Graph) -> str:
    status = graph.tasks[task_id].status
    return "just being merged" if status is TaskStatus.done else str(status)


def is_closed(task: Task, run: "Run") -> bool:
    """Whether the task was closed by hand while its run waits: the file wins, and the run is over."""
    return run.status == RunStatus.waiting and not run.live.pending_edit and task.status not in OPEN


def as_owed(task: Task, run: "Run | None") -> Task:
    """The task as its file will say that it is blocked, once what its run could not write there yet is written."""
    owed = (run.live.pending_edit or {}) if run is not None else {}
    if owed.get("status") != TaskStatus.blocked or task.status != TaskStatus.todo:
        return task
    block = owed.get("blocked") or {}
    kind = BlockedKind(block.get("kind") or BlockedKind.manual)
    return task._replace(status=TaskStatus.blocked, blocked=Blocked(kind, block.get("reason") or ""))


_HOW_ON = {
    TaskStatus.draft: "`kin set {} status=todo` when it is thought through",
    TaskStatus.in_progress: "a person is at it, and kin keeps off",
    TaskStatus.review: "`kin diff {}` shows its work",
    TaskStatus.done: "`kin reopen {}` starts it anew",
    TaskStatus.cancelled: "`kin reopen {}` starts it anew",
}


def _status(task: Task, run: "Run | None") -> Iterator[Reason]:
    if task.status != TaskStatus.blocked:
        lost = task.status == TaskStatus.review and run is None
        how = "no run of it waits in this clone; `kin set {} status=todo` lets it begin" if lost else _HOW_ON[task.status]
        yield Reason("status", f"it is {task.status}; {how.replace('{}', task.id)}")
        return
    crashes = run.live.crashes if run is not None else 0
    if task.blocked is not None and task.blocked.kind == BlockedKind.crash and crashes <= MAX_CRASHES:
        return
    kind = f" ({task.blocked.kind})" if task.blocked else ""
    why = " ".join(task.blocked.reason.split()) if task.blocked else ""
    yield Reason("status", f"it is blocked{kind}" + (f": {why}" if why else f"; `kin run {task.id}` tries it again"))


_WAITS_FOR = {
    WaitFor.review: "a person to approve its work: `kin approve {}`, `kin revise {} -m ...` or `kin reject {}`",
    WaitFor.plan: "a person to agree to its plan: `kin approve {}`",
    WaitFor.question: "an answer: `kin answer {} -m ...`",
    WaitFor.merge: "its merge, which something blocks: `kin approve {}` tries again",
    WaitFor.limit: "its agent's service to take it again",
}


def _waiting(task_id: str, run: "Run", now: str) -> Iterator[Reason]:
    """A run that waits for its parts is not named: each open part is a reason of its own."""
    waiting = run.waiting
    if waiting is None or waiting.for_ == WaitFor.tasks:
        return
    if waiting.for_ == WaitFor.limit and waiting.until is not None and waiting.until <= now:
        return
    what = _WAITS_FOR[waiting.for_].replace("{}", task_id)
    until = f", at {waiting.until}" if waiting.until else ""
    paths = f" (in the way: {', '.join(waiting.paths)})" if waiting.paths else ""
    yield Reason("waiting", f"its run waits for {what}{until}{paths}", run.run)
