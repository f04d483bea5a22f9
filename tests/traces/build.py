"""Traces for tests, by the events that they are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.traces.build import trace
from pilothouse_server.domain.traces.facts import TraceFacts
from pilothouse_server.domain.traces.model import ProblemKind, Span, Trace
from tests.projection.build import NOON, SECOND, event

E = EventType
TRACE = "a" * 32


def us(seconds: float) -> int:
    """So many seconds after noon."""
    return NOON + round(seconds * SECOND)


def otel(
    span_id: str, start: float, end: float | None, parent: str = "", **fields: Any
) -> list[Event]:
    """A span of OpenTelemetry: its start, or its end when that is known."""
    fields = {"trace_id": TRACE, "workflow_id": "", "source": "svc", "message": span_id, **fields}
    kind, at = (E.SPAN_STARTED, start) if end is None else (E.SPAN_ENDED, end)
    if end is not None:
        fields["duration_us"] = round((end - start) * SECOND)
    identity = f"otel:{fields['trace_id']}:{span_id}:{'s' if end is None else 'e'}"
    fields.setdefault("id", identity)
    return [event(kind, at=at, span_id=span_id, parent_span_id=parent, **fields)]


def task(task_id: str, kind: EventType, at: float, attempt: int = 1, **fields: Any) -> Event:
    """Something about a task in the stage build."""
    fields.setdefault("stage", "build")
    return event(kind, at=at, task_id=task_id, attempt=attempt, **fields)


def made(events: Iterable[Event], workflow_id: str = "w", **options: Any) -> Trace:
    """What the events make of nothing."""
    facts = TraceFacts(workflow_id, **options)
    for position, each in enumerate(events, 1):
        facts.apply(each, position)
    return trace(facts)


def by_id(found: Trace) -> dict[str, Span]:
    """Its spans by their ids, which are unique."""
    spans = {span.id: span for span in found.spans}
    assert len(spans) == len(found.spans)
    return spans


def kinds(found: Trace) -> dict[ProblemKind, int]:
    """Its problems, and how often each of them is there."""
    return {problem.kind: problem.count for problem in found.problems}


def waits(span: Span) -> list[tuple[str, float, float | None]]:
    """Its waits, in seconds after noon."""
    return [
        (
            wait.kind.name,
            (wait.start_us - NOON) / SECOND,
            None if wait.end_us is None else (wait.end_us - NOON) / SECOND,
        )
        for wait in span.waits
    ]
