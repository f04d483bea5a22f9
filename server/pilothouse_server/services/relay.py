"""From the outbox to the log, at least once: an event is removed after it is durable in the log.

A kill between the two publishes it again under the same id, and readers recognise it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.events import Event
from pilothouse_server.domain.shards import shard_of
from pilothouse_server.ports import Clock, EncodeEvents, Intake
from pilothouse_server.services.fanout import Changes

BATCH = 500
"""Events in one entry of the log."""

FIRST_RETRY, LAST_RETRY = 0.1, 1.0
"""Seconds to wait when the log or the database cannot be reached, doubled each time."""

LOOK = 1.0
"""Seconds between two looks when nobody wakes the relay; what is written without a signal waits no longer."""


class Parcel(NamedTuple):
    """One event in the outbox and its place there."""

    position: int
    event: Event


class Outbox(Protocol):
    """Where events wait for the log."""

    async def oldest(self, limit: int) -> Sequence[Parcel]:
        """The next events to publish, in order."""
        ...

    async def remove(self, positions: Sequence[int]) -> None:
        """Forgets those that are in the log."""
        ...


class Relay:
    """Publishes what is in the outbox. `waiting_for` tells what it retries, "" when all is well."""

    def __init__(
        self, outbox: Outbox, intake: Intake, encode: EncodeEvents, clock: Clock, changes: Changes
    ) -> None:
        self._outbox = outbox
        self._intake = intake
        self._encode = encode
        self._clock = clock
        self._changes = changes
        self.published = 0
        self.failures = 0
        self.waiting_for = ""
        self._to_remove: Sequence[int] = ()
        """In the log, and not known to be out of the outbox."""

    async def run(self) -> None:
        """Publishes until it is cancelled."""
        retry = FIRST_RETRY
        while True:
            seen = self._changes.version
            try:
                while await self.publish_some():
                    pass
            except Unavailable as error:
                self.failures += 1
                self.waiting_for = error.message
                await self._clock.sleep(retry)
                retry = min(2 * retry, LAST_RETRY)
                continue
            retry, self.waiting_for = FIRST_RETRY, ""
            await self._changes.wait(seen, LOOK)

    async def publish_some(self) -> int:
        """Publishes the oldest events; returns how many there were. While they cannot be removed nothing is published
        again: a database that is read-only for hours would fill the log."""
        await self._remove()
        parcels = await self._outbox.oldest(BATCH)
        if not parcels:
            return 0
        now_us = self._clock.now_us()
        parts: dict[int, list[Event]] = {}
        for event in (parcel.event._replace(receive_us=now_us) for parcel in parcels):
            shard = shard_of(event.workflow_id, event.agent_id, self._intake.shards)
            parts.setdefault(shard, []).append(event)
        await self._intake.append({shard: self._encode(part) for shard, part in parts.items()})
        self._to_remove = [parcel.position for parcel in parcels]
        self.published += len(parcels)
        await self._remove()
        return len(parcels)

    async def _remove(self) -> None:
        if self._to_remove:
            await self._outbox.remove(self._to_remove)
            self._to_remove = ()
