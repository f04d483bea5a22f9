"""Rules and snapshots for the tests of alerts, with everything that does not matter filled in."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pilothouse_server.domain.alerts.conditions import AlertMetric, Comparison, Threshold
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.metrics.snapshot import (
    MINUTE_US,
    WINDOWS_US,
    AgentCounts,
    AgentSeen,
    Dimension,
    Health,
    HealthState,
    LatencySummary,
    MetricsSnapshot,
    ReaderCounters,
    SeriesMetrics,
    StateCounts,
    Totals,
    WindowMetrics,
)

SECOND = 1_000_000
T0 = 1_000_000 * SECOND
"""The slot at which tests begin."""


OF_THRESHOLD = frozenset(field.name for field in fields(Threshold))


def over(threshold: float = 10.0, **given: Any) -> Threshold:
    """Queue depth over 10."""
    plain: dict[str, Any] = {
        "metric": AlertMetric.QUEUE_DEPTH,
        "comparison": Comparison.GREATER_THAN,
        "threshold": threshold,
    }
    return Threshold(**(plain | given))


def rule(**given: Any) -> Rule:
    """Queue depth over 10, for 0; what is about the comparison goes there."""
    of_threshold = {name: given.pop(name) for name in OF_THRESHOLD & given.keys()}
    plain: dict[str, Any] = {"id": "r", "name": "Rule", "condition": over(**of_threshold)}
    return Rule(**(plain | given))


def window(
    minutes: int, completed: int = 0, failed: int = 0, p95: float | None = None
) -> WindowMetrics:
    """One window; `p95` in seconds."""
    us = None if p95 is None else p95 * SECOND
    latency = None if us is None else LatencySummary(completed + failed, us, us, us, us)
    return WindowMetrics(minutes * MINUTE_US, 0, completed, failed, 0, None, latency)


def series(
    dimension: Dimension = Dimension.FLEET,
    name: str = "",
    *,
    depth: int = 0,
    windows: tuple[WindowMetrics, ...] = (),
) -> SeriesMetrics:
    """One series; the windows that are not given are empty."""
    given = {each.window_us: each for each in windows}
    filled = tuple(given.get(us) or window(us // MINUTE_US) for us in WINDOWS_US)
    return SeriesMetrics(dimension, name, StateCounts(depth, 0, 0, 0, depth), filled)


def snapshot(
    *each: SeriesMetrics,
    agents: tuple[AgentSeen, ...] = (),
    ts_us: int = T0,
    caught_up: bool = True,
) -> MetricsSnapshot:
    """What the aggregator knows at a slot; the fleet is there in any case."""
    all_series = each if each and each[0].dimension == Dimension.FLEET else (series(), *each)
    return MetricsSnapshot(
        sequence=1,
        epoch="e",
        as_of_us=ts_us,
        cursor="",
        reader_lag_us=0,
        health=Health(HealthState.HEALTHY, (), None),
        series=all_series,
        totals=Totals(0, 0, 0, 0, 0),
        agents=AgentCounts(0, 0, 0, 0, 0),
        reader=ReaderCounters(),
        tick_interval_us=100_000,
        start_us=0,
        events_per_second=None,
        by_key={(one.dimension, one.name): one for one in all_series},
        agents_seen={agent.agent_id: agent for agent in agents},
        caught_up=caught_up,
    )


def depth(waiting: int) -> MetricsSnapshot:
    """A fleet in which so much waits."""
    return snapshot(series(depth=waiting))


def agent(name: str, last_seen_us: int, *, deregistered: bool = False) -> AgentSeen:
    """An agent that was last heard then."""
    return AgentSeen(name, "coder", last_seen_us, deregistered)
