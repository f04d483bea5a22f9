"""What an alert says: its labels, why it fires and what would clear it in plain words, and the values that decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from pilothouse_server.domain.alerts.conditions import (
    NOTHING,
    AlertMetric,
    AllOf,
    Comparison,
    Condition,
    Observation,
    Threshold,
)
from pilothouse_server.domain.alerts.documents import SIGNS
from pilothouse_server.domain.alerts.rules import LABEL_OF, NoDataPolicy, Rule
from pilothouse_server.domain.alerts.shipped import HEARTBEAT_MISSED, OVER_LIMIT
from pilothouse_server.domain.alerts.templates import expand
from pilothouse_server.domain.metrics.snapshot import Dimension

SECOND_US = 1_000_000


class AlertKind(IntEnum):
    """What an alert is about. The numbers are those of the contract."""

    CONDITION = 1
    NO_DATA = 2


class Evidence(NamedTuple):
    """One comparison that decided, in numbers and in words."""

    subject: str
    value: float | None
    value_text: str
    comparison_text: str
    threshold: float
    samples: int
    threshold_index: int


def labels_of(
    rule: Rule, name: str, kind: AlertKind = AlertKind.CONDITION, *, agent_type: str = ""
) -> Mapping[str, str]:
    """The rule's labels with their templates filled in, and what tells the instance from the rule's others."""
    own = _own_labels(rule, name)
    if agent_type and rule.dimension == Dimension.AGENT:
        own["agent_type"] = agent_type
    if kind == AlertKind.NO_DATA:
        own["alert_kind"] = "no_data"
    given = {label: expand(text, own, None) for label, text in rule.labels.items()}
    return given | own


def _own_labels(rule: Rule, name: str) -> dict[str, str]:
    if rule.id == OVER_LIMIT.id:
        return {"rule": name}
    if rule.id == HEARTBEAT_MISSED.id:
        return {"heartbeat": name}
    label = LABEL_OF.get(rule.dimension)
    return {label: name} if label else {}


def annotations_of(rule: Rule, labels: Mapping[str, str], value: float | None) -> Mapping[str, str]:
    """The rule's annotations with their templates filled in."""
    return {name: expand(text, labels, value) for name, text in rule.annotations.items()}


def evidence_of(rule: Rule, name: str, observed: Sequence[Observation]) -> tuple[Evidence, ...]:
    """What each comparison was made with, in the order of the tree."""
    if rule.id in (OVER_LIMIT.id, HEARTBEAT_MISSED.id):
        return ()  # its summary says all of it
    return tuple(
        Evidence(
            subject=f"{_subject(each)}, {_where(each, name)}",
            value=seen.value,
            value_text=_value(each.metric, seen.value),
            comparison_text=f"{SIGNS[each.comparison]} {_amount(each.metric, each.threshold)}",
            threshold=each.threshold,
            samples=seen.samples,
            threshold_index=index,
        )
        for index, (each, seen) in enumerate(zip(rule.thresholds, observed, strict=True))
    )


_SAID = {
    AlertMetric.LATENCY_P50: "Latency p50",
    AlertMetric.LATENCY_P95: "Latency p95",
    AlertMetric.LATENCY_P99: "Latency p99",
    AlertMetric.ERROR_RATE: "Error rate",
    AlertMetric.SUCCESS_RATE: "Success rate",
    AlertMetric.THROUGHPUT: "Throughput",
    AlertMetric.QUEUE_DEPTH: "Queue depth",
    AlertMetric.AGENT_SILENCE: "Silence",
}

_OPPOSITE = {
    Comparison.GREATER_THAN: "at or below",
    Comparison.GREATER_OR_EQUAL: "below",
    Comparison.LESS_THAN: "at or above",
    Comparison.LESS_OR_EQUAL: "above",
}


def summary_of(
    rule: Rule,
    name: str,
    observed: Sequence[Observation],
    kind: AlertKind = AlertKind.CONDITION,
) -> str:
    """Why it fires, in plain words with the values that decided."""
    if rule.id == OVER_LIMIT.id:
        return f"Rule {name}: {observed[0].value or 0:.0f} instances over the limit were refused"
    if rule.id == HEARTBEAT_MISSED.id:
        first = rule.first
        value = _value(first.metric, observed[0].value)
        return f"Heartbeat {name} not heard for {value}; limit {_amount(first.metric, first.threshold)}"
    if kind == AlertKind.NO_DATA:
        what = _joined(rule.condition, lambda one: _absent(one, name), inner=True)
        return f"No value to judge by: {what}"
    seen = iter(observed)
    return _joined(rule.condition, lambda one: _breach(one, name, next(seen, NOTHING)))


def clears_when(rule: Rule, kind: AlertKind = AlertKind.CONDITION) -> str:
    """What would clear it, in plain words."""
    if rule.id == OVER_LIMIT.id:
        return "The rule has no more instances than are kept"
    if rule.id == HEARTBEAT_MISSED.id:
        return "The heartbeat is heard again"
    no_data = kind == AlertKind.NO_DATA
    cleared = (
        "There is a value again" if no_data else _joined(rule.condition, _cleared, turned=True)
    )
    held = f" for {_span(rule.keep_firing_us)}" if rule.keep_firing_us else ""
    gone = ", or there is no value" if rule.no_data_policy == NoDataPolicy.RESOLVE else ""
    return cleared + held + ("" if no_data else gone)


def _joined(
    condition: Condition,
    said: Callable[[Threshold], str],
    *,
    turned: bool = False,
    inner: bool = False,
) -> str:
    """One comparison as it is; several as `all of: …; …`, and those among them that are several in brackets. `turned`
    says what it takes for the opposite: what needs all of them ends with any of them."""
    if isinstance(condition, Threshold):
        return said(condition)
    which = "all of" if isinstance(condition, AllOf) != turned else "any of"
    each = "; ".join(_joined(one, said, turned=turned, inner=True) for one in condition.conditions)
    return f"{which} ({each})" if inner else f"{which.capitalize()}: {each}"


def _breach(one: Threshold, name: str, seen: Observation) -> str:
    value, limit = _value(one.metric, seen.value), _amount(one.metric, one.threshold)
    if one.metric == AlertMetric.AGENT_SILENCE:
        return f"Agent {name} silent for {value}; limit {limit}"
    return f"{_SAID[one.metric]} {value}{_over(one)}, {_where(one, name)}; limit {limit}"


def _absent(one: Threshold, name: str) -> str:
    few = f", fewer than {one.min_samples:,} that ended" if one.min_samples else ""
    return f"{_subject(one)}, {_where(one, name)}{few}"


def _cleared(one: Threshold) -> str:
    if one.metric == AlertMetric.AGENT_SILENCE:
        return "The agent is heard again, or says goodbye"
    limit = one.threshold if one.recovery_threshold is None else one.recovery_threshold
    few = f" (of at least {one.min_samples:,} that ended)" if one.min_samples else ""
    return f"{_SAID[one.metric]} {_OPPOSITE[one.comparison]} {_amount(one.metric, limit)}{few}"


def _subject(one: Threshold) -> str:
    return f"{_SAID[one.metric]}{_over(one)}"


def _over(one: Threshold) -> str:
    return f" over {_span(one.window_us)}" if one.window_us else ""


def _where(one: Threshold, name: str) -> str:
    label = LABEL_OF.get(one.dimension)
    return f"{label.removesuffix('_id').replace('_', ' ')} {name}" if label else "fleet"


def _value(metric: AlertMetric, value: float | None) -> str:
    return "no value" if value is None else _amount(metric, value)


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
