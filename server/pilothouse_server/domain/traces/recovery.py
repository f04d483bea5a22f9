"""What failed, and what came of it.

Attempts at the same thing are those that links say so of, and those of one stage or one task of a stage by its name,
whichever attempt of the workflow they are in. A failure is told where it began and where it was answered: of spans that
failed because one below them did, only those that were tried again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.model import LinkKind, Span, SpanKind, TimeKind, Trace


class Outcome(IntEnum):
    """How a failure ended. The numbers are those of the contract."""

    RECOVERED = 1
    GAVE_UP = 2
    UNDER_WAY = 3
    ABANDONED = 4


@dataclass(frozen=True, slots=True)
class Recovery:
    """`first_error` and `last_error` are of attempts that failed; the last one is None when it is the same."""

    span: Span
    """The first attempt."""
    failures: int
    attempts: int
    outcome: Outcome
    lost_us: int
    """From the first attempt's beginning to when the last one set to work; to its end while nothing recovered."""
    first_error: EventError | None
    last_error: EventError | None


_UNANSWERED = {WorkState.CANCELLED: Outcome.ABANDONED, WorkState.SKIPPED: Outcome.ABANDONED}


def recoveries(trace: Trace, now_us: int) -> Sequence[Recovery]:
    """By the time lost, most first."""
    until_us = now_us if trace.end_us is None else trace.end_us
    retried = {
        link.span_id
        for span in trace.spans
        for link in span.links
        if link.kind == LinkKind.RETRY_OF and not link.trace_id
    }
    deeper = _failed_below(trace, retried)
    spans = {each.id: each for each in trace.spans}
    found: list[Recovery] = []
    for attempts in _attempts(trace):
        ordered = sorted(attempts, key=lambda each: (each.start_us, each.attempt))
        failed = [each for each in ordered if _failed(each, retried)]
        if not failed or (len(ordered) == 1 and ordered[0].id in deeper):
            continue
        found.append(_recovery(ordered, failed, spans, until_us))
    return sorted(found, key=lambda each: (-each.lost_us, each.span.start_us, each.span.id))


def _failed(span: Span, retried: set[str]) -> bool:
    return span.state in {WorkState.FAILED, WorkState.RETRYING} or (
        span.id in retried and span.state not in {WorkState.COMPLETED, WorkState.CANCELLED}
    )


def _failed_below(trace: Trace, retried: set[str]) -> set[str]:
    """Spans below which one failed."""
    found: set[str] = set()
    for span in reversed(trace.spans):
        if span.id in found or _failed(span, retried):
            found.add(span.parent_id)
    return found


def _attempts(trace: Trace) -> Sequence[Sequence[Span]]:
    """Spans that are attempts at the same thing."""
    leader: dict[str, str] = {}

    def lead(id: str) -> str:
        while (up := leader.get(id, id)) != id:
            leader[id] = leader.get(up, up)
            id = leader[id]
        return id

    named: dict[tuple[SpanKind, str, str], str] = {}
    ids = {span.id for span in trace.spans}
    for span in trace.spans:
        key = _same_thing(span)
        if key is not None:
            leader[lead(span.id)] = lead(named.setdefault(key, span.id))
        for link in span.links:
            if link.kind == LinkKind.RETRY_OF and not link.trace_id and link.span_id in ids:
                leader[lead(span.id)] = lead(link.span_id)
    groups: dict[str, list[Span]] = {}
    for span in trace.spans:
        groups.setdefault(lead(span.id), []).append(span)
    return list(groups.values())


def _same_thing(span: Span) -> tuple[SpanKind, str, str] | None:
    match span.kind:
        case SpanKind.ATTEMPT:
            return (span.kind, "", "")
        case SpanKind.STAGE:
            return (span.kind, span.stage, "")
        case SpanKind.TASK:
            return (span.kind, span.stage, span.task_id)
        case _:
            return None


def _recovery(
    attempts: Sequence[Span], failed: Sequence[Span], spans: Mapping[str, Span], until_us: int
) -> Recovery:
    first, last = attempts[0], attempts[-1]
    outcome = _outcome(last, spans)
    until = until_us if last.end_us is None else last.end_us
    if outcome == Outcome.RECOVERED:
        until = _set_to_work(last)
    errors = [each.error for each in failed if each.error is not None]
    first_error = errors[0] if errors else None
    last_error = errors[-1] if errors and errors[-1] != first_error else None
    lost_us = max(0, until - first.start_us)
    return Recovery(first, len(failed), len(attempts), outcome, lost_us, first_error, last_error)


def _outcome(last: Span, spans: Mapping[str, Span]) -> Outcome:
    if last.state == WorkState.COMPLETED:
        return Outcome.RECOVERED
    if last.state in _UNANSWERED:
        return _UNANSWERED[last.state]
    above = spans.get(last.parent_id)
    over = last.end_us is not None if above is None else above.end_us is not None
    if not over:
        return Outcome.UNDER_WAY
    if last.state == WorkState.FAILED:
        return Outcome.GAVE_UP
    return Outcome.ABANDONED


def _set_to_work(span: Span) -> int:
    """When it did, after waiting to be tried again."""
    at = span.start_us
    for wait in sorted(span.waits, key=lambda each: each.start_us):
        if wait.start_us > at or wait.kind not in {TimeKind.RETRY, TimeKind.QUEUE}:
            break
        at = max(at, at if wait.end_us is None else wait.end_us)
    return at
