"""A whole company of real clients: a PM plans, others build, check and bring together, and what was paid is not paid twice."""

import json
import re
import signal
import threading
from pathlib import Path

import pytest
from conftest import wait_for
from firm import Firm
from killing import processes
from model_server import Answer, Asked, hold, result, shell, write

pytestmark = pytest.mark.clients

TOKENS = (1000, 100, 10)
"""What each answer costs: in, out, cached."""


class Story:
    """What each of the company says: a PM with two parts, both of which change one file, and a reviewer who asks for more."""

    def __init__(self) -> None:
        self.began = {"KIN-2": threading.Event(), "KIN-3": threading.Event()}

    def __call__(self, asked: Asked) -> Answer:
        role = re.findall(r"You are the (\w+)", asked.prompt)[0]
        task = re.findall(r"# The task: (KIN-\d+)", asked.prompt)[0]
        answers = getattr(self, role)(task, asked.prompt)
        return answers[len(asked.results)]._replace(tokens=TOKENS)

    def pm(self, task: str, prompt: str) -> list[Answer]:
        parts = [
            {"title": f"The {side} part", "acceptance": ["it is there"], "pipeline": "feature"} for side in ("left", "right")
        ]
        return [shell("echo pm > pm.txt"), result(summary="two parts", tasks=parts)]

    def architect(self, task: str, prompt: str) -> list[Answer]:
        decision = {"kind": "convention", "title": f"{task} has one line", "text": f"shared.txt names {task} once"}
        later = {"title": f"Look at {task} again", "mode": "auto"}
        return [result(summary=f"design-of-{task}: one line in shared.txt", decisions=[decision], tasks=[later])]

    def developer(self, task: str, prompt: str) -> list[Answer]:
        assert f"design-of-{task}" in prompt
        self.began[task].set()
        if "say more about it" in prompt:
            return [shell(f"echo more >> {task}.txt"), result(summary="said more")]
        return [write(f"{task}.txt", "made\n"), shell(f"echo {task} >> shared.txt"), result(summary="made it")]

    def reviewer(self, task: str, prompt: str) -> list[Answer]:
        other = self.began["KIN-3" if task == "KIN-2" else "KIN-2"]
        if task == "KIN-2" and "said more" not in prompt:
            items = [{"file": f"{task}.txt", "line": 1, "what": "say more about it"}]
            return [write("review.txt", "x"), shell("echo x > review.txt"), result("changes_requested", items=items)]
        return [hold(other, result(summary="I would merge it"))]

    def integrator(self, task: str, prompt: str) -> list[Answer]:
        return [shell("printf '%s\\n' base KIN-2 KIN-3 > shared.txt"), result(summary="both lines")]


SETTINGS = """
gates:
  - '! grep -r "<<<<" shared.txt'

pipelines:
  feature:
    - architect
    - developer
    - role: tester
      run: test -e "$KIN_TASK.txt"
    - reviewer

roles:
  reviewer:
    agent: {other}
"""


def test_a_pm_plans_two_parts_which_are_made_reviewed_and_brought_together(firm: Firm) -> None:
    other = "codex" if firm.client == "claude" else "claude"
    firm.project.write(".kin/kin.yaml", firm.project.read(".kin/kin.yaml") + SETTINGS.format(other=other))
    firm.project.commit("a company", **{"shared.txt": "base\n"})
    firm.says(Story())
    firm.kin("add", "Both parts", "--json")
    firm.kin("set", "KIN-1", "plan=true")
    firm.project.commit("a task")
    firm.kin("run", "KIN-1")

    listed = json.loads(firm.kin("list", "--all", "--json").stdout)["data"]
    assert [t["stored_status"] for t in listed] == ["done", "done", "done", "draft", "draft"], (
        "what an architect proposes is a draft"
    )
    files = {p.name: p.read_text() for p in firm.project.path.glob("*.txt")}
    assert files == {"shared.txt": "base\nKIN-2\nKIN-3\n", "KIN-2.txt": "made\nmore\n", "KIN-3.txt": "made\n"}

    decisions = json.loads(firm.kin("decisions", "--json").stdout)["data"]
    assert sorted(d["title"] for d in decisions) == ["KIN-2 has one line", "KIN-3 has one line"] and firm.project.status() == ""

    records = [firm.record(task, at="main") for task in ("KIN-1", "KIN-2", "KIN-3")]
    steps = [step for record in records for step in record["steps"]]
    assert [s["role"] for s in records[1]["steps"]][:4] == ["architect", "developer", "tester", "reviewer"]
    assert {s["role"]: s["agent"] for s in steps} == {
        "pm": firm.client,
        "architect": firm.client,
        "developer": firm.client,
        "integrator": firm.client,
        "tester": "command",
        "reviewer": other,
    }
    paid = {key: sum(s["tokens"][key] for s in steps if s.get("tokens")) for key in ("in", "out", "cached")}
    requests = len(firm.server.asked)
    assert paid == dict(zip(("in", "out", "cached"), (requests * n for n in TOKENS), strict=True))
    for step in steps:
        assert (step.get("cost_usd") or 0) > 0 if step["agent"] == "claude" else step.get("cost_usd") is None
    prompts = firm.server.prompts()
    assert len(prompts) == len(set(prompts)) == 10, "pm, 2 architects, 3 developers, 3 reviewers, 1 integrator: each once"


def test_what_two_steps_were_paid_for_is_not_paid_again_after_a_kill(firm: Firm, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pause = f"test -e {mark} || {{ touch {mark}; sleep 1000; }}"
    steps = json.dumps(["architect", "developer", {"run": pause}, "reviewer"])
    firm.project.write(".kin/kin.yaml", firm.project.read(".kin/kin.yaml") + f"\npipelines: {{four: {steps}}}\n")
    firm.project.commit("settings")
    made = [write("made.txt", "x"), result(summary="made it")]
    firm.says(lambda asked: made[len(asked.results)] if "the developer in" in asked.prompt else result(summary="did my part"))
    kin = firm.start("do", "Make it", "--pipeline", "four")
    wait_for(mark.exists, 60)
    kin.send_signal(signal.SIGKILL)
    kin.wait(60)
    wait_for(lambda: processes(firm.project) == [])
    assert firm.run("run", "KIN-1")["status"] == "done"
    roles = [re.findall(r"You are the (\w+)", prompt)[0] for prompt in firm.server.prompts()]
    assert roles == ["architect", "developer", "reviewer"]
    assert [s["status"] for s in firm.record(at="main")["steps"]] == ["done"] * 4
