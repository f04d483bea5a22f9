"""Answers questions about the past: the last hour in buckets of 5 s, what is older in minutes.

Where the reader of the whole log runs, the last hour is its memory. Everywhere else it is the database's: the same
numbers but for what the readers have not stored yet, which is a few seconds. There each shard has its own rows, and
what they counted is added.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from pilothouse_server.domain.errors import InvalidArgument, Unavailable
from pilothouse_server.domain.metrics.checkpoint import BucketRow, running_bucket, unpack
from pilothouse_server.domain.metrics.history import (
    MINUTE_BUCKETS,
    MetricPoint,
    Range,
    Slice,
    join,
    plan,
)
from pilothouse_server.domain.metrics.limits import BUCKET_US, BUCKETS
from pilothouse_server.domain.metrics.series import EMPTY
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension
from pilothouse_server.ports import Clock
from pilothouse_server.services.aggregate import Aggregator

HOUR_US = 60 * MINUTE_US


class History(NamedTuple):
    """The answer: points, oldest first, and the range as it was used."""

    points: list[MetricPoint]
    range: Range


class HistoryStore(Protocol):
    """What the readers of all shards have stored. Of several shards there are several rows with the same start."""

    async def head(self) -> tuple[str, str] | None:
        """The last checkpoint of the first shard; None when there was none."""
        ...

    async def buckets_of(
        self, dimension: int, name: str, start: int, end: int
    ) -> Sequence[BucketRow]:
        """Buckets of one series from `start` to before `end`."""
        ...

    async def minutes(self, dimension: int, name: str, start: int, end: int) -> Sequence[BucketRow]:
        """Minutes of one series from `start` to before `end`."""
        ...


class Memory(Protocol):
    """What knows whether the reader of the whole log runs here."""

    @property
    def memory(self) -> Aggregator | None:
        """The reader; None when it runs elsewhere, or when there are several shards."""
        ...


class _Recent(NamedTuple):
    """The last hour of one series."""

    slices: list[Slice]
    known: bool
    """Whether there is anything of the series."""


class MetricHistory:
    """History of one series at a time."""

    def __init__(self, desk: Memory, store: HistoryStore, clock: Clock) -> None:
        self._desk = desk
        self._store = store
        self._clock = clock

    async def query(
        self,
        dimension: Dimension,
        name: str,
        *,
        start_us: int | None = None,
        end_us: int | None = None,
        step_us: int | None = None,
    ) -> History:
        """Raises InvalidArgument for an empty range, Unavailable while nothing has been read."""
        reader = self._desk.memory
        if reader is not None and reader.latest is None:
            reader = None
        if (dimension == Dimension.FLEET) != (not name):
            said = "must be empty for the fleet" if name else "is needed for this dimension"
            raise InvalidArgument("name", said)
        end = self._clock.now_us() if end_us is None else end_us
        start = max(0, end - HOUR_US) if start_us is None else start_us
        if start >= end:
            raise InvalidArgument("start_time", "must be before end_time")
        at = await self._running() if reader is None else reader.state.series.at
        wanted = plan(start, end, step_us, (at - BUCKETS) * BUCKET_US)
        if wanted.step_us % MINUTE_US == 0:
            # Minutes are joined with minutes: what is remembered begins with the first whole one.
            border = -(-(at - BUCKETS + 1) // MINUTE_BUCKETS)
            first_bucket = border * MINUTE_BUCKETS
        else:
            border, first_bucket = 0, at - BUCKETS + 1
        buckets = range(first_bucket, at + 1)
        if reader is None:
            later = max(at, wanted.end_us // BUCKET_US) + 1
            slices, known = await self._stored(dimension, name, range(first_bucket, later))
        else:
            # Before anything is awaited: memory slides, and the border would not be its own any more.
            slices, known = _remembered(reader, dimension, name, buckets)
        if wanted.start_us < border * MINUTE_US:
            first = wanted.start_us // MINUTE_US
            last = min(border, wanted.end_us // MINUTE_US)
            rows, fleet = await self._minutes(dimension, name, first, last)
            known |= bool(rows)
            slices += await asyncio.to_thread(_slices, rows, fleet, MINUTE_US)
        points = await asyncio.to_thread(join, slices, wanted) if known else []
        return History(points, wanted)

    async def _running(self) -> int:
        """The bucket in which the reader was when it stored last: this replica's clock may be hours from its."""
        head = await self._store.head()
        if head is None:
            raise Unavailable("snapshot", "the log has not been read yet; try again in a moment")
        return running_bucket(head[1])

    async def _stored(self, dimension: Dimension, name: str, buckets: range) -> _Recent:
        """From the database. What it holds of the fleet tells when the log was read."""
        found = await self._store.buckets_of(dimension, name, buckets.start, buckets.stop)
        fleet = found
        if dimension != Dimension.FLEET:
            fleet = await self._store.buckets_of(Dimension.FLEET, "", buckets.start, buckets.stop)
        rows = [row for row in found if row.cell or row.gauges]
        read = [row for row in fleet if row.gauges]
        return _Recent(await asyncio.to_thread(_slices, rows, read, BUCKET_US), bool(found))

    async def _minutes(
        self, dimension: Dimension, name: str, start: int, end: int
    ) -> tuple[Sequence[BucketRow], Sequence[BucketRow]]:
        """Minutes of the series, and of the fleet: those tell when the log was read."""
        rows = await self._store.minutes(dimension, name, start, end)
        if dimension == Dimension.FLEET:
            return rows, rows
        return rows, await self._store.minutes(Dimension.FLEET, "", start, end)


def _remembered(reader: Aggregator, dimension: Dimension, name: str, buckets: range) -> _Recent:
    state, gauges = reader.state, reader.gauges
    series = state.series.find(dimension, name)
    seen, read = gauges.of(dimension, name), gauges.of(Dimension.FLEET, "")
    slices: list[Slice] = []
    for index in buckets:
        cell = series.packed(index) if series is not None else EMPTY
        covered = index in read or cell != EMPTY
        slices.append(Slice(index * BUCKET_US, cell, seen.get(index), covered))
    return _Recent(slices, series is not None)


def _slices(rows: Sequence[BucketRow], read: Iterable[BucketRow], unit_us: int) -> list[Slice]:
    return [*_known(rows, unit_us), *_silent({row.start for row in rows}, read, unit_us)]


def _known(rows: Sequence[BucketRow], unit_us: int) -> Iterator[Slice]:
    for row in rows:
        cell, gauges = unpack(row)
        yield Slice(row.start * unit_us, cell, gauges, covered=True)


def _silent(known: set[int], read: Iterable[BucketRow], unit_us: int) -> Iterator[Slice]:
    """Where the log was read and nothing of this series happened."""
    for row in read:
        if row.start not in known:
            yield Slice(row.start * unit_us, EMPTY, None, covered=True)
