"""Queues, for the contract."""

from __future__ import annotations

from pilothouse.v1 import queues_pb2 as pb
from pilothouse_server.services.views import QueueView
from pilothouse_server.wire.commands import availability_to_proto, command_to_proto
from pilothouse_server.wire.times import timestamp


def queue_to_proto(view: QueueView) -> pb.Queue:
    """One queue as it is now."""
    name, pending, paused_by = view.name, view.pending, view.paused_by
    return pb.Queue(
        source=name.source,
        name=name.name,
        workflow_type=name.workflow_type,
        agent_type=name.agent_type,
        state=pb.QueueState.ValueType(view.state),
        since_time=timestamp(view.since_us) if view.heard_us else None,
        update_time=timestamp(view.heard_us) if view.heard_us else None,
        pending_command=None if pending is None else command_to_proto(pending),
        paused_by=None if paused_by is None else command_to_proto(paused_by),
        actions=[availability_to_proto(each) for each in view.actions],
    )
