"""History of one series, downsampled: closed minutes from rollups, the last hour from memory, joined where the
memory begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pilothouse_server.domain.metrics.limits import BUCKET_US, SECOND_US
from pilothouse_server.domain.metrics.series import EMPTY, Cell, PackedCell
from pilothouse_server.domain.metrics.snapshot import LatencySummary, StateCounts, rate
from pilothouse_server.domain.metrics.summary import latency_summary

MINUTE_US = 60 * SECOND_US
MINUTE_BUCKETS = MINUTE_US // BUCKET_US
MAX_POINTS = 2_000
USUAL_POINTS = 240


class Gauges(NamedTuple):
    """What was the case at one moment, as last seen in a bucket. The agents are known with the fleet only."""

    queued: int
    running: int
    waiting: int
    paused: int
    queue_depth: int
    agents_online: int | None = None
    agents_known: int | None = None


class Slice(NamedTuple):
    """What is known of one bucket or minute. `covered` tells that the log was read then, to its end, or that
    something was counted.
    """

    start_us: int
    cell: PackedCell
    gauges: Gauges | None
    covered: bool


class MetricPoint(NamedTuple):
    """One step of history."""

    start_us: int
    started: int
    completed: int
    failed: int
    cancelled: int
    throughput: float
    latency: LatencySummary | None
    states: StateCounts | None
    agents_online: int | None
    agents_known: int | None

    @property
    def error_rate(self) -> float | None:
        """failed / (completed + failed)."""
        return rate(self.failed, self.completed + self.failed)


@dataclass(frozen=True, slots=True)
class Range:
    """What was asked for, on the grid of its step: from `start_us` to before `end_us`."""

    start_us: int
    end_us: int
    step_us: int


@dataclass(slots=True)
class _Step:
    cell: Cell = field(default_factory=Cell)
    gauges: Gauges | None = None
    seen_us: int = -1


def plan(start_us: int, end_us: int, step_us: int | None, memory_from_us: int) -> Range:
    """The range on the grid: the step is a multiple of 5 s, of a minute when it reaches back beyond the memory,
    and so that no more than 2,000 points come.
    """
    span = end_us - start_us
    unit = BUCKET_US if start_us >= memory_from_us else MINUTE_US
    wished = span // USUAL_POINTS if step_us is None else step_us
    # One point of margin, since a range that is not on the grid touches one more.
    least = -(-span // (MAX_POINTS - 1))
    step = max(unit, -(-max(wished, least) // unit) * unit)
    start = start_us // step * step
    return Range(start, max(-(-end_us // step) * step, start + step), step)


def join(slices: Iterable[Slice], wanted: Range) -> list[MetricPoint]:
    """Sums slices, of which none overlap, into steps. A step of which nothing is known is left out."""
    steps: dict[int, _Step] = {}
    for piece in slices:
        if not piece.covered or not wanted.start_us <= piece.start_us < wanted.end_us:
            continue
        start = piece.start_us // wanted.step_us * wanted.step_us
        step = steps.setdefault(start, _Step())
        step.cell.merge_packed(piece.cell)
        if piece.gauges is not None and piece.start_us > step.seen_us:
            step.gauges, step.seen_us = piece.gauges, piece.start_us
    return [_point(start, step, wanted.step_us) for start, step in sorted(steps.items())]


def _point(start_us: int, step: _Step, step_us: int) -> MetricPoint:
    cell, gauges = step.cell, step.gauges
    return MetricPoint(
        start_us=start_us,
        started=cell.started,
        completed=cell.completed,
        failed=cell.failed,
        cancelled=cell.cancelled,
        throughput=cell.completed / (step_us / SECOND_US),
        latency=latency_summary(cell.durations),
        states=None if gauges is None else StateCounts(*gauges[:5]),
        agents_online=None if gauges is None else gauges.agents_online,
        agents_known=None if gauges is None else gauges.agents_known,
    )


def rolled_up(cells: Iterable[PackedCell]) -> PackedCell:
    """The sum of the buckets of a minute."""
    total = Cell()
    for packed in cells:
        if packed != EMPTY:
            total.merge_packed(packed)
    return total.pack()


def last_seen(gauges: Mapping[int, Gauges], buckets: range) -> Gauges | None:
    """The newest of what was seen in these buckets."""
    return next((gauges[index] for index in reversed(buckets) if index in gauges), None)
