"""An emergency stop while the lead changes: who was deposed asks nobody any more, who leads next asks for the rest."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from sqlalchemy import select

from pilothouse_server.adapters.sql.stop_store import SqlStops
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.domain.commands import Capability, Executor, Scope
from pilothouse_server.domain.errors import LeaseLost
from pilothouse_server.domain.stops import Stage
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.stop_runner import StopRunner
from pilothouse_server.services.stops import EmergencyStops, StopRequest
from tests.several.conftest import Replica
from tests.support import wait_until

Pair = tuple[Replica, Replica]
MANY = [f"w{number:03}" for number in range(300)]


async def runner(replica: Replica) -> StopRunner:
    """What carries stops out, where the lead is from now on."""
    return StopRunner(
        SqlStops(await replica.reign()),
        replica.clock,
        changes=Changes(),
        signals=replica.signals,
        new_id=uuid7,
    )


async def press(replica: Replica) -> None:
    """An engine that can pause is there, much runs, and somebody stops it."""
    able = [Capability(Action.PAUSE), Capability(Action.PAUSE, Scope.FLEET)]
    executor = Executor("e", tuple(able), connected=True)
    await replica.store.write(lambda transaction: transaction.put_executor(executor))
    await replica.begin(*MANY)
    store = SqlStops(replica.database)
    stops = EmergencyStops(
        store,
        store.follow,
        replica.clock,
        changes=Changes(),
        told=replica.signals.notify,
        new_id=uuid7,
    )
    await stops.start(
        StopRequest("ana", "fire", stage=Stage.PAUSE_ALL, confirmation=Stage.PAUSE_ALL.confirmation)
    )


async def asked(replica: Replica) -> Counter[str]:
    """How often each target was asked."""
    rows = await replica.database.read(
        lambda c: c.execute(select(COMMANDS.c.target)).scalars().all()
    )
    return Counter(rows)


async def test_a_deposed_lead_asks_nobody_and_the_next_asks_for_the_rest(pair: Pair) -> None:
    one, other = pair
    await press(one)
    frozen = await runner(one)
    leads = await runner(other)
    with pytest.raises(LeaseLost):
        await frozen.look()
    assert not await asked(one)
    while await leads.look():
        pass
    assert await asked(other) == Counter(["/", *MANY])


async def test_whoever_takes_over_in_the_middle_asks_each_once(pair: Pair) -> None:
    one, other = pair
    await press(one)
    first = await runner(one)
    carrying = asyncio.create_task(first.look())
    await wait_until(lambda: asked(other), what="the first commands")
    leads = await runner(other)
    # It may have asked for everything by then.
    with suppress(LeaseLost):
        await carrying
    while await leads.look():
        pass
    assert await asked(other) == Counter(["/", *MANY])
