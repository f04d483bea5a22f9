"""A database of each kind with what the projector writes, and retention beside it, on a clock that tests set."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import JSON, Connection, Table, func, insert, select

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.agent_views import SqlAgentViews
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.retention_store import SqlRetention
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.events import Event
from pilothouse_server.ports import LogEntry, LogKeep
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.project import Applied
from pilothouse_server.services.retention import DAY_US, Policy, Retention
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.projection.build import NOON

NOTHING = Policy(
    events_us=0,
    events=0,
    workflows_us=0,
    commands_us=0,
    alerts_us=0,
    agents_us=0,
    executors_us=0,
    log=LogKeep(0, 0, 0),
)
"""Everything is kept."""


class SetClock(SystemClock):
    """A wall that tests move; sleeping takes real time."""

    us = NOON

    def now_us(self) -> int:
        return self.us

    def pass_days(self, days: float) -> None:
        """Puts it forward."""
        self.us += round(days * DAY_US)


@dataclass
class House:
    """What the projector writes, what people ask, and what is removed."""

    database: Database
    clock: SetClock = field(default_factory=SetClock)
    changes: Changes = field(default_factory=Changes)

    def __post_init__(self) -> None:
        self.projection = SqlProjectionStore(self.database, decode_stored)
        self.workflows = SqlWorkflowViews(self.database, self.clock)
        self.agents = SqlAgentViews(self.database, self.clock)
        self.events = SqlEventViews(self.database, self.clock)
        self.store = SqlRetention(self.database)
        self._cursors = itertools.count(1)

    async def report(self, *events: Event) -> Applied:
        """Folds the events in."""
        payload = encode_events(events)
        applied = await self.projection.apply([LogEntry(str(next(self._cursors)), payload)])
        self.changes.notify()
        return applied

    async def sweep(self, **kept: Any) -> Retention:
        """Removes what is older than that, or more, and keeps the rest."""
        retention = Retention(self.store, {}, self.clock, lambda: replace(NOTHING, **kept))
        await retention.sweep()
        return retention

    async def count(self, table: Table) -> int:
        """Rows of a table."""
        query = select(func.count()).select_from(table)
        return await self.database.read(lambda c: c.execute(query).scalar_one())

    async def add(self, table: Table, *rows: dict[str, Any]) -> None:
        """Rows as they are in the table, with what does not matter filled in."""
        blanks: dict[str, Any] = {}
        for column in table.columns:
            python: type[object] = (
                list if isinstance(column.type, JSON) else column.type.python_type
            )
            blanks[column.name] = None if column.nullable else python()

        def run(connection: Connection) -> None:
            connection.execute(insert(table), [blanks | row for row in rows])

        await self.database.write(run)

    async def names(self, table: Table) -> Sequence[str]:
        """The first key of every row of a table."""
        key = next(iter(table.primary_key.columns))
        query = select(key).order_by(key)
        return await self.database.read(lambda c: list(c.execute(query).scalars()))


@pytest.fixture
def house(database: Database) -> House:
    """Empty, at noon."""
    return House(database)
