"""The workflow's own spans: the whole, its attempts where there are several, and what held it up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pilothouse_server.domain.commands import Command
from pilothouse_server.domain.events import EventType, Usage
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.traces.facts import Report, TraceFacts
from pilothouse_server.domain.traces.model import Link, LinkKind, Span, SpanKind, TimeKind, Wait
from pilothouse_server.domain.workflows import (
    END,
    EVIDENCE_OF_WORK,
    RANK,
    Action,
    WorkflowState,
)

ROOT: Final = "workflow"
"""The id of the workflow's own span."""

_STATE: Final[Mapping[WorkflowState, WorkState]] = {
    WorkflowState.QUEUED: WorkState.QUEUED,
    WorkflowState.RUNNING: WorkState.RUNNING,
    WorkflowState.WAITING: WorkState.RUNNING,
    WorkflowState.PAUSED: WorkState.RUNNING,
    WorkflowState.COMPLETED: WorkState.COMPLETED,
    WorkflowState.FAILED: WorkState.FAILED,
    WorkflowState.CANCELLED: WorkState.CANCELLED,
}
_ENDS: Final = {
    EventType.WORKFLOW_COMPLETED: WorkState.COMPLETED,
    EventType.WORKFLOW_FAILED: WorkState.FAILED,
    EventType.WORKFLOW_CANCELLED: WorkState.CANCELLED,
}
_HELD: Final = {
    EventType.WORKFLOW_PAUSED: TimeKind.PAUSE,
    EventType.WORKFLOW_WAITING: TimeKind.WAIT,
}
_MOVING: Final = (EventType.WORKFLOW_STARTED, EventType.WORKFLOW_RESUMED)


@dataclass(slots=True)
class Attempt:
    """One attempt of the workflow."""

    number: int
    open_us: int
    """When the engine knew of it."""
    start_us: int | None
    end_us: int | None
    state: WorkState
    event_id: str = ""
    end: Report | None = None
    reports: list[Report] = field(default_factory=list[Report])
    """In time."""


class Run:
    """The attempts of a workflow in order, at least one."""

    def __init__(self, facts: TraceFacts, record: WorkflowRecord) -> None:
        by_attempt: dict[int, list[Report]] = {}
        for report in facts.reports.values():
            by_attempt.setdefault(report.attempt, []).append(report)
        numbers = set(by_attempt) | {attempt for _, attempt in facts.stages} | {record.attempt}
        numbers = {number for number in numbers if number <= record.attempt}
        if record.attempt > 1 and record.create_us is not None:
            numbers.add(1)
        self.attempts = [
            self._attempt(number, by_attempt.get(number, []), facts, record)
            for number in sorted(numbers)
        ]
        for one, after in zip(self.attempts, self.attempts[1:], strict=False):
            if one.end_us is None:
                one.end_us, one.state = max(one.open_us, after.open_us), WorkState.FAILED
        self._openings = [attempt.open_us for attempt in self.attempts]

    def at(self, us: int) -> int:
        """The number of the attempt that was open at a time."""
        return self.attempts[max(0, bisect_right(self._openings, us) - 1)].number

    @property
    def several(self) -> bool:
        """Whether attempts have spans of their own."""
        return len(self.attempts) > 1

    def parent_of(self, attempt: int) -> str:
        """The span of an attempt."""
        return f"attempt:{attempt}" if self.several else ROOT

    @staticmethod
    def _attempt(
        number: int, reports: list[Report], facts: TraceFacts, record: WorkflowRecord
    ) -> Attempt:
        reports = sorted(
            reports, key=lambda report: (report.occur_us, report.type, report.event_id)
        )
        started = [each.occur_us for each in reports if each.type == EventType.WORKFLOW_STARTED]
        ends = [each for each in reports if RANK[each.type] == END]
        first = reports[0].occur_us if reports else None
        if number == 1:
            opened = record.known_us if first is None else min(first, record.known_us)
        elif first is not None:
            opened = first
        else:
            times = [
                report.occur_us
                for (_, attempt), work in facts.stages.items()
                if attempt == number
                for report in work.reports
            ]
            opened = min(times, default=record.report_us)
        made = Attempt(
            number, opened, min(started, default=None), None, WorkState.RUNNING, reports=reports
        )
        if ends:
            made.end = min(ends, key=lambda end: (end.occur_us, -end.type, end.event_id))
            made.end_us, made.state = made.end.occur_us, _ENDS[EventType(made.end.type)]
            made.event_id = made.end.event_id
        elif reports:
            made.event_id = reports[-1].event_id
        if number == record.attempt:
            made.end_us, made.state = record.end_us, _STATE[record.state]
            made.start_us = record.start_us if made.start_us is None else made.start_us
        if made.start_us is None:
            made.start_us = _seen_working(facts, opened, made)
        return made


def spans_of(run: Run, record: WorkflowRecord, commands: Sequence[Command]) -> list[Span]:
    """The whole, and its attempts where there are several."""
    last = run.attempts[-1]
    start_us = min(attempt.open_us for attempt in run.attempts)
    root = Span(
        ROOT,
        "",
        SpanKind.WORKFLOW,
        record.name[1] or record.id,
        start_us,
        None if last.end_us is None else max(start_us, last.end_us),
        last.state,
        source=record.source[2],
        agent_id="",
        error=record.error,
        usage=None if record.usage == Usage() else record.usage,
        event_id=last.event_id,
        start_estimated=record.create_us is None and record.start_us is None,
    )  # fmt: skip
    if not run.several:
        root.waits = _waits(last, commands)
        return [root]
    spans = [root]
    before: Attempt | None = None
    for attempt in run.attempts:
        span = Span(
            run.parent_of(attempt.number), ROOT, SpanKind.ATTEMPT, f"attempt {attempt.number}",
            attempt.open_us, None if attempt.end_us is None else max(attempt.open_us, attempt.end_us), attempt.state,
            attempt=attempt.number, source=record.source[2], waits=_waits(attempt, commands), event_id=attempt.event_id,
            error=None if attempt.end is None else attempt.end.error,
        )  # fmt: skip
        if before is not None:
            span.links = [Link(LinkKind.RETRY_OF, run.parent_of(before.number))]
            if before.end_us is not None and before.end_us < attempt.open_us:
                reason = "" if before.end is None else before.end.message
                root.waits.append(Wait(TimeKind.RETRY, before.end_us, attempt.open_us, reason))
        spans.append(span)
        before = attempt
    return spans


def _seen_working(facts: TraceFacts, open_us: int, attempt: Attempt) -> int | None:
    """Since when an attempt was seen at work that nobody said was started: since its first stage or task was. One that
    ended all the same was not queued for all we know."""
    numbered = ((key[1], work) for key, work in facts.stages.items())
    stages = [work for number, work in numbered if number == attempt.number]
    times = [
        report.occur_us
        for work in (*stages, *facts.tasks.values())
        for report in work.reports
        if report.type in EVIDENCE_OF_WORK and report.occur_us >= open_us
    ]
    if times:
        return min(times)
    queued = attempt.state in (WorkState.QUEUED, WorkState.CANCELLED) or attempt.end_us is None
    return None if queued else open_us


def _waits(attempt: Attempt, commands: Sequence[Command]) -> list[Wait]:
    """What held an attempt up: until it was started the queue, then what it reported; none overlaps another."""
    waits: list[Wait] = []
    start_us, end_us = attempt.start_us, attempt.end_us
    held: Wait | None = None
    if start_us is None or start_us > attempt.open_us:
        held = Wait(TimeKind.QUEUE, attempt.open_us, None)
    for at, report in _changes(attempt):
        if end_us is not None and at >= end_us:
            break
        _end(waits, held, at)
        if report is not None and report.type in _HELD:
            held = _hold(_HELD[EventType(report.type)], report, commands)
        elif start_us is None or at < start_us:
            held = Wait(TimeKind.QUEUE, at, None)
        else:
            held = None
    _end(waits, held, end_us)
    return waits


def _changes(attempt: Attempt) -> Iterator[tuple[int, Report | None]]:
    """When what holds it up may have changed, in time; no report where it began to work."""
    started = attempt.start_us
    for report in attempt.reports:
        if started is not None and report.occur_us >= started:
            yield started, None
            started = None
        if report.type in _HELD or report.type in _MOVING:
            yield report.occur_us, report
    if started is not None:
        yield started, None


def _end(waits: list[Wait], held: Wait | None, at: int | None) -> None:
    if held is not None and (at is None or at > held.start_us):
        held.end_us = at
        waits.append(held)


def _hold(kind: TimeKind, report: Report, commands: Sequence[Command]) -> Wait:
    wait = Wait(kind, report.occur_us, None, report.message, command_id=report.command_id)
    if kind != TimeKind.PAUSE:
        return wait
    for command in commands:
        named = command.id == report.command_id
        shown = command.action == Action.PAUSE and command.effect_us == report.occur_us
        if named or (not report.command_id and shown):
            wait.actor, wait.command_id = command.actor, command.id
            wait.reason = command.reason or wait.reason
            break
    return wait
