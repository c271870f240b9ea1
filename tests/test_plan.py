"""The PM's part: its answer becomes the run's steps or smaller tasks, checked, agreed to, and paid for once."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, task_text, wait_for
from killing import killed
from test_models import Company, result, said
from test_run import outcomes, settings, status_of

STEP = """\
  - role: {role}
    run: {run}\
"""


class Pm:
    """A project whose PM is a command: it counts its calls, keeps its prompts, and says what the test wants it to say."""

    def __init__(self, project: Repo, *lines: str, mode: str = "auto") -> None:
        self.repo, self.log = project, project.path.parent / "pm.log"
        self.answer = project.path.parent / "answer.json"
        pm = f"echo asked >> {self.log}; cat > {self.log}.prompt; cp {self.answer} $KIN_RESULT"
        work = "echo $KIN_TASK $KIN_ROLE >> ../../$KIN_TASK.txt; echo done > $KIN_TASK-$KIN_ROLE.txt"
        named = {"plan": [("pm", pm)], "default": [("developer", work)], "careful": [("architect", work), ("developer", work)]}
        pipelines = "".join(
            f"\n  {name}:" + "".join(f"\n    - role: {role}\n      run: {json.dumps(run)}" for role, run in steps)
            for name, steps in named.items()
        )
        pipelines = pipelines.replace(f"run: {json.dumps(pm)}", f"run: {json.dumps(pm)}\n      access: read")
        settings(project, f"pipelines:{pipelines}", *lines, mode=mode)

    def says(self, **result: Any) -> None:
        self.answer.write_text(json.dumps(result))

    def asked(self) -> int:
        return len(self.log.read_text().split()) if self.log.exists() else 0

    def task(self, **fields: str) -> None:
        self.repo.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", "A large thing", **fields))
        self.repo.commit("a task")


@pytest.fixture
def pm(project: Repo) -> Pm:
    return Pm(project, "plan: true")


CAREFUL = [{"pipeline": "careful"}]
PARTS = [
    {"ref": "api", "title": "The API", "acceptance": ["it answers"], "labels": ["auto"]},
    {"title": "The page", "depends_on": ["api"], "mode": "review", "pipeline": "careful"},
]


def steps_of(project: Repo, task: str = "KIN-1") -> list[str]:
    shown = json.loads(project.kin("show", task, "--json").stdout)["data"]
    return [f"{s['id']} {s['status']}" for s in shown["pipelines"][0]["steps"]]


def test_the_steps_of_a_plan_follow_the_pm_in_the_same_run(pm: Pm, project: Repo) -> None:
    pm.task()
    pm.says(summary="two roles", plan=CAREFUL)
    (outcome,) = outcomes(project, "KIN-1")
    assert outcome["status"] == "done" and pm.asked() == 1
    assert steps_of(project) == ["1-pm done", "2-architect done", "3-developer done"]
    assert (project.path / "KIN-1-architect.txt").exists() and project.status() == ""


def test_a_model_plans_from_the_roster_and_each_role_gets_its_brief(project: Repo, tmp_path: Path) -> None:
    company = Company(project, tmp_path / "agents")
    company.settings("plan: true")
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", touches="[footer.txt]"))
    project.commit("a task")
    wrong = company.says("wrong", said(result(plan=[{"role": "wizard"}])))
    plan = [{"role": "developer", "brief": "Only the footer"}, {"role": "reviewer", "brief": "Look at the footer"}]
    right = company.says("right", said(result(plan=plan, summary="two roles")))
    work = company.says("work", said(result(summary="made the footer")))
    company.answers("claude", wrong, right, f"echo footer > footer.txt; {work}", company.says("fine", said(result())))
    assert company.run()["status"] == "done" and (project.path / "footer.txt").exists()
    first, second, developer, _ = company.prompts()
    assert "The roles you may choose from" in first and "developer: " in first
    assert "no role is called 'wizard'" in second and "Only the footer" in developer
    assert "--read-only" in company.argv(1) and "--write" in company.argv(3)
    assert steps_of(project) == ["1-pm done", "2-developer done", "3-reviewer done"]
    assert company.record().count("cost_usd: 0.") == 3  # the PM's two answers are one step


def test_a_task_with_a_pipeline_is_not_planned(pm: Pm, project: Repo) -> None:
    pm.task(pipeline="careful")
    outcomes(project, "KIN-1")
    assert pm.asked() == 0
    assert "has a pipeline" in project.kin("plan", "KIN-1", exit=2).stderr


def test_kin_plan_shows_and_keeps_a_plan_and_a_run_goes_on_with_it(project: Repo) -> None:
    pm = Pm(project)
    pm.task()
    pm.says(summary="why", plan=CAREFUL, decisions=[{"title": "Two roles are enough"}])
    shown = json.loads(project.kin("plan", "KIN-1", "--json").stdout)
    assert shown["kind"] == "plan" and shown["data"]["steps"] == CAREFUL and not shown["data"]["agreed"]
    assert project.status() == "" and not list(project.path.glob("KIN-1-*"))
    assert "careful" in project.kin("plan", "KIN-1").stdout and pm.asked() == 1
    assert "KIN-1" not in project.kin("list", "--ready").stdout
    outcomes(project, "KIN-1")
    assert pm.asked() == 1 and steps_of(project)[-1] == "3-developer done"
    assert "title: Two roles are enough" in project.read(".kin/decisions/D-1.yaml")


def test_a_person_agrees_to_every_plan_or_has_it_made_anew(project: Repo) -> None:
    pm = Pm(project, "plan: approve")
    pm.task()
    pm.says(plan=[{"pipeline": "default"}])
    outcomes(project, "KIN-1", exit=3)
    assert "plan" in project.kin("inbox").stdout and "kin plan KIN-1" in project.kin("inbox").stdout
    outcomes(project, "KIN-1", exit=3)
    project.kin("revise", "KIN-1", "-m", "An architect first")
    pm.says(plan=CAREFUL)
    outcomes(project, "KIN-1", exit=3)
    assert pm.asked() == 2 and "An architect first" in Path(f"{pm.log}.prompt").read_text()
    assert "agreed" in project.kin("approve", "KIN-1").stdout
    assert json.loads(project.kin("plan", "KIN-1", "--json").stdout)["data"]["agreed"]
    outcomes(project, "KIN-1")
    assert pm.asked() == 2 and status_of(project) == "done"


def test_parts_are_written_at_once_run_in_order_and_the_parent_goes_on_after_them(pm: Pm, project: Repo) -> None:
    pm.task(labels="[cli]", mode="auto")
    pm.says(summary="in two", plan=CAREFUL, tasks=PARTS)
    done = outcomes(project, "KIN-1", exit=3)  # the page asked for a review
    assert {o["task"]: o["status"] for o in done} == {"KIN-1": "todo", "KIN-2": "done", "KIN-3": "review"}
    api, page = project.read(".kin/tasks/KIN-2.yaml"), project.read(".kin/tasks/KIN-3.yaml")
    assert "parent: KIN-1" in api and "mode: auto" in api and "auto\n" not in api.replace("mode: auto\n", "")
    assert "  - KIN-2\n" in page and "mode: review" in page and "  - cli\n" in page and "pipeline: careful" in page
    assert "KIN-3, a part of it, is review" in project.kin("why", "KIN-1").stdout
    assert "KIN-3, which a new plan" in project.kin("revise", "KIN-1", "--to", "pm", "-m", "in one", exit=2).stderr
    project.kin("approve", "KIN-3")
    (outcome,) = outcomes(project, "KIN-1")
    assert outcome["status"] == "done" and pm.asked() == 1 and steps_of(project)[-1] == "3-developer done"


def test_running_a_parent_runs_the_parts_that_are_left(pm: Pm, project: Repo) -> None:
    pm.task()
    pm.says(tasks=PARTS[:1])
    project.write(".kin/kin.yaml", project.read(".kin/kin.yaml").replace("echo $KIN_TASK $KIN_ROLE", "test -e /dev/shm/no ||"))
    broken = project.read(".kin/kin.yaml").replace("echo done >", "false && echo done >")
    whole = project.read(".kin/kin.yaml")
    project.write(".kin/kin.yaml", broken)
    project.commit("broken")
    assert [o["task"] for o in outcomes(project, "KIN-1", exit=1)] == ["KIN-2", "KIN-1"]
    project.commit("whole", **{".kin__kin.yaml": whole})
    project.kin("set", "KIN-2", "status=todo")
    ended = outcomes(project, "KIN-1")
    assert [(o["task"], o["status"]) for o in ended] == [("KIN-2", "done"), ("KIN-1", "done")] and pm.asked() == 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"plan": ["wizard"]}, "no role is called 'wizard'"),
    ({"plan": [{"role": "developer", "run": "curl evil"}]}, "`run` is not for a plan to say"),
    ({"plan": [{"pipeline": "nope"}]}, "no pipeline is called 'nope'"),
    ({"plan": ["developer"] * 21}, "21 steps, at most 20"),
    ({"plan": ["pm"]}, "whoever plans is no step"),
    ({"plan": [{"role": "developer", "back_to": "tester"}]}, "no earlier step"),
    ({"plan": ["developer", {"role": "tester", "back_to": "tester"}]}, "played by `tester`"),
    ({"plan": ["architect"]}, "no step may write"),
    ({}, "it holds nothing"),
    ({"tasks": [{"title": f"t{n}"} for n in range(21)]}, "21 tasks, at most 20"),
    ({"tasks": [{"title": "a", "depends_on": ["b"]}, {"title": "b", "depends_on": ["a"]}]}, "wait for one another"),
    ({"tasks": [{"title": "a", "depends_on": ["KIN-1"]}]}, "none of these tasks"),
    ({"tasks": [{"title": "a", "pipeline": [{"run": "curl evil"}]}]}, "the name of one"),
    ({"tasks": [{"title": "x" * 300}]}, "at most 200"),
]


@pytest.mark.parametrize("answer, fault", BAD, ids=[fault for _, fault in BAD])
def test_a_plan_that_cannot_be_used_is_corrected_once_and_then_blocks(
    pm: Pm, project: Repo, answer: dict[str, Any], fault: str
) -> None:
    pm.task(touches="[src/**]")
    pm.says(**answer)
    (outcome,) = outcomes(project, "KIN-1", exit=1)
    assert outcome["blocked"] == "failed" and fault in str(outcome["reason"]) and pm.asked() == 2
    assert fault in Path(f"{pm.log}.prompt").read_text()  # the correction was asked for with the errors
    assert [p.name for p in (project.path / ".kin/tasks").iterdir()] == ["KIN-1.yaml"]


def test_a_question_of_the_pm_is_answered_like_any_other(pm: Pm, project: Repo) -> None:
    pm.task()
    pm.says(question="Which of the two?")
    (outcome,) = outcomes(project, "KIN-1", exit=3)
    assert outcome["blocked"] == "question"
    pm.says(plan=CAREFUL)
    project.kin("answer", "KIN-1", "-m", "The second")
    outcomes(project, "KIN-1")
    assert "The second" in Path(f"{pm.log}.prompt").read_text() and pm.asked() == 2


def test_restart_plans_anew(pm: Pm, project: Repo) -> None:
    pm.task()
    pm.says(plan=["developer"])
    project.kin("plan", "KIN-1")
    pm.says(plan=CAREFUL)
    project.kin("plan", "KIN-1", "--restart")
    outcomes(project, "KIN-1")
    assert pm.asked() == 2 and steps_of(project)[1] == "2-architect done"


def test_a_detached_run_of_a_task_that_is_split_runs_its_parts_and_goes_on_after_them(pm: Pm, project: Repo) -> None:
    pm.task()
    pm.says(plan=CAREFUL, tasks=[PARTS[0], {**PARTS[1], "mode": "auto"}])
    (started,) = outcomes(project, "KIN-1", "--detach")
    assert (started["task"], started["status"]) == ("KIN-1", "in_progress") and started["run"]
    wait_for(lambda: status_of(project) == "done")
    assert [status_of(project, task) for task in ("KIN-2", "KIN-3")] == ["done", "done"] and pm.asked() == 1


def test_a_split_task_is_planned_anew_only_once_its_parts_are_closed(pm: Pm, project: Repo) -> None:
    pm.task()
    pm.says(tasks=[{**PARTS[0], "mode": "review"}])
    outcomes(project, "KIN-1", exit=3)
    for words in ("run", "plan"):
        said = project.kin(words, "KIN-1", "--restart", exit=2).stderr
        assert "KIN-1 was split into KIN-2, which a new plan would make once more" in said and "kin set KIN-2" in said
    assert pm.asked() == 1 and status_of(project, "KIN-2") == "review"
    project.kin("set", "KIN-2", "status=cancelled")
    pm.says(plan=CAREFUL)
    assert [o["task"] for o in outcomes(project, "KIN-1", "--restart")] == ["KIN-1"]
    assert pm.asked() == 2 and steps_of(project)[-1] == "3-developer done"


@pytest.mark.parametrize("point", ["plan.saved", "files.new", "plan.written", "waiting.saved"])
def test_a_split_killed_anywhere_makes_each_part_once_and_pays_the_pm_once(pm: Pm, project: Repo, point: str) -> None:
    pm.task()
    pm.says(tasks=[*PARTS[:1], {"title": "Another"}])
    killed(project, "run", "KIN-1", point=point)
    project.kin("run", "KIN-1")
    found = sorted(p.stem for p in (project.path / ".kin/tasks").iterdir())
    assert found == ["KIN-1", "KIN-2", "KIN-3"] and [status_of(project, i) for i in found] == ["done"] * 3
    assert pm.asked() == 1
