"""What can be asked of the projection, and the answers' shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pilothouse_server.domain.commands import Availability, Command
from pilothouse_server.domain.events import EventType, Severity
from pilothouse_server.domain.filters import Field, Kind, Schema, enum_field
from pilothouse_server.domain.projection.agent import AgentRecord, AgentState
from pilothouse_server.domain.projection.queue import QueueName, QueueState
from pilothouse_server.domain.projection.task import TaskRecord
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.waiting import Waiting
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.ports import StoredEvent
from pilothouse_server.services.allowance import Allowance
from pilothouse_server.services.watch import WatchSource

WORKFLOW_FIELDS = Schema(
    {
        "id": Field(),
        "state": enum_field(WorkflowState, "WORKFLOW_STATE_"),
        "type": Field(),
        "name": Field(),
        "source": Field(),
        "stage": Field(),
        "agent": Field(),
        "attempt": Field(Kind.NUMBER),
        "create_time": Field(Kind.TIME),
        "start_time": Field(Kind.TIME),
        "end_time": Field(Kind.TIME),
    },
    searched=("id", "name"),
)
AGENT_FIELDS = Schema(
    {
        "id": Field(),
        "type": Field(),
        "source": Field(),
        "state": enum_field(AgentState, "AGENT_STATE_"),
    },
    searched=("id",),
)
COUNTED = 10_000
"""Workflows that are counted by state; where there are more, that is said."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which rows to list. `order_by` may be empty, as may the rest but `size`."""

    size: int
    token: str = ""
    filter: str = ""
    order_by: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowView:
    """One workflow with what can be asked of it."""

    record: WorkflowRecord
    pending: Command | None
    actions: Sequence[Availability]
    waiting: Waiting | None = None
    """Why it does not move."""


@dataclass(frozen=True, slots=True)
class WorkflowPage:
    """`counts` disregards the filter's terms about the state; `capped` when not all were counted."""

    workflows: Sequence[WorkflowView]
    next_token: str
    counts: Mapping[WorkflowState, int]
    capped: bool


@dataclass(frozen=True, slots=True)
class WorkflowDetail:
    """One workflow with what belongs to it."""

    view: WorkflowView
    tasks: Sequence[TaskRecord]
    commands: Sequence[Command]
    """Newest first."""
    events: Sequence[StoredEvent]
    """The newest ones, oldest first."""


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent at the moment of asking, and what it works on."""

    record: AgentRecord
    state: AgentState
    offline_reason: str
    workflow_id: str
    task_id: str
    pending: Command | None = None
    actions: Sequence[Availability] = ()


@dataclass(frozen=True, slots=True)
class AgentTask:
    """A task in the hands of an agent."""

    task: TaskRecord
    workflow_type: str


@dataclass(frozen=True, slots=True)
class AgentDetail:
    """One agent with what it does."""

    view: AgentView
    current: Sequence[AgentTask]
    """Oldest first."""
    recent: Sequence[AgentTask]
    """What it ended, newest first."""
    commands: Sequence[Command]
    """Newest first."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue of an engine with what can be asked of it. Times in microseconds; 0: the engine said nothing of it."""

    name: QueueName
    state: QueueState
    since_us: int
    heard_us: int
    pending: Command | None
    paused_by: Command | None
    actions: Sequence[Availability]


@dataclass(frozen=True, slots=True)
class AgentPage:
    """By type and id."""

    agents: Sequence[AgentView]
    next_token: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """By their place."""

    events: Sequence[StoredEvent]
    next_token: str
    looked_us: int | None = None
    """Up to when the page has looked, when it ended although it is not full and there is more."""
    looked_position: int = 0
    """Up to which place it has looked."""
    floor: int = 0
    """Events up to this place have been removed."""


@dataclass(frozen=True, slots=True)
class EventCounts:
    """How many events there are. `types` disregards the filter's terms about the type, `severities` those about the
    severity."""

    total: int
    types: Mapping[EventType, int]
    severities: Mapping[Severity, int]
    counted_from_us: int | None = None
    """From when on they were counted; None: all of them were."""


class WorkflowViews(Protocol):
    """All raise Unavailable; those with a filter InvalidFilter, those with a page InvalidPageToken."""

    async def page(self, request: PageRequest) -> WorkflowPage: ...

    async def get(self, workflow_id: str) -> WorkflowDetail:
        """Raises NotFound."""
        ...

    def follow(self, filter_text: str) -> WatchSource[WorkflowView]: ...


class AgentViews(Protocol):
    """As for workflows."""

    async def page(self, request: PageRequest) -> AgentPage: ...

    async def get(self, agent_id: str) -> AgentDetail:
        """Raises NotFound."""
        ...

    def follow(self) -> WatchSource[AgentView]: ...


class QueueViews(Protocol):
    """Raises Unavailable."""

    async def of(self, source: str) -> Sequence[QueueView]:
        """Those of one engine, or of all, by engine and name."""
        ...


class EventViews(Protocol):
    """As for workflows."""

    async def page(
        self,
        request: PageRequest,
        *,
        ascending: bool,
        start_id: str = "",
        last_position: int | None = None,
    ) -> EventPage:
        """Behind the event of `start_id`, when there is no token; nothing beyond `last_position`. Raises NotFound."""
        ...

    async def get(self, event_id: str) -> StoredEvent:
        """Raises NotFound."""
        ...

    async def counts(self, filter_text: str) -> EventCounts: ...

    def follow(
        self, filter_text: str, allowance: Allowance | None = None
    ) -> WatchSource[StoredEvent]: ...
