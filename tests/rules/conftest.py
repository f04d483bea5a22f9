"""A rulebook on a real database of each kind."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.rule_store import SqlRules
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.services.alerts.rulebook import Edit, Rulebook
from pilothouse_server.services.fanout import Changes

ADA = Edit("ada", "because")


@dataclass
class SetClock(SystemClock):
    """A wall that tests move."""

    us: int = 1_000_000_000

    def now_us(self) -> int:
        return self.us


@dataclass
class Shelf:
    """A rulebook, and what is in it."""

    database: Database
    clock: SetClock
    changes: Changes
    store: SqlRules
    book: Rulebook

    async def every(self) -> list[Rule]:
        return list(await self.store.look(lambda tx: tx.every()))

    async def ids(self) -> list[str]:
        return [rule.id for rule in await self.every()]


@pytest.fixture
def shelf(database: Database) -> Shelf:
    clock, changes, store = SetClock(), Changes(), SqlRules(database)
    return Shelf(database, clock, changes, store, Rulebook(store, clock, changes))
