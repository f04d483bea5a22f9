"""Asking an engine for something: one judgement for people, batches, emergency stops and budgets.

What is asked for and what is refused are both written in the transaction that judged it, with their audit record. So
of two requests at once the second sees the first, and nothing that was decided is without a trace.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from pilothouse_server.domain import command_audit
from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.commands import (
    Boundary,
    Command,
    CommandState,
    Deadlines,
    Executor,
    Scope,
    Standpoint,
    etag_of,
    refusal,
    supersede,
)
from pilothouse_server.domain.errors import (
    EtagMismatch,
    InvalidArgument,
    NotFound,
    PilothouseError,
    RequestIdReused,
)
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.projection.agent import OFFLINE_AFTER_US, AgentRecord
from pilothouse_server.domain.projection.queue import QueueName, QueueRecord, QueueState
from pilothouse_server.domain.targets import (
    QueueStand,
    Target,
    agent_etag,
    agent_refusal,
    agent_stand,
    queue_refusal,
    target_id,
    target_of,
)
from pilothouse_server.domain.texts import sound
from pilothouse_server.domain.workflows import Action


class CommandTransaction(Protocol):
    """What control reads and changes, within one transaction."""

    def standpoint(self, workflow_id: str) -> Standpoint | None:
        """Where the workflow stands; None when there is no such workflow."""
        ...

    def agent(self, agent_id: str) -> AgentRecord | None:
        """The agent; None when it was never heard of."""
        ...

    def queue(self, name: QueueName) -> QueueRecord | None:
        """What the engine said of the queue; None when it said nothing."""
        ...

    def executor(self, source: str) -> Executor | None: ...

    def get(self, command_id: str) -> Command | None: ...

    def requested(self, request_id: str) -> Command | None:
        """The command of an earlier request with this id."""
        ...

    def pending(self, workflow_ids: Collection[str]) -> Mapping[str, Command]:
        """The commands on these workflows that have not ended."""
        ...

    def pending_on(self, scope: Scope, target: str, source: str) -> Command | None:
        """The command on a target that is no workflow, which has not ended."""
        ...

    def pending_at(self, targets: Collection[Target]) -> Sequence[Command]:
        """The commands on these targets, none of which is a workflow, that have not ended."""
        ...

    def overdue(self, now_us: int, limit: int) -> Sequence[Command]:
        """Commands whose time is over."""
        ...

    def next_deadline(self) -> int | None:
        """When the next command expires; None when none is pending."""
        ...

    def swept_us(self) -> int | None:
        """When somebody noted last that commands are swept; None before the first time."""
        ...

    def note_swept(self, now_us: int) -> None:
        """Notes that commands are swept."""
        ...

    def defer(self, swept_us: int, now_us: int, least_us: int) -> int:
        """Puts off the deadlines of pending commands by the time from `swept_us`, or from when their time began, until
        now, where that is `least_us` or more; returns how many."""
        ...

    def add(self, command: Command) -> Command:
        """Stores a new command, gives it its sequence, and tells of it in the outbox and on what it is about."""
        ...

    def put(self, command: Command) -> None:
        """Stores a command that changed its state, and tells of it likewise."""
        ...

    def put_all(self, commands: Sequence[Command]) -> None:
        """The same of several, in few statements."""
        ...

    def record(self, entries: Sequence[Entry]) -> None:
        """Puts records into the audit log."""
        ...


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """What somebody asks for. An empty `request_id` is made up; an empty `etag` is not checked."""

    workflow_id: str
    """Scope RUN: which workflow; "" for the other scopes."""
    action: Action
    reason: str = ""
    request_id: str = ""
    etag: str = ""
    actor: str = ""
    scope: Scope = Scope.RUN
    source: str = ""
    """Scopes QUEUE and FLEET: which engine."""
    agent_id: str = ""
    queue: str = ""
    workflow_type: str = ""
    agent_type: str = ""
    pool_size: int = 0
    batch_id: str = ""
    stop_id: str = ""
    budget_id: str = ""

    @property
    def target(self) -> str:
        """What it is about, as `Command.target` says it."""
        match self.scope:
            case Scope.POOL:
                return self.agent_id
            case Scope.QUEUE | Scope.FLEET:
                return target_of(self.queue_name)
            case _:
                return self.workflow_id

    @property
    def queue_name(self) -> QueueName:
        """Scopes QUEUE and FLEET: which queue, or what of the engine."""
        if self.scope == Scope.QUEUE:
            return QueueName(self.source, self.queue)
        return QueueName(self.source, "", self.workflow_type, self.agent_type)


class Asking(NamedTuple):
    """What a request is stored with."""

    command_id: str
    now_us: int
    deadlines: Deadlines
    offline_after_us: int = OFFLINE_AFTER_US
    """An agent that was not heard of for longer is offline."""


class _Granted(NamedTuple):
    """What a command is made with."""

    source: str
    boundary: Boundary
    since_us: int
    before: Mapping[str, str]
    attempt: int = 0
    overtaken: Command | None = None
    """What ends because this takes over."""


def ask(
    transaction: CommandTransaction, request: ControlRequest, asking: Asking
) -> Command | PilothouseError:
    """The command, REQUESTED, with its audit record, or why it is refused, which is recorded as well. A repeat of a
    request is its command as it is by now. Nothing is raised for what is refused, so that a transaction may ask for
    many things."""
    request = replace(request, reason=sound(request.reason))
    earlier = transaction.requested(request.request_id) if request.request_id else None
    if earlier is not None:
        if _same(earlier, request):
            return earlier
        judged: _Granted | PilothouseError = RequestIdReused(request_id=request.request_id)
    else:
        judged = _judge(transaction, request, asking)
    if isinstance(judged, PilothouseError):
        transaction.record([_refused(request, judged, asking.now_us)])
        return judged
    entries: list[Entry] = []
    if judged.overtaken is not None:
        over = supersede(judged.overtaken, asking.command_id, asking.now_us)
        transaction.put(over)
        entries.append(command_audit.ended(over))
    command = transaction.add(_command(request, asking, judged))
    transaction.record([*entries, command_audit.accepted(command, judged.before)])
    return command


def _command(request: ControlRequest, asking: Asking, granted: _Granted) -> Command:
    return Command(
        id=asking.command_id,
        action=request.action,
        workflow_id=request.workflow_id if request.scope == Scope.RUN else "",
        source=granted.source,
        state=CommandState.REQUESTED,
        attempt=granted.attempt,
        request_us=asking.now_us,
        expire_us=asking.now_us + asking.deadlines.accept_us,
        since_us=granted.since_us,
        reason=request.reason,
        actor=request.actor,
        request_id=request.request_id or asking.command_id,
        boundary=granted.boundary,
        scope=request.scope,
        agent_id=request.agent_id,
        queue=request.queue,
        workflow_type=request.workflow_type,
        agent_type=request.agent_type,
        pool_size=request.pool_size,
        batch_id=request.batch_id,
        stop_id=request.stop_id,
        budget_id=request.budget_id,
    )


def _same(earlier: Command, request: ControlRequest) -> bool:
    """Whether a request says what the one with the same id said; an etag is no part of what is asked for."""
    about = (earlier.scope, earlier.target, earlier.action, earlier.pool_size)
    said = (earlier.reason, earlier.actor, earlier.batch_id, earlier.stop_id, earlier.budget_id)
    return (
        about == (request.scope, request.target, request.action, request.pool_size)
        and said
        == (request.reason, request.actor, request.batch_id, request.stop_id, request.budget_id)
        and request.source in ("", earlier.source)
    )


def _judge(
    transaction: CommandTransaction, request: ControlRequest, asking: Asking
) -> _Granted | PilothouseError:
    """What the command is made with, or what stands against the request."""
    match request.scope:
        case Scope.POOL:
            return _judge_agent(transaction, request, asking)
        case Scope.QUEUE | Scope.FLEET:
            return _judge_queue(transaction, request)
        case _:
            return _judge_workflow(transaction, request)


def _judge_workflow(
    transaction: CommandTransaction, request: ControlRequest
) -> _Granted | PilothouseError:
    standpoint = transaction.standpoint(request.workflow_id)
    if standpoint is None:
        return NotFound(kind="workflow", id=request.workflow_id)
    pending = transaction.pending((request.workflow_id,)).get(request.workflow_id)
    etag = etag_of(standpoint.attempt, standpoint.state, pending.id if pending else "")
    if request.etag and request.etag != etag:
        return EtagMismatch(kind="workflow", id=request.workflow_id, etag=etag)
    executor = transaction.executor(standpoint.source)
    error = refusal(request.action, standpoint.state, pending, executor, standpoint.source)
    if error is not None:
        return error
    return _Granted(
        source=standpoint.source,
        boundary=_boundary(executor, request.action, Scope.RUN),
        since_us=standpoint.report_us,
        before={"state": standpoint.state.name, "attempt": str(standpoint.attempt)},
        attempt=standpoint.attempt,
        overtaken=pending,
    )


def _judge_agent(
    transaction: CommandTransaction, request: ControlRequest, asking: Asking
) -> _Granted | PilothouseError:
    record = transaction.agent(request.agent_id)
    if record is None:
        return NotFound(kind="agent", id=request.agent_id)
    if (request.action == Action.RESIZE) != (request.pool_size > 0):
        return InvalidArgument(
            "pool_size", "how many tasks at once: needed to RESIZE, and only then"
        )
    agent = agent_stand(record, record.state(asking.now_us, asking.offline_after_us))
    pending = transaction.pending_on(Scope.POOL, agent.id, agent.source)
    etag = agent_etag(agent, pending.id if pending else "")
    if request.etag and request.etag != etag:
        return EtagMismatch(kind="agent", id=agent.id, etag=etag)
    executor = transaction.executor(agent.source)
    error = agent_refusal(request.action, agent, pending, executor)
    if error is not None:
        return error
    return _Granted(
        source=agent.source,
        boundary=_boundary(executor, request.action, Scope.POOL),
        since_us=agent.report_us,
        before={"state": agent.state.name, "capacity": str(agent.capacity)},
    )


def _judge_queue(
    transaction: CommandTransaction, request: ControlRequest
) -> _Granted | PilothouseError:
    name = request.queue_name
    record = transaction.queue(name)
    if record is None and name.name:
        return NotFound(kind="queue", id=target_id(request.scope, name.source, name.name))
    queue = QueueStand(name, QueueState.ACTIVE)
    if record is not None:
        queue = QueueStand(name, record.state, record.report_us)
    pending = transaction.pending_on(request.scope, request.target, name.source)
    executor = transaction.executor(name.source)
    error = queue_refusal(request.action, queue, pending, executor)
    if error is not None:
        return error
    return _Granted(
        source=name.source,
        boundary=_boundary(executor, request.action, request.scope),
        since_us=queue.report_us,
        before={"state": queue.state.name},
    )


def _boundary(executor: Executor | None, action: Action, scope: Scope) -> Boundary:
    capability = executor.capability(action, scope) if executor is not None else None
    return capability.boundary if capability is not None else Boundary.UNSTATED


def _refused(request: ControlRequest, error: PilothouseError, now_us: int) -> Entry:
    kind = command_audit.KINDS[request.scope]
    return Entry(
        record_us=now_us,
        actor=request.actor,
        verb=f"{kind}.{request.action.name.lower()}",
        target_kind=kind,
        target_id=target_id(request.scope, request.source, request.target),
        outcome=Outcome.REFUSED,
        reason=request.reason,
        after={"pool_size": str(request.pool_size)} if request.pool_size else {},
        error=EventError(error.reason, error.message),
        request_id=request.request_id,
        batch_id=request.batch_id,
        stop_id=request.stop_id,
    )
