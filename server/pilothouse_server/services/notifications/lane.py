"""One channel's way out, of its own: however slow or dead it is, no other one waits for it.

A few notifications are on their way at once, of each group at most one. A try counts only when it was made; what became
of it is stored before the next of its group, and tried to be stored until it is, so that nothing is sent twice for a
database that was away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.notifications.breaker import Breaker, Minute
from pilothouse_server.domain.notifications.channels import Channel
from pilothouse_server.domain.notifications.composing import watchdog
from pilothouse_server.domain.notifications.deliveries import (
    LONGEST_RETRY_AFTER_US,
    SECOND_US,
    DeliveryState,
    Standing,
    Verdict,
    failed,
    taken,
)
from pilothouse_server.domain.notifications.notification import Notification
from pilothouse_server.domain.notifications.receipts import DeliveryFailed, Receipt
from pilothouse_server.ports import Clock

AT_ONCE: Final = 4
"""Notifications on their way to one channel."""
LOOKED_AT: Final = 64
"""Deliveries of one channel in memory."""
TIMEOUT: Final = 10.0
"""Seconds that one try may take."""
LOOK: Final = 5.0
"""Seconds between two looks when nobody wakes the lane."""
RETRY: Final = 0.5
"""Seconds to wait when the database does not answer."""


class Due(NamedTuple):
    """A delivery that waits."""

    id: str
    group_key: str
    retry_us: int
    standing: Standing


class Dropped(NamedTuple):
    """One that nobody wants any more."""

    id: str
    group_key: str


class CourierStore(Protocol):
    """Deliveries and how channels do. Everything raises Unavailable; writes raise LeaseLost."""

    async def breakers(self) -> Mapping[str, Breaker]: ...

    async def forget(self, channel_ids: Collection[str]) -> None:
        """These channels are gone: another of the same id begins anew."""
        ...

    async def waiting_channels(self) -> Collection[str]:
        """Channels with deliveries that wait."""
        ...

    async def due(self, channel_id: str, limit: int) -> Sequence[Due]:
        """Those that wait, by when they are tried."""
        ...

    async def notification(self, delivery_id: str) -> Notification | None:
        """What is to be sent; None when it does not wait any more."""
        ...

    async def settle(
        self, channel_id: str, delivery_id: str, verdict: Verdict, breaker: Breaker
    ) -> None:
        """What became of a try, if the delivery still waits, and how the channel does."""
        ...

    async def note(
        self, channel_id: str, breaker: Breaker, beat: Notification | None, name: str
    ) -> None:
        """How a channel does, and the heartbeat that arrived."""
        ...

    async def drop(self, channel_id: str, why: str, now_us: int) -> Sequence[Dropped]:
        """Drops some of those that wait; none when there are none left."""
        ...


class Sender(Protocol):
    """The ways out of the house."""

    async def send(self, channel: Channel, notification: Notification, timeout: float) -> Receipt:
        """Raises DeliveryFailed."""
        ...


@dataclass(slots=True)
class LaneMeters:
    """What became of a channel's notifications."""

    delivered: int = 0
    failed: int = 0
    """Tries."""
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Road:
    """What all lanes share."""

    store: CourierStore
    sender: Sender
    clock: Clock
    jitter: Callable[[], float]
    """A random number from 0 to 1."""
    alive: Callable[[], bool]
    """Whether alerts are being judged: only then heartbeats are sent."""
    ended: Callable[[str, str, str], None]
    """Told of the channel, group and id of each delivery that is over."""
    timeout: float = TIMEOUT


class Lane:
    """`run` sends what waits for one channel, until it is cancelled."""

    def __init__(self, channel: Channel, breaker: Breaker, road: Road) -> None:
        self.channel = channel
        self.breaker = breaker
        self.meters = LaneMeters()
        self.waiting_for = ""
        self._road = road
        self._minute = Minute()
        self._wake = asyncio.Event()
        self._under_way: dict[str, str] = {}
        """The group of each."""
        self._beating = False
        self._beat_again_us = 0
        self._storing = asyncio.Lock()
        """One try is stored after the other, or how the channel did a moment ago could be stored last."""

    def change(self, channel: Channel) -> None:
        """The channel is another by now: whatever it failed with, it is tried at once."""
        if channel.version != self.channel.version:
            self.breaker = replace(self.breaker, open_until_us=None, trips=0, failures=0)
        self.channel = channel
        self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Raises LeaseLost when another replica leads."""
        async with asyncio.TaskGroup() as tasks:

            def spawn(sending: Coroutine[Any, Any, None]) -> None:
                tasks.create_task(sending)

            while True:
                self._wake.clear()
                try:
                    pause = await self._send_due(spawn)
                    self.waiting_for = ""
                except Unavailable as error:
                    self.waiting_for, pause = error.message, RETRY
                await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _send_due(self, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> float:
        """Begins to send what can be sent now; returns the seconds until there may be more."""
        if not self.channel.enabled:
            await self._drop("the channel is disabled")
            return LOOK
        until_us = [self._beat(spawn)]
        now_us = self._road.clock.now_us()
        room = self._room(now_us)
        if room <= 0 and self.breaker.open_until_us is not None:
            until_us.append(self.breaker.open_until_us)
        # What ended while it was asked for is told as it was before: it is looked at the next time.
        asked_under_way = set(self._under_way)
        waiting = await self._road.store.due(self.channel.id, LOOKED_AT) if room > 0 else ()
        now_us = self._road.clock.now_us()
        busy = set(self._under_way.values())
        for due in waiting:
            if due.id in asked_under_way or due.group_key in busy:
                continue
            retry_us = _retry_us(due, now_us)
            if retry_us > now_us:
                until_us.append(retry_us)
                continue
            free_us = self._minute.free_us(now_us, self.channel.rate_per_minute)
            if free_us > now_us:
                until_us.append(free_us)
                break
            if self._room(now_us) <= 0:
                break
            self._minute.note(now_us)
            self._under_way[due.id] = due.group_key
            busy.add(due.group_key)
            spawn(self._send(due))
        nearest_us = min((each for each in until_us if each is not None), default=None)
        if nearest_us is None:
            return LOOK
        return min(LOOK, max(0.0, (nearest_us - now_us) / SECOND_US))

    def _room(self, now_us: int) -> int:
        return self.breaker.room(now_us, len(self._under_way) + self._beating, AT_ONCE)

    async def _send(self, due: Due) -> None:
        try:
            await self._try(due)
        finally:
            del self._under_way[due.id]
            self.wake()

    async def _try(self, due: Due) -> None:
        notification = await self._stored(lambda: self._road.store.notification(due.id))
        if notification is None:
            return
        clock = self._road.clock
        try:
            receipt = await self._sent(notification)
        except DeliveryFailed as failure:
            now_us, jitter = clock.now_us(), self._road.jitter()
            self.meters.failed += 1
            self.breaker = self.breaker.failed(failure, now_us, jitter)
            verdict = failed(due.standing, failure, now_us, jitter)
        else:
            now_us = clock.now_us()
            self.meters.delivered += 1
            self.breaker = self.breaker.succeeded(now_us)
            verdict = taken(due.standing, receipt.status_code, now_us)
        channel_id = self.channel.id
        async with self._storing:
            await self._stored(
                lambda: self._road.store.settle(channel_id, due.id, verdict, self.breaker)
            )
        if verdict.state == DeliveryState.DEAD:
            self.meters.dead += 1
        if verdict.state != DeliveryState.WAITING:
            self._road.ended(channel_id, due.group_key, due.id)

    async def _sent(self, notification: Notification) -> Receipt:
        """Raises DeliveryFailed, whatever goes wrong."""
        timeout = self._road.timeout
        try:
            async with asyncio.timeout(timeout + 1):
                return await self._road.sender.send(self.channel, notification, timeout)
        except DeliveryFailed:
            raise
        except TimeoutError as error:
            told = f"no answer within {timeout:g} s"
            raise DeliveryFailed(told, retryable=True) from error
        except (
            Exception
        ) as error:  # a way out that breaks is a delivery that failed, and ends nothing else
            told = f"{type(error).__name__} while it was sent"
            raise DeliveryFailed(told, retryable=True) from error

    async def _stored(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What is asked of the database, once it answers."""
        while True:
            try:
                return await ask()
            except Unavailable as error:
                self.waiting_for = error.message
                await self._road.clock.sleep(RETRY)

    async def _drop(self, why: str) -> None:
        channel_id = self.channel.id
        while dropped := await self._road.store.drop(channel_id, why, self._road.clock.now_us()):
            for each in dropped:
                self._road.ended(channel_id, each.group_key, each.id)

    def _beat(self, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> int | None:
        """Begins to send a heartbeat if one is due: the newest, however many were. Returns when to look again."""
        interval_us = self.channel.heartbeat_us
        if interval_us is None or self._beating:
            return None
        now_us = self._road.clock.now_us()
        slot_us = now_us - now_us % interval_us
        # One that is later than now was of a clock that was put back since.
        if self.breaker.beat_us == slot_us:
            return slot_us + interval_us
        if now_us < self._beat_again_us:
            return self._beat_again_us
        if not self._road.alive() or self._room(now_us) <= 0:
            return now_us + SECOND_US
        self._beating = True
        spawn(self._send_beat(watchdog(self.channel.id, slot_us, now_us), slot_us))
        return None

    async def _send_beat(self, beat: Notification, slot_us: int) -> None:
        arrived: Notification | None = None
        try:
            await self._sent(beat)
        except DeliveryFailed as failure:
            now_us, jitter = self._road.clock.now_us(), self._road.jitter()
            self.meters.failed += 1
            self.breaker = self.breaker.failed(failure, now_us, jitter)
            self._beat_again_us = now_us + SECOND_US + round(jitter * SECOND_US)
        else:
            self.meters.delivered += 1
            arrived = beat
            now_us = self._road.clock.now_us()
            self.breaker = replace(self.breaker.succeeded(now_us), beat_us=slot_us)
        finally:
            self._beating = False
            self.wake()
        channel = self.channel
        async with self._storing:
            await self._stored(
                lambda: self._road.store.note(channel.id, self.breaker, arrived, channel.name)
            )


def _retry_us(due: Due, now_us: int) -> int:
    """When it is tried: now, where the clock was put back since that was said."""
    left = due.standing.since_us > now_us or due.retry_us > now_us + LONGEST_RETRY_AFTER_US
    return now_us if left else due.retry_us
