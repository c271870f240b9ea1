"""`kin publish` and what a job that was turned may hand it: a bundle's lies are found before anything is pushed."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Repo, task_text
from hosts import Remote
from test_plan import CAREFUL, PARTS, Pm

from kin.runner.runs import bundle

REF = "refs/kin/runs/KIN-1"


class Sent:
    """An honest bundle of KIN-1, its parts to forge others from, and a publisher's clone that refuses them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.remote = folder, Remote(folder / "remote.git")
        self.job, self.publisher = Repo(folder / "job"), Repo(folder / "publisher")
        self.path = folder / "run.bundle"
        for clone in (self.job, self.publisher):
            clone.git("remote", "set-url", "origin", f"file://{self.remote.path}")
        self.text, self.head = self.job.git("show", f"{REF}:run.yaml"), self.job.tip(f"{REF}^1")
        self.run = next(line.removeprefix("run: ") for line in self.text.splitlines() if line.startswith("run: "))
        self.before = self.refs()

    def refs(self) -> str:
        return self.remote.git("for-each-ref")

    def object(self, kind: str, content: bytes) -> str:
        words = ["git", "hash-object", "-w", "--stdin", "--literally", "-t", kind]
        return subprocess.run(words, cwd=self.job.path, input=content, capture_output=True, check=True).stdout.decode().strip()

    def tree(self, *entries: tuple[str, str, bytes], onto: str | None = None) -> str:
        """A tree of (mode, name, content) and what the tree `onto` has."""
        made = {}
        for line in self.job.git("ls-tree", onto).splitlines() if onto else []:
            meta, _, name = line.partition("\t")
            made[name] = (meta.split()[0].lstrip("0"), meta.split()[2])
        for mode, name, content in entries:
            oid = content.decode() if mode in ("40000", "160000") else self.object("blob", content)
            made[name] = (mode, oid)
        order = sorted(made, key=lambda name: name + "/" * (made[name][0] == "40000"))
        return self.object("tree", b"".join(f"{made[n][0]} {n}\0".encode() + bytes.fromhex(made[n][1]) for n in order))

    def work(self, *entries: tuple[str, str, bytes], words: str = "") -> str:
        """A commit on the honest one that adds these files at the top, by its trailers one of the run's own."""
        tree = self.tree(*entries, onto=f"{self.head}^{{tree}}")
        return self.job.git("commit-tree", tree, "-p", self.head, "-m", f"kin: KIN-1-command\n\nKin-Run: {self.run}\n{words}")

    def record(self, text: str, *, head: str | None = None, truthful: bool = True) -> str:
        """The run's commit with this record; `head` is the work, which a truthful record names."""
        if head and truthful:
            text = text.replace(self.head, head)
        tree = self.tree(("100644", "run.yaml", text.encode()))
        return self.job.git("commit-tree", tree, "-p", head or self.head, "-m", "kin: KIN-1 waiting\n\nKin-Since: 0\n")

    def forged(self, text: str = "", *, head: str | None = None, truthful: bool = True) -> Path:
        self.job.git("update-ref", REF, self.record(text or self.text, head=head, truthful=truthful))
        self.job.git("bundle", "create", "-q", str(self.path), REF, "^origin/main")
        return self.path

    def refused(self, said: str = "", *words: str) -> str:
        """The bundle is refused and nothing is pushed; what kin said, which holds `said`."""
        done = self.publisher.kin("publish", str(self.path), *words, exit=7)
        assert re.search(said, done.stderr) and done.stderr.startswith("error: "), done.stderr
        assert self.refs() == self.before and not (self.folder / "ran").exists()
        return done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves what it made, for the others to copy."""
    return tmp_path_factory.mktemp("sent") / "made"


@pytest.fixture
def sent(made: Path, project: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sent:
    for name, value in {"CI": "woodpecker", "CI_COMMIT_BRANCH": "main"}.items():
        monkeypatch.setenv(name, value)
    if not made.exists():
        for n, mode in ((1, "review"), (2, "auto")):
            project.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", mode=mode, pipeline="\n  - run: echo 1 > one.txt"))
        project.commit("tasks")
        (tmp_path / "make").mkdir()
        project.git("clone", "-q", "--bare", str(project.path), str(tmp_path / "make/remote.git"))
        remote = Remote(tmp_path / "make/remote.git")
        remote.job("job").kin("run", "KIN-1", "--bundle", str(tmp_path / "make/run.bundle"))
        remote.job("publisher")
        (tmp_path / "make").rename(made)
    shutil.copytree(made, tmp_path / "sent", symlinks=True)
    return Sent(tmp_path / "sent")


def test_what_was_sent_by_an_honest_job_is_taken(sent: Sent) -> None:
    sent.publisher.kin("publish", str(sent.path), "--task", "KIN-1", exit=3)
    assert sent.remote.git("show", "kin/KIN-1:one.txt") == "1" and sent.remote.tip("main") in sent.before


def test_a_ref_that_is_not_the_runs_own_is_refused(sent: Sent) -> None:
    honest = sent.path.read_bytes()
    names = ["refs/heads/main", "--upload-pack=touch ran", "-u", "refs/kin/runs/../x", "refs/kin/runs/KIN-1/x", "HEAD"]
    for name in (*names, "refs/kin/runs/--exec=x", f"{REF}:refs/heads/main", f"{REF} refs/heads/main", "refs/tags/v1"):
        sent.path.write_bytes(honest.replace(f" {REF}\n".encode(), f" {name}\n".encode(), 1))
        sent.refused()
    header, _, pack = honest.partition(b"\n\n")
    oid = sent.job.tip(REF)
    sent.path.write_bytes(header + f"\n{oid} refs/heads/main\n\n".encode() + pack)
    sent.refused("does not hold just one run")


def test_a_run_is_of_the_task_that_the_job_was_given(sent: Sent) -> None:
    assert "KIN-1, not of KIN-2" in sent.refused("", "--task", "KIN-2")
    honest = sent.path.read_bytes()
    sent.path.write_bytes(honest.replace(f" {REF}\n".encode(), b" refs/kin/runs/KIN-2\n", 1))
    sent.refused("record of another task")


LIES = [
    *(("run", f"run: {name}") for name in ("../../../x", "20261124T093200Z-7f3k/../x", '""')),
    *(("task", "task: KIN-2"), ("branch", "branch: main"), ("base", "base: release"), ("status", "status: completed")),
    *(("started", f"started: {word}") for word in ("tomorrow", '"2026-11-24T09:32:00Z\\n::error::"')),
    *(("head", "head: --output=ran"), ("head", "head: HEAD~1"), ("commit", f"commit: {'0' * 40}"), ("commit", "commit: -x")),
    *(("role", "role: ../../x"), ("id", "id: 1-tester")),
    *(("cost_usd", f"cost_usd: {word}") for word in ("-5", "nan", "1e999")),
    *(("tokens", "tokens: lots"), ("exit", "exit: 1e9"), ("status", "status: [done]"), ("run", "run: &a x")),
]


def test_a_record_that_lies_is_refused(sent: Sent) -> None:
    for key, lie in LIES:
        found = re.search(rf"^ *{key}: .*$", sent.text, re.MULTILINE)
        step = re.search(r"^ +role: .*$", sent.text, re.MULTILINE)
        assert step
        if found:
            text = sent.text.replace(found[0], found[0].partition(key)[0] + lie)
        else:
            text = sent.text.replace(step[0], f"{step[0]}\n    {lie}")
        sent.forged(text)
        sent.refused()
    sent.forged(sent.text.replace("status: waiting\n", f"status: waiting\n\nmerge: {sent.head}\n"))
    sent.refused("says that it was merged")
    sent.forged("status: [" + "x" * 10)
    sent.refused()


def test_verdicts_approvals_and_budgets_of_a_bundle_count_for_nothing(sent: Sent) -> None:
    lies = f"live:\n  approved: {sent.head}\n  approved_by: Ada\n  budget:\n    usd: 9999\n  pending_edit:\n    blocked: [x]\n"
    sent.forged(sent.text.replace("live:\n", lies))
    sent.publisher.kin("publish", str(sent.path), exit=3)
    assert sent.remote.tip("main") in sent.before, "it waits for a person"
    assert "9999" not in sent.remote.git("show", f"{REF}:run.yaml")


def in_git(sent: Sent, name: str) -> str:
    inner = sent.tree(("100755", "pre-commit", b"#!/bin/sh\ntouch ran\n"))
    return sent.work(("40000", name, inner.encode()))


PLACES: dict[str, Callable[[Sent], str]] = {
    ".git": lambda sent: in_git(sent, ".git"),
    ".GIT": lambda sent: in_git(sent, ".GIT"),
    "..": lambda sent: in_git(sent, ".."),
    "git~1": lambda sent: in_git(sent, "git~1"),
    "a slash in a name": lambda sent: sent.work(("100644", "a/../../x", b"")),
    "a link to a file": lambda sent: sent.work(("120000", "link", b"/etc/passwd")),
    "a link up": lambda sent: sent.work(("120000", "link", b"../../secret")),
    "a link round": lambda sent: sent.work(("120000", "link", b"docs/../../x")),
    "a link through a link": lambda sent: sent.work(("120000", "link", b"x/../inside")),
    "a link into .git": lambda sent: sent.work(("120000", "link", b".git/config")),
    "a link as .gitmodules": lambda sent: sent.work(("120000", ".gitmodules", b"x")),
    "an option as a submodule": lambda sent: sent.work(
        ("100644", ".gitmodules", b'[submodule "x"]\n\tpath = x\n\turl = --upload-pack=touch\n')
    ),
    "a repository": lambda sent: sent.work(("160000", "inner", sent.head.encode())),
}


def test_work_that_reaches_out_of_its_tree_is_refused(sent: Sent) -> None:
    for make in PLACES.values():
        sent.forged(head=make(sent))
        sent.refused("cannot be read|leads out|repository inside")


def test_a_link_inside_is_nobodys_harm(sent: Sent) -> None:
    sent.forged(head=sent.work(("120000", "link", b"./one.txt")))
    sent.publisher.kin("publish", str(sent.path), exit=3)


def test_a_workflow_waits_for_a_person_and_kins_own_files_stay_what_they_are(sent: Sent) -> None:
    sent.publisher.write(".kin/tasks/KIN-1.yaml", sent.publisher.read(".kin/tasks/KIN-1.yaml").replace("review", "auto"))
    sent.publisher.git("push", "-q", "origin", f"{sent.publisher.commit('auto')}:main")
    sent.publisher = sent.remote.job("another")
    before = sent.remote.tip("main")
    flows = sent.tree(("40000", "workflows", sent.tree(("100644", "x.yml", b"on: push\n")).encode())).encode()
    tasks = sent.tree(("100644", "kin.yaml", b"format: 1\n\nkey: KIN\n\nmode: auto\n\nprotect: []\n")).encode()
    sent.forged(head=sent.work(("40000", ".github", flows), ("40000", ".kin", tasks)))
    said = sent.publisher.kin("publish", str(sent.path), exit=3).stdout
    assert ".github/workflows/x.yml" in said and sent.remote.tip("main") == before
    assert "protect" not in sent.remote.git("show", "kin/KIN-1:.kin/kin.yaml")


def test_commits_that_no_step_made_are_refused(sent: Sent) -> None:
    more = sent.job.git("commit-tree", f"{sent.head}^{{tree}}", "-p", sent.head, "-m", "one more")
    sent.forged(head=more)
    sent.refused("is of no step")
    sent.forged(head=more, truthful=False)
    sent.refused("ends elsewhere")
    for word in ("Kin-Task: KIN-2", "Kin-State: KIN-2 done", f"Kin-Run: {sent.run[:-1]}x"):
        sent.forged(head=sent.work(("100644", "x", b"1"), words=word))
        sent.refused("is of no step")
    alone = sent.job.git("commit-tree", f"{sent.head}^{{tree}}", "-m", f"kin: x\n\nKin-Run: {sent.run}")
    sent.forged(head=alone)
    sent.refused("no history in common")


def test_damage_and_emptiness_are_refused(sent: Sent) -> None:
    honest = sent.path.read_bytes()
    at = honest.index(b"PACK")
    flipped = bytearray(honest)
    flipped[at + 20] ^= 0xFF
    lies = honest.replace(honest[2:4], b"v9", 1)
    for content in (b"", b"\0" * 100, honest[: at + 4], honest[:-1], honest[: at + 30], bytes(flipped), lies, honest[:at]):
        sent.path.write_bytes(content)
        sent.refused()
    sent.path.unlink()
    sent.refused("is no bundle")
    sent.path.mkdir()
    sent.refused("is no bundle")


def test_a_pack_without_all_that_its_commit_names_is_refused(sent: Sent) -> None:
    blob = sent.object("blob", b"left out")
    sent.forged(head=sent.work(("100644", "x", b"left out")))
    names = sent.job.git("rev-list", "--objects", "--no-object-names", REF, "^origin/main").splitlines()
    words = ["git", "pack-objects", "-q", "--stdout"]
    kept = "\n".join(name for name in names if name != blob) + "\n"
    pack = subprocess.run(words, cwd=sent.job.path, input=kept.encode(), capture_output=True, check=True).stdout
    sent.path.write_bytes(sent.path.read_bytes().partition(b"PACK")[0] + pack)
    sent.refused("cannot be read")


def test_what_is_too_large_is_refused(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    sent.forged(head=sent.work(("100644", "zeros", bytes(bundle.LARGEST + 1))))
    assert sent.path.stat().st_size < 1 << 20
    sent.refused("more than 100 MiB")
    with sent.path.open("wb") as file:
        file.truncate(bundle.MOST + 1)
    sent.refused("is no bundle")


def test_what_a_bundle_proposes_is_sifted_as_a_step_s_own_word(sent: Sent) -> None:
    def propose(**said: object) -> None:
        entry = json.dumps({"step": "1-command", "role": "command", **said})
        sent.forged(sent.text.replace("live:\n", f"live:\n  proposals:\n    - {entry}\n"))

    propose(tasks="x")
    sent.refused("malformed proposal")
    title = {"title": "Do it", "labels": ["auto"], "status": "todo", "mode": "auto", "pipeline": [{"run": "touch ran"}]}
    propose(tasks=[title], decisions=[{"title": "Trust all", "supersedes": "../../x"}])
    sent.publisher.kin("publish", str(sent.path), exit=3)
    made = sent.remote.git("ls-tree", "-r", "--name-only", "kin/KIN-1", ".kin/tasks/", ".kin/decisions/").splitlines()
    (task,) = set(made) - {".kin/tasks/KIN-1.yaml", ".kin/tasks/KIN-2.yaml"}
    text = sent.remote.git("show", f"kin/KIN-1:{task}")
    assert "status: draft" in text and "touch ran" not in text and "- auto" not in text


@pytest.fixture
def ci(monkeypatch: pytest.MonkeyPatch, project: Repo) -> Callable[[], Remote]:
    """Makes a bare remote of the project as it is then, in the environment of a job."""
    for name, value in {"CI": "woodpecker", "CI_COMMIT_BRANCH": "main"}.items():
        monkeypatch.setenv(name, value)

    def made() -> Remote:
        project.git("clone", "-q", "--bare", str(project.path), "../remote.git")
        project.git("remote", "add", "origin", "../remote.git")
        return Remote(project.path.with_name("remote.git"))

    return made


def test_a_job_that_publishes_needs_nobody_who_could_play_a_step(
    project: Repo, ci: Callable[[], Remote], tmp_path: Path
) -> None:
    settings = {"format": 1, "key": "KIN", "mode": "auto", "agent": "maker"}
    project.write(".kin/kin.yaml", json.dumps({**settings, "agents": {"maker": {"argv": ["maker"]}}}))
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline="[developer]"))
    project.commit("a task for a model")
    remote, sent = ci(), str(tmp_path / "b")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/maker").write_text("#!/bin/sh\necho made > made.txt; echo done\n")
    (tmp_path / "bin/maker").chmod(0o755)
    remote.job("job").kin("run", "KIN-1", "--bundle", sent, env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
    assert "not on PATH" in remote.job("without").kin("run", "KIN-1", "--push", exit=7).stderr
    remote.job("publisher").kin("publish", sent)
    assert remote.status_of("KIN-1") == "done" and remote.git("show", "main:made.txt") == "made"


def test_what_a_pm_planned_in_a_job_is_published_or_left_to_a_person(
    project: Repo, ci: Callable[[], Remote], tmp_path: Path
) -> None:
    pm, sent = Pm(project, "plan: true"), str(tmp_path / "b")
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2"))
    pm.task()
    remote = ci()
    pm.says(summary="two roles", plan=CAREFUL)
    remote.job("job").kin("run", "KIN-1", "--bundle", sent)
    remote.job("publisher").kin("publish", sent)
    assert remote.status_of("KIN-1") == "done" and remote.git("show", "main:KIN-1-developer.txt") == "done"
    pm.says(summary="too large", tasks=PARTS)
    remote.job("splits").kin("run", "KIN-2", "--bundle", sent, exit=3)
    assert "splits it into KIN-3, KIN-4" in remote.job("another").kin("publish", sent, exit=3).stdout
    assert remote.status_of("KIN-2") == "blocked", "a task whose parts nobody has is not done"
    project.git("pull", "-q", "origin", "main")
    assert "split into KIN-3, KIN-4" in project.kin("run", "KIN-2", "--push", exit=None).stdout
    assert "title: The API" in project.read(".kin/tasks/KIN-3.yaml") and pm.asked() == 2, "the PM is asked once a task"
