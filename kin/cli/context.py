"""`kin context`: exactly what a role would be told of a task, and how much of it is what."""

from typing import Any

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean, pad
from kin.context import Prompt
from kin.errors import Usage
from kin.model.settings import StepSpec, problems_in
from kin.runner.process.mask import make_mask
from kin.runner.runs.planning import course_of
from kin.runner.steps.casting import role_of
from kin.runner.steps.passage import step_id
from kin.runner.steps.prompts import prompt_for
from kin.store import records, tasks
from kin.store.config import load_settings


def context_(call: Call) -> Result:
    """Print a step's prompt as it would be sent now; sizes go to standard error."""
    project = call.project
    task, _ = tasks.load(project, tasks.resolve(project, call["id"]))
    settings, run = load_settings(project, call.environ), records.live(project, task.id)
    try:
        specs = course_of(task, settings, run, wanted=False).specs
    except ValueError as error:
        raise Usage(str(error)) from None
    if call["role"] is not None and (wrong := problems_in(StepSpec, {"role": call["role"]})):
        raise Usage(wrong[0].message)
    index, spec = _step(specs, call["role"], call["step"])
    name = step_id(index, spec)
    items = run.live.items.get(name, []) if run is not None else []
    role = role_of(spec, project.store)
    made = prompt_for(project, task, spec, role, run.steps[:index] if run else (), items, name)
    mask = make_mask(call.environ, settings.secrets)  # as a run does before it sends it
    prompt = Prompt(tuple(section._replace(text=mask(section.text)) for section in made.sections))
    sections = [
        {"name": s.name, "characters": len(s.text), "tokens": s.tokens, "left_out": s.left_out or None, "text": s.text}
        for s in prompt.sections
    ]
    data = {"task": task.id, "step": name, "role": spec.role, "tokens": sum(s.tokens for s in prompt.sections)}
    if not (call.screen.json or call.screen.quiet):
        call.screen.err.write("".join(f"{line}\n" for line in _sizes(prompt, call.screen)))
    text = prompt.text.removesuffix("\n")
    shown = clean(text) if call.screen.terminal else text  # what could move a terminal's cursor is made visible
    return Result("context", data | {"prompt": prompt.text, "sections": sections}, [shown])


def _step(specs: tuple[StepSpec, ...], role: str | None, number: int | None) -> tuple[int, StepSpec]:
    """The step that is meant: by number, else the first of the role; a role that has none plays one after all others."""
    if number is not None:
        if not 1 <= number <= len(specs):
            raise Usage(f"the pipeline has no step {number}", f"it has {len(specs)}")
        spec = specs[number - 1]
        return number - 1, spec if role in (None, spec.role) else StepSpec(role=role or "")
    if role is None:
        raise Usage("whose context?", "`--role developer`, or `--step 2`")
    return next(((n, spec) for n, spec in enumerate(specs) if spec.role == role), (len(specs), StepSpec(role=role)))


def _sizes(prompt: Prompt, screen: Screen) -> list[str]:
    rows: list[tuple[str, Any, Any]] = [(s.name, len(s.text), s.tokens) for s in prompt.sections]
    rows.append(("together", len(prompt.text), sum(s.tokens for s in prompt.sections)))
    return [
        screen.paint(f"{pad(name, 10)} {size:>7,} characters  about {tokens:>6,} tokens", "dim") for name, size, tokens in rows
    ]
