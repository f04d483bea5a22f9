"""Whoever reads a shard next has the numbers of whoever read it before, whatever became of that one."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import insert, update

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.fencing import FencedDatabase
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sql.tables_leases import LEASES
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.metrics.checkpoint import Checkpoint
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.gauges import GaugeTable
from pilothouse_server.ports import Fence
from pilothouse_server.services.aggregate import Aggregator, AggregatorSettings
from pilothouse_server.services.metrics_keeper import MetricsKeeper
from pilothouse_server.wire.events import decode_signals
from tests.metrics.streams import untidy_log
from tests.metrics.support import SetClock, canonical, signal
from tests.metrics.test_aggregate import event, publish, running, snapshot_of
from tests.support import wait_until

CLOCK = SystemClock()
E = EventType
NEVER = 3600.0


async def begin_tenure(database: Database, epoch: int) -> SqlMetricsStore:
    """A store that is fenced by a new tenure."""
    values = {"name": "shard-0", "epoch": epoch, "holder": f"replica {epoch}", "acquire_us": 1}
    change = update(LEASES).values(values) if epoch > 1 else insert(LEASES).values(values)
    await database.write(lambda connection: connection.execute(change))
    return SqlMetricsStore(FencedDatabase(database, Fence("shard-0", epoch)))


def reader(
    log: SqliteLog, store: SqlMetricsStore, clock: SystemClock = CLOCK, **settings: float
) -> Aggregator:
    chosen = AggregatorSettings(**settings)  # type: ignore[arg-type]
    return Aggregator(log, store, decode_signals, clock, epoch="e", settings=chosen)


async def test_an_owner_that_writes_late_writes_nothing(database: Database, log: SqliteLog) -> None:
    """The first reads on, as one that was frozen does; the second has taken over meanwhile."""
    first = reader(log, await begin_tenure(database, 1), checkpoint=0.1)
    async with running(first):
        await publish(log, event(E.WORKFLOW_STARTED, 2), event(E.WORKFLOW_STARTED, 2, "w2"))
        await snapshot_of(first, 2)
        await wait_until(lambda: first.keeper.saved > 0 and first.keeper.idle)
    store = await begin_tenure(database, 2)
    late = reader(
        log, SqlMetricsStore(FencedDatabase(database, Fence("shard-0", 1))), checkpoint=0.1
    )
    # From the first whole bucket on there is a throughput: that is behind both of those which are compared.
    clock = SetClock()
    clock.ahead = 10.0
    second = reader(log, store, clock, checkpoint=NEVER)
    async with running(second):
        await publish(log, event(E.WORKFLOW_COMPLETED), event(E.WORKFLOW_FAILED, 0, "w2"))
        shown = await snapshot_of(second, 4)
        head = await store.head()
        with pytest.raises(LeaseLost):
            async with asyncio.timeout(30):
                await late.run()
        assert await store.head() == head
    assert shown.totals == (2, 1, 1, 0, 4)
    third = reader(log, await begin_tenure(database, 3), clock, checkpoint=NEVER)
    async with running(third):
        again = await snapshot_of(third, 4)
    assert (again.totals, again.series) == (shown.totals, shown.series)


async def test_an_owner_that_is_told_late_stores_nothing_at_its_end(
    database: Database, log: SqliteLog
) -> None:
    first = reader(log, await begin_tenure(database, 1), checkpoint=NEVER)
    task = asyncio.create_task(first.run())
    await publish(log, event(E.WORKFLOW_STARTED))
    await snapshot_of(first, 1)
    store = await begin_tenure(database, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.head() is None


@pytest.mark.parametrize("seed", range(3))
async def test_a_takeover_in_the_middle_counts_as_one_reader(database: Database, seed: int) -> None:
    """Each owner is frozen with something unsaved, and the next one folds that again."""
    log = untidy_log(seed, workflows=60)
    whole, state = MetricsState(), MetricsState()
    whole.fold(log)
    for epoch in range(1, 6):
        store = await begin_tenure(database, epoch)
        state = MetricsState()
        keeper = MetricsKeeper(store, CLOCK, state, GaugeTable())
        place = int(await keeper.recover() or 0)
        stored = epoch * len(log) // 5
        state.fold(log[place:stored])
        await keeper.close(str(stored))
        state.fold(log[stored : stored + 50])
    assert canonical(state) == canonical(whole)
    assert state.totals() == whole.totals()


async def kept(store: SqlMetricsStore, state: MetricsState) -> MetricsState:
    """What the next owner knows."""
    await MetricsKeeper(store, CLOCK, state, GaugeTable()).close("1")
    again = MetricsState()
    await MetricsKeeper(store, CLOCK, again, GaugeTable()).recover()
    return again


async def test_what_repeats_after_a_takeover_is_recognised(store: SqlMetricsStore) -> None:
    """What ended is remembered for a quarter of an hour, in full at first and as a tombstone then; what belongs to
    nothing by its id."""
    done = [
        signal(E.WORKFLOW_STARTED, 0, "old", attempt=1),
        signal(E.TASK_COMPLETED, 5, "old", task="t", duration=4.0),
        signal(E.WORKFLOW_COMPLETED, 10, "old", attempt=1),
        signal(E.WORKFLOW_COMPLETED, 300, "new", attempt=1),
        signal(E.LOG, 300, "", event_id="said once"),
    ]
    state = MetricsState()
    state.fold(done)
    state.fold([signal(E.AGENT_HEARTBEAT, 301, agent="a1") for _ in range(3)])
    assert set(state.memory.tombstones) == {"old"}
    again = await kept(store, state)
    assert set(again.memory.tombstones) == {"old"}
    before, duplicates = again.totals(), again.ledger.duplicates
    again.fold([each._replace(receive_us=done[-1].receive_us) for each in done])
    assert again.totals()[:4] == before[:4]
    assert again.ledger.duplicates >= duplicates + 4


async def test_what_is_older_than_the_memory_is_not_counted_twice_after_a_takeover(
    store: SqlMetricsStore,
) -> None:
    old = signal(E.WORKFLOW_COMPLETED, 0, "old", attempt=1)
    state = MetricsState()
    state.fold([old, *(signal(E.AGENT_HEARTBEAT, 1000 + n, agent="a1") for n in range(4))])
    assert not list(state.memory)
    again = await kept(store, state)
    again.fold([old._replace(receive_us=again.clock_us)])
    assert again.totals()[:4] == (1, 1, 0, 0)
    assert again.beyond_horizon == 1


class AwayStore(SqlMetricsStore):
    """A database that can be away for writing."""

    away = False

    async def save(self, checkpoint: Checkpoint) -> None:
        if self.away:
            raise Unavailable("database", "away")
        await super().save(checkpoint)


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_numbers_stay_live_while_the_database_is_away(
    database: Database, log: SqliteLog
) -> None:
    store = AwayStore(database)
    aggregator = reader(log, store, checkpoint=0.1)
    async with running(aggregator):
        await publish(log, event(E.WORKFLOW_STARTED))
        await snapshot_of(aggregator, 1)
        store.away = True
        await wait_until(lambda: aggregator.keeper.waiting_for)
        for number in range(3):
            await publish(log, event(E.WORKFLOW_STARTED, 0, f"x{number}"))
        assert (await snapshot_of(aggregator, 4)).totals.workflows == 4
        store.away = False
        await wait_until(lambda: not aggregator.keeper.waiting_for)
    again = reader(log, store)
    async with running(again):
        assert (await snapshot_of(again, 4)).totals == (4, 0, 0, 0, 4)


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_database_that_is_away_too_long_is_told_from_the_last_checkpoint(
    database: Database, log: SqliteLog
) -> None:
    store = AwayStore(database)
    aggregator = reader(log, store, checkpoint=0.1, unsaved_rows=5)
    task = asyncio.create_task(aggregator.run())
    await publish(log, event(E.WORKFLOW_STARTED))
    await snapshot_of(aggregator, 1)
    await wait_until(lambda: aggregator.keeper.saved > 0)
    store.away = True
    await wait_until(lambda: aggregator.keeper.waiting_for)
    await publish(log, *_begun(20))
    live = await snapshot_of(aggregator, 21)
    await wait_until(lambda: aggregator.keeper.gave_up)
    assert live.totals.workflows == 21
    assert len(aggregator.state.memory.dirty) <= 20
    store.away = False
    with pytest.raises(Unavailable, match="last checkpoint"):
        async with asyncio.timeout(30):
            await task
    again = reader(log, store)
    async with running(again):
        assert (await snapshot_of(again, 21)).totals == (21, 0, 0, 0, 21)


def _begun(count: int) -> list[Event]:
    return [event(E.WORKFLOW_STARTED, 0, f"y{number}") for number in range(count)]
