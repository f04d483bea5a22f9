"""Deliveries → the contract."""

from __future__ import annotations

from pilothouse.v1 import deliveries_pb2 as pb
from pilothouse_server.domain.notifications.deliveries import Delivery
from pilothouse_server.wire.times import optional_timestamp, timestamp


def delivery_to_proto(delivery: Delivery) -> pb.Delivery:
    """The contract's message of a delivery."""
    return pb.Delivery(
        id=delivery.id,
        channel_id=delivery.channel_id,
        channel_name=delivery.channel_name,
        kind=pb.DeliveryKind.ValueType(delivery.kind),
        state=pb.DeliveryState.ValueType(delivery.state),
        group_labels=delivery.group_labels,
        alert_ids=delivery.alert_ids,
        firing_count=delivery.firing_count,
        resolved_count=delivery.resolved_count,
        create_time=timestamp(delivery.create_us),
        end_time=optional_timestamp(delivery.end_us),
        retry_time=optional_timestamp(delivery.retry_us),
        attempts=delivery.attempts,
        error=delivery.error,
        status_code=delivery.status_code,
    )
