"""Where a project's files are: the checkout, its `.kin/`, its git folder and the common one, found without starting git.

`kin list` must answer before a git process has even started, so this walks up and reads `.git` itself, by git's own rules.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from kin.errors import Invalid, NotFound

STORE = ".kin"
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_NAME_LIMIT = 200


class Project(NamedTuple):
    """Absolute paths, symbolic links resolved; `root` is "" in a bare repository."""

    root: str
    store: str
    gitdir: str
    git_common: str

    @property
    def common(self) -> str:
        """kin's folder in the git common dir: shared by every worktree of the clone, never committed."""
        return os.path.join(self.git_common, "kin")


def find(cwd: str, environ: Mapping[str, str]) -> Project:
    """The project that `cwd` lies in, or whose `.kin/` the variable KIN_DIR names (an agent's worktree has none of its own).

    A linked worktree without `.kin/` belongs to the main checkout's store. Raises NotFound if there is no project, Invalid in
    a bare repository.
    """
    named = environ.get("KIN_DIR")
    if named:
        store = os.path.realpath(os.path.join(cwd, named))
        if not os.path.isdir(store) or os.path.basename(store) != STORE:
            raise NotFound(f"KIN_DIR is {named}, which is no {STORE} folder", f"point it at a project's {STORE}, or unset it")
        return find_repository(os.path.dirname(store), environ)._replace(store=store)
    found = find_repository(cwd, environ)
    if not found.root:
        raise Invalid("this is a bare repository: it has no files to keep tasks in", "call kin in a worktree of it")
    if os.path.isdir(found.store):
        return found
    main = os.path.dirname(found.git_common)
    if found.gitdir != found.git_common and os.path.isdir(os.path.join(main, STORE)):
        return Project(main, os.path.join(main, STORE), found.git_common, found.git_common)
    raise NotFound(f"no {STORE} folder in {found.root}", "`kin init` makes one")


def find_repository(cwd: str, environ: Mapping[str, str]) -> Project:
    """The repository that `cwd` lies in, with or without `.kin/`. Raises NotFound, or Invalid if it cannot be read."""
    try:
        return _walk_up(os.path.realpath(cwd))
    except OSError as error:
        raise Invalid(f"{error.filename} cannot be read: {error.strerror}", "`git status` tells more") from error


def from_root(path: str, cwd: str, environ: Mapping[str, str]) -> str:
    """`path`, as somebody in `cwd` names it, relative to the root of the checkout or worktree that `cwd` is in."""
    return os.path.relpath(os.path.join(os.path.realpath(cwd), path), find_repository(cwd, environ).root)


def branch_here(project: Project) -> str | None:
    """The branch that is checked out here, None if HEAD is detached; read from the file, since every list asks.

    Where that is a link (`core.preferSymlinkRefs`) or stands for a reftable (`.invalid`), git itself must say.
    """
    path = os.path.join(project.gitdir, "HEAD")
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        ref = file.read().removeprefix("ref:").strip()
    if os.path.islink(path) or ref == "refs/heads/.invalid":
        from kin import git

        ref = git.head_ref(project.root) or ""
    return ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else None


def _walk_up(start: str) -> Project:
    folder = start
    while True:
        dotgit = os.path.join(folder, ".git")
        gitdir = _linked(dotgit) if os.path.isfile(dotgit) else dotgit
        if _is_git_folder(gitdir):
            return Project(folder, os.path.join(folder, STORE), gitdir, _common(gitdir))
        # a hook of a repository that is pushed to starts in its `.git`: what is meant is the checkout around that
        if _is_git_folder(folder) and os.path.basename(folder) != ".git":
            return Project("", os.path.join(folder, STORE), folder, _common(folder))
        parent = os.path.dirname(folder)
        if parent == folder:
            raise NotFound(f"no git repository in {start} or above it", "`git init` makes one")
        folder = parent


def _linked(dotgit: str) -> str:
    """The git folder that a `.git` file (of a worktree or a submodule) names, relative to the file."""
    with open(dotgit, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read(4096)
    if not text.startswith("gitdir: "):
        raise Invalid(f"{dotgit} does not say where the git folder is", "`git status` tells more")
    return os.path.realpath(os.path.join(os.path.dirname(dotgit), text[len("gitdir: ") :].rstrip("\r\n")))


def _is_git_folder(path: str) -> bool:
    """git's own test (`is_git_directory`): a HEAD, and objects and refs here or in the common dir."""
    if not os.path.lexists(os.path.join(path, "HEAD")):
        return False
    common = _common(path)
    return os.path.isdir(os.path.join(common, "objects")) and os.path.isdir(os.path.join(common, "refs"))


def _common(gitdir: str) -> str:
    try:
        with open(os.path.join(gitdir, "commondir"), encoding="utf-8", errors="surrogateescape") as file:
            return os.path.realpath(os.path.join(gitdir, file.read(4096).rstrip("\r\n")))
    except FileNotFoundError:
        return os.path.realpath(gitdir)


def state_folder(environ: Mapping[str, str]) -> str:
    """The person's folder for what kin must remember outside of repositories (worktrees, trust)."""
    return _user_folder(environ, "XDG_STATE_HOME", "state")


def config_folder(environ: Mapping[str, str]) -> str:
    """The person's folder for settings of their own (`config.yaml`)."""
    return _user_folder(environ, "XDG_CONFIG_HOME", "config")


def _user_folder(environ: Mapping[str, str], variable: str, kind: str) -> str:
    # The variables hold on every system: a person who sets one means it. platformdirs (25 ms) knows what else is usual.
    chosen = environ.get(variable, "")
    if os.path.isabs(chosen):
        return os.path.join(chosen, "kin")
    import platformdirs

    paths = platformdirs.PlatformDirs("kin", appauthor=False)
    return paths.user_state_dir if kind == "state" else paths.user_config_dir


def file_name(text: str) -> str:
    """`text` (a branch, say) as one file name: percent-encoded, cut where file systems would refuse it.

    Two long names that share a cut one share a lock, which is slow but never wrong: a checksum makes that rare.
    """
    name = "".join(c if c in _SAFE else "".join(f"%{b:02X}" for b in c.encode("utf-8", "surrogateescape")) for c in text)
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > _NAME_LIMIT:
        import zlib

        name = f"{name[:_NAME_LIMIT]}%{zlib.crc32(name.encode()):08X}"
    return name
