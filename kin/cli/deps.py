"""`kin deps`: what a task waits for, what waits for it, and how long the way to it is."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, counted
from kin.model.deps import Link, circles, critical_path, needed_by, needs, waits_of
from kin.store.view import Seen, View

DEEPEST = 40
"""Levels that are indented: a chain of thousands would be more blanks than words."""

Way = Sequence[tuple[str, str, str]]


def deps_(call: Call) -> Result:
    """Both trees of a task, the circles in them, and the longest chain of open tasks before it."""
    seen, view = call.task(bodies=False)
    task_id = seen.task.id
    down, up = needs(view.graph, task_id), needed_by(view.graph, task_id)
    near = {task_id, *(link.id for link in (*down, *up))}
    waits = {one: others for one, others in waits_of(view.graph).items() if one in near}
    rounds = list(circles(waits))
    chain = critical_path(view.graph, task_id)
    data = {
        "id": task_id,
        "needs": [_entry(link, view) for link in down],
        "needed_by": [_entry(link, view) for link in up],
        "critical_path": chain,
        "circles": [[one for one, _, _ in way] for way in rounds],
    }

    def lines(screen: Screen) -> Iterator[str]:
        yield _line(seen, task_id, screen)
        yield from _tree("needs", down, view, screen)
        yield from _tree("needed by", up, view, screen)
        yield from _told(chain, rounds, screen)

    return Result("deps", data, lines, dict.fromkeys(link.id for link in down), view.warnings)


def _entry(link: Link, view: View) -> dict[str, Any]:
    seen = view.seen.get(link.id)
    return {
        "id": link.id,
        "level": link.level,
        "how": link.how.replace(" ", "_"),
        "status": seen.status if seen else None,
        "title": seen.task.title if seen else None,
        "repeated": link.repeated,
        "missing": link.missing,
    }


def _tree(heading: str, links: Iterable[Link], view: View, screen: Screen) -> Iterator[str]:
    for number, link in enumerate(links):
        if not number:
            yield screen.paint(heading, "bold")
        part = " (part)" if link.how == "has the part" else ""
        again = screen.paint(" (see above)", "dim") if link.repeated else ""
        yield f"{'  ' * min(link.level, DEEPEST)}{_line(view.seen.get(link.id), link.id, screen)}{part}{again}"


def _line(seen: Seen | None, task_id: str, screen: Screen) -> str:
    if seen is None:
        return f"{clean(task_id)}  {screen.paint('does not exist', 'red')}"
    return f"{task_id}  {screen.status(seen.status, seen.shown)}  {clean(seen.task.title)}"


def _told(chain: Sequence[str], rounds: Sequence[Way], screen: Screen) -> Iterator[str]:
    if len(chain) > 1:
        number = counted(len(chain) - 1, "open task")
        shown = chain if len(chain) <= 12 else (*chain[:6], "...", *chain[-5:])
        yield f"{screen.paint('critical path', 'bold')} {number} before it: {' > '.join(shown)}"
    for way in rounds:
        words = ", ".join(f"{one} {how} {other}" for one, how, other in way)
        yield f"{screen.paint('circle', 'red')} tasks wait for one another: {words}"
