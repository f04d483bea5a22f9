"""A trace as values: what builds it, analyses it and shows it agree on this.

Times are as their sources reported them, in microseconds since the epoch, and are never bent: a clock that disagrees is
told in `Trace.skews`. `None` is not known, or not yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from pilothouse_server.domain.events import EventError, Usage
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.workflows import WorkflowState


class SpanKind(IntEnum):
    """What a span is. The numbers are those of the contract."""

    WORKFLOW = 1
    ATTEMPT = 2
    """One attempt of a workflow; only where there is more than one."""
    STAGE = 3
    TASK = 4
    """One attempt of a task, from when it was queued."""
    SPAN = 5
    """Reported by OpenTelemetry, and none of these."""


class TimeKind(IntEnum):
    """What time was spent on. The numbers are those of the contract."""

    WORK = 1
    QUEUE = 2
    RETRY = 3
    """In attempts that failed and were tried again, and until they were."""
    WAIT = 4
    PAUSE = 5


class LinkKind(IntEnum):
    """What one span has to do with another. The numbers are those of the contract."""

    FOLLOWS = 1
    """It began because the other one had ended."""
    RETRY_OF = 2
    RELATED = 3


class ProblemKind(IntEnum):
    """What is wrong with what was reported. The numbers are those of the contract."""

    CYCLE = 1
    ORPHAN = 2
    NEGATIVE = 3
    OUTSIDE_PARENT = 4
    TOO_MANY_SPANS = 5
    CLOCK_SKEW = 6
    REMOVED = 7
    DUPLICATE = 8


@dataclass(slots=True)
class Wait:
    """Time within a span in which it did not work. Waits of one span do not overlap."""

    kind: TimeKind
    start_us: int
    end_us: int | None
    reason: str = ""
    actor: str = ""
    command_id: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """`trace_id` is empty within one trace."""

    kind: LinkKind
    span_id: str
    trace_id: str = ""


@dataclass(slots=True)
class Span:
    """A piece of work from when it was first there (a task: queued) to its end, its waits included."""

    id: str
    parent_id: str
    """"" for the root."""
    kind: SpanKind
    name: str
    start_us: int
    end_us: int | None
    """Never before start_us."""
    state: WorkState
    stage: str = ""
    task_id: str = ""
    attempt: int = 0
    agent_id: str = ""
    agent_type: str = ""
    source: str = ""
    waits: list[Wait] = field(default_factory=list[Wait])
    links: list[Link] = field(default_factory=list[Link])
    error: EventError | None = None
    usage: Usage | None = None
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    event_id: str = ""
    start_estimated: bool = False


@dataclass(frozen=True, slots=True)
class Skew:
    """One clock against another; `offset_us` is negative when it is behind."""

    source: str
    against: str
    offset_us: int
    evidence: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with what was reported."""

    kind: ProblemKind
    message: str
    count: int = 1
    span_ids: tuple[str, ...] = ()


@dataclass(slots=True)
class Trace:
    """`spans`: the root first, each after the one above it, siblings by (start, id)."""

    id: str
    workflow_id: str
    """"" where OpenTelemetry's spans belong to no workflow."""
    workflow_type: str
    name: str
    source: str
    state: WorkflowState
    attempt: int
    trace_ids: tuple[str, ...]
    start_us: int
    end_us: int | None
    spans: list[Span]
    skews: tuple[Skew, ...] = ()
    problems: tuple[Problem, ...] = ()
    revision: int = 0
    """The greatest position among its events."""
