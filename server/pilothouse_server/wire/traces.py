"""Traces for the contract. Times of spans are offsets from the beginning of their trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pilothouse.v1 import enums_pb2, trace_analysis_pb2
from pilothouse.v1 import traces_pb2 as pb
from pilothouse_server.domain.traces.model import Problem, Skew, Span, Trace, Wait
from pilothouse_server.wire.events import error_to_proto, usage_to_proto
from pilothouse_server.wire.times import (
    duration,
    optional_duration,
    optional_timestamp,
    timestamp,
)

MOST: Final = 100
"""Waits, and links, that are shown of one span."""
SOME: Final = 10
"""Trace ids that are shown of one trace."""


def trace_to_proto(
    trace: Trace, *, spans: int | None = None, errors: int | None = None
) -> pb.Trace:
    """A trace without its spans; None where nobody has counted them."""
    start_us, end_us = trace.start_us, trace.end_us
    return pb.Trace(
        id=trace.id,
        workflow_id=trace.workflow_id,
        workflow_type=trace.workflow_type,
        name=trace.name,
        source=trace.source,
        state=enums_pb2.WorkflowState.ValueType(trace.state),
        attempt=trace.attempt,
        trace_ids=trace.trace_ids[:SOME],
        start_time=timestamp(start_us),
        end_time=optional_timestamp(end_us),
        duration=None if end_us is None else duration(end_us - start_us),
        span_count=spans,
        error_count=errors,
        skews=[_skew_to_proto(skew) for skew in trace.skews],
        problems=[_problem_to_proto(problem) for problem in trace.problems],
        revision=trace.revision,
    )


def whole_to_proto(trace: Trace) -> pb.Trace:
    """A trace of which all spans are known, without them."""
    errors = sum(span.error is not None for span in trace.spans)
    return trace_to_proto(trace, spans=len(trace.spans), errors=errors)


def span_to_proto(
    span: Span,
    start_us: int,
    attributes: Mapping[str, str] | None = None,
    slack_us: int | None = None,
) -> pb.Span:
    """One span of a trace that began at `start_us`."""
    return pb.Span(
        span_id=span.id,
        parent_span_id=span.parent_id,
        kind=pb.SpanKind.ValueType(span.kind),
        name=span.name,
        stage=span.stage,
        task_id=span.task_id,
        attempt=span.attempt,
        agent_id=span.agent_id,
        agent_type=span.agent_type,
        source=span.source,
        state=enums_pb2.WorkState.ValueType(span.state),
        start_offset=duration(span.start_us - start_us),
        end_offset=None if span.end_us is None else duration(span.end_us - start_us),
        waits=[_wait_to_proto(wait, start_us) for wait in span.waits[:MOST]],
        links=[
            pb.SpanLink(
                kind=pb.SpanLinkKind.ValueType(link.kind),
                span_id=link.span_id,
                trace_id=link.trace_id,
            )
            for link in span.links[:MOST]
        ],
        error=None if span.error is None else error_to_proto(span.error),
        usage=None if span.usage is None else usage_to_proto(span.usage),
        attributes=attributes,
        event_id=span.event_id,
        start_estimated=span.start_estimated,
        slack=optional_duration(slack_us),
    )


def _wait_to_proto(wait: Wait, start_us: int) -> pb.SpanWait:
    return pb.SpanWait(
        kind=trace_analysis_pb2.TimeKind.ValueType(wait.kind),
        start_offset=duration(wait.start_us - start_us),
        end_offset=None if wait.end_us is None else duration(wait.end_us - start_us),
        reason=wait.reason,
        actor=wait.actor,
        command_id=wait.command_id,
    )


def _skew_to_proto(skew: Skew) -> pb.ClockSkew:
    return pb.ClockSkew(
        source=skew.source,
        against_source=skew.against,
        offset=duration(skew.offset_us),
        evidence=skew.evidence,
    )


def _problem_to_proto(problem: Problem) -> pb.TraceProblem:
    return pb.TraceProblem(
        kind=pb.TraceProblemKind.ValueType(problem.kind),
        message=problem.message,
        count=problem.count,
        span_ids=problem.span_ids,
    )
