"""What events say of a trace, gathered in any order, each as often as it comes: the same facts lead to the same trace.

Only attempts that are not numbered depend on the order in which they are read, as they do for the projection. What is
kept is bounded: the first `MAX_SPANS` pieces of work, whose further reports are taken, and the rest is counted.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pilothouse_server.domain.events import (
    SPAN_TYPES,
    STAGE_TYPES,
    TASK_TYPES,
    WORKFLOW_TYPES,
    Event,
    EventError,
    EventType,
    Usage,
)
from pilothouse_server.domain.projection.spans import MEANING, UNSTATED, Stated, failure_of
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.workflows import END, REPORTED, resolve_attempt

MAX_SPANS: Final = 100_000
"""Pieces of work that are shown of one trace."""
MAX_REPORTS: Final = 64
"""Reports that are kept of one attempt of a task or a stage; more say nothing that these do not."""
MAX_WORKFLOW_REPORTS: Final = 20_000
MAX_TRACE_IDS: Final = 10
MAX_SOURCES: Final = 256
"""Sources whose clocks are compared."""

LINKS: Final = "otel.links"
"""The attribute that tells a span's links: a JSON list of {trace_id, span_id}."""

OF_WORK: Final = WORKFLOW_TYPES | STAGE_TYPES | TASK_TYPES
TOLD_OF: Final = OF_WORK | SPAN_TYPES
"""The types that a trace is made of."""
ENDS: Final = frozenset(kind for kind, meaning in MEANING.items() if meaning[0] == END) | {
    int(EventType.SPAN_ENDED)
}
"""The types that end a piece of work: one of each."""


class Report(NamedTuple):
    """What one event says of one attempt of something."""

    occur_us: int
    type: int
    event_id: str
    attempt: int
    source: str
    agent_id: str
    agent_type: str
    message: str
    duration_us: int | None
    error: EventError | None
    usage: Usage | None
    command_id: str


class Work:
    """One attempt of a stage or of a task; `name` is the stage's name or the task's id."""

    __slots__ = ("attempt", "name", "parents", "queue", "reports", "spans", "stage")

    def __init__(self, name: str, attempt: int) -> None:
        self.name = name
        self.attempt = attempt
        self.stage: Stated = UNSTATED
        self.queue: Stated = UNSTATED
        self.reports: list[Report] = []
        self.spans: tuple[str, ...] = ()
        """OpenTelemetry's ids of it, in order."""
        self.parents: tuple[str, ...] = ()
        """OpenTelemetry's ids of what is above it, in order."""

    def take(self, report: Report, event: Event) -> None:
        """One of its reports."""
        if len(self.reports) < MAX_REPORTS:
            self.reports.append(report)
        if event.stage:
            self.stage = max(self.stage, (event.occur_us, event.stage))
        if event.queue:
            self.queue = max(self.queue, (event.occur_us, event.queue))
        if event.span_id and event.span_id not in self.spans:
            self.spans = (*sorted((*self.spans, event.span_id)),)[:4]
        if event.parent_span_id and event.parent_span_id not in self.parents:
            self.parents = (*sorted((*self.parents, event.parent_span_id)),)[:4]


class RawSpan:
    """A span as OpenTelemetry reports it. Of several ends the one that was received first stands, and so does the first
    of several beginnings."""

    __slots__ = (
        "agent_id", "agent_type", "duration_us", "end_key", "end_us", "error", "id", "key", "links", "name", "parent",
        "source", "stage", "start_us", "task_id", "twice", "usage", "workflow_id",
    )  # fmt: skip

    def __init__(self, span_id: str) -> None:
        self.id = span_id
        self.key: tuple[int, int, str] | None = None
        """(0 for an end, received when, event id) of the event that tells who it is; the least stands."""
        self.end_key: tuple[int, str] | None = None
        self.start_us: int | None = None
        """As a start said it."""
        self.end_us: int | None = None
        self.duration_us: int | None = None
        self.name = self.parent = self.source = self.stage = self.task_id = ""
        self.agent_id = self.agent_type = self.workflow_id = ""
        self.error: EventError | None = None
        self.usage: Usage | None = None
        self.links = ""
        """What it is linked to, as its event says it."""
        self.twice = False
        """Whether its id is used for different spans."""

    def take(self, event: Event) -> None:
        """One of its events."""
        ended = event.type == EventType.SPAN_ENDED
        if self.key is not None and (event.parent_span_id, event.source) != (
            self.parent,
            self.source,
        ):
            self.twice = True
        key = (0 if ended else 1, event.receive_us, event.id)
        if self.key is None or key < self.key:
            self.key = key
            self.name, self.parent, self.source = event.message, event.parent_span_id, event.source
            self.stage, self.task_id, self.workflow_id = (
                event.stage,
                event.task_id,
                event.workflow_id,
            )
            self.agent_id, self.agent_type = event.agent_id, event.agent_type
            self.links = event.attributes.get(LINKS, "")
        if not ended:
            if self.start_us is None or event.occur_us < self.start_us:
                self.start_us = event.occur_us
            return
        end_key = (event.receive_us, event.id)
        if self.end_key is not None and end_key[1] != self.end_key[1]:
            self.twice = True
        if self.end_key is None or end_key < self.end_key:
            self.end_key = end_key
            self.end_us, self.duration_us = event.occur_us, event.duration_us
            self.error, self.usage = event.error, event.usage

    @property
    def begin_us(self) -> int | None:
        """When it began: as a start said it, else as the end tells it."""
        if self.start_us is not None:
            return self.start_us
        if self.end_us is None or self.duration_us is None:
            return None
        return self.end_us - self.duration_us

    @property
    def first_us(self) -> int:
        """The earliest that was said of it."""
        said = [] if self.start_us is None else [self.start_us]
        if self.end_us is not None:
            said.append(self.end_us - (self.duration_us or 0))
        return min(said)

    @property
    def event_id(self) -> str:
        """The event that tells most of it."""
        return "" if self.key is None else self.key[2]


class TraceFacts:
    """All that is known of one trace. With a workflow, spans that name another workflow are not of it."""

    def __init__(self, workflow_id: str = "", *, limit: int = MAX_SPANS) -> None:
        self.workflow_id = workflow_id
        self.record = WorkflowRecord(workflow_id)
        self.reports: dict[str, Report] = {}
        """Of the workflow itself, by event."""
        self.roots: dict[str, None] = {}
        """OpenTelemetry's ids of the workflow's own span."""
        self.above: dict[str, None] = {}
        """OpenTelemetry's ids of what is above the workflow."""
        self.stages: dict[tuple[str, int], Work] = {}
        self.tasks: dict[tuple[str, int], Work] = {}
        self.raw: dict[str, RawSpan] = {}
        self.elsewhere: set[str] = set()
        """OpenTelemetry's ids of what other workflows do."""
        self.trace_ids: dict[str, None] = {}
        self.latencies: dict[str, int] = {}
        """For each source the shortest time between when something happened by its clock and when it was received;
        less than nothing for a clock that is ahead."""
        self.ahead: set[str] = set()
        """Sources of times that were too far ahead to be believed."""
        self.refused = 0
        """Pieces of work beyond the limit, as far as they were told."""
        self.revision = 0
        self._limit = limit
        self._newest: dict[str, tuple[int, bool]] = {}
        """For each task its newest attempt, and whether that was begun."""
        self._texts: dict[str, str] = {}

    @property
    def count(self) -> int:
        """Pieces of work that are kept."""
        return len(self.stages) + len(self.tasks) + len(self.raw)

    def apply(self, event: Event, position: int = 0) -> None:
        """Takes in an event of it."""
        self.revision = max(self.revision, position)
        kind = event.type
        if kind not in TOLD_OF:
            return
        if self.workflow_id and event.workflow_id not in ("", self.workflow_id):
            if event.span_id:
                self.elsewhere.add(event.span_id)
            return
        self._note(event)
        if kind in SPAN_TYPES:
            self._span(event)
        elif kind in TASK_TYPES:
            self._task(event)
        elif kind in STAGE_TYPES:
            self._stage(event)
        else:
            self._workflow(event)
        if kind in OF_WORK:
            # What was consumed is added up by the projection: here an event may come again.
            self.record.apply(event if event.usage is None else event._replace(usage=None))

    def _note(self, event: Event) -> None:
        source = event.source
        if event.trace_id and len(self.trace_ids) < MAX_TRACE_IDS:
            self.trace_ids[event.trace_id] = None
        latency = event.receive_us - event.occur_us
        known = self.latencies.get(source)
        if known is None and len(self.latencies) >= MAX_SOURCES:
            return
        if known is None or latency < known:
            self.latencies[source] = latency
        if event.future:
            self.ahead.add(source)

    def _span(self, event: Event) -> None:
        raw = self.raw.get(event.span_id)
        if raw is None:
            if self._full(event.type):
                return
            raw = self.raw[event.span_id] = RawSpan(event.span_id)
        raw.take(event)

    def _workflow(self, event: Event) -> None:
        attempt = resolve_attempt(event.type, event.attempt, self.record.standing)
        if len(self.reports) < MAX_WORKFLOW_REPORTS and event.forced_after_us is None:
            self.reports[event.id] = self._report(event, attempt)
        if event.span_id:
            self.roots[event.span_id] = None
        if event.parent_span_id:
            self.above[event.parent_span_id] = None

    def _stage(self, event: Event) -> None:
        attempt = event.attempt or self.record.attempt
        self._work(self.stages, event.stage, attempt, event)

    def _task(self, event: Event) -> None:
        kind, task_id = event.type, event.task_id
        newest, begun = self._newest.get(task_id, (1, False))
        attempt = event.attempt or newest + (kind == EventType.TASK_RETRYING and begun)
        if attempt >= newest:
            begun = MEANING[kind][0] >= REPORTED or (begun and attempt == newest)
            self._newest[task_id] = (attempt, begun)
        if kind == EventType.TASK_RETRYING and attempt > 1:
            failed = event._replace(type=EventType.TASK_FAILED)
            self._work(self.tasks, task_id, attempt - 1, failed)
            event = event._replace(agent_id="", agent_type="", usage=None, error=None)
        self._work(self.tasks, task_id, attempt, event)

    def _work(self, of: dict[tuple[str, int], Work], name: str, attempt: int, event: Event) -> None:
        work = of.get((name, attempt))
        if work is None:
            if self._full(event.type):
                return
            work = of[name, attempt] = Work(name, attempt)
        work.take(self._report(event, attempt), event)

    def _full(self, kind: int) -> bool:
        if self.count < self._limit:
            return False
        self.refused += kind in ENDS
        return True

    def _report(self, event: Event, attempt: int) -> Report:
        text = self._texts.setdefault
        return Report(
            event.occur_us,
            event.type,
            event.id,
            attempt,
            text(event.source, event.source),
            text(event.agent_id, event.agent_id),
            text(event.agent_type, event.agent_type),
            event.message,
            event.duration_us,
            failure_of(event),
            event.usage,
            event.command_id,
        )
