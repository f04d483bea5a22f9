"""Answers questions about the past: the last hour from memory, what is older from rollups."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pilothouse_server.domain.errors import InvalidArgument, Unavailable
from pilothouse_server.domain.metrics.checkpoint import BucketRow, unpack
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
from pilothouse_server.services.metrics_keeper import MetricsStore

HOUR_US = 60 * MINUTE_US


class History(NamedTuple):
    """The answer: points, oldest first, and the range as it was used."""

    points: list[MetricPoint]
    range: Range


class MetricHistory:
    """History of one series at a time."""

    def __init__(self, aggregator: Aggregator, store: MetricsStore, clock: Clock) -> None:
        self._aggregator = aggregator
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
        if self._aggregator.latest is None:
            raise Unavailable("snapshot", "the log has not been read yet; try again in a moment")
        if (dimension == Dimension.FLEET) != (not name):
            said = "must be empty for the fleet" if name else "is needed for this dimension"
            raise InvalidArgument("name", said)
        end = self._clock.now_us() if end_us is None else end_us
        start = max(0, end - HOUR_US) if start_us is None else start_us
        if start >= end:
            raise InvalidArgument("start_time", "must be before end_time")
        at = self._aggregator.state.series.at
        wanted = plan(start, end, step_us, (at - BUCKETS) * BUCKET_US)
        if wanted.step_us % MINUTE_US == 0:
            # Minutes are joined with minutes: what is remembered begins with the first whole one.
            border = -(-(at - BUCKETS + 1) // MINUTE_BUCKETS)
            first_bucket = border * MINUTE_BUCKETS
        else:
            border, first_bucket = 0, at - BUCKETS + 1
        # Before anything is awaited: memory slides, and the border would not be its own any more.
        slices = self._remembered(dimension, name, range(first_bucket, at + 1))
        known = self._aggregator.state.series.find(dimension, name) is not None
        if wanted.start_us < border * MINUTE_US:
            first = wanted.start_us // MINUTE_US
            last = min(border, wanted.end_us // MINUTE_US)
            rows, fleet = await self._minutes(dimension, name, first, last)
            known |= bool(rows)
            slices += await asyncio.to_thread(_slices, rows, fleet)
        points = await asyncio.to_thread(join, slices, wanted) if known else []
        return History(points, wanted)

    async def _minutes(
        self, dimension: Dimension, name: str, start: int, end: int
    ) -> tuple[Sequence[BucketRow], Sequence[BucketRow]]:
        """Minutes of the series, and of the fleet: those tell when the log was read."""
        rows = await self._store.minutes(dimension, name, start, end)
        if dimension == Dimension.FLEET:
            return rows, rows
        return rows, await self._store.minutes(Dimension.FLEET, "", start, end)

    def _remembered(self, dimension: Dimension, name: str, buckets: range) -> list[Slice]:
        state, gauges = self._aggregator.state, self._aggregator.gauges
        series = state.series.find(dimension, name)
        seen, read = gauges.of(dimension, name), gauges.of(Dimension.FLEET, "")
        slices: list[Slice] = []
        for index in buckets:
            cell = series.packed(index) if series is not None else EMPTY
            covered = index in read or cell != EMPTY
            slices.append(Slice(index * BUCKET_US, cell, seen.get(index), covered))
        return slices


def _slices(rows: Sequence[BucketRow], fleet: Sequence[BucketRow]) -> list[Slice]:
    return [*_known(rows), *_silent({row.start for row in rows}, fleet)]


def _known(rows: Sequence[BucketRow]) -> Iterator[Slice]:
    for row in rows:
        cell, gauges = unpack(row)
        yield Slice(row.start * MINUTE_US, cell, gauges, covered=True)


def _silent(known: set[int], fleet: Sequence[BucketRow]) -> Iterator[Slice]:
    """Minutes in which the log was read and nothing of this series happened."""
    for row in fleet:
        if row.start not in known:
            yield Slice(row.start * MINUTE_US, EMPTY, None, covered=True)
