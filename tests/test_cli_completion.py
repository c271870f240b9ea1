"""Completion: what a TAB offers, in a real shell too."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Repo, task_text

from kin.cli.completion import offers_for
from kin.store import index, resting
from kin.store import tasks as store_tasks
from kin.store.project import find
from kin.store.view import see


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


def test_of_very_many_tasks_a_tab_offers_what_the_index_remembers(project: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "RACY_NS", -(10**12))  # files of this instant count as settled
    monkeypatch.setattr(resting, "MANY", 5)
    monkeypatch.chdir(project.path)
    for n in range(1, 30):
        project.write(f".kin/tasks/KIN-{n}.yaml", task_text(f"KIN-{n}", priority=str(1 + n % 2), labels=f"[l{n % 3}]"))
    see(find(str(project.path), {}))
    project.write(".kin/tasks/KIN-30.yaml", task_text("KIN-30", labels="[new]", assignee="ann"))
    (project.path / ".kin/tasks/KIN-2.yaml").unlink()
    monkeypatch.delattr(store_tasks, "scan")
    offered = [offer.value for offer in offers_for(["show"], "", {})]
    assert offered == [f"KIN-{n}" for n in (*range(4, 30, 2), *range(1, 30, 2), 30)]
    assert [offer.value for offer in offers_for(["list", "-l"], "", {})] == ["l0", "l1", "l2", "new"]
    assert [offer.value for offer in offers_for(["list", "--assignee"], "", {})] == ["ann"]


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


def test_a_tab_behind_another_folder_offers_what_is_there(tasks: Repo, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for folder in ("-C", "--directory"):
        done = tasks.kin(folder, str(tasks.path), "show", "", env={"_KIN_COMPLETE": "fish:3"}, cwd=tmp_path / "elsewhere")
        assert "KIN-1\t" in done.stdout


def test_a_tab_offers_no_word_that_could_move_the_cursor_or_be_two(tasks: Repo) -> None:
    tasks.write(".kin/tasks/KIN-90.yaml", 'id: KIN-90\ntitle: t\nstatus: todo\nlabels: ["\\e[31m", "a\\nb", plain]\n')
    done = tasks.kin("list", "-l", "", env={"_KIN_COMPLETE": "bash:2"})
    assert "plain" in done.stdout.split("\n") and "\x1b" not in done.stdout and not {"a", "b"} & {*done.stdout.split("\n")}
