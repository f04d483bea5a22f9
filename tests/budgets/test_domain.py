"""Shares, rates and words, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse_server.domain.budgets import (
    Budget,
    BudgetState,
    Ceilings,
    Rate,
    Scope,
    Used,
    exceed_us,
    figures,
    from_document,
    share_of,
    state_of,
    to_document,
    validate,
)
from pilothouse_server.domain.errors import InvalidArgument

MINUTE, NOW = 60_000_000, 10**15


def budget(**fields: Any) -> Budget:
    given: dict[str, Any] = {"scope": Scope.RUN, "ceilings": Ceilings(1000, 2_000_000, 10 * MINUTE)}
    return Budget("b", "nightly", **(given | fields))


HOURLY = {"scope": Scope.TYPE, "window_us": 60 * MINUTE, "ceilings": Ceilings(6000)}


@pytest.mark.parametrize(
    ("used", "share", "state", "words"),
    [
        (Used(), 0.0, BudgetState.WITHIN, "(0%)"),
        (Used(790, 0, 0), 0.79, BudgetState.WITHIN, "790 of 1,000 tokens (79%)"),
        (Used(800), 0.8, BudgetState.WARNING, "800 of 1,000 tokens (80%)"),
        (Used(10, 1_900_000), 0.95, BudgetState.WARNING, "a cost of 1.90 of 2.00 (95%)"),
        (Used(0, 0, 10 * MINUTE), 1.0, BudgetState.EXCEEDED, "10 min of 10 min (100%)"),
        (Used(1500, 0, MINUTE), 1.5, BudgetState.EXCEEDED, "1,500 of 1,000 tokens (150%)"),
    ],
)
def test_the_largest_share_decides(
    used: Used, share: float, state: BudgetState, words: str
) -> None:
    assert share_of(budget().ceilings, used) == pytest.approx(share)
    assert state_of(budget(), share) == state
    assert words in figures(budget(), used)


@pytest.mark.parametrize(
    ("given", "used", "rate", "minutes"),
    [
        ({}, Used(500), Rate(100, 0, MINUTE), 5),
        ({}, Used(500, 0, 8 * MINUTE), Rate(100, 0, MINUTE), 2),  # time is first
        ({}, Used(500), None, None),
        ({}, Used(500), Rate(0, 0, MINUTE), None),
        ({}, Used(1000), Rate(100, 0, MINUTE), None),  # it is reached
        (HOURLY, Used(3000), Rate(500, 0, 5 * MINUTE), 30),
        (HOURLY, Used(3000), Rate(450, 0, 5 * MINUTE), None),  # as much slides out
        ({"ceilings": Ceilings(2**53 - 1)}, Used(1), Rate(1, 0, MINUTE), None),  # in aeons
    ],
)
def test_when_the_first_ceiling_is_reached(
    given: dict[str, Any], used: Used, rate: Rate | None, minutes: int | None
) -> None:
    expected = None if minutes is None else NOW + minutes * MINUTE
    assert exceed_us(budget(**given), used, rate, NOW, timed=True) == expected


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": " "}, "budget.name"),
        ({"name": "a\x00b"}, "budget.name"),
        ({"ceilings": Ceilings()}, "budget.ceilings"),
        ({"ceilings": Ceilings(tokens=2**53)}, "budget.ceilings.tokens"),
        ({"ceilings": Ceilings(cost_micros=2**60)}, "budget.ceilings.cost_micros"),
        ({"window_us": MINUTE}, "budget.window"),
        ({"scope": Scope.TYPE}, "budget.window"),
        (HOURLY | {"workflow_id": "w"}, "budget.workflow_id"),
        (HOURLY | {"ceilings": Ceilings(1, None, 1)}, "budget.ceilings.duration"),
    ],
)
def test_what_does_not_go_together_is_named(fields: dict[str, Any], field: str) -> None:
    name = fields.pop("name", "nightly") if "name" in fields else "nightly"
    given: dict[str, Any] = {"scope": Scope.RUN, "ceilings": Ceilings(1)}
    with pytest.raises(InvalidArgument) as refused:
        validate(Budget("b", name, **(given | fields)))
    assert refused.value.field == field


def test_a_budget_is_stored_whole() -> None:
    whole = budget(workflow_type="build", warn_share=0.5, pause=True, description="why", version=3)
    assert from_document(to_document(whole), id="b", name="nightly", version=3) == whole
