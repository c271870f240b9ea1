"""`kin init`: a repository becomes a project. It asks nothing, overwrites nothing and commits nothing."""

import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from json import loads
from pathlib import Path
from typing import Any, NamedTuple

from kin import git
from kin.agents import built_in, find_program
from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, indent
from kin.errors import Busy, Invalid, NotFound, Usage, Waits
from kin.model.ids import TASK_ID, is_key, key_from_name
from kin.resources import shipped
from kin.store import journal, schemas
from kin.store.config import KIN_YAML, load_settings, user_settings
from kin.store.driver import register
from kin.store.files import edit_file, write_new
from kin.store.locks import held_names
from kin.store.project import Project, find, find_repository
from kin.store.records import all_live
from kin.store.text.emit import scalar
from kin.store.text.splice import Set, edit
from kin.store.trust import agree, forget, texts_here

FILES = ("kin.yaml", ".gitattributes")
ORDER = ("format", "key", "ids", "mode", "gates")
"""Where `gates:` goes in a kin.yaml that a person wrote: behind these."""


class Found(NamedTuple):
    """A gate that the repository seems to have, and the file that says so."""

    gate: str
    file: str


def init_(call: Call) -> Result:
    """Make `.kin/`, or with --remove take back what stands outside it."""
    project = _project(call.cwd, call.environ)
    git.require(project.root, call.environ)
    if call["remove"]:
        return _remove(project, call.environ)
    key = _key(project, call["key"])
    found = find_gate(project.root)
    agents = [name for name, agent in built_in().items() if find_program(agent, call.environ)]
    # A project's `agent:` wins over the one in the person's own config.yaml, which must not happen unasked.
    real = bool(agents) and "agent" not in user_settings(call.environ)
    fill = partial(_filled, key=key, found=found, agents=agents, gate=call["gates"], agent=real)
    made = [name for name in FILES if _make(project, name, fill)]
    os.makedirs(os.path.join(project.store, "tasks"), exist_ok=True)  # where an editor will save the first task
    if call["gates"] and found and "kin.yaml" not in made:
        _add_gate(project, found)
    agree(project, texts_here(project), call.environ)  # the clone that a person runs this in is theirs
    register(project)
    editors, renewed = schemas.write(project)
    data = {
        "key": key,
        "store": project.store,
        "created": [*(f".kin/{name}" for name in made), *editors],
        "renewed": renewed,
        "proposed_gate": found.gate if found else None,
        "gates": [gate.run for gate in load_settings(project, call.environ).gates],
        "agents": agents,
    }
    return Result("init", data, lambda screen: _what_next(screen, data, found), brief=())


def _project(cwd: str, environ: Mapping[str, str]) -> Project:
    """The project that is there already (a linked worktree has its main checkout's), else the repository that becomes one."""
    if not environ.get("KIN_DIR"):
        repository = find_repository(cwd, environ)
        if not repository.root or git.is_bare(repository.root):
            raise Invalid("this is a bare repository: it has no files to keep tasks in", "call `kin init` in a worktree of it")
        with suppress(NotFound):
            return find(cwd, environ)
        return repository
    return find(cwd, environ)


def _key(project: Project, wanted: str | None) -> str:
    """The project's key: what kin.yaml says, else what the person wants, else what the folder's name gives."""
    if wanted is not None and not is_key(wanted):
        raise Usage(f"'{wanted}' cannot be a key", "1 to 8 upper-case letters and digits, a letter first, and not D")
    if os.path.lexists(os.path.join(project.store, "kin.yaml")):
        key = load_settings(project).key
        if wanted not in (None, key):
            raise Usage(
                f"this project's key is {key} already", "change it in .kin/kin.yaml; ids that were given stay as they are"
            )
        return key
    return wanted or key_from_name(os.path.basename(project.root))


def _make(project: Project, name: str, fill: Callable[[str], str]) -> bool:
    """Write a file of the template, unless it is there."""
    path = os.path.join(project.store, name)
    if os.path.lexists(path):
        return False
    with open(os.path.join(shipped(".kin-template"), name), encoding="utf-8") as file:
        text = file.read()
    try:
        write_new(path, fill(text) if name == "kin.yaml" else text)
    except FileExistsError:  # another `kin init` was faster; its file is as good as ours
        return False
    return True


def _filled(text: str, key: str, found: Found | None, agents: list[str], *, gate: bool, agent: bool) -> str:
    """The template with what was found here; `gate` and `agent` tell whether they become real settings."""
    first, other = list(dict.fromkeys([*agents, "claude", "codex"]))[:2]
    text = text.replace("{key}", key).replace("#    agent: codex", f"#    agent: {other}")
    text = text.replace("#agent: claude", f"{'' if agent else '#'}agent: {first}")
    if found and gate:
        text = text.replace("#gates:\n#  - {gate}", "gates:\n  - {gate}")
    return text.replace("{gate}", scalar(found.gate) if found else "make test")


def _add_gate(project: Project, found: Found) -> None:
    """Put the gate into a kin.yaml that has none: where the template's proposal stands, if it still does."""
    if load_settings(project).gates:
        return
    real = f"gates:\n  - {scalar(found.gate)}\n"
    proposed = "".join(f"#{line}\n" for line in real.splitlines())

    def with_gate(text: str) -> str:
        if f"\n{proposed}" in text:
            return text.replace(f"\n{proposed}", f"\n{real}", 1)
        return edit(text, [Set(("gates",), [found.gate])], order=ORDER, path=KIN_YAML)

    edit_file(project, os.path.join(project.store, "kin.yaml"), with_gate)


def find_gate(root: str) -> Found | None:
    """The command that tests this repository, by the files that its kind of project has; None if none says."""
    for file, gate in _TESTS:
        text = _text(os.path.join(root, file))
        if text is not None and (command := gate(root, text)):
            return Found(command, file)
    return None


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return None


def _python_tests(root: str, text: str) -> str:
    named = "pytest" in text or os.path.isfile(os.path.join(root, "pytest.ini"))
    return "pytest -q" if named else ""


def _node_tests(root: str, text: str) -> str:
    try:
        script = loads(text)["scripts"]["test"]
    except (ValueError, LookupError, TypeError):
        return ""
    return "npm test" if isinstance(script, str) and "no test specified" not in script else ""


def _make_tests(root: str, text: str) -> str:
    target = re.search(r"^(test|check)[ \t]*:(?!=)", text, re.MULTILINE)
    return f"make {target[1]}" if target else ""


_TESTS = (
    ("pyproject.toml", _python_tests),
    ("package.json", _node_tests),
    ("Makefile", _make_tests),
    ("Cargo.toml", lambda root, text: "cargo test"),
    ("go.mod", lambda root, text: "go test ./..."),
)


def _what_next(screen: Screen, data: Mapping[str, Any], found: Found | None) -> list[str]:
    """One screen: what was made, what to type next."""
    created = ", ".join(dict.fromkeys(os.path.dirname(p) if p.endswith(".json") else p for p in data["created"]))
    lines = [f"Made {created}." if created else "Nothing to make: .kin/ is there.", ""]
    lines[1:1] = [f"Renewed {', '.join(data['renewed'])}."] if data["renewed"] else []
    lines += [f"{'Key':8}{data['key']}: tasks are {data['key']}-1, {data['key']}-2, ..."]
    if data["gates"]:
        lines += [f"{'Gate':8}{clean(gate)}" for gate in data["gates"]]
    elif found:
        lines += [f"{'Gate':8}{found.gate} (from {found.file}), as a comment in .kin/kin.yaml; `kin init --gates` uses it"]
    else:
        lines += [f"{'Gate':8}none found; name your tests under `gates:` in .kin/kin.yaml"]
    agents = ", ".join(data["agents"])
    lines += [f"{'Agents':8}{agents or 'none found on PATH; `--run CMD` makes a shell command do a task'}", ""]
    steps = [
        ("kin add 'What is wanted'", "a task is a file in .kin/tasks/"),
        ("kin run --dry-run", "what would happen"),
        ("kin run", "run all that is ready; merged when gates and you agree"),
        ("kin board", "where everything stands"),
    ]
    lines += ["Next", *indent(f"{screen.paint(f'{command:26}', 'bold')}{why}" for command, why in steps), ""]
    return [*lines, ".kin/ is yours to commit; kin has committed nothing."]


def _remove(project: Project, environ: Mapping[str, str]) -> Result:
    """Take back what kin put outside `.kin/`; branches, worktrees and salvages with work in them are named and left."""
    from kin.runner.upkeep.watchdog import recover

    if not os.path.isdir(project.common) and not os.path.isdir(project.store):
        raise NotFound(f"no .kin folder in {project.root}", "there is nothing to take back")
    _refuse_life(project)
    said = recover(project)  # what a kill cut short, in the checkout too: its journal goes
    if journal.look(project) != ({}, []):
        raise Busy("a move that was cut short cannot be put right now", "`kin doctor` says why")
    for run in all_live(project)[0]:
        if run.status == "waiting":
            raise Waits(f"{run.task} waits for a person", f"`kin approve {run.task}` or `kin reject {run.task}` first")
    include = r"^includeif\.gitdir:\./worktrees/.*\.path$"
    for key in git.git(project.root, "config", "--local", "--name-only", "--get-regexp", include, ok=(0, 1)).text.splitlines():
        git.git(project.root, "config", "--local", "--unset-all", key, "^kin/worktree\\.gitconfig$", ok=(0, 5))
    git.git(project.root, "config", "--local", "--remove-section", "merge.kin", ok=(0, 128))
    forget(project, environ)
    texts = sorted(map(str, Path(project.common).glob("edit/[0-9]*/*")))
    removed = _clear(project.common, ("locks", "edit") if texts else ("locks",))
    branches = [ref.removeprefix("refs/heads/") for ref in git.refs(project.root, "refs/heads/kin/")]
    trees = [tree.path for tree in git.worktrees(project.root) if tree.reason.startswith("kin ")]
    salvages = git.refs(project.root, "refs/kin/salvage/")
    lines = ["Took back trust, git settings, logs and caches. .kin/ is left as it is."]
    if left := [*branches, *trees, *salvages, *texts]:
        lines += ["Left, because they hold work:", *indent(map(clean, left))]
    data = {"removed": removed, "branches": branches, "worktrees": trees, "salvages": salvages, "texts": texts}
    return Result("init", data, lines, brief=(), warnings=said)


def _refuse_life(project: Project) -> None:
    """Raise Busy if anything of kin's is at work here: what it needs is about to go."""
    held = sorted(held_names(project.common), key=lambda name: not TASK_ID.fullmatch(name.removesuffix(".queued")))
    for name in held[:1]:
        task = name.removesuffix(".queued")
        if TASK_ID.fullmatch(task):
            raise Busy(f"{task} is being run", f"`kin stop {task}` ends it", task=task)
        raise Busy("`kin watch` runs here" if name == "watch" else f"kin is at work here ({name})", "try again when it ended")


def _clear(common: str, kept: Collection[str]) -> list[str]:
    """Remove kin's folder in the git folder but what is kept: unlinking a lock would let a second holder in beside the first,
    and what somebody wrote in an editor may be nowhere else."""
    removed = []
    for name in sorted(os.listdir(common)) if os.path.isdir(common) else ():
        path = os.path.join(common, name)
        if name in kept:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        removed.append(path)
    return removed
