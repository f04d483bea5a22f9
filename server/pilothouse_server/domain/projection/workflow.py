"""A workflow as its events show it."""

from __future__ import annotations

import json
from typing import Any, Final

from pilothouse_server.domain.events import (
    STAGE_TYPES,
    Event,
    EventError,
    EventType,
    Usage,
)
from pilothouse_server.domain.projection.spans import (
    FAILED,
    UNSTATED,
    Span,
    Stated,
    WorkState,
    dump_error,
    failure_of,
    load_error,
    to_json,
)
from pilothouse_server.domain.workflows import (
    END,
    EVIDENCE_OF_WORK,
    RANK,
    UNKNOWN,
    Standing,
    WorkflowState,
    inferred_standing,
    resolve_attempt,
    standing_of,
    state_of,
)

MAX_SPANS: Final = 256
"""Stages of all attempts that are remembered; those of the oldest attempts go first."""
MAX_STAGES: Final = 64
"""Stages that are shown."""

_STARTED = EventType.WORKFLOW_STARTED


class WorkflowRecord:
    """One workflow. Times in microseconds, by the clocks of its sources; None is not known."""

    __slots__ = (
        "agent_id", "create_us", "error_key", "first_us", "id", "last_error", "name", "plan", "source", "spans",
        "standing", "start", "trace", "type", "update_us", "usage",
    )  # fmt: skip

    def __init__(self, workflow_id: str) -> None:
        self.id = workflow_id
        self.type: Stated = UNSTATED
        self.name: Stated = UNSTATED
        self.trace: Stated = UNSTATED
        self.source: tuple[bool, int, str] = (False, -1, "")
        """(said by an event of the workflow itself, when, who)."""
        self.standing: Standing = UNKNOWN
        self.start = (0, 0)
        """(attempt, negative of its earliest start); attempt 0: no start is known."""
        self.create_us: int | None = None
        self.first_us: int | None = None
        """The earliest of all its times."""
        self.update_us = 0
        self.plan: tuple[int, int, tuple[str, ...]] = (0, 0, ())
        """(attempt, when, names)."""
        self.error_key: tuple[int, int, str] = (-1, 0, "")
        """(when, type, event id) of the last error."""
        self.last_error: EventError | None = None
        """Of any attempt: see `error`."""
        self.usage = Usage()
        self.spans: dict[tuple[int, str], Span] = {}
        """By attempt and name of the stage."""
        self.agent_id = ""
        """Who works on it: found from its tasks, not from its own events."""

    def apply(self, event: Event) -> None:
        """Takes in an event that names this workflow."""
        kind, occur_us = event.type, event.occur_us
        rank = RANK[kind]
        if self.first_us is None or occur_us < self.first_us:
            self.first_us = occur_us
        self.update_us = max(self.update_us, occur_us)
        self._identify(event, occur_us, own=rank >= 0)
        if event.usage is not None:
            self.usage += event.usage
        if rank >= 0:
            self._apply_report(event)
        else:
            if kind in STAGE_TYPES:
                self._apply_stage(event)
            if kind in EVIDENCE_OF_WORK and self.standing < (1, 2):
                self.standing = max(self.standing, inferred_standing(occur_us, kind, event.id))
        if event.error is not None or kind in FAILED:
            self._apply_error(event)

    def _apply_error(self, event: Event) -> None:
        error, key = failure_of(event), (event.occur_us, -event.type, event.id)
        if error is not None and key > self.error_key:
            self.error_key, self.last_error = key, error

    def _identify(self, event: Event, occur_us: int, *, own: bool) -> None:
        if event.workflow_type:
            self.type = max(self.type, (occur_us, event.workflow_type))
        if event.workflow_name:
            self.name = max(self.name, (occur_us, event.workflow_name))
        if event.trace_id:
            self.trace = max(self.trace, (occur_us, event.trace_id))
        if event.source:
            self.source = max(self.source, (own, occur_us, event.source))

    def _apply_report(self, event: Event) -> None:
        kind, occur_us = event.type, event.occur_us
        attempt = resolve_attempt(kind, event.attempt, self.standing)
        self.standing = max(self.standing, standing_of(kind, attempt, occur_us, event.id))
        if kind == _STARTED:
            self.start = max(self.start, (attempt, -occur_us))
        elif kind == EventType.WORKFLOW_CREATED and (
            self.create_us is None or occur_us < self.create_us
        ):
            self.create_us = occur_us
        if event.stage_plan:
            self.plan = max(self.plan, (attempt, occur_us, event.stage_plan))

    def _apply_stage(self, event: Event) -> None:
        key = (event.attempt or self.attempt, event.stage)
        span = self.spans.get(key)
        if span is None:
            span = self.spans[key] = Span()
            if len(self.spans) > MAX_SPANS:
                del self.spans[min(self.spans)]
        span.apply(event)

    @property
    def attempt(self) -> int:
        """The newest attempt, from 1."""
        return max(self.standing[0], 1)

    @property
    def start_us(self) -> int | None:
        """When work on the newest attempt began."""
        return -self.start[1] if self.start[0] == self.attempt else None

    @property
    def end_us(self) -> int | None:
        """When the newest attempt ended."""
        return -self.standing[2] if self.standing[1] == END else None

    @property
    def report_us(self) -> int:
        """The time of the report that decided the state."""
        return abs(self.standing[2])

    @property
    def state(self) -> WorkflowState:
        """Where it stands; QUEUED when all that is known is that it is."""
        if self.standing == UNKNOWN:
            return WorkflowState.QUEUED
        return state_of(self.standing, started=self.start_us is not None)

    @property
    def error(self) -> EventError | None:
        """What went wrong last in the newest attempt; None once that completed: it got over what went wrong."""
        begun_us = self._begun_us
        before = begun_us is not None and self.error_key[0] <= begun_us
        return None if before or self.state == WorkflowState.COMPLETED else self.last_error

    @property
    def _begun_us(self) -> int | None:
        """When an attempt after the first was started or, as long as it was not, last reported."""
        if self.attempt == 1:
            return None
        if self.start_us is not None:
            return self.start_us
        return None if self.standing[1] == END else self.report_us

    @property
    def known_us(self) -> int:
        """When the engine knew of it; the earliest time of its events when it never said so."""
        return self.create_us if self.create_us is not None else self.first_us or 0

    @property
    def current_stage(self) -> str:
        """The stage that began last and has not ended."""
        if self.standing[1] == END:
            return ""
        running = [
            (span.start_us or 0, name)
            for (attempt, name), span in self.spans.items()
            if attempt == self.attempt and span.state == WorkState.RUNNING
        ]
        return max(running)[1] if running else ""

    def stages(self) -> list[tuple[str, Span]]:
        """The stages of the newest attempt: in the order of the plan, then of their start. A stage that an earlier
        attempt completed and that this one did not touch is shown as it was; one that is only planned is QUEUED."""
        newest = self.attempt
        shown: dict[str, tuple[int, Span]] = {}
        for (attempt, name), span in self.spans.items():
            if attempt == newest or (attempt < newest and span.state == WorkState.COMPLETED):
                other = shown.get(name)
                if other is None or other[0] < attempt:
                    shown[name] = (attempt, span)
        planned = [(name, shown.pop(name, (0, Span()))[1]) for name in dict.fromkeys(self.plan[2])]
        rest = [(name, span) for name, (_attempt, span) in shown.items()]
        rest.sort(key=lambda stage: (_began(stage[1]), stage[0]))
        return (planned + rest)[:MAX_STAGES]

    def dump(self) -> str:
        """JSON; `loaded` reads it."""
        usage = self.usage
        return to_json(
            [
                self.type, self.name, self.trace, self.source, self.standing, self.start, self.create_us, self.first_us,
                self.update_us, self.plan, self.error_key, dump_error(self.last_error),
                [usage.input_tokens, usage.output_tokens, usage.cost_micros],
                [[attempt, name, *span.dump()] for (attempt, name), span in self.spans.items()],
                self.agent_id,
            ]
        )  # fmt: skip

    @classmethod
    def loaded(cls, workflow_id: str, dumped: str) -> WorkflowRecord:
        """What `dump` returned, again."""
        record = cls(workflow_id)
        fields: list[Any] = json.loads(dumped)
        kind, name, trace, source, standing, start = fields[:6]
        record.type, record.name, record.trace = (*kind,), (*name,), (*trace,)
        record.source, record.standing, record.start = (*source,), (*standing,), (*start,)
        record.create_us, record.first_us, record.update_us, plan, error_key, error = fields[6:12]
        record.plan = (plan[0], plan[1], (*plan[2],))
        record.error_key = (*error_key,)
        record.last_error = load_error(error)
        usage, spans, record.agent_id = fields[12:]
        record.usage = Usage(*usage)
        record.spans = {(span[0], span[1]): Span.loaded(span[2:]) for span in spans}
        return record


def _began(span: Span) -> int:
    return span.start_us if span.start_us is not None else abs(span.standing[1])
