"""Makes snapshots of a state. Only what changed since the one before is computed anew; the rest are the same
objects.

`steps` yields between series so that whoever drives it can let others run: the state must not change until it
is through.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pilothouse_server.domain.histogram import Histogram
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.health import judge
from pilothouse_server.domain.metrics.limits import BUCKET_US, CLOSING_US, SECOND_US
from pilothouse_server.domain.metrics.series import Cell
from pilothouse_server.domain.metrics.snapshot import (
    WINDOWS_US,
    Dimension,
    FiringAlerts,
    LatencySummary,
    MetricsSnapshot,
    SeriesMetrics,
    StateCounts,
    WindowMetrics,
)

_FRACTIONS = (0.5, 0.95, 0.99)
SHOWN_WITH_STATES = (Dimension.FLEET, Dimension.WORKFLOW_TYPE)

Key = tuple[Dimension, str]
_Made = tuple[tuple[object, ...], SeriesMetrics]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a snapshot needs to know beside the state."""

    as_of_us: int
    cursor: str
    reader_lag_us: int | None
    caught_up: bool
    tick_interval_us: int
    firing: FiringAlerts
    events_per_second: float | None
    offline_after_us: int = 30_000_000
    """An agent is offline when it was not heard for so long."""
    troubles: tuple[str, ...] = ()
    """What is wrong with the server itself."""


class SnapshotMaker:
    """Numbers the snapshots of one epoch."""

    def __init__(self, epoch: str, start_us: int) -> None:
        self._epoch = epoch
        self._start_us = start_us
        self._sequence = 0
        self._made: dict[Key, _Made] = {}

    def steps(self, state: MetricsState, moment: Moment) -> Generator[None, None, MetricsSnapshot]:
        """Yields after each series and returns the snapshot. A series of which there is nothing to show is left
        out.
        """
        now = moment.as_of_us // BUCKET_US
        closed = (moment.as_of_us - CLOSING_US) // BUCKET_US
        state.series.at = max(state.series.at, now)
        state.ledger.closed = max(state.ledger.closed, closed)
        known = bool(state.since_us) and moment.as_of_us - state.since_us >= BUCKET_US
        made: dict[Key, _Made] = {}
        for series in state.series:
            series.settle(now)
            series.close(closed)
            if series.blank and series.name:
                continue
            key = (series.dimension, series.name)
            version = (series, series.version, tuple(series.live), known)
            before = self._made.get(key)
            if before is not None and before[0] == version:
                made[key] = before
            else:
                shown = summarize(*key, series.live, series.windows, known=known)
                made[key] = (version, shown)
            yield
        self._made = made
        return self._snapshot(state, moment)

    def _snapshot(self, state: MetricsState, moment: Moment) -> MetricsSnapshot:
        self._sequence += 1
        by_key = {key: self._made[key][1] for key in sorted(self._made)}
        agents = state.agents.count(moment.as_of_us, moment.offline_after_us)
        fleet = by_key[Dimension.FLEET, ""]
        return MetricsSnapshot(
            sequence=self._sequence,
            epoch=self._epoch,
            as_of_us=moment.as_of_us,
            cursor=moment.cursor,
            reader_lag_us=moment.reader_lag_us,
            health=judge(
                has_data=state.events > 0,
                fleet=fleet,
                agents=agents,
                firing=moment.firing,
                reader_lag_us=moment.reader_lag_us,
                troubles=moment.troubles,
            ),
            series=tuple(by_key.values()),
            totals=state.totals(),
            agents=agents,
            reader=state.counters(),
            tick_interval_us=moment.tick_interval_us,
            start_us=self._start_us,
            events_per_second=moment.events_per_second,
            by_key=MappingProxyType(by_key),
            agents_seen=MappingProxyType(state.agents.sightings(moment.as_of_us)),
            caught_up=moment.caught_up,
        )


def summarize(
    dimension: Dimension,
    name: str,
    live: Sequence[int],
    windows: Sequence[Cell],
    *,
    known: bool,
) -> SeriesMetrics:
    """What a snapshot shows of one series, of its states now and the sums of its windows. `known` tells whether the log
    has been read for as long as one bucket.
    """
    return SeriesMetrics(
        dimension=dimension,
        name=name,
        states=state_counts(live) if dimension in SHOWN_WITH_STATES else None,
        windows=tuple(
            window_metrics(cell, length, known=known)
            for cell, length in zip(windows, WINDOWS_US, strict=True)
        ),
    )


def state_counts(live: Sequence[int]) -> StateCounts:
    """Workflows by state, and what waits: workflows queued and tasks not started."""
    queued, running, waiting, paused, tasks = live
    return StateCounts(queued, running, waiting, paused, queued + tasks)


def window_metrics(
    cell: Cell, length_us: int, *, known: bool, latency: bool = True
) -> WindowMetrics:
    """One window of the sum of its buckets; without `latency` nobody looks at its percentiles."""
    return WindowMetrics(
        window_us=length_us,
        started=cell.started,
        completed=cell.completed,
        failed=cell.failed,
        cancelled=cell.cancelled,
        throughput=cell.completed / (length_us / SECOND_US) if known else None,
        latency=latency_summary(cell.durations) if latency else None,
    )


def latency_summary(durations: Histogram) -> LatencySummary | None:
    """Percentiles and mean; None when nothing was measured."""
    found = durations.quantiles(_FRACTIONS)
    mean = durations.mean_us
    if found is None or mean is None:
        return None
    return LatencySummary(durations.count, found[0], found[1], found[2], mean)
