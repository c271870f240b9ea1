"""What all tests share: real git repositories in temporary folders, an environment without the person's own settings."""

import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import python

if TYPE_CHECKING:
    from firm import Firm

gc.disable()


def pytest_collection_finish() -> None:
    """What was collected stays: looking for garbage in it would take a tenth of a worker's time."""
    gc.enable()
    gc.freeze()


if os.path.isdir("/dev/shm"):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")

GIT_SETTINGS = {
    "core.fsync": "none",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "commit.gpgsign": "false",
    "init.defaultBranch": "main",
    "user.name": "Ada Person",
    "user.email": "ada@example.org",
    "advice.detachedHead": "false",
}


def _environment(home: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "KIN_", "CI")) or k == "GIT_DEFAULT_REF_FORMAT"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # each kin would compile itself again, which is most of a short test
    env.pop("PYTHONUNBUFFERED", None)  # which persons have not
    env |= {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "XDG_CONFIG_HOME": str(home / "config")}
    env |= {"XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home / "data"), "TZ": "UTC", "NO_COLOR": "1"}
    env |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": str(len(GIT_SETTINGS))}
    for n, (key, value) in enumerate(GIT_SETTINGS.items()):
        env |= {f"GIT_CONFIG_KEY_{n}": key, f"GIT_CONFIG_VALUE_{n}": value}
    return env


def _live_in(home: Path, patch: pytest.MonkeyPatch) -> dict[str, str]:
    home.mkdir()
    env = _environment(home)
    for name in set(os.environ) - set(env) - {"PYTEST_CURRENT_TEST"}:
        patch.delenv(name)
    for name, value in env.items():
        if os.environ.get(name) != value:
            patch.setenv(name, value)
    return env


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every test runs with a home, a git configuration and a locale of its own."""
    return _live_in(tmp_path / "home", monkeypatch)


class Repo:
    """A real repository and the words to use it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str, ok: tuple[int, ...] = (0,), cwd: Path | None = None) -> str:
        """Run git; the standard output without its final newline."""
        done = subprocess.run(
            ["git", *arguments], cwd=cwd or self.path, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode in ok, f"git {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.rstrip("\n")

    def write(self, name: str, text: str) -> Path:
        """Write a file below the root, parents made."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def commit(self, message: str = "change", **files: str) -> str:
        """Write files (a double underscore in a name is a slash), commit all; the new commit."""
        for name, text in files.items():
            self.write(name.replace("__", "/"), text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        try:
            return self.read(f".git/{self.read('.git/HEAD').removeprefix('ref: ').strip()}").strip()
        except OSError:  # no branch of the first worktree, or refs in tables
            return self.tip()

    def tip(self, ref: str = "HEAD") -> str:
        return self.git("rev-parse", ref)

    def status(self) -> str:
        return self.git("status", "--porcelain")

    def kin(
        self,
        *arguments: str,
        exit: int | None = 0,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        input: str = "",
        wraps: tuple[str, ...] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run kin as a process of its own, with words before it; `exit` is the code that must come back (None: any)."""
        full = dict(os.environ) | (env or {})
        done = python.run(["-m", "kin", *arguments], cwd=cwd or self.path, env=full, input=input, wraps=wraps)
        said = f"kin {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, said
        assert exit is None or done.returncode == exit, said
        return done

    def start(self, *words: str, **how: Any) -> "subprocess.Popen[Any]":
        """kin as a process that goes on while the test does; `how` is what subprocess is told beside the words."""
        return python.start(["-m", "kin", *words], cwd=self.path, **how)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Repositories that tests copy, which is cheaper than making them: `repo`, and `project` with a committed `.kin/`."""
    base = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        _live_in(base / "home", patch)
        repo = Repo(base / "repo")
        repo.path.mkdir()
        repo.git("init", "-q", "--template=", "-b", "main")
        repo.commit("first", **{"README.md": "A project\n"})
        shutil.copytree(repo.path, base / "project", symlinks=True)
        files = {".kin__kin.yaml": KIN_YAML, ".kin__.gitattributes": "* text eol=lf\n"}
        Repo(base / "project").commit("kin", **files)
    return base


@pytest.fixture
def make_repo(template: Path, tmp_path: Path) -> Callable[[str], Repo]:
    """Make a repository with one commit under a name of the test's choice."""

    def make(name: str = "repo") -> Repo:
        shutil.copytree(template / "repo", tmp_path / name, symlinks=True)
        return Repo(tmp_path / name)

    return make


@pytest.fixture
def repo(make_repo: Callable[[str], Repo]) -> Repo:
    """A repository with one commit on `main`, no `.kin/`."""
    return make_repo("repo")


_ROOTS = "-dac_override,-dac_read_search"
AS_A_PERSON = ("setpriv", "--bounding-set", _ROOTS, "--inh-caps", _ROOTS) if os.geteuid() == 0 else ()
"""Words before a command that make file modes hold for root, too."""

KIN_YAML = "format: 1\n\nkey: KIN\n\nmode: auto\n"


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Repo:
    """A repository with a committed `.kin/` (key KIN, mode auto, no gates) that is trusted and has leave to write."""
    shutil.copytree(template / "project", tmp_path / "repo", symlinks=True)
    os.environ["KIN_TRUST"] = "1"
    os.environ["KIN_ALLOW_WRITE"] = "1"
    return Repo(tmp_path / "repo")


@pytest.fixture(params=["claude", "codex"])
def firm(request: pytest.FixtureRequest, project: Repo) -> Iterator["Firm"]:
    """A project in which the vendor's real client plays every role, against a scripted model; once for each client."""
    from firm import Firm
    from model_server import ModelServer, say

    with ModelServer(lambda asked: say("nothing was scripted")) as server:
        yield Firm(project, request.param, server)


def task_text(task_id: str, title: str = "A task", status: str = "todo", **fields: str) -> str:
    """A task file in kin's layout; `fields` are keys with their text as it stands behind the colon."""
    lines = [f"id: {task_id}", f"title: {title}", f"status: {status}", *(f"{k}: {v}" for k, v in fields.items())]
    return "\n\n".join(lines) + "\n"


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> object:
    """Wait until `condition` is true, checking often; fail after `seconds`. Tests never sleep for a fixed time."""
    import threading
    import time

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        threading.Event().wait(0.01)
    raise AssertionError(f"not true within {seconds} s: {condition}")
