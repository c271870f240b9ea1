"""What is shown: the file's status, `in_progress` while somebody holds the lock, and what runs and targets know beyond it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Repo, task_text

from kin.errors import Invalid
from kin.model.record import Live, Run, Waiting
from kin.model.status import OPEN, RunStatus, WaitFor
from kin.store import index, locks, records, view
from kin.store.locks import lock_path, try_lock
from kin.store.project import Project, find
from kin.store.resting import resting
from kin.store.view import View, see

NOW = "2026-11-24T12:00:00Z"


@pytest.fixture
def store(project: Repo) -> Project:
    for number in (1, 2, 3):
        project.write(f".kin/tasks/KIN-{number}.yaml", task_text(f"KIN-{number}"))
    return find(str(project.path), {})


@contextmanager
def held(store: Project, name: str) -> Iterator[None]:
    with try_lock(lock_path(store.common, name)) or pytest.fail("free"):
        yield


def run_of(store: Project, status: str, for_: str | None = None, until: str | None = None, **live: object) -> Run:
    waiting = Waiting(WaitFor(for_), until=until) if for_ else None
    run = Run("20261124T093200Z-7f3k", "KIN-1", RunStatus(status), NOW, waiting=waiting, live=Live(**live))  # type: ignore[arg-type]
    records.save_live(store, run)
    return run


def shown(store: Project, task_id: str = "KIN-1") -> str:
    return see(store, now=NOW).seen[task_id].shown


def ready(found: View) -> list[str]:
    return [i for i in found.order if found.seen[i].ready]


def test_a_file_is_shown_as_it_says(project: Repo, store: Project) -> None:
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", status="in_progress"))
    found = see(store)
    assert [found.seen[i].shown for i in ("KIN-1", "KIN-2")] == ["todo", "in_progress"]
    assert found.order == ["KIN-1", "KIN-2", "KIN-3"]
    assert found.ready == ready(found) == ["KIN-1", "KIN-3"]


def test_a_claimed_task_is_in_progress_whatever_its_file_says(project: Repo, store: Project) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="blocked"))
    with held(store, "KIN-1"):
        seen = see(store).seen["KIN-1"]
        assert (seen.shown, seen.status, seen.task.status, seen.ready) == ("in_progress", "in_progress", "blocked", False)
    assert shown(store) == "blocked"


def test_a_live_run_names_itself(store: Project) -> None:
    run = run_of(store, "running")
    with held(store, "KIN-1"):
        found = see(store)
        assert found.seen["KIN-1"].run == run.run
        assert found.runs == {"KIN-1": run}
        assert found.ready == ["KIN-2", "KIN-3"]


def test_a_running_record_without_a_lock_is_believed_by_nobody(store: Project) -> None:
    run_of(store, "running", pid=os.getpid())
    assert shown(store) == "todo (its process died)"
    assert see(store).ready == ["KIN-1", "KIN-2", "KIN-3"]


def test_a_run_that_ended_between_two_looks_did_not_die(store: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is read, the run ends and lets go, the lock is asked."""
    run_of(store, "running")
    names = locks.held_names

    def ends_now(*arguments: object) -> frozenset[str]:
        run_of(store, "waiting", "review")
        return names(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(locks, "held_names", ends_now)
    assert shown(store) == "todo (a review waits)"


@pytest.mark.parametrize(
    ("for_", "until", "words"),
    [
        ("review", None, "todo (a review waits)"),
        ("plan", None, "todo (a plan waits)"),
        ("question", None, "todo (a question waits)"),
        ("merge", None, "todo (its merge waits)"),
        ("tasks", None, "todo (its parts are done)"),
        ("limit", None, "todo (waits for a limit)"),
        ("limit", "2026-11-24T13:00:00Z", "todo (waits until 2026-11-24T13:00:00Z)"),
    ],
)
def test_what_a_waiting_run_knows_stands_in_brackets(store: Project, for_: str, until: str | None, words: str) -> None:
    run_of(store, "waiting", for_, until)
    assert shown(store) == words


def test_a_parent_whose_parts_are_open_says_so(project: Repo, store: Project) -> None:
    run_of(store, "waiting", "tasks")
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", parent="KIN-1"))
    assert shown(store) == "todo (its parts run)"


def test_a_review_that_the_file_names_needs_no_brackets(project: Repo, store: Project) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="review"))
    run_of(store, "waiting", "review")
    assert shown(store) == "review"
    run_of(store, "waiting", "merge")
    assert shown(store) == "review (its merge waits)"


def test_an_edit_that_gits_state_put_off_is_shown_from_the_run(store: Project) -> None:
    run_of(store, "failed", pending_edit={"status": "blocked"})
    assert shown(store) == "todo (blocked, not written here yet)"


def test_a_failed_run_changes_nothing_of_what_the_file_says(store: Project) -> None:
    run_of(store, "failed")
    assert shown(store) == "todo"


def test_on_the_target_nothing_is_asked_of_git(store: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a list starts no process"))
    assert shown(store) == "todo"


def test_away_from_the_target_what_is_done_there_is_known(project: Repo, store: Project) -> None:
    project.commit("tasks")
    project.git("branch", "work")
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="done"))
    project.write(".kin/tasks/KIN-2.yaml", '{"id": "KIN-2", "title": "status: done", "status": "todo"}\n')
    project.commit("done")
    project.git("switch", "-q", "work")
    project.write(".kin/kin.yaml", "key: KIN\n\nbase: main\n")
    project.write(".kin/tasks/KIN-3.yaml", task_text("KIN-3", depends_on="KIN-1"))
    found = see(store)
    assert [found.seen[f"KIN-{n}"].shown for n in (1, 2, 3)] == ["todo (done on main)", "todo", "todo"]
    assert found.ready == ["KIN-2", "KIN-3"]


def test_a_target_that_exists_on_origin_only_is_looked_up_there(project: Repo, store: Project) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", status="done"))
    project.git("update-ref", "refs/remotes/origin/release", project.commit("done"))
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", base="release"))
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", base="nowhere"))
    assert [shown(store, f"KIN-{n}") for n in (1, 2)] == ["todo (done on release)", "todo"]


def test_broken_files_hide_no_other_and_are_named(project: Repo, store: Project) -> None:
    project.write(".kin/tasks/KIN-2.yaml", "id: KIN-2\ntitle: x\nstatus: reddy\n")
    project.write(".kin/tasks/notes.yaml", "a: b\n")
    found = see(store)
    assert list(found.order) == ["KIN-1", "KIN-3"]
    assert sorted(w.partition(" ")[0] for w in found.warnings) == [".kin/tasks/KIN-2.yaml:3:9:", ".kin/tasks/notes.yaml:"]


def test_a_broken_record_is_a_warning(store: Project) -> None:
    run = run_of(store, "running")
    Path(records.live_path(store, "KIN-1", run.run)).write_text("{")
    found = see(store)
    assert (found.seen["KIN-1"].shown, len(found.warnings)) == ("todo", 1)


def test_all_reasons_are_given_when_asked_for(project: Repo, store: Project) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", touches="src/**"))
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", touches="src/a.py"))
    project.write(".kin/kin.yaml", "key: KIN\nconcurrency: 1\n")
    run_of(store, "running")
    with held(store, "slot-1"), held(store, "KIN-1"):
        found = see(store, with_reasons=True)
    assert [(r.kind, r.ref) for r in found.seen["KIN-2"].reasons] == [("slot", ""), ("touches", "KIN-1")]
    assert [r.kind for r in found.seen["KIN-1"].reasons] == ["running"]
    assert found.ready == ["KIN-2", "KIN-3"]


def test_reasons_of_some_are_given_when_only_those_are_asked_for(project: Repo, store: Project) -> None:
    for number in (1, 2):
        project.write(f".kin/tasks/KIN-{number}.yaml", task_text(f"KIN-{number}", status="draft"))
    seen = see(store, with_reasons=["KIN-2"]).seen
    assert [bool(seen[i].reasons) for i in ("KIN-1", "KIN-2")] == [False, True]


def test_looking_writes_nothing_but_the_cache(project: Repo, store: Project) -> None:
    before = project.status()
    see(store, with_reasons=True)
    assert project.status() == before
    assert not os.path.isdir(store.common) or os.listdir(store.common) == ["cache"]


def test_listing_imports_nothing_that_costs_more_than_the_work(store: Project) -> None:
    """Measured: pydantic 78 ms, filelock 46, ruamel 25, subprocess and pathlib 15 each, against 50 ms for 10,000 tasks."""
    code = (
        "import sys; from kin.store.project import find; from kin.store.view import see; see(find(sys.argv[1], {}));"
        "print([m for m in 'pydantic filelock ruamel.yaml subprocess pathlib json typer'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, store.root], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_file_that_vanishes_while_it_is_read_is_left_out(store: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    read = view.tasks.files.read_text

    def vanish(path: str, name: str) -> str:
        if name.endswith("KIN-2.yaml"):
            os.unlink(path)
        return read(path, name)

    monkeypatch.setattr(view.tasks.files, "read_text", vanish)
    assert see(store).order == ["KIN-1", "KIN-3"]


def test_a_task_whose_file_is_broken_is_invalid_when_it_is_named(project: Repo, store: Project) -> None:
    project.write(".kin/tasks/KIN-2.yaml", "id: KIN-3\ntitle: x\nstatus: todo\n")
    with pytest.raises(Invalid, match=r"KIN-2\.yaml:1:5: the id is KIN-3"):
        view.tasks.load(store, "KIN-2")


def test_a_list_at_rest_shows_what_a_look_at_everything_shows(
    project: Repo, store: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "RACY_NS", -(10**12))  # files of this instant count as settled
    for n in range(30):
        status = ("todo", "blocked", "done", "draft")[n % 4]
        project.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", f"Part {n} \u202e", status, priority=str(1 + n % 3)))
    assert resting(store) is None, "no index yet"
    see(store)
    found, view = resting(store), see(store)
    shown = [view.seen[i] for i in view.order if view.seen[i].task.status in OPEN]
    assert found is not None
    assert found.ids == [s.task.id for s in shown] and found.statuses == [s.shown for s in shown]
    assert found.priorities == [str(s.task.priority) for s in shown] and found.titles == [s.task.title for s in shown]
    assert project.kin("list").stdout == project.kin("list", "--sort", "ready").stdout
    assert project.kin("list", "--limit", "0").stdout == ""
    with try_lock(lock_path(store.common, found.ids[0])):  # type: ignore[union-attr]
        assert resting(store) is None, "one runs"
    project.git("switch", "-q", "-c", "other")
    assert resting(store) is not None
    project.write(".kin/kin.yaml", "format: 1\n\nkey: KIN\n\nbase: main\n")
    assert resting(store) is None, "its target is elsewhere"
    project.write(".kin/kin.yaml", "format: 1\n\nkey: KIN\n")
    (project.path / ".kin/tasks/KIN-0.yaml").unlink()
    assert resting(store) is None, "a file is gone"
