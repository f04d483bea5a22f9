"""Agents, for the contract."""

from __future__ import annotations

from pilothouse.v1 import agents_pb2 as pb
from pilothouse.v1 import enums_pb2
from pilothouse_server.services.views import AgentView
from pilothouse_server.wire.events import load_to_proto
from pilothouse_server.wire.times import timestamp


def agent_to_proto(view: AgentView) -> pb.Agent:
    """One agent as it is now."""
    record = view.record
    load = record.reported_load
    return pb.Agent(
        id=record.id,
        agent_type=record.type[1],
        source=record.source[1],
        state=enums_pb2.AgentState.ValueType(view.state),
        load=None if load is None else load_to_proto(load),
        register_time=timestamp(record.register_us),
        last_seen_time=timestamp(record.last_seen_us),
        workflow_id=view.workflow_id,
        task_id=view.task_id,
        completed_tasks=max(0, record.completed),
        failed_tasks=max(0, record.failed),
        offline_reason=view.offline_reason,
    )
