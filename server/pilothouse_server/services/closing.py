"""Ending a workflow in place of an engine that is gone for good.

Nothing is written but an event on its way to the log, marked as forced, with the engine's time of what was last heard
of the workflow: any later word of the engine overrules it, whatever the order in which the two arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID, uuid5

from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.commands import SUPERSEDED as TAKEN_OVER
from pilothouse_server.domain.commands import Command, etag_of, fail
from pilothouse_server.domain.errors import (
    EngineConnected,
    EtagMismatch,
    NotFound,
    PilothouseError,
    WrongState,
)
from pilothouse_server.domain.events import Event, EventError, EventType, Severity
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.settling import SERVER_SOURCE
from pilothouse_server.domain.workflows import ENDED, WorkflowState
from pilothouse_server.ports import Clock
from pilothouse_server.services.asking import CommandTransaction
from pilothouse_server.services.control import ControlSignals
from pilothouse_server.services.done_requests import Done, DoneRequests, digest_of, repeated
from pilothouse_server.services.settlement import conclude

T = TypeVar("T")

NAMESPACE: Final = UUID("5b0f4a3e-6f0e-5d0c-9a43-0b6a5d4a7a10")
VERB: Final = "workflow.close"
_ENDS = {
    WorkflowState.FAILED: EventType.WORKFLOW_FAILED,
    WorkflowState.CANCELLED: EventType.WORKFLOW_CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Closing:
    """What somebody asks for; `state` is FAILED or CANCELLED."""

    workflow_id: str
    state: WorkflowState
    reason: str
    actor: str = ""
    request_id: str = ""
    etag: str = ""


class ClosingTransaction(CommandTransaction, DoneRequests, Protocol):
    """What closing reads and changes, within one transaction in which nobody else writes."""

    def workflow(self, workflow_id: str) -> WorkflowRecord | None: ...

    def publish(self, event: Event) -> None:
        """Puts an event on its way to the log."""
        ...


class ClosingStore(Protocol):
    """Transactions over workflows that are closed."""

    async def write(self, run: Callable[[ClosingTransaction], T]) -> T: ...


class Closer:
    """The act. Raises Unavailable when the database does not answer."""

    def __init__(
        self,
        store: ClosingStore,
        clock: Clock,
        signals: ControlSignals,
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._new_id = new_id

    async def close(self, closing: Closing) -> Event:
        """The event that says so, as it will be in the log; for a repeat the one that it made. Raises NotFound,
        EtagMismatch, WrongState, EngineConnected, RequestIdReused."""
        request_id = closing.request_id or self._new_id()
        named, now_us = replace(closing, request_id=request_id), self._clock.now_us()
        event = await self._store.write(lambda transaction: _close(transaction, named, now_us))
        if isinstance(event, PilothouseError):
            raise event
        self._signals.notify()
        return event


def _close(
    transaction: ClosingTransaction, closing: Closing, now_us: int
) -> Event | PilothouseError:
    """The judgement and what it leads to; what is refused is recorded as well."""
    digest = digest_of(closing.workflow_id, int(closing.state), closing.reason, closing.actor)
    before = repeated(transaction, closing.request_id, digest)
    if isinstance(before, Done):
        return _event(closing, **before.answer)
    record = transaction.workflow(closing.workflow_id)
    refused = before or _refusal(transaction, closing, record)
    end = "" if record is None else _end_id(record)
    if record is not None and refused is None and transaction.done(end) is not None:
        told = "somebody closed it a moment ago"
        refused = WrongState("workflow", record.id, record.state.name, "close", told)
    if refused is not None or record is None:
        refused = refused or NotFound("workflow", closing.workflow_id)
        transaction.record([_refused(closing, refused, now_us)])
        return refused
    answer: dict[str, Any] = {
        "workflow_type": record.type[1],
        "attempt": record.attempt,
        "occur_us": now_us,
        "forced_after_us": record.heard_us,
    }
    event = _event(closing, **answer)
    _end_pending(transaction, closing, now_us)
    transaction.publish(event)
    transaction.record([_accepted(closing, record, now_us)])
    transaction.note_done(closing.request_id, Done(digest, answer), now_us)
    transaction.note_done(end, Done(digest, answer), now_us)
    return event


def _end_id(record: WorkflowRecord) -> str:
    """The one end that can be written after what was last heard: of two at once the second is refused."""
    return str(uuid5(NAMESPACE, f"{record.id}/{record.attempt}/{record.heard_us}"))


def _refusal(
    transaction: ClosingTransaction, closing: Closing, record: WorkflowRecord | None
) -> PilothouseError | None:
    if record is None:
        return NotFound("workflow", closing.workflow_id)
    pending = _pending(transaction, closing)
    etag = etag_of(record.attempt, record.state, pending.id if pending else "")
    if closing.etag and closing.etag != etag:
        return EtagMismatch("workflow", record.id, etag)
    if record.state in ENDED:
        return WrongState("workflow", record.id, record.state.name, "close", "it has ended")
    executor = transaction.executor(record.source[2])
    if executor is not None and executor.connected:
        return EngineConnected(record.source[2])
    return None


def _pending(transaction: ClosingTransaction, closing: Closing) -> Command | None:
    return transaction.pending((closing.workflow_id,)).get(closing.workflow_id)


def _end_pending(transaction: ClosingTransaction, closing: Closing, now_us: int) -> None:
    """No engine will answer the command that has not ended."""
    pending = _pending(transaction, closing)
    if pending is not None:
        error = EventError(TAKEN_OVER, "the workflow was closed by force", retryable=False)
        conclude(transaction, [fail(pending, error, now_us)])


def _event(
    closing: Closing, *, workflow_type: str, attempt: int, occur_us: int, forced_after_us: int
) -> Event:
    """Its id follows from the request, so that publishing it again is harmless."""
    return Event(
        id=str(uuid5(NAMESPACE, closing.request_id)),
        type=_ENDS[closing.state],
        occur_us=occur_us,
        receive_us=occur_us,
        source=SERVER_SOURCE,
        workflow_id=closing.workflow_id,
        workflow_type=workflow_type,
        severity=Severity.WARNING,
        message=f"closed by force by {closing.actor}: {closing.reason}",
        attempt=attempt,
        attributes={"forced": "true", "actor": closing.actor, "reason": closing.reason},
        forced_after_us=forced_after_us,
    )


def _accepted(closing: Closing, record: WorkflowRecord, now_us: int) -> Entry:
    return replace(
        _entry(closing, Outcome.ACCEPTED, now_us),
        before={"state": record.state.name, "attempt": str(record.attempt)},
        after={"state": closing.state.name, "forced": "true"},
    )


def _refused(closing: Closing, error: PilothouseError, now_us: int) -> Entry:
    entry = _entry(closing, Outcome.REFUSED, now_us)
    return replace(entry, error=EventError(error.reason, error.message))


def _entry(closing: Closing, outcome: Outcome, now_us: int) -> Entry:
    return Entry(
        record_us=now_us,
        actor=closing.actor,
        verb=VERB,
        target_kind="workflow",
        target_id=closing.workflow_id,
        outcome=outcome,
        reason=closing.reason,
        request_id=closing.request_id,
    )
