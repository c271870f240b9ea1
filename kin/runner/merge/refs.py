"""A ref update in two halves: what can refuse it is asked before files change, the ref moves after they did (rule 3).

And the lock files of refs, which git leaves behind where it is killed together with kin.
"""

import os
import select
import tempfile
from typing import Self

from kin import git
from kin.store.locks import wait_until

HOOK_PATIENCE = 60.0
"""Seconds that a repository's reference-transaction hook may take before the update counts as refused."""

LOCK_LIFE = 2.0
"""Seconds after which an unchanged lock file without content is nobody's: a git at work holds one for milliseconds."""


class RefUpdate:
    """`git update-ref --stdin` on one ref. Leaving the context without `commit` frees the ref as it was.

    Its children inherit `fds`: a recovery that holds the same lock knows that no orphaned git still moves the ref (rule 15).
    """

    def __init__(self, cwd: str, ref: str, new: str, old: str, message: str, fds: tuple[int, ...]) -> None:
        self._errors = tempfile.TemporaryFile()
        self._line = f"update {ref} {new} {old}\n"
        words = ("update-ref", "--stdin", "--create-reflog", "-m", message)
        self._process = git.start(cwd, *words, errors=self._errors, fds=fds)
        assert self._process.stdin and self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._from.close()
        self._errors.close()

    def _end(self) -> None:
        # closing the input makes git drop its locks and end; a hook that hangs must not hold kin, so git is killed then
        self._to.close()
        if not self._hears_the_end():
            self._process.kill()
        self._process.wait()

    def _hears_the_end(self) -> bool:
        while select.select([self._from], [], [], HOOK_PATIENCE)[0]:
            if not os.read(self._from.fileno(), 4096):
                return True
        return False

    def prepare(self) -> str | None:
        """Lock the ref at its old value and ask the hooks; None, or why git refused. Nothing has moved either way."""
        return self._say("start\n", "start: ok") or self._say(f"{self._line}prepare\n", "prepare: ok")

    def commit(self) -> str | None:
        """Move the ref; None, or why it did not."""
        return self._say("commit\n", "commit: ok")

    def _say(self, words: str, answer: str) -> str | None:
        try:
            self._to.write(os.fsencode(words))
        except BrokenPipeError:
            return self._said()
        if not select.select([self._from], [], [], HOOK_PATIENCE)[0]:
            return f"no answer from git or a hook within {HOOK_PATIENCE:g} s"
        line = self._from.readline().decode().rstrip("\n")
        return None if line == answer else self._said()

    def _said(self) -> str:
        self._end()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return "; ".join(line.removeprefix("fatal: ") for line in lines[:4]) or "git refused without a word"


def lock_of(common: str, ref: str) -> str:
    """The lock file of a ref: its own, or the one of all refs where git keeps them in tables."""
    return os.path.join(common, "reftable/tables.list.lock" if git.has_reftable(common) else f"{ref}.lock")


def drop_stale(lock: str) -> bool:
    """Remove a lock file that stays the same for LOCK_LIFE; whether it was removed. Locks that come and go are left alone."""
    first = _identity(lock)
    if first is None or wait_until(lambda: True if _identity(lock) != first else None, LOCK_LIFE):
        return False
    os.unlink(lock)
    return True


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # the latter where git has tables in their place
        return None
    return found.st_ino, found.st_mtime_ns


def first_bytes(path: str) -> bytes:
    """The beginning of a lock file, enough to hold an object id; nothing if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read(80)
    except (FileNotFoundError, NotADirectoryError):  # the latter where git has tables in their place
        return b""
