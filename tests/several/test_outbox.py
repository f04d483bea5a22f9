"""From an outbox that several replicas write into, by whichever relay leads: all of it, and each event counted once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, func, select

from pilothouse_server.adapters.intake import SingleIntake
from pilothouse_server.adapters.sql import outbox_store
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.fencing import FencedDatabase
from pilothouse_server.adapters.sql.outbox_store import SqlOutbox
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.errors import LeaseLost
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.services.relay import Relay
from pilothouse_server.wire.events import decode_events, encode_events
from tests.several.conftest import Replica
from tests.support import wait_until

T = TypeVar("T")


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    yield log
    await log.close()


def relay_of(replica: Replica, database: Database, log: SqliteLog) -> Relay:
    return Relay(
        SqlOutbox(database), SingleIntake(log), encode_events, replica.clock, replica.signals.outbox
    )


class Frozen(FencedDatabase):
    """A tenure whose process stands still before each write, until another replica leads."""

    def __init__(self, tenure: FencedDatabase, heir: Replica) -> None:
        self.__dict__.update(vars(tenure))
        self._heir = heir

    async def write(self, run: Callable[[Connection], T], *, beside: bool = False) -> T:
        await self._heir.reign()
        return await super().write(run, beside=beside)


def told(name: str) -> Event:
    return Event(id=name, type=EventType.LOG, occur_us=1, receive_us=1, source="pilothouse")


async def ids_in(log: SqliteLog) -> list[str]:
    entries = await log.read("", limit=1000)
    return [event.id for entry in entries for event in decode_events(entry.payload)]


async def test_what_commits_late_under_a_smaller_position_is_published_too(
    replicas: Callable[[str], Replica], log: SqliteLog
) -> None:
    one, other = replicas("one"), replicas("other")
    added, may_commit = threading.Event(), threading.Event()

    def slowly(connection: Connection) -> None:
        outbox_store.add(connection, [told("early")])
        added.set()
        assert may_commit.wait(30)

    slow = asyncio.create_task(one.database.write(slowly, beside=True))
    assert await asyncio.to_thread(added.wait, 30)
    await other.database.write(
        lambda connection: outbox_store.add(connection, [told("late")]), beside=True
    )
    relay = relay_of(other, other.database, log)
    assert await relay.publish_some() == 1
    assert await ids_in(log) == ["late"]
    may_commit.set()
    await slow
    assert await relay.publish_some() == 1
    assert await ids_in(log) == ["late", "early"]
    assert await one.told() == []


async def test_a_relay_frozen_between_log_and_outbox_repeats_what_nobody_counts_twice(
    pair: tuple[Replica, Replica], log: SqliteLog
) -> None:
    one, other = pair
    names = [f"e{n}" for n in range(50)]
    await one.database.write(lambda c: outbox_store.add(c, [told(name) for name in names]))
    tenure = await one.reign()
    frozen = relay_of(one, Frozen(tenure, other), log)
    with pytest.raises(LeaseLost):
        await frozen.run()
    assert await one.told() == names, "nothing was removed"
    await relay_of(other, other.database, log).publish_some()
    assert await one.told() == []
    assert await ids_in(log) == names * 2
    for at, entry in enumerate(await log.read("", limit=10)):
        await other.project(0, at, *decode_events(entry.payload))
    stored = await one.database.read(
        lambda c: c.execute(select(func.count()).select_from(EVENTS)).scalar_one()
    )
    assert stored == len(names)


async def test_the_relay_is_woken_by_what_another_replica_did(
    pair: tuple[Replica, Replica], log: SqliteLog
) -> None:
    one, other = pair
    running = asyncio.create_task(relay_of(one, await one.reign(), log).run())
    await other.database.write(lambda c: outbox_store.add(c, [told("x")]), beside=True)
    other.signals.notify()

    async def published() -> bool:
        return await ids_in(log) == ["x"]

    await wait_until(published, what="the event to be published")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
