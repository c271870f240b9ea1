"""Many who write one task file at once: kin's processes among each other, and beside editors that know of no lock.

    python bench/writers.py [--processes 32] [--updates 100] [--saves 1000] [--folder DIR]

Counted are kin's lost and refused updates, the editors' lost saves, and the states of the file that could not be read. An
editor reads, edits, looks whether the file changed meanwhile (as editors do) and saves, by renaming or by truncating; what it
overwrites between its last look and its save, nobody can keep from being overwritten: that is the window that remains.
"""

import argparse
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kin.errors import Busy
from kin.store.files import edit_file
from kin.store.project import Project, find


def make(folder: str, keys: int) -> tuple[Project, str]:
    """A repository whose one task file has a number for every writer."""
    subprocess.run(["git", "init", "-q", folder], check=True)
    path = Path(folder, ".kin", "tasks", "KIN-1.yaml")
    path.parent.mkdir(parents=True)
    path.write_text("hand: 0\n" + "".join(f"k{n}: 0\n" for n in range(keys)))
    return find(folder, {}), str(path)


def fork(work: Callable[[], str]) -> tuple[int, int]:
    """Run `work` in a process of its own, which tells what it returns through a pipe."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, work().encode())
        os._exit(0)
    os.close(tell)
    return pid, told


def answer(child: tuple[int, int]) -> list[int]:
    """The numbers that a child told. A child that died told nothing, which is an error here."""
    pid, told = child
    words = os.read(told, 4096).split()
    os.close(told)
    if os.waitpid(pid, 0)[1] != 0 or not words:
        raise SystemExit(f"a writer died: {words}")
    return [int(word) for word in words]


def number(text: str, key: str) -> int:
    """The value of `key`, -1 if the text is not whole."""
    found = re.search(rf"^{key}: (\d+)\n", text, re.M)
    return int(found[1]) if found else -1


def kin_writer(project: Project, path: str, key: str, go_on: Callable[[int], bool]) -> str:
    """Count `key` up. Says how many updates were made, how many of them somebody undid, and how many were refused."""
    made = lost = refused = last = 0
    while go_on(made + refused):
        before: list[int] = []

        def up(text: str, before: list[int] = before, last: int = last) -> str:
            before[:] = [number(text, key)]
            return re.sub(rf"^{key}: \d+$", f"{key}: {max(before[0], last) + 1}", text, flags=re.M)

        try:
            edit_file(project, path, up)
        except Busy:
            refused += 1
            continue
        lost += before[0] < last
        last, made = max(before[0], last) + 1, made + 1
    return f"{made} {lost} {refused}"


def among_themselves(folder: str, processes: int, updates: int) -> None:
    """kin's processes update different keys of one file while a reader looks at every state."""
    project, path = make(folder, processes)
    done = os.path.join(folder, "done")

    def read() -> str:
        states = unreadable = 0
        while not os.path.exists(done):
            unreadable += number(Path(path).read_text(), f"k{processes - 1}") < 0
            states += 1
        return f"{states} {unreadable}"

    reader = fork(read)
    started = time.perf_counter()
    children = [fork(lambda n=n: kin_writer(project, path, f"k{n}", lambda so_far: so_far < updates)) for n in range(processes)]
    made, lost, refused = map(sum, zip(*map(answer, children), strict=True))
    took = time.perf_counter() - started
    Path(done).touch()
    states, unreadable = answer(reader)
    text = Path(path).read_text()
    right = all(number(text, f"k{n}") == updates for n in range(processes))
    print(
        f"{processes} processes x {updates}: {made} made, {lost} lost, {refused} refused in {took:.1f} s; sums right: {right}"
    )
    print(f"  a reader saw {states} states, {unreadable} of them not whole")


def beside(folder: str, way: str, saves: int) -> None:
    """Two writers of kin's beside an editor that saves `saves` times, 3 ms apart."""
    project, path = make(folder, 2)
    done = os.path.join(folder, "done")
    writers = [fork(lambda n=n: kin_writer(project, path, f"k{n}", lambda _: not os.path.exists(done))) for n in range(2)]
    lost = 0
    for n in range(saves):
        lost += not _waits_for(path, n)
        text = Path(path).read_text()
        while (edited := re.sub(r"^hand: \d+$", f"hand: {n + 1}", text, flags=re.M)) and Path(path).read_text() != text:
            text = Path(path).read_text()
        if way == "truncate":
            Path(path).write_text(edited)
        else:
            Path(path + "~").write_text(edited)
            os.rename(path + "~", path)
        threading.Event().wait(0.003)
    lost += not _waits_for(path, saves)
    Path(done).touch()
    made, theirs, refused = map(sum, zip(*map(answer, writers), strict=True))
    print(f"beside an editor that saves by {way}: {lost} of its {saves} saves lost")
    print(f"  kin: {made} made, {refused} refused; {theirs} overwritten by a save that had not seen them")


def _waits_for(path: str, n: int) -> bool:
    """Whether the save of `n` is there; kin's swap may show the older text for an instant."""
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        if number(Path(path).read_text(), "hand") == n:
            return True
    return False


def main() -> None:
    """Run the three and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--saves", type=int, default=1000)
    parser.add_argument("--folder", help="where to put the repositories: the file system that is tried")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as base:
        among_themselves(os.path.join(base, "kin"), asked.processes, asked.updates)
        for way in ("rename", "truncate"):
            beside(os.path.join(base, way), way, asked.saves)


if __name__ == "__main__":
    main()
