"""Writing beside people: nothing half-written, nothing lost, whatever dies, fills up or saves in between."""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, wait_for

from kin.errors import Busy, Invalid, NotFound
from kin.store import bulk, files
from kin.store.files import edit_file, read_stamped, remove_file, replace, write_new, write_own
from kin.store.locks import lock_path, try_lock
from kin.store.project import Project, find

TEXT = "id: KIN-1\n\nstatus: todo\n"


@pytest.fixture
def store(repo: Repo) -> Project:
    repo.write(".kin/kin.yaml", "key: KIN\n")
    repo.write(".kin/tasks/KIN-1.yaml", TEXT)
    return find(str(repo.path), {})


@pytest.fixture
def path(store: Project) -> str:
    return os.path.join(store.store, "tasks", "KIN-1.yaml")


def _to_done(text: str) -> str:
    return text.replace("todo", "done")


def _text(path: str) -> str:
    return Path(path).read_text()


def _names(path: str) -> list[str]:
    return sorted(os.listdir(os.path.dirname(path)))


def _child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process of its own; its exit code is 0, or 1 if it raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def _end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_an_edit_changes_the_text_and_leaves_nothing_else(store: Project, path: str) -> None:
    os.chmod(path, 0o640)
    assert edit_file(store, path, _to_done) == _text(path) == "id: KIN-1\n\nstatus: done\n"
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert _names(path) == ["KIN-1.yaml"]


def test_an_edit_that_changes_nothing_writes_nothing(store: Project, path: str) -> None:
    before = os.stat(path)
    assert edit_file(store, path, lambda text: text) == TEXT
    assert os.stat(path) == before


def test_what_a_kin_killed_in_mid_edit_left_goes_with_the_next_recovery(store: Project, path: str) -> None:
    from kin.runner.upkeep.watchdog import recover

    left = Path(path).with_name(files.TEMPORARY)
    left.write_text("half")
    assert recover(store) == [] and not left.exists() and os.path.exists(path)


def test_a_refused_edit_leaves_the_file_alone(store: Project, path: str) -> None:
    def refuse(text: str) -> str:
        raise Invalid("no")

    before = os.stat(path)
    with pytest.raises(Invalid, match="no"):
        edit_file(store, path, refuse)
    assert os.stat(path) == before
    assert _names(path) == ["KIN-1.yaml"]


@pytest.mark.parametrize("exchange", [True, False])
def test_an_editor_that_renames_its_file_into_place_meanwhile_loses_nothing(
    store: Project, path: str, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_renameat2", lambda: None)
    saves = iter([True])

    def change(text: str) -> str:
        if next(saves, False):
            Path(path + "~").write_text(text.replace("KIN-1", "KIN-1 # by hand"))
            os.rename(path + "~", path)
        return _to_done(text)

    edit_file(store, path, change)
    assert _text(path) == "id: KIN-1 # by hand\n\nstatus: done\n"
    assert _names(path) == ["KIN-1.yaml"]


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_an_editor_that_renames_in_the_last_instant_loses_nothing(
    store: Project, path: str, saves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every check that kin can make, and again whenever kin puts a save back: the swap itself must notice."""
    exchange, count = files._exchange, iter(range(1, saves + 1))

    def save_then_exchange(one: str, other: str) -> bool:
        if number := next(count, 0):
            Path(path + "~").write_text(TEXT.replace("KIN-1", f"KIN-1 # by hand {number}"))
            os.rename(path + "~", path)
        return exchange(one, other)

    monkeypatch.setattr(files, "_exchange", save_then_exchange)
    edit_file(store, path, _to_done)
    assert _text(path) == f"id: KIN-1 # by hand {saves}\n\nstatus: done\n"
    assert _names(path) == ["KIN-1.yaml"]


def test_a_file_that_git_replaces_meanwhile_is_waited_for(store: Project, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`git checkout` unlinks a file before it writes it anew."""
    exchange, gone = files._exchange, iter([True])

    def unlink_then_exchange(one: str, other: str) -> bool:
        if next(gone, False):
            os.unlink(path)
            try:
                return exchange(one, other)
            finally:
                Path(path).write_text(TEXT.replace("KIN-1", "KIN-1 # from git"))
        return exchange(one, other)

    monkeypatch.setattr(files, "_exchange", unlink_then_exchange)
    edit_file(store, path, _to_done)
    assert _text(path) == "id: KIN-1 # from git\n\nstatus: done\n"
    assert _names(path) == ["KIN-1.yaml"]


def test_an_editor_that_opens_the_file_meanwhile_saves_first(store: Project, path: str) -> None:
    """Its open(O_TRUNC) waits for kin's lease; kin notices, gives way and makes its change on what was saved."""
    editors: list[subprocess.Popen[bytes]] = []
    saved = TEXT.replace("KIN-1", "KIN-1 # by hand")

    def change(text: str) -> str:
        if not editors:
            editors.append(subprocess.Popen(["sh", "-c", 'printf %s "$1" > "$2"', "sh", saved, path]))
            wait_for(lambda: b"BREAKING" in Path("/proc/locks").read_bytes())
        return _to_done(text)

    edit_file(store, path, change)
    assert editors[0].wait() == 0
    assert _text(path) == "id: KIN-1 # by hand\n\nstatus: done\n"
    assert _names(path) == ["KIN-1.yaml"]


def test_a_file_that_is_being_written_is_waited_for_and_not_taken_as_it_is(
    store: Project, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    with open(path, "w") as editor:
        editor.write("id: KIN")
        editor.flush()
        with pytest.raises(Busy, match=r"\.kin/tasks/KIN-1\.yaml is being written"):
            edit_file(store, path, _to_done)
    assert _text(path) == "id: KIN"


def test_a_file_truncated_a_moment_ago_is_not_taken_as_empty(
    store: Project, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    Path(path).write_text("")
    with pytest.raises(Busy):
        edit_file(store, path, lambda text: "never")
    os.utime(path, (1, 1))
    assert edit_file(store, path, lambda text: "now") == "now"


def test_a_link_within_the_repository_is_followed(store: Project, path: str) -> None:
    target = os.path.join(store.root, "elsewhere.yaml")
    os.rename(path, target)
    os.symlink("../../elsewhere.yaml", path)
    edit_file(store, path, _to_done)
    assert os.path.islink(path)
    assert _text(target) == "id: KIN-1\n\nstatus: done\n"


def test_a_link_out_of_the_repository_is_refused(store: Project, path: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    os.rename(path, outside)
    os.symlink(outside, path)
    with pytest.raises(Invalid, match=r"\.kin/tasks/KIN-1\.yaml: a symbolic link leads out"):
        edit_file(store, path, _to_done)
    assert outside.read_text() == TEXT


@pytest.mark.parametrize("where", ["..", ".git"])
def test_a_folder_that_is_a_link_out_of_the_files_is_refused(store: Project, where: str) -> None:
    os.symlink(os.path.join(store.root, where), os.path.join(store.store, "notes"))
    path = os.path.join(store.store, "notes", "KIN-1", "n.yaml")
    for write in (lambda: files.add_file(store, path, "x"), lambda: replace(store, path, "x", expect=None)):
        with pytest.raises(Invalid, match=r"\.kin/notes/KIN-1/n\.yaml"):
            write()
    assert not os.path.exists(os.path.join(store.root, where, "KIN-1"))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "huge"])
def test_what_is_no_regular_file_of_sane_size_is_not_read(store: Project, path: str, kind: str) -> None:
    os.unlink(path)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "device":
        os.symlink("/dev/zero", path)
    else:
        with open(path, "w") as file:
            file.truncate(1 << 40)
    with pytest.raises(Invalid, match=r"KIN-1\.yaml: cannot be read"):
        files.read_text(path, ".kin/tasks/KIN-1.yaml")
    with pytest.raises(Invalid, match=r"KIN-1\.yaml"):
        edit_file(store, path, _to_done)


def test_a_file_that_is_not_there_is_named(store: Project) -> None:
    with pytest.raises(NotFound, match=r"\.kin/tasks/KIN-2\.yaml"):
        edit_file(store, os.path.join(store.store, "tasks", "KIN-2.yaml"), _to_done)


def test_replace_refuses_what_was_changed_meanwhile(store: Project, path: str) -> None:
    replace(store, path, "new\n", expect=TEXT.encode())
    with pytest.raises(Busy):
        replace(store, path, "newer\n", expect=TEXT.encode())
    assert _text(path) == "new\n"
    replace(store, path, "newest\n", expect=None)
    replace(store, path + "2", "other\n", expect=None)
    assert (_text(path), _text(path + "2")) == ("newest\n", "other\n")


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_new_file_never_replaces_one(path: str, unnamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not unnamed:
        monkeypatch.delattr(os, "O_TMPFILE")
    with pytest.raises(FileExistsError):
        write_new(path, "other")
    fresh = os.path.join(os.path.dirname(path), "deep", "er", "KIN-2.yaml")
    write_new(fresh, "new\n")
    assert (_text(path), _text(fresh)) == (TEXT, "new\n")
    assert _names(fresh) == ["KIN-2.yaml"]


def test_one_of_many_makes_a_new_file(path: str) -> None:
    fresh = path.replace("KIN-1", "KIN-2")
    ends = [_end_of(pid) for pid in [_child(lambda n=n: write_new(fresh, f"{n}\n")) for n in range(8)]]
    assert sorted(ends) == [0] + [1] * 7
    assert int(_text(fresh)) == ends.index(0)


def test_removing_twice_is_removing_once(store: Project, path: str) -> None:
    remove_file(store, path)
    remove_file(store, path)
    assert not os.path.exists(path)


def test_kins_own_files_are_for_the_owner_only(store: Project) -> None:
    path = os.path.join(store.common, "run", "KIN-1", "r.yaml")
    write_own(path, "one\n")
    write_own(path, "two\n")
    assert _text(path) == "two\n"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert _names(path) == ["r.yaml"]


def test_no_update_among_processes_is_lost_and_no_reader_sees_half_a_file(store: Project, path: str) -> None:
    processes, updates = 32, 5
    Path(path).write_text("".join(f"k{n}: 0\n" for n in range(processes)))
    done = os.path.join(store.root, "done")

    def update(n: int) -> None:
        for i in range(updates):
            edit_file(store, path, lambda text, i=i: text.replace(f"k{n}: {i}\n", f"k{n}: {i + 1}\n"))

    def watch() -> None:
        while not os.path.exists(done):
            assert re.fullmatch(r"(k\d+: \d\n){32}", read_stamped(path)[0].decode())

    watcher = _child(watch)
    assert [_end_of(pid) for pid in [_child(lambda n=n: update(n)) for n in range(processes)]] == [0] * processes
    Path(done).touch()
    assert _end_of(watcher) == 0
    assert _text(path) == "".join(f"k{n}: {updates}\n" for n in range(processes))
    assert _names(path) == ["KIN-1.yaml"]


@pytest.mark.parametrize("way", ["rename", "truncate"])
def test_no_save_of_an_editor_is_lost_to_kin(store: Project, path: str, way: str) -> None:
    """An editor saves again and again, as fast as it can; what it saved stays until it saves anew, whatever kin does."""
    done = os.path.join(store.root, "done")
    Path(path).write_text("kin: 0\nhand: 0\n")

    def save(text: str) -> None:
        if way == "truncate":
            Path(path).write_text(text)
        else:
            Path(path + "~").write_text(text)
            os.rename(path + "~", path)

    def edit_by_hand() -> None:
        for n in range(100):
            wait_for(lambda n=n: f"hand: {n}\n" in _text(path), 5)  # for an instant kin's swap may show the text before
            save(re.sub(r"hand: \d+", f"hand: {n + 1}", _text(path)))

    def count_up() -> None:
        while not os.path.exists(done):
            edit_file(store, path, lambda text: re.sub(r"kin: (\d+)", lambda m: f"kin: {int(m[1]) + 1}", text))

    writer = _child(count_up)
    editor = _end_of(_child(edit_by_hand))
    Path(done).touch()
    assert (editor, _end_of(writer)) == (0, 0)
    assert re.fullmatch(r"kin: \d+\nhand: 100\n", _text(path))
    assert _names(path) == ["KIN-1.yaml"]


@pytest.mark.parametrize("write", ["edit", "new", "own"])
def test_a_full_disk_is_said_and_harms_nothing(store: Project, path: str, write: str) -> None:
    """A size limit on files is the one way to fill a disk that needs no rights; a real full tmpfs is below."""
    _check_full(store, path, write, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)), "large")


@pytest.mark.parametrize("write", ["edit", "new", "own"])
def test_a_real_full_disk_is_said_and_harms_nothing(tmp_path: Path, repo: Repo, write: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "kin-test", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system needs rights that this user does not have")
    try:
        shutil.copytree(repo.path, disk / "repo", symlinks=True)
        path = str(disk / "repo" / ".kin" / "tasks" / "KIN-1.yaml")
        os.makedirs(os.path.dirname(path))
        Path(path).write_text(TEXT)
        store = find(str(disk / "repo"), {})
        with try_lock(lock_path(store.common, "store")) or pytest.fail("free"):
            write_own(os.path.join(store.common, "run", "x"), "")
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize

        def fill() -> None:
            (disk / "ballast").write_bytes(b"x" * room)

        _check_full(store, path, write, fill, "No space left on device")
    finally:
        subprocess.run(["umount", disk], check=True)


def _check_full(store: Project, path: str, write: str, fill: Callable[[], None], says: str) -> None:
    fresh, own = path.replace("KIN-1", "KIN-2"), os.path.join(store.common, "run", "x")
    long = "x: " + "long" * 5000 + "\n"
    ways: dict[str, tuple[str, Callable[[], object]]] = {
        "edit": (path, lambda: edit_file(store, path, lambda text: text + long)),
        "new": (fresh, lambda: write_new(fresh, long)),
        "own": (own, lambda: write_own(own, long)),
    }
    name, way = ways[write]

    def filled() -> None:
        fill()
        with pytest.raises(Invalid, match=f"{re.escape(os.path.basename(name))}.*{says}"):
            way()

    assert _end_of(_child(filled)) == 0
    assert _text(path) == TEXT
    assert _names(path) == ["KIN-1.yaml"]
    assert not os.path.exists(own) or _text(own) == ""


@pytest.mark.parametrize("point", ["files.tmp", "files.swapped", "files.done"])
def test_killed_anywhere_the_file_is_old_or_new_and_the_next_write_tidies_up(store: Project, path: str, point: str) -> None:
    def killed() -> None:
        os.environ["KIN_FAULT"] = point
        edit_file(store, path, _to_done)

    assert _end_of(_child(killed)) == -signal.SIGKILL
    assert _text(path) == (TEXT if point == "files.tmp" else "id: KIN-1\n\nstatus: done\n")
    other = path.replace("KIN-1", "KIN-2")
    write_new(other, TEXT)
    edit_file(store, other, _to_done)
    assert _names(path) == ["KIN-1.yaml", "KIN-2.yaml"]


def test_killed_while_making_a_file_there_is_none(path: str) -> None:
    fresh = path.replace("KIN-1", "KIN-2")

    def killed() -> None:
        os.environ["KIN_FAULT"] = "files.unnamed"
        write_new(fresh, TEXT)

    assert _end_of(_child(killed)) == -signal.SIGKILL
    assert _names(path) == ["KIN-1.yaml"]


CALLS = ["open", "read", "write", "close", "fsync", "fchmod", "stat", "fstat", "lseek", "dup", "mkdir", "rmdir"]
CALLS += ["link", "unlink", "rename", "replace", "listdir", "scandir"]
"""Calls of the system that a write makes through `os`; `_exchange` is one more."""
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EINTR": errno.EINTR, "short": 0, "kill": -1}


def _spoil(count: int, fault: int) -> Callable[[], bool]:
    """Let the `count`-th call from now on fail, write a half of what it is given, or be the last; returns whether it came."""
    passed = 0

    def spoiled(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed != count or (fault == 0 and name != "write"):
                return real(*args, **options)
            if fault == 0:
                return real(args[0], args[1][: len(args[1]) // 2])
            if fault < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "close":
                of_lock = "/locks/" in os.readlink(f"/proc/self/fd/{args[0]}")
                real(*args)  # as the kernel does: the descriptor is gone, whatever it says
                if of_lock:  # which holds nothing to write, so closing it cannot fail
                    return None
            raise OSError(fault, os.strerror(fault), *(a for a in args[:1] if isinstance(a, str)))

        return call

    for name in CALLS:
        setattr(os, name, spoiled(name, getattr(os, name)))
    files._exchange = spoiled("exchange", files._exchange)  # type: ignore[assignment]
    return lambda: passed >= count


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("write", ["edit", "new", "own", "many"])
def test_whatever_call_fails_there_is_the_old_or_the_new(store: Project, path: str, write: str, fault: str) -> None:
    folder, own = os.path.dirname(path), os.path.join(store.common, "run", "x")
    fresh = [os.path.join(folder, f"KIN-{n}.yaml") for n in (2, 3)]
    ways: dict[str, tuple[list[str], Callable[[], object]]] = {
        "edit": ([path], lambda: edit_file(store, path, _to_done)),
        "new": (fresh[:1], lambda: write_new(fresh[0], TEXT)),
        "own": ([own], lambda: write_own(own, _to_done(TEXT))),
        "many": (fresh, lambda: bulk.write(store, [(name, TEXT) for name in fresh], 2)),
    }
    targets, way = ways[write]
    write_own(own, TEXT)

    def state() -> list[str | None]:
        return [_text(name) if os.path.exists(name) else None for name in targets]

    old = state()
    way()
    new = state()
    for count in range(1, 200):
        for name, text in zip(targets, old, strict=True):
            os.unlink(name) if text is None else Path(name).write_text(text)

        def spoiled(count: int = count) -> None:
            came = _spoil(count, FAULTS[fault])
            try:
                way()
            except Invalid as error:
                assert any(os.path.basename(name) in str(error) for name in (*targets, folder, "locks/store", "locks/add")), (
                    error
                )
                os._exit(7)
            os._exit(0 if came() else 42)

        end = _end_of(_child(spoiled))
        assert end in (0, 7, 42, -signal.SIGKILL), f"call {count}: {end}"
        edit_file(store, path, lambda text: text + "# next\n")
        bulk.finish(store)
        write_own(own, _text(own))
        Path(path).write_text(_text(path).removesuffix("# next\n"))
        assert state() in ((old, new) if end not in (0, 42) else (new,)), f"call {count}: {end}"
        left = [name for where in (folder, os.path.dirname(own)) for name in os.listdir(where) if name.startswith(".")]
        assert not left, f"call {count}: {left}"
        if end == 42:
            break
        if state() != new:
            way()
    assert 8 < count < 199


EDIT = """
import sys
from kin.errors import Invalid
from kin.store.files import edit_file
from kin.store.project import find
try:
    edit_file(find(sys.argv[1], {}), sys.argv[2], lambda text: text.replace("todo", "done"))
except Invalid as error:
    print(error)
    sys.exit(7)
"""


def _traced(store: Project, path: str, *inject: str) -> subprocess.CompletedProcess[str]:
    """The edit in a process of its own under strace, which sees (and spoils) only calls on the task's folder and files."""
    on = [
        flag for p in (os.path.dirname(path), path, os.path.join(os.path.dirname(path), files.TEMPORARY)) for flag in ("-P", p)
    ]
    log = os.path.join(store.root, "trace")
    argv = ["strace", "-qq", "-o", log, *on, *inject, sys.executable, "-c", EDIT, store.root, path]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def _calls(store: Project, path: str) -> list[tuple[str, int]]:
    """Every system call of an edit that touches the files, as (name, which of its kind)."""
    done = _traced(store, path)
    assert done.returncode == 0, done.stderr
    seen: list[tuple[str, int]] = []
    for line in Path(store.root, "trace").read_text().splitlines():
        if name := re.match(r"(\w+)\(", line):
            seen.append((name[1], sum(n == name[1] for n, _ in seen) + 1))
    return seen


@pytest.mark.nightly
@pytest.mark.parametrize("fault", ["error=EIO", "error=ENOSPC", "error=EINTR", "signal=KILL"])
def test_whatever_call_fails_under_strace_the_file_is_old_or_new(store: Project, path: str, fault: str) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    calls = _calls(store, path)
    assert {"openat", "read", "write", "fsync", "fchmod", "renameat2", "close", "unlink"} <= {name for name, _ in calls}
    for name, count in calls:
        Path(path).write_text(TEXT)
        done = _traced(store, path, "-e", f"inject={name}:{fault}:when={count}")
        said = f"{name} {count}: {done.returncode} {done.stdout} {done.stderr}"
        assert _text(path) in (TEXT, _to_done(TEXT)), said
        assert "Traceback" not in done.stderr, said
        if done.returncode == 7:
            assert "KIN-1.yaml" in done.stdout, said
        else:
            assert done.returncode in (0, -signal.SIGKILL), said
            assert done.returncode or _text(path) == _to_done(TEXT), said
        edit_file(store, path, lambda text: text + "# next\n")
        assert _names(path) == ["KIN-1.yaml"], said
