"""One attempt of a stage or of a task: what its events say of it, whatever their order."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

from pilothouse_server.domain.events import Event, EventError, EventType
from pilothouse_server.domain.workflows import END, INFERRED, OPENED, REPORTED


class WorkState(IntEnum):
    """Where a stage or a task stands. The numbers are those of the contract."""

    QUEUED = 1
    ASSIGNED = 2
    RUNNING = 3
    RETRYING = 4
    COMPLETED = 5
    FAILED = 6
    SKIPPED = 7
    CANCELLED = 8


_E, _W = EventType, WorkState

MEANING: dict[int, tuple[int, WorkState]] = {
    _E.STAGE_STARTED: (REPORTED, _W.RUNNING),
    _E.STAGE_COMPLETED: (END, _W.COMPLETED),
    _E.STAGE_FAILED: (END, _W.FAILED),
    _E.STAGE_SKIPPED: (END, _W.SKIPPED),
    _E.TASK_QUEUED: (OPENED, _W.QUEUED),
    _E.TASK_RETRYING: (OPENED, _W.RETRYING),
    _E.TASK_ASSIGNED: (INFERRED, _W.ASSIGNED),
    _E.TASK_STARTED: (REPORTED, _W.RUNNING),
    _E.TASK_COMPLETED: (END, _W.COMPLETED),
    _E.TASK_FAILED: (END, _W.FAILED),
    _E.TASK_CANCELLED: (END, _W.CANCELLED),
}
"""The rank of each event in its attempt, as for workflows, and the state that it reports."""

FAILED: frozenset[int] = frozenset({_E.WORKFLOW_FAILED, _E.STAGE_FAILED, _E.TASK_FAILED})

Stated = tuple[int, str]
"""When something was stated, and what."""
UNSTATED: Stated = (-1, "")

UNKNOWN = (-1, 0, 0, "")

to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode
"""Compact, and made once."""


class Span:
    """Times in microseconds; None is not known."""

    __slots__ = ("agent", "agent_type", "duration_us", "error", "queue_us", "standing", "start_us")

    def __init__(self) -> None:
        self.standing: tuple[int, int, int, str] = UNKNOWN
        """(rank, time, type, event id); among ends the earliest is the greatest."""
        self.queue_us: int | None = None
        self.start_us: int | None = None
        self.duration_us: int | None = None
        """As the end stated it."""
        self.error: EventError | None = None
        self.agent: Stated = UNSTATED
        self.agent_type: Stated = UNSTATED

    def apply(self, event: Event) -> None:
        """Takes in one of its events."""
        kind, occur_us = event.type, event.occur_us
        rank = MEANING[kind][0]
        standing = (rank, -occur_us if rank == END else occur_us, kind, event.id)
        if rank == REPORTED:
            if self.start_us is None or occur_us < self.start_us:
                self.start_us = occur_us
        elif kind == EventType.TASK_QUEUED and (self.queue_us is None or occur_us < self.queue_us):
            self.queue_us = occur_us
        if standing > self.standing:
            self.standing = standing
            self.error = failure_of(event) if event.error is not None or kind in FAILED else None
            self.duration_us = event.duration_us if rank == END else None
        if event.agent_id:
            self.agent = max(self.agent, (occur_us, event.agent_id))
        if event.agent_type:
            self.agent_type = max(self.agent_type, (occur_us, event.agent_type))

    @property
    def state(self) -> WorkState:
        """Where it stands."""
        meaning = MEANING.get(self.standing[2])
        return WorkState.QUEUED if meaning is None else meaning[1]

    @property
    def end_us(self) -> int | None:
        """When it ended."""
        return -self.standing[1] if self.standing[0] == END else None

    @property
    def elapsed_us(self) -> int | None:
        """From start to end; as the end stated it where the start is not known. Never negative."""
        if self.standing[0] != END:
            return None
        if self.start_us is not None:
            return max(0, -self.standing[1] - self.start_us)
        return None if self.duration_us is None else max(0, self.duration_us)

    def dump(self) -> list[Any]:
        """For JSON; `loaded` reads it."""
        return [
            self.standing, self.queue_us, self.start_us, self.duration_us, dump_error(self.error), self.agent,
            self.agent_type,
        ]  # fmt: skip

    @classmethod
    def loaded(cls, dumped: list[Any]) -> Span:
        """What `dump` returned, again."""
        span = cls()
        standing, span.queue_us, span.start_us, span.duration_us, error, agent, agent_type = dumped
        span.standing = (standing[0], standing[1], standing[2], standing[3])
        span.error = load_error(error)
        span.agent = (agent[0], agent[1])
        span.agent_type = (agent_type[0], agent_type[1])
        return span


def failure_of(event: Event) -> EventError | None:
    """What went wrong, when that is what the event says; its message where it states no error."""
    if event.error is not None:
        return event.error
    return EventError(message=event.message) if event.type in FAILED and event.message else None


def dump_error(error: EventError | None) -> list[Any] | None:
    """For JSON; `load_error` reads it."""
    return None if error is None else [error.code, error.message, error.retryable]


def load_error(dumped: list[Any] | None) -> EventError | None:
    """What `dump_error` returned, again."""
    return None if dumped is None else EventError(*dumped)
