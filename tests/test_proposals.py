"""What steps propose: decisions and draft tasks land with the run's merge, once, and go with its revert."""

import json
from pathlib import Path

import pytest
from conftest import Repo, task_text
from killing import copy, killed, points
from test_run import outcomes, settings, step

GOTCHA = {"kind": "gotcha", "title": "The parser keeps comments", "text": "Never dump YAML.", "paths": ["src/**"]}
FOLLOW_UP = {"title": "Drop the old flag", "acceptance": ["it is gone"], "labels": ["auto", "cli"], "mode": "auto"}


def says(project: Repo, *results: dict[str, object], task: str = "KIN-1", **fields: str) -> None:
    """Commit a task whose steps write a file each and answer with these results."""
    steps = []
    for number, result in enumerate(results):
        answer = project.path.parent / f"{task}-{number}.json"
        answer.write_text(json.dumps(result))
        steps.append(step(f"echo {number} > {task}-{number}.txt; cp {answer} $KIN_RESULT"))
    project.write(f".kin/tasks/{task}.yaml", task_text(task, pipeline="".join(steps), **fields))
    project.commit(f"add {task}")


def brought(project: Repo, merge: str = "main") -> list[str]:
    """The decisions and other tasks that a merge brought."""
    out = project.git(
        "diff", "--name-only", f"{merge}^1", merge, "--", ".kin/decisions", ".kin/tasks", ":!.kin/tasks/KIN-1.yaml"
    )
    return out.split()


def record(project: Repo) -> str:
    (name,) = project.git("ls-tree", "-r", "--name-only", "main", ".kin/pipelines/KIN-1/").split()
    return project.git("show", f"main:{name}")


def test_decisions_and_draft_tasks_land_with_the_merge_and_decisions_go_with_its_undo(project: Repo) -> None:
    says(project, {"summary": "did it", "decisions": [GOTCHA], "tasks": [FOLLOW_UP]}, labels="[cli]")
    outcomes(project, "KIN-1")
    assert brought(project) == [".kin/decisions/D-1.yaml", ".kin/tasks/KIN-2.yaml"] and project.status() == ""
    decision, task = project.read(".kin/decisions/D-1.yaml"), project.read(".kin/tasks/KIN-2.yaml")
    assert "title: The parser keeps comments" in decision and "role: developer" in decision and "task: KIN-1" in decision
    assert "status: draft" in task and "  - cli\n" in task and "auto" not in task and "x-proposed-by: KIN-1 1-developer" in task
    assert "proposed:\n  decisions:\n    - D-1\n  tasks:\n    - KIN-2" in record(project)
    project.kin("undo", "KIN-1")
    assert not (project.path / ".kin/decisions/D-1.yaml").exists() and (project.path / ".kin/tasks/KIN-2.yaml").exists()


def test_a_person_sees_what_is_proposed_before_approving_it(project: Repo) -> None:
    settings(project, mode="review")
    says(project, {"decisions": [GOTCHA], "tasks": [FOLLOW_UP]}, labels="[auto]")
    outcomes(project, "KIN-1", exit=3)
    assert project.status().split() == ["M", ".kin/tasks/KIN-1.yaml"]
    for command in ("show", "diff"):
        shown = project.kin(command, "KIN-1").stdout
        assert "D-1" in shown and "The parser keeps comments" in shown and "Drop the old flag" in shown, shown
    project.commit("main moves")
    project.kin("approve", "KIN-1")
    assert brought(project) == [".kin/decisions/D-1.yaml", ".kin/tasks/KIN-2.yaml"]
    assert "mode:" not in project.read(".kin/tasks/KIN-2.yaml")  # the project's: review, although it asked for auto


def test_an_id_that_was_taken_meanwhile_is_given_anew(project: Repo) -> None:
    settings(project, mode="review")
    says(project, {"decisions": [GOTCHA]})
    outcomes(project, "KIN-1", exit=3)
    theirs = "id: D-1\n\nkind: decision\n\ntitle: From another clone\n"
    project.commit("another clone's", **{".kin__decisions__D-1.yaml": theirs})
    project.kin("approve", "KIN-1")
    assert brought(project) == [".kin/decisions/D-2.yaml"] and project.read(".kin/decisions/D-1.yaml") == theirs


def test_what_is_malformed_is_dropped_aloud_and_the_rest_lands(project: Repo) -> None:
    bad = [{"title": "no such kind", "kind": "law"}, {"text": "no title"}, {"title": "x", "tags": ["t"] * 21}]
    bad += [{"title": "x", "supersedes": "../../etc/passwd"}]
    says(project, {"summary": "fine", "decisions": [*bad, GOTCHA], "tasks": [{"title": "t", "depends_on": ["KIN-77"]}]})
    outcomes(project, "KIN-1")
    assert brought(project) == [".kin/decisions/D-1.yaml"]
    told = record(project)
    assert told.count("was dropped") == 5 and "KIN-77, which is no task here" in told and "fine" in told


def test_a_secret_in_a_proposal_reaches_no_file(project: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    settings(project, "secrets: [DEPLOY_TOKEN]")
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter2-hunter2")
    says(project, {"decisions": [GOTCHA | {"text": "use hunter2-hunter2", "tags": ["hunter2-hunter2"]}]})
    outcomes(project, "KIN-1")
    assert "hunter2" not in project.git("grep", "-r", "-h", "", "main", "--", ".kin/decisions", ".kin/pipelines")


def test_ten_of_a_kind_are_enough_for_one_step(project: Repo) -> None:
    says(project, {"decisions": [{"title": f"rule number {n}"} for n in range(12)]})
    outcomes(project, "KIN-1")
    assert len(brought(project)) == 10 and "at most 10" in record(project)


def test_a_near_copy_is_not_stored_and_the_record_names_what_it_repeats(project: Repo) -> None:
    project.kin("decide", "The parser keeps comments", "-m", "Never dump YAML.")
    again = GOTCHA | {"title": "Parsers keep comments", "text": "Never dump YAML!"}
    new = {"title": "Errors name the line", "text": "With its column."}
    says(project, {"decisions": [again, new, new | {"text": "With its column too"}]})
    outcomes(project, "KIN-1")
    assert brought(project) == [".kin/decisions/D-2.yaml"]
    assert "  repeats:\n    - D-1\n    - D-2" in record(project)


def test_only_the_last_word_of_a_step_that_ran_twice_counts(project: Repo, tmp_path: Path) -> None:
    settings(project, mode="review")
    says(project, {"decisions": [GOTCHA]}, {"decisions": [{"title": "Said by the second", "text": "x"}]})
    outcomes(project, "KIN-1", exit=3)
    (tmp_path / "KIN-1-0.json").write_text(json.dumps({"decisions": [{"title": "Second thoughts", "text": "Dump it"}]}))
    project.kin("revise", "KIN-1", "-m", "again")
    outcomes(project, "KIN-1", exit=3)
    project.kin("approve", "KIN-1")
    titles = [project.read(name) for name in brought(project)]
    assert len(titles) == 2 and any("Second thoughts" in t for t in titles) and any("by the second" in t for t in titles)


def test_work_without_code_brings_its_decisions_too(project: Repo, tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text(json.dumps({"summary": "looked", "decisions": [GOTCHA]}))
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=step(f"cp {tmp_path}/answer.json $KIN_RESULT")))
    project.commit("research")
    outcomes(project, "KIN-1")
    assert brought(project) == [".kin/decisions/D-1.yaml"]
    project.kin("undo", "KIN-1")
    assert not (project.path / ".kin/decisions/D-1.yaml").exists()


@pytest.mark.parametrize("part", range(2))
def test_a_run_killed_anywhere_brings_each_proposal_once(project: Repo, part: int) -> None:
    says(project, {"decisions": [GOTCHA], "tasks": [FOLLOW_UP]})
    total = points(copy(project, "measure"), "run", "KIN-1", exit=0)
    for n in range(10 + part * 5, total + 1, 10):
        repo = copy(project, f"killed-{n}")
        assert killed(repo, "run", "KIN-1", point=f"#{n}") == -9
        repo.kin("run", "KIN-1")
        found = [Path(name).parent.name for name in brought(repo)]
        assert found == ["decisions", "tasks"] and repo.status() == "", f"point {n}: {found}"
