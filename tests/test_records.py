"""Runs and side effects on disk: what lives, what is history, what was under way."""

import os
import time
from pathlib import Path

import pytest
from conftest import Repo

from kin.errors import Invalid
from kin.model.record import GateRecord, Live, Run, StepRecord, Waiting, committed
from kin.model.status import RunStatus, StepStatus, WaitFor
from kin.store import journal, records
from kin.store.project import Project, find

RUN = Run(
    run="20261124T093200Z-7f3k",
    task="KIN-1",
    status=RunStatus.waiting,
    started="2026-11-24T09:32:00Z",
    base="main",
    branch="kin/KIN-1",
    reason="said: no #1\nand more\n",
    waiting=Waiting(WaitFor.merge, reason="dirty: yes", paths=("src/a b.py", "ü")),
    steps=(
        StepRecord("1-developer", "developer", StepStatus.done, commit="0" * 40, exit=0, summary="did\n\nit", cost_usd=0.125),
        StepRecord("2-reviewer", "reviewer", exit=-9, tokens={"in": 10, "out": 2}),
    ),
    gates=(GateRecord("pytest -q", "pass", 0, 1.5),),
    live=Live(pid=4711, worktree="/home/ada/w t/KIN-1", verdicts=("a", "b"), crashes=2, pending_edit={"status": "blocked"}),
)


@pytest.fixture
def store(repo: Repo) -> Project:
    repo.write(".kin/kin.yaml", "key: KIN\n")
    return find(str(repo.path), {})


def test_a_live_record_comes_back_as_it_was(store: Project) -> None:
    records.save_live(store, RUN)
    assert records.live(store, "KIN-1") == RUN
    assert records.all_live(store) == ([RUN], [])
    assert os.stat(records.live_path(store, "KIN-1", RUN.run)).st_mode & 0o777 == 0o600


def test_the_newest_live_record_counts(store: Project) -> None:
    newer = RUN._replace(run="20261125T000000Z-0000")
    records.save_live(store, newer)
    records.save_live(store, RUN)
    assert records.live(store, "KIN-1") == newer
    records.drop_live(store, newer)
    assert records.live(store, "KIN-1") == RUN
    records.drop_live(store, RUN)
    records.drop_live(store, RUN)
    assert records.live(store, "KIN-1") is None
    assert os.listdir(os.path.join(store.common, "run")) == []


def test_what_is_committed_holds_nothing_of_this_machine(repo: Repo, store: Project) -> None:
    records.save_record(store, RUN._replace(status=RunStatus.failed))
    text = repo.read(f".kin/pipelines/KIN-1/{RUN.run}.yaml")
    assert "/home/ada" not in text
    assert "4711" not in text
    assert records.ended(store, "KIN-1") == [committed(RUN._replace(status=RunStatus.failed))]


def test_an_earlier_record_of_the_run_is_rewritten(store: Project) -> None:
    records.save_record(store, RUN._replace(status=RunStatus.failed))
    records.save_record(store, RUN._replace(status=RunStatus.completed))
    assert [run.status for run in records.ended(store, "KIN-1")] == ["completed"]


def test_one_unreadable_record_hides_no_other(store: Project) -> None:
    records.save_live(store, RUN)
    broken = Path(records.live_path(store, "KIN-2", RUN.run))
    broken.parent.mkdir()
    broken.write_text("run: [\n")
    runs, warnings = records.all_live(store)
    assert runs == [RUN]
    assert [str(broken) in warning for warning in warnings] == [True]
    with pytest.raises(Invalid, match="KIN-2"):
        records.live(store, "KIN-2")


@pytest.mark.parametrize("text", ["", "status: running\n", "run: a\ntask: b\nstatus: odd\nstarted: c\n", "\x00", "- a\n"])
def test_a_damaged_record_is_named(store: Project, text: str) -> None:
    path = Path(records.record_path(store, RUN))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(Invalid, match=rf"\.kin/pipelines/KIN-1/{RUN.run}\.yaml"):
        records.ended(store, "KIN-1")


def test_a_step_boundary_costs_little(store: Project) -> None:
    """A bound that only a blunder (an import, a second read, a lost fsync's loop) breaks: a hundred times the usual."""
    records.save_live(store, RUN)
    started = time.perf_counter()
    for _ in range(20):
        records.save_live(store, RUN)
    assert (time.perf_counter() - started) / 20 < 0.1


def test_journal_entries_come_back_in_order_and_go(store: Project) -> None:
    assert journal.look(store) == ({}, [])
    journal.write(store, "move-release/1", {"old": "a", "paths": ["x"]})
    journal.write(store, "move-main", {"old": "b"})
    assert journal.read(store, "move-release/1") == {"old": "a", "paths": ["x"]}
    assert list(journal.look(store)[0]) == ["move-main", "move-release%2F1"]
    journal.remove(store, "move-main")
    journal.remove(store, "move-main")
    assert journal.read(store, "move-main") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_damaged_journal_entry_is_never_guessed_at(store: Project, text: str) -> None:
    journal.write(store, "move-main", {})
    Path(store.common, "journal", "move-main.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(Invalid, match="move-main"):
        journal.read(store, "move-main")
    entries, faults = journal.look(store)
    assert entries == {} and "move-main" in str(faults[0])
