"""Counts of events → `pilothouse.v1`."""

from __future__ import annotations

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.services.views import EventCounts
from pilothouse_server.wire.times import optional_timestamp


def counts_to_proto(counts: EventCounts) -> pb.CountEventsResponse:
    """All of them, in the order that they have."""
    types = [
        pb.EventTypeCount(type=pb.EventType.ValueType(kind), count=count)
        for kind, count in counts.types.items()
    ]
    severities = [
        pb.SeverityCount(severity=enums_pb2.Severity.ValueType(severity), count=count)
        for severity, count in counts.severities.items()
    ]
    counted_from_us = counts.counted_from_us
    return pb.CountEventsResponse(
        total=counts.total,
        types=types,
        severities=severities,
        exact=counted_from_us is None,
        counted_from_time=optional_timestamp(counted_from_us),
    )
