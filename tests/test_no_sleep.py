"""The rule about sleeping (KIN-FIX-025): no code in kin/ or agents/ sleeps. docs/no-sleep.md tells why.

Names are judged, not data flow: whatever is called `sleep` is banned under any alias, since nothing in kin needs the name.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("kin", "agents")

ALLOWED: dict[str, str] = {}
"""Files that may sleep, each with its reason, by path from the root. An entry whose file no longer sleeps is an error."""

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(.*?)^ {0,3}\1", re.MULTILINE | re.DOTALL)
SLEEPING_TEXT = re.compile(r"\bsleep\s*\(|(?:^|[\s;&|(])(?:u?sleep|Start-Sleep)\s+[\d.$\"'-]", re.MULTILINE)


def naps(tree: ast.AST) -> Iterator[int]:
    """The lines of a syntax tree on which something that sleeps is named."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="sleep"):
                yield node.lineno
            case ast.ImportFrom(names=names) if any(n.name == "sleep" for n in names):
                yield node.lineno
            case ast.ImportFrom(module="time" | "asyncio", names=[ast.alias(name="*")]):
                yield node.lineno
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value="sleep"), *_]):
                yield node.lineno
            case ast.List(elts=[ast.Constant(value=str(word)), *_]) | ast.Tuple(elts=[ast.Constant(value=str(word)), *_]):
                if word.rsplit("/", 1)[-1] == "sleep":
                    yield node.lineno
            case ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Attribute(attr="Event") | ast.Name(id="Event")), attr="wait")
            ):
                yield node.lineno  # an event that nobody else knows is never set
            case ast.Call(args=[ast.List(elts=[]), ast.List(elts=[]), ast.List(elts=[]), _]):
                yield node.lineno  # select on nothing
            case ast.Call(func=ast.Attribute(attr="system" | "popen"), args=[ast.Constant(value=str(word)), *_]):
                if SLEEPING_TEXT.search(word):
                    yield node.lineno


def sleeping_lines(path: Path) -> list[int]:
    """The lines of a file that sleep: of Python anywhere, of Markdown within its code blocks."""
    return sleeping_in(path.read_text(encoding="utf-8"), path.suffix)


@cache
def sleeping_in(text: str, suffix: str) -> list[int]:
    """The same of a text: nearly all files are those of the test before."""
    if suffix == ".py":
        return sorted(set(naps(ast.parse(text))))
    found = []
    for block in FENCE.finditer(text):
        first = text[: block.start(2)].count("\n") + 1
        found += [first + block[2][: hit.start()].count("\n") for hit in SLEEPING_TEXT.finditer(block[2])]
    return found


def complaints(root: Path, allowed: Mapping[str, str]) -> list[str]:
    """What breaks the rule below `root`: files that sleep, and entries of the list that are not needed or have no reason."""
    files = {
        path.relative_to(root).as_posix(): path
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in (".py", ".md")
    }
    asleep = {name: lines for name, path in files.items() if (lines := sleeping_lines(path))}
    found = [f"{name}:{line}: sleeps" for name, lines in asleep.items() if name not in allowed for line in lines]
    found += [f"{name}: allowed to sleep, but there is no such file" for name in allowed if name not in files]
    found += [f"{name}: allowed to sleep, but it does not" for name in allowed if name in files and name not in asleep]
    found += [f"{name}: allowed to sleep without a reason" for name, reason in allowed.items() if not reason.strip()]
    return found


def folders_with_code() -> list[str]:
    """Every folder that the rule covers, so that a new one is tried too."""
    below = [p for name in FOLDERS for p in (ROOT / name, *(ROOT / name).rglob("*")) if p.is_dir()]
    return [p.relative_to(ROOT).as_posix() for p in below if "__pycache__" not in p.parts]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the rule covers, to plant violations in."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def test_nothing_in_kin_or_agents_sleeps() -> None:
    assert complaints(ROOT, ALLOWED) == []


@pytest.mark.parametrize("folder", folders_with_code())
def test_a_sleep_planted_in_any_folder_is_seen(copy: Path, folder: str) -> None:
    (copy / folder / "planted.py").write_text("import time\n\n\ndef rest():\n    time.sleep(1)\n")
    (copy / folder / "planted.md").write_text("Wait a bit:\n\n```python\ntime.sleep(1)\n```\n")
    assert complaints(copy, ALLOWED) == [f"{folder}/planted.md:4: sleeps", f"{folder}/planted.py:5: sleeps"]


@pytest.mark.parametrize(
    "code",
    [
        "import time as t\nt.sleep(1)",
        "from time import sleep\nsleep(1)",
        "from time import sleep as rest",
        "from time import *",
        "import asyncio\nasync def f():\n    await asyncio.sleep(1)",
        "import time\nrest = time.sleep",
        "getattr(__import__('time'), 'sleep')(1)",
        "import subprocess\nsubprocess.run(['sleep', '1'])",
        "import subprocess\nsubprocess.run(('/bin/sleep', '1'))",
        "import os\nos.system('true; sleep 1')",
        "import threading\nthreading.Event().wait(1)",
        "import select\nselect.select([], [], [], 1)",
    ],
)
def test_a_sleep_by_another_name_is_seen(tmp_path: Path, code: str) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(code + "\n")
    assert sleeping_lines(planted)


@pytest.mark.parametrize("block", ["```sh\nmake; sleep 5\n```", "~~~\nsleep 0.1\n~~~", "```js\nawait sleep(100)\n```"])
def test_a_sleep_in_a_code_block_is_seen(tmp_path: Path, block: str) -> None:
    planted = tmp_path / "planted.md"
    planted.write_text(f"Do this:\n\n{block}\n")
    assert sleeping_lines(planted) == [4]


def test_words_about_sleep_are_not_a_sleep(tmp_path: Path) -> None:
    (tmp_path / "words.md").write_text("Never write time.sleep(1).\n\n```text\nno sleep, please\n```\n")
    (tmp_path / "words.py").write_text('"""A sleep of 5 s would be wrong: time.sleep(5)."""\n')
    assert [sleeping_lines(tmp_path / name) for name in ("words.md", "words.py")] == [[], []]


def test_an_entry_of_the_list_must_exist_sleep_and_have_a_reason(copy: Path) -> None:
    (copy / "kin" / "planted.py").write_text("import time\ntime.sleep(1)\n")
    assert complaints(copy, {"kin/planted.py": "a test of the list"}) == []
    allowed = {"kin/planted.py": " ", "kin/gone.py": "was needed once", "kin/errors.py": "does not sleep"}
    assert complaints(copy, allowed) == [
        "kin/gone.py: allowed to sleep, but there is no such file",
        "kin/errors.py: allowed to sleep, but it does not",
        "kin/planted.py: allowed to sleep without a reason",
    ]


def test_ruff_refuses_a_sleep_too(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("from time import sleep as rest\n\nrest(1)\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--config",
            str(ROOT / "pyproject.toml"),
            "--output-format",
            "concise",
            planted,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "TID251" in done.stdout, done.stdout + done.stderr
