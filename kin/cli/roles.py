"""The people: `kin roles` lists them, shows one as it holds here, and begins a file for a new one."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, indent, pad
from kin.errors import Invalid, Usage

if TYPE_CHECKING:
    from kin.model.settings import Settings
    from kin.store.roles import Role

TEMPLATE = """\
---
name: {name}
summary: One line that says what it is for
access: write
reads:
  kinds: [decision, convention, gotcha]
  modules: task
  roles: all
---

Your one job: ...

## You get

The task and its acceptance criteria, decisions, and what earlier steps handed on.

## You hand on

The changed files. In `summary`: what you did and what the next one must know. In `decisions`: what later work must keep.

## You do not

- Widen the task.
- Commit, switch branches, or touch `.kin/`: kin does that.

## How to finish

Check each acceptance criterion. Then answer.
"""


def roles_list(call: Call) -> Result:
    """All roles and who would play them."""
    from kin.store.roles import find_role, role_names

    settings = _settings(call)
    rows: list[dict[str, Any]] = []
    warnings = []
    for name in role_names(call.project.store):
        try:
            rows.append(_entry(call, find_role(call.project.store, name), settings))
        except Invalid as error:  # the others can be seen all the same
            warnings.append(str(error))

    def lines(screen: Screen) -> Iterator[str]:
        wide = max(len(row["name"]) for row in rows)
        for row in rows:
            own = screen.paint(" (the project's own)", "cyan") if row["source"] != "kin" else ""
            agent = ", ".join(row["agents"]) or "nobody"
            yield clean(f"{pad(row['name'], wide)}  {row['access']:5}  {pad(agent, 8)}  {row['summary']}") + own

    return Result("role.list", rows, lines, [row["name"] for row in rows], warnings)


def roles_show(call: Call) -> Result:
    """Front matter as it holds here, who would play it, and the prompt."""
    from kin.store.roles import find_role

    role = find_role(call.project.store, call["role"])
    data = _entry(call, role, _settings(call)) | {"prompt": role.body}

    def lines(screen: Screen) -> Iterator[str]:
        yield f"{screen.paint(clean(role.name), 'bold')}  {clean(role.summary)}"
        yield clean(f"  from {data['source']}, access {data['access']}, played by {', '.join(data['agents']) or 'nobody yet'}")
        yield from (clean(f"  {key}: {data[key]}") for key in ("model", "timeout") if data[key])
        yield from (clean(f"  reads {key}: {_words(value)}") for key, value in role.reads.items())
        yield from ("", *indent(clean(role.body).splitlines()))

    return Result("role", data, lines)


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def roles_new(call: Call) -> Result:
    """A file in `.kin/roles/`: a copy of kin's own role of that name to change, else the frame of one."""
    from kin.model.settings import StepSpec, problems_in
    from kin.resources import shipped
    from kin.store.config import refuse_newer_format
    from kin.store.files import add_file
    from kin.store.roles import parse_role

    name = call["role"]
    if wrong := problems_in(StepSpec, {"role": name}):
        raise Usage(wrong[0].message)
    text, path = TEMPLATE.format(name=name), os.path.join(".kin", "roles", f"{name}.md")
    if os.path.exists(own := os.path.join(shipped("agents"), f"{name}.md")):
        with open(own, encoding="utf-8") as file:
            text = file.read()
    refuse_newer_format(call.project)
    try:
        add_file(call.project, os.path.join(call.project.store, "roles", f"{name}.md"), text)
    except FileExistsError:
        raise Usage(f"{path} is there already", f"edit it; `kin roles show {name}` shows what it says") from None
    return Result("role", _entry(call, parse_role(text, name, path), _settings(call)), [path], [name])


def _settings(call: Call) -> "Settings":
    from kin.store.config import load_settings

    return load_settings(call.project, call.environ)


def _entry(call: Call, role: "Role", settings: "Settings") -> dict[str, Any]:
    """A role as JSON, with what the project's settings change about it; `agents` are tried in order."""
    from kin.agents import candidates
    from kin.model.settings import RoleSettings, StepSpec

    said = settings.roles.get(role.name) or RoleSettings()
    own = os.path.join(call.project.store, "roles", f"{role.name}.md")
    return {
        "name": role.name,
        "summary": role.summary,
        "access": said.access or role.access,
        "agents": list(candidates(StepSpec(role=role.name), role, None, settings)),
        "model": said.model or role.model,
        "timeout": said.timeout or role.timeout,
        "reads": role.reads,
        "source": os.path.relpath(own, call.project.root) if os.path.isfile(own) else "kin",
    }
