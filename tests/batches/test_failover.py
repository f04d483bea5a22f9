"""Who leads no longer gives no turn, and whoever leads next goes on where the batch stands."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, update

from pilothouse_server.adapters.sql.batch_store import SqlBatches
from pilothouse_server.adapters.sql.fencing import FencedDatabase
from pilothouse_server.adapters.sql.tables_leases import LEASES
from pilothouse_server.domain.errors import LeaseLost
from pilothouse_server.ports import Fence
from pilothouse_server.services.batch_runner import BatchRunner
from pilothouse_server.services.ids import uuid7
from tests.batches.conftest import Yard


def lead(yard: Yard, epoch: int) -> BatchRunner:
    """What gives turns in one tenure."""
    database = FencedDatabase(yard.database, Fence("shard-0", epoch))
    store = SqlBatches(database, yard.clock)
    return BatchRunner(store, yard.clock, yard.signals, yard.changes, new_id=uuid7)


async def test_a_lead_that_was_deposed_in_the_middle_gives_no_turn_more(yard: Yard) -> None:
    blanks = {column.name: 0 for column in LEASES.columns if not column.nullable}
    row = blanks | {"name": "shard-0", "holder": "a", "epoch": 1}
    await yard.database.write(lambda c: c.execute(insert(LEASES).values(row)).close())
    await yard.run_many(6)
    batch = await yard.make(rate=4)
    await yard.start(batch)
    first, second = lead(yard, 1), lead(yard, 2)
    for _ in range(2):
        await first.look()
        yard.step(0.25)
    await yard.database.write(lambda c: c.execute(update(LEASES).values(epoch=2)).close())

    with pytest.raises(LeaseLost):
        await first.look()
    assert len(await yard.commands()) == 2
    await second.look()
    assert len(await yard.commands()) == 2, "the new lead has saved nothing up"
    for _ in range(4):
        yard.step(0.25)
        await second.look()

    commands = await yard.commands()
    assert [each.workflow_id for each in commands] == [f"w0000{n}" for n in range(6)]
    assert await yard.counts(batch) == {"PENDING": 6}
