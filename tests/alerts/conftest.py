"""The alert engine on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, delete

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import rule_store
from pilothouse_server.adapters.sql.alert_store import SqlAlerts
from pilothouse_server.adapters.sql.control_queries import SqlControlQueries
from pilothouse_server.adapters.sql.outbox_store import oldest
from pilothouse_server.adapters.sql.tables_control import ALERT_RULE_VERSIONS, ALERT_RULES
from pilothouse_server.domain.alerts.observing import HeartbeatDue
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.metrics.snapshot import MetricsSnapshot
from pilothouse_server.services.alerts.book import Suppressor
from pilothouse_server.services.alerts.engine import AlertEngine
from pilothouse_server.services.alerts.journal import AlertBatch, AlertJournal, Restored
from pilothouse_server.services.alerts.limits import AlertLimits
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.views import PageRequest
from tests.alerts.build import SECOND, T0, depth
from tests.databases import Place, open_database

UNHURRIED = AlertLimits(rule_ns=1 << 62, slot_ns=1 << 62)
"""However slow the machine is, every rule and every instance has its turn in each slot."""


@dataclass
class SetClock(SystemClock):
    """A wall that tests move."""

    us: int = T0

    def now_us(self) -> int:
        return self.us


class RuledAlerts(SqlAlerts):
    """The real store, told which rules ship, and able to refuse."""

    rules: Sequence[Rule] = ()
    refuse = 0

    async def restore(self, shipped: Sequence[Rule]) -> Restored:
        return await super().restore(self.rules or shipped)

    async def save(self, batch: AlertBatch) -> None:
        if self.refuse:
            self.refuse -= 1
            raise Unavailable("database", "the disk is full")
        await super().save(batch)


@dataclass
class Watchtower:
    """The part of a server that alerts run through. One slot is one second."""

    place: Place
    rules: Sequence[Rule] = ()
    limits: AlertLimits = UNHURRIED
    clock: SetClock = field(default_factory=SetClock)
    changes: Changes = field(default_factory=Changes)
    outbox: Changes = field(default_factory=Changes)
    suppressor: Suppressor | None = None
    published: bool = False
    due: list[HeartbeatDue] = field(default_factory=list[HeartbeatDue])
    """The heartbeats that are waited for."""

    async def open(self) -> None:
        """Starts on what is in the database."""
        self.database = open_database(self.place)
        self.store = RuledAlerts(self.database, published=self.published)
        self.store.rules = self.rules
        self.queries = SqlControlQueries(self.database, self.clock)
        self.journal = AlertJournal(self.store, self.clock, self.changes, self.outbox)
        self.engine = AlertEngine(
            self.store,
            self.journal,
            self.clock,
            uuid7,
            limits=self.limits,
            suppressor=self.suppressor,
            heartbeats=lambda: self.due,
        )
        await self.engine.start()

    async def restart(self, *, down: int = 0) -> None:
        """Is killed, and starts again after so many seconds."""
        await self.database.close()
        self.clock.us += down * SECOND
        await self.open()

    async def restart_with(self, *rules: Rule) -> None:
        """The same, and meanwhile these became the rules."""
        self.store.rules = ()
        await self.database.write(lambda connection: _become(connection, rules))
        await self.restart()

    async def tick(
        self, snapshot: MetricsSnapshot | int, *, seconds: int = 1, save: bool = True
    ) -> None:
        """One slot later; a number is a queue depth."""
        self.clock.us += seconds * SECOND
        shown = depth(snapshot) if isinstance(snapshot, int) else snapshot
        self.engine.tick(shown, self.clock.us)
        if save:
            await self.journal.flush()

    async def alerts(self, filter_text: str = "") -> list[Alert]:
        """All that a list shows, newest first."""
        page = await self.queries.alerts(PageRequest(500, filter=filter_text))
        return list(page.items)

    async def states(self) -> list[str]:
        """Where each of them stands."""
        return [alert.instance.state.name for alert in await self.alerts()]

    async def told(self) -> list[str]:
        """The types of the events that wait for the log."""
        parcels = await self.database.read(lambda connection: oldest(connection, 1000))
        return [parcel.event.id.rpartition(":")[2] for parcel in parcels]

    async def path_of(self, alert: Alert) -> list[str]:
        """The steps of its life."""
        _, steps = await self.queries.alert_with_steps(alert.id)
        assert [step.position for step in steps] == list(range(len(steps)))
        return [AlertState(step.to_state).name for step in steps]


def _become(connection: Connection, rules: Sequence[Rule]) -> None:
    connection.execute(delete(ALERT_RULES))
    connection.execute(delete(ALERT_RULE_VERSIONS))
    rule_store.ship(connection, rules)


@pytest.fixture
async def towers(place: Place) -> AsyncIterator[Callable[..., Watchtower]]:
    """Makes a watchtower with these rules; `open` it."""
    made: list[Watchtower] = []

    def make(*rules: Rule, limits: AlertLimits | None = None) -> Watchtower:
        made.append(Watchtower(place, rules, limits or UNHURRIED))
        return made[-1]

    yield make
    for tower in made:
        await tower.database.close()
