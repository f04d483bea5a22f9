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
from pilothouse_server.domain.projection.burn import Burn
from pilothouse_server.domain.projection.needs import Needs
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
    REPORTED,
    UNKNOWN,
    Standing,
    WorkflowState,
    forced_standing,
    inferred_standing,
    overruled,
    resolve_attempt,
    standing_of,
    state_of,
)

MAX_SPANS: Final = 256
"""Stages of all attempts that are remembered; those of the oldest attempts go first."""
MAX_STAGES: Final = 64
"""Stages that are shown."""

_STARTED = EventType.WORKFLOW_STARTED
_PAUSED = EventType.WORKFLOW_PAUSED
_LAST_OF_WORKFLOW = EventType.TASK_CANCELLED
"""Events of workflows, stages and tasks have the first numbers."""
FORCED_END: Final = "FORCED_END"
"""The code of the error of a workflow that an operator ended."""


class WorkflowRecord:
    """One workflow. Times in microseconds, by the clocks of its sources; None is not known."""

    __slots__ = (
        "agent_id", "asked", "burn", "closing", "create_us", "error_key", "first_us", "heard_us", "id", "last_error",
        "moving", "name", "needs", "plan", "source", "spans", "standing", "start", "trace", "type", "update_us",
        "usage",
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
        self.heard_us = 0
        """The latest time of which the engine said anything of it, its stages or its tasks."""
        self.closing: tuple[Standing, int, str] = (UNKNOWN, 0, "")
        """(standing, when, why) of the end that an operator wrote; see `forced`."""
        self.moving = (0, 0)
        """(attempt, when) it last was started, resumed or began to wait."""
        self.asked: tuple[int, int, str] = (0, 0, "")
        """(attempt, when, what) it last said that it waits for."""
        self.burn = Burn()
        self.needs: Needs | None = Needs()
        """What its tasks wait for; None: it was stored before that was known, and is to be counted."""

    def apply(self, event: Event) -> None:
        """Takes in an event that names this workflow."""
        kind, occur_us = event.type, event.occur_us
        if event.forced_after_us is not None:
            self._close(event, event.forced_after_us)
            return
        rank = RANK[kind]
        if kind <= _LAST_OF_WORKFLOW and occur_us > self.heard_us:
            self.heard_us = occur_us
        if self.first_us is None or occur_us < self.first_us:
            self.first_us = occur_us
        self.update_us = max(self.update_us, occur_us)
        self._identify(event, occur_us, own=rank >= 0)
        if event.usage is not None:
            self.usage += event.usage
            self.burn.add(event.receive_us, event.usage)
        if rank >= 0:
            self._apply_report(event)
        else:
            if kind in STAGE_TYPES:
                self._apply_stage(event)
            if kind in EVIDENCE_OF_WORK and self.standing < (1, 2):
                self.standing = max(self.standing, inferred_standing(occur_us, kind, event.id))
        if event.error is not None or kind in FAILED:
            self._apply_error(event)

    def _close(self, event: Event, forced_after_us: int) -> None:
        """An operator ended it. Who that was is no source of it."""
        self.update_us = max(self.update_us, event.occur_us)
        standing = forced_standing(event.type, event.attempt, forced_after_us, event.id)
        self.closing = max(self.closing, (standing, event.occur_us, event.message))

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
        if RANK[kind] == REPORTED and kind != _PAUSED:
            self.moving = max(self.moving, (attempt, occur_us))
            if kind == EventType.WORKFLOW_WAITING:
                self.asked = max(self.asked, (attempt, occur_us, event.message))
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
    def forced(self) -> bool:
        """Whether it stands ended because an operator wrote so."""
        forced = self.closing[0]
        return forced != UNKNOWN and not overruled(forced, self.standing, self.heard_us)

    @property
    def decisive(self) -> Standing:
        """The standing that decides where it stands."""
        return self.closing[0] if self.forced else self.standing

    @property
    def attempt(self) -> int:
        """The newest attempt, from 1."""
        return max(self.decisive[0], 1)

    @property
    def start_us(self) -> int | None:
        """When work on the newest attempt began."""
        return -self.start[1] if self.start[0] == self.attempt else None

    @property
    def end_us(self) -> int | None:
        """When the newest attempt ended."""
        if self.forced:
            return self.closing[1]
        return -self.standing[2] if self.standing[1] == END else None

    @property
    def report_us(self) -> int:
        """The time of the report that decided the state."""
        return abs(self.decisive[2])

    @property
    def state(self) -> WorkflowState:
        """Where it stands; QUEUED when all that is known is that it is."""
        standing = self.decisive
        if standing == UNKNOWN:
            return WorkflowState.QUEUED
        return state_of(standing, started=self.start_us is not None)

    @property
    def error(self) -> EventError | None:
        """What went wrong last in the newest attempt; None once that completed: it got over what went wrong."""
        if self.forced:
            failed = self.closing[0][3] == EventType.WORKFLOW_FAILED
            return EventError(FORCED_END, self.closing[2]) if failed else None
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
        if self.standing[1] == END or self.forced:
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
                self.agent_id, self.heard_us, self.closing, self.moving, self.asked, self.burn.dump(),
                None if self.needs is None else self.needs.dump(),
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
        usage, spans, record.agent_id = fields[12:15]
        record.usage = Usage(*usage)
        record.spans = {(span[0], span[1]): Span.loaded(span[2:]) for span in spans}
        record._load_since(fields[15:])
        return record

    def _load_since(self, fields: list[Any]) -> None:
        """What rows have that were written since workflows can be closed."""
        if not fields:
            self.heard_us, self.needs = self.update_us, None
            return
        self.heard_us, closing, moving, asked, burn, needs = fields
        self.closing = ((*closing[0],), closing[1], closing[2])
        self.moving, self.asked = (*moving,), (*asked,)
        self.burn = Burn.loaded(burn)
        self.needs = None if needs is None else Needs.loaded(needs)


def _began(span: Span) -> int:
    return span.start_us if span.start_us is not None else abs(span.standing[1])
