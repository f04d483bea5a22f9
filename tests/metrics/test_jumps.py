"""The time goes on by hours at once: the clock is set, the machine slept, the server was down, or the log was silent.

What was counted just before is history all the same, each once, in the minutes in which it happened.
"""

from __future__ import annotations

import asyncio

import pytest

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.metrics.checkpoint import Checkpoint, unpack
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension
from pilothouse_server.services.aggregate import Aggregator, AggregatorSettings
from pilothouse_server.services.metric_history import MetricHistory
from pilothouse_server.services.snapshot_desk import SnapshotDesk
from pilothouse_server.wire.events import decode_signals
from pilothouse_server.wire.metrics import SnapshotEncoder
from tests.metrics.support import SetClock
from tests.metrics.test_aggregate import publish, running, snapshot_of
from tests.support import wait_until

E = EventType
HOUR = 3600.0
NEVER = 24 * HOUR


class Bench:
    """A log, a database and a clock, and the readers that come and go."""

    def __init__(self, log: SqliteLog, store: SqlMetricsStore) -> None:
        self.log = log
        self.store = store
        self.clock = SetClock()
        self.counted: dict[int, int] = {}
        """Starts by the minute in which they happened."""
        self._number = 0

    def reader(self, checkpoint: float = NEVER) -> Aggregator:
        settings = AggregatorSettings(checkpoint=checkpoint, idle_tick=0.05)
        return Aggregator(
            self.log, self.store, decode_signals, self.clock, epoch="e", settings=settings
        )

    async def start(self, count: int, ago: float = 1.0) -> None:
        """So many workflows of one type, each in an entry of its own."""
        for _ in range(count):
            self._number += 1
            now_us = self.clock.now_us()
            occur_us = now_us - round(ago * 1e6)
            name = f"w{self._number}"
            begun = Event(
                name, E.WORKFLOW_STARTED, occur_us, now_us, workflow_id=name, workflow_type="build"
            )
            minute = occur_us // MINUTE_US
            self.counted[minute] = self.counted.get(minute, 0) + 1
            await publish(self.log, begun)

    async def history(self, dimension: Dimension, name: str) -> dict[int, int]:
        """Starts by minute, as stored."""
        rows = await self.store.minutes(dimension, name, 0, 1 << 40)
        counted = {row.start: unpack(row)[0][0] for row in rows}
        return {minute: count for minute, count in counted.items() if count}

    async def is_all_history(self) -> bool:
        """Whether history is what was counted."""
        fleet = await self.history(Dimension.FLEET, "")
        return fleet == self.counted == await self.history(Dimension.WORKFLOW_TYPE, "build")

    async def see_all(self) -> None:
        await wait_until(self.is_all_history, what=f"a history of {self.counted}")


@pytest.fixture
def bench(log: SqliteLog, store: SqlMetricsStore) -> Bench:
    return Bench(log, store)


async def test_a_step_of_the_clock_leaves_history_of_what_was_before(bench: Bench) -> None:
    async with running(bench.reader()) as reader:
        await bench.start(2, ago=90)
        await bench.start(3)
        await snapshot_of(reader, 5)
        bench.clock.ahead = 2 * HOUR
        await bench.see_all()
        rows = await bench.store.minutes(Dimension.FLEET, "", 0, 1 << 40)
    seen = [unpack(row)[1] for row in rows]
    assert [each.running for each in seen if each is not None][-1] == 5


async def test_a_step_by_days_is_as_quick_as_one_by_hours(bench: Bench) -> None:
    async with running(bench.reader()) as reader:
        await bench.start(1)
        await snapshot_of(reader, 1)
        bench.clock.ahead = 2000 * 24 * HOUR
        await bench.see_all()


@pytest.mark.parametrize("hours", [0.5, 1.0, 2.0, 30.0])
async def test_minutes_that_a_reader_left_open_are_rolled_up_after_a_long_silence(
    bench: Bench, hours: float
) -> None:
    async with running(bench.reader()) as reader:
        await bench.start(2)
        await snapshot_of(reader, 2)
    assert not await bench.history(Dimension.FLEET, "")
    bench.clock.ahead = hours * HOUR
    async with running(bench.reader(checkpoint=0.1)) as again:
        await bench.see_all()
        # History is stored before the tick that found it due shows anything.
        assert (await snapshot_of(again, 2)).totals == (2, 0, 0, 0, 2)


async def test_a_reader_that_comes_to_a_log_with_silences_rolls_up_what_is_between(
    bench: Bench,
) -> None:
    """All of it is read at once; nobody ticks in between."""
    for hours in (0.0, 0.9, 3.0, 4.05, 4.1, 9.0):
        bench.clock.ahead = hours * HOUR
        await bench.start(2)
    bench.clock.ahead = 12 * HOUR
    async with running(bench.reader()) as reader:
        shown = await snapshot_of(reader, 12)
        await bench.see_all()
    assert shown.totals.workflows == 12


async def test_what_is_counted_after_a_step_is_history_too(bench: Bench) -> None:
    async with running(bench.reader(checkpoint=0.1)) as reader:
        for step in range(4):
            bench.clock.ahead = step * 2 * HOUR
            await bench.start(1)
            await snapshot_of(reader, step + 1)
        bench.clock.ahead += HOUR
        await bench.see_all()


async def test_an_idle_reader_keeps_what_was_the_case_over_a_restart(bench: Bench) -> None:
    """The fold's clock stood still for hours, the samples of the last minutes are of the wall's."""
    async with running(bench.reader()) as reader:
        await bench.start(1)
        before_us = (await snapshot_of(reader, 1)).as_of_us
        bench.clock.ahead = 3 * HOUR
        later_us = before_us + 3 * HOUR * 1e6
        await wait_until(lambda: reader.latest and reader.latest.as_of_us >= later_us)
        await bench.see_all()
        was = bench.clock.now_us() // MINUTE_US
    bench.clock.ahead = 6 * HOUR
    async with running(bench.reader()):

        async def sampled() -> bool:
            rows = await bench.store.minutes(Dimension.FLEET, "", was - 1, was + 2)
            return any(row.gauges for row in rows)

        await wait_until(sampled, what="what was the case before the restart")


async def test_events_from_the_future_take_nothing_out_of_history(bench: Bench) -> None:
    """Another machine's clock is hours ahead; ours goes on as it did."""
    async with running(bench.reader(checkpoint=0.1)) as reader:
        await bench.start(1)
        now_us = bench.clock.now_us()
        ended = Event("e", E.WORKFLOW_COMPLETED, now_us, now_us, workflow_id="w1")
        await publish(bench.log, ended)
        await snapshot_of(reader, 2)
        now_us += round(2 * HOUR * 1e6)
        beat = Event("b", E.AGENT_HEARTBEAT, now_us, now_us, agent_id="a1")
        await publish(bench.log, beat, beat._replace(id="c"))
        await snapshot_of(reader, 4)
        bench.clock.ahead = 300.0
        await bench.see_all()


@pytest.mark.parametrize("hours", [-3.0, -0.01, 3.0])
async def test_history_goes_by_the_clock_of_the_reader_not_of_the_replica_that_is_asked(
    bench: Bench, hours: float
) -> None:
    async with running(bench.reader(checkpoint=0.1)) as reader:
        await bench.start(3)
        await snapshot_of(reader, 3)
        saved = reader.keeper.saved
        await wait_until(lambda: reader.keeper.saved > saved + 1)
    asked = {
        "start_us": bench.clock.now_us() - 10 * MINUTE_US,
        "end_us": bench.clock.now_us() + MINUTE_US,
        "step_us": MINUTE_US,
    }
    bench.clock.ahead = hours * HOUR
    elsewhere = SnapshotDesk(SnapshotEncoder(), bench.clock)
    history = MetricHistory(elsewhere, bench.store, bench.clock)
    answer = await history.query(Dimension.WORKFLOW_TYPE, "build", **asked)
    assert sum(point.started for point in answer.points) == 3


class AwayStore(SqlMetricsStore):
    """A database that can be away for writing."""

    away = False

    async def save(self, checkpoint: Checkpoint) -> None:
        if self.away:
            raise Unavailable("database", "away")
        await super().save(checkpoint)


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_step_while_the_database_is_away_is_made_up_for_from_the_log(
    bench: Bench, database: Database
) -> None:
    store = AwayStore(database)
    bench.store = store
    reader = bench.reader(checkpoint=0.1)
    task = asyncio.create_task(reader.run())
    await bench.start(2)
    await snapshot_of(reader, 2)
    store.away = True
    await wait_until(lambda: reader.keeper.waiting_for)
    await bench.start(3)
    await snapshot_of(reader, 5)
    bench.clock.ahead = 2 * HOUR
    await wait_until(lambda: reader.keeper.gave_up)
    store.away = False
    with pytest.raises(Unavailable, match="last checkpoint"):
        async with asyncio.timeout(30):
            await task
    async with running(bench.reader()):
        await bench.see_all()
