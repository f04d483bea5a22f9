"""Alerts → the contract."""

from __future__ import annotations

from pilothouse.v1 import alerts_pb2 as pb
from pilothouse.v1 import enums_pb2
from pilothouse_server.domain.alerts.records import Alert, AlertStep
from pilothouse_server.wire.times import optional_timestamp, timestamp


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
        annotations=alert.annotations,
        kind=pb.AlertKind.ValueType(alert.kind),
        acknowledge_expire_time=optional_timestamp(alert.acknowledge_expire_us),
        assignee=alert.assignee,
        suppression=pb.Suppression(
            silenced_by=alert.suppression.silenced_by,
            inhibited_by=alert.suppression.inhibited_by,
            flapping=alert.suppression.flapping,
        ),
        rule_version=alert.rule_version,
        evidence=[pb.Evidence(**each._asdict()) for each in alert.evidence],
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
        act=pb.AlertAct.ValueType(step.act),
    )
