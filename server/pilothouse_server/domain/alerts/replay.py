"""What a rule would have been shown at a slot of the past, made anew from what history stores.

History is pieces: closed buckets of 5 s, or minutes, of each series. A window is the running sum of the pieces that end
in it, added as they come and taken out as they leave, as live windows are; the numbers in it are derived by the same
functions. Only the windows that a rule looks at are kept. A series is shown as it was live: while something is in
flight, or something happened within the last hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pilothouse_server.domain.alerts.conditions import AlertMetric
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.metrics.history import Gauges
from pilothouse_server.domain.metrics.limits import BUCKET_US
from pilothouse_server.domain.metrics.series import EMPTY, Cell, PackedCell
from pilothouse_server.domain.metrics.snapshot import (
    WINDOWS_US,
    AgentCounts,
    AgentSeen,
    Dimension,
    Health,
    HealthState,
    MetricsSnapshot,
    ReaderCounters,
    SeriesMetrics,
    StateCounts,
    Totals,
    WindowMetrics,
)
from pilothouse_server.domain.metrics.summary import SHOWN_WITH_STATES, window_metrics

SHOWN_US = WINDOWS_US[-1]
"""A series is shown for so long after anything happened in it."""

_LATENCIES = (AlertMetric.LATENCY_P50, AlertMetric.LATENCY_P95, AlertMetric.LATENCY_P99)
_WINDOWLESS = (AlertMetric.QUEUE_DEPTH, AlertMetric.AGENT_SILENCE)
_NO_HEALTH = Health(HealthState.UNKNOWN, (), None)

Key = tuple[Dimension, str]


class Piece(NamedTuple):
    """What history has of one series from one slot to the next."""

    key: Key
    cell: PackedCell
    gauges: Gauges | None


class Needs(NamedTuple):
    """What a rule looks at."""

    dimensions: frozenset[Dimension]
    windows_us: tuple[int, ...]
    """Shortest first."""
    latency: bool

    @property
    def longest_us(self) -> int:
        """The longest window; 0 when there is none."""
        return max(self.windows_us, default=0)


def needs_of(rule: Rule) -> Needs:
    """What has to be read for it; the fleet in any case, since it tells when the log was read."""
    thresholds = rule.thresholds
    windows = {each.window_us for each in thresholds if each.metric not in _WINDOWLESS}
    return Needs(
        frozenset({Dimension.FLEET, *(each.dimension for each in thresholds)}),
        tuple(sorted(windows)),
        any(each.metric in _LATENCIES for each in thresholds),
    )


class _Window:
    """The sum of the pieces that end in one window."""

    __slots__ = ("cell", "length_us", "pieces")

    def __init__(self, length_us: int) -> None:
        self.length_us = length_us
        self.cell = Cell()
        self.pieces: deque[tuple[int, PackedCell]] = deque()

    def slide(self, ts_us: int) -> bool:
        """Takes out what ended at or before its begin. Returns whether there was something."""
        pieces, before = self.pieces, ts_us - self.length_us
        changed = False
        while pieces and pieces[0][0] <= before:
            self.cell.merge_packed(pieces.popleft()[1], -1)
            changed = True
        return changed

    def add(self, ts_us: int, packed: PackedCell) -> None:
        self.pieces.append((ts_us, packed))
        self.cell.merge_packed(packed)

    def clear(self) -> None:
        self.cell = Cell()
        self.pieces.clear()


class _Replayed:
    """One series."""

    __slots__ = ("_needs", "_shown", "gauges", "happened_us", "key", "stale", "windows")

    def __init__(self, key: Key, needs: Needs) -> None:
        self.key = key
        self.windows = tuple(_Window(length) for length in needs.windows_us)
        self.gauges: Gauges | None = None
        self.happened_us = -SHOWN_US
        self.stale = True
        self._needs = needs
        self._shown: SeriesMetrics | None = None

    def slide(self, ts_us: int) -> None:
        for window in self.windows:
            if window.slide(ts_us):
                self.stale = True

    def add(self, ts_us: int, packed: PackedCell) -> None:
        self.happened_us = max(self.happened_us, ts_us)
        self.stale = True
        for window in self.windows:
            window.add(ts_us, packed)

    def see(self, gauges: Gauges | None) -> None:
        """What was the case at the end of a slot in which the log was read; None is nothing in flight."""
        if gauges != self.gauges:
            self.gauges, self.stale = gauges, True

    def is_shown(self, ts_us: int) -> bool:
        """Whether a snapshot would have it: the fleet always."""
        if not self.key[1] or ts_us - self.happened_us < SHOWN_US:
            return True
        return self.gauges is not None and any(self.gauges[:5])

    def shown(self, *, known: bool) -> SeriesMetrics:
        """As a snapshot has it; the same object for as long as nothing in it changes."""
        if self._shown is None or self.stale:
            self._shown = SeriesMetrics(*self.key, self._states(), tuple(self._made(known=known)))
            self.stale = False
        return self._shown

    def _states(self) -> StateCounts | None:
        if self.key[0] not in SHOWN_WITH_STATES:
            return None
        return StateCounts(0, 0, 0, 0, 0) if self.gauges is None else StateCounts(*self.gauges[:5])

    def _made(self, *, known: bool) -> Iterable[WindowMetrics]:
        for window in self.windows:
            yield window_metrics(
                window.cell, window.length_us, known=known, latency=self._needs.latency
            )


class Replay:
    """Give it each slot's pieces in turn; `snapshot` is then what was shown at its end."""

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._series: dict[Key, _Replayed] = {}
        self._known = False
        self._covered_us = 0
        self._fleet = self._of((Dimension.FLEET, ""))

    def restart_windows(self) -> None:
        """The pieces to come are of another length: the windows are filled anew with them."""
        for series in self._series.values():
            series.stale = True
            for window in series.windows:
                window.clear()

    def take(self, ts_us: int, pieces: Iterable[Piece], covered_us: int) -> None:
        """What happened in the slot that ends at `ts_us`. In so much of it the log was read, to its end."""
        covered = covered_us > 0
        self._note_covered(covered_us)
        sampled: set[Key] = set()
        for piece in pieces:
            series = self._of(piece.key)
            if piece.cell != EMPTY:
                series.add(ts_us, piece.cell)
            if piece.gauges is not None:
                sampled.add(piece.key)
                series.see(piece.gauges)
        for series in self._series.values():
            series.slide(ts_us)
            if covered and series.key not in sampled:
                series.see(None)

    def _note_covered(self, covered_us: int) -> None:
        """Throughput is known once the log was read for as long as one bucket."""
        self._covered_us += covered_us
        if not self._known and self._covered_us > BUCKET_US:
            self._known = True
            for series in self._series.values():
                series.stale = True

    def _of(self, key: Key) -> _Replayed:
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Replayed(key, self._needs)
        return series

    def snapshot(self, ts_us: int, agents: Mapping[str, AgentSeen]) -> MetricsSnapshot:
        """What was shown, as far as the rule looks at it."""
        named = (each for each in self._series.values() if each is not self._fleet)
        series = tuple(
            each.shown(known=self._known) for each in (self._fleet, *named) if each.is_shown(ts_us)
        )
        return MetricsSnapshot(
            sequence=0,
            epoch="",
            as_of_us=ts_us,
            cursor="",
            reader_lag_us=0,
            health=_NO_HEALTH,
            series=series,
            totals=Totals(0, 0, 0, 0, 0),
            agents=AgentCounts(0, 0, 0, 0, 0),
            reader=ReaderCounters(),
            tick_interval_us=0,
            start_us=0,
            events_per_second=None,
            by_key=MappingProxyType({(each.dimension, each.name): each for each in series}),
            agents_seen=agents,
        )

    def forget(self, ts_us: int) -> None:
        """Lets go of the series that are shown no more; they come back with their next piece."""
        for key in [key for key, each in self._series.items() if not each.is_shown(ts_us)]:
            del self._series[key]
