"""What waits for what: trees, circles, the chain that decides; and changes to all tasks that fit."""

import io
import json
import os
from typing import Any

import pytest
from conftest import Repo, task_text

from kin.cli.change import set_
from kin.cli.output import Call
from kin.cli.screen import Screen
from kin.model.deps import critical_path, needs
from kin.model.ready import graph_of
from kin.model.status import TaskStatus
from kin.model.task import Task
from kin.store import files


def put(repo: Repo, number: int, *needs: int, **fields: str) -> None:
    if needs:
        fields["depends_on"] = f"[{', '.join(f'KIN-{n}' for n in needs)}]"
    repo.write(
        f".kin/tasks/KIN-{number}.yaml", task_text(f"KIN-{number}", f"Task {number}", fields.pop("status", "todo"), **fields)
    )


def data(repo: Repo, *words: str) -> Any:
    return json.loads(repo.kin(*words, "--json").stdout)["data"]


@pytest.fixture
def store(project: Repo) -> Repo:
    """KIN-5 waits for 3 and 4, both for 2, that for 1 and for its part 6; 8 waits for 5, which is a part of 9."""
    put(project, 1, status="done")
    put(project, 2, 1)
    put(project, 3, 2)
    put(project, 4, 2, 7, status="blocked")
    put(project, 5, 3, 4, 77, parent="KIN-9")
    put(project, 6, parent="2", status="in_progress")
    put(project, 7, status="cancelled")
    put(project, 8, 5)
    put(project, 9)
    return project


def test_both_trees_and_the_longest_chain(store: Repo) -> None:
    assert store.kin("deps", "5").stdout == (
        "KIN-5  todo  Task 5\n"
        "needs\n"
        "  KIN-3  todo  Task 3\n"
        "    KIN-2  todo  Task 2\n"
        "      KIN-1  done  Task 1\n"
        "      KIN-6  in_progress  Task 6 (part)\n"
        "  KIN-4  blocked  Task 4\n"
        "    KIN-2  todo  Task 2 (see above)\n"
        "    KIN-7  cancelled  Task 7\n"
        "  KIN-77  does not exist\n"
        "needed by\n"
        "  KIN-8  todo  Task 8\n"
        "  KIN-9  todo  Task 9 (part)\n"
        "critical path 3 open tasks before it: KIN-6 > KIN-2 > KIN-3 > KIN-5\n"
    )
    found = data(store, "deps", "5")
    assert found["critical_path"] == ["KIN-6", "KIN-2", "KIN-3", "KIN-5"] and found["circles"] == []
    assert [(row["id"], row["level"]) for row in found["needed_by"]] == [("KIN-8", 1), ("KIN-9", 1)]
    row = next(row for row in found["needs"] if row["id"] == "KIN-6")
    assert row == {
        "id": "KIN-6",
        "level": 3,
        "how": "has_the_part",
        "status": "in_progress",
        "title": "Task 6",
        "repeated": False,
        "missing": False,
    }
    assert [row["id"] for row in found["needs"] if row["missing"]] == ["KIN-77"]
    assert [row["id"] for row in found["needs"] if row["repeated"]] == ["KIN-2"]


def test_a_task_that_stands_alone(store: Repo) -> None:
    assert store.kin(
        "deps", "7"
    ).stdout == "KIN-7  cancelled  Task 7\nneeded by\n  KIN-4  blocked  Task 4\n    KIN-5  todo  Task 5\n" + (
        "      KIN-8  todo  Task 8\n      KIN-9  todo  Task 9 (part)\n"
    )
    put(store, 20)
    assert store.kin("deps", "20").stdout == "KIN-20  todo  Task 20\n"
    assert "no task KIN-99" in store.kin("deps", "99", exit=8).stderr
    store.write(".kin/tasks/KIN-20.yaml", "id: KIN-20\n")
    assert ".kin/tasks/KIN-20.yaml" in store.kin("deps", "20", exit=7).stderr


def test_circles_are_told_and_end(store: Repo) -> None:
    put(store, 1, 5, status="todo")
    put(store, 30, 30)
    put(store, 32)
    put(store, 31, 32, parent="KIN-32")
    said = store.kin("deps", "5").stdout
    assert "circle tasks wait for one another: KIN-1 depends on KIN-5, KIN-5 depends on KIN-3, KIN-3 depends on KIN-2" in said
    assert "        KIN-5  todo  Task 5 (see above)\n" in said
    assert data(store, "deps", "8")["circles"] == [["KIN-1", "KIN-5", "KIN-3", "KIN-2"]]
    assert data(store, "deps", "30")["circles"] == [["KIN-30"]]
    assert data(store, "deps", "31")["circles"] == [["KIN-31", "KIN-32"]]
    assert data(store, "deps", "6")["circles"] == data(store, "deps", "8")["circles"]
    assert data(store, "deps", "32")["circles"] == [["KIN-31", "KIN-32"]]


def test_a_chain_of_ten_thousand_is_no_trouble() -> None:
    numbers = range(10_000)
    tasks = {f"KIN-{n}": Task(f"KIN-{n}", "T", TaskStatus.todo, depends_on=(f"KIN-{n - 1}",) if n else ()) for n in numbers}
    graph = graph_of(tasks)
    assert critical_path(graph, "KIN-9999") == list(tasks)
    assert [link.level for link in needs(graph, "KIN-9999")] == list(range(1, 10_000))


# kin set with filters


@pytest.fixture
def many(project: Repo) -> Repo:
    """KIN-1 to KIN-30: odd ones labelled a, every third of module m; the last one is done."""
    for n in range(1, 31):
        put(project, n, labels="[a, x]" if n % 2 else "[b]", module="m" if n % 3 == 0 else "o", priority="3" if n < 9 else "4")
    put(project, 30, status="done", labels="[a]")
    return project


def priorities(repo: Repo) -> dict[int, int]:
    return {int(t["id"][4:]): t["priority"] for t in data(repo, "list", "--all") if t["priority"] < 3}


def test_filters_select_what_list_would_show(many: Repo) -> None:
    said = many.kin("set", "label:a", "module:m", "priority=2").stdout
    assert said.splitlines() == [f"KIN-{n}  priority=2" for n in (3, 9, 15, 21, 27)]
    assert priorities(many) == dict.fromkeys((3, 9, 15, 21, 27), 2)
    assert [t["id"] for t in data(many, "set", "status:done", "labels+=old")] == ["KIN-30"]
    assert [t["id"] for t in data(many, "set", "2", "3", "label:x,a", "priority:1-2", "assignee=Bo")] == ["KIN-2"] + [
        f"KIN-{n}" for n in (3, 9, 15, 21, 27)
    ]
    assert len(data(many, "set", "assignee:bo", "assignee=")) == 6
    assert len(data(many, "set", "assignee:", "label:b", "x-note=1")) == 14


def test_a_dry_run_shows_each_change_and_makes_none(many: Repo) -> None:
    before = many.status()
    said = many.kin("set", "label:b", "priority:3", "priority=1", "labels+=new", "labels-=b", "module=m", "--dry-run").stdout
    assert said.splitlines()[:3] == ["KIN-2  priority: 3 -> 1", "KIN-2  labels: b -> new", "KIN-2  module: o -> m"]
    assert "KIN-6  module" not in said and len({line.split()[0] for line in said.splitlines()}) == 4
    assert data(many, "set", "4", "x-a.b=1", "module=", "--dry-run") == [
        {"task": "KIN-4", "key": "x-a.b", "old": None, "new": "1"},
        {"task": "KIN-4", "key": "module", "old": "o", "new": None},
    ]
    assert many.status() == before and priorities(many) == {}


@pytest.mark.parametrize(
    ("words", "exit", "says"),
    [
        (["label:nosuch", "priority=1"], 8, "no task fits label:nosuch"),
        (["label:", "priority=1"], 2, "'label:' says no label"),
        (["status:,", "priority=1"], 2, "'status:,' says no status"),
        (["status:nosuch", "priority=1"], 2, "no status is called 'nosuch'"),
        (["priority:x", "priority=1"], 2, "'x' is no priority"),
        (["colour:red", "priority=1"], 8, "no task colour:red"),
        (["label:a"], 2, "which task, and what to change?"),
        (["status:todo,done", "status=cancelled"], 2, "KIN-30 is done, it cannot become cancelled"),
        (["label:a", "status:todo", "status:blocked", "depends_on=2", "depends_on+=3"], 2, "KIN-3 already leads back"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_file_changes(many: Repo, words: list[str], exit: int, says: str) -> None:
    before = many.status()
    assert says in many.kin("set", *words, exit=exit).stderr
    assert many.status() == before and {t["status"] for t in data(many, "list")} == {"todo"}


def asked(repo: Repo, monkeypatch: pytest.MonkeyPatch, answer: bool, *words: str) -> str:
    """`kin set` where somebody can be asked; what was asked, and shown before."""
    monkeypatch.chdir(repo.path)
    screen = Screen({}, out=io.StringIO(), err=io.StringIO())
    screen.may_ask = True
    monkeypatch.setattr(screen, "ask", lambda question: screen.err.write(question) > 0 and answer)
    set_(Call({"words": words, "dry_run": False}, {}, screen))
    assert isinstance(screen.err, io.StringIO)
    return screen.err.getvalue()


def test_the_folder_of_many_changed_files_is_made_durable_once(many: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, int]] = []
    monkeypatch.setattr(files, "sync_folder", lambda path: synced.append((os.path.dirname(path), len(priorities(many)))))
    asked(many, monkeypatch, True, "status:todo", "priority=1")
    assert [number for folder, number in synced if folder == str(many.path / ".kin/tasks")] == [29]  # after the last one


def test_at_a_terminal_many_files_are_asked_about(many: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    said = asked(many, monkeypatch, False, "status:todo", "priority=1", "labels+=x")
    assert (
        "    21  priority: 4 -> 1\n" in said
        and "    14  labels: b -> b, x\n" in said
        and "     8  priority: 3 -> 1\n" in said
        and "Change 29 files?" in said
    )
    assert priorities(many) == {}
    asked(many, monkeypatch, True, "status:todo", "priority=1")
    assert len(priorities(many)) == 29
    assert "Change" not in asked(many, monkeypatch, False, "label:b", "priority=2")
    assert list(priorities(many).values()).count(2) == 14


def test_where_nobody_can_be_asked_many_files_change_at_once(many: Repo) -> None:
    many.kin("set", *map(str, range(1, 30)), "priority=1")
    assert len(priorities(many)) == 29


def test_references_in_any_spelling_count_wherever_tasks_are_looked_at(project: Repo) -> None:
    put(project, 1)
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", "Two", "todo", depends_on="[1, other:API-7]", parent="kin-003"))
    put(project, 3)
    assert "depends on  KIN-1 (todo), other:API-7\n" in project.kin("show", "2").stdout
    assert "children  KIN-2 (todo)\n" in project.kin("show", "3").stdout
    assert [task["id"] for task in data(project, "list", "--depends-on", "KIN-1")] == ["KIN-2"]
    for needed in ("1", "3"):
        assert f"KIN-2 refers to KIN-{needed}" in project.kin("rm", needed, exit=2).stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["2", "depends_on+=1"], "KIN-2 cannot have depends_on KIN-1: KIN-1 already leads back to it"),
        (["3", "depends_on=1", "parent=1"], "KIN-3 cannot have depends_on KIN-1: KIN-1 already leads back to it"),
        (["1", "parent=4"], "KIN-1 cannot have parent KIN-4: KIN-4 already leads back to it"),
    ],
)
def test_a_task_that_would_wait_for_the_parent_that_waits_for_it_is_refused(project: Repo, words: list[str], says: str) -> None:
    put(project, 1)
    put(project, 2, parent="KIN-1")
    put(project, 3)
    put(project, 4, parent="KIN-2")
    assert says in project.kin("set", *words, exit=2).stderr
    project.kin("set", "4", "parent=3", "depends_on=3", exit=2)
    project.kin("set", "4", "parent=1", "depends_on=3")
