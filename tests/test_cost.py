"""`kin cost`: the bill, from records."""

import json

import pytest
from conftest import Repo, task_text

from kin.model.fields import data_of
from kin.model.record import Run, StepRecord
from kin.model.status import RunStatus, StepStatus
from kin.store.text.emit import document


def record(repo: Repo, task: str, day: str, *steps: StepRecord) -> None:
    name = f"{day.replace('-', '')}T100000Z-0001"
    run = Run(name, task, RunStatus.completed, f"{day}T10:00:00Z", steps=steps)
    folder = repo.path / ".kin/pipelines" / task
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(document(data_of(run), Run._fields))


def step(role: str, day: str, cost: float | None, tokens: tuple[int, int, int] | None, minutes: int = 1) -> StepRecord:
    return StepRecord(
        f"1-{role}",
        role,
        StepStatus.done,
        agent="claude" if tokens else "command",
        model="m-1" if tokens else None,
        started=f"{day}T10:00:00Z",
        ended=f"{day}T10:{minutes:02}:00Z",
        seconds=60.0 * minutes,
        tokens=dict(zip(("in", "out", "cached"), tokens, strict=True)) if tokens else None,
        cost_usd=cost,
    )


@pytest.fixture
def bill(project: Repo) -> Repo:
    repo = project
    for name in ("KIN-1", "KIN-2"):
        repo.write(f".kin/tasks/{name}.yaml", task_text(name))
    record(
        repo,
        "KIN-1",
        "2026-11-20",
        step("developer", "2026-11-20", 0.5, (100, 20, 10)),
        step("tester", "2026-11-20", None, None),
    )
    record(
        repo,
        "KIN-2",
        "2026-11-21",
        step("developer", "2026-11-21", None, (7, 3, 0), 2),
        step("reviewer", "2026-11-21", 0.25, (1, 1, 1)),
    )
    return repo


def rows(repo: Repo, *words: str) -> dict[str, dict]:
    data = json.loads(repo.kin("cost", "--json", *words).stdout)["data"]
    return {row[data["by"]]: row for row in data["rows"]} | {"total": data["total"]}


def test_tokens_money_and_time_add_up_by_task(bill: Repo) -> None:
    found = rows(bill)
    assert found["KIN-1"]["tokens"] == {"in": 100, "out": 20, "cached": 10}
    assert found["KIN-1"]["cost_usd"] == 0.5
    assert found["total"]["seconds"] == 300
    assert found["total"]["steps"] == 4


def test_a_price_that_no_client_told_is_unknown_and_never_guessed(bill: Repo) -> None:
    found = rows(bill, "--by", "role", "KIN-2")
    assert (found["developer"]["cost_usd"], found["developer"]["unknown"]) == (None, 1)
    assert found["reviewer"]["cost_usd"] == 0.25
    assert "unknown" in bill.kin("cost", "--by", "role", "KIN-2").stdout


@pytest.mark.parametrize(
    ("by", "names"), [("agent", {"claude", "command"}), ("day", {"2026-11-20", "2026-11-21"}), ("model", {"m-1", "none"})]
)
def test_the_bill_is_split_as_asked(bill: Repo, by: str, names: set[str]) -> None:
    assert rows(bill, "--by", by).keys() - {"total"} == names


def test_only_what_started_since_then_counts(bill: Repo) -> None:
    assert rows(bill, "--since", "2026-11-21").keys() == {"KIN-2", "total"}
    assert bill.kin("cost", "--since", "soon", exit=2).stderr


def test_a_record_that_somebody_spoilt_does_not_stop_the_bill(bill: Repo) -> None:
    (path,) = (bill.path / ".kin/pipelines/KIN-1").iterdir()
    path.write_text(path.read_text().replace("100", "many").replace("T10:01:00Z", "noon"))
    assert rows(bill)["KIN-1"]["cost_usd"] == 0.5


def test_nothing_has_run_yet(project: Repo) -> None:
    assert "Nothing has run" in project.kin("cost").stdout
