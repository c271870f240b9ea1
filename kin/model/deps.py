"""What a task waits for and what waits for it, as rows of a tree; the chain that decides when it can start; who waits for one
another. Pure graph, no files."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kin.model.ids import sort_key
from kin.model.ready import Graph
from kin.model.status import OPEN

Waits = Mapping[str, Sequence[tuple[str, str]]]
"""By each that waits: what it waits for, and how that is called (`depends on`)."""


class Link(NamedTuple):
    """A row of a tree: a task, how deep it stands, how the one above it is linked with it.

    `repeated`: what is below it stands further up already, or further down leads back to it. `missing`: no file has that id.
    """

    id: str
    level: int
    how: str
    repeated: bool = False
    missing: bool = False


_Next = Callable[[str], Iterable[tuple[str, str, bool]]]


def waits_of(graph: Graph) -> Waits:
    """By each task what it waits for: dependencies, and a parent its parts. Those that do not exist are left out."""
    waits: dict[str, list[tuple[str, str]]] = {}
    for task_id, others in graph.depends_on.items():
        waits.setdefault(task_id, []).extend((other, "depends on") for _, other in others if other is not None)
    for parent, children in graph.children.items():
        waits.setdefault(parent, []).extend((child, "has the part") for child in children)
    return waits


def needs(graph: Graph, start: str) -> list[Link]:
    """What `start` waits for, all the way down."""

    def below(task_id: str) -> Iterable[tuple[str, str, bool]]:
        for word, other in graph.depends_on.get(task_id, ()):
            yield (word, "depends on", True) if other is None else (other, "depends on", False)
        for child in graph.children.get(task_id, ()):
            yield child, "has the part", False

    return _tree(start, below)


def needed_by(graph: Graph, start: str) -> list[Link]:
    """What waits for `start`, all the way up."""
    parents = {child: parent for parent, children in graph.children.items() for child in children}

    def above(task_id: str) -> Iterable[tuple[str, str, bool]]:
        for other in graph.dependents.get(task_id, ()):
            yield other, "depends on", False
        if task_id in parents:
            yield parents[task_id], "has the part", False

    return _tree(start, above)


def _tree(start: str, following: _Next) -> list[Link]:
    """Depth first, each task's own followers once. Without recursion: a chain may be ten thousand tasks long."""
    rows: list[Link] = []
    told = {start}
    work = [(start, iter(following(start)))]
    while work:
        found = next(work[-1][1], None)
        if found is None:
            work.pop()
            continue
        task_id, how, missing = found
        again = task_id in told and (task_id == start or any(True for _ in following(task_id)))
        rows.append(Link(task_id, len(work), how, again, missing))
        if task_id not in told and not missing:
            told.add(task_id)
            work.append((task_id, iter(following(task_id))))
    return rows


def critical_path(graph: Graph, start: str) -> list[str]:
    """The longest chain of open tasks that ends with `start`, each waiting for the one before it: so many must be done first.

    Of chains of one length the one whose tasks come first in order of ids. What waits for itself is in no chain.
    """
    waits = {
        task_id: sorted((other for other, _ in others if graph.tasks[other].status in OPEN), key=sort_key)
        for task_id, others in waits_of(graph).items()
    }
    longest: dict[str, int] = {}
    after: dict[str, str] = {}
    for task_id in _last_first(start, waits):
        before = [other for other in waits.get(task_id, ()) if other in longest]  # one of a circle is not reckoned yet
        best = max(before, key=lambda other: longest[other], default=None)
        longest[task_id] = 1 + (longest[best] if best is not None else 0)
        if best is not None:
            after[task_id] = best
    chain = [start]
    while chain[-1] in after:
        chain.append(after[chain[-1]])
    return chain[::-1]


def _last_first(start: str, waits: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """`start` and all that it waits for, each behind everything that it waits for itself, but for circles."""
    seen = {start}
    work = [(start, iter(waits.get(start, ())))]
    while work:
        task_id, others = work[-1]
        other = next((one for one in others if one not in seen), None)
        if other is None:
            work.pop()
            yield task_id
        else:
            seen.add(other)
            work.append((other, iter(waits.get(other, ()))))


def circles(waits: Waits) -> Iterator[list[tuple[str, str, str]]]:
    """The shortest way from the first of each group back to itself, as (who, how, whom)."""
    for group in _knots(waits):
        yield _way_round(min(group), waits, group)


def _knots(waits: Waits) -> Iterator[set[str]]:
    """The strongly connected groups (Tarjan's algorithm, without recursion: a chain may be ten thousand tasks long)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    closed = 2 * len(waits) + sum(map(len, waits.values()))  # above every number: of a group that was told already
    for start in waits:
        work = [] if start in number else [(start, iter(waits[start]))]
        while work:
            one, others = work[-1]
            if one not in number:
                number[one] = low[one] = len(number)
                stack.append(one)
            for other, _ in others:
                if other not in number:
                    work.append((other, iter(waits.get(other, ()))))
                    break
                low[one] = min(low[one], low[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[one])
                if low[one] == number[one]:
                    group = _popped(stack, one)
                    low.update(dict.fromkeys(group, closed))
                    if len(group) > 1 or any(other == one for other, _ in waits.get(one, ())):
                        yield group


def _popped(stack: list[str], last: str) -> set[str]:
    group = {stack.pop()}
    while last not in group:
        group.add(stack.pop())
    return group


def _way_round(start: str, waits: Waits, group: set[str]) -> list[tuple[str, str, str]]:
    came: dict[str, tuple[str, str]] = {}
    queue = [start]
    for one in queue:
        for other, how in waits.get(one, ()):
            if other in group and other not in came:
                came[other] = (one, how)
                queue.append(other)
        if start in came:
            break
    way: list[tuple[str, str, str]] = []
    at = start
    while not way or at != start:
        before, how = came[at]
        way.append((before, how, at))
        at = before
    return way[::-1]
