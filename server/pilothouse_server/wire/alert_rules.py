"""Rules ⇄ the contract."""

from __future__ import annotations

from pilothouse.v1 import enums_pb2, matchers_pb2, metrics_pb2
from pilothouse.v1 import rules_pb2 as pb
from pilothouse_server.domain.alerts.conditions import AllOf, AnyOf, Condition, Threshold
from pilothouse_server.domain.alerts.matchers import Matcher
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.wire.times import duration, timestamp


def matcher_to_proto(matcher: Matcher) -> matchers_pb2.Matcher:
    """The contract's message of a matcher."""
    kind = matchers_pb2.MatchType.ValueType(matcher.type)
    return matchers_pb2.Matcher(name=matcher.name, type=kind, value=matcher.value)


def condition_to_proto(condition: Condition) -> pb.Condition:
    """The contract's message of a condition."""
    match condition:
        case AllOf(conditions):
            return pb.Condition(all=pb.Conditions(conditions=map(condition_to_proto, conditions)))
        case AnyOf(conditions):
            return pb.Condition(any=pb.Conditions(conditions=map(condition_to_proto, conditions)))
        case Threshold():
            threshold = pb.Threshold(
                metric=pb.AlertMetric.ValueType(condition.metric),
                dimension=metrics_pb2.MetricDimension.ValueType(condition.dimension),
                matchers=map(matcher_to_proto, condition.matchers),
                window=duration(condition.window_us) if condition.window_us else None,
                comparison=pb.Comparison.ValueType(condition.comparison),
                threshold=condition.threshold,
                recovery_threshold=condition.recovery_threshold,
                min_samples=condition.min_samples,
            )
            return pb.Condition(threshold=threshold)


def rule_to_proto(rule: Rule, instance_count: int, evaluation_error: str) -> pb.AlertRule:
    """The contract's message of a rule."""
    return pb.AlertRule(
        id=rule.id,
        name=rule.name,
        description=rule.description,
        enabled=rule.enabled,
        condition=condition_to_proto(rule.condition),
        for_duration=duration(rule.for_us),
        keep_firing_for=duration(rule.keep_firing_us),
        no_data_policy=pb.NoDataPolicy.ValueType(rule.no_data_policy),
        severity=enums_pb2.Severity.ValueType(rule.severity),
        labels=rule.labels,
        annotations=rule.annotations,
        channels=rule.channels,
        escalation=rule.escalation,
        inhibited_by=[
            pb.Inhibition(
                source_matchers=map(matcher_to_proto, each.source_matchers), equal=each.equal
            )
            for each in rule.inhibited_by
        ],
        instance_limit=rule.instance_limit,
        create_time=timestamp(rule.create_us),
        update_time=timestamp(rule.update_us),
        updated_by=rule.updated_by,
        version=rule.version,
        etag=str(rule.version),
        instance_count=instance_count,
        evaluation_error=evaluation_error,
    )
