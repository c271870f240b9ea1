"""The map of modules: proposed from trees of five ecosystems, looked up, checked, and used to keep tasks apart."""

import json
from typing import Any

import pytest
from conftest import Repo, task_text

from kin.model.globs import covers, matching
from kin.model.module import MODULES, meeting
from kin.store.entries import readable
from kin.store.project import find
from kin.store.tasks import scan

TREES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "npm": (
        {
            "package.json": '{"workspaces": ["packages/*", "!packages/old", "tool"]}',
            "packages/web/package.json": '{"name": "@x/web", "description": "The pages"}',
            "packages/web/src/a.js": "",
            "packages/old/package.json": "{}",
            "packages/notes/README.md": "",
            "tool/package.json": "[]",
            "docs/a.md": "",
            "node_modules/x/package.json": "{}",
            ".github/x.yml": "",
        },
        {"web": "The pages", "old": "", "notes": "", "tool": "", "docs": ""},
    ),
    "pnpm": (
        {
            "pnpm-workspace.yaml": "packages:\n  # all\n  - 'apps/**'\n  - lib\n\ncatalog:\n  - nothing\n",
            "apps/a/b/package.json": '{"description": "Deep"}',
            "lib/package.json": "not json",
        },
        {"b": "Deep", "lib": ""},
    ),
    "cargo": (
        {
            "Cargo.toml": '[workspace]\nmembers = ["crates/*"]\nexclude = ["crates/x"]\n',
            "crates/core/Cargo.toml": '[package]\nname = "c"\ndescription = "The heart"\n',
            "crates/x/Cargo.toml": "",
            "crates/cli/Cargo.toml": "broken = [",
            "benches/a.rs": "",
        },
        {"core": "The heart", "cli": "", "x": "", "benches": ""},
    ),
    "uv": (
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*"]\n',
            "packages/one/pyproject.toml": '[project]\nname = "one"\ndescription = "First"\n',
            "packages/one/src/one/__init__.py": "",
            "packages/two/pyproject.toml": "",
        },
        {"one": "First", "two": ""},
    ),
    "go": (
        {
            "go.work": "go 1.22\n\nuse (\n\t. // here\n\t./api\n)\nuse ./tools/gen\n",
            "api/go.mod": "module example.org/api\n",
            "tools/gen/go.mod": "",
            "internal/store/a.go": "",
            "internal/mail/a.go": "",
            "cmd/server/main.go": "",
        },
        {"api": "", "gen": "", "store": "", "mail": "", "server": ""},
    ),
    "maven": (
        {
            "pom.xml": "<project><modules><module>core</module><!-- <module>no</module> --></modules></project>",
            "core/pom.xml": "<project><description>The core</description><modules><module>deep</module></modules></project>",
            "core/deep/pom.xml": "<project/>",
            "no/pom.xml": "<project/>",
        },
        {"core": "The core", "deep": "", "no": ""},
    ),
    "one package": (
        {
            "pyproject.toml": '[project]\nname = "p"\n',
            "src/shop/__init__.py": "",
            "src/shop/cart/a.py": "",
            "src/shop/cart/b.py": "",
            "src/shop/mail/a.py": "",
            "tests/cart/test_a.py": "",
            "tests/test_b.py": "",
            "odd[name]/a.py": "",
        },
        {"shop": "", "cart": "", "mail": "", "tests": ""},
    ),
    "nothing": ({"a.txt": ""}, {}),
}


def data(repo: Repo, *words: str) -> Any:
    return json.loads(repo.kin(*words, "--json").stdout)["data"]


@pytest.mark.parametrize("name", TREES)
def test_a_proposal_follows_manifests_and_folders_and_every_glob_covers_a_file(project: Repo, name: str) -> None:
    tree, wanted = TREES[name]
    project.write(".gitignore", "node_modules/\n")
    for path, text in tree.items():
        project.write(path, text)
    found = data(project, "modules", "scan")
    assert {one["name"]: one["purpose"] or "" for one in found} == wanted
    files = sorted(path for path in tree if "node_modules" not in path)
    assert all(next(matching(glob, files), None) for one in found for glob in one["paths"])


def test_a_proposal_is_written_once_and_then_checked_listed_and_asked(project: Repo) -> None:
    for path in ("src/shop/a.py", "src/shop/cart/a.py", "docs/a.md"):
        project.write(path, "")
    assert project.kin("modules", "scan").stdout.startswith("cart:\n  paths:\n    - src/shop/cart/**\n\ndocs:\n")
    assert data(project, "modules", "list") == []
    project.kin("modules", "scan", "--write")
    assert data_of_check(project) == set()
    assert [one["name"] for one in data(project, "modules")] == ["cart", "docs", "shop"]
    assert [one["name"] for one in data(project, "modules", "which", "src/shop/cart/a.py")] == ["cart", "shop"]
    assert data(project, "modules", "which", "README.md") == []
    project.write(".kin/modules.yaml", "# mine\nshop: src/**\n")
    project.kin("modules", "scan", "--write", exit=2)
    assert project.read(".kin/modules.yaml") == "# mine\nshop: src/**\n"
    project.kin("modules", "which", exit=2)
    project.kin("modules", "dance", exit=2)


def test_check_names_globs_that_cover_nothing_and_faults_of_the_map(project: Repo) -> None:
    text = "shop:\n  paths:\n    - src/**\n    - lib/**\n  owner: nobody\n\nmail: gone.py\n\nbad:\n  paths: {a: b}\n"
    project.write(".kin/modules.yaml", text)
    project.write("src/a.py", "")
    project.kin("decide", "One", "--path", "src/*.py", "--path", "old/**")
    found = data_of_check(project)
    assert found == {
        (".kin/modules.yaml", 4, "glob"),
        (".kin/modules.yaml", 5, "role"),
        (".kin/modules.yaml", 7, "glob"),
        (".kin/modules.yaml", 10, "schema"),
        (".kin/decisions/D-1.yaml", 8, "glob"),
    }
    assert [one["name"] for one in data(project, "modules")] == ["shop", "mail"], "what can be read is used"


def data_of_check(project: Repo) -> set[tuple[str, int, str]]:
    said = json.loads(project.kin("check", "--json", exit=None).stdout)["data"]
    return {(one["file"], one["line"], one["code"]) for one in said["findings"]}


def test_tasks_of_one_module_do_not_run_together_unless_they_say_what_they_touch(project: Repo) -> None:
    project.write(".kin/modules.yaml", "auth: src/auth/**\n\nmail: src/mail/**\n")
    for number, fields in enumerate(
        ({"module": "auth"}, {"module": "auth"}, {"module": "mail"}, {"touches": "[src/auth/x.py]"}), 1
    ):
        project.write(f".kin/tasks/KIN-{number}.yaml", task_text(f"KIN-{number}", **fields))
    project.write(".kin/tasks/KIN-5.yaml", task_text("KIN-5", module="auth", touches="[docs/**]"))
    here = find(str(project.path), {})
    tasks = scan(here).tasks
    known = readable(here, MODULES)
    assert sorted(meeting(tasks["KIN-1"], (t for i, t in tasks.items() if i != "KIN-1"), known)) == ["KIN-2", "KIN-4"]
    assert meeting(tasks["KIN-5"], (t for i, t in tasks.items() if i != "KIN-5"), known) == []


@pytest.mark.parametrize(
    ("glob", "path", "covered"),
    [
        ("src/auth/**", "src/auth/a/b.py", True),
        ("src/auth/**", "src/auth", True),
        ("src/auth", "src/auth/a.py", True),
        ("src/auth/", "src/auth/a.py", True),
        ("src/auth", "src/author.py", False),
        ("./src/*.py", "src/a.py", True),
        ("**/Makefile", "Makefile", True),
        ("**/Makefile", "a/b/Makefile", True),
        ("**/Makefile", "a/notMakefile", False),
        ("*.md", "docs/a.md", True),
        ("src/?.py", "src/ab.py", False),
    ],
)
def test_what_a_glob_covers(glob: str, path: str, covered: bool) -> None:
    assert covers(glob, path) == covered
    assert list(matching(glob, sorted([path, "zzz"]))) == ([path] if covered else [])
