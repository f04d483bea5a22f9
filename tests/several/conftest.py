"""Replicas of a server in one process, as far as alerts and commands go: each with its own connections, on one
PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import pytest
from sqlalchemy import Connection, insert, update

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.alert_desk_store import SqlAlertDesk
from pilothouse_server.adapters.sql.bell import Bell
from pilothouse_server.adapters.sql.command_store import SqlCommands, settling
from pilothouse_server.adapters.sql.fencing import FencedDatabase
from pilothouse_server.adapters.sql.outbox_store import oldest
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.tables_leases import LEASES
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.ports import Fence, LogEntry
from pilothouse_server.services.alerts.desk import AlertDesk
from pilothouse_server.services.control import Control, ControlSignals
from pilothouse_server.services.executors import Executors
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.support import wait_until


class Clock(SystemClock):
    """A wall that tests put forward."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


class Replica:
    """What lives as long as a server's process."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.clock = Clock()
        self.database = PostgresDatabase(url)
        self.projected, self.alerted, self.requests = Changes(), Changes(), Changes()
        self.rules = Changes()
        self.signals = ControlSignals(workflows=self.projected, outbox=self.projected)
        self.bell = Bell(
            url,
            {
                "commands": self.signals.commands,
                "projected": self.projected,
                "alerted": self.alerted,
                "alert-requests": self.requests,
                "rules": self.rules,
            },
        )
        self.store = SqlCommands(self.database)
        self.control = Control(self.store, self.clock, self.signals, uuid7)
        self.executors = Executors(
            self.store, self.clock, self.signals, replica=name, heartbeat=0.2
        )
        self.desk = AlertDesk(
            SqlAlertDesk(self.database), self.clock, self.requests, uuid7, patience=30
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self.bell.run())]
        await wait_until(
            lambda: self.bell.connections and not self.bell.waiting_for,
            within=30,
            what="the bell's connection",
        )

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.database.close()

    async def reign(self, name: str = "shard-0") -> FencedDatabase:
        """Takes the lease; from then on nothing is taken of whoever had it."""
        fence = await self.database.write(lambda connection: _next_tenure(connection, name))
        return FencedDatabase(self.database, fence)

    async def project(self, shard: int, cursor: int, *events: Event) -> None:
        """What the projector of a shard does with an entry of the log."""
        store = SqlProjectionStore(self.database, decode_stored, [settling()], shard=shard)
        await store.apply([LogEntry(str(cursor), encode_events(list(events)))])
        self.projected.notify()

    async def begin(self, *workflow_ids: str, source: str = "e") -> None:
        """Workflows that run."""
        now_us = self.clock.now_us()
        events = [
            Event(
                id=f"{name}-begin",
                type=EventType.WORKFLOW_STARTED,
                occur_us=now_us - 1_000_000,
                receive_us=now_us,
                source=source,
                workflow_id=name,
                attempt=1,
            )
            for name in workflow_ids
        ]
        await self.project(0, now_us, *events)

    async def told(self) -> list[str]:
        """The ids of the events that wait for the log."""
        parcels = await self.database.read(lambda connection: oldest(connection, 10_000))
        return [parcel.event.id for parcel in parcels]


def _next_tenure(connection: Connection, name: str) -> Fence:
    raised = (
        update(LEASES)
        .where(LEASES.c.name == name)
        .values(epoch=LEASES.c.epoch + 1)
        .returning(LEASES.c.epoch)
    )
    epoch = connection.execute(raised).scalar()
    if epoch is None:
        epoch = 1
        row = {"name": name, "epoch": epoch, "holder": "test", "acquire_us": 0}
        connection.execute(insert(LEASES).values(row))
    return Fence(name, epoch)


@pytest.fixture
async def replicas(postgres_place: str) -> AsyncIterator[Callable[[str], Replica]]:
    """Makes replicas on one database; `start` them to be woken by each other."""
    async with AsyncExitStack() as stack:

        def make(name: str) -> Replica:
            replica = Replica(name, postgres_place)
            stack.push_async_callback(replica.close)
            return replica

        yield make


@pytest.fixture
async def pair(replicas: Callable[[str], Replica]) -> tuple[Replica, Replica]:
    """Two that hear each other."""
    one, other = replicas("one"), replicas("other")
    await one.start()
    await other.start()
    return one, other
