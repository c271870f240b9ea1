"""Faults that do not respect kin fall on a step at work: no work is lost, what stands in the way is said, one more run ends it.

bench/trials.py lets them fall on one of five pipelines and measures the other four.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import AS_A_PERSON, Repo, task_text, wait_for
from killing import is_over

STEPS = """
  - role: architect
    run: echo one > one.txt
  - role: developer
    run: "echo two > two.txt; touch {up}; cat {go}"\
"""
ROOT = os.geteuid() == 0
CONTAINER = ("unshare", *(() if ROOT else ("-Ur",)), "--pid", "--fork", "--kill-child", "--mount-proc")
MOUNTS = ("unshare", *(() if ROOT else ("-Ur",)), "--mount")
BENCH = Path(__file__).resolve().parent.parent / "bench"
CLOCK = """
import datetime, runpy, sys, time
from kin.model import times

def moved(real=time.time):
    with open(FILE) as file:
        return real() + float(file.read())

FILE, sys.argv = sys.argv[1], sys.argv[4:]
time.time, gmtime = moved, time.gmtime
time.gmtime = lambda seconds=None: gmtime(moved() if seconds is None else seconds)
times.now = lambda: datetime.datetime.fromtimestamp(moved(), datetime.UTC)
runpy.run_module("kin", run_name="__main__")
"""
"""Runs `python -m kin ...` by a clock that is off by as many seconds as stand in a file at that moment."""


class Scene(NamedTuple):
    """A task whose second step waits in a worktree of its own: `up` exists once it does, `go` lets it end."""

    repo: Repo
    up: Path
    go: Path
    clock: Path

    def start(self, *wraps: str) -> "subprocess.Popen[str]":
        """Run the task, with words before the command, until its second step is at work."""
        run = self.repo.start(
            *("run", "KIN-1"),
            wraps=wraps,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        wait_for(lambda: self.up.exists() or run.poll() is not None)
        assert run.poll() is None, run.communicate()[0]
        return run

    def end(self, run: "subprocess.Popen[str]") -> str:
        """Let the step end, also if it is played again, and the run; what that said."""
        with self.go.open("w") if run.poll() is None else nullcontext():  # open once the step has opened it too
            self.go.unlink()
        self.go.write_text("")
        said = run.communicate(timeout=60)[0]
        assert "Traceback" not in said, said
        return said

    @property
    def worktree(self) -> Path:
        return next(Path(os.environ["XDG_STATE_HOME"]).glob("kin/worktrees/*/KIN-1"))


@pytest.fixture
def scene(project: Repo, tmp_path: Path) -> Scene:
    scene = Scene(project, tmp_path / "up", tmp_path / "go", tmp_path / "clock")
    os.mkfifo(scene.go)
    scene.clock.write_text("0")
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=STEPS.format(up=scene.up, go=scene.go)))
    project.commit("a task", other="elsewhere")
    return scene


class Fault(NamedTuple):
    """What `falls` on a step at work, what a person does to `mend` it; `ends` and `says` are what becomes of the run.

    `wraps` are words before it, `needs` words before a command that must work here; `takes`: the work itself is deleted.
    """

    falls: Callable[[Scene, "subprocess.Popen[str]"], object]
    ends: int = 0
    says: str = ""
    mend: Callable[[Scene], object] = lambda scene: None
    wraps: Callable[[Scene], tuple[str, ...]] = lambda scene: AS_A_PERSON
    takes: bool = False
    needs: tuple[str, ...] = ()


def read_only(scene: Scene, yes: bool) -> None:
    for folder, _, _ in os.walk(scene.repo.path / ".git"):
        os.chmod(folder, 0o555 if yes else 0o755)


def lock_of_another_git(scene: Scene) -> None:
    Path(scene.repo.git("rev-parse", "--absolute-git-dir", cwd=scene.worktree), "index.lock").touch()


def collect_garbage(scene: Scene) -> None:
    scene.repo.git("reflog", "expire", "--expire-unreachable=now", "--all")
    scene.repo.git("gc", "-q", "--prune=now")


def leave_alone(scene: Scene, *wraps: str) -> None:
    """A run beyond a container's wall lives, although its pid is a stranger's there: the lock says so."""
    for words in (("run", "KIN-1"), ("stop", "KIN-1"), ("doctor", "--fix"), ("run", "KIN-1")):
        done = scene.repo.kin(*words, exit=None, wraps=wraps)
        assert words[0] == "doctor" or (done.returncode, "KIN-1" in done.stderr) == (6, True), done
    assert "in_progress" in scene.repo.kin("list").stdout


def kill_in_its_container(scene: Scene, run: "subprocess.Popen[str]") -> None:
    leave_alone(scene)
    run.kill()
    run.wait()


FAULTS = {
    "the git folder becomes read-only": Fault(
        lambda s, _: read_only(s, True), 7, "cannot be written: Permission denied", lambda s: read_only(s, False)
    ),
    "the person goes to another branch": Fault(
        lambda s, _: s.repo.git("checkout", "-q", "-b", "other"), mend=lambda s: s.repo.git("checkout", "-q", "main")
    ),
    "garbage is collected": Fault(lambda s, _: collect_garbage(s)),
    "another git leaves its lock": Fault(lambda s, _: lock_of_another_git(s)),
    "the worktree is deleted": Fault(lambda s, _: shutil.rmtree(s.worktree), 1, "the task's worktree is gone", takes=True),
    "the branch is deleted": Fault(
        lambda s, _: s.repo.git("update-ref", "-d", "refs/heads/kin/KIN-1"), 1, "deleted the branch kin/KIN-1; its work is kept"
    ),
    "the clock goes back": Fault(
        lambda s, _: s.clock.write_text("-100000"), wraps=lambda s: (sys.executable, "-c", CLOCK, str(s.clock))
    ),
    "the clock goes on": Fault(
        lambda s, _: s.clock.write_text("100000"), wraps=lambda s: (sys.executable, "-c", CLOCK, str(s.clock))
    ),
    "it runs in a container": Fault(lambda s, _: leave_alone(s), wraps=lambda s: CONTAINER),
    "it is seen from a container": Fault(lambda s, _: leave_alone(s, *CONTAINER), needs=CONTAINER),
    "it is killed in its container": Fault(kill_in_its_container, -9, wraps=lambda s: CONTAINER),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_under_a_step_costs_no_work_and_one_more_run_ends_it(scene: Scene, fault: Fault) -> None:
    if subprocess.run([*(fault.needs or fault.wraps(scene)), "true"], capture_output=True).returncode:
        pytest.skip("this machine cannot do that")
    run = scene.start(*fault.wraps(scene))
    fault.falls(scene, run)
    said = scene.end(run)
    assert run.returncode == fault.ends and fault.says in said, said
    kept = scene.repo.git("log", "--all", "--format=", "--name-only").split()
    assert fault.takes or "two.txt" in kept or (scene.worktree / "two.txt").exists()
    fault.mend(scene)
    if run.returncode:
        scene.repo.kin("run", "KIN-1")
    assert is_over(scene.repo) == []


def test_objects_of_a_branch_that_a_prune_took_are_made_again_from_the_worktree(scene: Scene) -> None:
    scene.repo.write(".kin/kin.yaml", "format: 1\n\nkey: KIN\n\nmode: review\n")
    scene.repo.commit("with a review")
    scene.end(scene.start())
    for line in scene.repo.git("rev-list", "--objects", "main..kin/KIN-1").splitlines():
        (scene.repo.path / ".git/objects" / line[:2] / line.split()[0][2:]).unlink()
    assert "is gone" in scene.repo.kin("approve", "KIN-1", exit=1).stdout
    assert "made again from the worktree" in scene.repo.kin("run", "KIN-1", exit=3).stdout
    scene.repo.kin("approve", "KIN-1")
    assert is_over(scene.repo) == []


def test_a_full_disk_costs_no_work(tmp_path: Path) -> None:
    if subprocess.run([*MOUNTS, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("this machine does not let anybody mount")
    done = subprocess.run([sys.executable, BENCH / "full_disk.py", "--step", "72"], capture_output=True, text=True)
    assert done.returncode == 0 and ": 0 wrong" in done.stdout, done.stdout + done.stderr


def test_without_proc_files_are_written_and_nothing_is_started_that_could_not_be_ended(project: Repo) -> None:
    bare = (*MOUNTS, "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
    if subprocess.run([*bare, "true"], capture_output=True).returncode:
        pytest.skip("no mounts here")
    project.kin("add", "One", "--run", "true", wraps=bare)
    assert "/proc is not there" in project.kin("run", "1", wraps=bare, exit=7).stderr
    project.kin("run", "1")
