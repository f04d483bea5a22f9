"""Alerting rules of Prometheus as rules of ours, and back, where both mean the same.

A series here is named as a recording rule would name it, with its window: `pilothouse:error_ratio:5m`. A window in a
label would keep `and` from ever joining two windows, since PromQL joins what has the same labels. A series of a
dimension has the one label of that dimension, the fleet's has none; so a rule about the fleet has no matcher, and one
about every workflow type has `workflow_type!=""`.

Without a value a condition is false in Prometheus, which is our policy `resolve`. What either side cannot say is
refused with its line, or left out with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pilothouse_server.domain.alerts import formatting
from pilothouse_server.domain.alerts.conditions import (
    AlertMetric,
    AllOf,
    AnyOf,
    Condition,
    Threshold,
)
from pilothouse_server.domain.alerts.documents import COMPARISONS, SIGNS, duration_to_text
from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.rules import LABEL_OF, MOST_INSTANCES, NoDataPolicy, Rule
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import WINDOWS_US, Dimension
from pilothouse_server.rulefiles.prometheus import AlertingRule, RuleFile
from pilothouse_server.rulefiles.promql import And, Compared, Expression, Or
from pilothouse_server.rulefiles.yaml_text import Refused, write

WINDOWED: Mapping[AlertMetric, str] = {
    AlertMetric.LATENCY_P50: "pilothouse:latency_p50_seconds",
    AlertMetric.LATENCY_P95: "pilothouse:latency_p95_seconds",
    AlertMetric.LATENCY_P99: "pilothouse:latency_p99_seconds",
    AlertMetric.ERROR_RATE: "pilothouse:error_ratio",
    AlertMetric.SUCCESS_RATE: "pilothouse:success_ratio",
    AlertMetric.THROUGHPUT: "pilothouse:throughput_per_second",
}
"""With the window behind: `pilothouse:error_ratio:5m`."""
NOW: Mapping[AlertMetric, str] = {
    AlertMetric.QUEUE_DEPTH: "pilothouse:queue_depth",
    AlertMetric.AGENT_SILENCE: "pilothouse:agent_silence_seconds",
}

METRICS: Mapping[str, tuple[AlertMetric, int]] = {
    name: (metric, 0) for metric, name in NOW.items()
} | {
    f"{name}:{duration_to_text(window_us)}": (metric, window_us)
    for metric, name in WINDOWED.items()
    for window_us in WINDOWS_US
}
"""What each name means: a metric and its window."""
_DIMENSION_OF = {label: dimension for dimension, label in LABEL_OF.items()}


class NotSayable(Exception):
    """What a form of rules has no word for."""


def rules_of(file: RuleFile) -> list[Rule]:
    """Rules of ours that mean the same. Raises Refused."""
    for group, line in file.intervals.items():
        raise Refused(
            line,
            f"interval: rules are judged all the time here, so {group!r} cannot have its own; remove it",
        )
    lines: dict[str, int] = {}
    for each in file.rules:
        if each.name in lines:
            told = f"{each.name!r} is in line {lines[each.name]} already; each rule needs a name of its own here"
            raise Refused(each.line, told)
        lines[each.name] = each.line
    return [_rule_of(each) for each in file.rules]


def _rule_of(each: AlertingRule) -> Rule:
    labels = dict(each.labels)
    severity = labels.pop("severity", "warning")
    if severity not in {"warning", "critical"}:
        raise Refused(
            each.lines["labels"], f"severity is warning or critical here, not {severity!r}"
        )
    try:
        condition = _condition_of(each.expression)
    except NotSayable as error:
        raise Refused(each.lines["expr"], f"expr: {error}") from error
    return Rule(
        id="",
        name=each.name,
        condition=condition,
        for_us=each.for_us,
        keep_firing_us=each.keep_firing_us,
        no_data_policy=NoDataPolicy.RESOLVE,
        severity=Severity[severity.upper()],
        labels=labels,
        annotations=dict(each.annotations),
    )


def _condition_of(expression: Expression) -> Condition:
    condition = _tree_of(expression)
    dimensions = {each.dimension for each in Rule("", "", condition).thresholds}
    if len(dimensions) > 1:
        raise NotSayable(
            "series with other labels never meet in and, and fire side by side in or: take those of one kind"
        )
    return condition


def _tree_of(expression: Expression) -> Condition:
    match expression:
        case And(operands):
            return AllOf(tuple(map(_tree_of, operands)))
        case Or(operands):
            return AnyOf(tuple(map(_tree_of, operands)))
        case Compared():
            return _threshold_of(expression)


def _threshold_of(compared: Compared) -> Threshold:
    if compared.metric not in METRICS:
        raise NotSayable(
            f"there is no metric {compared.metric}; there are {', '.join(sorted(METRICS))}"
        )
    if compared.sign not in COMPARISONS:
        raise NotSayable(f"{compared.sign} is not taken here; there are {', '.join(COMPARISONS)}")
    metric, window_us = METRICS[compared.metric]
    dimension, matchers = _scope_of(compared, metric)
    return Threshold(
        metric=metric,
        comparison=COMPARISONS[compared.sign],
        threshold=compared.number,
        dimension=dimension,
        matchers=matchers,
        window_us=window_us,
    )


def _scope_of(compared: Compared, metric: AlertMetric) -> tuple[Dimension, tuple[Matcher, ...]]:
    names = list(dict.fromkeys(matcher.name for matcher in compared.matchers))
    for name in names:
        if name not in _DIMENSION_OF:
            raise NotSayable(
                f"{compared.metric} has no label {name}; there are {', '.join(_DIMENSION_OF)}"
            )
    if len(names) > 1:
        raise NotSayable(f"no series of {compared.metric} has both {' and '.join(names)}")
    matchers = tuple(each for each in compared.matchers if not _is_any(each))
    if metric == AlertMetric.AGENT_SILENCE:
        if names not in ([], [LABEL_OF[Dimension.AGENT]]):
            raise NotSayable(f"{compared.metric} has the label {LABEL_OF[Dimension.AGENT]} only")
        return Dimension.AGENT, matchers
    if not names:
        return Dimension.FLEET, ()
    if _takes_none(compared.matchers):
        told = f"{matchers[0]} is also true of series without {names[0]}, as that of the fleet"
        raise NotSayable(f'{told}; add {names[0]}!=""')
    return _DIMENSION_OF[names[0]], matchers


def _takes_none(matchers: Sequence[Matcher]) -> bool:
    return all(each.matches({}) for each in matchers)


def _is_any(matcher: Matcher) -> bool:
    return matcher.type == MatchType.NOT_EQUAL and not matcher.value


def write_prometheus(rules: Sequence[Rule]) -> tuple[str, list[str]]:
    """A rule file, and a sentence for each rule that cannot be in it."""
    said: list[dict[str, object]] = []
    left_out: list[str] = []
    for rule in rules:
        reasons = list(_unsayable(rule))
        if reasons:
            left_out.append(f"{rule.id or rule.name}: Prometheus cannot say {'; '.join(reasons)}")
        else:
            said.append(_written(rule))
    group = {"name": "pilothouse", "rules": said}
    return write({"groups": [group]}), left_out


def _written(rule: Rule) -> dict[str, object]:
    document: dict[str, object] = {"alert": rule.name, "expr": expression_text(rule.condition)}
    if rule.for_us:
        document["for"] = duration_to_text(rule.for_us)
    if rule.keep_firing_us:
        document["keep_firing_for"] = duration_to_text(rule.keep_firing_us)
    document["labels"] = {"severity": rule.severity.name.lower(), **rule.labels}
    if annotations := _annotations(rule):
        document["annotations"] = annotations
    return document


def _annotations(rule: Rule) -> dict[str, str]:
    """With the description, which Prometheus' rules have nowhere else."""
    said = {} if not rule.description else {"description": rule.description}
    return said | dict(rule.annotations)


def _unsayable(rule: Rule) -> Iterator[str]:
    """What of a rule has no word in Prometheus."""
    if not rule.enabled:
        yield "that a rule is disabled"
    if rule.no_data_policy != NoDataPolicy.RESOLVE:
        yield f"no_data {rule.no_data_policy.name.lower()}; without a value its alerts are resolved"
    if rule.for_us % 1000 or rule.keep_firing_us % 1000:
        yield "microseconds"
    if rule.channels or rule.escalation or rule.inhibited_by:
        yield "channels, an escalation or inhibitions, which are Alertmanager's"
    if "{{" in rule.description:
        yield "{{ in a description"
    if rule.description and "description" in rule.annotations:
        yield "a description beside an annotation of that name"
    if rule.instance_limit != MOST_INSTANCES:
        yield "instance_limit for a rule alone"
    if len({each.dimension for each in rule.thresholds}) > 1:
        yield "a condition about the fleet that holds for each of its parts"
    for each in rule.thresholds:
        if each.recovery_threshold is not None:
            yield "a recovery_threshold"
        if each.min_samples:
            yield "min_samples"


def expression_text(condition: Condition) -> str:
    """The condition in PromQL."""
    match condition:
        case AllOf(conditions):
            return " and ".join(_inner_text(each) for each in conditions)
        case AnyOf(conditions):
            return " or ".join(_inner_text(each) for each in conditions)
        case Threshold():
            return _comparison_text(condition)


def _inner_text(condition: Condition) -> str:
    text = expression_text(condition)
    return text if isinstance(condition, Threshold) else f"({text})"


def _comparison_text(threshold: Threshold) -> str:
    name = NOW.get(threshold.metric)
    if name is None:
        name = f"{WINDOWED[threshold.metric]}:{duration_to_text(threshold.window_us)}"
    matchers = list(map(str, threshold.matchers))
    label = LABEL_OF.get(threshold.dimension)
    if label and threshold.metric != AlertMetric.AGENT_SILENCE and _takes_none(threshold.matchers):
        matchers.append(f'{label}!=""')
    scope = f"{{{','.join(matchers)}}}" if matchers else ""
    return f"{name}{scope} {SIGNS[threshold.comparison]} {formatting.number(threshold.threshold)}"
