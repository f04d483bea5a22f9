"""Heartbeats from outside ⇄ the contract."""

from __future__ import annotations

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import heartbeats_pb2 as pb
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.notifications.channels import Heartbeat
from pilothouse_server.wire.times import duration, duration_us, optional_timestamp, timestamp


def heartbeat_to_proto(heartbeat: Heartbeat, now_us: int) -> pb.ExpectedHeartbeat:
    """The contract's message of a heartbeat."""
    return pb.ExpectedHeartbeat(
        id=heartbeat.id,
        description=heartbeat.description,
        interval=duration(heartbeat.interval_us),
        grace=duration(heartbeat.grace_us),
        severity=enums_pb2.Severity.ValueType(heartbeat.severity),
        channels=heartbeat.channels,
        create_time=timestamp(heartbeat.create_us),
        last_time=optional_timestamp(heartbeat.last_us),
        due_time=timestamp(heartbeat.due_us),
        overdue=heartbeat.due_us <= now_us,
        count=heartbeat.count,
    )


def heartbeat_from_proto(message: pb.ExpectedHeartbeat) -> Heartbeat:
    """What somebody wants to be heard."""
    return Heartbeat(
        id=message.id,
        interval_us=duration_us(message.interval),
        grace_us=duration_us(message.grace),
        description=message.description,
        severity=Severity(message.severity or Severity.CRITICAL),
        channels=tuple(message.channels),
    )
