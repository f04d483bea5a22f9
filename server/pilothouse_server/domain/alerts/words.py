"""What an alert says in plain words: why it fires, and what would clear it."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse_server.domain.alerts.conditions import AlertMetric, Comparison
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.shipped import OVER_LIMIT
from pilothouse_server.domain.alerts.states import Instance
from pilothouse_server.domain.metrics.snapshot import Dimension

SECOND_US = 1_000_000

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
    first = rule.first
    value = "no value" if instance.value is None else _amount(first.metric, instance.value)
    limit = _amount(first.metric, first.threshold)
    if rule.id == OVER_LIMIT.id:
        return f"Rule {name}: {instance.value or 0:.0f} instances over the limit were refused"
    if first.metric == AlertMetric.AGENT_SILENCE:
        return f"Agent {name} silent for {value}; limit {limit}"
    where = "fleet" if rule.dimension == Dimension.FLEET else f"{_scope(rule)} {name}"
    over = "" if first.metric == AlertMetric.QUEUE_DEPTH else f" over {_span(first.window_us)}"
    return f"{_SAID[first.metric]} {value}{over}, {where}; limit {limit}"


def clears_when(rule: Rule) -> str:
    """What would clear it, in plain words."""
    if rule.id == OVER_LIMIT.id:
        return "The rule has no more instances than are kept"
    first = rule.first
    if first.metric == AlertMetric.AGENT_SILENCE:
        cleared = "The agent is heard again, or says goodbye"
    else:
        limit = _amount(first.metric, first.threshold)
        cleared = f"{_SAID[first.metric]} {_OPPOSITE[first.comparison]} {limit}"
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
