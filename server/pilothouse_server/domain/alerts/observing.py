"""What rules see of a snapshot.

A rule never sees a number that the snapshot does not show: what is not known there is no value here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pilothouse_server.domain.alerts.conditions import NOTHING, AlertMetric, Observation, Threshold
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.metrics.snapshot import (
    Dimension,
    MetricsSnapshot,
    SeriesMetrics,
    WindowMetrics,
)

SECOND_US = 1_000_000


class Seen(NamedTuple):
    """One instance that a rule looks at: the name that tells it from the others, and what is observed."""

    name: str
    observed: tuple[Observation, ...]


HEARD = Observation(0.0, 1)


class Listening(NamedTuple):
    """Since when this engine hears the fleet, and after how much silence an agent is offline."""

    since_us: int
    offline_after_us: int


def observe(
    rule: Rule, snapshot: MetricsSnapshot, ts_us: int, listening: Listening
) -> Iterator[Seen]:
    """Every instance that the rule can see in the snapshot."""
    first = rule.first
    if first.metric == AlertMetric.AGENT_SILENCE:
        yield from _silences(first, snapshot, ts_us, listening)
    elif first.dimension == Dimension.FLEET:
        yield Seen("", (_measured(first, snapshot.fleet),))
    else:
        for series in snapshot.series:
            if series.dimension == first.dimension:
                yield Seen(series.name, (_measured(first, series),))


def unseen(rule: Rule) -> tuple[Observation, ...]:
    """What to think of an instance that the snapshot shows no more. An agent that is not known any more is not
    silent; a series that was forgotten has no value."""
    return tuple(
        HEARD if each.metric == AlertMetric.AGENT_SILENCE else NOTHING for each in rule.thresholds
    )


def _silences(
    rule: Threshold, snapshot: MetricsSnapshot, ts_us: int, listening: Listening
) -> Iterator[Seen]:
    """While the server was down no agent could be heard. So one that was not heard since has no value until we have
    listened for as long as the rule would wait."""
    deaf = ts_us - listening.since_us < rule.threshold * SECOND_US
    for agent_id, agent in snapshot.agents_seen.items():
        silence_us = ts_us - agent.last_seen_us
        if agent.deregistered or silence_us < listening.offline_after_us:
            yield Seen(agent_id, (HEARD,))
        elif deaf and agent.last_seen_us < listening.since_us:
            yield Seen(agent_id, (NOTHING,))
        else:
            yield Seen(agent_id, (Observation(silence_us / SECOND_US, 1),))


def _measured(rule: Threshold, series: SeriesMetrics) -> Observation:
    if rule.metric == AlertMetric.QUEUE_DEPTH:
        states = series.states
        return (
            NOTHING
            if states is None
            else Observation(float(states.queue_depth), states.queue_depth)
        )
    window = series.window(rule.window_us)
    if window is None:
        return NOTHING
    if rule.metric == AlertMetric.THROUGHPUT:
        return Observation(window.throughput, window.completed)
    if rule.metric in (AlertMetric.ERROR_RATE, AlertMetric.SUCCESS_RATE):
        success = rule.metric == AlertMetric.SUCCESS_RATE
        rate = window.success_rate if success else window.error_rate
        return Observation(rate, window.completed + window.failed)
    return _latency(rule.metric, window)


def _latency(metric: AlertMetric, window: WindowMetrics) -> Observation:
    latency = window.latency
    if latency is None:
        return NOTHING
    percentile = {
        AlertMetric.LATENCY_P50: latency.p50_us,
        AlertMetric.LATENCY_P95: latency.p95_us,
        AlertMetric.LATENCY_P99: latency.p99_us,
    }[metric]
    return Observation(percentile / SECOND_US, latency.count)
