"""`kin run --push` from shallow, detached clones, as CI jobs have them, against a bare remote."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Repo, task_text, wait_for
from hosts import Hub, Network, Remote

from kin import git
from kin.runner.process.events import Caller
from kin.runner.process.signals import Cancel
from kin.runner.remote import origin
from kin.runner.remote.share import Share
from kin.store.project import find

STEPS = "\n  - role: architect\n    run: {0}\n  - role: developer\n    run: {1}"


@pytest.fixture
def remote(project: Repo, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """A remote with two tasks, KIN-1 and KIN-2, of two steps each that count their passages, and a gate; CI is set."""
    log = project.path.parent / "log"
    for n in (1, 2):
        steps = [json.dumps(f"echo {word} > {word}{n}.txt; echo {word}{n} >> {log}") for word in ("one", "two")]
        project.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", pipeline=STEPS.format(*steps)))
    project.write(".kin/kin.yaml", f'format: 1\n\nkey: KIN\n\nmode: auto\n\ngates:\n  - "ls >> {log}.gates; ls *.txt"\n')
    project.commit("tasks")
    project.commit("so that depth 1 is less than all")
    path = project.path.parent / "remote.git"
    project.git("clone", "-q", "--bare", str(project.path), str(path))
    for name, value in {"CI": "woodpecker", "CI_COMMIT_BRANCH": "main", "CI_PIPELINE_URL": "https://ci.example/7"}.items():
        monkeypatch.setenv(name, value)
    return Remote(path)


def passages(remote: Remote) -> list[str]:
    log = remote.path.parent / "log"
    return log.read_text().split() if log.exists() else []


def outcome(job: Repo, *words: str, exit: int | None = 0, env: dict[str, str] | None = None) -> dict[str, object]:
    done = job.kin("run", *words, "--json", exit=exit, env=env)
    (data,) = json.loads(done.stdout)["data"]
    return data


def test_a_job_at_depth_1_with_a_detached_head_pushes_code_state_and_record(remote: Remote) -> None:
    job = remote.job("job")
    data = outcome(job, "KIN-1", "--push")
    assert data["merge"] == remote.tip("main") and data["status"] == "done"
    assert remote.status_of("KIN-1") == "done" and remote.git("show", "main:two1.txt") == "two"
    assert remote.git("ls-tree", "--name-only", "main", ".kin/pipelines/KIN-1/")
    assert remote.kins() == [] and job.status() == ""
    assert outcome(remote.job("later"), "KIN-1", "--push")["reason"] == "KIN-1 is already done"
    assert outcome(remote.job("a"), "KIN-2", "--push")["status"] == "done"
    assert sorted(passages(remote)) == ["one1", "one2", "two1", "two2"]


def test_a_checkout_of_the_target_moves_along_and_one_that_is_behind_is_left_alone(remote: Remote) -> None:
    remote.git("clone", "-q", str(remote.path), "../laptop", cwd=remote.path)
    laptop = Repo(remote.path.with_name("laptop"))
    laptop.write("mine.txt", "mine")
    outcome(laptop, "KIN-1", "--push")
    assert laptop.tip() == remote.tip("main") and laptop.read("two1.txt") == "two\n" and laptop.status() == "?? mine.txt"
    outcome(remote.job("job"), "KIN-2", "--push")
    laptop.write(".kin/tasks/KIN-3.yaml", task_text("KIN-3", pipeline=STEPS.format('"touch c.txt"', '"touch d.txt"')))
    laptop.commit("a third")
    assert "have gone apart" in laptop.kin("run", "KIN-3", "--push", exit=4).stderr
    laptop.git("pull", "-q", "--rebase")
    before = laptop.tip()
    tip = remote.git("commit-tree", "main^{tree}", "-p", "main", "-m", "theirs")
    laptop.git("push", "-q")
    laptop.write(".git/hooks/pre-push", f"#!/bin/sh\ncd {remote.path}; git update-ref refs/heads/main {tip} {before}\n")
    said = laptop.kin("run", "KIN-3", "--push").stdout
    assert "KIN-3" in said and remote.status_of("KIN-3") == "done"


def test_a_moved_remote_is_merged_anew_and_gated_on_what_is_merged(remote: Remote) -> None:
    job, other = remote.job("job"), remote.path.parent / "other"
    remote.git("clone", "-q", str(remote.path), str(other))
    push = "echo new > new.txt; git add .; git commit -qm theirs; git push -q origin HEAD:main"
    moved = f"cd {other} && test ! -e new.txt && {{ {push}; }} >&2; true"
    hook = job.path / ".git" / "hooks" / "pre-push"
    hook.write_text(f"#!/bin/sh\n{moved}\n")  # others push while ours is on its way
    hook.chmod(0o755)
    theirs = remote.tip("main")
    data = outcome(job, "KIN-1", "--push")
    assert data["merge"] == remote.tip("main") and remote.tip("main^1") != theirs and remote.tip("main^1^1") == theirs
    gates = (remote.path.parent / "log.gates").read_text().split()
    assert gates.count("one1.txt") == 2 and gates.count("new.txt") == 1, "gated again, on what is merged"
    assert sorted(passages(remote)) == ["one1", "two1"]


def test_a_protected_branch_leaves_the_work_on_its_own_branch(remote: Remote) -> None:
    remote.hook('grep -q refs/heads/main && { echo "main is protected" >&2; exit 1; }; exit 0')
    before = remote.tip("main")
    data = outcome(remote.job("job"), "KIN-1", "--push", exit=4)
    assert "main is protected" in str(data["reason"]) and remote.tip("main") == before
    assert remote.status_of("KIN-1", "kin/KIN-1") == "done"
    (remote.path / "hooks" / "pre-receive").unlink()
    assert outcome(remote.job("next"), "KIN-1", "--push")["merge"] == remote.tip("main")
    assert sorted(passages(remote)) == ["one1", "two1"], "no step is paid twice"


def test_a_token_that_may_not_push_is_found_before_anything_is_paid_for(remote: Remote) -> None:
    remote.hook("exit 1")
    said = remote.job("job").kin("run", "KIN-1", "--push", exit=4).stderr
    assert "refs/kin/claims/KIN-1" in said and passages(remote) == []


def test_a_network_that_goes_away_leaves_the_work_in_a_bundle(remote: Remote) -> None:
    job = remote.job("job")
    gone = remote.path.with_name("gone.git")
    job.git("config", "core.hooksPath", str(job.path.parent / "hooks"))
    job.write("../hooks/pre-push", f"#!/bin/sh\nmv {remote.path} {gone}; exit 1\n").chmod(0o755)
    data = outcome(job, "KIN-1", "--push", exit=6)
    bundle = str(job.path / str(data["reason"]).partition("in a job that may: ")[2].partition(";")[0])
    gone.rename(remote.path)
    (job.path.parent / "hooks" / "pre-push").unlink()
    for ref in ("claims", "runs"):
        remote.git("update-ref", "-d", f"refs/kin/{ref}/KIN-1")
    publisher = remote.job("publisher")
    publisher.kin("publish", bundle)
    assert remote.status_of("KIN-1") == "done" and sorted(passages(remote)) == ["one1", "two1"]


CLAIM, KEPT, LANDED = 0, 2, 3
"""Which push of a run with two steps is cut: that of the claim, of the second step, of the merge."""
ANSWER = {"answer": 1}
CUTS = [
    (push, how, then)
    for push in (CLAIM, KEPT, LANDED)
    for how in (*({"after": n} for n in (0, 250, 700)), ANSWER)
    for then in (0, 1)
]
QUICK = [
    (CLAIM, ANSWER, 1),
    (KEPT, ANSWER, 0),
    (KEPT, ANSWER, 1),
    (LANDED, {"after": 250}, 0),
    (LANDED, ANSWER, 1),
]
"""How it is cut: after so many bytes, or before the answer; and whether it stays down."""


@pytest.mark.parametrize("cut", [pytest.param(cut, marks=() if cut in QUICK else pytest.mark.nightly) for cut in CUTS], ids=str)
def test_a_network_that_is_cut_in_a_push_costs_nothing_twice(remote: Remote, cut: tuple[int, dict[str, int], int]) -> None:
    job, (push, how, then) = remote.job("job"), cut
    network, before = Network(remote, job), remote.tip("main")
    network.cut(skip=push, then=then, **how)
    done = job.kin("run", "KIN-1", "--push", "--json", exit=None)
    said = json.loads(done.stdout)
    reason = said["error"]["message"] if "error" in said else said["data"][0]["reason"]
    if done.returncode:
        assert done.returncode == 6, said
        assert "--push` goes on" in reason or "try again when the network is there" in said["error"]["hint"], said
    else:
        assert said["data"][0]["merge"] == remote.tip("main") != before
    assert remote.tip("main") == before or remote.status_of("KIN-1") == "done", "the branch has all or nothing"
    network.heal()
    again = job.kin("run", "KIN-1", "--push")
    assert "done" in again.stdout or "merged" in again.stdout, again.stdout
    assert remote.status_of("KIN-1") == "done" and remote.tip("main^1") == before
    assert set(remote.kins()) <= {"refs/heads/kin/KIN-1"}, "neither claim nor run is left"
    assert passages(remote) == ["one1", "two1"], "no step is paid twice"


SAID = {
    "refused": [
        "ERROR: Permission to ada/app.git denied to bob.\nfatal: Could not read from remote repository.",
        "error: RPC failed; HTTP 403 curl 22 The requested URL returned error: 403\nfatal: the remote end hung up unexpectedly",
        "error: RPC failed; HTTP 413 curl 22 The requested URL returned error: 413\nfatal: the remote end hung up unexpectedly",
        "ERROR: The key you are authenticating with has been marked as read only.",
        "fatal: the receiving end does not support --atomic push",
        "remote: fatal: fsck error in packed object\nerror: remote unpack failed: index-pack abnormal exit",
    ],
    "unreachable": [
        "error: RPC failed; curl 56 Recv failure: Connection reset by peer\nfatal: the remote end hung up unexpectedly",
        "ssh: connect to host forge.example port 22: Connection timed out\nfatal: Could not read from remote repository.",
        "fatal: unable to access 'https://forge.example/': Could not resolve host: forge.example",
        "client_loop: send disconnect: Broken pipe\nfatal: the remote end hung up unexpectedly",
        "error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502",
    ],
}


def test_a_no_is_told_from_a_way_that_was_lost(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    job = remote.job("job")
    lease = git.Lease("refs/heads/main", job.commit("mine"), remote.tip("main"))
    for end, texts in SAID.items():
        for text in texts:
            monkeypatch.setattr(git, "push", lambda *_, text=text, **__: git.Out(128, b"", text))
            assert origin.push(str(job.path), [lease]).end == end, text


def test_a_remote_that_is_gone_before_the_end_is_no_failure_of_the_task(remote: Remote) -> None:
    job, gone = remote.job("job"), remote.path.with_name("gone.git")
    steps = STEPS.format(json.dumps("echo a > a.txt"), json.dumps(f"mv {remote.path} {gone}; echo b > b.txt"))
    job.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=steps))
    reason = str(outcome(job, "KIN-1", "--push", exit=4)["reason"])
    assert "cannot be reached" in reason and ".bundle" in reason
    gone.rename(remote.path)
    assert outcome(job, "KIN-1", "--push")["merge"] == remote.tip("main")


def test_of_two_jobs_with_the_same_task_one_does_it_and_the_other_says_whose_it_is(remote: Remote) -> None:
    job = remote.job("job")
    go = remote.path.parent / "go"
    os.mkfifo(go)
    steps = STEPS.format(json.dumps(f"read x < {go}; touch a.txt"), json.dumps("touch b.txt"))
    job.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=steps))
    first = job.start("run", "KIN-1", "--push", stdout=subprocess.DEVNULL)
    wait_for(lambda: "refs/kin/claims/KIN-1" in remote.kins())
    said = remote.job("second").kin("run", "KIN-1", "--push", exit=6).stderr
    assert "https://ci.example/7" in said
    go.write_text("x\n")
    assert first.wait(20) == 0 and remote.status_of("KIN-1") == "done" and passages(remote) == []


@pytest.mark.parametrize("after", ["one", "two"])
def test_what_a_killed_job_had_finished_is_taken_up_in_another_clone(remote: Remote, after: str) -> None:
    point = "share.pushed" if after == "one" else "land.push"
    job = remote.job("job")
    env = {"KIN_FAULT": point}
    assert job.kin("run", "KIN-1", "--push", exit=None, env=env).returncode == -9
    assert passages(remote) == ["one1", "two1"][: 1 if after == "one" else 2]
    claim = remote.git("rev-parse", "refs/kin/claims/KIN-1")
    remote.job("early").kin("run", "KIN-1", "--push", exit=6)
    over = remote.git("commit-tree", "-m", "x\n\nKin-Until: 2020-01-01T00:00:00Z", "-p", claim, f"{claim}^{{tree}}")
    remote.git("update-ref", "refs/kin/claims/KIN-1", over)
    for _ in range(3):  # depth 1 of the next job does not reach to where the run began
        tip = remote.git("commit-tree", "main^{tree}", "-p", "main", "-m", "theirs")
        remote.git("update-ref", "refs/heads/main", tip)
    data = outcome(remote.job("next"), "KIN-1", "--push")
    assert data["merge"] == remote.tip("main") and passages(remote) == ["one1", "two1"] and remote.kins() == []


def test_a_job_that_is_stopped_gives_its_task_back(remote: Remote) -> None:
    job = remote.job("job")
    slow = STEPS.format(json.dumps("echo 1 > one.txt"), json.dumps("test -e go || exec tail -f /dev/null; touch b"))
    job.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=slow))
    process = job.start("run", "KIN-1", "--push", stdout=subprocess.DEVNULL)
    wait_for(lambda: "refs/kin/runs/KIN-1" in remote.kins())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert remote.kins() == ["refs/kin/runs/KIN-1"]


def test_a_stopped_job_without_the_right_to_push_hands_over_what_it_had_finished(remote: Remote, tmp_path: Path) -> None:
    job, log = remote.job("job"), remote.path.parent / "log"
    two = f"test -e {tmp_path}/go || exec tail -f /dev/null; echo two > two.txt; echo two1 >> {log}"
    steps = STEPS.format(json.dumps(f"echo one > one.txt; echo one1 >> {log}"), json.dumps(two))
    job.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=steps))
    job.commit("another way")
    job.git("push", "-q", "origin", "HEAD:main")
    process = job.start("run", "KIN-1", "--bundle", str(tmp_path / "b"), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    wait_for(lambda: "2-developer: test" in str(process.stdout and process.stdout.readline()))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert "not finished" in remote.job("publisher").kin("publish", str(tmp_path / "b"), exit=6).stdout
    assert remote.kins() == ["refs/kin/runs/KIN-1"]
    (tmp_path / "go").touch()
    after = remote.job("next")
    after.git("fetch", "-q", "--unshallow", "origin", "+refs/kin/runs/KIN-1:refs/kin/runs/KIN-1")
    outcome(after, "KIN-1", "--bundle", str(tmp_path / "b2"))
    remote.job("again").kin("publish", str(tmp_path / "b2"))
    assert remote.status_of("KIN-1") == "done" and remote.kins() == [] and passages(remote) == ["one1", "two1"]


def test_a_blocked_task_says_so_on_the_remote_and_goes_on_elsewhere(remote: Remote) -> None:
    remote_log = remote.path.parent / "log"
    fails = f"test -e {remote_log}.ok || {{ echo no; exit 3; }}; touch b"
    job = remote.job("job")
    steps = STEPS.format(json.dumps(f"echo 1 > one.txt; echo one1 >> {remote_log}"), json.dumps(fails))
    job.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=steps))
    job.commit("another way")
    job.git("push", "-q", "origin", "HEAD:main")
    outcome(job, "KIN-1", "--push", exit=1)
    assert remote.status_of("KIN-1") == "blocked"
    (remote.path.parent / "log.ok").touch()
    assert outcome(remote.job("next"), "KIN-1", "--push")["merge"] == remote.tip("main")
    assert passages(remote) == ["one1"] and remote.status_of("KIN-1", "main^1") == "todo"


def test_review_pushes_a_branch_whose_merge_by_the_host_lands_code_and_state(remote: Remote, project: Repo) -> None:
    project.write(".kin/kin.yaml", "format: 1\n\nkey: KIN\n\nmode: review\n")
    project.commit("review")
    project.git("push", "-q", str(remote.path), "main")
    assert outcome(remote.job("job"), "KIN-1", "--push", exit=3)["status"] == "review"
    assert remote.status_of("KIN-1") == "todo" and remote.status_of("KIN-1", "kin/KIN-1") == "done"
    assert outcome(remote.job("again"), "KIN-1", "--push", exit=3)["status"] == "todo"
    project.git("fetch", "-q", str(remote.path), "kin/KIN-1")
    project.git("merge", "-q", "--no-ff", "--no-edit", "FETCH_HEAD")
    assert "status: done" in project.read(".kin/tasks/KIN-1.yaml") and project.read("two1.txt") == "two\n"
    assert project.git("ls-files", ".kin/pipelines/KIN-1/")
    project.git("push", "-q", str(remote.path), "main")
    assert outcome(remote.job("done"), "KIN-1", "--push")["reason"] == "KIN-1 is already done"
    project.git("revert", "--no-edit", "-m", "1", "HEAD")
    assert "status: todo" in project.read(".kin/tasks/KIN-1.yaml")
    assert sorted(passages(remote)) == ["one1", "two1"]


def test_a_job_that_lost_its_claim_stops_and_pushes_nothing(remote: Remote) -> None:
    job, go = remote.job("job"), remote.path.parent / "go"
    os.mkfifo(go)
    steps = STEPS.format(json.dumps(f"read x < {go}; touch a.txt"), json.dumps("touch b.txt"))
    job.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=steps))
    before = remote.tip("main")
    first = job.start("run", "KIN-1", "--push", stdout=subprocess.PIPE)
    wait_for(lambda: "refs/kin/claims/KIN-1" in remote.kins())
    other = remote.git("commit-tree", "-m", "another's\n\nKin-Until: 2099-01-01T00:00:00Z", "main^{tree}")
    remote.git("update-ref", "refs/kin/claims/KIN-1", other)
    go.write_text("x\n")
    said = first.communicate(timeout=20)[0]
    assert first.returncode == 6 and b"taken it over" in said
    assert remote.tip("main") == before and remote.tip("refs/kin/claims/KIN-1") == other


def test_a_live_job_renews_its_claim_and_says_when_it_cannot(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    project, said = find(str(remote.job("job").path), os.environ), list[str]()
    share = Share(project, "KIN-1", Caller(os.environ, lambda event: said.append(event.text), Cancel()))
    share.take()
    with monkeypatch.context() as patch:
        patch.setenv("GIT_COMMITTER_NAME", "<>")  # git takes no such name
        assert share.renew() and "could not be renewed: git commit-tree" in said[0]
    first = remote.tip("refs/kin/claims/KIN-1")
    assert share.renew() and remote.tip("refs/kin/claims/KIN-1^1") == first
    share.leave(None)
    assert remote.kins() == []


GH = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *=GET*) cat {log}.open 2> /dev/null || true;;
  *=POST*) cat > {log}.body; echo https://github.com/ada/app/pull/7 | tee {log}.open;;
  *) cat > /dev/null;;
esac
"""


@pytest.fixture(params=["its double", "gh itself"])
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """A job on GitHub with gh on PATH: what is called gives the methods of all calls up to now; a body is in `gh.body`."""
    for name, value in {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/heads/main"}.items():
        monkeypatch.setenv(name, value)
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    monkeypatch.setenv("PATH", f"{gh.parent}{os.pathsep}{os.environ['PATH']}")
    if request.param == "its double":
        gh.write_text(GH.format(log=tmp_path / "gh"))
        gh.chmod(0o755)
        yield lambda: re.findall("--method=([A-Z]+)", (tmp_path / "gh").read_text())
        return
    if not (real := shutil.which("gh")):
        pytest.skip("gh is not installed: pull requests were not tried with it")
    gh.symlink_to(real)
    with Hub(tmp_path) as server:
        monkeypatch.setenv("GH_CONFIG_DIR", str(server.settings))
        monkeypatch.setenv("GH_TOKEN", "token")
        yield lambda: [method for method, _ in server.asked]
        assert {path.partition("?")[0] for _, path in server.asked} == {"/repos/ada/app/pulls", "/repos/ada/app/pulls/7"}


def test_review_opens_a_pull_request_once_and_keeps_it_up_to_date(
    remote: Remote, tmp_path: Path, hub: Callable[[], list[str]]
) -> None:
    job = remote.job("job")
    job.git("remote", "set-url", "origin", "https://token:x@github.com/ada/app.git")
    job.git("config", f"url.file://{remote.path}.insteadOf", "https://token:x@github.com/ada/app.git")
    job.kin("set", "KIN-1", "mode=review", "title=Ask @ada")
    assert outcome(job, "KIN-1", "--push", exit=3)["url"] == "https://github.com/ada/app/pull/7"
    job.kin("revise", "KIN-1", "-m", "again", "--to", "developer")
    data = outcome(job, "KIN-1", "--push", exit=3)
    assert hub() == ["GET", "POST", "GET", "PATCH"] and data["url"] == "https://github.com/ada/app/pull/7"
    assert "pull/7 (" not in str(data["reason"]), "nothing went wrong"
    assert "gate" in (tmp_path / "gh.body").read_text()
    without = tmp_path / "without"
    without.mkdir()
    for name in ("git", "sh", "ls"):
        (without / name).symlink_to(shutil.which(name) or name)
    job.kin("revise", "KIN-1", "-m", "and again", "--to", "developer")
    reason = str(outcome(job, "KIN-1", "--push", exit=3, env={"PATH": str(without)})["reason"])
    assert "https://github.com/ada/app/compare/main...kin/KIN-1" in reason and "token" not in reason


def test_a_person_s_commit_on_the_offered_branch_is_never_thrown_away(remote: Remote) -> None:
    job = remote.job("job")
    job.kin("set", "KIN-1", "mode=review")
    outcome(job, "KIN-1", "--push", exit=3)
    theirs = remote.git("commit-tree", "-m", "theirs", "-p", "kin/KIN-1", "kin/KIN-1^{tree}")
    remote.git("update-ref", "refs/heads/kin/KIN-1", theirs)
    job.kin("revise", "KIN-1", "-m", "again", "--to", "developer")
    assert theirs[:12] in str(outcome(job, "KIN-1", "--push", exit=3)["reason"])
    assert remote.tip("kin/KIN-1") == theirs


def test_a_blocked_run_in_a_bundle_is_told_to_the_remote(remote: Remote, tmp_path: Path) -> None:
    job = remote.job("job")
    steps = STEPS.format(json.dumps("echo 1 > one.txt"), json.dumps("echo no; exit 3"))
    job.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=steps))
    job.commit("another way")
    job.git("push", "-q", "origin", "HEAD:main")
    outcome(job, "KIN-1", "--bundle", str(tmp_path / "b"), exit=1)
    assert remote.kins() == [], "a job that writes a bundle pushes nothing"
    publisher = remote.job("publisher")
    assert "ended with exit 3" in publisher.kin("publish", str(tmp_path / "b"), exit=1).stdout
    assert remote.status_of("KIN-1") == "blocked" and remote.kins() == ["refs/kin/runs/KIN-1"]


@pytest.mark.parametrize("forged", ["base: release", "id: 1-tester", "task: KIN-2", "verdict: pass"])
def test_what_a_bundle_claims_is_not_believed(remote: Remote, tmp_path: Path, forged: str) -> None:
    remote.git("update-ref", "refs/heads/release", "main~1")
    job = remote.job("job")
    outcome(job, "KIN-1", "--bundle", str(tmp_path / "b"))
    ref, key = "refs/kin/runs/KIN-1", forged.partition(":")[0]
    text = job.git("show", f"{ref}:run.yaml")
    lines = [
        line.partition(key)[0] + forged if line.lstrip(" -").startswith(f"{key}: ") else line for line in text.splitlines()
    ]
    job.write("../run.yaml", "\n".join(lines) + "\n")
    blob = job.git("hash-object", "-w", "../run.yaml")
    tree = subprocess.run(
        ["git", "mktree"], cwd=job.path, input=f"100644 blob {blob}\trun.yaml\n", capture_output=True, text=True, check=True
    ).stdout.strip()
    job.git("update-ref", ref, job.git("commit-tree", "-m", "forged\n\nKin-Since: 0", "-p", f"{ref}^1", tree))
    job.git("bundle", "create", "-q", str(tmp_path / "b"), ref, "^origin/main")
    before, gates = remote.tip("main"), len((remote.path.parent / "log.gates").read_text())
    done = remote.job("publisher").kin("publish", str(tmp_path / "b"), exit=None)
    if forged == "verdict: pass":
        assert done.returncode == 0 and len((remote.path.parent / "log.gates").read_text()) > gates, "gated again"
    else:
        assert done.returncode == 7 and remote.tip("main") == before
