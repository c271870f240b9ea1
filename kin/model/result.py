"""What a step answers: the JSON that a model ends its message with and a command writes to `$KIN_RESULT`.

The one form for both is the contract's (docs/reference.md, "Results"). It comes from outside, so pydantic checks it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

__all__ = ["MAX_RESULT", "Item", "Result", "parse_result"]

MAX_RESULT = 1 << 20
"""Bytes of a result; a longer one is malformed."""


def _as_items(value: Any) -> Any:
    values = [] if value is None else value if isinstance(value, list) else [value]
    return [{"what": v} if isinstance(v, str) else v for v in values]


class Item(BaseModel):
    """One thing to change: where, and what."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    what: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file or ""
        return f"{place}: {self.what}" if place else self.what


class Result(BaseModel):
    """A step's answer. Unknown keys are let through: a model that says more than asked has still answered."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: Literal["done", "changes_requested", "blocked", "failed"] = "done"
    summary: str = ""
    back_to: str | None = None
    items: Annotated[tuple[Item, ...], BeforeValidator(_as_items)] = ()
    question: str | None = None
    decisions: list[dict[str, Any]] = Field(default_factory=list)
    tasks: list[dict[str, Any]] = Field(default_factory=list)
    plan: list[Any] = Field(default_factory=list)


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
