"""A database into which events come, and what lets them be watched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_tail_rows import SqlEventTail
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.domain.events import Event
from pilothouse_server.ports import LogEntry, StoredEvent
from pilothouse_server.services.allowance import Allowance
from pilothouse_server.services.event_ring import TailLimits
from pilothouse_server.services.event_tail import EventTail, TailSource
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.views import PageRequest
from pilothouse_server.services.watch import CaughtUp, Items, Reset, Update, watch
from pilothouse_server.wire.events import decode_stored, encode_events, encode_stored
from tests.databases import Place, open_database


@dataclass
class Feed:
    """Events in and out; `tails` are followed for as long as they are open."""

    database: Database
    clock: SystemClock = field(default_factory=SystemClock)
    changes: Changes = field(default_factory=Changes)
    encoded: int = 0
    """How many times an event was encoded."""

    def __post_init__(self) -> None:
        self.store = SqlProjectionStore(self.database, decode_stored)
        self.views = SqlEventViews(self.database, self.clock)

    async def report(self, *events: Event) -> None:
        """Stores the events, and says so."""
        await self.store.apply([LogEntry("c", encode_events(events))])
        self.changes.notify()

    async def listed(self, filter_text: str = "") -> list[str]:
        """The ids that a list has, oldest first."""
        ids: list[str] = []
        token = ""
        while True:
            page = await self.views.page(PageRequest(500, token, filter_text), ascending=True)
            ids += [pb.Event.FromString(each.payload).id for each in page.events]
            token = page.next_token
            if not token:
                return ids

    def tail(self, limits: TailLimits | None = None, source: TailSource | None = None) -> EventTail:
        """One that nobody runs yet."""
        source = source or SqlEventTail(self.database)
        kept = limits or TailLimits()
        return EventTail(source, self.views, self.changes, self.clock, self._encode, limits=kept)

    def _encode(self, stored: StoredEvent) -> bytes:
        self.encoded += 1
        return encode_stored(stored)


@asynccontextmanager
async def running(tail: EventTail) -> AsyncGenerator[EventTail]:
    """The tail, followed."""
    task = asyncio.create_task(tail.run())
    try:
        yield tail
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def updates(
    tail: EventTail,
    filter_text: str = "",
    token: str = "",
    *,
    backlog: int = 0,
    allowance: Allowance | None = None,
) -> AsyncGenerator[Update[bytes]]:
    """A watch, as the server has it."""
    with tail.follow(filter_text, allowance) as follower:
        async for update in watch(follower, follower.changes, token, backlog=backlog):
            yield update


@dataclass
class Watcher:
    """What one watch was sent."""

    ids: list[str] = field(default_factory=list[str])
    skipped: int = 0
    resets: int = 0
    token: str = ""
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, stream: AsyncGenerator[Update[bytes]]) -> None:
        """Until it is cancelled."""
        async with aclosing(stream) as each:
            async for update in each:
                self.note(update)

    def note(self, update: Update[bytes]) -> None:
        match update:
            case Items(items=items, skipped=skipped):
                self.skipped += skipped
                for token, encoded in items:
                    (event,) = pb.EventBatch.FromString(encoded).events
                    self.ids.append(event.id)
                    self.token = token
            case CaughtUp(token=token):
                self.caught_up.set()
                self.token = token
            case Reset(token=token):
                self.resets += 1
                self.token = token
            case _:
                self.token = update.token


@pytest.fixture
async def feed(place: Place) -> AsyncIterator[Feed]:
    """Empty."""
    feed = Feed(open_database(place))
    yield feed
    await feed.database.close()
