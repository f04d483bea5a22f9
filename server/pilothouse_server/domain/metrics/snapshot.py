"""Everything that is known at one moment, as an immutable value. What is not known is None, never zero.

Rates and percentiles are derived here and nowhere else, so that the live numbers, history and alerts cannot
disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

OTHER = "__other__"
"""The name of the series of all names over the limit of a dimension."""

MINUTE_US = 60_000_000

WINDOWS_US = (MINUTE_US, 5 * MINUTE_US, 15 * MINUTE_US, 60 * MINUTE_US)
"""The sliding windows, shortest first."""


class Dimension(IntEnum):
    """What a series is about. The numbers are those of the contract."""

    FLEET = 1
    WORKFLOW_TYPE = 2
    STAGE = 3
    AGENT_TYPE = 4
    AGENT = 5


class HealthState(IntEnum):
    """The state of the fleet in one word. The numbers are those of the contract."""

    UNKNOWN = 1
    HEALTHY = 2
    DEGRADED = 3
    UNHEALTHY = 4


class Health(NamedTuple):
    """The state of the fleet, why, and the smallest of success rate (5 min) and agents online / known."""

    state: HealthState
    reasons: tuple[str, ...]
    score: float | None


class StateCounts(NamedTuple):
    """Workflows in each state now, and how much waits: workflows queued and tasks not started."""

    queued: int
    running: int
    waiting: int
    paused: int
    queue_depth: int


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Durations in microseconds. Percentiles have at most 1.1 % relative error, the mean is exact."""

    count: int
    p50_us: float
    p95_us: float
    p99_us: float
    mean_us: float


class WindowMetrics(NamedTuple):
    """What happened in one sliding window, the running bucket included."""

    window_us: int
    started: int
    completed: int
    failed: int
    cancelled: int
    throughput: float | None
    """Completed per second; None until the log has been read for as long as one bucket."""
    latency: LatencySummary | None

    @property
    def error_rate(self) -> float | None:
        """failed / (completed + failed)."""
        return rate(self.failed, self.completed + self.failed)

    @property
    def success_rate(self) -> float | None:
        """completed / (completed + failed): 1 - error_rate, without its rounding."""
        return rate(self.completed, self.completed + self.failed)


class SeriesMetrics(NamedTuple):
    """The windows of one series, shortest first. The same object as long as nothing in it changes."""

    dimension: Dimension
    name: str
    states: StateCounts | None
    """For the fleet and for workflow types."""
    windows: tuple[WindowMetrics, ...]

    def window(self, window_us: int) -> WindowMetrics | None:
        """The window of that length, one of WINDOWS_US."""
        return next((window for window in self.windows if window.window_us == window_us), None)


class Totals(NamedTuple):
    """Since the log began."""

    workflows: int
    completed: int
    failed: int
    cancelled: int
    events: int


class AgentCounts(NamedTuple):
    """How many agents there are; `seen` counts those that said goodbye within 24 h too."""

    online: int
    busy: int
    draining: int
    known: int
    seen: int


class AgentSeen(NamedTuple):
    """When an agent was last heard, by the clock of the server."""

    agent_id: str
    agent_type: str
    last_seen_us: int
    deregistered: bool
    """It said goodbye: its silence is expected."""


class ReaderCounters(NamedTuple):
    """What the reader met. See the contract for each."""

    duplicates: int = 0
    late: int = 0
    beyond_horizon: int = 0
    future: int = 0
    skewed: int = 0
    illegal_transitions: int = 0
    other_names: int = 0
    evicted: int = 0
    undecodable: int = 0


class FiringAlerts(NamedTuple):
    """How many alerts fire now, by what they mean for health."""

    critical: int = 0
    warning: int = 0


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """Everything that is known at one moment."""

    sequence: int
    epoch: str
    as_of_us: int
    """The slot of the 100 ms grid for which it was made."""
    cursor: str
    reader_lag_us: int | None
    health: Health
    series: tuple[SeriesMetrics, ...]
    """The fleet first, then by dimension and name."""
    totals: Totals
    agents: AgentCounts
    reader: ReaderCounters
    tick_interval_us: int
    start_us: int
    events_per_second: float | None
    by_key: Mapping[tuple[Dimension, str], SeriesMetrics] = field(repr=False)
    """`series` by (dimension, name)."""
    agents_seen: Mapping[str, AgentSeen] = field(
        repr=False, default_factory=lambda: MappingProxyType({})
    )
    """Every agent seen within 24 h, by id."""
    caught_up: bool = True
    """Whether everything in the log has been read. While not, "now" is the reader's now."""

    @property
    def fleet(self) -> SeriesMetrics:
        """The series of everything."""
        return self.series[0]


def rate(part: int, whole: int) -> float | None:
    """part / whole; None when there is nothing to divide by."""
    return part / whole if whole else None
