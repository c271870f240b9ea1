"""What a step answers: the JSON that a model ends its message with and a command writes to `$KIN_RESULT`.

The one form for both is the contract's (docs/reference.md, "Results"). It comes from outside, so pydantic checks it.
"""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MAX_RESULT = 1 << 20
"""Bytes of a result; a longer one is malformed."""


def _as_items(value: Any) -> Any:
    values = [] if value is None else value if isinstance(value, list) else [value]
    return [{"what": v} if isinstance(v, str) else v for v in values]


class Item(BaseModel):
    """One thing to change: where, and what."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    what: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file or ""
        return f"{place}: {self.what}" if place else self.what


class Result(BaseModel):
    """A step's answer. Unknown keys are let through: a model that says more than asked has still answered."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    status: Literal["done", "changes_requested", "blocked", "failed"] = "done"
    summary: str = ""
    back_to: str | None = None
    items: Annotated[tuple[Item, ...], BeforeValidator(_as_items)] = ()
    question: str | None = None
    decisions: list[dict[str, Any]] = Field(default_factory=list)
    tasks: list[dict[str, Any]] = Field(default_factory=list)
    plan: list[Any] = Field(default_factory=list)


_STATUSES = ("done", "changes_requested", "blocked", "failed")
_TOLD = ("summary", "items", "question", "tasks", "plan")
_OPENING = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*kin-result[ \t]*$", re.MULTILINE)
_BLOCK = re.compile(_OPENING.pattern + r".*?(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)


def without_result(message: str) -> str:
    return _BLOCK.sub("", message).strip()


def result_of(message: str) -> Result | None:
    """The last fenced `kin-result` block of a final message, or what reads like one without that name at its end; None if
    it has none. Raises ValueError if that is malformed.

    A fence that nothing closes ends with the message.
    """
    openings = list(_OPENING.finditer(message))
    if not openings:
        return _unnamed(message)
    opening = openings[-1]
    closing = re.search(rf"^[ \t]*{opening[1]}", message[opening.end() :], re.MULTILINE)
    end = opening.end() + closing.start() if closing else len(message)
    return parse_result(message[opening.end() : end].strip())


def _unnamed(message: str) -> Result | None:
    """The result that a message ends with in a fence of another name, or in none: a no without a name is no yes."""
    text = message.rstrip().rstrip("`~").rstrip()
    raw = text[text.find("\n{") + 1 :]
    try:
        found = json.loads(raw) if raw.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("status") not in _STATUSES or found.keys().isdisjoint(_TOLD):
        return None
    return parse_result(raw)


def parse_result(raw: bytes | str) -> Result:
    """The result in `raw` (JSON). Raises ValueError with the reason if it is none."""
    if len(raw) > MAX_RESULT:
        raise ValueError(f"the result has {len(raw)} bytes, at most {MAX_RESULT}")
    try:
        return Result.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
