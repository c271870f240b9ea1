"""The arithmetic of budgets: what steps used, what is left of each budget, and which one is the narrowest. Pure.

Money that a client did not name is unknown and counts as nothing here: it is never guessed. Tokens are those in and out.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kin.model.record import StepRecord

UNITS = ("usd", "minutes", "tokens")


class Used(NamedTuple):
    """What was used up, or what somebody keeps for a step that runs."""

    usd: float = 0.0
    minutes: float = 0.0
    tokens: float = 0.0

    def __add__(self, other: tuple[float, ...]) -> "Used":  # type: ignore[override]
        return Used(*(mine + more for mine, more in zip(self, other, strict=True)))


class Cap(NamedTuple):
    """A budget: of what (`scope`), in what (`unit`), how much it is and how much of that is used."""

    scope: str
    unit: str
    limit: float
    used: float

    @property
    def left(self) -> float:
        return max(self.limit - self.used, 0.0)

    def __str__(self) -> str:
        amount = f"{self.limit:g} USD" if self.unit == "usd" else f"{self.limit:,.0f} tokens"
        if self.unit == "minutes":
            amount = f"{self.limit:g} minutes"
        return f"the {self.scope}'s {amount}"


def used_by(steps: Iterable[StepRecord]) -> Used:
    """What these steps used, in all their rounds and attempts."""
    total = Used()
    for step in steps:
        total += Used(step.cost_usd or 0.0, (step.seconds or 0.0) / 60, tokens_of(step.tokens))
    return total


def tokens_of(tokens: Mapping[str, int] | None) -> int:
    """Tokens in and out of a record's `tokens`."""
    return sum((tokens or {}).get(key, 0) for key in ("in", "out"))


def added(old: Mapping[str, int] | None, new: Mapping[str, int] | None) -> dict[str, int] | None:
    """The tokens of two passages of one step together; None if nobody told any."""
    one, other = old or {}, new or {}
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}} or None


def narrowest(budgets: Mapping[str, Mapping[str, float | None]], used: Mapping[str, Used]) -> dict[str, Cap]:
    """By unit the cap that leaves least; `budgets` and `used` are by scope."""
    found: dict[str, Cap] = {}
    for scope, budget in budgets.items():
        for unit in UNITS:
            if (limit := budget.get(unit)) is not None:
                cap = Cap(scope, unit, limit, getattr(used.get(scope, Used()), unit))
                if unit not in found or cap.left < found[unit].left:
                    found[unit] = cap
    return found


def passed(caps: Mapping[str, Cap], now: Used) -> Cap | None:
    """The first cap that a step which has used `now` is beyond, or None. What is used to the last cent is not beyond it."""
    return next((cap for unit, cap in caps.items() if getattr(now, unit) > cap.left), None)


def exhausted(caps: Mapping[str, Cap]) -> Cap | None:
    """The first cap of which nothing is left: no step may start on it."""
    return next((cap for cap in caps.values() if cap.left <= 0), None)


def read_amounts(text: str) -> dict[str, float]:
    """`10` (USD), `tokens=50000`, `usd=3,minutes=20` as amounts by unit. Raises ValueError."""
    found: dict[str, float] = {}
    for part in text.split(","):
        unit, _, amount = part.rpartition("=")
        unit = unit.strip() or "usd"
        if unit not in UNITS:
            raise ValueError(f"'{unit}' is no unit of a budget; one of {', '.join(UNITS)}")
        try:
            found[unit] = float(amount)
        except ValueError:
            raise ValueError(f"'{amount}' is no number") from None
        if not 0 < found[unit] < float("inf"):
            raise ValueError(f"a budget is more than nothing, not {amount}")
    return found
