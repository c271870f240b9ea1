"""Groups of things that wait for one another, each told as one way round: pure graph, no files."""

from collections.abc import Iterator, Mapping, Sequence

Waits = Mapping[str, Sequence[tuple[str, str]]]
"""By each that waits: what it waits for, and how that is called (`depends on`)."""


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
