"""What traces tell, for the contract. Times within a trace are offsets from its beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import trace_analysis_pb2 as pb
from pilothouse_server.domain.traces.aggregate import Spread, StageShare
from pilothouse_server.domain.traces.analysis import Analysis
from pilothouse_server.domain.traces.bottlenecks import Bottleneck
from pilothouse_server.domain.traces.comparison import Compared, Row
from pilothouse_server.domain.traces.critical_path import condensed
from pilothouse_server.domain.traces.estimate import Estimate
from pilothouse_server.domain.traces.model import TimeKind
from pilothouse_server.domain.traces.recovery import Recovery
from pilothouse_server.services.trace_analysis import Comparison, Median, Runs, Told
from pilothouse_server.wire.events import error_to_proto
from pilothouse_server.wire.times import duration, optional_duration, optional_timestamp, timestamp

MOST_STEPS: Final = 10_000
MOST_RECOVERIES: Final = 100
MOST_ROWS: Final = 1_000


def shares_to_proto(split: Mapping[TimeKind, int]) -> list[pb.TimeShare]:
    """All kinds that there are, most first."""
    whole = sum(split.values())
    return [
        pb.TimeShare(
            kind=pb.TimeKind.ValueType(kind),
            duration=duration(us),
            share=us / whole if whole else None,
        )
        for kind, us in sorted(split.items(), key=lambda each: (-each[1], each[0]))
    ]


def told_to_proto(told: Told) -> pb.AnalyzeTraceResponse:
    """All that one trace tells."""
    analysis = told.analysis
    trace = analysis.trace
    response = pb.AnalyzeTraceResponse(
        id=trace.id,
        revision=trace.revision,
        until_offset=duration(analysis.until_us - trace.start_us),
        complete=trace.end_us is not None,
        unavailable_reason=analysis.unavailable_reason,
        time_split=shares_to_proto(analysis.split),
        bottlenecks=[_bottleneck_to_proto(each) for each in analysis.bottlenecks],
        recoveries=[_recovery_to_proto(each) for each in analysis.recoveries[:MOST_RECOVERIES]],
        recovery_count=len(analysis.recoveries),
    )
    if analysis.path is not None:
        response.basis = pb.CauseBasis.ValueType(analysis.path.basis)
        response.critical_path.extend(_steps_to_proto(analysis))
    if isinstance(told.estimate, str):
        response.estimate_unavailable_reason = told.estimate
    elif told.estimate is not None:
        response.estimate.CopyFrom(_estimate_to_proto(told.estimate, told.now_us))
    return response


def _steps_to_proto(analysis: Analysis) -> list[pb.CriticalStep]:
    trace, path = analysis.trace, analysis.path
    steps = condensed(() if path is None else path.steps, MOST_STEPS)
    return [
        pb.CriticalStep(
            span_id=trace.spans[step.span].id,
            start_offset=duration(step.start_us - trace.start_us),
            end_offset=duration(step.end_us - trace.start_us),
            kind=pb.TimeKind.ValueType(step.kind),
            name=trace.spans[step.span].name,
        )
        for step in steps
    ]


def _bottleneck_to_proto(found: Bottleneck) -> pb.Bottleneck:
    return pb.Bottleneck(
        label=found.group.label,
        stage=found.group.stage,
        agent_type=found.group.agent_type,
        kind=pb.TimeKind.ValueType(found.group.kind),
        critical_duration=duration(found.critical_us),
        saving=duration(found.saving_us),
        span_ids=found.span_ids,
    )


def _recovery_to_proto(found: Recovery) -> pb.Recovery:
    first, last = found.first_error, found.last_error
    return pb.Recovery(
        span_id=found.span.id,
        name=found.span.name,
        stage=found.span.stage,
        task_id=found.span.task_id,
        failures=found.failures,
        attempts=found.attempts,
        outcome=pb.RecoveryOutcome.ValueType(found.outcome),
        lost_duration=duration(found.lost_us),
        first_error=None if first is None else error_to_proto(first),
        last_error=None if last is None else error_to_proto(last),
    )


def _estimate_to_proto(found: Estimate, now_us: int) -> pb.EndEstimate:
    return pb.EndEstimate(
        end_time=timestamp(now_us + found.median_us),
        earliest_time=timestamp(now_us + found.earliest_us),
        latest_time=timestamp(now_us + found.latest_us),
        run_count=found.runs,
    )


def comparison_to_proto(comparison: Comparison) -> pb.CompareTracesResponse:
    """Traces side by side."""
    return pb.CompareTracesResponse(
        traces=[_compared_trace(each) for each in comparison.traces],
        rows=[_row_to_proto(row) for row in comparison.rows[:MOST_ROWS]],
        row_count=len(comparison.rows),
    )


def _compared_trace(of: Median | Analysis) -> pb.ComparedTrace:
    if isinstance(of, Median):
        return pb.ComparedTrace(
            name=f"median of {of.workflow_type}",
            workflow_type=of.workflow_type,
            duration=duration(of.duration_us),
            run_count=of.runs,
        )
    trace = of.trace
    return pb.ComparedTrace(
        id=trace.id,
        name=trace.name,
        workflow_type=trace.workflow_type,
        state=enums_pb2.WorkflowState.ValueType(trace.state),
        start_time=timestamp(trace.start_us),
        duration=duration(of.until_us - trace.start_us),
    )


def _row_to_proto(row: Row) -> pb.ComparedRow:
    return pb.ComparedRow(
        label=row.piece.label(numbered=row.numbered),
        stage=row.piece.stage,
        task_id=row.piece.task,
        attempt=row.piece.attempt if row.numbered else 0,
        spans=[_compared_span(each) for each in row.spans],
        difference=duration(row.difference_us),
        words=row.words,
    )


def _compared_span(compared: Compared) -> pb.ComparedSpan:
    placed, difference = compared
    kind = pb.DifferenceKind.ValueType(difference)
    if placed is None:
        return pb.ComparedSpan(present=False, difference=kind)
    return pb.ComparedSpan(
        present=True,
        span_id=placed.span_id,
        start_offset=duration(placed.start_us),
        duration=duration(placed.duration_us),
        critical_duration=optional_duration(placed.critical_us),
        state=enums_pb2.WorkState.ValueType(placed.state or 0),
        difference=kind,
    )


def aggregate_to_proto(current: Runs, previous: Runs) -> pb.AggregateTracesResponse:
    """Many runs, and those of the week before."""
    return pb.AggregateTracesResponse(
        current=_runs_to_proto(current), previous=_runs_to_proto(previous)
    )


def _runs_to_proto(runs: Runs) -> pb.TraceAggregate:
    together = runs.together
    return pb.TraceAggregate(
        start_time=optional_timestamp(max(0, runs.window.start_us)),
        end_time=optional_timestamp(max(0, runs.window.end_us)),
        run_count=together.runs,
        failed_count=together.failed,
        duration=None if together.duration is None else _spread(together.duration),
        stages=_stages_to_proto(together.stages),
        time_split=shares_to_proto(together.split),
        truncated=runs.truncated,
    )


def _stages_to_proto(stages: Sequence[StageShare]) -> list[pb.StageCriticality]:
    return [
        pb.StageCriticality(
            stage=each.stage,
            critical=_spread(each.critical),
            share_p50=each.share_p50,
            share_p95=each.share_p95,
            run_count=each.runs,
        )
        for each in stages
    ]


def _spread(spread: Spread) -> pb.DurationSpread:
    return pb.DurationSpread(p50=duration(spread.p50), p95=duration(spread.p95))
