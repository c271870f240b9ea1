"""How kin is built: floors, imports that cost, one door to git, short functions. STYLE's rules that a machine can check."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Repo, task_text

ROOT = Path(__file__).parent.parent
MODULES = {p.relative_to(ROOT).as_posix(): p for p in sorted((ROOT / "kin").rglob("*.py"))}

SCREEN = 60
"""Lines of a function, docstring and decorators included: what is seen at once."""

COSTLY = {
    *("pydantic", "git", "rich", "watchdog", "subprocess", "filelock", "ruamel", "typer", "click", "json", "platformdirs"),
    *("pathspec", "logging", "asyncio", "multiprocessing", "concurrent", "importlib_metadata"),
}
"""Modules that take a few milliseconds and more to import, up to 140: `kin list` must not pay for them."""

HOT = [
    ["--version"],
    ["list"],
    ["show", "KIN-1"],
    ["board"],
    ["status"],
    ["why", "KIN-1"],
    ["set", "KIN-1", "priority=1"],
    ["add", "A title"],
]
"""The commands that people and their prompts call all day."""

MAY = {"add": {"subprocess"}, "set": {"ruamel"}}
"""A new id is higher than any on any branch, so `add` asks git; an edit needs the place of each value, which only YAML's
events tell."""


@functools.cache
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text(encoding="utf-8"), name) for name, path in MODULES.items()}


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def test_a_function_fits_a_screen() -> None:
    def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        return (node.end_lineno or first) - first + 1

    long = [
        f"{name}:{node.lineno}: {node.name} has {length(node)} lines" for name, node in functions() if length(node) > SCREEN
    ]
    assert long == []


def test_each_module_and_all_that_is_public_says_what_it_is_for() -> None:
    mute = [name for name, tree in trees().items() if not ast.get_docstring(tree)]
    for name, tree in trees().items():
        public = _exported(tree)
        for node in tree.body:
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name in public
            if named and not ast.get_docstring(node) and not _is_short(node):
                mute.append(f"{name}:{node.lineno}: {node.name}")
    assert mute == []


def _exported(tree: ast.Module) -> list[str]:
    """The names in a module's `__all__`, or those that do not begin with an underscore; `check_git` is its own description."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return list(ast.literal_eval(node.value))
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, named) and not node.name.startswith(("_", "check_"))]


def _is_short(node: ast.AST) -> bool:
    """A name suffices for what does one thing in one line."""
    return isinstance(node, ast.FunctionDef) and len(node.body) == 1


def test_only_the_command_line_prints() -> None:
    assert [f"{name}:{line}" for name, line in calls("print", "input") if not name.startswith("kin/cli/")] == []


def calls(*words: str) -> Iterator[tuple[str, int]]:
    """Where a function of one of these names is called by its bare name."""
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in words:
                yield name, node.lineno


def test_only_git_py_starts_git() -> None:
    found = {
        name
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.List) and node.elts and isinstance(node.elts[0], ast.Constant) and node.elts[0].value == "git"
    }
    assert found == {"kin/git.py"}


"""Files that start git themselves, each with its reason."""


def test_no_error_is_swallowed() -> None:
    """A broad catch that does nothing hides faults; one that catches a named error may pass."""
    broad = (None, "Exception", "BaseException")
    found = [
        f"{name}:{node.lineno}"
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in broad))
        and all(isinstance(s, ast.Pass | ast.Continue | ast.Expr) for s in node.body)
        and not any(isinstance(inner, ast.Call) for s in node.body for inner in ast.walk(s))
    ]
    assert found == []


def test_no_lock_is_released_but_by_closing_it() -> None:
    """LOCK_UN frees a lock for the children that inherited it too."""
    found = [
        f"{n}:{a.lineno}"
        for n, t in trees().items()
        for a in ast.walk(t)
        if isinstance(a, ast.Attribute) and a.attr == "LOCK_UN"
    ]
    assert found == []


def test_lower_floors_never_import_higher_ones() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", HOT, ids=lambda words: words[0])
def test_a_command_of_every_minute_imports_only_what_it_uses(project: Repo, words: list[str]) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1"))
    code = "import sys; before = set(sys.modules); from kin.cli.main import main; code = main(sys.argv[1:])\n"
    code += "sys.stderr.write('imported: ' + ' '.join(set(sys.modules) - before)); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=project.path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    imported = done.stderr.rpartition("imported: ")[2].split()
    assert "kin.cli.main" in imported
    assert {name.partition(".")[0] for name in imported} & COSTLY <= MAY.get(words[0], set())
