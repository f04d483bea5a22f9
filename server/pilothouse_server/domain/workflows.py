"""Where a workflow stands, decided by its events whatever the order in which they arrive.

    QUEUED ──▶ RUNNING ◀──▶ WAITING
      │         │  ▲          │
      ▼         ▼  │          ▼
    PAUSED ◀────┴──┼──────────┘        COMPLETED and CANCELLED are final;
      └────────────┘ (or QUEUED)       FAILED is left only by RETRIED, which opens the next attempt.

Every report gets a *standing*, a tuple; the greatest one decides. So duplicates, late events and
any order give one answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import cast

from pilothouse_server.domain.events import STAGE_TYPES, EventType


class WorkflowState(IntEnum):
    """The numbers are those of the contract."""

    QUEUED = 1
    RUNNING = 2
    WAITING = 3
    PAUSED = 4
    COMPLETED = 5
    FAILED = 6
    CANCELLED = 7


class Action(IntEnum):
    """What an operator can ask for. The numbers are those of the contract's ControlAction."""

    PAUSE = 1
    RESUME = 2
    CANCEL = 3
    RETRY = 4
    DRAIN = 5
    ACTIVATE = 6
    RESTART = 7
    RESIZE = 8


WORKFLOW_ACTIONS = (Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY)
"""What can be asked of one workflow."""

_S = WorkflowState

TRANSITIONS: dict[WorkflowState, frozenset[WorkflowState]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.PAUSED, _S.CANCELLED, _S.FAILED}),
    _S.RUNNING: frozenset({_S.WAITING, _S.PAUSED, _S.COMPLETED, _S.FAILED, _S.CANCELLED}),
    _S.WAITING: frozenset({_S.RUNNING, _S.PAUSED, _S.COMPLETED, _S.FAILED, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.RUNNING, _S.QUEUED, _S.CANCELLED, _S.FAILED, _S.COMPLETED}),
    _S.FAILED: frozenset({_S.RUNNING, _S.QUEUED, _S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.CANCELLED: frozenset(),
}
"""Which state may follow which. Others are believed when an engine reports them, and counted."""

LEGAL_ACTIONS: dict[WorkflowState, frozenset[Action]] = {
    _S.QUEUED: frozenset({Action.PAUSE, Action.CANCEL}),
    _S.RUNNING: frozenset({Action.PAUSE, Action.CANCEL}),
    _S.WAITING: frozenset({Action.PAUSE, Action.CANCEL}),
    _S.PAUSED: frozenset({Action.RESUME, Action.CANCEL}),
    _S.FAILED: frozenset({Action.RETRY}),
    _S.COMPLETED: frozenset(),
    _S.CANCELLED: frozenset(),
}
"""Which action may be asked for in which state."""

ENDED = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})

OPENED, INFERRED, REPORTED, END = range(4)
"""Ranks of a standing: an attempt was opened, work on it was seen, its state was reported, it ended."""

Standing = tuple[int, int, int, int, str]
"""(attempt, rank, time, type, event id): the greatest one decides the state."""

UNKNOWN: Standing = (0, OPENED, 0, 0, "")
"""Less than any standing of an event."""

_RANK = {
    EventType.WORKFLOW_CREATED: OPENED,
    EventType.WORKFLOW_RETRIED: OPENED,
    EventType.WORKFLOW_STARTED: REPORTED,
    EventType.WORKFLOW_PAUSED: REPORTED,
    EventType.WORKFLOW_RESUMED: REPORTED,
    EventType.WORKFLOW_WAITING: REPORTED,
    EventType.WORKFLOW_COMPLETED: END,
    EventType.WORKFLOW_FAILED: END,
    EventType.WORKFLOW_CANCELLED: END,
}
RANK: tuple[int, ...] = tuple(
    _RANK.get(EventType(n), -1) if n else -1 for n in range(max(EventType) + 1)
)
"""The rank of a workflow event by its type's number; -1 for those that are no workflow events."""

EVIDENCE_OF_WORK = STAGE_TYPES | {
    EventType.TASK_STARTED,
    EventType.TASK_COMPLETED,
    EventType.TASK_FAILED,
    EventType.TASK_RETRYING,
}
"""Stage and task events from which a running workflow is inferred when nothing better is known."""

_STATE = {
    EventType.WORKFLOW_CREATED: _S.QUEUED,
    EventType.WORKFLOW_RETRIED: _S.QUEUED,
    EventType.WORKFLOW_STARTED: _S.RUNNING,
    EventType.WORKFLOW_PAUSED: _S.PAUSED,
    EventType.WORKFLOW_WAITING: _S.WAITING,
    EventType.WORKFLOW_COMPLETED: _S.COMPLETED,
    EventType.WORKFLOW_FAILED: _S.FAILED,
    EventType.WORKFLOW_CANCELLED: _S.CANCELLED,
}


def forced_standing(event_type: int, attempt: int, forced_after_us: int, event_id: str) -> Standing:
    """What an end says that an operator wrote in place of an engine: no more than a report of the time up to which the
    engine had been heard. So an end by the engine outranks it, and so does whatever the engine says of a later time
    (`overruled`)."""
    return (max(attempt, 1), REPORTED, forced_after_us, event_type, event_id)


def overruled(forced: Sequence[int | str], standing: Sequence[int | str], heard_us: int) -> bool:
    """Whether the engine's own word stands against a forced end: a greater standing, or anything that it said of the
    workflow, its stages or its tasks of a time after the one up to which it had been heard. `forced` and `standing` are
    standings, both with the event's id or both without."""
    return tuple(forced) < tuple(standing) or heard_us > cast("int", forced[2])


def standing_of(event_type: int, attempt: int, occur_us: int, event_id: str) -> Standing:
    """The standing of a workflow event. `attempt` is resolved (from 1); within an attempt an end
    wins, the first end stands, and
    among other reports the later wins."""
    rank = RANK[event_type]
    return (attempt, rank, -occur_us if rank == END else occur_us, event_type, event_id)


def inferred_standing(occur_us: int, event_type: int, event_id: str) -> Standing:
    """What a stage or task event says of its workflow: that the first attempt was started. Later
    attempts are told apart only by their
    own reports, since a task's attempt says nothing of its workflow's."""
    return (1, INFERRED, occur_us, event_type, event_id)


def state_of(standing: Standing, *, started: bool) -> WorkflowState:
    """The state that the greatest standing decides. `started` tells whether a start of this
    attempt is known: a workflow that was paused
    while it was queued is queued again when resumed."""
    event_type = standing[3]
    if standing[1] == INFERRED:
        return WorkflowState.RUNNING
    if event_type == EventType.WORKFLOW_RESUMED:
        return WorkflowState.RUNNING if started else WorkflowState.QUEUED
    return _STATE[EventType(event_type)]


def resolve_attempt(event_type: int, attempt: int, newest: Standing) -> int:
    """The attempt that an event belongs to, from 1, given the greatest standing so far. An
    unnumbered RETRIED opens the next attempt only
    when the newest one has ended, so that its duplicate opens nothing."""
    if attempt:
        return attempt
    current = max(newest[0], 1)
    if event_type == EventType.WORKFLOW_RETRIED and newest[1] == END:
        return current + 1
    return current
