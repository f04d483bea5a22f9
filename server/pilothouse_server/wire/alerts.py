"""Alerts and their rules ⇄ the contract."""

from __future__ import annotations

from pilothouse.v1 import alerts_pb2 as pb
from pilothouse.v1 import enums_pb2, metrics_pb2
from pilothouse_server.domain.alert_records import Alert, AlertStep
from pilothouse_server.domain.alerts import Rule
from pilothouse_server.wire.times import duration, optional_timestamp, timestamp


def alert_to_proto(alert: Alert) -> pb.Alert:
    """The contract's message of an alert."""
    instance = alert.instance
    return pb.Alert(
        id=alert.id,
        rule_id=alert.rule_id,
        rule_name=alert.rule_name,
        labels=alert.labels,
        state=pb.AlertState.ValueType(instance.state),
        severity=enums_pb2.Severity.ValueType(alert.severity),
        summary=alert.summary,
        clears_when=alert.clears_when,
        value=instance.value,
        threshold=alert.threshold,
        active_time=timestamp(instance.active_us),
        fire_time=optional_timestamp(instance.fire_us),
        resolve_time=optional_timestamp(instance.resolve_us),
        acknowledge_time=optional_timestamp(alert.acknowledge_us),
        acknowledged_by=alert.acknowledged_by,
        acknowledge_comment=alert.acknowledge_comment,
        resolved_by=alert.resolved_by,
        update_time=timestamp(alert.update_us),
        etag=alert.etag,
    )


def step_to_proto(step: AlertStep) -> pb.AlertTransition:
    """The contract's message of one step of an alert."""
    return pb.AlertTransition(
        occur_time=timestamp(step.occur_us),
        from_state=pb.AlertState.ValueType(step.from_state),
        to_state=pb.AlertState.ValueType(step.to_state),
        value=step.value,
        actor=step.actor,
        comment=step.comment,
    )


def rule_to_proto(rule: Rule, instance_count: int, evaluation_error: str) -> pb.AlertRule:
    """The contract's message of a rule."""
    return pb.AlertRule(
        id=rule.id,
        name=rule.name,
        description=rule.description,
        enabled=rule.enabled,
        metric=pb.AlertMetric.ValueType(rule.metric),
        dimension=metrics_pb2.MetricDimension.ValueType(rule.dimension),
        window=duration(rule.window_us) if rule.window_us else None,
        comparison=pb.Comparison.ValueType(rule.comparison),
        threshold=rule.threshold,
        for_duration=duration(rule.for_us),
        keep_firing_for=duration(rule.keep_firing_us),
        min_samples=rule.min_samples,
        no_data_policy=pb.NoDataPolicy.ValueType(rule.no_data_policy),
        severity=enums_pb2.Severity.ValueType(rule.severity),
        labels=rule.labels,
        create_time=timestamp(rule.create_us),
        update_time=timestamp(rule.update_us),
        instance_count=instance_count,
        evaluation_error=evaluation_error,
    )
