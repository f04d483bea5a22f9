"""The plant of the tests of control with budgets: the desk where they are made, the duty that holds runs to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from pilothouse_server.adapters.sql.budget_store import SqlBudgets
from pilothouse_server.adapters.sql.keeper_store import SqlKeeper
from pilothouse_server.adapters.sql.outbox_store import oldest
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.domain.budgets import Budget, Ceilings, Scope, Use
from pilothouse_server.domain.events import Event, EventType, Usage
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.services.budget_keeper import BudgetKeeper
from pilothouse_server.services.budgets import Budgets, Edit
from pilothouse_server.services.ids import uuid7
from tests.control.build import SECOND, event
from tests.control.conftest import Plant, SetClock, plant

__all__ = ["Plant", "SetClock", "plant"]

ANA = Edit("ana", "the month is short")


@dataclass
class Treasury:
    """Budgets of one plant."""

    plant: Plant

    def __post_init__(self) -> None:
        self.budgets = Budgets(SqlBudgets(self.plant.database), self.plant.clock, uuid7)
        self.keeper = self.elected()

    def elected(self) -> BudgetKeeper:
        """A lead that has just begun."""
        store = SqlKeeper(self.plant.database)
        return BudgetKeeper(store, self.plant.clock, self.plant.signals, PlatformConfig)

    async def make(self, name: str = "tokens", **fields: Any) -> Budget:
        """A budget of 100 tokens a run that pauses, unless stated."""
        given: dict[str, Any] = {
            "scope": Scope.RUN,
            "ceilings": Ceilings(tokens=100),
            "pause": True,
            "enabled": True,
        }
        wanted = Budget("", name, **(given | fields))
        return (await self.budgets.create(wanted, ANA)).budget

    async def use(
        self, tokens: int, workflow_id: str = "w", kind: EventType = EventType.LOG, **fields: Any
    ) -> Event:
        """An event of engine e that used tokens, now."""
        return await self.say(kind, workflow_id=workflow_id, usage=Usage(tokens), **fields)

    async def say(self, kind: EventType, **fields: Any) -> Event:
        """An event of engine e, now."""
        clock = self.plant.clock
        clock.us += SECOND
        given = {"occur_us": clock.us, "receive_us": clock.us, "id": f"{clock.us}", "attempt": 0}
        said = event(kind, **(given | fields))
        await self.plant.report(said)
        return said

    async def told(self) -> list[str]:
        """What budgets said in the outbox."""
        parcels = await self.plant.database.read(lambda c: oldest(c, 1000))
        return [
            f"{parcel.event.message}"
            for parcel in parcels
            if parcel.event.type in (EventType.BUDGET_WARNING, EventType.BUDGET_EXCEEDED)
        ]

    async def asked(self) -> list[tuple[str, str, str, int]]:
        """The commands: (workflow, actor, reason, state)."""
        query = select(COMMANDS).order_by(COMMANDS.c.sequence)
        rows = await self.plant.database.read(lambda c: c.execute(query).all())
        return [(row.workflow_id, row.actor, row.reason, row.state) for row in rows]

    async def uses(self, budget: Budget) -> list[Use]:
        """Where things stand."""
        return list((await self.budgets.get(budget.id)).uses)


@pytest.fixture
async def treasury(plant: Plant) -> Treasury:
    plant.clock.us += 10 * SECOND
    return Treasury(plant)
