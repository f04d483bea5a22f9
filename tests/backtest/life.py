"""A life of a server, hours in a second: the fold, its checkpoints and the alert engine on a clock that is set.

All parts are the real ones; only who calls them when is the test's to say. The engine judges at the last slot of a
bucket, so that what it sees is what history keeps of the bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from sqlalchemy import select

from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.tables_control import ALERTS
from pilothouse_server.domain.alerts.backtest import WouldBe
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.words import AlertKind
from pilothouse_server.domain.events import Event
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.gauges import GaugeTable
from pilothouse_server.domain.metrics.limits import BUCKET_US
from pilothouse_server.domain.metrics.snapshot import FiringAlerts
from pilothouse_server.domain.metrics.summary import Moment, SnapshotMaker
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.metrics_keeper import MetricsKeeper, paced
from pilothouse_server.wire.events import decode_signals, decode_stored, encode_events
from tests.alerts.conftest import Watchtower

SECOND = 1_000_000
BEGIN = 1_700_000_040 * SECOND
"""On the border of two minutes."""
SLOT_US = 100_000


class Lived(NamedTuple):
    """An alert that fired, in the slots of history."""

    rule_id: str
    name: str
    kind: AlertKind
    active_us: int
    fire_us: int
    resolve_us: int | None


def of_backtest(rule: Rule, alerts: Sequence[WouldBe]) -> list[Lived]:
    """Those that would have fired."""
    return sorted(
        Lived(rule.id, each.name, each.kind, each.active_us, each.fire_us, each.resolve_us)
        for each in alerts
        if each.fire_us is not None
    )


class Life:
    """`live` for some buckets, `die` and go on later."""

    def __init__(self, tower: Watchtower) -> None:
        self.tower = tower
        self.bucket = BEGIN // BUCKET_US
        self._stored = 0

    async def begin(self) -> None:
        """Starts on what is stored."""
        self.tower.clock.us = self.bucket * BUCKET_US
        await self.tower.open()
        self.state, self.gauges = MetricsState(), GaugeTable()
        store = SqlMetricsStore(self.tower.database)
        self.keeper = MetricsKeeper(store, self.tower.clock, self.state, self.gauges)
        self.maker = SnapshotMaker("epoch", 0)
        await self.keeper.recover()

    async def live(
        self,
        events: Sequence[Event],
        until: int,
        judged: Callable[[int], bool] = lambda _: True,
        *,
        project: bool = False,
    ) -> None:
        """Up to bucket `until`, judging at the end of those that are to be; `events` in the order of receipt."""
        waiting = list(reversed(events))
        while self.bucket < until:
            end_us = (self.bucket + 1) * BUCKET_US
            due: list[Event] = []
            while waiting and waiting[-1].receive_us < end_us:
                due.append(waiting.pop())
            await self._take(due, project=project)
            await self._tick(end_us - SLOT_US, judged=judged(self.bucket))
            self.bucket += 1
            if not self.bucket % 12:
                await self.keeper.close(str(self.bucket))
                await self.tower.journal.flush()
        await self.keeper.close(str(self.bucket))
        await self.tower.journal.flush()

    async def die(self, buckets: int) -> None:
        """Nobody is there for so long."""
        await self.tower.database.close()
        self.bucket += buckets
        await self.begin()

    async def _take(self, due: Sequence[Event], *, project: bool) -> None:
        if not due:
            return
        encoded = encode_events(due)
        self.state.fold(decode_signals(encoded))
        if project:
            store = SqlProjectionStore(self.tower.database, decode_stored)
            self._stored += 1
            await store.apply([LogEntry(f"{self._stored:08}", encoded)])

    async def _tick(self, as_of_us: int, *, judged: bool) -> None:
        self.tower.clock.us = as_of_us
        self.state.since_us = self.state.since_us or as_of_us
        moment = Moment(as_of_us, "", 0, True, 1_000_000, FiringAlerts(), events_per_second=None)
        snapshot = await paced(self.maker.steps(self.state, moment), self.tower.clock)
        self.gauges.sample(snapshot)
        if judged:
            self.tower.engine.tick(snapshot, as_of_us)

    async def alerts(self, rules: Collection[str]) -> list[Lived]:
        """Those of these rules that fired, in the slots of history."""
        chosen = select(ALERTS).where(ALERTS.c.rule_id.in_(rules), ALERTS.c.fire_us.is_not(None))
        rows = await self.tower.database.read(lambda c: list(c.execute(chosen)))
        return sorted(
            Lived(
                row.rule_id,
                row.name,
                AlertKind(row.kind),
                row.active_us + SLOT_US,
                row.fire_us + SLOT_US,
                None if row.resolve_us is None else row.resolve_us + SLOT_US,
            )
            for row in rows
        )
