"""Every step in the life of an alert, on its way to whoever listens outside: in order, and once each.

Steps wait in an outbox that is written in their own transaction. They are removed from it after they are published; a
kill between the two publishes the same ids again, and whoever takes them knows the ids of the newest ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.alerts.records import Alert, AlertStep
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import Clock, Fence
from pilothouse_server.services.fanout import Changes

BATCH: Final = 200
"""Steps published at once."""
FIRST_RETRY: Final = 0.1
LAST_RETRY: Final = 1.0
"""Seconds to wait when the Redis or the database cannot be reached, doubled each time."""
MOST_WAITING: Final = 100_000
"""Steps that wait while nobody takes them, the newest; the stream would keep no more either."""
LOOK: Final = 1.0
"""Seconds between two looks when nobody wakes it."""


class Told(NamedTuple):
    """A step in the outbox; without the alert where it is gone from the database already."""

    position: int
    alert: Alert | None
    step: AlertStep | None


class Message(NamedTuple):
    """A step as it is published; the id follows from the alert and the step."""

    id: str
    body: bytes


class AlertOutbox(Protocol):
    """Where steps wait. Everything raises Unavailable, and LeaseLost when another replica leads."""

    async def oldest(self, limit: int) -> Sequence[Told]: ...

    async def remove(self, positions: Sequence[int]) -> None: ...

    async def keep_newest(self, count: int) -> int:
        """Removes those before the newest so many; returns how many they were."""
        ...


class AlertStream(Protocol):
    """Whoever takes them."""

    async def publish(self, messages: Sequence[Message], fence: Fence) -> bool:
        """Takes those of which it does not know the ids; False when a later tenure has published.

        Raises Unavailable.
        """
        ...


class AlertPublisher:
    """Publishes while this replica leads. `waiting_for` tells what it retries, "" when all is well."""

    def __init__(
        self,
        outbox: AlertOutbox,
        stream: AlertStream,
        encode: Callable[[Alert, AlertStep], bytes],
        clock: Clock,
        alerts: Changes,
        *,
        fence: Fence,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._outbox = outbox
        self._stream = stream
        self._encode = encode
        self._fence = fence
        self._clock = clock
        self._alerts = alerts
        self._to_remove: Sequence[int] = ()
        """Published, and not known to be out of the outbox."""
        self._most_waiting = most_waiting
        self.published = 0
        self.dropped = 0
        """Steps that nobody took for so long that too many came after them."""
        self.waiting_for = ""

    async def run(self) -> None:
        """Publishes until it is cancelled."""
        retry = FIRST_RETRY
        while True:
            seen = self._alerts.version
            try:
                while await self.publish_some():
                    pass
            except Unavailable as error:
                self.waiting_for = error.message
                await self._clock.sleep(retry)
                retry = min(2 * retry, LAST_RETRY)
                continue
            retry, self.waiting_for = FIRST_RETRY, ""
            await self._alerts.wait(seen, LOOK)

    async def publish_some(self) -> int:
        """Publishes the oldest steps; returns how many there were. Nothing more is published before they are removed:
        so those which may come again are always the newest."""
        await self._remove()
        told = await self._outbox.oldest(BATCH)
        messages = [
            Message(f"{alert.id}:{step.position}", self._encode(alert, step))
            for _, alert, step in told
            if alert is not None and step is not None
        ]
        if messages and not await self._publish(messages):
            # A later tenure publishes; ours is about to learn that it is over.
            return 0
        self.published += len(messages)
        self._to_remove = [each.position for each in told]
        await self._remove()
        return len(told)

    async def _publish(self, messages: Sequence[Message]) -> bool:
        try:
            return await self._stream.publish(messages, self._fence)
        except Unavailable:
            self.dropped += await self._outbox.keep_newest(self._most_waiting)
            raise

    async def _remove(self) -> None:
        if self._to_remove:
            await self._outbox.remove(self._to_remove)
            self._to_remove = ()
