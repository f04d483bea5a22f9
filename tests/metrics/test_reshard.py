"""The number of shards changes, and no number does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sql.reshard import check_shards, reshard, stored_shards
from pilothouse_server.adapters.sql.tables_projection import CURSORS
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.errors import Misconfigured, Unavailable
from pilothouse_server.domain.events import EventType, Signal
from pilothouse_server.domain.metrics.checkpoint import unpack
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.gauges import GaugeTable
from pilothouse_server.domain.metrics.history import rolled_up
from pilothouse_server.domain.metrics.limits import Limits
from pilothouse_server.domain.metrics.series import PackedCell
from pilothouse_server.domain.metrics.snapshot import OTHER, Dimension, MetricsSnapshot
from pilothouse_server.services.metrics_keeper import MetricsKeeper
from tests.metrics.parts import merged, split
from tests.metrics.streams import untidy_log
from tests.metrics.support import made, signal

CLOCK = SystemClock()


class Readers:
    """The readers of all shards, in one life."""

    def __init__(
        self, database: Database, logs: Sequence[SqliteLog], limits: Limits | None = None
    ) -> None:
        self.database = database
        self.logs = logs
        self.limits = limits
        self.states = [MetricsState(limits) for _ in logs]
        self.keepers = [
            MetricsKeeper(SqlMetricsStore(database, shard), CLOCK, state, GaugeTable())
            for shard, state in enumerate(self.states)
        ]

    async def begin(self) -> None:
        for keeper in self.keepers:
            await keeper.recover()

    async def read(self, signals: Sequence[Signal]) -> MetricsSnapshot:
        for shard, mine in enumerate(split(signals, len(self.logs))):
            self.states[shard].fold(mine)
            await self.logs[shard].append(b"what was folded")
        at = max(state.clock_us for state in self.states)
        return merged(self.states, at, self.limits)

    async def end(self) -> None:
        """They stop one after another, having read everything."""
        cursors: list[tuple[str, str]] = []
        for shard, (keeper, log) in enumerate(zip(self.keepers, self.logs, strict=True)):
            tail = await log.tail()
            await keeper.close(tail)
            cursors.append(("projector" if not shard else f"projector:{shard}", tail))
        await self.database.write(lambda connection: bulk.upsert(connection, CURSORS, cursors))


@asynccontextmanager
async def logs(path: Path, count: int) -> AsyncGenerator[list[SqliteLog]]:
    async with AsyncExitStack() as stack:
        found: list[SqliteLog] = []
        for shard in range(count):
            log = SqliteLog(path / f"log{shard}.db")
            stack.push_async_callback(log.close)
            found.append(log)
        yield found


async def minutes(database: Database) -> dict[int, PackedCell]:
    rows = await SqlMetricsStore(database).minutes(Dimension.FLEET, "", 0, 1 << 40)
    cells: dict[int, list[PackedCell]] = {}
    for row in rows:
        cells.setdefault(row.start, []).append(unpack(row)[0])
    return {start: rolled_up(found) for start, found in sorted(cells.items())}


async def test_events_before_between_and_after_are_counted_as_by_one_reader(
    database: Database, tmp_path: Path
) -> None:
    log = untidy_log(5, workflows=100, minutes=25)
    third = len(log) // 3
    lives = (log[:third], 1, 3), (log[third : 2 * third], 3, 2), (log[2 * third :], 2, 1)
    whole = MetricsState()
    async with logs(tmp_path, 3) as shards:
        for signals, before, after in lives:
            readers = Readers(database, shards[:before])
            await readers.begin()
            for place in range(0, len(signals), 60):
                piece = signals[place : place + 60]
                whole.fold(piece)
                expected = made(whole)
                shown = await readers.read(piece)
                assert shown.series == expected.series
                assert (shown.totals, shown.agents) == (expected.totals, expected.agents)
                assert shown.agents_seen == expected.agents_seen
                assert shown.reader == expected.reader
            await readers.end()
            done = await reshard(database, shards[:before], shards[:after])
            assert (done.before, done.after) == (before, after)
            assert done.workflows > 0
            assert await stored_shards(database) == after
    stored = await minutes(database)
    assert len(stored) > 10
    fleet = whole.series.fleet
    for minute, cell in stored.items():
        assert cell == rolled_up(fleet.packed(i) for i in range(12 * minute, 12 * minute + 12))


async def test_names_over_the_limit_stay_counted_together(
    database: Database, tmp_path: Path
) -> None:
    limits = Limits(names=dict.fromkeys(list(Dimension)[1:], 3))

    def done(names: Sequence[str], at: float) -> list[Signal]:
        return [signal(EventType.STAGE_COMPLETED, at, f"w{n}{at}", stage=n) for n in names]

    def stages(shown: MetricsSnapshot) -> dict[str, int]:
        return {
            name: series.windows[-1].completed
            for (dimension, name), series in shown.by_key.items()
            if dimension == Dimension.STAGE
        }

    async with logs(tmp_path, 3) as shards:
        readers = Readers(database, shards[:1], limits)
        assert stages(await readers.read(done("abcde", 1))) == {"a": 1, "b": 1, "c": 1, OTHER: 2}
        await readers.end()
        await reshard(database, shards[:1], shards)
        readers = Readers(database, shards, limits)
        await readers.begin()
        shown = stages(await readers.read(done("abcde", 2)))
        assert shown == {"a": 2, "b": 2, "c": 2, OTHER: 4}
        await readers.end()
        await reshard(database, shards, shards[:1])
        readers = Readers(database, shards[:1], limits)
        await readers.begin()
        assert stages(await readers.read(done("ad", 3))) == {"a": 3, "b": 2, "c": 2, OTHER: 5}


async def test_what_was_not_read_must_be_read_first(database: Database, tmp_path: Path) -> None:
    async with logs(tmp_path, 2) as shards:
        readers = Readers(database, shards[:1])
        await readers.read(untidy_log(1, workflows=3, minutes=1))
        await readers.end()
        await shards[0].append(b"one more")
        with pytest.raises(Unavailable, match="has not read shard 0 to its end"):
            await reshard(database, shards[:1], shards)
        assert await stored_shards(database) == 1


async def test_replicas_must_be_stopped_first(database: Database, tmp_path: Path) -> None:
    async with logs(tmp_path, 2) as shards:
        with pytest.raises(Unavailable, match="host-1"):
            await reshard(database, shards[:1], shards, alive=["host-1"])


async def test_a_server_with_another_number_of_shards_is_refused(
    database: Database, tmp_path: Path
) -> None:
    await check_shards(database, 3)
    await check_shards(database, 3)
    with pytest.raises(Misconfigured, match="reshard --shards 2"):
        await check_shards(database, 2)
    async with logs(tmp_path, 3) as shards:
        with pytest.raises(Misconfigured, match="3 shards"):
            await reshard(database, shards[:2], shards[:1])
        await reshard(database, shards, shards[:2])
    await check_shards(database, 2)


async def test_a_database_from_before_shards_has_one(database: Database) -> None:
    await database.write(lambda connection: bulk.upsert(connection, CURSORS, [("projector", "7")]))
    with pytest.raises(Misconfigured, match="a log of 1 shards"):
        await check_shards(database, 2)
    await check_shards(database, 1)
