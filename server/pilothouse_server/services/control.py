"""Commands: asked for by people, taken by executors, ended by the engine's own events or by their deadline.

Each verb judges and writes in one transaction, so of two requests at once the second sees the first and is refused
by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pilothouse_server.domain.commands import (
    Command,
    CommandState,
    Deadlines,
    accept,
    expire,
    fail,
    owned,
)
from pilothouse_server.domain.errors import (
    CommandEnded,
    NotFound,
    PilothouseError,
    Unavailable,
)
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock
from pilothouse_server.services.asking import Asking, CommandTransaction, ControlRequest, ask
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.settlement import conclude, settle_batch

__all__ = [
    "Asking",
    "CommandStore",
    "CommandTransaction",
    "Control",
    "ControlRequest",
    "ControlSignals",
    "ask",
    "settle_batch",
]

T = TypeVar("T")

EXPIRED_AT_ONCE = 500
"""Commands that one transaction of the sweeper ends."""

LONGEST_NAP = 3600.0
"""Seconds that the sweeper sleeps at most; a new command wakes it."""

SWEEP_NOTED = 5.0
"""Seconds between two notes that somebody sweeps, while a command is pending."""

SWEEP_PAUSE = 0.05
"""Seconds between two looks at what expires."""

LAPSE_US = 15_000_000
"""When the newest note is older, nobody was there, or the wall clock was put forward: that time counts for no
deadline. Shorter times without a sweeper do count."""

SWEEP_RETRY = 1.0
"""Seconds after which the sweeper tries again when the database did not answer."""


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

        Raises NotFound, EtagMismatch, IllegalTransition, WrongState, CommandPending, NoExecutor, UnsupportedByEngine,
        InvalidArgument, RequestIdReused.
        """
        offline_after_us = self._configured().agent_offline_after_us
        asking = Asking(self._new_id(), self._clock.now_us(), self._deadlines, offline_after_us)
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
            conclude(transaction, [expire(command, now_us) for command in overdue])
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
                # Of many new commands that follow one another none ends sooner than this, so one look does for them.
                await self._clock.sleep(SWEEP_PAUSE)

    async def _change(
        self, command_id: str, run: Callable[[CommandTransaction], Command]
    ) -> Command:
        """Stores the command that `run` returns if it is another than before."""

        def changing(transaction: CommandTransaction) -> tuple[Command, bool]:
            before = transaction.get(command_id)
            after = run(transaction)
            if after != before:
                conclude(transaction, [after])
            return after, after != before

        command, changed = await self._store.write(changing)
        if changed:
            self._signals.notify()
        return command


def _make_up(transaction: CommandTransaction, now_us: int) -> int:
    """Puts deadlines off by the time in which nobody swept; returns how many there were."""
    swept_us = transaction.swept_us()
    transaction.note_swept(now_us)
    if swept_us is None or now_us - swept_us < LAPSE_US:
        return 0
    return transaction.defer(swept_us, now_us, LAPSE_US)


def _known(transaction: CommandTransaction, command_id: str) -> Command:
    command = transaction.get(command_id)
    if command is None:
        raise NotFound(kind="command", id=command_id)
    return command


def _owned(transaction: CommandTransaction, command_id: str, source: str) -> Command:
    return owned(_known(transaction, command_id), source)
