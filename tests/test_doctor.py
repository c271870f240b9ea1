"""`kin doctor`: what is broken or left over is found, what is safe is mended, and nothing that holds work is touched."""

import json
import os
import signal
import subprocess
import threading
import zlib
from pathlib import Path

import pytest
from conftest import Repo, task_text, wait_for

from kin.model.record import Live, Run
from kin.model.status import RunStatus
from kin.runner.tree.worktree import hide_store_config
from kin.runner.upkeep import probes
from kin.runner.upkeep.case import Case, Row
from kin.runner.upkeep.doctor import CHECKS, check_file_system, examine, mend
from kin.store import index, journal, locks, records, tasks
from kin.store.project import Project, find

RUN = "20261124T093200Z-7f3k"


def here(repo: Repo) -> Project:
    return find(str(repo.path), os.environ)


def said(repo: Repo, *words: str, exit: int = 0, env: dict[str, str] | None = None) -> list[Row]:
    """What the command says, as a process of its own."""
    document = json.loads(repo.kin("doctor", *words, "--json", exit=exit, env=env).stdout)
    assert document["kind"] == "doctor.list"
    return [Row(**row) for row in document["data"]]


def doctor(repo: Repo, *words: str, exit: int = 0, env: dict[str, str] | None = None) -> list[Row]:
    """The same without the probes of the file system and in this process: several times faster."""
    environ = os.environ | (env or {})
    mended = [Row("ok", line, name="mended") for line in mend(here(repo), environ)] if words else []
    rows = examine(Case(here(repo), environ), tuple(check for check in CHECKS if check is not check_file_system))
    assert any(row.verdict == "bad" for row in rows) == (exit == 7)
    return mended + rows


def findings(rows: list[Row]) -> list[tuple[str, str]]:
    """Check and verdict of all that is not ok; which agents the machine has is not ours to say."""
    return [(row.name, row.verdict) for row in rows if row.verdict != "ok" and row.name != "agents"]


def words_of(rows: list[Row], name: str) -> str:
    return "\n".join(row.words for row in rows if row.name == name)


def task(repo: Repo, task_id: str = "KIN-1", status: str = "todo") -> None:
    repo.write(f".kin/tasks/{task_id}.yaml", task_text(task_id, status=status))


def worktree(repo: Repo, name: str, *words: str) -> Path:
    """A linked worktree as kin makes it."""
    hide_store_config(here(repo), "KIN")
    path = repo.path.parent / "worktrees" / name
    repo.git("worktree", "add", "-q", "--lock", "--reason", f"kin {name} {RUN}", *words, str(path))
    repo.write(".kin/kin.yaml", "key: KIN\nworktrees: ../worktrees\n")
    return path


def test_a_healthy_clone_has_no_findings_and_nothing_changes(project: Repo) -> None:
    before = project.status(), project.git("for-each-ref")
    rows = said(project)
    assert findings(rows) == [] and (project.status(), project.git("for-each-ref")) == before
    assert "git 2." in words_of(rows, "git") and "free" in words_of(rows, "disk")
    assert not list((project.path / ".git/kin/cache").glob(".kin-doctor*"))
    assert "ok    git" in project.kin("doctor").stdout


def test_an_old_git_and_no_git_at_all_are_bad(project: Repo, tmp_path: Path) -> None:
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho git version 2.20.1\n")
    program.chmod(0o755)
    (row,) = said(project, exit=7, env={"PATH": str(program.parent)})
    assert row.verdict == "bad" and "2.38" in row.fix
    program.unlink()
    (row,) = said(project, exit=7, env={"PATH": str(program.parent)})
    assert "not installed" in row.words


def test_a_broken_kin_yaml_is_named_and_the_other_checks_go_on(project: Repo) -> None:
    project.write(".kin/kin.yaml", "key: KIN\nmode: perhaps\n")
    project.write(".kin/tasks/KIN-9.yaml", "id: KIN-8\ntitle: x\nstatus: todo\n")
    rows = doctor(project, exit=7)
    assert findings(rows)[0] == ("settings", "bad") and "kin.yaml:2:7" in words_of(rows, "settings")
    assert "free" in words_of(rows, "disk")
    project.write(".kin/kin.yaml", "key: KIN\n")
    assert "KIN-9.yaml" in words_of(doctor(project), "settings")


def test_a_merge_driver_that_this_clone_lacks_is_named(project: Repo) -> None:
    project.write(".kin/.gitattributes", "* text eol=lf\n*.yaml merge=kin\n")
    assert "merge driver kin" in words_of(doctor(project), "settings")
    assert "merge driver is registered" in project.kin("doctor", "--fix", exit=None).stdout
    assert findings(doctor(project)) == []
    assert "kin merge-file" in project.git("config", "merge.kin.driver")


def test_a_run_whose_process_was_killed_is_found_and_mended(project: Repo) -> None:
    project.kin("add", "One", "--run", "echo started; exec sleep 100")
    runner = project.start("run", "KIN-1", stdout=subprocess.DEVNULL)
    wait_for(lambda: "started" in project.kin("log", "KIN-1", exit=None).stdout)
    assert findings(doctor(project)) == []
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    assert ("runs", "warn") in findings(doctor(project))
    rows = said(project, "--fix")
    assert "KIN-1: its process" in words_of(rows, "mended") and findings(rows) == []
    assert "status: blocked" in project.read(".kin/tasks/KIN-1.yaml")
    assert "most of it KIN-1" in words_of(rows, "disk")


def test_unreadable_records_and_journal_entries_are_bad_and_left(project: Repo) -> None:
    record = project.write(f".git/kin/run/KIN-1/{RUN}.yaml", "{broken")
    entry = project.write(".git/kin/journal/move-main.json", "{broken")
    for words in ((), ("--fix",)):
        rows = doctor(project, *words, exit=7)
        assert {("runs", "bad"), ("journal", "bad")} <= set(findings(rows)), words
        assert record.exists() and entry.exists()


def test_a_broken_record_costs_no_work_once_it_is_moved_away(project: Repo, tmp_path: Path) -> None:
    project.kin("add", "One", "--run", "echo one > one.txt")
    project.kin("set", "1", "mode=review")
    project.kin("run", "1", exit=3)
    (record,) = (project.path / ".git/kin/run/KIN-1").iterdir()
    record.write_text("{broken")
    assert "move that file away" in str(doctor(project, exit=7))
    record.rename(tmp_path / "away")
    project.kin("set", "1", "status=todo")
    assert "it is kept: `kin salvage show KIN-1" in project.kin("run", "1", exit=3).stdout


def test_a_lock_that_cannot_be_asked_is_named_and_stops_nothing_else(project: Repo) -> None:
    project.kin("add", "One", "--run", "true")
    locks_folder = project.path / ".git/kin/locks"
    (locks_folder / "KIN-2").mkdir()
    (locks_folder / "KIN-3").symlink_to(project.write("elsewhere", ""))
    assert all(f"locks/{name}" in words_of(doctor(project, exit=7), "runs") for name in ("KIN-2", "KIN-3"))
    for words in (("list",), ("status",), ("why", "KIN-1"), ("run", "KIN-1")):
        project.kin(*words)


def test_a_move_that_was_cut_short_is_found(project: Repo) -> None:
    entry = {"kind": "move", "task": "KIN-1", "ref": "refs/heads/feature/x"}
    journal.write(here(project), "move-feature/x", entry)
    rows = doctor(project)
    assert findings(rows) == [("journal", "warn")] and "KIN-1" in words_of(rows, "journal")


def test_a_worktree_that_no_run_owns_is_removed_only_if_the_target_holds_it(project: Repo) -> None:
    merged = worktree(project, "KIN-1", "-b", "kin/KIN-1")
    ahead = worktree(project, "KIN-2", "-b", "kin/KIN-2")
    Repo(ahead).commit("work", file="x\n")
    dirty = worktree(project, "KIN-3", "-b", "kin/KIN-3")
    (dirty / "file").write_text("mine\n")
    gates = worktree(project, "KIN-1-gates", "--detach")
    assert [name for name, _ in findings(doctor(project))] == ["worktrees"] * 4
    done = words_of(doctor(project, "--fix"), "mended")
    assert not merged.exists() and not gates.exists() and ahead.exists() and (dirty / "file").exists()
    assert "KIN-3: left, the worktree has uncommitted files" in done
    assert project.git("branch", "--list", "kin/*").split() == ["+", "kin/KIN-2", "+", "kin/KIN-3"]


def test_a_worktree_that_a_person_moved_is_still_its_tasks_and_a_persons_own_is_theirs(project: Repo) -> None:
    path, moved = worktree(project, "KIN-1", "-b", "kin/KIN-1"), project.path.parent / "elsewhere-1"
    project.git("worktree", "move", "-f", "-f", str(path), str(moved))
    mine = project.path.parent / "mine"
    project.git("worktree", "add", "-q", "--lock", "--reason", "kin of-mine is away", "--detach", str(mine))
    assert "KIN-1: worktree and branch removed" in words_of(doctor(project, "--fix"), "mended")
    assert not moved.exists() and mine.exists() and findings(doctor(project)) == []


def test_worktrees_and_branches_with_a_run_are_nobodys_leftovers(project: Repo) -> None:
    path = worktree(project, "KIN-1", "-b", "kin/KIN-1")
    task(project)
    live = Live(pid=1, worktree=str(path))
    records.save_live(here(project), Run(RUN, "KIN-1", RunStatus.waiting, "2026-11-24T09:32:00Z", base="main", live=live))
    assert findings(doctor(project, "--fix")) == [] and path.exists()


def test_a_worktree_whose_folder_is_gone_is_forgotten_unless_it_had_staged_files(project: Repo) -> None:
    for name in ("KIN-1", "KIN-2"):
        path = worktree(project, name, "-b", f"kin/{name}")
        (path / "staged").write_text("mine\n")
        if name == "KIN-2":
            Repo(path).git("add", "staged")
        subprocess.run(["rm", "-r", str(path)], check=True)
    rows = doctor(project, "--fix")
    assert "staged files" in words_of(rows, "worktrees") and "KIN-1" not in words_of(rows, "worktrees")
    assert project.git("worktree", "list", "--porcelain").count("kin KIN-") == 1


def test_an_unmounted_worktree_is_left(project: Repo) -> None:
    path = worktree(project, "KIN-1", "-b", "kin/KIN-1")
    path.parent.rename(path.parent.parent / "elsewhere")
    rows = doctor(project, "--fix")
    assert [row.fix for row in rows if row.name == "worktrees"] == ["is a disk not mounted?"]
    (path.parent.parent / "elsewhere").rename(path.parent)
    assert Repo(path).git("status", "--porcelain") == ""


def test_a_branch_that_no_run_owns_is_deleted_only_if_the_target_holds_it_and_nobody_is_on_it(project: Repo) -> None:
    project.git("branch", "kin/KIN-1")
    project.git("branch", "kin/mine")
    project.git("switch", "-q", "-c", "kin/KIN-2")
    project.commit("work", file="x\n")
    project.git("switch", "-q", "main")
    project.git("worktree", "add", "-q", "-b", "kin/KIN-3", str(project.path.parent / "mine"))
    done = words_of(doctor(project, "--fix"), "mended")
    branches = project.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/kin").split()
    assert branches == ["kin/KIN-2", "kin/KIN-3", "kin/mine"] and "KIN-3: left" in done


def test_a_merge_that_no_run_makes_is_forgotten_only_if_it_landed(project: Repo) -> None:
    project.git("update-ref", "refs/kin/merge/KIN-1", "main")
    project.git("update-ref", "refs/kin/merge/KIN-2", project.git("commit-tree", "-m", "x", "main^{tree}", "-p", "main"))
    doctor(project, "--fix")
    assert project.git("for-each-ref", "--format=%(refname)", "refs/kin") == "refs/kin/merge/KIN-2"


def test_a_held_lock_keeps_the_doctor_off(project: Repo) -> None:
    path = worktree(project, "KIN-1", "-b", "kin/KIN-1")
    with locks.try_lock(locks.lock_path(here(project).common, "KIN-1")) or pytest.fail("not free"):
        assert findings(doctor(project, "--fix")) == []
    assert path.exists()


def test_an_index_that_disagrees_with_the_files_is_deleted(project: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 30):
        task(project, f"KIN-{number}")
    monkeypatch.setattr(index, "RACY_NS", -(10**12))  # files may be as young as these
    tasks.scan(here(project))
    cache = Path(index.cache_path(here(project).common, str(project.path / ".kin/tasks")))
    assert findings(doctor(project)) == []
    first, rest = cache.read_bytes().split(b"\n", 1)
    parts = [first, b"\n"]
    while rest:  # each part says how long it is and what its checksum is
        size = int.from_bytes(rest[:8], "big")
        wrong = rest[12 : 12 + size].replace(b"A task", b"B task")
        parts += [rest[:8], zlib.crc32(wrong).to_bytes(4, "big"), wrong]
        rest = rest[12 + size :]
    cache.write_bytes(b"".join(parts))
    assert "B task" in project.kin("list").stdout
    assert findings(doctor(project)) == [("index", "warn")]
    assert findings(doctor(project, "--fix")) == [] and "B task" not in project.kin("list").stdout


def test_gits_broken_index_and_a_stale_lock_are_found(project: Repo) -> None:
    lock = project.write(".git/index.lock", "")
    assert findings(doctor(project)) == []
    os.utime(lock, (1, 1))
    assert "index.lock" in words_of(doctor(project), "index")
    lock.unlink()
    (project.path / ".git/index").write_bytes(b"broken")
    assert ("index", "bad") in findings(doctor(project, exit=7))


def test_the_include_that_hides_the_store_is_mended(project: Repo) -> None:
    path = worktree(project, "KIN-1", "-b", "kin/KIN-1")
    task(project)
    live = Live(pid=1, worktree=str(path))
    records.save_live(here(project), Run(RUN, "KIN-1", RunStatus.waiting, "2026-11-24T09:32:00Z", base="main", live=live))
    (project.path / ".git/kin/worktree.gitconfig").unlink(missing_ok=True)
    assert findings(doctor(project)) == [("hidden store", "warn")]
    assert findings(doctor(project, "--fix")) == []
    assert Repo(path).git("config", "core.sparseCheckout") == "true"


def test_agents_are_looked_for_on_the_path(project: Repo, tmp_path: Path) -> None:
    program = tmp_path / "bin/codex"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    env = {"PATH": f"{program.parent}:/usr/bin:/bin"}
    assert "codex" in words_of(doctor(project, env=env), "agents")
    project.write(".kin/kin.yaml", "key: KIN\nagent: gemini\n")
    rows = doctor(project, exit=7, env=env)
    assert "gemini" in words_of(rows, "agents")


def test_what_exists_only_in_this_clone_is_counted(project: Repo) -> None:
    project.git("clone", "-q", "--bare", ".", "../origin.git")
    project.git("remote", "add", "origin", "../origin.git")
    project.git("fetch", "-q", "origin")
    assert words_of(doctor(project), "only here") == "nothing but what remotes have"
    task(project)
    project.commit("later")
    task(project, status="draft")
    project.git("update-ref", "refs/kin/salvage/KIN-1/x", "main")
    words = words_of(doctor(project), "only here")
    assert "1 salvage," in words and "1 file of .kin/" in words and "1 commit that no remote has" in words
    assert "`kin salvage list`" in words_of(doctor(project), "salvage")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "ext4"), ("/home/x", "nfs4"), ("/homes", "ext4"), ("/mnt/my disk/a", "fuse.sshfs"), ("/proc", "proc")],
)
def test_the_file_system_of_a_path_is_read_from_linuxs_table(path: str, kind: str) -> None:
    table = (
        "21 1 8:1 / / rw - xfs /dev/old rw\n22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        "23 22 0:5 / /home rw - nfs4 server:/home rw\n24 22 0:6 / /mnt/my\\040disk rw master:2 - fuse.sshfs me@x: rw\n"
        "25 22 0:7 / /proc rw - proc proc rw\n"
    )
    assert probes.type_in_mountinfo(path, table) == kind


def test_the_file_system_of_a_path_is_read_from_what_mount_prints() -> None:
    printed = "/dev/disk1s5 on / (apfs, local, journaled)\n//me@host/share on /Volumes/My Share (smbfs, nodev)\n"
    assert probes.type_in_mount_output("/Volumes/My Share/repo", printed) == "smbfs"
    assert probes.type_in_mount_output("/Volumes/Other", printed) == "apfs"


@pytest.mark.parametrize(
    ("kind", "shared"), [("nfs4", True), ("9p", True), ("fuse.sshfs", True), ("ext4", False), ("tmpfs", False)]
)
def test_network_mounts_are_told_from_local_ones(kind: str, shared: bool) -> None:
    assert probes.is_network(kind) is shared


def test_what_a_killed_doctor_left_goes_with_the_next_but_not_what_one_beside_it_has(project: Repo) -> None:
    task(project)
    old, new = (project.path / f".git/kin/cache/.kin-doctor-{name}" for name in ("old", "new"))
    old.mkdir(parents=True)
    new.mkdir()
    os.utime(old, (0, 0))
    assert examine(Case(here(project), os.environ), (check_file_system,))[-1].verdict == "ok"
    assert not old.exists() and new.exists()


def test_probes_see_locks_that_do_not_exclude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(fcntl, "flock", lambda fd, how: None)
    assert "taken again in the same process" in probes.locks_exclude(str(tmp_path))


def test_probes_see_a_lock_that_one_close_frees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As POSIX's record locks do, and what emulates flock by them."""
    real = os.dup
    monkeypatch.setattr(os, "dup", lambda fd: real(0))
    monkeypatch.setattr(os, "close", os.close)
    assert "frees a lock that another one still holds" in probes.locks_exclude(str(tmp_path))


def test_probes_see_a_rename_that_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(old: str, new: str) -> None:
        os.unlink(new)
        threading.Event().wait(0.002)
        os.rename(old, new)

    monkeypatch.setattr(os, "replace", replace)
    assert "half replaced" in probes.renames_are_whole(str(tmp_path), 50)
