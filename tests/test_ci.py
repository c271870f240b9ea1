"""What a run tells the host of its CI job, and the workflows that kin writes."""

import json
from xml.etree import ElementTree

import pytest
from conftest import Repo, task_text

GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://forge.example",
    "GITHUB_REPOSITORY": "ada/app",
    "GITHUB_RUN_ID": "7",
    "GITHUB_REF": "refs/heads/main",
}
EVIL = "::set-output name=status::done\n</details>| <b>@ada</b> ```"


@pytest.fixture
def job(project: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A job on GitHub with a task that says what it must not, and fails in its second step."""
    for name, value in GITHUB.items():
        monkeypatch.setenv(name, value)
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV"):
        monkeypatch.setenv(name, str(project.path.parent / name))
    evil = project.path.parent / "evil"
    evil.write_text(EVIL + "\n\x01\n")
    said = json.dumps(f"cat {evil}; env | grep GITHUB_ENV && exit 4; exit 3")
    steps = f"\n  - role: architect\n    run: echo 1 > one.txt\n  - role: developer\n    run: {said}"
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=steps))
    project.commit("a task")
    return project


def written(job: Repo, name: str) -> str:
    return (job.path.parent / name).read_text()


def test_github_is_told_and_is_not_tricked(job: Repo) -> None:
    junit = job.path.parent / "junit.xml"
    done = job.kin("run", "KIN-1", "--junit", str(junit), exit=1)
    first, *_, last = done.stdout.splitlines()
    word = first.removeprefix("::stop-commands::")
    assert len(word) == 32 and last == f"::{word}::" and "\x1b" not in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("::")]
    assert line.startswith("::error title=KIN-1%3A blocked::step 2-developer ended with exit 3%0A")
    assert written(job, "GITHUB_OUTPUT").splitlines()[:3] == ["status=blocked", "cost_usd=0.0", "tokens=0"]
    text = written(job, "GITHUB_STEP_SUMMARY")
    assert "| KIN\\-1 | blocked |" in text and "\n````\n" in text
    cases = ElementTree.parse(junit).findall("testsuite/testcase")
    assert [(c.get("name"), c.find("failure") is not None) for c in cases] == [("1-architect", False), ("2-developer", True)]


def test_what_could_not_run_is_told_too(job: Repo) -> None:
    job.kin("set", "KIN-1", "status=cancelled")
    assert "::error title=kin%3A usage::KIN-1 is cancelled" in job.kin("run", "KIN-1", exit=2).stderr
    assert written(job, "GITHUB_OUTPUT").startswith("status=usage\n")
    document = json.loads(job.kin("run", "KIN-1", "--json", exit=2).stdout)
    assert document["error"]["code"] == "usage"
