"""Tasks on disk: found as people type them, added with ids that nobody else gets, changed without losing anything."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import KIN_YAML, Repo, task_text

from kin.errors import Busy, Invalid, KinError, NotFound, Usage
from kin.model.status import BlockedKind, TaskStatus
from kin.store import numbers, tasks
from kin.store.project import Project, find
from kin.store.tasks import add, change, load, resolve, scan, set_status
from kin.store.text.splice import AddItem, DropItem, Remove, Set

TODAY = "2026-11-24"


@pytest.fixture
def store(project: Repo) -> Project:
    return find(str(project.path), {})


def put(project: Repo, task_id: str, **fields: str) -> None:
    project.write(f".kin/tasks/{task_id}.yaml", task_text(task_id, **fields))


def text(project: Repo, task_id: str) -> str:
    return project.read(f".kin/tasks/{task_id}.yaml")


def in_processes(count: int, work: Callable[[int], str]) -> list[str]:
    """What `work` returns in each of `count` processes, or the error's message."""
    pipes = []
    for n in range(count):
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                said = work(n)
            except KinError as error:
                said = str(error)
            os.write(write, said.encode())
            os._exit(0)
        os.close(write)
        pipes.append(read)
    found = [b"".join(iter(lambda r=read: os.read(r, 65536), b"")).decode() for read in pipes]
    for _ in pipes:
        os.wait()
    return found


def test_a_new_task_is_laid_out_for_people_and_for_git(project: Repo, store: Project) -> None:
    data = {
        "title": "Log in: with a passkey",
        "labels": ["web", "auto"],
        "priority": "2",
        "description": "One\ntwo\n",
        "x-a": "1",
    }
    task = add(store, data, today=TODAY)
    assert text(project, "KIN-1") == (
        'id: KIN-1\n\ntitle: "Log in: with a passkey"\n\nstatus: todo\n\npriority: 2\n\nlabels:\n  - auto\n  - web\n\n'
        "created: 2026-11-24\n\ndescription: |\n  One\n  two\n\nx-a: 1\n"
    )
    assert load(store, "KIN-1")[0] == task


@pytest.mark.parametrize(
    "data",
    [{"title": ""}, {}, {"title": "x", "priority": "9"}, {"title": "x", "id": "../x"}, {"title": "x", "status": "reddy"}],
)
def test_a_task_that_makes_no_sense_is_not_added(project: Repo, store: Project, data: dict[str, Any]) -> None:
    with pytest.raises(Usage):
        add(store, data, today=TODAY)
    assert not (project.path / ".kin" / "tasks").exists()


def test_an_id_that_is_taken_is_refused(project: Repo, store: Project) -> None:
    put(project, "KIN-7")
    with pytest.raises(Usage, match="KIN-7 is there already"):
        add(store, {"title": "x", "id": "KIN-7"}, today=TODAY)
    assert add(store, {"title": "x", "id": "KIN-9"}, today=TODAY).id == "KIN-9"
    assert add(store, {"title": "x"}, today=TODAY).id == "KIN-10"


def test_the_next_number_is_above_all_that_this_clone_can_see(project: Repo, store: Project, tmp_path: Path) -> None:
    put(project, "KIN-FIX-3")
    assert numbers.new_ids(store, "KIN", "tasks") == ["KIN-4"]
    put(project, "KIN-10")
    project.commit("on main")
    project.git("switch", "-q", "-c", "other")
    put(project, "KIN-20")
    tip = project.commit("on another branch")
    project.git("switch", "-q", "main")
    assert numbers.new_ids(store, "KIN", "tasks") == ["KIN-21"]
    project.git("branch", "-q", "-D", "other")
    project.git("update-ref", "refs/remotes/origin/theirs", tip)
    assert numbers.new_ids(store, "KIN", "tasks", 2, "FIX") == ["KIN-FIX-22", "KIN-FIX-23"]
    project.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "linked")
    Path(tmp_path / "linked" / ".kin" / "tasks" / "KIN-30.yaml").touch()
    assert numbers.new_ids(store, "KIN", "tasks") == ["KIN-31"]
    assert numbers.new_ids(find(str(tmp_path / "linked"), {}), "KIN", "tasks") == ["KIN-32"]
    assert numbers.new_ids(store, "OTHER", "tasks") == ["OTHER-1"]


def test_a_number_is_never_given_out_twice(store: Project) -> None:
    first = add(store, {"title": "x"}, today=TODAY)
    os.unlink(tasks.task_path(store, first.id))
    assert add(store, {"title": "x"}, today=TODAY).id == "KIN-2"


def test_before_the_first_commit_there_are_numbers_too(tmp_path: Path, repo: Repo) -> None:
    repo.git("init", "-q", str(tmp_path / "unborn"))
    (tmp_path / "unborn" / ".kin").mkdir()
    assert numbers.new_ids(find(str(tmp_path / "unborn"), {}), "KIN", "tasks") == ["KIN-1"]


def test_many_who_add_at_once_get_a_number_each(store: Project) -> None:
    found = in_processes(12, lambda n: add(store, {"title": f"Task of {n}"}, today=TODAY).id)
    assert sorted(found) == sorted(f"KIN-{n}" for n in range(1, 13))
    assert {t.title for t in scan(store).tasks.values()} == {f"Task of {n}" for n in range(12)}


def test_random_ids_need_no_sequence(project: Repo, store: Project) -> None:
    project.write(".kin/kin.yaml", KIN_YAML + "\nids: random\n")
    found = [add(store, {"title": "x"}, today=TODAY).id for _ in range(3)]
    assert len(set(found)) == 3
    assert all(resolve(store, i.lower()) == i for i in found)
    assert resolve(store, found[0][:9]) == found[0]


@pytest.mark.parametrize("word", ["KIN-7", "kin-7", "7", " 7 ", "007", "KIN-007"])
def test_a_task_is_found_as_a_person_types_it(project: Repo, store: Project, word: str) -> None:
    put(project, "KIN-7")
    assert resolve(store, word) == "KIN-7"


def test_a_prefix_finds_a_random_id_and_never_a_number(project: Repo, store: Project) -> None:
    for task_id in ("KIN-12", "KIN-7F3K2Q", "KIN-7G0000"):
        put(project, task_id)
    assert resolve(store, "7f") == resolve(store, "kin-7f3") == "KIN-7F3K2Q"
    with pytest.raises(Usage, match="KIN-7F3K2Q, KIN-7G0000"):
        resolve(store, "kin-7")
    with pytest.raises(NotFound):
        resolve(store, "1")


def test_a_task_that_is_not_there_has_neighbours(project: Repo, store: Project) -> None:
    put(project, "KIN-17")
    with pytest.raises(NotFound, match=r"no task KIN-117; did you mean KIN-17\?"):
        resolve(store, "117")
    for word in ("", "../KIN-17", "KIN-17.yaml"):
        with pytest.raises(NotFound):
            resolve(store, word)


def test_a_change_touches_its_own_characters_only(project: Repo, store: Project) -> None:
    before = "# mine\nid: KIN-1   # the id\ntitle: 'x'\nstatus: todo\npriority: 4 # low\nzzz: 1.10\n"
    project.write(".kin/tasks/KIN-1.yaml", before)
    task = change(store, "KIN-1", [Set(("priority",), 2), Set(("x-a", "b"), "c")])
    assert text(project, "KIN-1") == before.replace("priority: 4", "priority: 2").replace("zzz", "x-a:\n  b: c\nzzz")
    assert (task.priority, task.extra) == (2, {"x-a": {"b": "c"}, "zzz": "1.10"})


def test_lists_change_item_by_item_under_the_name_that_the_file_uses(project: Repo, store: Project) -> None:
    project.write(".kin/tasks/KIN-1.yaml", "id: KIN-1\ntitle: x\nstatus: todo\ndeps: [KIN-2, KIN-4]\n")
    change(store, "KIN-1", [AddItem(("depends_on",), "KIN-3"), DropItem(("depends_on",), "KIN-4")])
    assert text(project, "KIN-1").endswith("deps: [KIN-2, KIN-3]\n")
    assert load(store, "KIN-1")[0].depends_on == ("KIN-2", "KIN-3")


def test_a_value_that_does_not_fit_is_the_persons_slip_and_changes_nothing(project: Repo, store: Project) -> None:
    put(project, "KIN-1")
    for wrong in (Set(("priority",), "banana"), Set(("status",), "reddy"), Remove(("title",)), Set(("id",), "KIN-2")):
        with pytest.raises((Usage, Invalid)):
            change(store, "KIN-1", [wrong])
    assert text(project, "KIN-1") == task_text("KIN-1")


def test_a_broken_value_can_be_mended_but_not_talked_over(project: Repo, store: Project) -> None:
    put(project, "KIN-1", priority="soon")
    with pytest.raises(Invalid, match=r"KIN-1\.yaml:7:11: priority: expected a whole number"):
        change(store, "KIN-1", [Set(("module",), "auth")])
    assert change(store, "KIN-1", [Set(("priority",), "1")]).priority == 1


def test_a_move_that_the_table_refuses_names_the_way(project: Repo, store: Project) -> None:
    put(project, "KIN-1", status="done")
    with pytest.raises(Usage, match="kin reopen KIN-1"):
        change(store, "KIN-1", [Set(("status",), "blocked")])
    assert change(store, "KIN-1", [Set(("status",), "todo")]).status == "todo"


def test_to_and_from_blocked_the_block_comes_and_goes(project: Repo, store: Project) -> None:
    put(project, "KIN-1", priority="2")
    before = text(project, "KIN-1")
    task = change(store, "KIN-1", [Set(("status",), "blocked"), Set(("blocked", "reason"), "on holiday")])
    assert (task.blocked.kind, task.blocked.reason) == ("manual", "on holiday") if task.blocked else False
    change(store, "KIN-1", [Set(("status",), "todo")])
    assert text(project, "KIN-1") == before


def test_who_changed_the_same_value_meanwhile_is_named_and_wins(
    project: Repo, store: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, "KIN-1", priority="3")
    _save_once(project, monkeypatch, task_text("KIN-1", priority="5"))
    with pytest.raises(Busy, match="priority was changed to '5' meanwhile, you wanted '1'"):
        change(store, "KIN-1", [Set(("priority",), "1")])
    assert "priority: 5\n" in text(project, "KIN-1")


def test_who_changed_another_value_meanwhile_loses_nothing(
    project: Repo, store: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, "KIN-1", priority="3")
    _save_once(project, monkeypatch, task_text("KIN-1", title="By hand", priority="3"))
    assert change(store, "KIN-1", [Set(("priority",), "1")]).title == "By hand"
    assert text(project, "KIN-1") == task_text("KIN-1", title="By hand", priority="1")


def _save_once(project: Repo, monkeypatch: pytest.MonkeyPatch, new: str) -> None:
    """An editor saves `new`, by renaming, after kin has read and before it writes."""
    spliced, saves = tasks._spliced, iter([True])

    def save_first(*arguments: Any) -> str:
        if next(saves, False):
            project.write("edited", new)
            os.rename(project.path / "edited", project.path / ".kin" / "tasks" / "KIN-1.yaml")
        return spliced(*arguments)

    monkeypatch.setattr(tasks, "_spliced", save_first)


def test_many_who_change_different_values_lose_none(project: Repo, store: Project) -> None:
    put(project, "KIN-1")

    def count(n: int) -> str:
        for i in range(3):
            change(store, "KIN-1", [Set((f"x-{n}",), i)])
        return "done"

    assert set(in_processes(8, count)) == {"done"}
    assert load(store, "KIN-1")[0].extra == {f"x-{n}": "2" for n in range(8)}


def test_kin_moves_a_task_by_one_line(project: Repo, store: Project) -> None:
    put(project, "KIN-1", priority="2")
    project.commit("task")
    assert set_status(store, "KIN-1", "review")
    assert not set_status(store, "KIN-1", "review")
    assert project.git("diff", "--numstat").split()[:2] == ["1", "1"]
    assert set_status(store, "KIN-1", "blocked", {"kind": "gate", "reason": "pytest said:\nno\n"})
    task = load(store, "KIN-1")[0]
    assert task.blocked is not None
    assert (task.blocked.kind, task.blocked.reason) == (BlockedKind.gate, "pytest said:\nno\n")
    assert not set_status(store, "KIN-1", "blocked", {"kind": "gate", "reason": "pytest said:\nno\n"})
    assert set_status(store, "KIN-1", "done")
    assert text(project, "KIN-1") == task_text("KIN-1", status="done", priority="2")


@pytest.mark.parametrize("status", [TaskStatus.cancelled, TaskStatus.done])
def test_what_a_person_said_meanwhile_kin_leaves(project: Repo, store: Project, status: str) -> None:
    put(project, "KIN-1", status=status)
    with pytest.raises(Usage, match=f"KIN-1 is {status}"):
        set_status(store, "KIN-1", "review")
    assert text(project, "KIN-1") == task_text("KIN-1", status=status)


def test_files_of_a_newer_format_are_read_and_not_written(project: Repo, store: Project) -> None:
    put(project, "KIN-1")
    project.write(".kin/kin.yaml", "format: 2\n\nkey: KIN\n")
    assert list(scan(store).tasks) == ["KIN-1"]
    writes: list[Callable[[], object]] = [
        lambda: add(store, {"title": "x"}, today=TODAY),
        lambda: change(store, "KIN-1", [Set(("priority",), 1)]),
        lambda: set_status(store, "KIN-1", "done"),
    ]
    for write in writes:
        with pytest.raises(Invalid, match="format 2") as caught:
            write()
        assert caught.value.exit == 7
    assert text(project, "KIN-1") == task_text("KIN-1")
