"""What an agent is: a program's arguments, channels and words, as the data file and a project's `agents:` describe it.

An agent is data, not code: the built-in ones lie in agents/agents.yaml, and whoever knows a client's flags can add one. Apart
from settings.py because it is the whole of what kin knows about a client. Importing it costs pydantic.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

FORMATS = ("text", "claude-stream-json", "codex-jsonl", "gemini-stream-json", "opencode-json")
"""The stream formats that kin.streams reads."""


def as_list(value: Any) -> Any:
    """What people may write for a list: one thing alone, or nothing."""
    return [value] if isinstance(value, (str, dict)) else ([] if value is None else value)


Words = Annotated[tuple[str, ...], BeforeValidator(as_list, json_schema_input_type=str | tuple[str, ...])]
Patterns = Annotated[tuple[re.Pattern[str], ...], BeforeValidator(as_list, json_schema_input_type=str | tuple[str, ...])]


class Model(BaseModel):
    """Frozen; unknown keys are an error where nothing else would notice a slip of the pen."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, populate_by_name=True)


class Signs(Model):
    """Regular expressions that tell what a client's words mean, each searched for in single lines.

    A time is named by a group: `epoch` (seconds), `seconds`, `ms`, `span` (`1h2m3s`), or `clock` (`3pm`, `Nov 27th, 2026
    12:42 PM`) with `zone`. A count of tokens by `in`, `out`, `cached`, `gross` (in and cached; each with k or M behind it),
    money by `usd`, the `model` that was asked by its name.
    """

    begin: Patterns = Field(default=(), description="`text` only: a line before the final message")
    done: Patterns = Field(default=(), description="`text` only: a line without which it was no success")
    failed: Patterns = Field(default=(), description="A line of the final message that makes it no success")
    limit: Patterns = Field(default=(), description="A usage limit, until a time if one is said")
    overload: Patterns = Field(default=(), description="The service is busy or down")
    login: Patterns = Field(default=(), description="Nobody is logged in, or the key is not taken")
    budget: Patterns = Field(default=(), description="Its own limit on money was reached")
    stuck: Patterns = Field(default=(), description="A line on stderr that announces a wait")
    usage: Patterns = Field(
        default=(), description="A line of `text`, or on stderr, that tells what was used since the last such line"
    )


class Agent(Model):
    """A program that plays roles. `{model}`, `{session}`, `{usd}`, `{prompt}`, `{home}` and `{instructions}` are filled in."""

    argv: Words = Field(default=(), description="The program and what it always gets")
    extra: Words = Field(default=(), description="Arguments of your own behind these")
    prompt: Literal["stdin", "file"] = Field(default="stdin", description="How it is told: `file` has `{prompt}` in argv")
    escape: dict[str, str] = Field(default_factory=dict, description="What of a prompt is written otherwise, and how")
    read: Words = Field(default=(), description="Added for a role that may only read")
    write: Words = Field(default=(), description="Added for a role that may write")
    model: Words = Field(default=(), description="Added if a `{model}` is named")
    resume: Words = Field(default=(), description="Added to go on in a `{session}`; without it a new one is started")
    budget: Words = Field(default=(), description="Added if `{usd}` may be spent")
    format: str = Field(default="text", description=f"How its output is read: {', '.join(FORMATS)}")
    env: Words = Field(default=(), description="Environment variables it sees beside the common ones; `NAME_*` is a prefix")
    set: dict[str, str] = Field(default_factory=dict, description="Environment variables set for it")
    files: dict[str, str] = Field(default_factory=dict, description="Files written below `{home}`: path and text")
    instructions: Literal["", "prompt"] = Field(
        default="", description="`prompt`: AGENTS.md and CLAUDE.md stand before the prompt, for a client that reads neither"
    )
    unsafe: Words = Field(
        default=(), description="Files of a repository that would make it start programs, or send its key, as they say"
    )
    signs: Signs = Field(default=Signs(), description="What its words mean")
    version: Words = Field(default=(), description="The command that prints its version")
    login: str = Field(default="", description="What a person types to log in")
    logged_in: Words = Field(default=(), description="Variables and files (`~/...`) that say somebody is logged in")
    install: str = Field(default="", description="What a person types to install it")

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, value: str) -> str:
        if value not in FORMATS:
            raise ValueError(f"no format is called '{value}'; one of {', '.join(FORMATS)}")
        return value

    def changed_by(self, entry: "Agent") -> "Agent":
        """This agent with what an entry says on top: `env`, `set` and `files` are added to, the rest is replaced."""
        new = {name: getattr(entry, name) for name in entry.model_fields_set}
        for name in ("set", "files"):
            new |= {name: getattr(self, name) | new[name]} if name in new else {}
        if "env" in new:
            new["env"] = tuple(dict.fromkeys((*self.env, *new["env"])))
        if "signs" in new:
            new["signs"] = self.signs.model_copy(update={n: getattr(entry.signs, n) for n in entry.signs.model_fields_set})
        return self.model_copy(update=new)
