"""What happened, as the domain sees it: plain values, times in microseconds, nothing of the wire.

`EventType` and `Severity` carry the numbers of the contract, so that converting is free; a test
holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple


class EventType(IntEnum):
    """What happened. Only RETRIED opens another attempt; LOG, SPAN_, COMMAND_ and ALERT_ move no workflow."""

    WORKFLOW_CREATED = 1
    WORKFLOW_STARTED = 2
    WORKFLOW_PAUSED = 3
    WORKFLOW_RESUMED = 4
    WORKFLOW_WAITING = 5
    WORKFLOW_COMPLETED = 6
    WORKFLOW_FAILED = 7
    WORKFLOW_CANCELLED = 8
    WORKFLOW_RETRIED = 9
    STAGE_STARTED = 10
    STAGE_COMPLETED = 11
    STAGE_FAILED = 12
    STAGE_SKIPPED = 13
    TASK_QUEUED = 14
    TASK_ASSIGNED = 15
    TASK_STARTED = 16
    TASK_COMPLETED = 17
    TASK_FAILED = 18
    TASK_RETRYING = 19
    TASK_CANCELLED = 20
    AGENT_REGISTERED = 21
    AGENT_HEARTBEAT = 22
    AGENT_DRAINING = 23
    AGENT_OFFLINE = 24
    COMMAND_REQUESTED = 25
    COMMAND_ACCEPTED = 26
    COMMAND_EFFECTIVE = 27
    COMMAND_FAILED = 28
    COMMAND_EXPIRED = 29
    ALERT_FIRING = 30
    ALERT_RESOLVED = 31
    LOG = 32
    QUEUE_ACTIVE = 33
    QUEUE_PAUSED = 34
    BUDGET_WARNING = 35
    BUDGET_EXCEEDED = 36
    SPAN_STARTED = 37
    SPAN_ENDED = 38


class Severity(IntEnum):
    """How much it matters; the order is the order of weight."""

    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
    CRITICAL = 5


WORKFLOW_TYPES = frozenset(range(EventType.WORKFLOW_CREATED, EventType.WORKFLOW_RETRIED + 1))
STAGE_TYPES = frozenset(range(EventType.STAGE_STARTED, EventType.STAGE_SKIPPED + 1))
TASK_TYPES = frozenset(range(EventType.TASK_QUEUED, EventType.TASK_CANCELLED + 1))
AGENT_TYPES = frozenset(range(EventType.AGENT_REGISTERED, EventType.AGENT_OFFLINE + 1))
SPAN_TYPES: frozenset[int] = frozenset({EventType.SPAN_STARTED, EventType.SPAN_ENDED})
QUEUE_TYPES: frozenset[int] = frozenset({EventType.QUEUE_ACTIVE, EventType.QUEUE_PAUSED})
FAILURE_TYPES = frozenset(
    {
        EventType.WORKFLOW_FAILED,
        EventType.STAGE_FAILED,
        EventType.TASK_FAILED,
        EventType.COMMAND_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class EventError:
    """What went wrong."""

    code: str = ""
    message: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a piece of work consumed; `cost_micros` in millionths of the accounting currency."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_micros + other.cost_micros,
        )


@dataclass(frozen=True, slots=True)
class AgentLoad:
    """Tasks in hand, and how many fit at once (0: not known)."""

    active: int = 0
    capacity: int = 0


class Event(NamedTuple):
    """One fact; a tuple, because millions of them are made.

    Empty text and None mean "not stated"; `attempt` 0 is the newest attempt that is known. `occur_us` is the
    time of the source, already held to at most one minute ahead of `receive_us` (`future` tells that it was);
    `receive_us` is the server's, and the clock of every fold.
    """

    id: str
    type: int
    occur_us: int
    receive_us: int
    source: str = ""
    workflow_id: str = ""
    workflow_type: str = ""
    workflow_name: str = ""
    stage: str = ""
    task_id: str = ""
    agent_id: str = ""
    agent_type: str = ""
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    severity: int = Severity.INFO
    message: str = ""
    duration_us: int | None = None
    attempt: int = 0
    error: EventError | None = None
    usage: Usage | None = None
    attributes: Mapping[str, str] = MappingProxyType({})
    command_id: str = ""
    load: AgentLoad | None = None
    stage_plan: tuple[str, ...] = ()
    future: bool = False
    queue: str = ""
    forced_after_us: int | None = None
    """Of an end that an operator wrote: the engine's time of its newest report then."""


class Signal(NamedTuple):
    """The part of an event that metrics are made of: what is decoded on the hot path."""

    id: str
    type: int
    occur_us: int
    receive_us: int
    workflow_id: str
    workflow_type: str
    stage: str
    task_id: str
    agent_id: str
    agent_type: str
    attempt: int
    duration_us: int | None
    active: int
    """Tasks in the agent's hand; -1 when not reported."""
    future: bool
    forced_after: int = -1
    """Of an end that an operator wrote: the engine's time of its newest report then; -1: of no such end."""


def signal_of(event: Event) -> Signal:
    """The part of `event` that metrics are made of."""
    return Signal(
        event.id,
        event.type,
        event.occur_us,
        event.receive_us,
        event.workflow_id,
        event.workflow_type,
        event.stage,
        event.task_id,
        event.agent_id,
        event.agent_type,
        event.attempt,
        event.duration_us,
        -1 if event.load is None else event.load.active,
        event.future,
        -1 if event.forced_after_us is None else event.forced_after_us,
    )
