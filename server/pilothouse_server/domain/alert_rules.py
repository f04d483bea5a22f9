"""What rules see of a snapshot, how they say it, and the five that ship.

A rule never sees a number that the snapshot does not show: what is not known there is no value here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pilothouse_server.domain.alerts import AlertMetric, Comparison, Instance, Observation, Rule
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import (
    MINUTE_US,
    Dimension,
    MetricsSnapshot,
    SeriesMetrics,
    WindowMetrics,
)

SECOND_US = 1_000_000

OVER_LIMIT = Rule(
    id="rule-over-limit",
    name="RuleOverLimit",
    description="A rule has more instances than are kept: those that exist stay, new ones are refused.",
    metric=AlertMetric.QUEUE_DEPTH,
    comparison=Comparison.GREATER_THAN,
    threshold=0,
    severity=Severity.WARNING,
)
"""The rule about rules; its instances are rule ids, its value how many instances were refused in the slot."""


class Seen(NamedTuple):
    """One instance that a rule looks at: the name that tells it from the others, and what is observed."""

    name: str
    observation: Observation


NOTHING = Observation(None)
HEARD = Observation(0.0, 1)


class Listening(NamedTuple):
    """Since when this engine hears the fleet, and after how much silence an agent is offline."""

    since_us: int
    offline_after_us: int


def observe(
    rule: Rule, snapshot: MetricsSnapshot, ts_us: int, listening: Listening
) -> Iterator[Seen]:
    """Every instance that the rule can see in the snapshot."""
    if rule.metric == AlertMetric.AGENT_SILENCE:
        yield from _silences(rule, snapshot, ts_us, listening)
    elif rule.dimension == Dimension.FLEET:
        yield Seen("", _measured(rule, snapshot.fleet))
    else:
        for series in snapshot.series:
            if series.dimension == rule.dimension:
                yield Seen(series.name, _measured(rule, series))


def unseen(rule: Rule) -> Observation:
    """What to think of an instance that the snapshot shows no more. An agent that is not known any more is not
    silent; a series that was forgotten has no value."""
    return HEARD if rule.metric == AlertMetric.AGENT_SILENCE else NOTHING


def _silences(
    rule: Rule, snapshot: MetricsSnapshot, ts_us: int, listening: Listening
) -> Iterator[Seen]:
    """While the server was down no agent could be heard. So one that was not heard since has no value until we have
    listened for as long as the rule would wait."""
    deaf = ts_us - listening.since_us < rule.threshold * SECOND_US
    for agent_id, agent in snapshot.agents_seen.items():
        silence_us = ts_us - agent.last_seen_us
        if agent.deregistered or silence_us < listening.offline_after_us:
            yield Seen(agent_id, HEARD)
        elif deaf and agent.last_seen_us < listening.since_us:
            yield Seen(agent_id, NOTHING)
        else:
            yield Seen(agent_id, Observation(silence_us / SECOND_US, 1))


def _measured(rule: Rule, series: SeriesMetrics) -> Observation:
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


_LABEL = {
    Dimension.WORKFLOW_TYPE: "workflow_type",
    Dimension.STAGE: "stage",
    Dimension.AGENT_TYPE: "agent_type",
    Dimension.AGENT: "agent_id",
}


def labels_of(rule: Rule, name: str) -> Mapping[str, str]:
    """The rule's labels, and what tells the instance from the rule's others."""
    if rule.id == OVER_LIMIT.id:
        return {**rule.labels, "rule_id": name}
    label = _LABEL.get(rule.dimension)
    return {**rule.labels, label: name} if label else dict(rule.labels)


_SAID = {
    AlertMetric.LATENCY_P50: "Latency p50",
    AlertMetric.LATENCY_P95: "Latency p95",
    AlertMetric.LATENCY_P99: "Latency p99",
    AlertMetric.ERROR_RATE: "Error rate",
    AlertMetric.SUCCESS_RATE: "Success rate",
    AlertMetric.THROUGHPUT: "Throughput",
    AlertMetric.QUEUE_DEPTH: "Queue depth",
    AlertMetric.AGENT_SILENCE: "silent",
}

_OPPOSITE = {
    Comparison.GREATER_THAN: "at or below",
    Comparison.GREATER_OR_EQUAL: "below",
    Comparison.LESS_THAN: "at or above",
    Comparison.LESS_OR_EQUAL: "above",
}


def summary_of(rule: Rule, name: str, instance: Instance) -> str:
    """Why it fires, in plain words with the values that decided."""
    value = "no value" if instance.value is None else _amount(rule.metric, instance.value)
    limit = _amount(rule.metric, rule.threshold)
    if rule.id == OVER_LIMIT.id:
        return f"Rule {name}: {instance.value or 0:.0f} instances over the limit were refused"
    if rule.metric == AlertMetric.AGENT_SILENCE:
        return f"Agent {name} silent for {value}; limit {limit}"
    where = "fleet" if rule.dimension == Dimension.FLEET else f"{_scope(rule)} {name}"
    over = "" if rule.metric == AlertMetric.QUEUE_DEPTH else f" over {_span(rule.window_us)}"
    return f"{_SAID[rule.metric]} {value}{over}, {where}; limit {limit}"


def clears_when(rule: Rule) -> str:
    """What would clear it, in plain words."""
    if rule.id == OVER_LIMIT.id:
        return "The rule has no more instances than are kept"
    if rule.metric == AlertMetric.AGENT_SILENCE:
        cleared = "The agent is heard again, or says goodbye"
    else:
        limit = _amount(rule.metric, rule.threshold)
        cleared = f"{_SAID[rule.metric]} {_OPPOSITE[rule.comparison]} {limit}"
    return cleared + (f" for {_span(rule.keep_firing_us)}" if rule.keep_firing_us else "")


def _scope(rule: Rule) -> str:
    return _LABEL[rule.dimension].removesuffix("_id").replace("_", " ")


def _amount(metric: AlertMetric, value: float) -> str:
    match metric:
        case AlertMetric.LATENCY_P50 | AlertMetric.LATENCY_P95 | AlertMetric.LATENCY_P99:
            return f"{value * 1000:,.0f} ms" if value < 10 else f"{value:,.1f} s"
        case AlertMetric.ERROR_RATE | AlertMetric.SUCCESS_RATE:
            return f"{value * 100:.4g} %"
        case AlertMetric.THROUGHPUT:
            return f"{value:.3g}/s"
        case AlertMetric.QUEUE_DEPTH:
            return f"{value:,.0f}"
        case AlertMetric.AGENT_SILENCE:
            return _span(round(value) * SECOND_US)


def _span(us: int) -> str:
    minutes, seconds = divmod(us // SECOND_US, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount) or "0 s"


SHIPPED: tuple[Rule, ...] = (
    Rule(
        id="latency-p95",
        name="Latency p95",
        description=(
            "95 % of the workflows that ended in the last 5 minutes should have taken no longer than "
            "500 ms. Fires when that is not so for 5 minutes; fewer than 20 ended workflows in the "
            "window say too little to judge by."
        ),
        metric=AlertMetric.LATENCY_P95,
        comparison=Comparison.GREATER_THAN,
        threshold=0.5,
        window_us=5 * MINUTE_US,
        for_us=5 * MINUTE_US,
        keep_firing_us=MINUTE_US,
        min_samples=20,
        severity=Severity.WARNING,
    ),
    Rule(
        id="error-rate",
        name="Error rate",
        description=(
            "More than 5 % of the workflows that ended in the last 5 minutes failed. Fires after 1 "
            "minute; fewer than 20 ended workflows say too little to judge by, so that one failure in"
            " an idle fleet is no outage."
        ),
        metric=AlertMetric.ERROR_RATE,
        comparison=Comparison.GREATER_THAN,
        threshold=0.05,
        window_us=5 * MINUTE_US,
        for_us=MINUTE_US,
        keep_firing_us=MINUTE_US,
        min_samples=20,
        severity=Severity.CRITICAL,
    ),
    Rule(
        id="agent-offline",
        name="Agent offline",
        description=(
            "Nothing was heard of an agent for 2 minutes, and it did not say goodbye. One alert for "
            "each agent."
        ),
        metric=AlertMetric.AGENT_SILENCE,
        dimension=Dimension.AGENT,
        comparison=Comparison.GREATER_OR_EQUAL,
        threshold=120.0,
        severity=Severity.WARNING,
    ),
    Rule(
        id="success-rate-sla",
        name="Success rate (SLA)",
        description=(
            "Less than 99.5 % of the workflows that ended in the last hour completed. Fires after 5 "
            "minutes; fewer than 200 ended workflows say too little, since one failure among them "
            "would be more than 0.5 %."
        ),
        metric=AlertMetric.SUCCESS_RATE,
        comparison=Comparison.LESS_THAN,
        threshold=0.995,
        window_us=60 * MINUTE_US,
        for_us=5 * MINUTE_US,
        keep_firing_us=5 * MINUTE_US,
        min_samples=200,
        severity=Severity.CRITICAL,
        labels={"sla": "success-rate"},
    ),
    Rule(
        id="queue-depth",
        name="Queue depth",
        description=(
            "More than 1,000 workflows and tasks wait. Fires after 1 minute, so that a burst that is "
            "taken at once does not."
        ),
        metric=AlertMetric.QUEUE_DEPTH,
        comparison=Comparison.GREATER_THAN,
        threshold=1000.0,
        for_us=MINUTE_US,
        keep_firing_us=MINUTE_US,
        severity=Severity.WARNING,
    ),
)
"""The rules of a new database. Their ids are stable."""
