"""Programs from npm that tests drive: installed once, of a pinned version, into the person's own cache folder, under a lock.

`python tests/clients.py` installs the agents' clients and says which of them the tests will drive; CI calls it, so that a
log shows whether the proof with real clients ran.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

__all__ = ["CLIENTS", "SEEN", "Missing", "client", "installed"]

SEEN = dict(os.environ)
"""The person's own environment: npm's registry and cache are theirs, unlike a test's home."""
CACHE = Path(
    SEEN.get("KIN_TEST_CLIENTS") or Path(SEEN.get("XDG_CACHE_HOME") or Path(SEEN.get("HOME", "/")) / ".cache") / "kin-tests"
)
CLIENTS = {"claude": ("@anthropic-ai/claude-code", "2.1.197"), "codex": ("@openai/codex", "0.169.0")}
"""The clients of the proof: package and version."""


class Missing(Exception):
    """The program cannot be had here; the words say why."""


def client(name: str) -> Path:
    """The program of the agent's client `name`. Raises Missing."""
    package, version = CLIENTS[name]
    return installed(package, version) / "node_modules/.bin" / name


def installed(package: str, version: str, *flags: str) -> Path:
    """The folder that holds `node_modules` with `package`, which npm is asked for once. Raises Missing."""
    if not shutil.which("node", path=SEEN["PATH"]) or not shutil.which("npm", path=SEEN["PATH"]):
        raise Missing(f"there is no node, or no npm, to run {package} with")
    folder = CACHE / f"{package.replace('/', '-').lstrip('@')}-{version}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock", timeout=600):
        if not folder.exists():
            fresh = tempfile.mkdtemp(dir=CACHE)
            words = ["npm", "install", "--prefix", fresh, "--no-audit", "--no-fund", *flags, f"{package}@{version}"]
            done = subprocess.run(words, env=SEEN, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if done.returncode:
                shutil.rmtree(fresh)
                raise Missing(f"npm could not install {package}: {done.stderr.strip()[-300:]}")
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
