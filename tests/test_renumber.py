"""Another id for a task: every reference follows, no prose does unless asked, and a kill in the middle loses nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import Repo, task_text

from kin.model.record import Run, StepRecord
from kin.model.status import RunStatus, StepStatus, WaitFor
from kin.store.locks import lock_path, try_lock
from kin.store.project import find
from kin.store.records import save_live, save_record

RUN = "20261124T093200Z-7f3k"


@pytest.fixture
def named(project: Repo) -> Repo:
    """KIN-1, and everything that may name it."""
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", "First", description="Not KIN-12 but KIN-1"))
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", "See KIN-1", deps="[kin-001, KIN-12]  # KIN-1\nx-see: KIN-1"))
    project.write(
        ".kin/tasks/KIN-3.yaml", task_text("KIN-3", parent="1", touches="[docs/KIN-1/**]", pipeline="{run: make KIN-1}")
    )
    project.write(".kin/tasks/KIN-12.yaml", task_text("KIN-12", "Another"))
    decision = "id: D-1\n\nkind: gotcha\n\ntitle: KIN-1 taught us\n\ntags: [KIN-1, x]\n\nsource: {task: KIN-1, role: tester}\n"
    project.write(".kin/decisions/D-1.yaml", decision)
    project.write(".kin/decisions/D-2.yaml", "id: D-2\n\nkind: decision\n\ntitle: T\n\nsupersedes: D-1\n")
    project.write(f".kin/notes/KIN-1/{RUN}.yaml", "by: Ada\n\nat: 2026-11-24T09:32:00Z\n\ntext: KIN-1 is hard\n")
    project.write(f".kin/notes/KIN-2/{RUN}.yaml", "by: Ada\n\nat: 2026-11-24T09:32:00Z\n\ntext: as is\n")
    step = StepRecord("1-command", "command", StepStatus.done, summary="KIN-1 done")
    run = Run(RUN, "KIN-1", RunStatus.completed, "2026-11-24T09:32:00Z", branch="kin/KIN-1", steps=(step,))
    save_record(find(str(project.path), os.environ), run)
    project.commit("named")
    return project


def held(repo: Repo) -> dict[str, str]:
    """Every file of the store, by name; not what a killed write left, which goes with the next one."""
    files = [p for p in (repo.path / ".kin").rglob("*") if p.is_file() and p.name != ".kin.tmp"]
    return {str(p.relative_to(repo.path / ".kin")): p.read_text() for p in files}


def test_every_reference_follows_and_no_prose_does(named: Repo) -> None:
    before = held(named)
    said = named.kin("renumber", "1").stdout
    after = held(named)
    moved = {"tasks/KIN-1.yaml", f"notes/KIN-1/{RUN}.yaml", f"pipelines/KIN-1/{RUN}.yaml"}
    assert set(before) - set(after) == moved
    assert set(after) - set(before) == {name.replace("KIN-1", "KIN-13") for name in moved}
    wanted = dict(before)
    for name in moved:
        wanted[name.replace("KIN-1", "KIN-13")] = wanted.pop(name)
    wanted["tasks/KIN-13.yaml"] = wanted["tasks/KIN-13.yaml"].replace("id: KIN-1\n", "id: KIN-13\n")
    wanted["tasks/KIN-2.yaml"] = wanted["tasks/KIN-2.yaml"].replace("kin-001", "KIN-13").replace("see: KIN-1", "see: KIN-13")
    wanted["tasks/KIN-3.yaml"] = wanted["tasks/KIN-3.yaml"].replace("parent: 1", "parent: KIN-13")
    wanted["decisions/D-1.yaml"] = (
        before["decisions/D-1.yaml"].replace("[KIN-1", "[KIN-13").replace("task: KIN-1", "task: KIN-13")
    )
    record = f"pipelines/KIN-13/{RUN}.yaml"
    wanted[record] = wanted[record].replace("task: KIN-1\n", "task: KIN-13\n")
    assert after == wanted
    for line in (
        ".kin/tasks/KIN-1.yaml  -> .kin/tasks/KIN-13.yaml",
        ".kin/tasks/KIN-2.yaml  deps: kin-001 -> KIN-13",
        ".kin/tasks/KIN-2.yaml  x-see: KIN-1 -> KIN-13",
        ".kin/tasks/KIN-3.yaml  parent: 1 -> KIN-13",
        ".kin/decisions/D-1.yaml  source.task: KIN-1 -> KIN-13",
        f".kin/notes/KIN-1/{RUN}.yaml  -> .kin/notes/KIN-13/{RUN}.yaml",
        "KIN-1 is KIN-13 now; commits and branches keep the old id.",
    ):
        assert line in said.splitlines()
    assert "prose of 5 files" in said
    assert named.kin("check", exit=None).stdout.count("KIN-1 ") == 0
    assert not (named.path / ".kin/notes/KIN-1").exists() and not list((named.path / ".git/kin/journal").iterdir())


def test_prose_follows_when_asked_and_longer_ids_and_names_in_git_never(named: Repo) -> None:
    data = json.loads(named.kin("renumber", "1", "40", "--prose", "--json").stdout)["data"]
    assert (data["old"], data["new"], data["mentions"]) == ("KIN-1", "KIN-40", [])
    change = {"file": ".kin/tasks/KIN-2.yaml", "key": "title", "from": "KIN-1", "to": "KIN-40"}
    assert change in data["changes"]
    text = held(named)
    assert "description: Not KIN-12 but KIN-40\n" in text["tasks/KIN-40.yaml"]
    assert "title: KIN-40 taught us" in text["decisions/D-1.yaml"]
    assert "text: KIN-40 is hard" in text[f"notes/KIN-40/{RUN}.yaml"]
    assert "summary: KIN-40 done" in text[f"pipelines/KIN-40/{RUN}.yaml"]
    assert "branch: kin/KIN-1\n" in text[f"pipelines/KIN-40/{RUN}.yaml"]
    assert "docs/KIN-1/**" in text["tasks/KIN-3.yaml"] and "make KIN-1}" in text["tasks/KIN-3.yaml"]


def test_a_decision_can_have_another_id_too(named: Repo) -> None:
    assert named.kin("renumber", "d-1", "-q").stdout == "D-3\n"
    text = held(named)
    assert "supersedes: D-3" in text["decisions/D-2.yaml"] and text["decisions/D-3.yaml"].startswith("id: D-3\n")
    assert "cannot be the new id" in named.kin("renumber", "D-3", "KIN-40", exit=2).stderr
    assert "no .kin/decisions/D-9.yaml" in named.kin("renumber", "D-9", exit=8).stderr


def test_two_clones_with_one_id_settle_it(tmp_path: Path, project: Repo) -> None:
    project.git("clone", "-q", str(project.path), str(tmp_path / "other"))
    other = Repo(tmp_path / "other")
    for repo in (project, other):
        repo.kin("add", f"Of {repo.path.name}")
        repo.kin("add", "Later", "--depends-on", "1")
        repo.commit("tasks")
    other.git("fetch", "-q")
    other.git("merge", "-q", "origin/main", "-m", "x", ok=(1,))
    assert "in the middle of a merge" in other.kin("renumber", "1", exit=6).stderr
    other.git("merge", "--abort")
    assert other.kin("renumber", "1", "-q").stdout == "KIN-3\n"
    assert other.kin("renumber", "2", "-q").stdout == "KIN-4\n"
    other.commit("renumbered")
    other.git("merge", "-q", "origin/main", "-m", "both")
    tasks = {t["id"]: (t["title"], t["depends_on"]) for t in json.loads(other.kin("list", "--json").stdout)["data"]}
    assert tasks == {
        "KIN-1": ("Of repo", []),
        "KIN-2": ("Later", ["KIN-1"]),
        "KIN-3": ("Of other", []),
        "KIN-4": ("Later", ["KIN-3"]),
    }


@pytest.mark.parametrize(
    ("words", "exit", "says"),
    [
        (["1", "12"], 2, "KIN-12 is there already"),
        (["1", "KIN-0012"], 2, "KIN-12 is there already"),
        (["1", "77"], 2, "KIN-77 is there already"),
        (["1", "bad id"], 2, "cannot be the new id"),
        (["99"], 8, "no task KIN-99"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(named: Repo, words: list[str], exit: int, says: str) -> None:
    named.git("switch", "-q", "-c", "side")
    named.commit("side", **{".kin/tasks/KIN-77.yaml": task_text("KIN-77")})
    named.git("switch", "-q", "main")
    before = held(named)
    assert says in named.kin("renumber", *words, exit=exit).stderr
    assert held(named) == before and named.status() == ""


def test_a_task_that_cannot_be_read_is_named_with_its_place(named: Repo) -> None:
    named.write(".kin/tasks/KIN-1.yaml", "id: KIN-1\n<<<<<<< ours\n")
    assert ".kin/tasks/KIN-1.yaml:2:1: merge conflict markers" in named.kin("renumber", "1", exit=7).stderr
    named.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1"))
    named.write(".kin/tasks/KIN-5.yaml", "id: KIN-5\ndepends_on: [KIN-1\n")
    assert "warning: not changed: .kin/tasks/KIN-5.yaml:2:" in named.kin("renumber", "1").stderr


def test_a_task_at_work_is_refused(named: Repo) -> None:
    project = find(str(named.path), os.environ)
    lock = try_lock(lock_path(project.common, "KIN-1"))
    assert lock is not None
    with lock:
        assert "KIN-1 is being run by pid" in named.kin("renumber", "1", exit=6).stderr
    from kin.model.record import Waiting

    run = Run(RUN, "KIN-1", RunStatus.waiting, "2026-11-24T09:32:00Z", waiting=Waiting(WaitFor.review))
    save_live(project, run)
    assert "a run of KIN-1 waits" in named.kin("renumber", "1", exit=3).stderr
    save_live(project, run._replace(status=RunStatus.failed, waiting=None))
    assert "`kin reject KIN-1` puts it aside" in named.kin("renumber", "1", exit=3).stderr
    shutil.rmtree(named.path / ".git/kin/run")
    named.git("branch", "kin/KIN-1")
    assert "on the branch kin/KIN-1" in named.kin("renumber", "1", exit=3).stderr
    assert named.status() == ""


def test_killed_anywhere_the_same_command_finishes_it(named: Repo, tmp_path: Path) -> None:
    def copy(name: str) -> Repo:
        shutil.copytree(named.path, tmp_path / name, symlinks=True)
        return Repo(tmp_path / name)

    whole = copy("whole")
    log = tmp_path / "points"
    whole.kin("renumber", "1", "40", env={"KIN_FAULT_LOG": str(log)})
    wanted = held(whole)
    points = len(log.read_text().splitlines())
    assert points > 18
    for point in range(1, points + 1):
        repo = copy(f"at-{point}")
        repo.kin("renumber", "1", "40", exit=-9, env={"KIN_FAULT": f"#{point}"})
        pending = (repo.path / ".git/kin/journal/renumber-KIN-1.json").exists()
        if held(repo) != wanted or pending:
            repo.kin("renumber", "1", *([] if pending else ["40"]))
        assert held(repo) == wanted, point
        shutil.rmtree(repo.path)


def test_what_was_cut_short_is_said_and_not_guessed_at(named: Repo) -> None:
    named.kin("renumber", "1", "40", "--prose", exit=-9, env={"KIN_FAULT": "renumber.copied"})
    assert "`kin renumber KIN-1` finishes it" in named.kin("doctor", exit=None).stdout
    assert "finishes that first" in named.kin("renumber", "1", "41", exit=2).stderr
    named.kin("set", "40", "priority=1")
    assert "one of the two was changed since" in named.kin("renumber", "1", exit=2).stderr
    named.kin("set", "1", "priority=1")
    assert named.kin("renumber", "1", "-q").stdout == "KIN-40\n"
    assert "title: See KIN-40" in named.read(".kin/tasks/KIN-2.yaml")
    named.kin("renumber", "40", "41", exit=-9, env={"KIN_FAULT": "renumber.copied"})
    for number in (40, 41):
        (named.path / f".kin/tasks/KIN-{number}.yaml").unlink()
    assert "no KIN-40 any more" in named.kin("renumber", "40", exit=8).stderr
    assert "no task KIN-40" in named.kin("renumber", "40", exit=8).stderr
