"""What is ready, in which order, and why the rest is not."""

from typing import Any

import pytest

from kin.model.globs import overlap
from kin.model.ready import MAX_CRASHES, Facts, graph_of, in_order, reasons
from kin.model.record import Live, Run, Waiting
from kin.model.status import BlockedKind, RunStatus, TaskStatus, WaitFor
from kin.model.task import Blocked, Task

NOW = "2026-11-24T12:00:00Z"


def task(number: int, status: str = "todo", **fields: Any) -> Task:
    return Task(f"KIN-{number}", f"Task {number}", TaskStatus(status), **fields)


def run_of(number: int, for_: str | None = None, **fields: Any) -> Run:
    waiting = Waiting(WaitFor(for_), until=fields.pop("until", None)) if for_ else None
    status = fields.pop("status", "waiting" if for_ else "failed")
    return Run(f"run-{number}", f"KIN-{number}", RunStatus(status), NOW, waiting=waiting, **fields)


def why(wanted: Task, *others: Task, runs: tuple[Run, ...] = (), **facts: Any) -> list[tuple[str, str]]:
    """Kind and reference of every reason why `wanted` is not ready; [] if it is."""
    graph = graph_of({t.id: t for t in (wanted, *others)})
    known = Facts(facts.get("running", ()), {r.task: r for r in runs}, facts.get("done_on", {}), NOW)
    return [(r.kind, r.ref) for r in reasons(wanted, graph, known)]


def order(*tasks: Task) -> list[str]:
    return [i.removeprefix("KIN-") for i in in_order(graph_of({t.id: t for t in tasks}))]


def test_a_todo_is_ready() -> None:
    assert why(task(1)) == []


@pytest.mark.parametrize("status", ["draft", "in_progress", "review", "blocked", "done", "cancelled"])
def test_no_other_status_is_ready(status: str) -> None:
    assert why(task(1, status)) == [("status", "")]


def test_what_a_merge_that_is_not_over_says_does_not_count_yet() -> None:
    merging, put_down = run_of(2, status="running"), run_of(2, "review")
    assert why(task(1, depends_on=("KIN-2",)), task(2, "done"), runs=(merging,)) == [("dependency", "KIN-2")]
    assert why(task(1), task(2, "done", parent="KIN-1"), runs=(merging,)) == [("child", "KIN-2")]
    assert why(task(1, depends_on=("KIN-2",)), task(2, "done"), runs=(put_down,)) == []  # done by a person's hand


@pytest.mark.parametrize(("status", "ready"), [("done", True), *((s, False) for s in TaskStatus if s != "done")])
def test_a_dependency_must_be_done(status: str, ready: bool) -> None:
    found = why(task(1, depends_on=("KIN-2",)), task(2, status))
    assert found == ([] if ready else [("dependency", "KIN-2")])


def test_a_dependency_that_does_not_exist_is_not_done() -> None:
    assert why(task(1, depends_on=("KIN-9", "what?"))) == [("dependency", "KIN-9"), ("dependency", "what?")]


@pytest.mark.parametrize("word", ["2", "kin-2", "KIN-002", " KIN-2"])
def test_a_dependency_is_found_as_a_person_writes_it(word: str) -> None:
    assert why(task(1, depends_on=(word,)), task(2, "done")) == []
    assert why(task(1, depends_on=(word,)), task(2)) == [("dependency", "KIN-2")]


def test_a_dependency_done_on_its_target_is_done() -> None:
    assert why(task(1, depends_on=("KIN-2",)), task(2), done_on={"KIN-2": "main"}) == []
    assert why(task(1), done_on={"KIN-1": "main"}) == [("status", "main")]


@pytest.mark.parametrize("status", TaskStatus)
def test_a_part_must_be_closed(status: TaskStatus) -> None:
    found = why(task(1), task(2, status, parent="kin-1"))
    assert found == ([] if status in ("done", "cancelled") else [("child", "KIN-2")])


def test_a_task_that_depends_on_itself_is_never_ready() -> None:
    assert why(task(1, depends_on=("KIN-1",))) == [("dependency", "KIN-1")]


def test_a_task_that_is_being_run_is_not_ready() -> None:
    assert why(task(1), running={"KIN-1"}, runs=(run_of(1, status="running"),)) == [("running", "run-1")]


@pytest.mark.parametrize(
    ("for_", "until", "ready"),
    [
        ("review", None, False),
        ("plan", None, False),
        ("question", None, False),
        ("merge", None, False),
        ("limit", None, False),
        ("limit", "2026-11-24T12:00:01Z", False),
        ("limit", "2026-11-24T12:00:00Z", True),
        ("tasks", None, True),
    ],
)
def test_a_run_that_waits_for_a_time_or_a_person_keeps_the_task_back(for_: str, until: str | None, ready: bool) -> None:
    assert why(task(1), runs=(run_of(1, for_, until=until),)) == ([] if ready else [("waiting", "run-1")])


def test_a_run_that_failed_or_died_keeps_nothing_back() -> None:
    assert why(task(1), runs=(run_of(1),)) == []
    assert why(task(1), runs=(run_of(1, status="running"),)) == []


@pytest.mark.parametrize(("crashes", "ready"), [(0, True), (1, True), (MAX_CRASHES, True), (MAX_CRASHES + 1, False)])
def test_a_crash_is_taken_up_again_three_times_in_a_row(crashes: int, ready: bool) -> None:
    crashed = task(1, "blocked", blocked=Blocked(BlockedKind.crash, "died"))
    assert why(crashed, runs=(run_of(1, live=Live(crashes=crashes)),)) == ([] if ready else [("status", "")])


def test_any_other_trouble_needs_a_person() -> None:
    for kind in set(BlockedKind) - {BlockedKind.crash}:
        assert why(task(1, "blocked", blocked=Blocked(kind))) == [("status", "")]


def test_every_reason_is_given() -> None:
    wanted = task(1, "draft", depends_on=("KIN-2",))
    found = why(wanted, task(2), task(3, parent="KIN-1"), runs=(run_of(1, "plan"),), running={"KIN-1"})
    assert [kind for kind, _ in found] == ["running", "status", "waiting", "dependency", "child"]


def test_priority_comes_first() -> None:
    assert order(task(1), task(2, priority=1), task(3, priority=5)) == ["2", "1", "3"]


def test_then_what_more_open_tasks_wait_for() -> None:
    waiting = [task(n, depends_on=("KIN-2",)) for n in (3, 4)]
    closed = [task(n, "done", depends_on=("KIN-1",)) for n in (5, 6, 7)]
    assert order(task(1), task(2), *waiting, *closed)[:2] == ["2", "1"]


def test_then_age_and_at_last_the_number() -> None:
    tasks = [task(10, created="2026-01-02"), task(9, created="2026-01-02"), task(11, created="2026-01-01"), task(1)]
    assert order(*tasks) == ["11", "9", "10", "1"]


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        ("src/**", "src/a.py", True),
        ("src/a.py", "src/b.py", False),
        ("src/auth/**", "src/billing/**", False),
        ("**", "docs/x.md", True),
        ("*.py", "docs/x.md", True),
        ("./src/a", "src/a/**", True),
        ("/src/a", "src/a", True),
        ("src/[ab].py", "src/b.py", True),
        ("src/{a,b}.py", "src/c", True),
        ("docs/?.md", "docs/", True),
        ("a", "b", False),
    ],
)
def test_touches_overlap_if_the_fixed_parts_are_prefixes_of_one_another(one: str, other: str, overlaps: bool) -> None:
    assert overlap(one, other) == overlap(other, one) == overlaps
