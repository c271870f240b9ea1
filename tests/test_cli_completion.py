"""Completion: what a TAB offers, in a real shell too."""

import shutil
import subprocess
import sys

import pytest
from conftest import Repo, task_text


def offered(repo: Repo, line: str, shell: str = "bash") -> list[str]:
    """What completion offers for the last word of `line` (behind `kin`)."""
    words = line.split(" ")
    return repo.kin(*words, env={"_KIN_COMPLETE": f"{shell}:{len(words) - 1}"}).stdout.splitlines()


@pytest.fixture
def tasks(project: Repo) -> Repo:
    project.write(
        ".kin/tasks/KIN-1.yaml", task_text("KIN-1", '"First: one"', labels="[auth, ux]", module="core", assignee="ann")
    )
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", status="done"))
    return project


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("st", ["stop", "status"]),
        ("--js", ["--json"]),
        ("list --st", ["--status"]),
        ("list --format ", ["table", "json", "jsonl", "csv"]),
        ("list --format=js", ["json", "jsonl"]),
        ("list --format = js", ["json", "jsonl"]),
        ("list -l ", ["auth", "ux"]),
        ("list --module ", ["core"]),
        ("add x --base m", ["main"]),
        ("show ", ["KIN-1"]),
        ("-C . show ", ["KIN-1"]),
        ("show KIN-1 ", []),
        ("run KIN-1 ", []),
        ("set KIN-1 sta", ["status="]),
        ("set KIN-1 status=to", ["todo"]),
        ("set KIN-1 labels+=a", ["auth"]),
        ("set KIN-1 labels=ux,a", ["ux,auth"]),
        ("set KIN-1 assignee=", ["ann"]),
        ("set KIN-1 plan=a", ["approve"]),
        ("set la", ["label:"]),
        ("set label:u", ["ux"]),
        ("set label : u", ["ux"]),
        ("set label:ux assignee:", ["ann"]),
        ("set label:ux status:to", ["todo"]),
        ("set label:ux prio", ["priority:", "priority="]),
        ("list --assignee ", ["ann"]),
        ("list --columns id,prio", ["id,priority"]),
        ("note KIN-1 --to backend", ["backend_dev"]),
        ("nonsense --x", []),
        ("completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_a_tab_offers_what_fits(tasks: Repo, line: str, offers: list[str]) -> None:
    assert offered(tasks, line) == offers


def test_other_shells_are_told_what_an_offer_means(tasks: Repo) -> None:
    assert offered(tasks, "show K", "fish") == ["KIN-1\tFirst: one"]
    assert offered(tasks, "show K", "zsh") == ["KIN-1:First: one"]


def test_a_tab_outside_of_a_project_says_nothing(repo: Repo) -> None:
    assert offered(repo, "show K") == []


def test_bash_completes_with_the_script(tasks: Repo) -> None:
    script = tasks.kin("completion", "bash").stdout
    driver = f"""{script}
kin() {{ {sys.executable} -m kin "$@"; }}
COMP_WORDS=(kin list --format = js); COMP_CWORD=4; _kin 2>/dev/null; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(kin show ''); COMP_CWORD=2; _kin 2>/dev/null; echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", driver], cwd=tasks.path, capture_output=True, text=True)
    assert done.stdout == "json jsonl\nKIN-1\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(shell: str, tasks: Repo) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tasks.kin("completion", shell).stdout
    subprocess.run([shell, "-n"], input=script, text=True, check=True)
