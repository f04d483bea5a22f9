"""A real database with the projector on it, and control as the server assembles it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.closing_store import SqlClosing
from pilothouse_server.adapters.sql.command_store import SqlCommands, settling
from pilothouse_server.adapters.sql.outbox_store import oldest
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.usage_rows import noting
from pilothouse_server.domain.commands import Capability, Command, Executor
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.workflows import Action
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.closing import Closer
from pilothouse_server.services.control import Control, ControlRequest, ControlSignals
from pilothouse_server.services.executors import Executors
from pilothouse_server.services.ids import uuid7
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.control.build import SECOND, event
from tests.databases import Place, open_database


@dataclass
class SetClock(SystemClock):
    """A wall that tests move; sleeping takes real time."""

    us: int = 1000 * SECOND

    def now_us(self) -> int:
        return self.us


@dataclass
class Plant:
    """The part of a server that commands run through."""

    place: Place
    clock: SetClock
    signals: ControlSignals = field(default_factory=ControlSignals)
    configured: PlatformConfig = field(default_factory=PlatformConfig)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Starts on what is in the database."""
        self.database = open_database(self.place)
        self.store = SqlCommands(self.database)
        self.control = Control(self.store, self.clock, self.signals, uuid7)
        self.closer = Closer(SqlClosing(self.database), self.clock, self.signals, uuid7)
        self.executors = Executors(
            self.store, self.clock, self.signals, heartbeat=0.05, configured=lambda: self.configured
        )
        self.projection = SqlProjectionStore(self.database, decode_stored, [settling(), noting()])
        self._cursors = itertools.count(1)

    async def restart(self) -> None:
        """Closes and starts again."""
        await self.database.close()
        self.open()
        await self.executors.start(alone=True)

    async def report(self, *events: Event) -> None:
        """What the projector does with an entry of the log, and how it tells of it."""
        payload = encode_events([*events])
        await self.projection.apply([LogEntry(str(next(self._cursors)), payload)])
        self.signals.notify()

    async def register(self, actions: Iterable[Action] = tuple(Action), source: str = "e") -> None:
        """An engine that declared what it can do."""
        executor = Executor(source, tuple(Capability(action) for action in actions))
        await self.store.write(lambda transaction: transaction.put_executor(executor))

    async def begin(
        self, workflow_id: str = "w", kind: EventType = EventType.WORKFLOW_STARTED
    ) -> None:
        """A workflow of engine e."""
        now_us = self.clock.us - 10 * SECOND
        await self.report(
            event(
                kind,
                id=f"{workflow_id}-begin-{kind.name}",
                workflow_id=workflow_id,
                occur_us=now_us,
                receive_us=now_us,
            )
        )

    async def ask(self, action: Action, workflow_id: str = "w", **fields: Any) -> Command:
        """A request of somebody."""
        return await self.control.request(ControlRequest(workflow_id, action, **fields))

    async def said(self) -> list[str]:
        """The ids of the events that wait for the log, the command's own id cut off."""
        parcels = await self.database.read(lambda connection: oldest(connection, 1000))
        return [parcel.event.id.rpartition(":")[2] for parcel in parcels]


@pytest.fixture
async def plant(place: Place) -> AsyncIterator[Plant]:
    """Workflow w of engine e runs, and the engine can do everything."""
    plant = Plant(place, SetClock())
    await plant.register()
    await plant.begin()
    yield plant
    await plant.database.close()
