"""A life on each database, and backtests of what it left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from pilothouse_server.domain.alerts.rules import Rule
from tests.alerts.conftest import Watchtower
from tests.backtest.life import Life
from tests.databases import Place

Lives = Callable[[Sequence[Rule]], Life]


@pytest.fixture
async def lives(place: Place) -> AsyncIterator[Lives]:
    """Makes a life under these rules; `begin` it."""
    made: list[Life] = []

    def make(rules: Sequence[Rule]) -> Life:
        made.append(Life(Watchtower(place, rules)))
        return made[-1]

    yield make
    for life in made:
        await life.tower.database.close()
