"""Settings of a project (kin.yaml), of a user, and the steps and gates that they define, checked by pydantic.

Importing this module costs pydantic (80 ms and more): reading commands never do. `quick_settings` gives them the few plain
values they need.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from kin.model.agent import Agent, Model, Signs, Words, as_list
from kin.model.builtin import BUILT_IN_AGENTS, BUILT_IN_PIPELINES
from kin.model.fields import Problem, kind_of, seconds
from kin.model.ids import is_key, is_name
from kin.model.spelling import near
from kin.model.task import FORMAT, Mode, build_task, plan_word

MAX_STEPS = 100


def _plain_text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _duration(value: Any) -> Any:
    return value if isinstance(value, float) else seconds(str(value))


Seconds = Annotated[float, BeforeValidator(_duration, json_schema_input_type=str)]
Text = Annotated[str, BeforeValidator(_plain_text)]


class StepSpec(Model):
    """One step as a pipeline lists it."""

    role: str = Field(default="command", description="Who plays it")
    run: str | None = Field(default=None, description="A shell command; makes the step a plain command, no model")
    timeout: Seconds | None = Field(default=None, description="Longest time it may take")
    idle: Seconds | None = Field(default=None, description="Longest silence, models only")
    brief: str | None = Field(default=None, description="Text for the prompt")
    agent: str | None = Field(default=None, description="Who plays the role")
    model: str | None = Field(default=None, description="Which model")
    access: Literal["read", "write"] | None = Field(default=None, description="Whether it may change files")
    rounds: int | None = Field(default=None, ge=0, le=100, description="How often it may send work back")
    back_to: str | None = Field(default=None, description="The role that gets work sent back")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"role": value} if isinstance(value, str) else value

    @field_validator("role")
    @classmethod
    def _role_is_a_name(cls, value: str) -> str:
        if not is_name(value):
            raise ValueError("a role's name has letters, digits, - and _, at most 40")
        return value


class Gate(Model):
    """A command that must exit 0 on the tree that is merged."""

    name: str = ""
    run: str
    timeout: Seconds | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"run": value} if isinstance(value, str) else value

    @field_validator("run")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a gate needs a command")
        return value

    @property
    def label(self) -> str:
        """What records and messages call it."""
        return self.name or self.run.strip().splitlines()[0][:80]


Gates = Annotated[tuple[Gate, ...], BeforeValidator(as_list, json_schema_input_type=Gate | str | tuple[Gate | str, ...])]


class Limits(Model):
    """Times in seconds; `idle` and `first_output` hold for models only; `rounds` is a count."""

    step: Seconds = 3600.0
    gate: Seconds = 1800.0
    setup: Seconds = 1800.0
    idle: Seconds = 900.0
    first_output: Seconds = 300.0
    rounds: int = Field(default=3, ge=0, le=100)


class Amount(Model):
    """A budget, in money, time or tokens."""

    usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tokens: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Budget(Amount):
    """What a run may cost, and each of its steps, all runs of a task, and all of the project on one day (UTC)."""

    step: Amount = Amount()
    task: Amount = Amount()
    day: Amount = Amount()

    def scopes(self) -> dict[str, dict[str, float | None]]:
        """By scope and unit, as kin.model.spending takes it."""
        own = {unit: getattr(self, unit) for unit in Amount.model_fields}
        return {"step": self.step.model_dump(), "run": own, "task": self.task.model_dump(), "day": self.day.model_dump()}

    def allowing(self, amounts: Mapping[str, float]) -> "Budget":
        """With what a person allows one run: it stands in for every budget of that unit."""
        none = dict.fromkeys(amounts)
        parts = {scope: getattr(self, scope).model_copy(update=none) for scope in ("step", "task", "day")}
        return self.model_copy(update={**parts, **amounts})


class RoleSettings(Model):
    """What a project changes about a role."""

    agent: Words = ()
    model: str | None = None
    access: Literal["read", "write"] | None = None
    timeout: Seconds | None = None


class Watch(Model):
    """What `kin watch` may start by itself."""

    pulled: bool = Field(default=False, description="true: also tasks that arrived by git, not by an edit in this checkout")
    allow_write: bool = Field(default=False, description="true: also steps that may change files")
    agent_made: bool = Field(default=False, description="true: also tasks that agents made")
    max_starts_per_hour: int = Field(default=60, ge=1, description="Runs that it starts within an hour")


class Schedule(Model):
    """A task that is made again and again, at times that a cron expression says."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="What it is called")
    cron: str = Field(description="Minute, hour, day of month, month, day of week; as Debian's cron reads them")
    timezone: str = Field(default="UTC", description="A name of the tz database, such as Europe/Vienna")
    task: dict[str, Any] = Field(default_factory=dict, description="Fields of the task that it makes")
    pipeline: str | None = Field(default=None, description="That task's pipeline, if `task` names none")
    overlap: Literal["skip", "queue"] = Field(default="skip", description="skip: none is made while the last one is under way")
    missed: Literal["none", "latest"] = Field(default="none", description="latest: one is made for times when nobody watched")

    @model_validator(mode="after")
    def _can_be_made(self) -> "Schedule":
        _, problems = build_task({"id": "KIN-1", "status": "todo", **self.fields()})
        if problems:
            raise ValueError(f"task: {problems[0].message}")
        self.due(datetime.now(UTC))
        return self

    def fields(self) -> dict[str, Any]:
        """What the tasks that it makes say, but for their ids."""
        pipeline = {"pipeline": self.pipeline} if self.pipeline else {}
        return {"title": self.name} | pipeline | {k: v for k, v in self.task.items() if k not in ("id", "status", "created")}

    def due(self, after: datetime, *, back: bool = False) -> datetime:
        """The next moment after `after`, in UTC; with `back` the last one before. Raises ValueError for a bad cron or zone."""
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        from cronsim import CronSim, CronSimError

        try:
            local = after.astimezone(ZoneInfo(self.timezone))
        except (ZoneInfoNotFoundError, OSError):
            raise ValueError(f"there is no time zone '{self.timezone}'") from None
        try:
            return next(CronSim(self.cron, local, reverse=back)).astimezone(UTC)
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"cron '{self.cron}': {error or 'it is never due'}") from None


Event = Literal["done", "review", "question", "blocked", "waiting", "budget"]


class Notify(Model):
    """Somebody or something to be told when a run ends or pauses."""

    on: Annotated[tuple[Event, ...], BeforeValidator(as_list, json_schema_input_type=Event | tuple[Event, ...])] = Field(
        default=get_args(Event), description="When"
    )
    run: str | None = Field(default=None, description="A shell command that finds the JSON on its standard input")
    webhook: str | None = Field(default=None, pattern=r"^https?://", description="A URL that the JSON is posted to")
    timeout: Seconds = Field(default=10.0, description="After this it is ended, with all that it started")

    @model_validator(mode="after")
    def _one_way(self) -> "Notify":
        if bool(self.run) == bool(self.webhook):
            raise ValueError("name one of `run` and `webhook`")
        return self


class Settings(BaseModel):
    """kin.yaml. Unknown keys are kept out of the way; `kin check` warns of them."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: int = Field(default=FORMAT, ge=1, description="Format of the files")
    key: str = Field(description="What task ids start with")
    ids: Literal["sequential", "random"] = Field(default="sequential", description="How new ids are made")
    mode: Mode = Field(default=Mode.review, description="review: a person approves merges; auto: gates do")
    concurrency: int = Field(default=5, ge=1, le=1000, description="Pipelines at once in this clone")
    agent: Words = Field(default=(), description="Who plays a role that names nobody; a list is tried in order")
    base: str | None = Field(default=None, description="The branch that work is merged into")
    setup: str | None = Field(default=None, description="Runs in each new worktree")
    gates: Gates = Field(default=(), description="Commands that must exit 0")
    protect: Words = Field(default=(".github/**", ".gitlab-ci.yml"), description="A change there always waits for a person")
    plan: bool | Literal["approve"] = Field(default=False, description="true: the PM plans tasks without a pipeline")
    pipelines: dict[str, tuple[StepSpec, ...]] = Field(default_factory=dict, description="Named lists of steps")
    roles: dict[str, RoleSettings] = Field(default_factory=dict, description="Changes to roles")
    agents: dict[str, Agent] = Field(default_factory=dict, description="Agents added or changed")
    limits: Limits = Field(default=Limits(), description="Times and rounds")
    budget: Budget = Field(default=Budget(), description="What a run may cost")
    secrets: Words = Field(default=(), description="Environment names whose values are masked everywhere")
    commit: bool = Field(default=False, description="true: kin also commits the states review and blocked")
    worktrees: str | None = Field(default=None, description="Folder for worktrees, outside the repository")
    unshare: bool = Field(
        default=False, description="true: each step in a pid namespace of its own, where the system allows it"
    )
    watch: Watch = Field(default=Watch(), description="What `kin watch` may start by itself")
    schedules: tuple[Schedule, ...] = Field(default=(), description="Tasks that are made at certain times")
    notify: tuple[Notify, ...] = Field(default=(), description="Who is told when a run ends or pauses")

    @field_validator("schedules")
    @classmethod
    def _schedules_have_names_of_their_own(cls, value: tuple[Schedule, ...]) -> tuple[Schedule, ...]:
        names = [schedule.name for schedule in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two schedules are called '{twice[0]}'")
        return value

    @field_validator("key")
    @classmethod
    def _key_is_one(cls, value: str) -> str:
        if not is_key(value):
            raise ValueError("a key is 1 to 8 upper-case letters and digits, a letter first, and not D")
        return value

    @field_validator("plan", mode="before")
    @classmethod
    def _plan_is_yes_no_or_approve(cls, value: Any) -> Any:
        return value if isinstance(value, bool) else plan_word(value)

    @field_validator("agents")
    @classmethod
    def _new_agents_have_a_program(cls, value: dict[str, Agent]) -> dict[str, Agent]:
        for name, agent in value.items():
            if name == "command":
                raise ValueError("`command` is what a step with `run` has; give this agent another name")
            if name not in BUILT_IN_AGENTS and not agent.argv:
                raise ValueError(f"{name} needs `argv`: it is not one of {', '.join(BUILT_IN_AGENTS)}")
        return value

    @field_validator("pipelines", mode="before", json_schema_input_type=dict[str, StepSpec | str | tuple[StepSpec | str, ...]])
    @classmethod
    def _steps_are_lists(cls, value: Any) -> Any:
        return {name: as_list(steps) for name, steps in value.items()} if isinstance(value, dict) else value


class Checked(NamedTuple):
    """Settings or what is wrong with them."""

    settings: Settings | None
    problems: list[Problem]


_EXPECTED = {
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type"), "a mapping"),
    **dict.fromkeys(("int_type", "int_parsing"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "finite_number": "a finite number",
    "string_type": "text",
}
"""What pydantic says in Python's words, in those of a file."""


def _meant(key: str) -> str:
    """What a key inside of a setting was probably meant to be."""
    known = {name for model in (Agent, Signs, Budget, Gate, Limits, RoleSettings, StepSpec) for name in model.model_fields}
    if (name := near(key, known)) and key not in known:
        return f"; did you mean `{name}`?"
    return "; put a text that holds `: ` in quotes" if " " in key else ""


def problems_of(error: ValidationError) -> list[Problem]:
    """pydantic's findings as problems with the path of keys in the file."""
    found = []
    for detail in error.errors(include_url=False):
        path = tuple(p for p in detail["loc"] if isinstance(p, int) or not p.startswith(("function-", "literal[")))
        message = detail["msg"].removeprefix("Value error, ")
        expected = _EXPECTED.get(detail["type"]) or message.removeprefix("Input should be ")
        if detail["type"] == "extra_forbidden":
            message = f"there is no such key{_meant(str(path[-1]))}"
        elif detail["type"] == "missing":
            message = "is missing"
        elif expected != message:
            plain = detail["input"]
            message = f"expected {expected}, found {repr(plain[:40]) if isinstance(plain, str) else kind_of(plain)}"
            message = message.replace("greater than or equal to", "at least")
        label = ".".join(str(p) for p in path)
        found.append(Problem(path, f"{label}: {message}" if label else message))
    return sorted(found, key=lambda problem: problem.message.endswith("is missing"))  # a wrong key is why another is missing


def problems_in(model: type[BaseModel], data: Any) -> list[Problem]:
    """What of `data` does not fit `model`."""
    try:
        model.model_validate(data)
    except ValidationError as error:
        return problems_of(error)
    return []


def check_settings(data: Mapping[str, Any]) -> Checked:
    """Plain data of a kin.yaml as Settings; empty values count as absent."""
    try:
        return Checked(Settings.model_validate({k: v for k, v in data.items() if v is not None}), [])
    except ValidationError as error:
        return Checked(None, problems_of(error))


def check_budget(own: Mapping[str, Any], common: Budget) -> Budget | str:
    """A task's own budget over the project's, or what is wrong with it."""
    try:
        return Budget.model_validate(common.model_dump() | dict(own))
    except ValidationError as error:
        return "; ".join(f"budget.{p.message}" for p in problems_of(error))


def plan_steps(pipeline: Any, settings: Settings) -> tuple[StepSpec, ...]:
    """The steps that a task's `pipeline` value means: a name, a list of steps, or None for the default one.

    Raises ValueError if no pipeline has that name or a step is malformed.
    """
    if pipeline is None or isinstance(pipeline, str):
        name = pipeline or "default"
        steps: Any = settings.pipelines.get(name, BUILT_IN_PIPELINES.get(name))
        if steps is None:
            known = sorted({*settings.pipelines, *BUILT_IN_PIPELINES})
            raise ValueError(f"no pipeline is called '{name}'; one of {', '.join(known)}")
    else:
        steps = pipeline if isinstance(pipeline, list) else [pipeline]
    try:
        specs = tuple(StepSpec.model_validate(step) for step in steps)
    except ValidationError as error:
        raise ValueError("pipeline: " + "; ".join(p.message for p in problems_of(error))) from None
    if not 1 <= len(specs) <= MAX_STEPS:
        raise ValueError(f"a pipeline has 1 to {MAX_STEPS} steps, this one {len(specs)}")
    return tuple(with_role(spec, settings) for spec in specs)


def nobody_before(back_to: str | None, earlier: Collection[str]) -> str:
    """What is wrong with the role that a step sends work back to, of those `earlier` than it; "" for nothing."""
    lost = back_to and back_to not in earlier
    return f"no earlier step is played by `{back_to}`, which work would be sent back to" if lost else ""


def with_role(spec: StepSpec, settings: Settings) -> StepSpec:
    """A model's step with what `roles:` of the project says where the step says nothing."""
    said = settings.roles.get(spec.role)
    if said is None or spec.run is not None:
        return spec
    names = [name for name in ("model", "access", "timeout") if getattr(spec, name) is None]
    return spec.model_copy(update={name: getattr(said, name) for name in names})
