"""The index is never believed over a file, and losing it costs nothing but time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Repo, task_text

from kin.model.ready import graph_of, in_order
from kin.store import files, index
from kin.store.project import Project, find
from kin.store.tasks import scan
from kin.store.view import see

COUNT = 40


@pytest.fixture
def store(project: Repo) -> Project:
    for number in range(1, COUNT + 1):
        text = task_text(f"KIN-{number}", description="|\n  Long.\n  Longer.", mode="auto", priority="2")
        project.write(f".kin/tasks/KIN-{number}.yaml", text)
    return find(str(project.path), {})


@pytest.fixture
def cache(store: Project) -> Path:
    return Path(index.cache_path(store.common, os.path.join(store.store, "tasks")))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans start three seconds from now: what the test wrote lies before the racy window, as files mostly do."""
    now = time.time_ns
    monkeypatch.setattr(index.time, "time_ns", lambda: now() + 3_000_000_000)


class Reads:
    """Counts how many task files were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        read = files.read_text

        def counted(path: str, shown: str) -> str:
            self.count += shown.startswith(".kin/tasks/")
            return read(path, shown)

        monkeypatch.setattr(files, "read_text", counted)

    def taken(self) -> int:
        count, self.count = self.count, 0
        return count


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.mark.usefixtures("later")
def test_unchanged_files_are_not_read_again(store: Project, reads: Reads) -> None:
    first = scan(store)
    assert reads.taken() == COUNT
    assert scan(store).tasks == first.tasks
    assert reads.taken() == 0


@pytest.mark.usefixtures("later")
def test_what_comes_from_the_index_is_what_comes_from_the_files(project: Repo, store: Project, cache: Path) -> None:
    blocked = task_text("KIN-1", status="blocked", blocked="{kind: gate, reason: no}", labels="[a, 1.10]", budget="{usd: 5}")
    project.write(".kin/tasks/KIN-1.yaml", blocked + "\nx-mine:\n  deep: [1, {a: ~}]\n")
    from_files = scan(store)
    assert cache.exists()
    from_index = scan(store)
    assert from_index.tasks == from_files.tasks
    kinds = {i: list(map(type, task)) for i, task in from_files.tasks.items()}
    assert {i: list(map(type, task)) for i, task in from_index.tasks.items()} == kinds
    brief = scan(store, bodies=False)
    assert brief.tasks["KIN-2"] == from_files.tasks["KIN-2"]._replace(description="", acceptance=(), extra={})


@pytest.mark.usefixtures("later")
def test_a_changed_file_is_read_and_a_removed_one_is_gone(project: Repo, store: Project, reads: Reads) -> None:
    scan(store)
    reads.taken()
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", title="Changed"))
    os.unlink(project.path / ".kin" / "tasks" / "KIN-2.yaml")
    found = scan(store).tasks
    assert (found["KIN-1"].title, "KIN-2" in found, reads.taken()) == ("Changed", False, 1)


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("restore", ["mtime", "rename"])
def test_an_edit_of_the_same_size_that_hides_its_time_is_seen(project: Repo, store: Project, restore: str) -> None:
    """`cp -p`, `rsync -t` and the like put the old mtime back; ctime and inode tell."""
    path = project.path / ".kin" / "tasks" / "KIN-1.yaml"
    scan(store)
    before, text = path.stat(), path.read_text().replace("A task", "B task")
    if restore == "rename":
        project.write("new", text)
        os.utime(project.path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.rename(project.path / "new", path)
    else:
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert scan(store).tasks["KIN-1"].title == "B task"


def test_a_file_changed_a_moment_before_is_read_again_each_time(store: Project, reads: Reads) -> None:
    """A coarse clock could give the next edit the same times."""
    scan(store)
    scan(store)
    assert reads.taken() == 2 * COUNT


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("damage", ["cut", "flipped", "flipped late", "empty", "gone", "other head", "garbage", "folder"])
@pytest.mark.parametrize("bodies", [True, False])
def test_a_damaged_index_is_made_anew(store: Project, cache: Path, reads: Reads, damage: str, bodies: bool) -> None:
    found = scan(store, bodies=bodies)
    raw = cache.read_bytes()
    cache.unlink()
    if damage == "folder":
        cache.mkdir()
    elif damage != "gone":
        flipped = bytearray(raw)
        flipped[-10 if damage == "flipped late" else len(raw) // 4] ^= 0xFF
        harmed = {"cut": raw[:-3], "empty": b"", "other head": b"(0, " + raw[4:], "garbage": b"\xff" * 1000}
        cache.write_bytes(harmed.get(damage, bytes(flipped)))
    reads.taken()
    assert scan(store, bodies=bodies).tasks == found.tasks
    assert scan(store).tasks == scan(store).tasks
    assert reads.taken() <= 2 * COUNT + (2 * COUNT if damage == "folder" else 0)


@pytest.mark.usefixtures("later")
def test_files_that_kin_did_not_lay_out_are_indexed_like_any(project: Repo, store: Project, reads: Reads) -> None:
    scan(store)
    project.write(".kin/tasks/KIN-1.yaml", '{"id": "KIN-1", "title": "x", "status": "open", "priority": "P1"}\n')
    first = scan(store)
    reads.taken()
    assert scan(store).tasks == first.tasks
    assert reads.taken() == 0
    assert (first.tasks["KIN-1"].status, first.tasks["KIN-1"].priority) == ("todo", 1)


@pytest.mark.usefixtures("later")
def test_the_index_keeps_the_order_as_long_as_no_file_says_otherwise(project: Repo, store: Project) -> None:
    def orders() -> tuple[bool, bool]:
        """Whether the index vouches for an order, and whether what it gives is the one that the files ask for."""
        found = scan(store)
        return found.in_order, list(found.tasks) == in_order(graph_of(found.tasks))

    for number in (7, 8, 9):
        text = task_text(f"KIN-{number}", depends_on="KIN-30", priority="1", created="2026-01-01")
        project.write(f".kin/tasks/KIN-{number}.yaml", text)
    scan(store)
    assert orders() == (True, True)
    project.write(".kin/tasks/KIN-40.yaml", task_text("KIN-40", priority="1"))
    assert scan(store).in_order is False
    assert see(store).order[0] == "KIN-7"
    os.unlink(project.path / ".kin" / "tasks" / "KIN-9.yaml")
    assert scan(store).in_order is False
    for number in range(10, 35):
        project.write(f".kin/tasks/KIN-{number}.yaml", task_text(f"KIN-{number}", priority=str(1 + number % 5)))
    scan(store)
    assert orders() == (True, True)


def test_an_order_in_which_a_fresh_file_had_a_part_is_not_kept(
    project: Repo, store: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fresh file is not in the index; once it is gone, the kept order would count what it depended on."""
    fresh = project.write(".kin/tasks/KIN-99.yaml", task_text("KIN-99", depends_on="KIN-5"))
    changed = fresh.stat().st_ctime_ns
    monkeypatch.setattr(index.time, "time_ns", lambda: changed + index.RACY_NS)
    scan(store)
    fresh.unlink()
    assert scan(store).in_order is False


@pytest.mark.usefixtures("later")
def test_a_broken_file_is_told_each_time(project: Repo, store: Project) -> None:
    project.write(".kin/tasks/KIN-1.yaml", "id: KIN-1\nstatus: [\n")
    for _ in range(3):
        found = scan(store)
        assert [b.path for b in found.broken] == [".kin/tasks/KIN-1.yaml"]
        assert len(found.tasks) == COUNT - 1


@pytest.mark.usefixtures("later")
def test_a_store_that_cannot_hold_an_index_is_listed_all_the_same(store: Project) -> None:
    Path(store.common).parent.joinpath("kin").write_text("no folder here")
    assert len(scan(store).tasks) == COUNT


def test_many_may_build_it_at_once(store: Project, cache: Path) -> None:
    old = time.time() - 60
    for path in Path(store.store, "tasks").iterdir():
        os.utime(path, (old, old))
    code = (
        "import sys, time; now = time.time_ns; time.time_ns = lambda: now() + 3_000_000_000\n"
        "from kin.store import project, tasks; print(len(tasks.scan(project.find(sys.argv[1], {})).tasks))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, store.root], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert [process.communicate()[0] for process in started] == [f"{COUNT}\n"] * 6
    assert os.listdir(cache.parent) == [cache.name]


def test_no_tasks_folder_is_no_task(repo: Repo) -> None:
    (repo.path / ".kin").mkdir()
    assert scan(find(str(repo.path), {})).tasks == {}


@pytest.mark.parametrize("name", [".KIN-3.yaml.swp", "KIN-3.yaml~", ".kin.tmp", "#KIN-3.yaml#", "README.md", "4913"])
def test_what_editors_leave_beside_tasks_is_no_task(project: Repo, store: Project, name: str) -> None:
    project.write(f".kin/tasks/{name}", "id: [")
    assert scan(store).broken == []


def test_a_link_that_goes_round_is_told(project: Repo, store: Project) -> None:
    path = project.path / ".kin" / "tasks" / "KIN-1.yaml"
    path.unlink()
    path.symlink_to("KIN-1.yaml")
    found = scan(store)
    assert [b.path for b in found.broken] == [".kin/tasks/KIN-1.yaml"]
    assert len(found.tasks) == COUNT - 1


@pytest.mark.parametrize("name", ["login.yaml", "kin-3.yaml", "KIN-3.yml", "KIN-.yaml"])
def test_a_yaml_file_that_is_no_task_by_name_is_told(project: Repo, store: Project, name: str) -> None:
    project.write(f".kin/tasks/{name}", task_text("KIN-300"))
    assert [b.path for b in scan(store).broken] == [f".kin/tasks/{name}"]
