"""Somebody who watches events through all that happens: each has to come once, whoever serves the stream."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pilothouse.aio
from pilothouse.v1.events_pb2 import Event
from pilothouse.watching import CaughtUp, Item, Reset, WatchOptions
from tests.support import NeverHappened, wait_until

OPTIONS = WatchOptions(silence=12.0)
"""Somewhat more than a server lets pass between two signs of life."""


class Watcher:
    """Counts what came under one prefix."""

    def __init__(self, client: pilothouse.aio.Client, prefix: str) -> None:
        self.seen: Counter[str] = Counter()
        self._client = client
        self._prefix = prefix
        self._listening = asyncio.Event()

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None]:
        """From here on nothing may be missed."""
        watch = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(60):
                await self._listening.wait()
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def come(self, ids: set[str], within: float) -> None:
        """Waits until all of these were seen, but not for ever: what is missing is seen by who compares."""
        with suppress(NeverHappened):
            await wait_until(lambda: ids <= self.seen.keys(), within=within)

    async def _watch(self) -> None:
        updates = aiter(self._client.watch_events(options=OPTIONS))
        async for update in updates:
            match update:
                case CaughtUp():
                    self._listening.set()
                case Reset():
                    self.seen[f"reset: {update.reason}"] += 1
                case Item(value=event):
                    self._note(event)

    def _note(self, event: Event) -> None:
        if event.id.startswith(self._prefix):
            self.seen[event.id.removeprefix(self._prefix).replace(self._prefix, "")] += 1
