"""The company's memory at the command line: `decide` adds to it, `decisions` looks into it."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kin.cli.editor import written
from kin.cli.output import Call, Result, fields
from kin.cli.screen import Screen, clean, indent
from kin.errors import NotFound, Usage
from kin.model.decision import Decision, is_near_copy, superseded
from kin.store.decisions import add, load, resolve, scan

if TYPE_CHECKING:
    from kin.store.project import Project


def decide_(call: Call) -> Result:
    """Write a decision of a person's, unless it only repeats one that holds."""
    from kin.model.times import today

    data: dict[str, Any] = {"title": " ".join(call["title"]), "text": (written(call["message"]) or "").strip()}
    data |= {key: call[key] for key in ("kind", "module") if call[key]}
    data |= {"tags": sorted(set(call["tag"])), "paths": sorted(set(call["path"])), "source": {"person": call.person}}
    if call["supersedes"]:
        data["supersedes"] = resolve(call.project, call["supersedes"])
    known = scan(call.project)[0]
    if not call["force"]:
        holds = (one for one in known.values() if one.id not in {*superseded(known.values()), data.get("supersedes")})
        if (same := is_near_copy(f"{data['title']}\n{data['text']}", holds)) is not None:
            hint = f"`kin show {same}`; `--supersedes {same}` replaces it, --force keeps both"
            raise Usage(f"{same} says that already: {known[same].title}", hint, repeats=same)
    made = add(call.project, data, today=today())
    path = os.path.join(".kin", "decisions", f"{made.id}.yaml")
    return Result("decision", decision_entry(made), [f"{made.id}  {path}"], [made.id])


def decision_entry(one: Decision, replaced_by: str | None = None) -> dict[str, Any]:
    """A decision as JSON: its file's keys, and beside them the decision that stands in its place."""
    return fields(one) | {"source": one.source and one.source._asdict(), "superseded_by": replaced_by}


def decisions_list(call: Call) -> Result:
    """List the decisions that hold, or those that fit."""
    known, broken = scan(call.project)
    gone = superseded(known.values())
    paths = _lost_paths(call.project, known.values()) if call["stale"] else {}
    found = [one for one in known.values() if (call["all"] or one.id not in gone) and _fits(call, one, paths)]
    data = [decision_entry(one, gone.get(one.id)) | ({"lost": paths[one.id]} if paths else {}) for one in found]

    def lines(screen: Screen) -> list[str]:
        told = [f"{', '.join(paths[one.id])} is gone" if paths else _about(one, gone) for one in found]
        heads = [f"{screen.paint(one.id, 'bold')}  {clean(one.title)}" for one in found]
        return [f"{head}  {screen.paint(clean(words), 'dim')}" for head, words in zip(heads, told, strict=True)]

    return Result("decision.list", data, lines, [one.id for one in found], [str(error) for error in broken])


def _about(one: Decision, gone: Mapping[str, str]) -> str:
    words = [one.kind.replace("_", " "), one.module or "", *(f"#{tag}" for tag in one.tags), *one.paths]
    return ", ".join([*filter(None, words), *([f"superseded by {gone[one.id]}"] if one.id in gone else [])])


def _fits(call: Call, one: Decision, lost: Mapping[str, list[str]]) -> bool:
    """Whether a decision passes all filters."""
    words = f"{one.id}\n{one.title}\n{one.text}".casefold()
    return (
        (not call["stale"] or one.id in lost)
        and (not call["kind"] or one.kind == call["kind"])
        and (not call["module"] or one.module == call["module"])
        and set(call["tag"]) <= set(one.tags)
        and (not call["search"] or call["search"].casefold() in words)
        and (not call["for_"] or _is_for(call, one))
    )


def _is_for(call: Call, one: Decision) -> bool:
    """Whether a decision is about the file or folder that was asked for."""
    from kin.model.globs import covers, fixed_part
    from kin.store.project import from_root

    path = from_root(call["for_"], call.cwd, call.environ)
    return any(covers(glob, path) or fixed_part(glob).startswith(f"{path}/") for glob in one.paths)


def _lost_paths(project: "Project", known: Iterable[Decision]) -> dict[str, list[str]]:
    """By decision the paths that it names and nothing is at any more."""
    from kin import git
    from kin.model.globs import lost

    files = git.files(project.root)
    found = {one.id: lost(one.paths, files) for one in known}
    return {decision_id: globs for decision_id, globs in found.items() if globs}


def page(one: Decision, replaced_by: str | None, screen: Screen) -> list[str]:
    """All that a decision's file says, for a person."""
    source = one.source._asdict().items() if one.source else ()
    facts = [one.kind.replace("_", " "), *(f"{name} {value}" for name, value in source if value)]
    rows = [("module", one.module), ("tags", ", ".join(one.tags)), ("paths", ", ".join(one.paths))]
    rows += [("supersedes", one.supersedes), ("superseded by", replaced_by)]
    lines = [f"{screen.paint(one.id, 'bold')}  {clean(one.title)}", clean(" · ".join([*facts, *filter(None, [one.created])]))]
    lines += ["", *indent(f"{name}: {clean(value)}" for name, value in rows if value)] if any(v for _, v in rows) else []
    return [*lines, *(["", *indent(clean(one.text).splitlines())] if one.text else [])]


def decisions_export(call: Call) -> Result:
    """One Markdown file a decision, in the form of architecture decision records; a file that kin did not write stays."""
    if not call["adr"]:
        raise Usage("export where?", "`kin decisions export --adr DIR` writes them as Markdown")
    known, _ = scan(call.project)
    gone = superseded(known.values())
    os.makedirs(folder := os.path.join(call.cwd, call["adr"]), exist_ok=True)
    written: list[str] = []
    for one in known.values():
        path = os.path.join(folder, _file_name(one))
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                if f"({one.id}, " not in file.read():
                    raise Usage(f"{path} is there and not kin's", "choose another folder, or move it")
        with open(path, "w", encoding="utf-8") as file:
            file.write(_as_adr(one, gone.get(one.id)))
        written.append(path)
    return Result("decision.list", [decision_entry(one, gone.get(one.id)) for one in known.values()], written, written)


def _file_name(one: Decision) -> str:
    number = one.id.partition("-")[2]
    slug = re.sub(r"[^a-z0-9]+", "-", one.title.lower()).strip("-")[:60].strip("-")
    return "-".join(filter(None, (f"{int(number):04d}" if number.isdigit() else number, slug))) + ".md"


def _as_adr(one: Decision, replaced_by: str | None) -> str:
    status = f"Superseded by {replaced_by}" if replaced_by else "Accepted"
    by = ", ".join(str(value) for value in one.source or () if value)
    about = [f"- {name}: {words}" for name, words in (("Module", one.module), ("Tags", ", ".join(one.tags))) if words]
    about += [f"- Path: `{path}`" for path in one.paths] + ([f"- Supersedes: {one.supersedes}"] if one.supersedes else [])
    parts = [f"# {one.title}", f"{status} ({one.id}, {one.kind.replace('_', ' ')}, {one.created or 'no date'})"]
    parts += ["\n".join(about), f"## Decision\n\n{one.text.strip() or one.title}", f"By {by}." if by else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def show_decision(call: Call) -> Result:
    """What `kin show D-7` shows."""
    known, _ = scan(call.project)
    decision_id = resolve(call.project, call["id"])
    if decision_id not in known:
        load(call.project, decision_id)  # says what is wrong with the file
        raise NotFound(f"there is no decision {decision_id}")
    one, by = known[decision_id], superseded(known.values()).get(decision_id)
    return Result("decision", decision_entry(one, by), lambda screen: page(one, by, screen))
