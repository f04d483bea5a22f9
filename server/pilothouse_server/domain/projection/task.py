"""A task of a workflow as its events show it: one span for each attempt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.projection.needs import Need
from pilothouse_server.domain.projection.spans import UNSTATED, Span, Stated, WorkState, to_json
from pilothouse_server.domain.workflows import REPORTED

MAX_ATTEMPTS: Final = 16
"""Attempts that are remembered; the oldest go first."""


class TaskRecord:
    """One task. Times in microseconds; None is not known."""

    __slots__ = ("first_us", "id", "message", "queue", "spans", "stage", "workflow_id")

    def __init__(self, workflow_id: str, task_id: str) -> None:
        self.workflow_id = workflow_id
        self.id = task_id
        self.first_us: int | None = None
        self.stage: Stated = UNSTATED
        self.message: Stated = UNSTATED
        self.queue: Stated = UNSTATED
        self.spans: dict[int, Span] = {}

    def reports(self, event: Event) -> Sequence[Event]:
        """What an event says, one attempt each: a retry says that the attempt before failed, in the hands of the agent
        that it names, and that its own waits for one."""
        if event.type != EventType.TASK_RETRYING:
            return (event,)
        attempt = self._attempt_of(event)
        waits = event._replace(attempt=attempt, agent_id="", agent_type="")
        if attempt == 1:
            return (waits,)
        return (event._replace(type=EventType.TASK_FAILED, attempt=attempt - 1), waits)

    def apply(self, event: Event) -> Span:
        """Takes in one of its reports; returns the attempt that it was about."""
        occur_us = event.occur_us
        if self.first_us is None or occur_us < self.first_us:
            self.first_us = occur_us
        if event.stage:
            self.stage = max(self.stage, (occur_us, event.stage))
        if event.message:
            self.message = max(self.message, (occur_us, event.message))
        if event.queue:
            self.queue = max(self.queue, (occur_us, event.queue))
        span = self._span_of(event)
        span.apply(event)
        return span

    def span_of(self, event: Event) -> Span | None:
        """The attempt that an event is about, if it is known."""
        return self.spans.get(self._attempt_of(event))

    def _span_of(self, event: Event) -> Span:
        attempt = self._attempt_of(event)
        span = self.spans.get(attempt)
        if span is None:
            span = self.spans[attempt] = Span()
            if len(self.spans) > MAX_ATTEMPTS:
                del self.spans[min(self.spans)]
        return span

    def _attempt_of(self, event: Event) -> int:
        """An unnumbered retry opens the next attempt only when the newest was begun: its duplicate opens nothing."""
        if event.attempt:
            return event.attempt
        newest = self.spans.get(self.attempt)
        begun = newest is not None and newest.standing[0] >= REPORTED
        return self.attempt + (event.type == EventType.TASK_RETRYING and begun)

    @property
    def attempt(self) -> int:
        """The newest attempt, from 1."""
        return max(self.spans, default=1)

    @property
    def newest(self) -> Span:
        """The newest attempt."""
        spans = self.spans
        return spans[max(spans)] if spans else Span()

    @property
    def state(self) -> WorkState:
        """Where its newest attempt stands."""
        return self.newest.state

    @property
    def runner(self) -> str:
        """The agent in whose hand it is now; "" when it is in nobody's."""
        newest = self.newest
        return newest.agent[1] if newest.standing[0] == REPORTED else ""

    @property
    def need(self) -> Need | bool | None:
        """What it waits for; True when it is in an agent's hand, None when it is over."""
        state = self.state
        if state in (WorkState.ASSIGNED, WorkState.RUNNING):
            return True
        if state not in (WorkState.QUEUED, WorkState.RETRYING):
            return None
        # A retry need not say again who can do it.
        kinds = (self.spans[number].agent_type[1] for number in sorted(self.spans, reverse=True))
        return Need(next(filter(None, kinds), ""), self.queue[1])

    def dump(self) -> str:
        """JSON; `loaded` reads it."""
        spans = [[number, *span.dump()] for number, span in self.spans.items()]
        return to_json([self.first_us, self.stage, self.message, spans, self.queue])

    @classmethod
    def loaded(cls, workflow_id: str, task_id: str, dumped: str) -> TaskRecord:
        """What `dump` returned, again."""
        record = cls(workflow_id, task_id)
        fields: list[Any] = json.loads(dumped)
        record.first_us, stage, message, spans = fields[:4]
        if len(fields) > 4:  # it was not kept always
            record.queue = (*fields[4],)
        record.stage, record.message = (*stage,), (*message,)
        record.spans = {span[0]: Span.loaded(span[1:]) for span in spans}
        return record
