"""A life on each database, and backtests of what it left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.services.alerts.limits import AlertLimits
from tests.alerts.conftest import Watchtower
from tests.backtest.life import Life
from tests.databases import Place

Lives = Callable[[Sequence[Rule]], Life]


@pytest.fixture
async def lives(place: Place) -> AsyncIterator[Lives]:
    """Makes a life under these rules; `begin` it."""
    made: list[Life] = []

    def make(rules: Sequence[Rule]) -> Life:
        # However slow the machine is, every instance has its turn in each slot.
        unhurried = AlertLimits(rule_ns=1 << 62, slot_ns=1 << 62)
        made.append(Life(Watchtower(place, rules, unhurried)))
        return made[-1]

    yield make
    for life in made:
        await life.tower.database.close()
