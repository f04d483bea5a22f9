"""Rows of traces: which trace ids there are, and what OpenTelemetry says of those that no workflow names.

A trace that a workflow names is that workflow's, whoever was heard of first. They are written by who holds the counter
of places, so that no other projector is at them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, delete, select

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.adapters.sql.tables_traces import TRACES
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.events import SPAN_TYPES, Event, EventType
from pilothouse_server.domain.workflows import WorkflowState

HEARTBEAT: Final = "pilothouse.heartbeat"
"""The attribute of a start that is told again, because its span goes on."""
BEGUN: Final = ":s"
"""How the ids of events end that tell of a beginning for the first time."""
_C = TRACES.c
_KEPT: Final = (
    "id", "workflow_id", "service", "name", "named_by", "start_us", "last_us", "open", "ended", "failed", "position",
)  # fmt: skip
MOST_OPEN: Final = 100
"""Spans under way that are remembered of one trace."""
_ROOT, _PART = "0", "1"
_NEVER: Final = (1 << 63) - 1


@dataclass(slots=True)
class TraceRow:
    """What is known of one trace id."""

    id: str
    workflow_id: str = ""
    service: str = ""
    name: str = ""
    named_by: str = "2"
    start_us: int = _NEVER
    last_us: int = 0
    open: str = ""
    """Spans that have begun and not ended, each in a line."""
    ended: int = 0
    failed: int = 0
    position: int = 0
    over: set[str] = field(default_factory=set[str])
    """Spans whose end was told now."""

    def take(self, event: Event) -> None:
        """What an event of it says."""
        if event.type not in SPAN_TYPES:
            self.workflow_id = self.workflow_id or event.workflow_id
            return
        start_us = event.occur_us
        if event.type == EventType.SPAN_ENDED:
            start_us -= event.duration_us or 0
            self.ended += 1
            self.over.add(event.span_id)
            self.failed += event.error is not None
            self.last_us = max(self.last_us, event.occur_us)
        elif HEARTBEAT not in event.attributes or event.id.endswith(BEGUN):
            self.open = f"{self.open}\n{event.span_id}".lstrip("\n")
        self.start_us = min(self.start_us, start_us)
        named_by = f"{_PART if event.parent_span_id else _ROOT}{start_us:020}{event.span_id}"
        if named_by < self.named_by:
            self.named_by, self.name, self.service = named_by, event.message, event.source

    def add(self, other: TraceRow) -> None:
        """What is there already."""
        self.workflow_id = other.workflow_id or self.workflow_id
        self.open = f"{other.open}\n{self.open}"
        self.ended += other.ended
        self.failed += other.failed
        if other.start_us:
            self.start_us = min(self.start_us, other.start_us)
        self.last_us = max(self.last_us, other.last_us)
        if other.named_by <= self.named_by:
            self.named_by, self.name, self.service = other.named_by, other.name, other.service

    def close(self, ended: Collection[str] = ()) -> None:
        """Leaves out what was begun and has ended."""
        begun = dict.fromkeys(filter(None, self.open.split("\n")))
        left = [each for each in begun if each not in self.over and each not in ended]
        self.open = "\n".join(left[:MOST_OPEN])

    def row(self) -> bulk.Row:
        """In the order of the table's columns."""
        running = bool(self.open) or not self.ended
        state = WorkflowState.FAILED if self.failed else WorkflowState.COMPLETED
        if running:
            state = WorkflowState.RUNNING
        start_us = 0 if self.start_us == _NEVER else self.start_us
        return (
            self.id, self.workflow_id, self.service, self.name, self.named_by, int(state), start_us, self.last_us,
            None if running else max(0, self.last_us - start_us), self.open, self.ended, self.failed, self.position,
        )  # fmt: skip


def fold(connection: Connection, events: Iterable[Event], position: int) -> None:
    """Takes in new events, all up to that place."""
    rows: dict[str, TraceRow] = {}
    for event in events:
        if not event.trace_id or not (event.workflow_id or event.type in SPAN_TYPES):
            continue
        row = rows.get(event.trace_id)
        if row is None:
            row = rows[event.trace_id] = TraceRow(event.trace_id)
        row.take(event)
    for ids in slices(sorted(rows), bulk.keys_at_once(connection)):
        for known in connection.execute(
            select(*(_C[name] for name in _KEPT)).where(bulk.among(connection, [_C.id], ids))
        ):
            rows[known.id].add(TraceRow(*known))
    ended = _ended(connection, rows.values())
    for row in rows.values():
        row.position = position
        row.close(ended.get(row.id, ()))
    bulk.upsert(connection, TRACES, [rows[each].row() for each in sorted(rows)])


def _ended(connection: Connection, rows: Iterable[TraceRow]) -> dict[str, set[str]]:
    """Of the spans that began now those, by trace, whose end had been told before."""
    ends: dict[str, tuple[str, str]] = {}
    for row in rows:
        row.close()
        for span_id in filter(None, row.open.split("\n")):
            ends[f"otel:{row.id}:{span_id}:e"] = (row.id, span_id)
    found: dict[str, set[str]] = {}
    for ids in slices(sorted(ends), bulk.keys_at_once(connection)):
        query = select(EVENTS.c.id).where(bulk.among(connection, [EVENTS.c.id], ids))
        for event_id in connection.execute(query).scalars():
            trace_id, span_id = ends[event_id]
            found.setdefault(trace_id, set()).add(span_id)
    return found


def remove(connection: Connection, last: int) -> None:
    """Removes those of which all events up to `last` are gone, and so all."""
    connection.execute(delete(TRACES).where(_C.position <= last))
