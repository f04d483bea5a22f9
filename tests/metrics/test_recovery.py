"""A reader that is killed at any moment and started again has what an uninterrupted one has."""

from __future__ import annotations

import random

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.domain.events import Signal
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.gauges import GaugeTable
from pilothouse_server.domain.metrics.history import rolled_up
from pilothouse_server.domain.metrics.series import EMPTY
from pilothouse_server.domain.metrics.snapshot import (
    Dimension,
    FiringAlerts,
    MetricsSnapshot,
)
from pilothouse_server.domain.metrics.summary import Moment, SnapshotMaker
from pilothouse_server.services.metrics_keeper import MetricsKeeper, paced
from tests.metrics.streams import untidy_log
from tests.metrics.support import canonical

CLOCK = SystemClock()


class Run:
    """One life of a reader, up to its kill."""

    def __init__(self, store: SqlMetricsStore) -> None:
        self.state = MetricsState()
        self.gauges = GaugeTable()
        self.keeper = MetricsKeeper(store, CLOCK, self.state, self.gauges)
        self.maker = SnapshotMaker("epoch", 0)

    async def tick(self) -> MetricsSnapshot:
        moment = Moment(
            self.state.clock_us, "", 0, True, 100_000, FiringAlerts(), events_per_second=None
        )
        snapshot = await paced(self.maker.steps(self.state, moment), CLOCK)
        self.gauges.sample(snapshot)
        return snapshot


async def fold_with_kills(store: SqlMetricsStore, log: list[Signal], chance: random.Random) -> Run:
    """Folds the log in pieces; after some a checkpoint is stored, and now and then everything in memory is lost."""
    run = Run(store)
    place = 0
    while place < len(log):
        if chance.random() < 0.25:
            run = Run(store)
            place = int(await run.keeper.recover() or 0)
        step = chance.randint(1, 150)
        run.state.fold(log[place : place + step])
        place = min(place + step, len(log))
        if chance.random() < 0.7:
            await run.tick()
        if chance.random() < 0.5:
            await run.keeper.close(str(place))
    return run


@pytest.mark.parametrize("seed", range(4))
async def test_a_killed_reader_has_the_counts_of_an_uninterrupted_one(
    store: SqlMetricsStore, seed: int
) -> None:
    log = untidy_log(seed)
    killed = await fold_with_kills(store, log, random.Random(seed))
    whole = Run(store)
    for place in range(0, len(log), 100):
        whole.state.fold(log[place : place + 100])
        await whole.tick()
    assert canonical(killed.state) == canonical(whole.state)
    assert killed.state.counters() == whole.state.counters()
    assert killed.state.totals() == whole.state.totals()


async def test_a_restart_shows_the_snapshot_of_before(store: SqlMetricsStore) -> None:
    log = untidy_log(1, minutes=20)
    before = Run(store)
    before.state.fold(log)
    shown = await before.tick()
    await before.keeper.close("7")
    after = Run(store)
    assert await after.keeper.recover() == "7"
    again = await after.tick()
    assert again.series == shown.series
    assert again.agents == shown.agents
    assert again.health == shown.health


async def test_minutes_are_rolled_up_once_from_closed_buckets(store: SqlMetricsStore) -> None:
    log = untidy_log(2)
    run = Run(store)
    buckets: dict[int, tuple[object, ...]] = {}
    for place in range(0, len(log), 200):
        run.state.fold(log[place : place + 200])
        await run.tick()
        await run.keeper.close(str(place))
    fleet = run.state.series.fleet
    closed = run.state.ledger.closed // 12
    rows = await store.minutes(Dimension.FLEET, "", 0, 1 << 40)
    assert {row.start for row in rows} <= set(range(closed))
    for row in rows:
        cells = [fleet.packed(index) for index in range(row.start * 12, row.start * 12 + 12)]
        if row.start * 12 > run.state.series.at - 720:
            buckets[row.start] = rolled_up(cells)
    assert len(buckets) > 40
    stored = {row.start: row.cell for row in rows}
    assert all(bool(stored[minute]) == (cell != EMPTY) for minute, cell in buckets.items())


async def test_pruning_keeps_what_is_young(store: SqlMetricsStore) -> None:
    run = Run(store)
    run.state.fold(untidy_log(3))
    await run.tick()
    await run.keeper.close("1")
    stored = await store.buckets(0, 1 << 40)
    middle = sorted(row.start for row in stored)[len(stored) // 2]
    assert await store.prune(middle, 0) == sum(row.start < middle for row in stored)
    assert {row.start for row in await store.buckets(0, 1 << 40)} == {
        row.start for row in stored if row.start >= middle
    }
