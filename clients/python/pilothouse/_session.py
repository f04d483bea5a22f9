"""What an executor has between its start and its end: a connection, and one task that owns all its others.

The engine's own task is not the owner. Whatever happens here, it is not the engine that is cancelled for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self

from pilothouse._inbox import Inbox
from pilothouse._outbox import Publisher
from pilothouse.aio import Client
from pilothouse.errors import ExecutorReplaced
from pilothouse.v1.commands_pb2 import Command


class Session:
    """Make it with `begin()`, and `end()` it."""

    def __init__(
        self, client: Client, publisher: Publisher, inbox: Inbox, max_handlers: int
    ) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._group = asyncio.TaskGroup()
        self._owner: asyncio.Task[None] | None = None
        self.publisher = publisher
        """Delivers events."""
        self.inbox = inbox
        """Takes commands."""
        self.handlers = asyncio.Semaphore(max_handlers)
        """One for each handler that may run."""
        self.takes = False
        """Whether commands are taken."""

    @classmethod
    async def begin(
        cls, client: Client, publisher: Publisher, inbox: Inbox, max_handlers: int
    ) -> Self:
        """A session that delivers events."""
        session = cls(client, publisher, inbox, max_handlers)
        ready = session._loop.create_future()
        session._owner = session._loop.create_task(session._own(ready))
        await ready
        return session

    async def _own(self, ready: asyncio.Future[None]) -> None:
        async with self._group as group:
            group.create_task(self.publisher.run())
            ready.set_result(None)
            await asyncio.Event().wait()

    def wake(self) -> None:
        """There are events to deliver. May be called from any thread."""
        if threading.get_ident() == self._thread:
            self.publisher.wake()
        else:
            # Only a loop that was closed under a running executor refuses; then the event stays in the buffer.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.publisher.wake)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it returns or the session ends."""
        self._group.create_task(work)

    def take(self, offer: Callable[[Command], Awaitable[None]]) -> asyncio.Task[ExecutorReplaced]:
        """Give each command to `offer` from now on. The task ends when another executor takes over."""
        self.takes = True
        return self._group.create_task(self.inbox.run(offer))

    async def end(self) -> None:
        """Cancel all tasks and close the connection."""
        owner = self._owner
        try:
            if owner is not None:
                owner.cancel()
                await asyncio.wait([owner])
                if not owner.cancelled():
                    owner.result()
        finally:
            await self._client.close()
