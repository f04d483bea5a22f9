"""The reader on a real log and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.errors import InvalidArgument, Unavailable
from pilothouse_server.domain.events import AgentLoad, Event, EventType
from pilothouse_server.domain.metrics.snapshot import (
    MINUTE_US,
    Dimension,
    FiringAlerts,
    HealthState,
    MetricsSnapshot,
)
from pilothouse_server.services.aggregate import Aggregator, AggregatorSettings
from pilothouse_server.services.metric_history import MetricHistory
from pilothouse_server.services.snapshot_desk import SnapshotDesk
from pilothouse_server.wire.events import decode_signals, encode_events
from pilothouse_server.wire.metrics import SnapshotEncoder
from tests.metrics.support import SetClock
from tests.support import wait_until

CLOCK = SystemClock()
E = EventType


def made(
    log: SqliteLog, store: SqlMetricsStore, clock: SystemClock = CLOCK, **kwargs: float
) -> Aggregator:
    settings = AggregatorSettings(**{"checkpoint": 0.2, **kwargs})  # type: ignore[arg-type]
    return Aggregator(log, store, decode_signals, clock, epoch="e1", settings=settings)


def leading(aggregator: Aggregator) -> SnapshotDesk:
    desk = SnapshotDesk(SnapshotEncoder(), CLOCK)
    desk.lead(aggregator)
    return desk


@asynccontextmanager
async def running(aggregator: Aggregator) -> AsyncGenerator[Aggregator]:
    task = asyncio.create_task(aggregator.run())
    try:
        yield aggregator
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def event(kind: EventType, ago: float = 0.0, workflow: str = "w1", **fields: object) -> Event:
    now = CLOCK.now_us()
    occur = now - round(ago * 1e6)
    name = f"{kind}/{workflow}/{occur}"
    return Event(name, kind, occur, now, workflow_id=workflow, **fields)  # type: ignore[arg-type]


async def publish(log: SqliteLog, *events: Event) -> None:
    await log.append(encode_events(events))


async def snapshot_of(aggregator: Aggregator, events: int) -> MetricsSnapshot:
    """The first snapshot that covers so many events."""
    await wait_until(
        lambda: aggregator.latest is not None and aggregator.latest.totals.events >= events,
        what=f"a snapshot of {events} events",
    )
    assert aggregator.latest is not None
    return aggregator.latest


async def test_an_empty_log_is_no_data(log: SqliteLog, store: SqlMetricsStore) -> None:
    aggregator = made(log, store)
    seen: list[MetricsSnapshot] = []
    aggregator.subscribe_ticks(lambda snapshot, _: seen.append(snapshot))
    async with running(aggregator):
        await wait_until(lambda: seen, what="a snapshot")
    snapshot = seen[0]
    assert snapshot.health.state is HealthState.UNKNOWN
    assert snapshot.health.score is None
    assert snapshot.reader_lag_us == 0
    for window in snapshot.fleet.windows:
        assert (window.throughput, window.error_rate, window.success_rate) == (None, None, None)
        assert window.latency is None


async def test_published_events_are_in_the_snapshot(log: SqliteLog, store: SqlMetricsStore) -> None:
    started = event(E.WORKFLOW_STARTED, 10, workflow_type="build")
    completed = event(E.WORKFLOW_COMPLETED, 0, workflow_type="build")
    async with running(made(log, store)) as aggregator:
        await publish(
            log,
            started,
            completed._replace(occur_us=started.occur_us + 10_000_000),
            event(E.WORKFLOW_STARTED, 3, "w2"),
            event(E.AGENT_HEARTBEAT, 0, "", agent_id="a1", load=AgentLoad(active=1)),
        )
        snapshot = await snapshot_of(aggregator, 4)
    minute = snapshot.fleet.windows[0]
    assert (minute.started, minute.completed, minute.failed) == (2, 1, 0)
    assert minute.latency is not None
    assert minute.latency.p50_us == pytest.approx(10e6, rel=0.011)
    assert minute.latency.mean_us == 10e6
    assert minute.success_rate == 1
    assert snapshot.by_key[Dimension.WORKFLOW_TYPE, "build"].windows[0].completed == 1
    assert snapshot.fleet.states is not None
    assert snapshot.fleet.states.running == 1
    assert (snapshot.agents.online, snapshot.agents.busy, snapshot.agents.known) == (1, 1, 1)
    assert snapshot.health.state is HealthState.HEALTHY
    assert snapshot.cursor == await log.tail()


async def test_sequences_are_dense_and_slots_lie_on_the_grid(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    aggregator = made(log, store, idle_tick=0.1)
    seen: list[tuple[int, int]] = []
    aggregator.subscribe_ticks(lambda snapshot, slot: seen.append((snapshot.sequence, slot)))
    async with running(aggregator):
        await wait_until(lambda: len(seen) >= 5)
    assert [sequence for sequence, _ in seen] == list(range(1, len(seen) + 1))
    assert all(slot % 100_000 == 0 for _, slot in seen)
    assert [slot for _, slot in seen] == sorted(slot for _, slot in seen)


async def test_an_unchanged_series_is_the_same_object(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    clock = SetClock()
    async with running(made(log, store, clock, idle_tick=0.05)) as aggregator:
        await snapshot_of(aggregator, 0)
        # From the first whole bucket on there is a throughput, which is a change of every series.
        clock.ahead = 10.0
        await publish(log, event(E.WORKFLOW_STARTED, workflow_type="build"))
        first = await snapshot_of(aggregator, 1)
        await publish(log, event(E.WORKFLOW_STARTED, 0, "w2", workflow_type="deploy"))
        second = await snapshot_of(aggregator, 2)
    key = Dimension.WORKFLOW_TYPE, "build"
    assert second.by_key[key] is first.by_key[key]
    assert second.fleet is not first.fleet


async def test_what_cannot_be_decoded_is_counted_and_passed(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    async with running(made(log, store)) as aggregator:
        await log.append(b"\xff\xffnonsense")
        await publish(log, event(E.WORKFLOW_STARTED))
        snapshot = await snapshot_of(aggregator, 1)
    assert snapshot.reader.undecodable == 1


async def test_a_reader_of_large_entries_is_at_the_end_only_when_it_is(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    entry = encode_events(
        [event(E.LOG, workflow=f"w{number}", message="x" * 60_000) for number in range(10)]
    )
    for _ in range(40):
        await log.append(entry)
    claimed: list[str] = []

    def note(snapshot: MetricsSnapshot, _: int) -> None:
        if snapshot.caught_up:
            claimed.append(snapshot.cursor)

    aggregator = made(log, store, tick=0.001)
    aggregator.subscribe_ticks(note)
    async with running(aggregator):
        await wait_until(lambda: claimed)
    assert claimed[0] == await log.tail()


async def test_a_restart_goes_on_where_the_reader_stopped(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    async with running(made(log, store)) as aggregator:
        await publish(log, event(E.WORKFLOW_STARTED, 2), event(E.AGENT_HEARTBEAT, agent_id="a1"))
        await snapshot_of(aggregator, 2)
    await publish(log, event(E.WORKFLOW_COMPLETED))
    async with running(made(log, store)) as again:
        snapshot = await snapshot_of(again, 3)
    assert snapshot.totals == (1, 1, 0, 0, 3)
    assert snapshot.fleet.windows[0].started == 1
    assert snapshot.agents.known == 1


async def test_history_is_a_gap_where_nothing_was_read(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    aggregator = made(log, store)
    history = MetricHistory(leading(aggregator), store, CLOCK)
    with pytest.raises(Unavailable):
        await history.query(Dimension.FLEET, "")
    async with running(aggregator):
        await publish(log, event(E.WORKFLOW_STARTED, 1, workflow_type="build"))
        await snapshot_of(aggregator, 1)
        now = CLOCK.now_us()
        answer = await history.query(Dimension.FLEET, "", step_us=5_000_000)
        kind = await history.query(Dimension.WORKFLOW_TYPE, "build", step_us=MINUTE_US)
        unknown = await history.query(Dimension.WORKFLOW_TYPE, "never seen")
    assert 1 <= len(answer.points) <= 3
    assert sum(point.started for point in answer.points) == 1
    assert answer.points[-1].states is not None
    assert answer.points[-1].states.running == 1
    assert answer.points[-1].agents_known == 0
    assert all(now - point.start_us < 30_000_000 for point in answer.points)
    assert sum(point.started for point in kind.points) == 1
    assert unknown.points == []


async def test_history_refuses_what_makes_no_sense(log: SqliteLog, store: SqlMetricsStore) -> None:
    aggregator = made(log, store)
    history = MetricHistory(leading(aggregator), store, CLOCK)
    async with running(aggregator):
        await snapshot_of(aggregator, 0)
        with pytest.raises(InvalidArgument, match="start_time"):
            await history.query(Dimension.FLEET, "", start_us=10, end_us=10)
        with pytest.raises(InvalidArgument, match="name"):
            await history.query(Dimension.STAGE, "")
        with pytest.raises(InvalidArgument, match="name"):
            await history.query(Dimension.FLEET, "build")


async def test_alerts_that_fire_are_in_the_health(log: SqliteLog, store: SqlMetricsStore) -> None:
    aggregator = Aggregator(
        log, store, decode_signals, CLOCK, epoch="e1", firing=lambda: FiringAlerts(critical=1)
    )
    async with running(aggregator):
        await publish(log, event(E.WORKFLOW_STARTED))
        snapshot = await snapshot_of(aggregator, 1)
    assert snapshot.health.state is HealthState.UNHEALTHY
    assert snapshot.health.reasons == ("1 critical alert fires",)
