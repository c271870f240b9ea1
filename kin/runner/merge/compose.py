"""Writes a chain of commits in one git process, without an index, a checkout or a branch.

`git fast-import` changes single paths of a tree and can put whole trees in, so that neither 20,000 files of code nor
10,000 tasks are listed to set one status. A ref below `refs/kin/` holds the newest commit against `git gc` (rule 14).
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from kin import git
from kin.errors import Waits
from kin.runner.merge.refs import drop_stale, lock_of


class CannotSign(Waits):
    """commit.gpgsign is on and the signature could not be made: a person has to be there."""


class NewCommit(NamedTuple):
    """A commit to write. Its tree is the first parent's, or `root` with the tree `kin` as `.kin` (None: with none); then
    `files` come in, None removes."""

    parents: tuple[str, ...]
    message: str
    files: Mapping[str, bytes | None]
    root: str | None = None
    kin: str | None = None


class Written(NamedTuple):
    """A commit that exists now, and the id of its `.kin` tree (None: it has none)."""

    oid: str
    kin: str | None


def write_commits(cwd: str, ref: str, commits: Sequence[NewCommit]) -> list[Written]:
    """Write `commits` in order and leave `ref` on the last one, wherever it was before.

    A parent is a full id, or `:1` for the first commit of this call, `:2` for the second, and so on.
    """
    now = f"{int(time.time())} {time.strftime('%z')}".encode()
    author, committer = (b"%s %s\n" % (who, now) for who in git.signatures(cwd))
    script: list[bytes] = []
    for mark, commit in enumerate(commits, 1):
        script += [f"commit {ref}\nmark :{mark}\n".encode(), b"author ", author, b"committer ", committer]
        script.append(_block(commit.message.encode("utf-8", "surrogateescape")))
        script += [f"{'merge' if n else 'from'} {parent}\n".encode() for n, parent in enumerate(commit.parents)]
        if commit.root:
            store = f"M 040000 {commit.kin} .kin" if commit.kin else "D .kin"
            script.append(f'M 040000 {commit.root} ""\n{store}\n'.encode())
        for path, content in sorted(commit.files.items()):
            script.append(f"D {_quoted(path)}\n".encode() if content is None else f"M 100644 inline {_quoted(path)}\n".encode())
            script += [] if content is None else [_block(content)]
        script.append(f"get-mark :{mark}\nls :{mark} .kin\n".encode())
    out = _import(cwd, ref, b"".join(script) + b"done\n").text.splitlines()
    return [Written(oid, _tree(kin)) for oid, kin in zip(out[::2], out[1::2], strict=True)]


def _import(cwd: str, ref: str, script: bytes) -> git.Out:
    # --done: a script that was cut short makes git fail instead of writing half a chain
    words = ("fast-import", "--quiet", "--force", "--done")
    out = git.git(cwd, *words, input=script, ok=(0, 1, 128))
    # only the holder of the task's lock writes `ref`: a lock on it that stays was left by a git that was killed
    if out.code == 1 and drop_stale(lock_of(git.common_dir(cwd), ref)):
        out = git.git(cwd, *words, input=script, ok=(0, 1, 128))
    if out.code:
        for report in re.findall(r"dumping crash report to (.+)$", out.err, re.MULTILINE):
            with suppress(OSError):  # it repeats the message that we raise; a disk that is full has none
                os.unlink(os.path.join(cwd, report))
        raise git.GitError(words, out)
    return out


def sign_again(cwd: str, ref: str, unsigned: str, parents: Sequence[str], message: str) -> str:
    """The same commit with a signature, held by `ref` in the unsigned one's place (rule 20). Raises CannotSign."""
    try:
        signed = git.commit_tree(cwd, git.tree_of(cwd, unsigned), parents, message, sign=True)
    except git.GitError as error:
        said = error.out.err.strip().partition("\n")[0]
        words = f"commit.gpgsign is on, and git could not sign ({said})"
        raise CannotSign(words, "unlock the key, or turn that off") from error
    git.update_ref(cwd, ref, signed, unsigned, "kin: signed")
    return signed


def _block(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _tree(line: str) -> str | None:
    words = line.split()
    return words[2] if words[:2] == ["040000", "tree"] else None
