"""The arithmetic of budgets: what is used adds up, the narrowest budget decides, and unknown money is never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import PROFILE

from kin.model.record import StepRecord
from kin.model.settings import Budget
from kin.model.spending import UNITS, Used, added, exhausted, narrowest, passed, read_amounts, used_by

SCOPES = ("step", "run", "task", "day")
AMOUNTS = st.floats(0, 1e6)
USED = st.builds(Used, AMOUNTS, AMOUNTS, AMOUNTS)
LIMITS = st.fixed_dictionaries({unit: st.none() | st.floats(0.01, 1e6) for unit in UNITS})
BUDGETS = st.dictionaries(st.sampled_from(SCOPES), LIMITS)
COUNTS = st.integers(0, 10**9)
TOKENS = st.none() | st.tuples(COUNTS, COUNTS).map(lambda both: dict(zip(("in", "out"), both, strict=True)))
STEPS = st.lists(
    st.tuples(AMOUNTS, TOKENS, st.none() | st.floats(0, 100)).map(
        lambda held: StepRecord("1-a", "a", **dict(zip(("seconds", "tokens", "cost_usd"), held, strict=True)))
    ),
    max_size=6,
)


@PROFILE
@given(BUDGETS, st.dictionaries(st.sampled_from(SCOPES), USED), USED)
def test_no_budget_is_passed_unnoticed(budgets: dict, used: dict, now: Used) -> None:
    caps = narrowest(budgets, used)
    for scope, budget in budgets.items():
        for unit in UNITS:
            if (limit := budget[unit]) is not None:
                before = getattr(used.get(scope, Used()), unit)
                assert caps[unit].left <= max(limit - before, 0)
                if before + getattr(now, unit) > limit and getattr(now, unit) > caps[unit].left:
                    assert passed(caps, now) is not None
                if before >= limit:
                    assert exhausted(caps) is not None
    assert set(caps) == {unit for budget in budgets.values() for unit in UNITS if budget[unit] is not None}
    assert all(cap.left >= 0 for cap in caps.values())


@PROFILE
@given(STEPS, STEPS)
def test_what_steps_used_adds_up(one: list[StepRecord], other: list[StepRecord]) -> None:
    assert used_by([*one, *other]) == pytest.approx(used_by(one) + used_by(other))
    assert used_by(s._replace(cost_usd=None) for s in one).usd == 0


@PROFILE
@given(TOKENS, TOKENS)
def test_tokens_of_two_rounds_are_counted_together(old: dict | None, new: dict | None) -> None:
    total = added(old, new)
    for name in ("in", "out"):
        assert (total or {}).get(name, 0) == (old or {}).get(name, 0) + (new or {}).get(name, 0)
    assert (total is None) == (not old and not new)


@pytest.mark.parametrize(
    ("text", "amounts"),
    [("10", {"usd": 10}), ("tokens=5e4", {"tokens": 50000}), ("usd=3, minutes=20", {"usd": 3, "minutes": 20})],
)
def test_a_budget_is_typed_in_dollars_or_by_unit(text: str, amounts: dict[str, float]) -> None:
    assert read_amounts(text) == amounts


@pytest.mark.parametrize("text", ["", "ten", "eur=3", "0", "-1", "inf", "nan", "tokens="])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"budget|number"):
        read_amounts(text)


def test_what_a_person_allows_stands_in_for_every_budget_of_that_unit() -> None:
    budget = Budget.model_validate({"usd": 1, "tokens": 5, "step": {"usd": 2, "minutes": 3}, "day": {"usd": 4}})
    scopes = budget.allowing({"usd": 10.0}).scopes()
    assert [scopes[scope]["usd"] for scope in SCOPES] == [None, 10.0, None, None]
    assert scopes["run"]["tokens"] == 5 and scopes["step"]["minutes"] == 3
