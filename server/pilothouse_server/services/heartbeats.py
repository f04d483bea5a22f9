"""Heartbeats from outside: any replica hears them, and the one that leads says which are late.

Silence counts only while somebody could have heard. When nobody could (the server was down, the database away, the
machine asleep) each heartbeat that was not late by then has its whole interval and grace again: a beat that was lost
meanwhile can be told from one that was never sent only by waiting for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import structlog

from pilothouse_server.domain.alerts.observing import HeartbeatDue
from pilothouse_server.domain.audit import Author
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.notifications.channels import SECOND_US, Heartbeat
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes

LOOK: Final = 1.0
"""Seconds between two looks at the heartbeats, at most."""
RETRY: Final = 0.5
NOTE_US: Final = 2 * SECOND_US
"""How often it is noted that somebody follows."""
DEAF_US: Final = 10 * SECOND_US
"""After so long without a look nobody may have heard a beat. Longer than another replica needs to take over."""

_log = structlog.get_logger(__name__)


class Beaten(NamedTuple):
    """What a beat led to."""

    due_us: int
    was_late: bool


class Followed(NamedTuple):
    """What there is, and when somebody last noted that he followed; None when nobody ever did."""

    heartbeats: Sequence[Heartbeat]
    followed_us: int | None


class HeartbeatStore(Protocol):
    """The heartbeats in the database."""

    async def every(self) -> Sequence[Heartbeat]: ...
    async def put(self, heartbeat: Heartbeat, author: Author) -> Heartbeat: ...
    async def beat(self, heartbeat_id: str, now_us: int) -> Beaten: ...
    async def delete(self, heartbeat_id: str, author: Author) -> None: ...


class FollowedHeartbeats(Protocol):
    """The same, as whoever leads needs them."""

    async def followed(self) -> Followed: ...
    async def note(self, now_us: int) -> None: ...
    async def listen_again(self, deaf_us: int, now_us: int) -> None: ...


class Heartbeats:
    """What callers ask; on every replica."""

    def __init__(self, store: HeartbeatStore, clock: Clock, changes: Changes) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes

    def now_us(self) -> int:
        """By which it is judged whether one is late."""
        return self._clock.now_us()

    async def every(self) -> Sequence[Heartbeat]:
        """The heartbeats, by id."""
        return await self._store.every()

    async def put(self, heartbeat: Heartbeat, actor: str = "") -> Heartbeat:
        """Says what has to be heard. Raises InvalidArgument, LimitExceeded."""
        stored = await self._store.put(heartbeat, Author(actor, self._clock.now_us()))
        self._changes.notify()
        return stored

    async def beat(self, heartbeat_id: str) -> int:
        """It was heard; returns when it is late. Only who leads needs to know at once, and only of one that was late.
        Raises NotFound."""
        beaten = await self._store.beat(heartbeat_id, self._clock.now_us())
        if beaten.was_late:
            self._changes.notify()
        return beaten.due_us

    async def delete(self, heartbeat_id: str, actor: str = "") -> None:
        """It need not be heard any more. Raises NotFound."""
        await self._store.delete(heartbeat_id, Author(actor, self._clock.now_us()))
        self._changes.notify()


class HeartbeatFollower:
    """Which are late, while this replica leads. `alone`: while this process did not run, nobody heard anything."""

    def __init__(
        self, store: FollowedHeartbeats, clock: Clock, changes: Changes, *, alone: bool
    ) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._alone = alone
        self._heartbeats: dict[str, Heartbeat] = {}
        self._read_us: int | None = None
        self._noted_us = 0
        self.waiting_for = ""
        """Why nothing new is known; "" when it is."""

    async def start(self) -> None:
        """Reads them for the first time. Raises Unavailable, LeaseLost."""
        await self._look()

    async def run(self) -> None:
        """Follows until it is cancelled. Raises LeaseLost."""
        while True:
            seen = self._changes.version
            try:
                await self._look()
                self.waiting_for = ""
            except Unavailable as error:
                self.waiting_for = str(error)
                await self._clock.sleep(RETRY)
                continue
            await self._changes.wait(seen, self._pause())

    def due(self) -> Sequence[HeartbeatDue]:
        """Each of them. One is late only when it was looked at after its time: a beat that was stored a moment before
        may not have been read yet."""
        read_us, now_us = self._read_us or 0, self._clock.now_us()
        return [
            HeartbeatDue(
                each.id,
                each.create_us if each.last_us is None else each.last_us,
                each.due_us if each.due_us <= read_us else max(each.due_us, now_us + SECOND_US),
                each.severity,
            )
            for each in self._heartbeats.values()
        ]

    def channels(self, heartbeat_id: str) -> tuple[str, ...]:
        """The channels that a heartbeat names; empty are those that are the default."""
        found = self._heartbeats.get(heartbeat_id)
        return () if found is None else found.channels

    async def _look(self) -> None:
        now_us = self._clock.now_us()
        found = await self._store.followed()
        last_us = found.followed_us if self._read_us is None else self._read_us
        first = self._read_us is None
        if last_us is not None and ((first and self._alone) or now_us - last_us > DEAF_US):
            _log.info(
                "heartbeats are listened to again", deaf_seconds=(now_us - last_us) / SECOND_US
            )
            await self._store.listen_again(last_us, now_us)
            self._noted_us = now_us
            found = await self._store.followed()
        late = {each.id for each in found.heartbeats if each.due_us <= now_us}
        # Noted before it is told, so that what was told as late is late after a restart as well.
        if now_us - self._noted_us >= NOTE_US or late - self._late():
            await self._store.note(now_us)
            self._noted_us = now_us
        self._heartbeats = {each.id: each for each in found.heartbeats}
        self._read_us = now_us

    def _late(self) -> set[str]:
        read_us = self._read_us or 0
        return {each.id for each in self._heartbeats.values() if each.due_us <= read_us}

    def _pause(self) -> float:
        """Until the next one could be late."""
        read_us = self._read_us or 0
        waits = [
            each.due_us - read_us for each in self._heartbeats.values() if each.due_us > read_us
        ]
        return min([LOOK, *((us + 1000) / SECOND_US for us in waits)])
