"""Nothing of a tenure is kept once the next has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import Connection, text

from pilothouse_server.adapters.postgres_leases import PostgresLeases
from pilothouse_server.adapters.sql.fencing import FencedDatabase
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.domain.errors import LeaseLost
from pilothouse_server.ports import Fence
from tests.replicas.conftest import Start
from tests.support import wait_until


@pytest.fixture
async def database(lease_url: str) -> AsyncIterator[PostgresDatabase]:
    """A database with a table to write to."""
    database = PostgresDatabase(lease_url)
    await database.write(lambda c: c.execute(text("CREATE TABLE notes (note text)")))
    yield database
    await database.close()


def note(words: str) -> Callable[[Connection], None]:
    def run(connection: Connection) -> None:
        connection.execute(text("INSERT INTO notes VALUES (:words)"), {"words": words})

    return run


async def notes(database: PostgresDatabase) -> list[str]:
    return await database.read(
        lambda c: list(c.execute(text("SELECT note FROM notes ORDER BY 1")).scalars())
    )


@pytest.mark.parametrize("beside", [False, True])
async def test_a_tenure_that_is_over_writes_nothing(
    replicas: Start, database: PostgresDatabase, beside: bool
) -> None:
    one, two = replicas("one"), replicas("two")
    async with one.hold("shard-0") as tenure:
        old = FencedDatabase(database, tenure.fence)
        await old.write(note("in time"), beside=beside)
    async with two.hold("shard-0") as tenure:
        with pytest.raises(LeaseLost):
            await old.write(note("too late"), beside=beside)
        await FencedDatabase(database, tenure.fence).write(note("new"), beside=beside)

    assert await notes(database) == ["in time", "new"]


async def test_the_next_tenure_begins_when_the_transactions_of_the_one_before_have_ended(
    replicas: Start, database: PostgresDatabase
) -> None:
    one, two = replicas("one"), replicas("two")
    async with one.hold("shard-0") as tenure:
        old = FencedDatabase(database, tenure.fence)
    async with two.hold("shard-0") as tenure:
        fence = tenure.fence
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(connection: Connection) -> None:
        note("slow")(connection)
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)

    writing = asyncio.create_task(FencedDatabase(database, fence).write(slow, beside=True))
    await begun.wait()
    waiting = asyncio.create_task(_hold(one))
    await wait_until(lambda: len(one.replicas) == 2)
    assert not waiting.done()
    go_on.set()
    await writing
    after = await waiting

    assert after.epoch > fence.epoch
    assert await notes(database) == ["slow"]
    with pytest.raises(LeaseLost):
        await old.write(note("too late"))


async def _hold(leases: PostgresLeases) -> Fence:
    async with leases.hold("shard-0") as tenure:
        return tenure.fence
