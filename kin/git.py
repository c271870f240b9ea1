"""The only door to git: every call is git as a process, in small functions named after the question they answer.

Nothing here knows of tasks or runs. All path input and output is NUL-separated; names that a person or a file gave stand
behind `--` or `--end-of-options`. Evidence for the rules that comments name by number ("rule 23") is in docs/git.md.
"""

import os
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from kin.errors import Invalid

__all__ = ["GitError", "Out", "Worktree", "git"]

MINIMUM = (2, 38)
"""`git merge-tree --write-tree` came with 2.38."""

QUIET = ("-c", "core.fsmonitor=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false")
"""No daemon and no background job keeps a lock's descriptor after the command that we wait for (rule 15)."""

SCRUBBED = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_DATE",
    "GIT_EDITOR",
)
"""What a hook exports and what would turn our git to another repository (rule 38); GIT_CONFIG_* stays for CI."""


class Out(NamedTuple):
    """What a git process left: exit code, standard output as bytes, standard error as text."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text without the final newline."""
        return self.out.decode("utf-8", "surrogateescape").rstrip("\n")


class GitError(Invalid):
    """git said no where a yes was needed; `out` is what it left."""

    def __init__(self, arguments: Sequence[str], out: Out, hint: str = "") -> None:
        words = [a for a in arguments if not a.startswith("-")][:2]
        said = "; ".join(line.strip() for line in out.err.strip().splitlines()[:4]) or f"exit {out.code}, no message"
        super().__init__(f"git {' '.join(words)} failed: {said}", hint)
        self.out = out


def clean_env(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` as git and every command that kin starts gets it: a caller's repository variables are gone."""
    env = {k: v for k, v in environ.items() if k not in SCRUBBED}
    return env | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1"}


def git(
    cwd: str,
    *arguments: str,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    ok: Collection[int] = (0,),
    fds: Collection[int] = (),
    timeout: float | None = None,
) -> Out:
    """Run git in `cwd` and return what it left. Raises GitError for an exit code outside `ok`, Invalid if there is no git.

    `env` is added to the cleaned environment. `fds` are inherited: a lock that must outlive a killed kin for as long as
    this git writes (rule 15). The child has a session of its own, so a terminal's Ctrl-C does not tear a write apart.
    """
    argv = ["git", *QUIET, *arguments]
    full = clean_env(os.environ) | dict(env or {})
    if ":(exclude)" in " ".join(arguments) or any(a.startswith(":(") for a in arguments):
        full.pop("GIT_LITERAL_PATHSPECS")
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=full,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            pass_fds=tuple(fds),
            start_new_session=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        if not os.path.isdir(cwd):
            raise Invalid(f"the folder {cwd} is gone") from None
        raise Invalid("git is not installed", "install git 2.38 or newer") from None
    out = Out(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
    if out.code not in ok:
        raise GitError(arguments, out)
    return out


def version(cwd: str) -> tuple[int, int]:
    """git's version, major and minor."""
    parts = git(cwd, "version").text.split()[2].split(".")
    return int(parts[0]), int(parts[1])


def tip(cwd: str, revision: str) -> str | None:
    """The full id of the commit that `revision` names, or None."""
    out = git(cwd, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}", ok=(0, 1, 128))
    return out.text if out.code == 0 else None


def tree_of(cwd: str, revision: str) -> str:
    """The full id of the tree of `revision`."""
    return git(cwd, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{tree}").text


def head_ref(cwd: str) -> str | None:
    """The full ref that HEAD names, or None if HEAD is detached."""
    out = git(cwd, "symbolic-ref", "-q", "HEAD", ok=(0, 1))
    return out.text if out.code == 0 else None


def is_ancestor(cwd: str, older: str, newer: str) -> bool:
    """Whether commit `older` is contained in `newer` (a commit contains itself)."""
    return git(cwd, "merge-base", "--is-ancestor", older, newer, ok=(0, 1)).code == 0


def merge_base(cwd: str, one: str, other: str) -> str | None:
    """The best common ancestor of two commits, or None."""
    out = git(cwd, "merge-base", one, other, ok=(0, 1))
    return out.text.splitlines()[0] if out.code == 0 else None


def blob(cwd: str, revision: str, path: str) -> bytes | None:
    """The content of `path` in `revision` as stored (no filters), or None if it is not there."""
    out = git(cwd, "cat-file", "blob", f"{revision}:{path}", ok=(0, 128))
    return out.out if out.code == 0 else None


class Worktree(NamedTuple):
    """One line group of `git worktree list`: `branch` is a full ref or None if detached."""

    path: str
    head: str | None
    branch: str | None
    bare: bool = False
    locked: bool = False
    prunable: bool = False


def worktrees(cwd: str) -> list[Worktree]:
    """All worktrees of the repository, the main one first. `%(worktreepath)` names only one of two (rule 18)."""
    found: list[Worktree] = []
    for block in git(cwd, "worktree", "list", "--porcelain", "-z").out.decode("utf-8", "surrogateescape").split("\0\0"):
        fields = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
        if "worktree" in fields:
            found.append(
                Worktree(
                    fields["worktree"],
                    fields.get("HEAD"),
                    fields.get("branch"),
                    "bare" in fields,
                    "locked" in fields,
                    "prunable" in fields,
                )
            )
    return found


def git_dir(cwd: str) -> str:
    """The worktree's own git folder, absolute."""
    return git(cwd, "rev-parse", "--absolute-git-dir").text


def common_dir(cwd: str) -> str:
    """The folder that all worktrees of the clone share, absolute."""
    return git(cwd, "rev-parse", "--path-format=absolute", "--git-common-dir").text


_UNDER_WAY = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "sequencer": "sequence of picks",
}


def under_way(gitdir: str) -> str | None:
    """What git is in the middle of in the worktree with this git folder (rule 17), as a person calls it, or None."""
    return next((name for mark, name in _UNDER_WAY.items() if os.path.lexists(os.path.join(gitdir, mark))), None)


def identity(cwd: str) -> str | None:
    """The committer as `Name <mail>`, or None if git knows none: asked before anything is paid for (rule 30)."""
    out = git(cwd, "var", "GIT_COMMITTER_IDENT", ok=(0, 128))
    return out.text.rsplit(" ", 2)[0] if out.code == 0 else None


def hash_object(cwd: str, content: bytes) -> str:
    """Store `content` as a blob as it is and return its id."""
    return git(cwd, "hash-object", "-w", "--stdin", input=content).text


def commit_tree(cwd: str, tree: str, parents: Iterable[str], message: str, *, sign: bool = False) -> str:
    """Write a commit and return its id. Unlike `git commit`, it keeps `#12 ...` subjects and runs no hook (rules 19, 20)."""
    flags = [flag for parent in parents for flag in ("-p", parent)]
    if sign:
        flags.append("-S")
    return git(cwd, "commit-tree", *flags, "-F", "-", tree, input=message.encode(), timeout=60 if sign else None).text


def update_ref(cwd: str, ref: str, new: str, old: str | None, message: str, *, fds: Collection[int] = ()) -> bool:
    """Move `ref` to `new` if it is at `old` (None: if it does not exist); False if it is elsewhere or locked."""
    expected = old if old is not None else "0" * 40
    out = git(cwd, "update-ref", "--create-reflog", "-m", message, ref, new, expected, ok=(0, 128, 1), fds=fds)
    return out.code == 0


def delete_ref(cwd: str, ref: str, old: str) -> bool:
    """Delete `ref` if it is at `old`."""
    return git(cwd, "update-ref", "-d", ref, old, ok=(0, 128, 1)).code == 0
