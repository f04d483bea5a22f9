"""The engines that take commands: who is connected, what each can do, and the stream on which it gets its commands.

A stream is a position in the sequence of commands, not a queue: what was written while nobody listened is there when
somebody does. One stream a source, over all replicas: the row names the newest, and each look at commands looks at it
too, so an older stream ends before it offers anything that the newer one offers.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.commands import Capability, Command, Executor
from pilothouse_server.domain.errors import ExecutorReplaced, Unavailable
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock
from pilothouse_server.services.control import ControlSignals
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.watch import CaughtUp, Heartbeat, Reset, read_numbers, token_of

T = TypeVar("T")

HEARTBEAT = 5.0
"""Seconds of quiet after which a stream says that it is alive."""

BATCH = 20
"""Commands read at once; few, so that what ends meanwhile is not sent."""

LISTED = 1000
"""Executors in one list."""

SEEN_EVERY_US = 30_000_000
"""How often it is stored that an executor is still there."""

STORE_RETRY = 1.0
"""Seconds after which a goodbye that could not be stored is tried again."""

ABSENCE = 5.0
"""Seconds between two looks for replicas that are gone; one is gone when two looks missed it."""


class ExecutorTransaction(Protocol):
    """What streams to executors read and change, within one transaction."""

    def executor(self, source: str) -> Executor | None: ...

    def all_executors(self, limit: int) -> Sequence[Executor]:
        """By name."""
        ...

    def put_executor(self, executor: Executor) -> None:
        """Stores it; when its capabilities changed, its workflows get a new revision."""
        ...

    def see_executor(self, executor: Executor) -> None:
        """Stores whether it is connected and when it was seen, unless it has opened another stream since."""
        ...

    def connected_replicas(self) -> set[str]:
        """The replicas to which executors are connected."""
        ...

    def disconnect(self, replicas: Collection[str]) -> None:
        """Nobody is connected to these replicas."""
        ...

    def offered(self, source: str, after: int, limit: int) -> Sequence[Command]:
        """Commands for `source` that have not ended, later than `after` in the sequence, in order."""
        ...

    def urgent(self, source: str, after: int, limit: int) -> Sequence[Command]:
        """Those of them that emergency stops asked for."""
        ...

    def given(self, source: str, until: int, limit: int) -> int:
        """How many commands for `source` up to `until` in the sequence have not ended, counted to the limit."""
        ...

    def history(self) -> tuple[str, int]:
        """What tells this database from others, and the newest sequence in it."""
        ...


class ExecutorStore(Protocol):
    """Transactions over executors."""

    async def write(self, run: Callable[[ExecutorTransaction], T]) -> T: ...

    async def read(self, run: Callable[[ExecutorTransaction], T]) -> T: ...


class Offered(NamedTuple):
    """A command to take."""

    token: str
    command: Command


StreamItem = Offered | CaughtUp | Heartbeat | Reset


class _Place(NamedTuple):
    """How far a stream is, as its token says it."""

    position: int = 0
    """Everything up to this sequence was offered."""
    urgent: int = 0
    """So was what emergency stops asked for, up to this one: an engine that has all that it may have is given it all
    the same, ahead of what waits."""

    def token(self, epoch: str) -> str:
        """The second number is there only while it says something."""
        token = token_of(epoch, self.position)
        return f"{token}.{self.urgent}" if self.urgent > self.position else token

    def offers(self, command: Command) -> bool:
        """Whether it was not offered before."""
        return not (command.stop_id and command.sequence <= self.urgent)

    def behind(self, command: Command) -> _Place:
        """Where the stream is once the command was offered."""
        return self._replace(position=command.sequence)

    def ahead(self, command: Command) -> _Place:
        """The same of one that was offered before its turn."""
        return self._replace(urgent=command.sequence)


class _Look(NamedTuple):
    """What one look at the commands of an engine shows."""

    stored: Executor | None
    """The engine."""
    commands: Sequence[Command] = ()
    """What it is given next."""
    urgent: Sequence[Command] = ()
    """What it is given before its turn."""
    full: bool = False
    """Whether it has as many as it may have."""


@dataclass(slots=True)
class _Stream:
    """One connected stream; `replaced` when a newer one took over."""

    executor: Executor
    stored_us: int
    replaced: bool = False


class Executors:
    """Streams to executors on this replica, and what is known of each. `run` stores goodbyes."""

    def __init__(
        self,
        store: ExecutorStore,
        clock: Clock,
        signals: ControlSignals,
        *,
        replica: str = "",
        heartbeat: float = HEARTBEAT,
        configured: Callable[[], PlatformConfig] = PlatformConfig,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._replica = replica
        self._heartbeat = heartbeat
        self._configured = configured
        self._streams: dict[str, _Stream] = {}
        self._unsaved: dict[str, Executor] = {}
        self._goodbyes = Changes()

    async def start(self, *, alone: bool = False) -> None:
        """Call it once, before the first stream: nobody is connected here, and to nobody else where no other replica
        can be. Raises Unavailable."""

        def run(transaction: ExecutorTransaction) -> None:
            gone = transaction.connected_replicas() if alone else {self._replica}
            transaction.disconnect(gone)

        await self._store.write(run)

    async def stop(self) -> None:
        """Call it after the last stream: nobody is connected here any more. Raises Unavailable."""
        await self.save()
        await self._store.write(lambda transaction: transaction.disconnect((self._replica,)))
        self._signals.notify()

    async def list(self) -> Sequence[Executor]:
        """The executors that ever connected, by name."""
        stored = await self._store.read(lambda transaction: transaction.all_executors(LISTED))
        return [self._present(executor) for executor in stored]

    async def watch(
        self, source: str, capabilities: Sequence[Capability], resume_token: str
    ) -> AsyncGenerator[StreamItem, None]:
        """The commands for `source`: those after the token, or all that have not ended. Close the iterator when it
        is left.

        Raises InvalidResumeToken, ExecutorReplaced, Unavailable.
        """
        place, reset = await self._place(resume_token)
        stream = await self._connect(source, capabilities)
        try:
            if reset is not None:
                yield reset
            async for item in self._follow(stream, place):
                yield item
        finally:
            self._disconnect(stream)

    async def run(self) -> None:
        """Stores which executors left. Runs until it is cancelled."""
        while True:
            seen = self._goodbyes.version
            try:
                await self.save()
            except Unavailable:
                await self._clock.sleep(STORE_RETRY)
                continue
            await self._goodbyes.wait(seen, 3600)

    async def save(self) -> None:
        """Stores what is known and not stored. Raises Unavailable."""
        while self._unsaved:
            stream, executor = next(iter(self._unsaved.items()))
            await self._store.write(lambda transaction: transaction.see_executor(executor))  # noqa: B023 - awaited
            if self._unsaved.get(stream) is executor:
                del self._unsaved[stream]

    async def _follow(self, stream: _Stream, place: _Place) -> AsyncGenerator[StreamItem, None]:
        epoch, _ = await self._store.read(lambda transaction: transaction.history())
        caught_up = full = False
        while True:
            # Who has all that it may have gets more when some of it ended, which is told with what changed.
            changes = self._signals.workflows if full else self._signals.commands
            seen = changes.version
            look = await self._store.read(partial(self._look, stream.executor.source, place))
            full = look.full
            await self._hold(stream, look.stored)
            for command in look.commands:
                self._still(stream)
                offers, place = place.offers(command), place.behind(command)
                if offers:
                    yield Offered(place.token(epoch), command)
            for command in look.urgent:
                self._still(stream)
                place = place.ahead(command)
                yield Offered(place.token(epoch), command)
            if BATCH in (len(look.commands), len(look.urgent)):
                continue
            if not (caught_up or full):
                caught_up = True
                yield CaughtUp(place.token(epoch))
            self._still(stream)
            if full and changes is self._signals.commands:
                continue
            if not await changes.wait(seen, self._heartbeat):
                self._seen(stream)
                yield Heartbeat(place.token(epoch))
            self._still(stream)

    def _look(self, source: str, place: _Place, transaction: ExecutorTransaction) -> _Look:
        most = self._configured().dispatch_limit
        room = most - transaction.given(source, place.position, most)
        commands = transaction.offered(source, place.position, min(BATCH, room)) if room > 0 else ()
        full = room <= len(commands)
        urgent: Sequence[Command] = ()
        if full:
            last = commands[-1].sequence if commands else place.position
            urgent = transaction.urgent(source, max(last, place.urgent), BATCH)
        return _Look(transaction.executor(source), commands, urgent, full)

    async def _place(self, token: str) -> tuple[_Place, Reset | None]:
        """Where a stream begins, and what to say first when its token is of another history."""
        if not token:
            return _Place(), None
        epoch, newest = await self._store.read(lambda transaction: transaction.history())
        told, position, urgent = read_numbers(token)
        if told == epoch and max(position, urgent) <= newest:
            return _Place(position, urgent), None
        reason = "the token is of another history; every command that has not ended follows"
        return _Place(), Reset(token_of(epoch, 0), reason)

    async def _connect(self, source: str, capabilities: Sequence[Capability]) -> _Stream:
        now_us = self._clock.now_us()
        able = tuple(sorted(set(capabilities)))
        executor = Executor(source, able, True, now_us, now_us, self._replica, uuid7())
        stream = _Stream(executor, now_us)
        try:
            await self._store.write(lambda transaction: transaction.put_executor(executor))
        except BaseException:
            # Given up half-way: it may be stored all the same.
            self._disconnect(stream)
            raise
        older = self._streams.get(source)
        if older is not None:
            older.replaced = True
        self._streams[source] = stream
        self._signals.notify()
        return stream

    async def _hold(self, stream: _Stream, stored: Executor | None) -> None:
        """Compares the stream with what is stored of its engine. Raises ExecutorReplaced when that is a newer one."""
        executor = stream.executor
        if stored is None:
            await self._store.write(lambda transaction: transaction.put_executor(executor))
        elif stored.stream != executor.stream:
            stream.replaced = True
        elif not stored.connected:
            # This replica was thought to be gone, and is not.
            self._note(executor)
        self._still(stream)

    def _disconnect(self, stream: _Stream) -> None:
        source = stream.executor.source
        if self._streams.get(source) is stream:
            del self._streams[source]
        if not stream.replaced:
            now_us = self._clock.now_us()
            self._note(replace(stream.executor, connected=False, last_seen_us=now_us))

    def _seen(self, stream: _Stream) -> None:
        now_us = self._clock.now_us()
        stream.executor = replace(stream.executor, last_seen_us=now_us)
        if now_us - stream.stored_us >= SEEN_EVERY_US and not stream.replaced:
            stream.stored_us = now_us
            self._note(stream.executor)

    def _note(self, executor: Executor) -> None:
        self._unsaved[executor.stream] = executor
        self._goodbyes.notify()

    def _present(self, stored: Executor) -> Executor:
        """As it is stored, and as fresh as this replica knows it."""
        stream = self._streams.get(stored.source)
        if stream is not None and stream.executor.stream == stored.stream:
            return stream.executor
        return self._unsaved.get(stored.stream, stored)

    def _still(self, stream: _Stream) -> None:
        if stream.replaced:
            raise ExecutorReplaced(source=stream.executor.source)


class Absence:
    """Notices for replicas that are gone that nobody is connected to them. Runs where the lead is."""

    def __init__(
        self,
        store: ExecutorStore,
        alive: Callable[[], Awaitable[Collection[str]]],
        clock: Clock,
        signals: ControlSignals,
    ) -> None:
        self._store = store
        self._alive = alive
        self._clock = clock
        self._signals = signals
        self._missed: set[str] = set()

    async def run(self) -> None:
        """Looks until it is cancelled. Raises LeaseLost when another replica leads."""
        while True:
            with contextlib.suppress(Unavailable):  # the next look comes soon
                await self.look()
            await self._clock.sleep(ABSENCE)

    async def look(self) -> None:
        """Disconnects what is connected to replicas that this look and the one before it missed."""
        there = await self._store.read(lambda transaction: transaction.connected_replicas())
        missed = there.difference(await self._alive())
        gone, self._missed = missed & self._missed, missed
        if gone:
            await self._store.write(lambda transaction: transaction.disconnect(gone))
            self._signals.notify()
