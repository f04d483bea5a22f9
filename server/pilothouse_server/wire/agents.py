"""Agents, for the contract."""

from __future__ import annotations

from pilothouse.v1 import agents_pb2 as pb
from pilothouse.v1 import enums_pb2
from pilothouse_server.domain.targets import agent_etag, agent_stand
from pilothouse_server.services.views import AgentDetail, AgentTask, AgentView
from pilothouse_server.wire.commands import availability_to_proto, command_to_proto
from pilothouse_server.wire.events import load_to_proto
from pilothouse_server.wire.times import optional_duration, timestamp
from pilothouse_server.wire.workflows import task_to_proto


def agent_to_proto(view: AgentView) -> pb.Agent:
    """One agent as it is now."""
    record, pending = view.record, view.pending
    load = record.reported_load
    completed, failed = max(0, record.completed), max(0, record.failed)
    ended = completed + failed
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
        completed_tasks=completed,
        failed_tasks=failed,
        offline_reason=view.offline_reason,
        success_rate=completed / ended if ended else None,
        mean_task_duration=optional_duration(record.mean_task_us),
        pending_command=None if pending is None else command_to_proto(pending),
        actions=[availability_to_proto(each) for each in view.actions],
        etag=agent_etag(agent_stand(record, view.state), "" if pending is None else pending.id),
    )


def detail_to_proto(detail: AgentDetail) -> pb.GetAgentResponse:
    """One agent with what it does."""
    return pb.GetAgentResponse(
        agent=agent_to_proto(detail.view),
        current_tasks=[_task_to_proto(task) for task in detail.current],
        recent_tasks=[_task_to_proto(task) for task in detail.recent],
        commands=[command_to_proto(command) for command in detail.commands],
    )


def _task_to_proto(task: AgentTask) -> pb.AgentTask:
    return pb.AgentTask(
        workflow_id=task.task.workflow_id,
        workflow_type=task.workflow_type,
        task=task_to_proto(task.task),
    )
