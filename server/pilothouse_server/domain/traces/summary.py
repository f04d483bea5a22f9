"""What is kept of the trace of a run that has ended, so that many of them can be put together without their events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

from pilothouse_server.domain.traces.aggregate import OTHER
from pilothouse_server.domain.traces.alignment import Piece, pieces_of
from pilothouse_server.domain.traces.analysis import Analysis
from pilothouse_server.domain.traces.comparison import Placed
from pilothouse_server.domain.traces.estimate import Past
from pilothouse_server.domain.traces.model import ProblemKind, SpanKind, TimeKind, Trace
from pilothouse_server.domain.workflows import WorkflowState

MAX_STAGES: Final = 200
"""Stages of one run that are told apart; the rest is told together."""
MAX_PIECES: Final = 400
"""Stages and tasks of one run that are kept: all stages first, then the longest tasks."""


class KeptPiece(NamedTuple):
    """Times in microseconds, `start_us` counted from the trace's."""

    piece: Piece
    start_us: int
    duration_us: int
    critical_us: int


@dataclass(frozen=True, slots=True)
class Summary:
    """`reason` tells why there is nothing but how long it took; "" when there is."""

    workflow_id: str
    workflow_type: str
    state: WorkflowState
    attempt: int
    revision: int
    """The trace's."""
    end_us: int
    duration_us: int
    critical: Mapping[str, int]
    """How long each stage is on the critical path; what is in none by its name, and "" what has no name either."""
    split: Mapping[TimeKind, int]
    pieces: Sequence[KeptPiece]
    reason: str = ""


def summary_of(analysis: Analysis) -> Summary:
    """Of a trace of a workflow that has ended."""
    trace = analysis.trace
    reason = analysis.unavailable_reason
    if any(problem.kind == ProblemKind.REMOVED for problem in trace.problems):
        reason = reason or "events of it were removed before it was looked at"
    end_us = analysis.until_us
    length = end_us - trace.start_us
    head = (trace.workflow_id, trace.workflow_type, trace.state, trace.attempt, trace.revision)
    if reason:
        return Summary(*head, end_us, length, {}, {}, (), reason)
    critical = _bounded(analysis.critical_by_stage)
    pieces = _pieces(trace, analysis.critical_within, end_us)
    return Summary(*head, end_us, length, critical, analysis.split, pieces)


def _bounded(critical: Mapping[str, int]) -> Mapping[str, int]:
    if len(critical) <= MAX_STAGES:
        return critical
    ranked = sorted(critical, key=lambda stage: (-critical[stage], stage))
    rest = sum(critical[stage] for stage in ranked[MAX_STAGES:])
    return {**{stage: critical[stage] for stage in ranked[:MAX_STAGES]}, OTHER: rest}


def _pieces(trace: Trace, critical: Mapping[int, int], until_us: int) -> Sequence[KeptPiece]:
    found = [
        (trace.spans[place].kind, KeptPiece(piece, *times, critical.get(place, 0)))
        for piece, place in pieces_of(trace).items()
        if trace.spans[place].kind in {SpanKind.STAGE, SpanKind.TASK}
        for times in [times_of(trace, place, until_us)]
    ]
    if len(found) > MAX_PIECES:
        found.sort(key=lambda each: (each[0], -each[1].duration_us))
    return [kept for _, kept in found[:MAX_PIECES]]


def times_of(trace: Trace, place: int, until_us: int) -> tuple[int, int]:
    """When a span began, counted from the trace's start, and how long it took or has taken until then."""
    span = trace.spans[place]
    end_us = max(until_us, span.start_us) if span.end_us is None else span.end_us
    return span.start_us - trace.start_us, end_us - span.start_us


def placed(analysis: Analysis) -> Mapping[Piece, Placed]:
    """The pieces of one trace, to be compared."""
    trace, critical = analysis.trace, analysis.critical_within
    known = not analysis.unavailable_reason
    return {
        piece: Placed(
            trace.spans[place].id,
            *times_of(trace, place, analysis.until_us),
            critical.get(place, 0) if known else None,
            trace.spans[place].state,
        )
        for piece, place in pieces_of(trace).items()
    }


def median_of(runs: Sequence[Sequence[KeptPiece]]) -> Mapping[Piece, Placed]:
    """What a run of the type has at the median: pieces that at least half of the runs have."""
    found: dict[Piece, list[KeptPiece]] = {}
    for run in runs:
        for kept in run:
            found.setdefault(kept.piece, []).append(kept)
    return {
        piece: Placed(
            "",
            round(median(each.start_us for each in kept)),
            round(median(each.duration_us for each in kept)),
            round(median(each.critical_us for each in kept)),
            None,
        )
        for piece, kept in found.items()
        if 2 * len(kept) >= len(runs)
    }


def past_of(duration_us: int, pieces: Sequence[KeptPiece]) -> Past:
    """A run as an estimate needs it."""
    stages: dict[str, tuple[int, int]] = {}
    for kept in pieces:
        if not kept.piece.task:
            interval = (kept.start_us, kept.start_us + kept.duration_us)
            stages[kept.piece.stage] = max(stages.get(kept.piece.stage, interval), interval)
    return Past(duration_us, stages)
