"""How calls end when the server does: watches and idle streams are sent away at once, what is being done is finished.

The server waits for the calls itself, not for connections: one on which nothing was ever said would hold it up until
the end of its grace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from pilothouse_server.domain.errors import Unavailable

T = TypeVar("T")


def going_away() -> Unavailable:
    """What is told to those who are sent away."""
    return Unavailable("server", "it is going away; connect again")


class CallsUnderWay:
    """The calls of one server. After `drain` was called there are no new ones."""

    def __init__(self) -> None:
        self.draining = False
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()
        self._waiting: set[asyncio.Task[Any]] = set()

    async def drain(self, grace: float) -> None:
        """Sends away who only waits; returns when the other calls ended, or after `grace` seconds."""
        self.draining = True
        for task in self._waiting:
            task.cancel()
        try:
            async with asyncio.timeout(grace):
                await self._none.wait()
        except TimeoutError:
            return

    @contextmanager
    def call(self) -> Generator[None]:
        """A call, for as long as it lasts. Raises Unavailable when it came too late."""
        self._refuse_late()
        self._count += 1
        self._none.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._none.set()

    @contextmanager
    def waiting(self) -> Generator[None]:
        """What is done in here may be left at any moment: a drain raises Unavailable in it."""
        self._refuse_late()
        task = asyncio.current_task()
        if task is not None:
            self._waiting.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self.draining or task is None:
                raise
            task.uncancel()
            raise going_away() from None
        finally:
            if task is not None:
                self._waiting.discard(task)

    def _refuse_late(self) -> None:
        if self.draining:
            raise going_away()

    async def requests(self, stream: AsyncIterator[T]) -> AsyncGenerator[T]:
        """The requests of a stream. A drain ends it between two of them, never while one is being answered."""
        requests = aiter(stream)
        while True:
            try:
                with self.waiting():
                    request = await anext(requests)
            except StopAsyncIteration:
                return
            yield request
