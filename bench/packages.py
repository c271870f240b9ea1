"""Five real source packages of three languages: eight tasks each through `kin run --ready`, gated by the package's own suite.

    python bench/packages.py [--cache DIR] [--only NAME]

The archives come through pip, npm and apt-get, as these are set up on the machine, into a cache; what the suites need is
installed there once. Each package becomes a fresh repository; its tasks add a function with its test, change the same file
elsewhere, build on another task's work, rename, delete, and change modes. Afterwards the suite runs on every first-parent
commit, in a worktree of its own. Prints one line a package; exit 1 if anything is not as it must be.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ground import ROOT, Repo, environment, fresh, scratch

EDITS = ROOT / "bench/edits"
TASKS = 8
QS_NEEDS = (
    *("tape@5", "mock-property", "es-value-fixtures", "object-inspect", "has-proto", "has-bigints", "for-each"),
    *("safer-buffer", "has-symbols", "has-property-descriptors", "iconv-lite@0.5", "has-override-mistake"),
    *("side-channel", "es-define-property"),
)


class Task(NamedTuple):
    """A task of command steps; `after` names others by their number, from 1."""

    title: str
    steps: tuple[str, ...]
    after: tuple[int, ...] = ()


class Edits(NamedTuple):
    """Where a package's tasks work; the texts are files in bench/edits. `head` is a word of sed, `before` a pattern."""

    source: str
    head: str
    readme: str
    rename: tuple[str, str]
    delete: str
    mode: str
    before: str = ""


class Package(NamedTuple):
    """A source package: how it is fetched, what its suite needs, runs and says, and what is to be done with it."""

    name: str
    language: str
    fetch: Callable[["Package", Path], Path]
    version: str
    needs: tuple[str, ...]
    gate: str
    count: str
    edits: Edits


class Verdict(NamedTuple):
    """What came of one package."""

    package: Package
    files: int
    tests: int
    seconds: float
    merges: int
    green: int
    commits: int
    wrong: tuple[str, ...]


def call(argv: Sequence[str], cwd: Path) -> None:
    """Run a client; its output is shown only if it fails."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def by_pip(package: Package, cache: Path) -> Path:
    """The sdist, unpacked, and a virtual environment with what its suite needs."""
    venv, into = cache / "venv", cache / package.name
    if not venv.exists():
        call([sys.executable, "-m", "venv", str(venv)], cache)
    pip = [str(venv / "bin/python"), "-m", "pip", "-q", "--disable-pip-version-check"]
    call([*pip, "install", *package.needs], cache)
    into.mkdir()
    call([*pip, "download", "--no-deps", "--no-binary", ":all:", f"{package.name}=={package.version}"], into)
    return _unpacked(next(into.glob("*.tar.gz")))


def by_npm(package: Package, cache: Path) -> Path:
    """The tarball, unpacked, and a node_modules with what its suite needs."""
    into = cache / package.name
    (into / "modules").mkdir(parents=True)
    call(["npm", "pack", "--silent", f"{package.name}@{package.version}"], into)
    call(["npm", "install", "--silent", "--no-save", "--no-audit", "--no-fund", *package.needs], into / "modules")
    return _unpacked(next(into.glob("*.tgz")))


def by_apt(package: Package, cache: Path) -> Path:
    """The Debian source package, unpacked and patched; the lists of sources are kept apart from the machine's own."""
    into = cache / package.name
    (into / "lists/partial").mkdir(parents=True)
    (into / "cache/archives/partial").mkdir(parents=True)
    apt = Path("/etc/apt")
    stanzas = [p.read_text() for p in sorted(apt.glob("sources.list.d/*.sources"))]
    lines = [p.read_text() for p in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))] if p.exists()]
    (into / "s.sources").write_text("\n\n".join(re.sub(r"(?m)^Types:.*$", "Types: deb-src", text) for text in stanzas))
    (into / "s.list").write_text(re.sub(r"(?m)^deb ", "deb-src ", "\n".join(lines)))
    places = {"Etc::SourceList": "s.list", "Etc::SourceParts": "parts", "State::Lists": "lists", "Cache": "cache"}
    options = [word for key, value in places.items() for word in ("-o", f"Dir::{key}={into / value}")]
    (into / "parts").mkdir()
    (into / "s.sources").rename(into / "parts/s.sources")
    call(["apt-get", *options, "update", "-q"], into)
    call(["apt-get", *options, "-q", "source", "--download-only", package.name], into)
    call(["dpkg-source", "--no-check", "-x", next(into.glob("*.dsc")).name, "tree"], into)
    return into / "tree"


def _unpacked(archive: Path) -> Path:
    tree = archive.parent / "tree"
    tree.mkdir()
    call(["tar", "xf", str(archive), "--strip-components=1", "-C", str(tree)], archive.parent)
    return tree


PY = "env PYTHONPATH=src {cache}/venv/bin/python -m pytest -q -p no:cacheprovider"
JS = "node node_modules/tape/bin/tape 'test/**/*.js'"
PERL = "prove -l t"

PACKAGES = (
    Package(
        *("itsdangerous", "Python", by_pip, "2.2.0", ("pytest", "freezegun"), PY, r"(\d+) passed"),
        Edits(
            source="src/itsdangerous/encoding.py",
            head="1i # Bytes and text, and the way between them.",
            readme="README.md",
            rename=("docs/concepts.rst", "docs/ideas.rst"),
            delete="docs/make.bat",
            mode="docs/conf.py",
        ),
    ),
    Package(
        *("cachetools", "Python", by_pip, "8.0.2", ("pytest",), PY, r"(\d+) passed"),
        Edits(
            source="src/cachetools/keys.py",
            head="1a # Keys are plain tuples.",
            readme="README.rst",
            rename=("CHANGELOG.rst", "HISTORY.rst"),
            delete="tox.ini",
            mode="docs/conf.py",
        ),
    ),
    Package(
        *("minimist", "JavaScript", by_npm, "1.2.8", ("tape@5",), JS, r"# tests (\d+)"),
        Edits(
            source="index.js",
            head="2a // Parse argument options, without all the fanciful decoration.",
            readme="README.md",
            rename=("example/parse.js", "example/show.js"),
            delete=".nycrc",
            mode="package.json",
        ),
    ),
    Package(
        *("qs", "JavaScript", by_npm, "6.17.1", QS_NEEDS, JS, r"# tests (\d+)"),
        Edits(
            source="lib/index.js",
            head="2a // Parse and stringify, and the formats they share.",
            readme="README.md",
            rename=("CHANGELOG.md", "HISTORY.md"),
            delete=".editorconfig",
            mode="eslint.config.mjs",
        ),
    ),
    Package(
        *("libpath-tiny-perl", "Perl", by_apt, "", (), PERL, r"Tests=(\d+)"),
        Edits(
            source="lib/Path/Tiny.pm",
            before="^package Path::Tiny::Error;",
            head="1i # A small class for file paths.",
            readme="README",
            rename=("CONTRIBUTING.mkdn", "CONTRIBUTING.md"),
            delete="tidyall.ini",
            mode="Makefile.PL",
        ),
    ),
)


def tasks_of(package: Package, gate: str) -> tuple[Task, ...]:
    """The eight tasks. The second edits the file of the first elsewhere, side by side with it."""
    e, files = package.edits, EDITS / package.name
    function = f"cat {files}/function >> {e.source}"
    if e.before:
        function = f"sed -i '/{e.before}/e cat {files}/function' {e.source}"
    script = "mkdir -p tools && printf '#!/bin/sh\\ngit ls-files | wc -l\\n' > tools/files.sh && chmod +x tools/files.sh"
    return (
        Task("Add a function", (function, f"cp -r {files}/test/. . && {gate}")),
        Task("Say more at the head of the file", (f"sed -i '{e.head}' {e.source}",)),
        Task("A module on top of the new function", (f"cp -r {files}/module/. .", gate), (1,)),
        Task("A sentence for readers", (f"echo 'How it came about: see the history.' >> {e.readme}",)),
        Task("A better name", (f"mv {e.rename[0]} {e.rename[1]}",)),
        Task("Nobody needs it", (f"rm {e.delete}",)),
        Task("A script, and a mode", (script, f"chmod +x {e.mode}")),
        Task("Use the script and the new name", (f"./tools/files.sh >> {e.rename[1]}", gate), (3, 5, 7)),
    )


def prepare(package: Package, cache: Path, path: Path) -> Repo:
    """A fresh repository with the package and its gate; half of the tasks are committed, as people do or not."""
    tree = cache / package.name / "tree"
    repo = fresh(path)
    shutil.copytree(tree, path, symlinks=True, dirs_exist_ok=True)
    ignored = path / ".gitignore"
    ignored.write_text((ignored.read_text() if ignored.exists() else "") + "\nnode_modules\n__pycache__/\n.pytest_cache/\n")
    repo.commit(f"{package.name} {package.version}".strip())
    repo.kin("init", "--key", "PKG")
    setup = setup_of(package, cache)
    lines = ["format: 1", "key: PKG", "mode: auto", *([f"setup: {json.dumps(setup)}"] if setup else [])]
    repo.write(".kin/kin.yaml", "\n\n".join([*lines, f"gates:\n  - {json.dumps(gate_of(package, cache))}"]) + "\n")
    for number, task in enumerate(tasks_of(package, gate_of(package, cache)), 1):
        text = [f"id: PKG-{number}", f"title: {task.title}", "status: todo"]
        if task.after:
            text.append("depends_on:" + "".join(f"\n  - PKG-{n}" for n in task.after))
        text.append("pipeline:" + "".join(f"\n  - role: developer\n    run: {json.dumps(step)}" for step in task.steps))
        if number == 5:
            repo.commit("kin")
        repo.write(f".kin/tasks/PKG-{number}.yaml", "\n\n".join(text) + "\n")
    return repo


def setup_of(package: Package, cache: Path) -> str:
    """What a new worktree needs before its suite runs."""
    modules = cache / package.name / "modules/node_modules"
    return f"ln -s {modules} node_modules" if modules.exists() else ""


def gate_of(package: Package, cache: Path) -> str:
    return package.gate.replace("{cache}", str(cache))


def suite(package: Package, cache: Path, where: Path) -> tuple[bool, int]:
    """Whether the suite passes in a folder, and how many tests it says it ran."""
    done = subprocess.run(["/bin/sh", "-c", gate_of(package, cache)], cwd=where, capture_output=True, text=True)
    found = re.findall(package.count, done.stdout)
    return done.returncode == 0, int(found[-1]) if found else 0


def examine(package: Package, cache: Path, folder: Path) -> Verdict:
    """Take one package through its tasks and look at every commit that came of it."""
    repo = prepare(package, cache, folder / package.name)
    files, first = len(repo.git("ls-files").splitlines()), repo.tip()
    started = time.monotonic()
    words = [sys.executable, "-m", "kin", "run", "--ready", "--allow-write", "--trust", "--json"]
    done = subprocess.run(words, cwd=repo.path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    wrong = []
    outcomes = json.loads(done.stdout).get("data") or []
    if done.returncode or [o["exit"] for o in outcomes] != [0] * TASKS:
        ends = "; ".join(f"{o['task']} {o['status']} {o['reason']}" for o in outcomes if o["exit"])
        wrong.append(f"kin run: exit {done.returncode}, {len(outcomes)} outcomes; {ends}{done.stderr[-300:]}")
    merges = 0
    for number in range(1, TASKS + 1):
        landed = repo.git("log", "--first-parent", "--format=%H", f"--grep=^Kin-Task: PKG-{number}$").split()
        merges += len(landed) == 1
        if len(landed) != 1:
            wrong.append(f"PKG-{number} was merged {len(landed)} times")
        if not re.search(r"(?m)^status: done$", repo.read(f".kin/tasks/PKG-{number}.yaml")):
            wrong.append(f"PKG-{number} is not done")
    leftovers = {
        "git status": repo.status(),
        "worktrees": "\n".join(repo.git("worktree", "list").splitlines()[1:]),
        "refs": repo.git("for-each-ref", "refs/kin", "refs/heads/kin"),
        "records": "\n".join(str(p) for p in (repo.path / ".git/kin/run").rglob("*.yaml")),
    }
    wrong += [f"{name}: {text}" for name, text in leftovers.items() if text]
    commits = repo.git("rev-list", "--first-parent", "--reverse", f"{first}..HEAD").split()
    verdicts = [check_out(package, cache, repo, folder / "scratch", commit) for commit in (first, *commits)]
    wrong += [
        f"the suite fails on {commit[:12]}" for commit, (ok, _) in zip((first, *commits), verdicts, strict=True) if not ok
    ]
    green = sum(ok for ok, _ in verdicts)
    return Verdict(package, files, verdicts[-1][1], seconds, merges, green, len(verdicts), tuple(wrong))


def check_out(package: Package, cache: Path, repo: Repo, scratch_: Path, commit: str) -> tuple[bool, int]:
    """The suite on one commit, in a worktree that is removed afterwards."""
    repo.git("worktree", "add", "-q", "--detach", str(scratch_), commit)
    if setup := setup_of(package, cache):
        subprocess.run(["/bin/sh", "-c", setup], cwd=scratch_, check=True)
    found = suite(package, cache, scratch_)
    repo.git("worktree", "remove", "--force", str(scratch_))
    return found


def main() -> int:
    """Fetch what the cache does not hold, run, and print the table."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "kin-bench-packages")
    words.add_argument("--only", help="one package's name")
    asked = words.parse_args()
    cache = asked.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    chosen = [p for p in PACKAGES if asked.only in (None, p.name)]
    for package in chosen:
        if not (cache / package.name / "tree").exists():
            shutil.rmtree(cache / package.name, ignore_errors=True)
            package.fetch(package, cache)
    wrong = 0
    with scratch() as folder:
        environment(folder / "home", PATH=os.environ["PATH"])
        for name in ("KIN_TRUST", "KIN_ALLOW_WRITE"):
            del os.environ[name]
        print(f"{'package':18} {'language':11} {'files':>5} {'tests':>6} {'seconds':>8} {'merges':>7} {'green commits':>14}")
        for package in chosen:
            v = examine(package, cache, folder)
            print(
                f"{package.name:18} {package.language:11} {v.files:5} {v.tests:6} {v.seconds:8.1f} "
                f"{v.merges:4}/{TASKS} {v.green:8}/{v.commits}",
                flush=True,
            )
            for line in v.wrong:
                print(f"    {line}")
            wrong += len(v.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
