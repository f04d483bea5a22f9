"""Commands: asked for by people, taken by executors, ended by the engine's own events or by their deadline.

Each verb judges and writes in one transaction, so of two requests at once the second sees the first and is refused
by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.commands import (
    Boundary,
    Command,
    CommandState,
    Deadlines,
    Executor,
    Scope,
    Standpoint,
    accept,
    etag_of,
    expire,
    fail,
    owned,
    refusal,
    supersede,
)
from pilothouse_server.domain.errors import (
    CommandEnded,
    EtagMismatch,
    NotFound,
    PilothouseError,
    RequestIdReused,
    Unavailable,
)
from pilothouse_server.domain.events import WORKFLOW_TYPES, Event, EventError, EventType
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.settling import SERVER_SOURCE, Facts, settle
from pilothouse_server.domain.workflows import Action
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes

T = TypeVar("T")
S = TypeVar("S")

EXPIRED_AT_ONCE = 500
"""Commands that one transaction of the sweeper ends."""

LONGEST_NAP = 3600.0
"""Seconds that the sweeper sleeps at most; a new command wakes it."""

SWEEP_NOTED = 5.0
"""Seconds between two notes that somebody sweeps, while a command is pending."""

LAPSE_US = 15_000_000
"""When the newest note is older, nobody was there, or the wall clock was put forward: that time counts for no
deadline. Shorter times without a sweeper do count."""

SWEEP_RETRY = 1.0
"""Seconds after which the sweeper tries again when the database did not answer."""


class CommandTransaction(Protocol):
    """What control reads and changes, within one transaction."""

    def standpoint(self, workflow_id: str) -> Standpoint | None:
        """Where the workflow stands; None when there is no such workflow."""
        ...

    def get(self, command_id: str) -> Command | None: ...

    def requested(self, request_id: str) -> Command | None:
        """The command of an earlier request with this id."""
        ...

    def pending(self, workflow_ids: Collection[str]) -> Mapping[str, Command]:
        """The commands on these workflows that have not ended."""
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

    def pending_on(self, scope: Scope, target: str, source: str) -> Command | None:
        """The command on a target that is no workflow, which has not ended."""
        ...

    def record(self, entries: Sequence[Entry]) -> None:
        """Puts records into the audit log."""
        ...

    def add(self, command: Command) -> Command:
        """Stores a new command, gives it its sequence, and tells of it in the outbox and on its workflow."""
        ...

    def put(self, command: Command) -> None:
        """Stores a command that changed its state, and tells of it likewise."""
        ...

    def executor(self, source: str) -> Executor | None: ...


class CommandStore(Protocol):
    """Transactions over commands."""

    async def write(self, run: Callable[[CommandTransaction], T]) -> T: ...

    async def read(self, run: Callable[[CommandTransaction], T]) -> T: ...


@dataclass(frozen=True, slots=True)
class ControlSignals:
    """Who is told when commands change."""

    commands: Changes = field(default_factory=Changes)
    """Streams to executors, and the sweeper."""
    workflows: Changes = field(default_factory=Changes)
    """Those who watch workflows: a pending command is part of one."""
    outbox: Changes = field(default_factory=Changes)
    """The relay."""

    def notify(self) -> None:
        """Tells all of them."""
        self.commands.notify()
        self.workflows.notify()
        self.outbox.notify()


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


class Asking(NamedTuple):
    """What a request is stored with."""

    command_id: str
    now_us: int
    deadlines: Deadlines


def ask(
    transaction: CommandTransaction, request: ControlRequest, asking: Asking
) -> Command | PilothouseError:
    """The command, REQUESTED, with its audit record, or why it is refused, which is recorded as well. A repeat of a
    request is its command as it is by now. Nothing is raised for what is refused, so that a transaction may ask for
    many things."""
    earlier = transaction.requested(request.request_id) if request.request_id else None
    if earlier is not None:
        return _same(earlier, request)
    judged = _judge(transaction, request)
    if isinstance(judged, PilothouseError):
        transaction.record([_refused(request, judged, asking.now_us)])
        return judged
    standpoint, boundary = judged
    _overtake(transaction, standpoint.workflow_id, asking.command_id, asking.now_us)
    command = transaction.add(
        Command(
            id=asking.command_id,
            action=request.action,
            workflow_id=standpoint.workflow_id,
            source=standpoint.source,
            state=CommandState.REQUESTED,
            attempt=standpoint.attempt,
            request_us=asking.now_us,
            expire_us=asking.now_us + asking.deadlines.accept_us,
            since_us=standpoint.report_us,
            reason=request.reason,
            actor=request.actor,
            request_id=request.request_id or asking.command_id,
            boundary=boundary,
            batch_id=request.batch_id,
            stop_id=request.stop_id,
            budget_id=request.budget_id,
        )
    )
    transaction.record([_accepted(command, standpoint)])
    return command


class Control:
    """The verbs of commands. Every one of them raises Unavailable when the database does not answer."""

    def __init__(
        self,
        store: CommandStore,
        clock: Clock,
        signals: ControlSignals,
        new_id: Callable[[], str],
        configured: Callable[[], PlatformConfig] = PlatformConfig,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._new_id = new_id
        self._configured = configured

    async def request(self, request: ControlRequest) -> Command:
        """The command, REQUESTED; for a repeat with the same request_id the command as it is by now.

        Raises NotFound, EtagMismatch, IllegalTransition, CommandPending, NoExecutor, UnsupportedByEngine,
        RequestIdReused.
        """
        asking = Asking(self._new_id(), self._clock.now_us(), self._deadlines)
        asked = await self._store.write(lambda transaction: ask(transaction, request, asking))
        if isinstance(asked, PilothouseError):
            raise asked
        if asked.id == asking.command_id:
            self._signals.notify()
        return asked

    @property
    def _deadlines(self) -> Deadlines:
        return Deadlines.of(self._configured())

    async def accept(self, command_id: str, source: str) -> Command:
        """The command, ACCEPTED, or EFFECTIVE where its effect was seen before.

        Raises NotFound, NotCommandOwner, CommandEnded.
        """
        now_us = self._clock.now_us()

        def run(transaction: CommandTransaction) -> Command:
            command = _owned(transaction, command_id, source)
            if command.pending and now_us >= command.expire_us:
                _make_up(transaction, now_us)
                command = expire(_owned(transaction, command_id, source), now_us)
            if command.state == CommandState.EXPIRED:
                return command
            return accept(command, now_us, self._deadlines)

        command = await self._change(command_id, run)
        if command.state == CommandState.EXPIRED:
            raise CommandEnded(command_id=command.id, state=command.state.name)
        return command

    async def fail(self, command_id: str, source: str, error: EventError) -> Command:
        """The command, FAILED. Raises NotFound, NotCommandOwner, CommandEnded."""
        now_us = self._clock.now_us()
        return await self._change(
            command_id,
            lambda transaction: fail(_owned(transaction, command_id, source), error, now_us),
        )

    async def get(self, command_id: str) -> Command:
        """One command. Raises NotFound."""
        return await self._store.read(lambda transaction: _known(transaction, command_id))

    async def sweep(self) -> int | None:
        """Expires what is overdue, without the time in which nobody swept; returns when the next command expires, None
        when none is pending."""
        now_us = self._clock.now_us()

        def look(transaction: CommandTransaction) -> tuple[int | None, int]:
            return transaction.next_deadline(), transaction.swept_us() or 0

        def run(transaction: CommandTransaction) -> tuple[int, int | None]:
            deferred = _make_up(transaction, now_us)
            overdue = transaction.overdue(now_us, EXPIRED_AT_ONCE)
            for command in overdue:
                transaction.put(expire(command, now_us))
            return len(overdue) + deferred, transaction.next_deadline()

        deadline, swept_us = await self._store.read(look)
        noted = now_us - swept_us < SWEEP_NOTED * 1_000_000
        if deadline is None or (deadline > now_us and noted):
            return deadline
        changed, deadline = await self._store.write(run)
        if changed:
            self._signals.notify()
        return deadline

    async def run(self) -> None:
        """The sweeper, for one replica only: sleeps until the nearest deadline or a new command. Runs until it is
        cancelled."""
        while True:
            seen = self._signals.commands.version
            try:
                deadline = await self.sweep()
            except Unavailable:
                await self._clock.sleep(SWEEP_RETRY)
                continue
            nap = LONGEST_NAP
            if deadline is not None:
                nap = min(SWEEP_NOTED, (deadline - self._clock.now_us()) / 1_000_000)
            if nap > 0:
                await self._signals.commands.wait(seen, nap)

    async def _change(
        self, command_id: str, run: Callable[[CommandTransaction], Command]
    ) -> Command:
        """Stores the command that `run` returns if it is another than before."""

        def changing(transaction: CommandTransaction) -> tuple[Command, bool]:
            before = transaction.get(command_id)
            after = run(transaction)
            if after != before:
                transaction.put(after)
            return after, after != before

        command, changed = await self._store.write(changing)
        if changed:
            self._signals.notify()
        return command


def settle_batch(
    transaction: CommandTransaction,
    events: Sequence[Event],
    facts: Mapping[str, Facts],
    deadlines: Deadlines,
) -> int:
    """Ends the commands that `events`, just applied, answer; `facts` tells where each of their workflows stands now.
    Returns how many commands changed. Runs in the projector's transaction."""
    answers: dict[str, list[Event]] = {}
    for event in events:
        if event.type in WORKFLOW_TYPES:
            answers.setdefault(event.workflow_id, []).append(event)
        elif event.type in _ANSWERS and event.command_id and event.source != SERVER_SOURCE:
            answers.setdefault(_workflow_of(transaction, event), []).append(event)
    changed = 0
    pending: Mapping[str, Command] = transaction.pending(answers) if answers else {}
    for workflow_id, command in pending.items():
        known = facts.get(workflow_id) or _facts(transaction, workflow_id)
        if known is None:
            continue
        after = settle(command, answers[workflow_id], known, deadlines)
        if after is not command:
            transaction.put(after)
            changed += 1
    return changed


_ANSWERS = (EventType.COMMAND_ACCEPTED, EventType.COMMAND_FAILED)
"""What an engine may report of a command instead of calling us."""


def _workflow_of(transaction: CommandTransaction, event: Event) -> str:
    if event.workflow_id:
        return event.workflow_id
    command = transaction.get(event.command_id)
    return "" if command is None else command.workflow_id


def _facts(transaction: CommandTransaction, workflow_id: str) -> Facts | None:
    standpoint = transaction.standpoint(workflow_id)
    return None if standpoint is None else Facts(standpoint.state, standpoint.attempt)


def _make_up(transaction: CommandTransaction, now_us: int) -> int:
    """Puts deadlines off by the time in which nobody swept; returns how many there were."""
    swept_us = transaction.swept_us()
    transaction.note_swept(now_us)
    if swept_us is None or now_us - swept_us < LAPSE_US:
        return 0
    return transaction.defer(swept_us, now_us, LAPSE_US)


def _judge(
    transaction: CommandTransaction, request: ControlRequest
) -> tuple[Standpoint, Boundary] | PilothouseError:
    """Where the workflow stands and when its engine would act, or what stands against the request."""
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
    capability = executor.capability(request.action) if executor is not None else None
    return standpoint, capability.boundary if capability is not None else Boundary.UNSTATED


def _accepted(command: Command, standpoint: Standpoint) -> Entry:
    return Entry(
        record_us=command.request_us,
        actor=command.actor,
        verb=f"workflow.{command.action.name.lower()}",
        target_kind="workflow",
        target_id=command.workflow_id,
        outcome=Outcome.ACCEPTED,
        reason=command.reason,
        before={"state": standpoint.state.name, "attempt": str(standpoint.attempt)},
        request_id=command.request_id,
        command_id=command.id,
        batch_id=command.batch_id,
        stop_id=command.stop_id,
    )


def _refused(request: ControlRequest, error: PilothouseError, now_us: int) -> Entry:
    return Entry(
        record_us=now_us,
        actor=request.actor,
        verb=f"workflow.{request.action.name.lower()}",
        target_kind="workflow",
        target_id=request.workflow_id,
        outcome=Outcome.REFUSED,
        reason=request.reason,
        error=EventError(error.reason, error.message),
        request_id=request.request_id,
        batch_id=request.batch_id,
        stop_id=request.stop_id,
    )


def _overtake(transaction: CommandTransaction, workflow_id: str, by: str, now_us: int) -> None:
    """Ends the command that the new one takes over from; the judgement allowed that."""
    pending = transaction.pending((workflow_id,)).get(workflow_id)
    if pending is not None:
        transaction.put(supersede(pending, by, now_us))


def _same(earlier: Command, request: ControlRequest) -> Command | PilothouseError:
    content = (earlier.workflow_id, earlier.action, earlier.reason, earlier.actor)
    if content != (request.workflow_id, request.action, request.reason, request.actor):
        return RequestIdReused(request_id=request.request_id)
    return earlier


def _known(transaction: CommandTransaction, command_id: str) -> Command:
    command = transaction.get(command_id)
    if command is None:
        raise NotFound(kind="command", id=command_id)
    return command


def _owned(transaction: CommandTransaction, command_id: str, source: str) -> Command:
    return owned(_known(transaction, command_id), source)
