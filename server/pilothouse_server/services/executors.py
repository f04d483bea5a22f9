"""The engines that take commands: who is connected, what each can do, and the stream on which it gets its commands.

A stream is a position in the sequence of commands, not a queue: what was written while nobody listened is there when
somebody does. One stream a source: a newer one takes over, and the older is told so.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.commands import Capability, Command, Executor
from pilothouse_server.domain.errors import ExecutorReplaced, Unavailable
from pilothouse_server.ports import Clock
from pilothouse_server.services.control import ControlSignals
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.watch import CaughtUp, Heartbeat, Reset, read_token, token_of

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


class ExecutorTransaction(Protocol):
    """What streams to executors read and change, within one transaction."""

    def executor(self, source: str) -> Executor | None: ...

    def all_executors(self, limit: int) -> Sequence[Executor]:
        """By name."""
        ...

    def put_executor(self, executor: Executor) -> None:
        """Stores it; when its capabilities changed, its workflows get a new revision."""
        ...

    def disconnect_all(self) -> None:
        """Nobody is connected: the server has just begun."""
        ...

    def offered(self, source: str, after: int, limit: int) -> Sequence[Command]:
        """Commands for `source` that have not ended, later than `after` in the sequence, in order."""
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


@dataclass(slots=True)
class _Stream:
    """One connected stream; `replaced` when a newer one took over."""

    executor: Executor
    stored_us: int
    replaced: bool = False


class Executors:
    """Streams to executors, and what is known of each. `run` stores goodbyes."""

    def __init__(
        self,
        store: ExecutorStore,
        clock: Clock,
        signals: ControlSignals,
        *,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._heartbeat = heartbeat
        self._streams: dict[str, _Stream] = {}
        self._unsaved: dict[str, Executor] = {}
        self._goodbyes = Changes()

    async def start(self) -> None:
        """Call it once, before the first stream: whoever was connected before is not."""
        await self._store.write(lambda transaction: transaction.disconnect_all())

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
        position, reset = await self._place(resume_token)
        stream = await self._connect(source, capabilities)
        try:
            if reset is not None:
                yield reset
            async for item in self._follow(stream, position):
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
        """Stores what is known and not stored."""
        while self._unsaved:
            source, executor = next(iter(self._unsaved.items()))
            await self._store.write(lambda transaction: transaction.put_executor(executor))  # noqa: B023 - awaited
            if self._unsaved.get(source) is executor:
                del self._unsaved[source]

    async def _follow(self, stream: _Stream, position: int) -> AsyncGenerator[StreamItem, None]:
        source = stream.executor.source
        epoch, _ = await self._store.read(lambda transaction: transaction.history())
        caught_up = False
        while True:
            seen = self._signals.commands.version
            commands = await self._store.read(
                lambda transaction: transaction.offered(source, position, BATCH)  # noqa: B023 - awaited
            )
            for command in commands:
                self._still(stream)
                position = command.sequence
                yield Offered(token_of(epoch, position), command)
            if len(commands) == BATCH:
                continue
            if not caught_up:
                caught_up = True
                yield CaughtUp(token_of(epoch, position))
            self._still(stream)
            if not await self._signals.commands.wait(seen, self._heartbeat):
                self._seen(stream)
                yield Heartbeat(token_of(epoch, position))
            self._still(stream)

    async def _place(self, token: str) -> tuple[int, Reset | None]:
        """Where a stream begins, and what to say first when its token is of another history."""
        if not token:
            return 0, None
        epoch, newest = await self._store.read(lambda transaction: transaction.history())
        told, position = read_token(token)
        if told == epoch and position <= newest:
            return position, None
        reason = "the token is of another history; every command that has not ended follows"
        return 0, Reset(token_of(epoch, 0), reason)

    async def _connect(self, source: str, capabilities: Sequence[Capability]) -> _Stream:
        now_us = self._clock.now_us()
        executor = Executor(source, tuple(sorted(set(capabilities))), True, now_us, now_us)
        stream = _Stream(executor, now_us)
        older = self._streams.get(source)
        if older is not None:
            older.replaced = True
        self._streams[source] = stream
        self._unsaved.pop(source, None)
        try:
            await self._store.write(lambda transaction: transaction.put_executor(executor))
        except BaseException:
            self._disconnect(stream)
            raise
        self._signals.notify()
        return stream

    def _disconnect(self, stream: _Stream) -> None:
        source = stream.executor.source
        if self._streams.get(source) is not stream:
            return
        del self._streams[source]
        self._unsaved[source] = replace(
            stream.executor, connected=False, last_seen_us=self._clock.now_us()
        )
        self._goodbyes.notify()

    def _seen(self, stream: _Stream) -> None:
        now_us = self._clock.now_us()
        stream.executor = replace(stream.executor, last_seen_us=now_us)
        if now_us - stream.stored_us >= SEEN_EVERY_US and not stream.replaced:
            stream.stored_us = now_us
            self._unsaved[stream.executor.source] = stream.executor
            self._goodbyes.notify()

    def _present(self, executor: Executor) -> Executor:
        stream = self._streams.get(executor.source)
        if stream is not None:
            return stream.executor
        return replace(executor, connected=False)

    def _still(self, stream: _Stream) -> None:
        if stream.replaced:
            raise ExecutorReplaced(source=stream.executor.source)
