"""Logs of steps: written while disks fill and runners die, read while they grow."""

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kin.runner.process.logs import LogLine, StepLog, follow, read_lines
from kin.runner.process.mask import make_mask
from tests.conftest import wait_for

mask = make_mask({"TOKEN": "hunter2-secret"}, ["TOKEN"])


class Clock:
    """Seconds since 1970 that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1795512720.5

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "logs" / "KIN-1" / "run")


def texts(folder: str, step: str | None = None) -> list[str]:
    return [line.text for line in read_lines(folder, step)]


def test_records_are_json_lines_for_the_owner_alone(folder: str) -> None:
    with StepLog(folder, "1-developer", mask, clock=Clock()) as log:
        log.write("stdout", ['a "b" \\ ü \u2028 \x00', ""])
        log.note("said hunter2-secret")
    path = os.path.join(folder, "1-developer.jsonl")
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    assert records == [
        {"time": "2026-11-24T09:32:01.500Z", "step": "1-developer", "stream": "stdout", "text": 'a "b" \\ ü \u2028 \x00'},
        {"time": "2026-11-24T09:32:01.500Z", "step": "1-developer", "stream": "stdout", "text": ""},
        {"time": "2026-11-24T09:32:02.500Z", "step": "1-developer", "stream": "kin", "text": "said ***"},
    ]
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert list(read_lines(folder)) == [LogLine(**record) for record in records]


def test_lines_of_all_steps_come_in_the_order_of_their_times(folder: str) -> None:
    clock = Clock()
    with StepLog(folder, "1-developer", mask, clock=clock) as first, StepLog(folder, "2-reviewer", mask, clock=clock) as second:
        first.write("stdout", ["1"])
        second.write("stdout", ["2"])
        first.write("stderr", ["3", "4"])
        second.write("stdout", ["5"])
    assert texts(folder) == ["1", "2", "3", "4", "5"]
    assert texts(folder, "2-reviewer") == ["2", "5"]
    assert texts(folder + "-none") == []


def test_a_step_that_runs_again_goes_on_behind_a_torn_line(folder: str) -> None:
    with StepLog(folder, "1-developer", mask) as log:
        log.write("stdout", ["whole"])
    path = os.path.join(folder, "1-developer.jsonl")
    with open(path, "ab") as file:
        file.write(b'{"time": "2026-11-24T09:32:01.500Z", "st')
    assert texts(folder) == ["whole"]
    with StepLog(folder, "1-developer", mask) as log:
        log.write("stdout", ["again"])
    assert texts(folder) == ["whole", "again"]


def test_a_long_line_is_several_records(folder: str) -> None:
    with StepLog(folder, "1-developer", mask) as log:
        log.write("stdout", ["x" * 150_000])
    assert [len(text) for text in texts(folder)] == [65536, 65536, 18928]


def test_a_full_log_keeps_its_beginning_and_end_and_says_what_went(folder: str) -> None:
    with StepLog(folder, "1-developer", mask, limit=40_000) as log:
        for n in range(1000):
            log.write("stdout", [f"line {n:04}"])
    assert sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)) <= 42_000
    lines = list(read_lines(folder))
    said = [line.text for line in lines if line.stream == "stdout"]
    assert said[0] == "line 0000"
    assert said[-1] == "line 0999"
    assert said == sorted(said)
    notes = [line.text for line in lines if line.stream == "kin"]
    assert len(notes) == 2, "one in each part that stayed"
    assert "bytes of this step's log were dropped" in notes[0]
    with StepLog(folder, "1-developer", mask, limit=40_000) as log:
        log.write("stdout", ["again"])
    assert texts(folder)[-1] == "again"


def test_a_full_disk_fails_nothing_and_the_log_says_what_is_missing(folder: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with StepLog(folder, "1-developer", mask) as log:
        log.write("stdout", ["before"])
        size = os.path.getsize(os.path.join(folder, "1-developer.jsonl"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, hard))
        try:
            log.write("stdout", ["half of it"])
            log.write("stdout", ["none of it", "none of it"])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.write("stdout", ["after"])
    assert texts(folder) == ["before", "up to 3 lines are missing here: the log could not be written", "after"]


def test_a_pipe_in_a_logs_place_holds_up_neither_writer_nor_reader(folder: str) -> None:
    os.makedirs(folder)
    os.mkfifo(f"{folder}/1-dev.jsonl")
    with StepLog(folder, "1-dev", str) as log:
        log.write("stdout", ["x" * 1000] * 200)
        assert list(read_lines(folder)) == []


def test_lines_that_are_no_records_are_passed_over(folder: str) -> None:
    with StepLog(folder, "1-developer", mask) as log:
        log.write("stdout", ["good"])
    with open(os.path.join(folder, "1-developer.jsonl"), "ab") as file:
        file.write(b'\xff\xfe\n[]\n{"time": 1}\n"text"\n\n')
        for time in (b"1", b'"9999-99"'):
            file.write(b'{"time": %s, "step": "1-developer", "stream": "stdout", "text": "a step\'s own"}\n' % time)
    assert texts(folder) == ["good"]


class Follower:
    """`follow` in a thread, so that a test can see what has come."""

    def __init__(self, folder: str) -> None:
        self.live = True
        self.got: list[str] = []
        self._folder = folder
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for line in follow(self._folder, lambda: self.live):
            self.got.append(line.text)

    def ended(self) -> bool:
        return not self._thread.is_alive()


@pytest.fixture
def follower(folder: str) -> Iterator[Follower]:
    follower = Follower(folder)
    yield follower
    follower.live = False
    wait_for(follower.ended)


def test_following_shows_each_line_once_as_it_comes_until_the_run_ends(folder: str, follower: Follower) -> None:
    with StepLog(folder, "1-developer", mask) as log:
        log.write("stdout", ["1"])
        wait_for(lambda: follower.got == ["1"])
        log.write("stdout", ["2"])
        wait_for(lambda: follower.got == ["1", "2"])
    with StepLog(folder, "2-reviewer", mask) as log:
        log.write("stdout", ["3"])
        follower.live = False
    wait_for(follower.ended)
    assert follower.got == ["1", "2", "3"]


def test_what_watchdog_logs_while_it_stops_goes_to_nobody(tmp_path: Path) -> None:
    program = f"""
import logging, threading
from watchdog.observers import Observer
from kin.runner.process.logs import watch
observer = Observer()
for gone in range(20):  # as `kin log -f` does until the run's folder is there
    assert not watch(observer, {str(tmp_path / "later")!r}, threading.Event())
assert watch(observer, {str(tmp_path)!r}, threading.Event())
assert len(logging.getLogger("watchdog").handlers) == 1
logging.getLogger("watchdog.observers.inotify").error("called when the thread is inactive")
observer.stop()
observer.join()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_following_goes_on_over_a_rotation(folder: str, follower: Follower) -> None:
    with StepLog(folder, "1-developer", mask, limit=4000) as log:
        for n in range(10):
            log.write("stdout", [f"{n} " + "x" * 500])
            wait_for(lambda n=n: len([text for text in follower.got if "x" in text]) == n + 1)
    assert [text[0] for text in follower.got if "x" in text] == list("0123456789")


def test_half_a_line_is_shown_when_it_is_whole(folder: str, follower: Follower) -> None:
    os.makedirs(folder)
    record = json.dumps({"time": "2026-11-24T09:32:01.500Z", "step": "1", "stream": "stdout", "text": "whole"}).encode()
    with open(os.path.join(folder, "1.jsonl"), "wb", buffering=0) as file:
        file.write(record[:30])
        with StepLog(folder, "2-reviewer", mask) as log:
            log.write("stdout", ["meanwhile"])
        wait_for(lambda: follower.got == ["meanwhile"])
        file.write(record[30:] + b"\n")
        wait_for(lambda: follower.got == ["meanwhile", "whole"])
