"""Several readers of several shards, one snapshot, and replicas that show it without making it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pilothouse.v1 import metrics_pb2 as pb
from pilothouse_server.adapters.board import MemoryBoard
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.metrics.limits import BUCKET_US
from pilothouse_server.domain.metrics.part import ShardPart
from pilothouse_server.domain.metrics.part_codec import PartEncoder
from pilothouse_server.domain.metrics.snapshot import (
    MINUTE_US,
    Dimension,
    HealthState,
    MetricsSnapshot,
)
from pilothouse_server.domain.shards import shard_of
from pilothouse_server.ports import Fence
from pilothouse_server.services.aggregate import Aggregator, AggregatorSettings
from pilothouse_server.services.merging import MergedMetrics, MergingSettings
from pilothouse_server.services.metric_history import MetricHistory
from pilothouse_server.services.posting import EVERY, SNAPSHOT, part_name, part_poster
from pilothouse_server.services.snapshot_desk import SnapshotDesk
from pilothouse_server.transport.metrics import MetricsServicer
from pilothouse_server.wire.events import decode_signals
from pilothouse_server.wire.metrics import SnapshotEncoder
from tests.metrics.support import SetClock
from tests.metrics.test_aggregate import event, leading, publish, snapshot_of
from tests.support import wait_until

CLOCK = SystemClock()
E = EventType
EMBEDDED = pytest.mark.parametrize("kind", ["sqlite"])
"""Where it does not matter which database it is."""

SETTINGS = AggregatorSettings(checkpoint=0.2, idle_tick=0.2)


@asynccontextmanager
async def running(*works: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Fleet:
    """A log of several shards with a reader each, and what merges them."""

    def __init__(
        self, path: Path, database: Database, shards: int, epoch: int = 1, hold: float = 15.0
    ) -> None:
        self.board = MemoryBoard()
        self.clock = SetClock()
        self.database = database
        self.logs = [SqliteLog(path / f"log{shard}.db") for shard in range(shards)]
        self.readers = [
            Aggregator(
                log, SqlMetricsStore(database, shard), decode_signals, self.clock,
                epoch="part", settings=SETTINGS, shard=shard, shards=shards,
            )
            for shard, log in enumerate(self.logs)
        ]  # fmt: skip
        self.posters = [
            part_poster(reader, self.board, Fence(f"shard-{shard}", epoch), self.clock)
            for shard, reader in enumerate(self.readers)
        ]
        self.merged = MergedMetrics(
            self.readers[0], self.board, self.clock,
            shards=shards, epoch="merged", settings=MergingSettings(patience=0.5, hold=hold),
        )  # fmt: skip

    async def publish(self, *events: Event) -> None:
        for one in events:
            shard = shard_of(one.workflow_id, one.agent_id, len(self.logs))
            await publish(self.logs[shard], one)

    def shard(self, shard: int) -> list[Callable[[], Awaitable[None]]]:
        return [self.readers[shard].run, self.posters[shard].run]


@pytest.fixture
async def fleet(tmp_path: Path, database: Database) -> AsyncIterator[Fleet]:
    fleet = Fleet(tmp_path, database, 3)
    yield fleet
    for log in fleet.logs:
        await log.close()


def some(count: int) -> list[Event]:
    """Workflows in every shard, and agents."""
    made: list[Event] = []
    for number in range(count):
        made.append(event(E.WORKFLOW_STARTED, 3, f"w{number}", workflow_type="build"))
        made.append(event(E.WORKFLOW_COMPLETED, 1, f"w{number}", workflow_type="build"))
        made.append(event(E.AGENT_HEARTBEAT, 0, "", agent_id=f"a{number}"))
    return made


async def merged_of(fleet: Fleet, events: int) -> MetricsSnapshot:
    def seen() -> bool:
        latest = fleet.merged.latest
        return latest is not None and latest.caught_up and latest.totals.events >= events

    await wait_until(seen, what=f"a merged snapshot of {events} events")
    assert fleet.merged.latest is not None
    return fleet.merged.latest


async def test_readers_of_shards_make_one_snapshot(fleet: Fleet) -> None:
    await fleet.publish(*some(12))
    shards = [work for shard in range(3) for work in fleet.shard(shard)]
    async with running(*shards, fleet.merged.run):
        snapshot = await merged_of(fleet, 36)
    assert snapshot.totals == (12, 12, 0, 0, 36)
    assert snapshot.fleet.windows[0].completed == 12
    assert snapshot.by_key[Dimension.WORKFLOW_TYPE, "build"].windows[3].started == 12
    assert (snapshot.agents.online, snapshot.agents.known) == (12, 12)
    assert snapshot.health.state is HealthState.HEALTHY
    assert snapshot.reader_lag_us == 0
    assert all(0 < reader.part.totals.events < 36 for reader in fleet.readers if reader.part)


@EMBEDDED
async def test_snapshots_are_of_one_bucket_and_in_order(fleet: Fleet) -> None:
    seen: list[MetricsSnapshot] = []
    fleet.merged.subscribe_ticks(lambda snapshot, _: seen.append(snapshot))
    shards = [work for shard in range(3) for work in fleet.shard(shard)]
    async with running(*shards, fleet.merged.run):
        await wait_until(lambda: seen)
        fleet.clock.ahead = 5.0
        await wait_until(
            lambda: seen and seen[-1].as_of_us // BUCKET_US > seen[0].as_of_us // BUCKET_US
        )
    assert all(snapshot.health.reasons == ("no event has been read yet",) for snapshot in seen)
    assert [snapshot.sequence for snapshot in seen] == sorted({s.sequence for s in seen})
    assert [snapshot.as_of_us for snapshot in seen] == sorted(s.as_of_us for s in seen)


@EMBEDDED
async def test_a_shard_that_stops_is_named_and_comes_back(fleet: Fleet) -> None:
    await fleet.publish(*some(12))
    first, third = fleet.shard(0), fleet.shard(2)
    async with running(*first, *third, fleet.merged.run):
        async with running(*fleet.shard(1)):
            before = await merged_of(fleet, 36)
        assert before.health.state is HealthState.HEALTHY

        def named() -> bool:
            latest = fleet.merged.latest
            return latest is not None and any("shard 1" in why for why in latest.health.reasons)

        fleet.clock.ahead = 5.0
        await wait_until(named, within=20)
        late = fleet.merged.latest
        assert late is not None
        assert late.totals.events == 36, "what is known of it is not forgotten"
        assert late.health.state in {HealthState.DEGRADED, HealthState.UNHEALTHY}
        assert not late.caught_up
        assert late.agents.online == 12
        fleet.readers[1] = again = Aggregator(
            fleet.logs[1], SqlMetricsStore(fleet.database, 1), decode_signals, fleet.clock,
            epoch="part", settings=SETTINGS, shard=1, shards=3,
        )  # fmt: skip
        poster = part_poster(again, fleet.board, Fence("shard-1", 2), fleet.clock)
        async with running(again.run, poster.run):
            # Of every agent, so that none was silent for too long however slow this is.
            await fleet.publish(*some(12))
            after = await merged_of(fleet, 72)
    assert after.health.reasons == ()


@EMBEDDED
@pytest.mark.parametrize("hold", [15.0, 0.5])
async def test_what_a_new_owner_has_not_read_again_yet_is_neither_shown_nor_judged_for_a_while(
    tmp_path: Path, database: Database, hold: float
) -> None:
    fleet = Fleet(tmp_path, database, 2, hold=hold)
    judged: list[MetricsSnapshot] = []
    fleet.merged.subscribe_ticks(lambda snapshot, _: judged.append(snapshot))
    await fleet.publish(*some(8))
    async with running(*fleet.shard(0), fleet.merged.run):
        async with running(*fleet.shard(1)):
            await merged_of(fleet, 24)
            part = fleet.readers[1].part
        assert part is not None
        behind = replace(
            part,
            start_us=part.start_us + 1,
            moment=replace(part.moment, caught_up=False),
            totals=part.totals._replace(events=part.totals.events - 3),
        )
        encoded = _bytes_of(behind)
        await fleet.publish(event(E.WORKFLOW_STARTED, 0, _of_shard(0, 2)))

        async def shown(events: int) -> bool:
            await fleet.board.post(part_name(1), encoded, Fence("shard-1", 2))
            latest = fleet.merged.latest
            return latest is not None and latest.totals.events == events

        if hold > 1:
            await wait_until(lambda: shown(25))
            assert all(snapshot.totals.events >= 24 for snapshot in judged)
        else:
            await wait_until(lambda: shown(22))
            await wait_until(lambda: judged[-1].totals.events == 22)
    for log in fleet.logs:
        await log.close()


def _bytes_of(part: ShardPart) -> bytes:
    steps = PartEncoder().steps(part)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            encoded: bytes = stop.value
            return encoded


def _of_shard(shard: int, shards: int) -> str:
    return next(f"x{n}" for n in range(100) if shard_of(f"x{n}", "", shards) == shard)


async def test_history_from_the_database_is_that_of_memory(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    aggregator = Aggregator(
        log, store, decode_signals, CLOCK, epoch="e1",
        settings=AggregatorSettings(checkpoint=0.1, idle_tick=0.1),
    )  # fmt: skip
    desk = leading(aggregator)
    async with running(aggregator.run):
        await publish(log, *some(8), event(E.STAGE_STARTED, 2, "w9", stage="plan"))
        await snapshot_of(aggregator, 25)
        saved = aggregator.keeper.saved
        await wait_until(lambda: aggregator.keeper.saved > saved + 1)
    after_run = CLOCK.now_us()
    elsewhere = SnapshotDesk(SnapshotEncoder(), CLOCK)
    for step in (5_000_000, MINUTE_US):
        for dimension, name in (
            (Dimension.FLEET, ""),
            (Dimension.WORKFLOW_TYPE, "build"),
            (Dimension.STAGE, "plan"),
            (Dimension.STAGE, "never"),
        ):
            asked = {"start_us": after_run - 10 * MINUTE_US, "end_us": after_run, "step_us": step}
            here = await MetricHistory(desk, store, CLOCK).query(dimension, name, **asked)
            there = await MetricHistory(elsewhere, store, CLOCK).query(dimension, name, **asked)
            assert here == there
            assert bool(here.points) == (name != "never")


async def test_history_of_several_shards_is_added(fleet: Fleet) -> None:
    await fleet.publish(*some(12))
    shards = [work for shard in range(3) for work in fleet.shard(shard)]
    async with running(*shards, fleet.merged.run):
        await merged_of(fleet, 36)
        gauges = fleet.readers[0].gauges
        await wait_until(
            lambda: any(g.agents_known == 12 for g in gauges.of(Dimension.FLEET, "").values())
        )
    store = SqlMetricsStore(fleet.database)
    desk = SnapshotDesk(SnapshotEncoder(), CLOCK)
    history = await MetricHistory(desk, store, CLOCK).query(Dimension.FLEET, "", step_us=MINUTE_US)
    assert sum(point.completed for point in history.points) == 12
    # It is of the minute in which they completed, and another may have begun since.
    assert sum(point.latency.count for point in history.points if point.latency) == 12
    newest = history.points[-1]
    assert (newest.agents_known, newest.agents_online) == (12, 12)
    assert newest.states is not None
    assert newest.states.running == 0


async def test_before_a_checkpoint_there_is_no_history(store: SqlMetricsStore) -> None:
    desk = SnapshotDesk(SnapshotEncoder(), CLOCK)
    with pytest.raises(Unavailable, match="not been read"):
        await MetricHistory(desk, store, CLOCK).query(Dimension.FLEET, "")


def shown(encoded: bytes) -> pb.MetricsSnapshot:
    return pb.GetMetricsResponse.FromString(encoded).snapshot


@EMBEDDED
async def test_a_follower_gives_the_very_bytes_of_the_leader(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    board = MemoryBoard()
    aggregator = Aggregator(log, store, decode_signals, CLOCK, epoch="e1", settings=SETTINGS)
    leader = SnapshotDesk(SnapshotEncoder(), CLOCK, board)
    follower = SnapshotDesk(SnapshotEncoder(), CLOCK, board)
    with pytest.raises(Unavailable):
        await follower.newest()
    leader.lead(aggregator, Fence("shard-0", 1))
    async with running(aggregator.run, leader.run, follower.run):
        await publish(log, *some(2))
        await snapshot_of(aggregator, 6)

        async def posted() -> bytes | None:
            try:
                heard = await follower.nearly_newest()
            except Unavailable:
                return None
            return heard if shown(heard).totals.events == 6 else None

        heard = await wait_until(posted)
        assert heard is not None
        assert shown(heard).epoch == "e1"
        assert follower.latest is None


class SlowBoard(MemoryBoard):
    """Takes nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.times: list[float] = []
        self.away = False

    async def post(self, name: str, value: bytes, fence: Fence) -> bool:
        await self.open.wait()
        if self.away:
            raise Unavailable("board", "nobody is there")
        self.times.append(CLOCK.monotonic())
        return await super().post(name, value, fence)


@EMBEDDED
async def test_a_slow_board_delays_no_tick_and_gets_the_newest(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    board = SlowBoard()
    settings = AggregatorSettings(idle_tick=0.05)
    aggregator = Aggregator(log, store, decode_signals, CLOCK, epoch="e1", settings=settings)
    desk = SnapshotDesk(SnapshotEncoder(), CLOCK, board)
    desk.lead(aggregator, Fence("shard-0", 1))
    async with running(aggregator.run, desk.run):
        await wait_until(lambda: aggregator.latest and aggregator.latest.sequence > 10)
        assert not board.times
        board.away = True
        board.open.set()
        await wait_until(lambda: desk.waiting_for == "board: nobody is there")
        board.away = False
        await wait_until(lambda: len(board.times) >= 5)
        assert desk.waiting_for == ""
    gaps = [b - a for a, b in zip(board.times, board.times[1:], strict=False)]
    assert min(gaps) >= EVERY * 0.9


@EMBEDDED
async def test_a_leader_whose_tenure_is_over_is_told(
    log: SqliteLog, store: SqlMetricsStore
) -> None:
    board = MemoryBoard()
    await board.post(SNAPSHOT, b"of a later tenure", Fence("shard-0", 2))
    aggregator = Aggregator(log, store, decode_signals, CLOCK, epoch="e1", settings=SETTINGS)
    desk = SnapshotDesk(SnapshotEncoder(), CLOCK, board)
    told = asyncio.Event()
    desk.lead(aggregator, Fence("shard-0", 1), told.set)
    async with running(aggregator.run, desk.run):
        async with asyncio.timeout(10):
            await told.wait()
        desk.follow()

        async def later() -> bool:
            return await desk.newest() == b"of a later tenure"

        await wait_until(later)


@EMBEDDED
async def test_a_shard_whose_tenure_is_over_posts_no_part(fleet: Fleet) -> None:
    await fleet.board.post("monitoring:metrics:shard:1", b"", Fence("shard-1", 2))
    async with running(fleet.readers[1].run):
        with pytest.raises(LeaseLost):
            async with asyncio.timeout(10):
                await fleet.posters[1].run()


@EMBEDDED
async def test_a_part_of_another_version_is_refused_and_named(fleet: Fleet) -> None:
    await fleet.board.post("monitoring:metrics:shard:1", b"PHP9 something", Fence("shard-1", 1))
    async with running(*fleet.shard(0), *fleet.shard(2), fleet.merged.run):
        latest = await wait_until(lambda: fleet.merged.latest)
        assert latest is not None
    assert fleet.merged.refused == 1
    assert fleet.merged.refused_for == "shard 1: it is of another version"
    assert "shard 1 of the log is read by nobody yet" in latest.health.reasons


@EMBEDDED
async def test_a_subscription_lives_through_a_change_of_leader(
    log: SqliteLog, store: SqlMetricsStore, tmp_path: Path
) -> None:
    """First it is a follower, then it leads, then it follows again."""
    board = MemoryBoard()
    desk = SnapshotDesk(SnapshotEncoder(), CLOCK, board)
    servicer = MetricsServicer(desk, MetricHistory(desk, store, CLOCK), CLOCK)
    request = pb.SubscribeMetricsRequest()
    request.interval.FromMilliseconds(250)
    snapshot = pb.GetMetricsResponse()
    snapshot.snapshot.epoch = "theirs"
    await board.post(SNAPSHOT, snapshot.SerializeToString(), Fence("shard-0", 1))
    aggregator = Aggregator(log, store, decode_signals, CLOCK, epoch="ours", settings=SETTINGS)
    async with running(desk.run, aggregator.run):

        async def heard() -> bool:
            with suppress(Unavailable):
                return bool(await desk.newest())
            return False

        await wait_until(heard)
        answers = servicer.SubscribeMetrics(request, None)  # type: ignore[arg-type]

        async def epoch() -> str:
            return pb.SubscribeMetricsResponse.FromString(await anext(answers)).snapshot.epoch

        assert await epoch() == "theirs"
        desk.lead(aggregator, Fence("shard-0", 2))
        await snapshot_of(aggregator, 0)
        assert await epoch() == "ours"

        async def posted() -> bool:
            there = await anext(aiter(board.follow(SNAPSHOT)))
            return shown(there).epoch == "ours"

        # Who follows hears what is on the board, and it takes a moment until a new leader's is.
        await wait_until(posted)
        desk.follow()
        assert await epoch() == "ours"
        snapshot.snapshot.epoch = "the third"
        await board.post(SNAPSHOT, snapshot.SerializeToString(), Fence("shard-0", 3))

        async def third() -> bool:
            return await epoch() == "the third"

        await wait_until(third)
        await answers.aclose()  # type: ignore[attr-defined]
