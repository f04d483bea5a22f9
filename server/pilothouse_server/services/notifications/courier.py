"""Sends what waits, at least once and under the same id each time: a lane for each channel, in one TaskGroup."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.notifications.breaker import Breaker
from pilothouse_server.domain.notifications.channels import Channel
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.notifications.lane import (
    TIMEOUT,
    CourierStore,
    Lane,
    LaneMeters,
    Road,
    Sender,
)

LOOK: Final = 5.0
"""Seconds between two looks at the channels when nobody rings."""
RETRY: Final = 0.5
"""Seconds to wait when the database does not answer."""

Load = Callable[[], Awaitable[Sequence[Channel]]]
"""The channels, their secrets sealed."""


class Courier:
    """`run` sends. `waiting_for` tells what it waits for, "" when all is well."""

    def __init__(
        self,
        store: CourierStore,
        sender: Sender,
        load: Load,
        clock: Clock,
        *,
        changes: Sequence[Changes] = (),
        alive: Callable[[], bool] = lambda: True,
        ended: Callable[[str, str, str], None] = lambda _channel, _group, _delivery: None,
        look_again: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
        timeout: float = TIMEOUT,
    ) -> None:
        self._store = store
        self._load = load
        self._clock = clock
        self._changes = changes
        self._look_again = look_again
        self._road = Road(store, sender, clock, jitter, alive, ended, timeout)
        self._lanes: dict[str, Lane] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stirred = Changes()
        self._waiting_for = ""

    @property
    def waiting_for(self) -> str:
        """Why something cannot go on; "" when all is well. A receiver that is away is its channel's health."""
        if self._waiting_for:
            return self._waiting_for
        return next((lane.waiting_for for lane in self._lanes.values() if lane.waiting_for), "")

    def meters(self) -> Mapping[str, LaneMeters]:
        """What became of the notifications of each channel."""
        return {channel_id: lane.meters for channel_id, lane in self._lanes.items()}

    def wake(self, channel_ids: Collection[str]) -> None:
        """There is something to send to these."""
        for channel_id in channel_ids:
            lane = self._lanes.get(channel_id)
            if lane is None:
                self._stirred.wake()
            else:
                lane.wake()

    async def run(self) -> None:
        """Sends until it is cancelled. Raises LeaseLost when another replica leads."""
        breakers: dict[str, Breaker] | None = None
        async with asyncio.TaskGroup() as tasks:
            for changes in self._changes:
                tasks.create_task(self._forward(changes))
            while True:
                seen = self._stirred.version
                try:
                    if breakers is None:
                        breakers = dict(await self._store.breakers())
                    await self._follow(breakers, tasks)
                except Unavailable as error:
                    self._waiting_for = error.message
                    await self._clock.sleep(RETRY)
                    continue
                self._waiting_for = ""
                await self._stirred.wait(seen, LOOK)

    async def _forward(self, changes: Changes) -> None:
        """Somebody changed channels, or put deliveries back, or dropped them."""
        while True:
            seen = changes.version
            if await changes.wait(seen, 3600):
                self._look_again()
                self._stirred.wake()
                for lane in self._lanes.values():
                    lane.wake()

    async def _follow(self, breakers: dict[str, Breaker], tasks: asyncio.TaskGroup) -> None:
        """A lane for each channel that there is."""
        # Before the channels are read: one that is made in between has deliveries that wait, and is not gone.
        waiting = set(await self._store.waiting_channels())
        channels = {channel.id: channel for channel in await self._load()}
        for gone in self._lanes.keys() - channels.keys():
            self._tasks.pop(gone).cancel()
            breakers[gone] = self._lanes.pop(gone).breaker
        if lost := breakers.keys() - channels.keys():
            await self._store.forget(lost)
            for each in lost:
                del breakers[each]
        for channel_id, channel in channels.items():
            lane = self._lanes.get(channel_id)
            if lane is None:
                lane = Lane(channel, breakers.pop(channel_id, Breaker()), self._road)
                self._lanes[channel_id] = lane
                self._tasks[channel_id] = tasks.create_task(lane.run(), name=f"lane-{channel_id}")
            elif channel != lane.channel:
                lane.change(channel)
        for each in waiting - channels.keys():
            while await self._store.drop(each, "the channel is gone", self._clock.now_us()):
                self._look_again()
