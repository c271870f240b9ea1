"""What a person agreed to for this clone: the texts that can start programs, and leave to write. Kept outside the repository.

A cloned repository could name any command in its kin.yaml or in a role. What it names is compared, as data and not as text,
with digests of what was agreed to. Agreed to is what was shown, and what kin meets as an uncommitted edit while git is not in
the middle of something: then it is the person's own. What a pull or a checkout brought is neither.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from kin.errors import Invalid, NotFound
from kin.store import files
from kin.store.config import KIN_YAML, settings_path
from kin.store.locks import store_lock
from kin.store.project import STORE, Project, state_folder
from kin.store.roles import role_texts
from kin.store.text import reader

STARTERS = ("setup", "gates", "agent", "agents", "roles", "pipelines", "notify", "watch", "schedules")
"""Keys of kin.yaml that name commands, or who plays a role and with which flags."""
COMMANDS_OF_TASKS = "tasks' own commands"
"""They need no digest: a person starts each of them, once the clone itself is trusted."""


def parts_of(settings_text: str, roles: Mapping[str, str]) -> dict[str, Any]:
    """What of a kin.yaml's text and of the project's own roles can start programs, by name; comments are not part of it."""
    data = reader.read(settings_text, KIN_YAML) if settings_text.strip() else {}
    parts: dict[str, Any] = {key: data[key] for key in STARTERS if data.get(key) is not None}
    return parts | {f"role {name}": text.replace("\r\n", "\n") for name, text in roles.items()}


def texts_of(settings_text: str, roles: Mapping[str, str], at: str = "") -> dict[str, str]:
    """Digests of `parts_of` by name, followed by ` on <at>` if they are those of another commit."""
    tail = f" on {at}" if at else ""
    said = {name: json.dumps([name, part], sort_keys=True) for name, part in parts_of(settings_text, roles).items()}
    return {name + tail: hashlib.sha256(text.encode()).hexdigest() for name, text in said.items()}


def texts_here(project: Project) -> dict[str, str]:
    """Digests of what the working tree's settings and roles can start. Raises Invalid if kin.yaml cannot be read."""
    try:
        text = files.read_text(settings_path(project), KIN_YAML)
    except NotFound:
        text = ""
    return texts_of(text, role_texts(project.store))


def not_agreed(project: Project, texts: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those of `texts` that the person has not agreed to; in a clone that is not trusted, also what tasks name themselves.

    Uncommitted edits count as agreed to from now on, and are remembered: they will be committed.
    """
    agreed = _load(project, environ)["agreed"]
    new = {name: digest for name, digest in texts.items() if digest not in agreed}
    own = _own_edits(project, new) if new else {}
    if own:
        _change(project, environ, lambda known: _add(known, own))
    missing = {name: digest for name, digest in new.items() if digest not in own.values()}
    return missing if said_yes(project, "trusted", environ) else {**missing, COMMANDS_OF_TASKS: ""}


def _own_edits(project: Project, wanted: Mapping[str, str]) -> dict[str, str]:
    """Those of `wanted` that stand in the working tree and differ from HEAD, unless git put them there a moment ago."""
    from kin import git

    if git.under_way(project.gitdir) is not None:
        return {}
    here = texts_here(project)
    committed = set(_texts_at_head(project).values())
    return {n: d for n, d in here.items() if d in wanted.values() and d not in committed}


def _texts_at_head(project: Project) -> dict[str, str]:
    from kin import git

    settings = git.blob(project.root, "HEAD", KIN_YAML) or b""
    listed = git.git(project.root, "ls-tree", "--name-only", "-z", "HEAD", "--", f"{STORE}/roles/", ok=(0, 128)).out
    roles = {}
    for path in listed.decode("utf-8", "surrogateescape").split("\0"):
        if path.endswith(".md") and (raw := git.blob(project.root, "HEAD", path)) is not None:
            roles[os.path.basename(path)[:-3]] = raw.decode("utf-8", "replace")
    try:
        return texts_of(settings.decode("utf-8", "replace"), roles)
    except Invalid:
        return texts_of("", roles)  # what cannot be read starts nothing


def said_yes(project: Project, to: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a person said yes for good in this clone: to the clone itself (`trusted`: by `kin init` in it, or when asked), to
    steps that change files (`leave`), to what `kin watch` would start (`watch`)."""
    return bool(_load(project, environ)[to])


def remember_yes(project: Project, to: str, environ: Mapping[str, str] = os.environ) -> None:
    """Remember what `said_yes` asks for."""
    _change(project, environ, lambda known: known | {to: True})


def agree(project: Project, texts: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> None:
    """Remember that the person was shown `texts` (or made them) and trusts this clone."""
    _change(project, environ, lambda known: _add(known, texts) | {"trusted": True})


def forget(project: Project, environ: Mapping[str, str] = os.environ) -> None:
    """Forget trust and leave; nothing is left of them."""
    files.remove_own(_path(project, environ))


def _add(known: dict[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    return known | {"agreed": sorted({*known["agreed"], *(digest for digest in texts.values() if digest)})}


def _path(project: Project, environ: Mapping[str, str]) -> str:
    name = hashlib.sha256(os.fsencode(os.path.realpath(project.git_common))).hexdigest()
    return os.path.join(state_folder(environ), "trust", name + ".json")


def clones(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The git folders of all clones that this person trusts and that are still there, sorted."""
    folder = os.path.join(state_folder(environ), "trust")
    found = set()
    for name in files.names_in(folder, ".json"):
        try:
            with open(os.path.join(folder, name), "rb") as file:
                known = json.loads(file.read())
        except (OSError, ValueError):
            continue  # damaged: the person is asked again there
        if isinstance(known, dict) and known.get("trusted") and os.path.isdir(str(known.get("path"))):
            found.add(str(known["path"]))
    return sorted(found)


def _clone_id(project: Project) -> str:
    """A number that only this clone has: another repository put at the same path is not the one that was trusted."""
    try:
        with open(os.path.join(project.common, "clone"), encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _load(project: Project, environ: Mapping[str, str]) -> dict[str, Any]:
    """What is remembered; nothing if the file is absent, damaged or about another clone: then the person is asked again."""
    nothing: dict[str, Any] = {"trusted": False, "leave": False, "watch": False, "agreed": []}
    try:
        with open(_path(project, environ), "rb") as file:
            known = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return nothing
    if not isinstance(known, dict) or not known.get("clone") or known["clone"] != _clone_id(project):
        return nothing
    return nothing | known


def _change(project: Project, environ: Mapping[str, str], change: Any) -> None:
    with store_lock(project.common):
        clone = _clone_id(project)
        if not clone:
            clone = os.urandom(16).hex()
            files.write_own(os.path.join(project.common, "clone"), clone + "\n")
        known = change(_load(project, environ)) | {"clone": clone, "path": project.git_common}
        files.write_own(_path(project, environ), json.dumps(known, indent=1, sort_keys=True) + "\n")
