"""The only door to git: every call is git as a process, in small functions named after the question they answer.

Nothing here knows of tasks or runs. All path input and output is NUL-separated; names that a person or a file gave stand
behind `--` or `--end-of-options`. Evidence for the rules that comments name by number ("rule 23") is in docs/git.md.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import IO, Any, NamedTuple

from kin.errors import Invalid, Usage

MINIMUM = (2, 38)
"""`git merge-tree --write-tree` came with 2.38."""

QUIET = ("-c", "core.fsmonitor=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false")
"""No daemon and no background job keeps a lock's descriptor after the command that we wait for (rule 15)."""

PIPE_PATIENCE = 10.0
"""Seconds after which a git that has not ended may wait for a pipe."""

SCRUBBED = frozenset(
    {
        *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"),
        *("GIT_NAMESPACE", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_AUTHOR_DATE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE"),
        *("GIT_CONFIG", "GIT_IMPLICIT_WORK_TREE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE"),
        *("GIT_INTERNAL_SUPER_PREFIX",),
        *("GIT_COMMITTER_DATE", "GIT_EDITOR", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"),
    }
)
"""What a hook exports and what would turn our git to another repository (rule 38); GIT_CONFIG_* stays for CI.

The last three are refused by git beside the GIT_LITERAL_PATHSPECS that we set.
"""
AUTHOR = frozenset({"GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"})
"""Who works here, as containers and CI jobs say it; but in a hook it is whose commit the hook is about (rule 38)."""


ABSENT, GITLINK, LINK = "000000", "160000", "120000"
"""File modes as git prints them: no such entry, a commit of another repository (a submodule), a symbolic link."""


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
        words = [a for a in arguments if not a.startswith("-") and "=" not in a][:2]
        lines = [line.strip() for line in out.err.splitlines() if line.strip()]
        ended = f"exit {out.code}, no message" if out.code >= 0 else signal.strsignal(-out.code)
        said = "; ".join(lines[:4]) or ended
        super().__init__(f"git {' '.join(words)} failed: {said}", hint)
        self.out = out


class _Process(subprocess.Popen[bytes]):
    def wait(self, timeout: float | None = None) -> int:
        """As long as it takes: both pipes are closed by then, and with a limit subprocess naps until it looks again."""
        return super().wait()


def clean_env(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` as git and every command that kin starts gets it: a caller's repository variables are gone."""
    return own(environ) | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1"}


def own(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what turns git to another repository and, in a hook, another commit's author."""
    hook = any(name in environ for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_PREFIX"))
    gone = SCRUBBED | AUTHOR if hook else SCRUBBED
    return {k: v for k, v in environ.items() if k not in gone}


@lru_cache(maxsize=4)
def _program(path: str) -> str:
    """git's place on `path`, looked up once: else each of some forty calls a run tries every folder before it."""
    return shutil.which("git", path=path) or "git"


def git(
    cwd: str,
    *arguments: str,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    ok: Collection[int] = (0,),
    fds: Collection[int] = (),
    timeout: float | None = None,
    magic: bool = False,
    beside: Callable[[], object] | None = None,
) -> Out:
    """Run git in `cwd` and return what it left. Raises GitError for an exit code outside `ok`, Invalid if there is no git.

    `env` is added to the cleaned environment. `fds` are inherited: a lock that must outlive a killed kin for as long as
    this git writes (rule 15). The child has a session of its own, so a terminal's Ctrl-C does not tear a write apart.
    Paths are taken literally unless `magic` lets pathspecs such as `:(exclude)` mean what git's manual says. `beside` is called
    while git is at work.
    """
    stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
    with _begin(cwd, arguments, env or {}, fds, magic, stdin=stdin, stderr=subprocess.PIPE) as process:
        try:
            if beside:
                beside()
            said, errors = _communicate(process, input, timeout, cwd)
        except BaseException as error:
            with suppress(ProcessLookupError):  # its session: a hook or a signing program that hangs goes with it
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise GitError(arguments, Out(-9, b"", f"no answer within {timeout:g} s")) from None
            raise
    out = Out(process.returncode, said, errors.decode("utf-8", "replace"))
    if out.code not in ok:
        raise GitError(arguments, out)
    return out


def _begin(
    cwd: str, arguments: Sequence[str], env: Mapping[str, str], fds: Collection[int], magic: bool = False, **pipes: Any
) -> _Process:
    full = clean_env(os.environ) | dict(env)
    if magic:
        del full["GIT_LITERAL_PATHSPECS"]
    argv = [_program(os.environ.get("PATH", os.defpath)), *QUIET, *_hooks(cwd, env), *arguments]
    how = {"stdout": subprocess.PIPE, "pass_fds": tuple(fds), "start_new_session": True, **pipes}
    try:
        return _Process(argv, cwd=cwd, env=full, **how)
    except FileNotFoundError:
        if not os.path.isdir(cwd):
            raise Invalid(f"the folder {cwd} is gone") from None
        raise Invalid("git is not installed", "install git 2.38 or newer") from None
    except NotADirectoryError:
        raise Invalid(f"{cwd} is not a folder") from None


def _communicate(
    process: "subprocess.Popen[bytes]", input: bytes | None, timeout: float | None, cwd: str
) -> tuple[bytes, bytes]:
    while True:
        try:
            return process.communicate(input, timeout=timeout or PIPE_PATIENCE)
        except subprocess.TimeoutExpired:
            if timeout:
                raise
            input = None  # what of it was not written yet is remembered
            _free_pipes(cwd)


def _free_pipes(cwd: str) -> None:
    """Let a git go on that waits for ever, because a step left a pipe under a name that git reads: it finds an empty file.

    From a worktree of kin's the pipe is removed, since it would hold up the next git, too.
    """
    above = (cwd[:at] for at in range(len(cwd), 0, -1) if at == len(cwd) or cwd[at] == "/")
    ours = any(_is_kins(linked_gitdir(folder)) for folder in above)
    names = (".gitignore", ".gitattributes", ".mailmap")
    for path in (os.path.join(folder, name) for folder in folders(cwd) for name in names):
        if not os.path.lexists(path) or not stat.S_ISFIFO(os.lstat(path).st_mode):
            continue
        with suppress(OSError):  # another user's
            if ours:
                os.chmod(path, 0o600)
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)  # open until the name is gone: nobody could wake a
            if ours:  # git that came to it in between
                os.unlink(path)
            os.close(fd)


def folders(top: str) -> Iterator[str]:
    """`top` and all folders below, each before it is looked into; os.walk ends where a thousand lie within each other."""
    left = [top]
    while left:
        yield (folder := left.pop())
        with suppress(OSError), os.scandir(folder) as entries:
            left += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _is_kins(gitdir: str | None) -> bool:
    if gitdir is None or not os.path.exists(os.path.join(gitdir, "locked")):
        return False
    with open(os.path.join(gitdir, "locked"), encoding="utf-8", errors="replace") as file:
        return file.read().startswith("kin ")


def _hooks(cwd: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """In a worktree that kin made, a relative `core.hooksPath` (husky's, say) means no hooks: a step may write files under
    that name there, and kin's own git would run them outside of whatever kept the step in. Nor are the main checkout's
    meant: in a job about a pull request they are a stranger's."""
    named = env.get("GIT_DIR") if "GIT_WORK_TREE" in env else None  # files of a worktree that lost its `.git`, say
    gitdir = named or linked_gitdir(cwd)
    if gitdir is None or not (named or _is_kins(gitdir)):
        return ()
    common = common_of(gitdir)
    chosen = _hooks_path(common, os.stat(os.path.join(common, "config")).st_mtime_ns)
    return ("-c", f"core.hooksPath={os.devnull}") if chosen and not os.path.isabs(chosen) else ()


@lru_cache(maxsize=4)
def _hooks_path(common: str, _changed: int) -> str:
    """The setting as it was when the clone's settings were last changed: `setup: npm ci` may set it within a run."""
    return git(common, "config", "--type=path", "--get", "core.hooksPath", ok=(0, 1)).text


def start(cwd: str, *arguments: str, errors: IO[bytes], fds: Collection[int] = ()) -> "subprocess.Popen[bytes]":
    """Start a git that is talked to over its standard input and output, unbuffered; its complaints go into `errors`. Raises
    Invalid as `git` does."""
    # without a buffer: what is said must arrive before its answer is waited for
    return _begin(cwd, arguments, {}, fds, stdin=subprocess.PIPE, stderr=errors, bufsize=0)


def show_diff(cwd: str, *arguments: str, terminal: bool, color: bool) -> int:
    """Have git print a difference, and return its exit code: on a `terminal` as the person has it there, with their pager and
    language, else byte for byte what `git apply` takes."""
    plain = ("--no-pager", "diff", "--no-color", "--no-ext-diff", "--no-textconv")
    shown = ("diff", "--color" if color else "--no-color") if terminal else plain
    code = subprocess.run(["git", *shown, *arguments], cwd=cwd, env=own(os.environ), check=False).returncode
    return 128 - code if code < 0 else code  # as a shell says it: of one whose reader went away


def version(cwd: str) -> tuple[int, int]:
    """git's version, major and minor."""
    return _version(cwd, _program(os.environ.get("PATH", os.defpath)))


@lru_cache(maxsize=4)
def _version(cwd: str, program: str) -> tuple[int, int]:
    """What that git said: a run asks several times, and the one that a watcher asked is as old as it."""
    said = git(cwd, "version").text
    numbers = re.search(r"(\d+)\.(\d+)", said)
    if not numbers:
        raise Invalid(f"git does not tell its version but '{said[:60]}'", "install git 2.38 or newer")
    return int(numbers[1]), int(numbers[2])


def require(cwd: str, environ: Mapping[str, str]) -> None:
    """Raise Invalid if git is too old, Usage inside a hook that receives a push: refs cannot move there (rule 38)."""
    if "GIT_QUARANTINE_PATH" in environ:
        raise Usage("kin cannot run while git receives a push", "call it from a post-receive hook, or from outside of hooks")
    found = version(cwd)
    if found < MINIMUM:
        raise Invalid(f"git is {found[0]}.{found[1]}, kin needs {MINIMUM[0]}.{MINIMUM[1]} or newer", "install a newer git")


def tip(cwd: str, revision: str) -> str | None:
    """The full id of the commit that `revision` names, or None."""
    plain = _plain_tip(cwd, revision)
    if plain is not None:
        return plain or None
    out = git(cwd, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}", ok=(0, 1, 128))
    return out.text if out.code == 0 else None


_ID = "[0-9a-f]{40}|[0-9a-f]{64}"


def _plain_tip(cwd: str, revision: str) -> str | None:
    """What `tip` is to say, read from files as git writes them (rule 39): a third of a run's questions are this one. "" if
    nothing has that name; None if git must say: of what is packed or broken, and in a repository that it may refuse as another
    user's.
    """
    gitdir = _gitdir(cwd)
    if gitdir is None or not re.fullmatch(rf"{_ID}|refs/(heads|remotes|kin)/\w[\w/+-]*(\.\w[\w/+-]*)*", revision):
        return None
    common = common_of(gitdir)
    try:
        if has_reftable(common) or {os.stat(path).st_uid for path in (cwd, common)} != {os.geteuid()}:
            return None
        oid = _ref(common, revision) if "/" in revision else revision
        if not oid or not re.fullmatch(_ID, oid):
            return "" if oid == "" else None
        with open(os.path.join(common, "objects", oid[:2], oid[2:]), "rb") as file:
            kind = zlib.decompressobj().decompress(file.read(64), 7)
    except (OSError, zlib.error):
        return None
    return oid if kind == b"commit " else None


def _ref(common: str, ref: str) -> str | None:
    """What the ref's own file holds, which git replaces as a whole; "" if there is no such ref, None if it is packed."""
    with (
        suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError),
        open(os.path.join(common, ref), encoding="ascii", errors="replace") as file,
    ):
        return file.read(80).rstrip("\n") or None
    # second, as git reads it: that packs a ref before it unlinks the ref's own file
    with suppress(FileNotFoundError), open(os.path.join(common, "packed-refs"), "rb") as packed:
        return None if b" %s\n" % os.fsencode(ref) in packed.read() else ""
    return ""


def _gitdir(cwd: str) -> str | None:
    """The git folder of the worktree that `cwd` is the root of, or `cwd` itself if it is one; None if neither is plain."""
    if os.path.isdir(own := os.path.join(cwd, ".git")):
        return own
    return linked_gitdir(cwd) or (cwd if os.path.isfile(os.path.join(cwd, "HEAD")) else None)


def tree_of(cwd: str, revision: str) -> str:
    return git(cwd, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{tree}").text


def head_ref(cwd: str) -> str | None:
    """The full ref that HEAD names, or None if HEAD is detached."""
    gitdir = _gitdir(cwd)
    said = _head(gitdir) if gitdir else None
    if said is not None:
        return said or None
    out = git(cwd, "symbolic-ref", "-q", "HEAD", ok=(0, 1))
    return out.text if out.code == 0 else None


def _head(gitdir: str) -> str | None:
    """The full ref that the HEAD of a git folder names, "" if it names none; None where git itself must say."""
    path = os.path.join(gitdir, "HEAD")
    if os.path.islink(path) or has_reftable(common_of(gitdir)):  # a link: `core.preferSymlinkRefs`
        return None
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            mark, _, ref = file.read(8192).partition(":")
    except (FileNotFoundError, NotADirectoryError):
        return ""  # of a worktree that is just being made or removed
    return ref.strip() if mark == "ref" else ""


def is_ancestor(cwd: str, older: str, newer: str) -> bool:
    """Whether commit `older` is contained in `newer` (a commit contains itself)."""
    return older == newer or git(cwd, "merge-base", "--is-ancestor", older, newer, ok=(0, 1)).code == 0


def is_whole(cwd: str, old: str, new: str) -> bool:
    """Whether all that commit `new` has and `old` has not is there: commits, trees and files."""
    return git(cwd, "rev-list", "--objects", "--quiet", new, f"^{old}", ok=(0, 128)).code == 0


def merge_base(cwd: str, one: str, other: str) -> str | None:
    """The best common ancestor of two commits, or None."""
    out = git(cwd, "merge-base", one, other, ok=(0, 1))
    return out.text.splitlines()[0] if out.code == 0 else None


def parents(cwd: str, revision: str) -> list[str]:
    """The full ids of a commit's parents."""
    return git(cwd, "rev-list", "--no-walk", "--parents", "--end-of-options", revision).text.split()[1:]


def refs(cwd: str, *prefixes: str) -> dict[str, str]:
    """All refs below these prefixes, by their full names, and the full ids that they hold."""
    words = git(cwd, "for-each-ref", "--format=%(refname) %(objectname)", *prefixes).out.split()
    return {os.fsdecode(ref): oid.decode() for ref, oid in zip(words[::2], words[1::2], strict=True)}


def has_reftable(common: str) -> bool:
    """Whether the refs of the repository with this common dir lie in tables that git alone reads, not in a file each."""
    return os.path.isdir(os.path.join(common, "reftable"))


def blob(cwd: str, revision: str, path: str) -> bytes | None:
    """The content of `path` in `revision` as stored (no filters), or None if it is not there."""
    out = git(cwd, "cat-file", "blob", f"{revision}:{path}", ok=(0, 128))
    return out.out if out.code == 0 else None


class Object(NamedTuple):
    """What git stores under an id: a blob as it is, a tree as `entries` reads it."""

    oid: str
    content: bytes


def objects(cwd: str, names: Iterable[str]) -> list[Object | None]:
    """What these names (ids, `<commit>:<path>`, `<commit>^{tree}`) stand for, None for nothing: one process for all."""
    return list(_batch(git(cwd, "cat-file", "--batch", input="".join(f"{name}\n" for name in names).encode()).out))


def blobs(cwd: str, ids: Sequence[str]) -> list[bytes]:
    """The contents of blobs by their full ids: one process, whatever their number. Raises Invalid if one is not there."""
    found = [held.content for held in objects(cwd, ids) if held] if ids else []
    if len(found) < len(ids):
        raise Invalid("objects of the repository are gone", "was there a `git prune`? `git fsck` tells more")
    return found


def entries(tree: Object) -> list[tuple[bytes, bytes]]:
    """The entries of a tree as git stores them, `<mode> <name>`, NUL, binary id, each with its name."""
    form = rb"([0-7]+ ([^\0]+)\0.{%d})" % (len(tree.oid) // 2)
    return re.findall(form, tree.content, re.DOTALL)


class Worktree(NamedTuple):
    """One of `git worktree list`: `branch` is a full ref or None if detached; `reason` is why it is locked, "" if it is not."""

    path: str
    head: str | None
    branch: str | None
    bare: bool = False
    reason: str = ""


def worktrees(cwd: str) -> list[Worktree]:
    """All worktrees of the repository, the main one first. `%(worktreepath)` names only one of two (rule 18)."""
    found: list[Worktree] = []
    for block in git(cwd, "worktree", "list", "--porcelain", "-z").out.decode("utf-8", "surrogateescape").split("\0\0"):
        fields = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
        if "worktree" in fields:
            head, branch, reason = fields.get("HEAD"), fields.get("branch"), fields.get("locked", "")
            found.append(Worktree(fields["worktree"], head, branch, "bare" in fields, reason))
    if found and not found[0].bare:
        found[0] = found[0]._replace(path=_main_checkout(cwd, found[0].path))
    return found


def _main_checkout(cwd: str, said: str) -> str:
    """git calls the main checkout by its git folder, which lies elsewhere in a submodule and with `--separate-git-dir`."""
    own = linked_gitdir(cwd)
    if own is not None and common_of(own) == own:
        return cwd
    if not os.path.isdir(said) or os.path.lexists(os.path.join(said, ".git")):
        return said
    named = git(said, "config", "--get", "core.worktree", ok=(0, 1)).text
    return os.path.realpath(os.path.join(said, named)) if named else said


def heads_on(common: str, ref: str) -> list[str] | None:
    """The git folders whose HEAD names `ref`, in the clone with this common dir; None where files do not tell."""
    linked = os.path.join(common, "worktrees")
    names = os.listdir(linked) if os.path.isdir(linked) else []
    heads = {gitdir: _head(gitdir) for gitdir in (common, *(os.path.join(linked, name) for name in names))}
    return None if None in heads.values() else [gitdir for gitdir, head in heads.items() if head == ref]


def checkouts_of(cwd: str, ref: str) -> list[str]:
    """Where the branch `ref` is checked out, links resolved: deleting it would leave those worktrees without a commit."""
    gitdir = _gitdir(cwd)
    if gitdir and heads_on(common_of(gitdir), ref) == []:
        return []
    return [os.path.realpath(w.path) for w in worktrees(cwd) if w.branch == ref]


def git_dir(cwd: str) -> str:
    """The worktree's own git folder, absolute."""
    return git(cwd, "rev-parse", "--absolute-git-dir").text


def common_dir(cwd: str) -> str:
    """The folder that all worktrees of the clone share, absolute."""
    return git(cwd, "rev-parse", "--path-format=absolute", "--git-common-dir").text


def linked_gitdir(path: str) -> str | None:
    """The git folder that the `.git` file of the linked worktree at `path` names, without a process; None if it has none."""
    try:
        if not stat.S_ISREG(os.stat(os.path.join(path, ".git")).st_mode):
            return None  # a folder; or a pipe, which would be waited for
        with open(os.path.join(path, ".git"), encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(8192)
    except (FileNotFoundError, NotADirectoryError):
        return None
    named = text.removeprefix("gitdir: ").rstrip("\r\n")
    return os.path.realpath(os.path.join(path, named)) if text.startswith("gitdir: ") else None


def common_of(gitdir: str) -> str:
    """The common dir of a git folder, without a process."""
    try:
        with open(os.path.join(gitdir, "commondir"), encoding="utf-8", errors="surrogateescape") as file:
            return os.path.realpath(os.path.join(gitdir, file.read(8192).rstrip("\r\n")))
    except FileNotFoundError:
        return gitdir


def is_clean(cwd: str, seen: "Collection[Entry] | None" = None) -> bool:
    """Whether all in the worktree that `cwd` is the root of is committed, in its submodules too (ignored files aside).

    `seen` is what its status lists, if the caller has just asked for it.
    """
    if status(cwd).entries if seen is None else seen:
        return False
    gitdir = linked_gitdir(cwd) or os.path.join(cwd, ".git")
    if not os.path.isdir(os.path.join(gitdir, "modules")):
        return True  # no submodule that git made is checked out
    return not any(changed for _, changed in uncommitted_submodules(cwd, gitdir))


def submodules(cwd: str, env: Mapping[str, str] | None = None) -> list[str]:
    """The paths that the index holds as submodules."""
    out = git(cwd, "ls-files", "-z", "--stage", env=env).out
    return [os.fsdecode(name) for name in re.findall(rb"(?:\A|\0)160000 [^\t]*\t([^\0]+)", out)]


def uncommitted_submodules(cwd: str, gitdir: str, env: Mapping[str, str] | None = None) -> Iterator[tuple[str, bool]]:
    """The submodules, at any depth, of the worktree with this git folder that hold more than a commit, and True.

    One whose `.git` does not lead below its worktree's git folder comes with False and is not looked into: a step may have
    put it there, and a program that its settings name would run outside of whatever kept the step in (rule 25).
    """
    for name in submodules(cwd, env):
        inner = os.path.join(cwd, name)
        if not os.path.lexists(os.path.join(inner, ".git")):
            continue  # not checked out
        own = linked_gitdir(inner)
        if own is None or not own.startswith(os.path.join(os.path.realpath(gitdir), "modules", "")):
            yield name, False
            continue
        explicit = {"GIT_DIR": own, "GIT_WORK_TREE": inner}
        if status(inner, env=explicit).entries:
            yield name, True
        for below, changed in uncommitted_submodules(inner, own, explicit):
            yield f"{name}/{below}", changed


class Entry(NamedTuple):
    """A path that differs: `xy` as `git status` prints it (`??` untracked), file modes in HEAD, index and work tree.

    An untracked path that ends in a slash is a repository of its own.
    """

    path: str
    xy: str
    head_mode: str = ABSENT
    index_mode: str = ABSENT
    work_mode: str = ABSENT

    @property
    def unmerged(self) -> bool:
        return "U" in self.xy or self.xy in ("AA", "DD")


class Status(NamedTuple):
    """What `git status` sees: HEAD's commit (None: unborn), the full ref it names (None: detached), what differs; `whole`: it
    could look into every folder."""

    head: str | None
    branch: str | None
    entries: tuple[Entry, ...]
    whole: bool = True


def status(
    cwd: str, *, env: Mapping[str, str] | None = None, refresh: bool = False, beside: Callable[[], object] | None = None
) -> Status:
    """Where the worktree that `cwd` is the root of stands: one process, untracked files too, renames as delete and add.

    A submodule differs if it is at another commit; what its files are is `uncommitted_submodules`'s question. `refresh`
    writes the index, in kin's own worktrees: without that every call would read again each file as young as the index. `beside`
    as in `git`.
    """
    arguments = ["--porcelain=v2", "-z", "--branch", "--untracked-files=all", "--no-renames", "--no-ahead-behind"]
    arguments.append("--ignore-submodules=dirty")  # else it starts a git in each, by the settings that lie there
    done = git(cwd, "status", *arguments, env={"GIT_OPTIONAL_LOCKS": str(int(refresh))} | dict(env or {}), beside=beside)
    head: str | None = None
    branch: str | None = None
    entries: list[Entry] = []
    for line in done.out.decode("utf-8", "surrogateescape").split("\0")[:-1]:
        kind, _, rest = line.partition(" ")
        if kind == "?":
            entries.append(Entry(rest, "??"))
        elif kind == "1":
            xy, _, in_head, in_index, in_work, _, _, path = rest.split(" ", 7)
            entries.append(Entry(path, xy, in_head, in_index, in_work))
        elif kind == "u":
            xy, _, _, _, _, in_work, _, _, _, path = rest.split(" ", 9)
            entries.append(Entry(path, xy, ABSENT, ABSENT, in_work))
        elif rest.startswith("branch.oid "):
            head = None if rest.endswith(" (initial)") else rest.removeprefix("branch.oid ")
        elif rest.startswith("branch.head "):
            name = rest.removeprefix("branch.head ")
            branch = None if name == "(detached)" else f"refs/heads/{name}"
    return Status(head, branch, tuple(entries), "could not open directory" not in done.err)


def files(cwd: str) -> list[str]:
    """Every path of the checkout that git tracks or would track, sorted."""
    out = git(cwd, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate").out
    return sorted(out.decode("utf-8", "surrogateescape").split("\0")[:-1])


def is_bare(cwd: str) -> bool:
    """Whether the repository has no files of its own."""
    return git(cwd, "rev-parse", "--is-bare-repository").text == "true"


def is_shallow(cwd: str) -> bool:
    """Whether history was cut off by a shallow clone."""
    return git(cwd, "rev-parse", "--is-shallow-repository").text == "true"


class TreeEntry(NamedTuple):
    """What a tree or an index holds at a path: octal mode and object id, all zeros where there is nothing."""

    mode: str
    oid: str

    @property
    def there(self) -> bool:
        return self.mode != ABSENT

    @property
    def is_link(self) -> bool:
        """Whether it is a submodule's commit, which no file stands for."""
        return self.mode == GITLINK


class Change(NamedTuple):
    """A path that differs, and what stood and stands there; `unmerged`: a conflict in the index, unsolved."""

    path: str
    old: TreeEntry
    new: TreeEntry
    unmerged: bool = False

    @property
    def is_new_link(self) -> bool:
        return self.new.is_link and not self.old.is_link


def changes(cwd: str, old: str, new: str, *paths: str) -> list[Change]:
    """What differs from tree `old` to tree `new` (below `paths`, if any are given); a rename is a deletion and an addition."""
    whole = all(re.fullmatch(_ID, name) for name in (old, new))
    return raw_changes((_difference if whole else _difference.__wrapped__)(cwd, old, new, *paths))


@lru_cache(maxsize=2)
def _difference(cwd: str, old: str, new: str, *paths: str) -> bytes:
    """What two ids name never changes: a merge is looked at for `protect`, and looked at again when it moves."""
    words = ("-r", "-z", "--no-renames", "--raw", "--no-abbrev", "--end-of-options", old, new, "--", *paths)
    return git(cwd, "diff-tree", *words).out


def raw_changes(out: bytes) -> list[Change]:
    """What git's raw diff format says, NUL-separated and with whole ids."""
    fields = out.decode("utf-8", "surrogateescape").split("\0")[:-1]
    found = []
    for head, path in zip(fields[::2], fields[1::2], strict=True):
        old_mode, new_mode, old, new, letter = head.removeprefix(":").split(" ")
        found.append(Change(path, TreeEntry(old_mode, old), TreeEntry(new_mode, new), letter == "U"))
    return found


def diff_text(cwd: str, base: str, tip: str, *paths: str, magic: bool = False) -> str:
    """The difference of two commits as a person reads it, of `paths` if any are given; `magic` as in `git`."""
    words = ("diff", "--no-ext-diff", "--no-textconv", "--color=never", "--end-of-options", base, tip, "--", *paths)
    return git(cwd, *words, magic=magic).out.decode("utf-8", "replace")


def log_trailers(
    cwd: str, keys: Sequence[str], *revisions: str, limit: int = -1, first_parent: bool = False, grep: str = ""
) -> list[tuple[str, dict[str, str]]]:
    """Each commit that `revisions` (`main`, `^v1`, `a..b`) select, newest first, with its trailers of these `keys`.

    `grep` (an extended regular expression) leaves out others before their trailers are read, which is the dear part.
    """
    wanted = "%x1f".join(f"%(trailers:key={key},valueonly,separator=%x20)" for key in keys)
    flags = ("-z", f"--max-count={limit}", f"--format=%H%x1f{wanted}", *(["--first-parent"] if first_parent else []))
    flags += ("--extended-regexp", f"--grep={grep}") if grep else ()
    out = git(cwd, "log", *flags, "--end-of-options", *revisions, "--").out
    found = []
    for record in out.decode("utf-8", "replace").split("\0"):
        oid, *values = record.split("\x1f")
        if oid:
            found.append((oid, {k: v.strip() for k, v in zip(keys, values, strict=True) if v.strip()}))
    return found


class Moment(NamedTuple):
    """A line of a reflog: where the ref came to, who moved it and when (seconds since the epoch), and how (`commit:
    <subject>`, `pull: Fast-forward`)."""

    oid: str
    mail: str
    seconds: int
    how: str


def reflog(cwd: str, ref: str = "HEAD") -> list[Moment]:
    """How HEAD of this worktree, or `ref`, came to be where it is, newest first. It never travels: a clone brings none."""
    # %ge: %gE is what the checkout's .mailmap makes of it, and that file is anybody's
    words = ("log", "-g", "-z", "--date=unix", "--format=%H%x1f%ge%x1f%gd%x1f%gs", "--end-of-options", ref, "--")
    out = git(cwd, *words, ok=(0, 128))
    lines = out.out.decode("utf-8", "replace").split("\0") if out.code == 0 else ()
    fields = (line.split("\x1f", 3) for line in lines if line)
    return [Moment(oid, mail, int(when.rpartition("@{")[2].rstrip("}")), how) for oid, mail, when, how in fields]


def introduced(cwd: str, pairs: Iterable[str], folder: str) -> list[tuple[str, str, str]]:
    """Status letter, path and blob id of what commits changed or added in `folder`; none for merges.

    Each of `pairs` is a commit, compared with its parent, or two trees' ids.
    """
    words = ("diff-tree", "--stdin", "-r", "-z", "--root", "--no-commit-id", "--no-renames", "--raw", "--", folder)
    fields = git(cwd, *words, input="".join(f"{pair}\n" for pair in pairs).encode()).out.decode("utf-8", "replace").split("\0")
    found = []
    heads = iter(fields)
    for head in heads:
        if ":" in head:  # before the first of two trees' there is a line that names them
            _, _, _, blob, letter = head.rpartition(":")[2].split(" ")
            found.append((letter, next(heads), blob))
    return found


def names_on_branches(cwd: str, folder: str) -> set[str]:
    """File names that `folder` holds at HEAD and on any local or remote-tracking branch, in three processes.

    Many branches share one tree of the folder; each tree is read once.
    """
    tips = set(git(cwd, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/remotes").out.split())
    asked = b"".join(oid + b":" + os.fsencode(folder) + b"\n" for oid in {b"HEAD", *tips})
    answers = git(cwd, "cat-file", "--batch-check=%(objectname) %(objecttype)", input=asked).out.splitlines()
    trees = {answer.split()[0] for answer in answers if answer.endswith(b" tree")}
    if not trees:
        return set()
    found = objects(cwd, [tree.decode() for tree in trees])
    return {os.fsdecode(name) for tree in found if tree for _, name in entries(tree)}


def _batch(out: bytes) -> Iterator[Object | None]:
    """What an answer of `cat-file --batch` holds: `<oid> <type> <size>`, newline, content, newline; or `<name> missing`."""
    at = 0
    while at < len(out):
        line = out.index(b"\n", at)
        oid, *_, size = out[at:line].split()
        if not size.isdigit():
            yield None
            at = line + 1
            continue
        yield Object(oid.decode(), out[line + 1 : line + 1 + int(size)])
        at = line + int(size) + 2


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
    marks = [mark for mark in _UNDER_WAY if os.path.lexists(os.path.join(gitdir, mark))]
    if not marks and has_reftable(common_of(gitdir)):
        words = ("for-each-ref", "--include-root-refs", "--format=%(refname)", *_UNDER_WAY)
        marks = git(gitdir, *words, env={"GIT_DIR": gitdir}).text.splitlines()
    return _UNDER_WAY[marks[0]] if marks else None


def identity(cwd: str) -> str | None:
    """The committer as `Name <mail>`; None if git knows no committer or no author: asked before anything is paid (rule 30).

    Raises GitError if git cannot read its settings.
    """
    try:
        return signatures(cwd)[1].decode("utf-8", "surrogateescape")
    except GitError as error:
        if "bad config" in error.out.err or "GIT_CONFIG" in error.out.err:
            raise
        return None


@lru_cache(maxsize=4)
def signatures(cwd: str) -> tuple[bytes, bytes]:
    """Author and committer as `Name <mail>`. Raises GitError if git does not know one of them.

    One command, one person: whom git knew a moment ago it still knows; that it knows nobody is asked anew.
    """
    author, committer = (git(cwd, "var", f"GIT_{who}_IDENT").out.rsplit(b" ", 2)[0] for who in ("AUTHOR", "COMMITTER"))
    return author, committer


def hash_object(cwd: str, content: bytes) -> str:
    """Store `content` as a blob as it is and return its id."""
    return git(cwd, "hash-object", "-w", "--stdin", input=content).text


def staged_paths(cwd: str, folder: str, env: Mapping[str, str]) -> list[str]:
    """Paths below `folder` that the next commit adds or changes; `env` may name another index."""
    words = ("diff", "--cached", "--name-only", "-z", "--no-renames", "--diff-filter=d", "--", folder)
    return git(cwd, *words, env=env).out.decode("utf-8", "surrogateescape").split("\0")[:-1]


def check_out_index(cwd: str, folder: str, target: str, env: Mapping[str, str]) -> None:
    """Write what the index holds below `folder` below `target`, which becomes a repository without commits."""
    names = git(cwd, "ls-files", "-z", "--", folder, env=env).out
    git(cwd, "checkout-index", "-z", "--stdin", f"--prefix={target}/", input=names, env=env)
    git(target, "init", "-q", "--template=")


def hooks_folder(cwd: str) -> str:
    """Where git looks for hooks, absolute."""
    return os.path.join(cwd, git(cwd, "rev-parse", "--git-path", "hooks").text)


def replaced(cwd: str, tree: str, name: str, source: str) -> str:
    """A tree like `tree` whose top-level entry `name` is the one of `source`; absent there, absent in it."""
    kept = [e for e in git(cwd, "ls-tree", "-z", tree).out.split(b"\0") if e and not e.endswith(b"\t" + os.fsencode(name))]
    entry = git(cwd, "ls-tree", "-z", source, "--", name).out.split(b"\0")
    return git(cwd, "mktree", "-z", input=b"".join(e + b"\0" for e in (*kept, *entry) if e)).text


def commit_tree(
    cwd: str, tree: str, parents: Iterable[str], message: str, *, sign: bool = False, env: Mapping[str, str] | None = None
) -> str:
    """Write a commit and return its id. Unlike `git commit`, it keeps `#12 ...` subjects and runs no hook (rules 19, 20)."""
    flags = [flag for parent in parents for flag in ("-p", parent)]
    if sign:
        flags.append("-S")
    raw, limit = message.encode("utf-8", "surrogateescape"), 60 if sign else None  # a person's name may be in another encoding
    return git(cwd, "commit-tree", *flags, "-F", "-", tree, input=raw, env=env, timeout=limit).text


def update_ref(cwd: str, ref: str, new: str, old: str | None, message: str) -> bool:
    """Move `ref` to `new` if it is at `old` (None: if it does not exist); False if it is elsewhere or locked."""
    expected = old if old is not None else ""  # git's word for "must not exist", whatever the length of ids
    out = git(cwd, "update-ref", "--create-reflog", "-m", message, ref, new, expected, ok=(0, 128, 1))
    return out.code == 0


def delete_ref(cwd: str, ref: str, old: str) -> bool:
    return git(cwd, "update-ref", "-d", ref, old, ok=(0, 128, 1)).code == 0


def settings(cwd: str, *names: str) -> dict[str, str]:
    """Which of git's settings, by their names in lower case, are set: `true`, `false` or a number."""
    pattern = f"^({'|'.join(names)})$".replace(".", r"\.")
    lines = git(cwd, "config", "--type=bool-or-int", "--get-regexp", pattern, ok=(0, 1)).text.splitlines()
    return dict(line.split(" ", 1) for line in lines)


def is_on(cwd: str, name: str) -> bool:
    """Whether the setting of this name, in lower case, is true."""
    return settings(cwd, name).get(name) == "true"


def remote_url(cwd: str, remote: str) -> str | None:
    """Where `remote` is fetched from, or None if there is no such remote."""
    out = git(cwd, "config", "--get", f"remote.{remote}.url", ok=(0, 1))
    return out.text if out.code == 0 else None


class Lease(NamedTuple):
    """A ref of a push: it becomes `new` (None: it goes) if the remote has it at `old` (None: does not have it)."""

    ref: str
    new: str | None
    old: str | None


def push(cwd: str, remote: str, leases: Sequence[Lease], *, hooks: bool = True, timeout: float | None = None) -> Out:
    """Move all these refs of `remote` or none, each only from where its lease says; exit 0, or what git and the remote said."""
    flags = [f"--force-with-lease={lease.ref}:{lease.old or ''}" for lease in leases]
    flags += [] if hooks else ["--no-verify"]
    specs = [f"{lease.new or ''}:{lease.ref}" for lease in leases]
    words = ("push", "--porcelain", "--atomic", *flags, "--end-of-options", remote, *specs)
    return git(cwd, *words, ok=range(-64, 256), timeout=timeout)
