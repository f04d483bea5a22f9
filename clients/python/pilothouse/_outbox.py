"""Events on their way from an engine to the log: kept in order in bounded memory until the server has them durably.

The buffer takes from any thread and never waits. What it hands out stays in it until it is settled, which is either
delivered or named as rejected; so a batch is repeated with the same event ids, and the log, which knows them, counts
each event once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, NoReturn

from pilothouse.errors import (
    CallError,
    InvalidArgument,
    NotDelivered,
    PilothouseError,
    RateLimited,
    ResourceExhausted,
)
from pilothouse.retry import Backoff
from pilothouse.v1.events_pb2 import Event, PublishEventsRequest, PublishEventsResponse

log = logging.getLogger("pilothouse.executor")

Publish = Callable[[PublishEventsRequest], Awaitable[PublishEventsResponse]]


class _Kept(NamedTuple):
    event: Event
    size: int


class Buffer:
    """Events in order, at most so many and so many bytes of them."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: deque[_Kept] = deque()
        self.size = 0
        """Bytes of the events in it."""
        self.taken = 0
        """Events ever put."""
        self.settled = 0
        """Events ever settled; they leave in the order in which they came."""

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, event: Event) -> bool:
        """Keep `event`; False when there is no room."""
        size = event.ByteSize()
        with self._lock:
            if len(self._kept) >= self._max_events or self.size + size > self._max_bytes:
                return False
            self._kept.append(_Kept(event, size))
            self.size += size
            self.taken += 1
            return True

    def head(self, max_events: int, max_bytes: int) -> list[Event]:
        """The oldest events that go into one batch; at least one when there is any."""
        batch: list[Event] = []
        with self._lock:
            for event, size in itertools.islice(self._kept, max_events):
                max_bytes -= size
                if max_bytes < 0 and batch:
                    break
                batch.append(event)
        return batch

    def settle(self, count: int) -> None:
        """Forget the `count` oldest."""
        with self._lock:
            for _ in range(count):
                self.size -= self._kept.popleft().size
            self.settled += count

    def events(self) -> list[Event]:
        """All that is in it, oldest first."""
        with self._lock:
            return [kept.event for kept in self._kept]


class Publisher:
    """Delivers what is in a buffer, for as long as it runs."""

    def __init__(
        self,
        buffer: Buffer,
        publish: Publish,
        *,
        batch_events: int,
        batch_bytes: int,
        linger: float,
        on_rejected: Callable[[Event, str], None],
        backoff: Backoff,
    ) -> None:
        self._buffer = buffer
        self._publish = publish
        self._most = batch_events
        self._at_once = batch_events
        self._batch_bytes = batch_bytes
        self._linger = linger
        self._on_rejected = on_rejected
        self._backoff = backoff
        self._filled = asyncio.Event()
        self._hurry = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.delivered = 0
        """Events that the server has durably."""
        self.retries = 0
        """Batches that were sent again."""
        self.last_error: PilothouseError | None = None
        """Why the newest try failed; None when it did not."""

    def wake(self) -> None:
        """There is something in the buffer. Call it in the loop."""
        self._filled.set()
        if len(self._buffer) >= self._most:
            self._hurry.set()

    async def run(self) -> NoReturn:
        """Deliver until cancelled."""
        while True:
            await self._filled.wait()
            await self._gather()
            # Cleared before the look, so that what comes after the look sets it again.
            self._filled.clear()
            while batch := self._buffer.head(self._at_once, self._batch_bytes):
                await self._deliver(batch)

    async def flush(self, timeout: float | None) -> None:
        """Return when all that is in the buffer now is settled. Raises NotDelivered after `timeout` seconds."""
        target = self._buffer.taken
        if self._buffer.settled >= target:
            return
        self._hurry.set()
        self.wake()
        done = asyncio.get_running_loop().create_future()
        entry = (target, done)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            late = self._buffer.events()[: target - self._buffer.settled]
            raise NotDelivered(late, self.last_error) from self.last_error
        finally:
            self._waiting.remove(entry)

    async def _gather(self) -> None:
        """A few milliseconds make one batch of what would be many."""
        if len(self._buffer) < self._most and not self._hurry.is_set():
            try:
                async with asyncio.timeout(self._linger):
                    await self._hurry.wait()
            except TimeoutError:
                pass
        self._hurry.clear()

    async def _deliver(self, batch: list[Event]) -> None:
        """Settle `batch` or, when all of it is refused at once, a part of it."""
        while True:
            try:
                response = await self._publish(PublishEventsRequest(events=batch))
            except CallError as error:
                self.last_error = error
                if _refuses_all(error):
                    self._narrow(batch, error)
                    return
                await self._pause(batch, error)
            else:
                self._taken(batch, response)
                return

    async def _pause(self, batch: list[Event], error: CallError) -> None:
        if self._backoff.failures == 0:
            log.warning(
                "events cannot be delivered now and are kept (%d in the buffer): %s",
                len(self._buffer),
                error,
            )
        self.retries += 1
        log.debug("batch of %d is sent again: %s", len(batch), error)
        await asyncio.sleep(self._backoff.next(error.retry_after))

    def _narrow(self, batch: list[Event], error: CallError) -> None:
        """Some event of `batch` makes the server refuse all of it: look for it in half of them."""
        if len(batch) > 1:
            self._at_once = len(batch) // 2
            return
        self._on_rejected(batch[0], str(error))
        self._settle(1)

    def _taken(self, batch: list[Event], response: PublishEventsResponse) -> None:
        if self._backoff.failures:
            log.info("events are delivered again")
        self._backoff.reset()
        self.last_error = None
        self._at_once = min(self._at_once * 2, self._most)
        rejected = {
            each.index: each.reason for each in response.rejected if each.index < len(batch)
        }
        for index, reason in rejected.items():
            self._on_rejected(batch[index], reason)
        self.delivered += len(batch) - len(rejected)
        self._settle(len(batch))

    def _settle(self, count: int) -> None:
        self._buffer.settle(count)
        for target, done in self._waiting:
            if target <= self._buffer.settled and not done.done():
                done.set_result(None)


def _refuses_all(error: CallError) -> bool:
    """Whether the same batch would be refused again, however often it is sent."""
    return isinstance(error, InvalidArgument | ResourceExhausted) and not isinstance(
        error, RateLimited
    )
