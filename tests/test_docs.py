"""The documents are true: their commands run and print what they show, their links lead somewhere, their tables are current.

In a `console` block a line `$ ...` is a command, `> ...` goes on with it, all others are what it prints; `...` within these
stands for anything. A command must exit 0, or with the code that a comment `# exit N` behind it names. The blocks of a page
run in one shell, in an empty folder, one after the other.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hosts import path_with_kin

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))

import tables  # noqa: E402

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALLS = "python3 -m venv "
"""Lines that begin so make an environment; `.ci/run` runs them, from README.md."""


class Step(NamedTuple):
    """A command of a page, the lines that it shows of its output, and the exit code that it must have."""

    command: str
    shown: list[str]
    exit: int


def steps(page: Path) -> list[Step]:
    """The page's commands in order, without those that make an environment."""
    found: list[Step] = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                code = re.search(r"# exit (\d+)$", line)
                found.append(Step(line[2:], [], int(code[1]) if code else 0))
            elif line.startswith("> "):
                found[-1] = found[-1]._replace(command=f"{found[-1].command}\n{line[2:]}")
            elif line == ">":
                found[-1] = found[-1]._replace(command=f"{found[-1].command}\n")
            elif line.strip() not in ("", "..."):
                found[-1].shown.append(line.rstrip())
    return [step for step in found if not step.command.startswith(INSTALLS)]


def shell(commands: list[str], folder: Path, *, installed: bool = False) -> list[tuple[str, int]]:
    """Run commands in one shell, `installed`: with the kin beside Python; what each printed on both streams, its exit code."""
    mark = "==kin-docs=="
    script = "".join(f"{command}\nprintf '\\n{mark}%s\\n' $?\n" for command in commands)
    (folder / ".script").write_text(script)
    (work := folder / "work").mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}" if installed else path_with_kin(folder / "bin")
    env = dict(os.environ) | {"PATH": path, "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", str(folder / ".script")],
        cwd=work,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    parts = re.split(rf"\n{mark}(\d+)\n", done.stdout)
    return [(said, int(code)) for said, code in zip(parts[0::2], parts[1::2], strict=False)]


def missing(shown: list[str], said: str) -> list[str]:
    """The shown lines that the output does not hold, in this order."""
    lines = [line.rstrip() for line in said.splitlines()]
    at, lost = 0, []
    for line in shown:
        wanted = re.compile(".*".join(re.escape(part) for part in line.split("...")))
        found = next((n for n in range(at, len(lines)) if wanted.fullmatch(lines[n])), None)
        if found is None:
            lost.append(line)
        else:
            at = found + 1
    return lost


@pytest.mark.parametrize("page", [p for p in PAGES if steps(p)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_and_print_what_it_shows(page: Path, tmp_path: Path) -> None:
    wanted = steps(page)
    ran = shell([step.command for step in wanted], tmp_path, installed=page.stem == "README")
    for step, (said, code) in zip(wanted, ran, strict=True):
        assert code == step.exit, f"$ {step.command}\nexit {code}, not {step.exit}\n{said}"
        assert not missing(step.shown, said), f"$ {step.command}\ndid not print {missing(step.shown, said)}, but\n{said}"


def test_a_page_that_shows_too_much_or_another_exit_code_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo one; false   # exit 1\no...e\n$ cat <<'END'\n> two\n> END\ntwo\nthree\n```\n")
    first, second = steps(page)
    assert first == Step("echo one; false   # exit 1", ["o...e"], 1)
    ran = shell([first.command, second.command], tmp_path)
    assert [code for _, code in ran] == [1, 0]
    assert [missing(step.shown, said) for step, (said, _) in zip([first, second], ran, strict=True)] == [[], ["three"]]


def test_the_tables_of_the_reference_are_current() -> None:
    text = tables.PAGE.read_text(encoding="utf-8")
    assert tables.renewed(text) == text, "run `python docs/tables.py`"
    assert {name for _, name, _ in tables.BLOCK.findall(text)} == set(tables.TABLES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        there = (page.parent / path) if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(link)
    assert lost == []


def anchors(page: Path) -> set[str]:
    """The anchors that hosts make of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_that_the_code_names_is_there() -> None:
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for folder in ("kin", "bench", ".kin-template")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml")
        for name in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(encoding="utf-8"))
    }
    examples = {"docs/login.md"}  # of a help text
    assert [pair for pair in sorted(named) if pair[1] not in examples and not (ROOT / pair[1]).exists()] == []


def test_every_rule_about_git_that_the_code_cites_is_in_the_document() -> None:
    rules = set(re.findall(r"^(\d+)\. ", (ROOT / "docs" / "git.md").read_text(), re.MULTILINE))
    assert rules == {str(n) for n in range(1, 40)}
    cited = [m for p in (ROOT / "kin").rglob("*.py") for m in re.findall(r"\brules? ((?:\d+(?:, | and )?)+)", p.read_text())]
    assert cited and {n for text in cited for n in re.findall(r"\d+", text)} <= rules


def test_the_readmes_lines_are_the_ones_that_others_repeat() -> None:
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"$ {INSTALLS}")]
    assert len(lines) == 2 and lines[0].endswith("kin demo") and lines[1].endswith("pytest")
    assert lines[1] in (ROOT / "CONTRIBUTING.md").read_text()


def test_settings_of_the_template_are_valid_when_their_comments_are_taken_away() -> None:
    from kin.model.settings import check_settings
    from kin.store.text.reader import read

    text = (ROOT / ".kin-template" / "kin.yaml").read_text(encoding="utf-8")
    filled = text.replace("{key}", "KIN").replace("{gate}", "make test")
    bare, full = read(filled, "kin.yaml"), read(re.sub(r"^#(?! \S)", "", filled, flags=re.MULTILINE), "kin.yaml")
    for data in (bare, full):
        assert check_settings(data).problems == []
    plain = check_settings(bare).settings
    assert plain is not None and plain == check_settings({"key": "KIN"}).settings, "what is not commented out is the default"
    assert read_out(full) == {"gates": ["make test"], "protect": [".github/**", ".gitlab-ci.yml"], "secrets": ["DEPLOY_TOKEN"]}
    named = {f"`{name}`" for name in full}
    assert named <= {row[0] for row in tables.settings_of(tables.settings.Settings)}
    assert {"key", "pipelines", "limits", "worktrees"} <= set(full)


def read_out(data: dict[str, Any]) -> dict[str, Any]:
    """The settings that are plain lists: what would be lost if their items stayed comments."""
    return {name: value for name, value in data.items() if isinstance(value, list)}
