"""Workflows, their stages and tasks, for the contract."""

from __future__ import annotations

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import workflows_pb2 as pb
from pilothouse_server.domain.commands import etag_of
from pilothouse_server.domain.projection.spans import Span
from pilothouse_server.domain.projection.task import TaskRecord
from pilothouse_server.domain.waiting import Waiting
from pilothouse_server.services.views import WorkflowDetail, WorkflowPage, WorkflowView
from pilothouse_server.wire.commands import availability_to_proto, command_to_proto
from pilothouse_server.wire.events import error_to_proto, stored_to_proto, usage_to_proto
from pilothouse_server.wire.times import optional_duration, optional_timestamp, timestamp


def workflow_to_proto(view: WorkflowView) -> pb.Workflow:
    """One workflow as it is now."""
    record, pending = view.record, view.pending
    start_us, end_us = record.start_us, record.end_us
    known = start_us is not None and end_us is not None
    return pb.Workflow(
        id=record.id,
        workflow_type=record.type[1],
        workflow_name=record.name[1],
        state=enums_pb2.WorkflowState.ValueType(record.state),
        attempt=record.attempt,
        source=record.source[2],
        current_stage=record.current_stage,
        agent_id=record.agent_id,
        stages=[_stage_to_proto(name, span) for name, span in record.stages()],
        create_time=timestamp(record.known_us),
        start_time=optional_timestamp(start_us),
        end_time=optional_timestamp(end_us),
        update_time=timestamp(record.update_us),
        duration=optional_duration(max(0, (end_us or 0) - (start_us or 0)) if known else None),
        error=None if record.error is None else error_to_proto(record.error),
        usage=usage_to_proto(record.usage),
        pending_command=None if pending is None else command_to_proto(pending),
        actions=[availability_to_proto(each) for each in view.actions],
        etag=etag_of(record.attempt, record.state, "" if pending is None else pending.id),
        trace_id=record.trace[1],
        waiting=None if view.waiting is None else _waiting_to_proto(view.waiting),
        forced=record.forced,
    )


def _waiting_to_proto(waiting: Waiting) -> pb.Waiting:
    return pb.Waiting(
        cause=pb.WaitCause.ValueType(waiting.cause),
        reason=waiting.reason,
        since_time=optional_timestamp(waiting.since_us),
        remedy=waiting.remedy,
        action=enums_pb2.ControlAction.ValueType(waiting.action or 0),
        subject=waiting.subject,
    )


def page_to_proto(page: WorkflowPage) -> pb.ListWorkflowsResponse:
    """One page."""
    return pb.ListWorkflowsResponse(
        workflows=[workflow_to_proto(view) for view in page.workflows],
        next_page_token=page.next_token,
        state_counts=[
            pb.StateCount(state=enums_pb2.WorkflowState.ValueType(state), count=count)
            for state, count in page.counts.items()
        ],
        total_capped=page.capped,
    )


def detail_to_proto(detail: WorkflowDetail) -> pb.GetWorkflowResponse:
    """One workflow with what belongs to it."""
    return pb.GetWorkflowResponse(
        workflow=workflow_to_proto(detail.view),
        tasks=[task_to_proto(task) for task in detail.tasks],
        commands=[command_to_proto(command) for command in detail.commands],
        events=[stored_to_proto(event) for event in detail.events],
    )


def task_to_proto(task: TaskRecord) -> pb.Task:
    """One task, its newest attempt."""
    span = task.newest
    return pb.Task(
        id=task.id,
        stage=task.stage[1],
        state=enums_pb2.WorkState.ValueType(span.state),
        attempt=task.attempt,
        agent_id=span.agent[1],
        agent_type=span.agent_type[1],
        queue_time=optional_timestamp(span.queue_us),
        start_time=optional_timestamp(span.start_us),
        end_time=optional_timestamp(span.end_us),
        duration=optional_duration(span.elapsed_us),
        error=None if span.error is None else error_to_proto(span.error),
        message=task.message[1],
    )


def _stage_to_proto(name: str, span: Span) -> pb.Stage:
    return pb.Stage(
        name=name,
        state=enums_pb2.WorkState.ValueType(span.state),
        start_time=optional_timestamp(span.start_us),
        end_time=optional_timestamp(span.end_us),
        duration=optional_duration(span.elapsed_us),
        error=None if span.error is None else error_to_proto(span.error),
    )
