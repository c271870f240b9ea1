"""What steps propose, decisions and follow-up tasks, on its way to files that land with the run's merge.

Until then a proposal is data in the live record: checked, and cut down to what the task that it came from may do itself. It
gets its id once, so a merge that is built again brings the very same file.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kin import git
from kin.faults import point
from kin.model.decision import Decision, is_near_copy, superseded
from kin.model.environment import TAG
from kin.model.fields import build, data_of
from kin.model.record import Run
from kin.model.result import Result
from kin.model.status import StepStatus
from kin.model.task import TASK_KEYS, Task, build_task
from kin.runner.steps.passage import Passage, digest
from kin.store import decisions, files, numbers, schemas, tasks
from kin.store.arrivals import MADE_BY
from kin.store.project import Project
from kin.store.text import emit

MOST = 10
"""Decisions, and tasks, that one step may propose."""
MOST_ITEMS = 20
"""Items of a list in a proposal."""
MOST_SAID = 50
"""Entries of a plan, right or wrong, that are kept."""
REPEATS = "="
"""Stands before the id of a decision that a proposed one only repeats, where its own id would stand."""
_DECISION = ("kind", "title", "text", "module", "tags", "paths", "supersedes")
_TASK = ("title", "description", "acceptance", "module", "touches", "priority", "labels", "depends_on", "mode")


class Proposal(NamedTuple):
    """One thing that a finished step proposed. `folder` is decisions or tasks; `id` is None until a merge is built.

    `repeats` is the decision that says the same already: such a one is not stored.
    """

    folder: str
    step: str
    role: str
    data: dict[str, Any]
    key: str
    id: str | None
    repeats: str | None = None


def keep(p: Passage, step: str, role: str, result: Result) -> str:
    """Remember durably what a step proposes, in place of what an earlier passage of it did; words for what was dropped.

    This is done before the step's work is committed: killed after that, the step counts as finished, and its word is kept.
    """
    dropped: list[str] = []
    entry: dict[str, Any] = {"step": step, "role": role, "decisions": list(_fitting("decision", result.decisions, p, dropped))}
    if step == p.pm_step:
        entry |= {"plan": _plain(p, result.plan[:MOST_SAID]), "tasks": _plain(p, result.tasks[:MOST_SAID])}
    else:
        entry["tasks"] = list(_fitting("task", result.tasks, p, dropped))
    others = [other for other in p.live.proposals if other["step"] != step]
    found = [*others, entry] if any(map(entry.get, ("decisions", "tasks", "plan"))) else others
    if found != list(p.live.proposals):
        p.save(proposals=tuple(found))
    return "".join(f"\n({words})" for words in dropped)


def _fitting(kind: str, proposed: Sequence[dict[str, Any]], p: Passage, dropped: list[str]) -> Iterator[dict[str, Any]]:
    for number, said in enumerate(proposed, 1):
        data = {k: plain for k in (_DECISION if kind == "decision" else _TASK) if (plain := _plain(p, said.get(k))) is not None}
        fault = f"a step proposes at most {MOST}" if number > MOST else _fault(kind, data, p.project)
        if fault:
            dropped.append(f"its proposed {kind} {number} was dropped: {fault}")
            p.say("note", text=dropped[-1])
        else:
            yield data


def _plain(p: Passage, value: Any) -> Any:
    """A value as a file may hold it: masked, of bounded size, scalars as text."""
    if isinstance(value, list):
        return [_plain(p, item) for item in value if item is not None]
    if isinstance(value, dict):
        return {str(key): _plain(p, item) for key, item in value.items() if item is not None}
    return value if value is None else p.short(emit.text_of(value) or "")


def _fault(kind: str, data: Mapping[str, Any], project: Project) -> str:
    long = next((key for key, value in data.items() if isinstance(value, list) and len(value) > MOST_ITEMS), None)
    if long:
        return f"{long} has more than {MOST_ITEMS} items"
    model = {"kind": "decision", **data, "id": "D-0"} if kind == "decision" else {**data, "id": "KIN-1", "status": "draft"}
    made, problems = build(Decision, model) if kind == "decision" else build_task(model)
    if made is None:
        return str(problems[0].message)
    if isinstance(made, Decision):
        old = made.supersedes
        there = old is None or (os.path.basename(old) == old and os.path.exists(decisions.decision_path(project, old)))
        return "" if there else f"it supersedes {old}, which is no decision here"
    missing = [word for word in made.depends_on if not os.path.exists(tasks.task_path(project, os.path.basename(word)))]
    return f"it depends on {missing[0]}, which is no task here" if missing else ""


def proposals_of(run: Run) -> list[Proposal]:
    """What the finished steps of a run propose, in the order in which they said it; the same thing said twice is one."""
    done = {step.id for step in run.steps if step.status == StepStatus.done}
    found: dict[str, Proposal] = {}
    for entry in run.live.proposals:
        # of a plan, the tasks are written at once (planning.py)
        for folder in ("decisions",) if "plan" in entry else ("decisions", "tasks"):
            for data in entry.get(folder) or () if entry["step"] in done else ():
                key = digest(entry["step"], folder, data)
                given = run.live.given.get(key, "")
                repeats = given[len(REPEATS) :] if given.startswith(REPEATS) else None
                own_id = None if repeats else given or None
                found[key] = Proposal(folder, entry["step"], entry["role"], data, key, own_id, repeats)
    return list(found.values())


def files_of(p: Passage) -> dict[str, bytes]:
    """The files that the run's proposals become, by path below `.kin/`; each has its id durably before it is in a commit.

    One whose id was meanwhile taken by another file, on the target or here, gets a new one.
    """
    found, given = {}, dict(p.live.given)
    proposed: dict[str, list[str]] = {"decisions": [], "tasks": [], "repeats": []}
    told: list[Decision] = []
    for one in proposals_of(p.run):
        repeats = one.repeats or (None if one.id else _said_before(p.project, one, told))
        if repeats is not None:
            given[one.key] = REPEATS + repeats
            proposed["repeats"].append(repeats)
            continue
        made = _file(p, one, one.id) if one.id else None
        if made is None or not _is_free(p, *made):
            new_id = tasks.new_id(p.project) if one.folder == "tasks" else numbers.new_ids(p.project, "D", "decisions")[0]
            made, given[one.key] = _file(p, one, new_id), new_id
        found[made[0]] = made[1]
        proposed[one.folder].append(given[one.key])
        told += [decisions.parse(made[1].decode(), made[0])] if one.folder == "decisions" else []
    wanted = {folder: ids for folder, ids in proposed.items() if ids} or None
    if given != p.live.given or wanted != p.run.proposed:
        p.save(given=given, proposed=wanted)
        point("proposals.given")
    return found


def _said_before(project: Project, one: Proposal, told: list[Decision]) -> str | None:
    """The decision of the project's, or of this run's, that a proposed one only repeats."""
    if one.folder != "decisions":
        return None
    known = decisions.scan(project)[0]
    gone = {*superseded(known.values()), one.data.get("supersedes")}
    holds = [decision for decision in known.values() if decision.id not in gone]
    return is_near_copy(f"{one.data['title']}\n{one.data.get('text', '')}", [*told, *holds])


def _is_free(p: Passage, path: str, content: bytes) -> bool:
    held = git.blob(p.project.root, p.target.oid, f".kin/{path}")
    here = os.path.join(p.project.store, path)
    return held in (None, content) and (not os.path.lexists(here) or files.read_stamped(here)[0] == content)


def _file(p: Passage, one: Proposal, file_id: str) -> tuple[str, bytes]:
    """A proposal's path below `.kin/` and its content."""
    step = next(s for s in p.run.steps if s.id == one.step)
    day = (step.ended or p.run.started)[:10]
    if one.folder == "decisions":
        source = {"task": p.task.id, "run": p.run.run, "role": one.role}
        tags = sorted({*one.data.get("tags", ()), *(label for label in p.task.labels if label.startswith(TAG))})
        said = {"kind": "decision", **one.data, "id": file_id, "tags": tags, "source": source, "created": day}
        decision, _ = build(Decision, said)
        assert decision is not None
        text = schemas.first_line(p.project, "decision") + decisions.decision_text(decision)
        return f"decisions/{file_id}.yaml", text.encode()
    own = as_child(one.data, p.task)
    own["labels"] = [label for label in own.get("labels", ()) if label != "auto"]
    more = {"id": file_id, "status": "draft", "created": day, MADE_BY: f"{p.task.id} {one.step}"}
    task, _ = build_task({**own, **more})
    assert task is not None
    text = emit.document(data_of(tasks.canonical(task)), TASK_KEYS, head=schemas.first_line(p.project, "task"))
    return f"tasks/{file_id}.yaml", text.encode()


def as_child(data: Mapping[str, Any], parent: Task) -> dict[str, Any]:
    """What a task that an agent made may say: no label that its parent does not bear, no mode that asks less of people."""
    mode = "review" if data.get("mode") == "review" else parent.mode and parent.mode.value
    labels = data.get("labels") or []
    kept = [word for word in ([labels] if isinstance(labels, str) else labels) if word in parent.labels]
    return {key: value for key, value in {**data, "mode": mode, "labels": kept, "base": parent.base}.items() if value}
