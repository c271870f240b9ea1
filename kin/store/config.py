"""Settings as they hold here: kin.yaml over what the person's own `config.yaml` sets.

`load_settings` checks everything (and imports pydantic); `quick` reads the few values that reading commands need, and never
fails: with a broken kin.yaml `list` still works.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from kin.errors import Invalid, NotFound, Place
from kin.model.fields import KeyPath, Plain, Problem, choice, integer, text
from kin.model.ids import is_key, key_from_name
from kin.model.task import FORMAT, Mode
from kin.store import files
from kin.store.project import STORE, Project, config_folder
from kin.store.text import reader

if TYPE_CHECKING:
    from kin.model.settings import Settings

KIN_YAML = f"{STORE}/kin.yaml"
PERSONAL = ("agent", "agents", "notify")
"""Keys of a person's own config.yaml that stand in for what kin.yaml leaves open."""
MACHINE = ("concurrency", "colours", "colors")
"""Keys of it that hold for the machine and say nothing about a project."""


class Quick(NamedTuple):
    """What reading commands need of kin.yaml; `warnings` say what could not be read and was taken as its default."""

    key: str
    ids: str = "sequential"
    mode: Mode = Mode.review
    concurrency: int = 5
    base: str | None = None
    format: int = FORMAT
    warnings: tuple[str, ...] = ()


def settings_path(project: Project) -> str:
    return os.path.join(project.store, "kin.yaml")


def load_settings(project: Project, environ: Mapping[str, str] = os.environ) -> "Settings":
    """The settings that hold in this checkout, checked. Raises NotFound, or Invalid with the place of the first problem
    and all of them in `data["problems"]`.
    """
    try:
        found = files.read_text(settings_path(project), KIN_YAML)
    except NotFound:
        raise NotFound(f"there is no {KIN_YAML}", "`kin init` makes one") from None
    return settings_from_text(found, KIN_YAML, environ)


def settings_from_text(source: str, path: str, environ: Mapping[str, str] = os.environ) -> "Settings":
    """The settings that the text of a kin.yaml (that of another commit, say) means, over the person's own. Raises Invalid."""
    from kin.model.settings import check_settings

    data, mine = reader.read(source, path), user_settings(environ)
    checked = check_settings(_over(mine, data))
    if checked.settings is None:
        own = {"key": "KIN"} | {key: mine[key] for key in PERSONAL if key in mine}
        if problems := [p for p in check_settings(own).problems if p in checked.problems]:
            own_path = personal_path(environ)
            raise _invalid(problems, files.read_text(own_path, own_path), own_path, own)
        raise _invalid(checked.problems, source, path, data)
    return checked.settings


def fault_of_pipeline(project: Project, pipeline: Any, environ: Mapping[str, str]) -> str:
    """What is wrong with a task's `pipeline`, a name or a list of steps; "" for nothing. Raises as `load_settings` does."""
    from kin.model.settings import nobody_before, plan_steps
    from kin.store.roles import role_names

    try:
        steps = plan_steps(pipeline, load_settings(project, environ))
    except ValueError as error:
        return str(error)
    known = sorted(("command", *role_names(project.store)))
    for number, step in enumerate(() if isinstance(pipeline, str) else steps):
        if step.role not in known:
            return f"no role is called '{step.role}'; one of {', '.join(known)}"
        if lost := nobody_before(step.back_to, [earlier.role for earlier in steps[:number]]):
            return lost
    return ""


def _over(personal: Mapping[str, Any], data: Mapping[str, Plain]) -> dict[str, Any]:
    """kin.yaml over a person's own settings: the nearer one wins, agents by name, notifications side by side."""
    merged: dict[str, Any] = dict(data)
    if data.get("agent") is None and "agent" in personal:
        merged["agent"] = personal["agent"]
    agents = data.get("agents")
    if "agents" in personal and (agents is None or isinstance(agents, dict)):
        merged["agents"] = {**personal["agents"], **(agents or {})}
    notify = data.get("notify")
    if "notify" in personal and (notify is None or isinstance(notify, list)):
        merged["notify"] = [*(notify or []), *personal["notify"]]
    return merged


def _invalid(problems: list[Problem], source: str, path: str, data: Mapping[str, Plain]) -> Invalid:
    found = [(p, reader.place_of(source, path, p.path)) for p in problems]
    problem, place = found[0]
    keyless = problem.path == ("key",) and "key" not in data
    hint = "`kin init` writes `key:`" if keyless else "`kin help settings` explains settings"
    return Invalid(problem.message, hint, place, problems=[f"{where}: {p.message}" for p, where in found])


def personal_path(environ: Mapping[str, str]) -> str:
    """Where the person's own settings are."""
    return os.path.join(config_folder(environ), "config.yaml")


def user_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """The person's own config.yaml as plain data of the right shapes; {} if there is none. Raises Invalid."""
    path = personal_path(environ)
    try:
        source = files.read_text(path, path)
    except NotFound:
        return {}
    if all(not line.strip() or line.lstrip().startswith("#") for line in source.splitlines()):
        return {}
    data = {k: v for k, v in reader.read(source, path).items() if v is not None}
    shapes: dict[str, type | tuple[type, ...]] = {"agent": (str, list), "agents": dict, "notify": list}
    for key, value in data.items():
        keys: KeyPath = (key,)
        if key not in (*PERSONAL, *MACHINE):
            known = ", ".join((*PERSONAL, *MACHINE[:2]))
            raise Invalid(f"unknown setting '{key}'; one of {known}", "", reader.place_of(source, path, keys))
        if key in shapes and not isinstance(value, shapes[key]):
            raise Invalid(f"{key} has the wrong shape", "`kin help settings` shows it", reader.place_of(source, path, keys))
    return data


def machine_slots(plain: Any) -> int:
    """The person's own `concurrency`. Raises Invalid if it is no count."""
    try:
        return integer(1, 1000)(plain)
    except ValueError as error:
        raise Invalid(f"config.yaml: concurrency: {error}", "write a number from 1") from None


def quick(project: Project) -> Quick:
    """A few values of kin.yaml without pydantic. A fault becomes a warning and its default."""
    guess = Quick(key_from_name(os.path.basename(project.root)))
    try:
        return quick_from_data(reader.read(files.read_text(settings_path(project), KIN_YAML), KIN_YAML), guess)
    except (Invalid, NotFound) as error:
        return guess._replace(key=_key_line(project) or guess.key, warnings=(str(error),))


def _key_line(project: Project) -> str | None:
    """The key, as a line says it of a kin.yaml that cannot be read: a fault elsewhere gives no task another key."""
    with suppress(OSError):
        lines = files.read_stamped(settings_path(project))[0].decode("utf-8-sig", "replace").splitlines()
        words = (line.removeprefix("key:").split("#")[0].strip(" \"'") for line in lines if line.startswith("key:"))
        return next(filter(is_key, words), None)
    return None


def quick_from_data(data: Mapping[str, Plain], guess: Quick) -> Quick:
    """The values of a kin.yaml that can be read; what is wrong with the others is load_settings' to say in full."""
    warnings = []
    values: dict[str, Any] = {}
    for name, read in _READ.items():
        try:
            values |= {} if (plain := data.get(name)) is None else {name: read(plain)}
        except ValueError as error:
            warnings.append(f"{KIN_YAML}: {name}: {error}; {getattr(guess, name)} is taken")
    found = guess._replace(**values)
    if found.format > FORMAT:
        warnings.append(f"{KIN_YAML}: format {found.format} is newer than this kin, which knows {FORMAT}; upgrade kin")
    if "key" not in data:
        warnings.append(f"{KIN_YAML}: `key` is missing; {guess.key} is taken")
    return found._replace(warnings=tuple(warnings))


def _key(plain: Any) -> str:
    if not is_key(text(plain)):
        raise ValueError(f"'{plain}' is no key")
    return text(plain)


_READ: dict[str, Callable[[Any], Any]] = {
    "key": _key,
    "ids": text,
    "mode": choice(Mode),
    "concurrency": integer(1, 1000),
    "base": text,
    "format": integer(1, 10**6),
}


def refuse_newer_format(project: Project) -> None:
    """Raise Invalid if the store is of a newer format than this kin may write."""
    found = quick(project).format
    if found > FORMAT:
        raise Invalid(f"the files are of format {found}, this kin writes {FORMAT}", "upgrade kin", Place(KIN_YAML))
