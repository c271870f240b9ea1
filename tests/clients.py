"""Programs from npm, and one from PyPI, that tests drive: installed once, of pinned versions, in your cache, under a lock.

`python tests/clients.py` installs the agents' clients and says which of them the tests will drive; CI calls it, so that a
log shows whether the proof with real clients ran.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

__all__ = ["CLIENTS", "OTHERS", "SEEN", "Missing", "client", "installed"]

SEEN = dict(os.environ)
"""The person's own environment: npm's registry and cache are theirs, unlike a test's home."""
CACHE = Path(
    SEEN.get("KIN_TEST_CLIENTS") or Path(SEEN.get("XDG_CACHE_HOME") or Path(SEEN.get("HOME", "/")) / ".cache") / "kin-tests"
)
CLIENTS = {"claude": ("@anthropic-ai/claude-code", "2.1.332"), "codex": ("@openai/codex", "0.171.0")}
"""The clients of the proof: package and version."""
OTHERS = {
    "gemini": ("@google/gemini-cli", "0.61.0"),
    "opencode": ("opencode-ai", "1.18.33"),
    "qwen": ("@qwen-code/qwen-code", "0.24.4"),
    "aider": ("aider-chat", "0.86.2"),
}
"""Those that are driven at night: what kin knows of them is shown once more; aider comes from PyPI."""


class Missing(Exception):
    """The program cannot be had here; the words say why."""


def client(name: str) -> Path:
    """The program of the agent's client `name`. Raises Missing."""
    package, version = (CLIENTS | OTHERS)[name]
    if name == "aider":
        return _from_pypi(package, version)
    return installed(package, version) / "node_modules/.bin" / name


def installed(package: str, version: str, *flags: str) -> Path:
    """The folder that holds `node_modules` with `package`, which npm is asked for once. Raises Missing."""
    if not shutil.which("node", path=SEEN["PATH"]) or not shutil.which("npm", path=SEEN["PATH"]):
        raise Missing(f"there is no node, or no npm, to run {package} with")
    words = ("npm", "install", "--no-audit", "--no-fund", *flags, f"{package}@{version}", "--prefix")
    return _made(CACHE / f"{package.replace('/', '-').lstrip('@')}-{version}", words)


def _from_pypi(package: str, version: str) -> Path:
    """The program `aider` of that package. Raises Missing."""
    words = (sys.executable, "-m", "pip", "install", "-q", f"{package}=={version}", "--target")
    folder = _made(CACHE / f"{package}-{version}", words)
    program = folder / "bin/aider"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" -m aider "$@"\n')
    return program


def _made(folder: Path, words: Sequence[str]) -> Path:
    """The folder, which `words` with a new one's name behind them fill, once. Raises Missing."""
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock", timeout=600):
        if not folder.exists():
            fresh = tempfile.mkdtemp(dir=CACHE)
            done = subprocess.run([*words, fresh], env=SEEN, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if done.returncode:
                shutil.rmtree(fresh)
                raise Missing(f"{words[0]} could not make {folder.name}: {done.stderr.strip()[-300:]}")
            os.rename(fresh, folder)
    return folder


if __name__ == "__main__":
    for name, (package, version) in CLIENTS.items():
        try:
            client(name)
        except Missing as error:
            sys.stdout.write(f"{name}: NOT DRIVEN, its tests are skipped: {error}\n")
        else:
            sys.stdout.write(f"{name}: driven by the tests ({package} {version})\n")
