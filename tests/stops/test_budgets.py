"""A budget and an emergency stop on the same workflow: each lets go only what it stopped itself."""

from __future__ import annotations

import pytest

from pilothouse_server.adapters.sql.budget_store import SqlBudgets
from pilothouse_server.adapters.sql.keeper_store import SqlKeeper
from pilothouse_server.domain.budgets import Budget, Ceilings, Scope
from pilothouse_server.domain.events import EventType, Usage
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.budget_keeper import BudgetKeeper
from pilothouse_server.services.budgets import Budgets, Edit
from pilothouse_server.services.ids import uuid7
from tests.stops.conftest import Fleet


@pytest.fixture
async def keeper(fleet: Fleet) -> BudgetKeeper:
    """Workflow w runs, and may use ten tokens."""
    await fleet.works("w")
    ceiling = Budget("", "b", Scope.RUN, Ceilings(tokens=10), pause=True, enabled=True)
    await Budgets(SqlBudgets(fleet.database), fleet.clock, uuid7).create(ceiling, Edit("ana"))
    return BudgetKeeper(SqlKeeper(fleet.database), fleet.clock, fleet.signals, PlatformConfig)


async def overspend(fleet: Fleet, keeper: BudgetKeeper) -> None:
    await fleet.told(EventType.LOG, workflow_id="w", usage=Usage(100))
    await keeper.look()


async def test_what_overspent_while_a_stop_held_it_is_paused_when_it_goes_on(
    fleet: Fleet, keeper: BudgetKeeper
) -> None:
    stop = await fleet.stop()
    await fleet.all_obey()
    await overspend(fleet, keeper)
    assert await fleet.pending() == []
    await fleet.release(stop)
    await fleet.all_obey()
    assert await fleet.states() == {"w": "RUNNING"}
    await keeper.look()
    await fleet.obey()
    assert await fleet.states() == {"w": "PAUSED"}
    await fleet.ask(Action.RESUME, "w")
    await fleet.obey()
    await keeper.look()
    assert await fleet.pending() == []


async def test_a_release_leaves_paused_what_a_budget_paused(
    fleet: Fleet, keeper: BudgetKeeper
) -> None:
    await overspend(fleet, keeper)
    stop = await fleet.stop()
    await fleet.all_obey()
    assert (await fleet.targets(stop))["w"] == "WAS_SO"
    await fleet.release(stop)
    await fleet.all_obey()
    assert await fleet.states() == {"w": "PAUSED"}
