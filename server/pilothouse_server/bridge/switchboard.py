"""Which channels there are, who follows them, and the tasks that move frames: one stream and one pump for
each channel.

A pump wakes when its channel has something new, makes the frames, and walks over the followers in slices, so
that ten thousand of them never hold the loop for more than a few milliseconds. It waits for nobody: what a
follower cannot take it gets later, from its own place.
"""

import asyncio
import contextlib
import gc
import logging
import random
import time
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

import grpc

from pilothouse.v1.live_pb2 import LiveDraining, LiveFrame
from pilothouse_server.bridge.channel import Channel
from pilothouse_server.bridge.channels import make_channels
from pilothouse_server.bridge.frames import Form, Frame, plain_frame
from pilothouse_server.bridge.live_socket import FAIL_STALLED, RESTART, LiveSocket
from pilothouse_server.bridge.settings import BridgeSettings
from pilothouse_server.bridge.tally import ChannelState, Tally
from pilothouse_server.bridge.upstream import Upstream, sources

SLICE = 128
PREPARE_SLICE = 16
LARGE = 16 * 1024
SWEEP = 0.5
CROWD = 500

logger = logging.getLogger(__name__)


class Follower(Protocol):
    """One client, as the switchboard knows it."""

    blocked_since: float | None

    @property
    def socket(self) -> LiveSocket:
        """Its socket."""
        ...

    @property
    def form(self) -> Form:
        """How it wants frames."""
        ...

    def advance(self, channel: Channel) -> None:
        """Take what comes after its place."""
        ...

    def tell(self, channel: Channel, frame: Frame) -> None:
        """Take a frame without a place."""
        ...


class Switchboard:
    """All channels and all clients."""

    def __init__(self, settings: BridgeSettings, rpc: grpc.aio.Channel) -> None:
        self.settings = settings
        self.tally = Tally()
        self.channels: dict[str, Channel] = make_channels(settings, time.time_ns)
        self.connections: set[Follower] = set()
        self.stalled: set[Follower] = set()
        self.draining = False
        self._frozen = 0
        self._deserted = asyncio.Event()
        self._followers: dict[Channel, dict[Follower, None]] = {
            c: {} for c in self.channels.values()
        }
        self._awake: dict[Channel, asyncio.Event] = {
            c: asyncio.Event() for c in self.channels.values()
        }
        self._told: dict[Channel, bool] = dict.fromkeys(self.channels.values(), False)
        self.upstreams: dict[Channel, Upstream] = {
            channel: Upstream(
                channel,
                source,
                rpc=rpc,
                settings=settings,
                tally=self.tally,
                woken=self._awake[channel].set,
            )
            for name, source in sources(settings).items()
            for channel in (self.channels[name],)
        }

    async def run(self) -> None:
        """Move frames until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for channel, upstream in self.upstreams.items():
                tasks.create_task(upstream.run(), name=f"upstream of {channel.name}")
                tasks.create_task(self._pump(channel), name=f"pump of {channel.name}")
            tasks.create_task(self._sweep(), name="sweep of stalled clients")

    def follow(self, channel: Channel, follower: Follower) -> None:
        """From now on this client gets the channel."""
        self._followers[channel][follower] = None

    def unfollow(self, channel: Channel, follower: Follower) -> None:
        """From now on it does not."""
        self._followers[channel].pop(follower, None)

    def add(self, follower: Follower) -> None:
        """A client came."""
        self.connections.add(follower)
        self.tally.accepted += 1

    def remove(self, follower: Follower) -> None:
        """A client is gone."""
        self.connections.discard(follower)
        self.stalled.discard(follower)
        for followers in self._followers.values():
            followers.pop(follower, None)
        if self.draining and not self.connections:
            self._deserted.set()

    def progress(self, channel: Channel) -> Frame:
        """How fresh a channel is."""
        upstream = self.upstreams[channel]
        return channel.progress(upstream.age, connected=upstream.connected)

    def stamp(self, live: LiveFrame) -> None:
        """Put the clock into a frame."""
        live.send_time.FromNanoseconds(time.time_ns())

    async def prepare(self, channel: Channel, form: Form) -> None:
        """Make JSON in slices or, where one message is large, beside the loop: what is left is only joining it."""
        names = form.names
        if names is None:
            return
        newest = channel.newest
        if newest is not None and newest.live.ByteSize() > LARGE:
            await asyncio.to_thread(newest.wire, form)
        for count, datum in enumerate(channel.unprepared(names), 1):
            datum.json(names)
            if count % PREPARE_SLICE == 0:
                await asyncio.sleep(0)

    def states(self) -> list[ChannelState]:
        """All channels, for those who watch the bridge."""
        return [
            ChannelState(
                c.name, len(self._followers[c]), c.sequence, up.connected, up.age, c.dropped
            )
            for c, up in self.upstreams.items()
        ]

    async def drain(self) -> None:
        """Tell every client to come back at a moment of its own, give them time to hear it, and close."""
        self.draining = True
        clients = list(self.connections)
        for client in clients:
            live = LiveFrame(draining=LiveDraining())
            after = random.uniform(0.0, self.settings.reconnect_spread)  # noqa: S311 - spreads load, guards nothing
            live.draining.reconnect_after.FromMilliseconds(round(after * 1000))
            self.stamp(live)
            client.socket.write(plain_frame("draining", live).wire(client.form))
        await asyncio.sleep(0)
        for count, client in enumerate(clients, 1):
            client.socket.finish(RESTART, "the bridge restarts")
            if count % SLICE == 0:
                await asyncio.sleep(0)
        if self.connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain):
                    await self._deserted.wait()
        for client in list(self.connections):
            client.socket.abort()

    async def _pump(self, channel: Channel) -> None:
        awake = self._awake[channel]
        while True:
            try:
                async with asyncio.timeout(self.settings.heartbeat):
                    await awake.wait()
            except TimeoutError:
                await self._tell_progress(channel)
                continue
            awake.clear()
            started = time.monotonic()
            channel.flush()
            if channel.ready:
                for form in {follower.form for follower in self._followers[channel]}:
                    await self.prepare(channel, form)
            await self._walk(channel)
            if self.upstreams[channel].connected is not self._told[channel]:
                await self._tell_progress(channel)
            await asyncio.sleep(max(0.0, self.settings.pace - (time.monotonic() - started)))

    async def _walk(self, channel: Channel) -> None:
        async for follower in _in_slices(list(self._followers[channel])):
            follower.advance(channel)

    async def _tell_progress(self, channel: Channel) -> None:
        self._told[channel] = self.upstreams[channel].connected
        frame = self.progress(channel)
        async for follower in _in_slices(list(self._followers[channel])):
            follower.tell(channel, frame)

    async def _sweep(self) -> None:
        """Close those for whom bytes have waited too long."""
        while True:
            before = len(self.connections)
            await asyncio.sleep(SWEEP)
            self._after_a_burst(before)
            limit = time.monotonic() - self.settings.stall_limit
            for follower in list(self.stalled):
                if follower.blocked_since is not None and follower.blocked_since < limit:
                    self.stalled.discard(follower)
                    self.tally.stalls += 1
                    follower.socket.finish(
                        FAIL_STALLED, "the client did not keep up: resume from its last place"
                    )

    def _after_a_burst(self, before: int) -> None:
        """Take a crowd that has come out of the garbage collector's sight, or it stops everyone for long to look
        at each of them; and back into its sight when half of it has gone."""
        count = len(self.connections)
        if count >= self._frozen + CROWD and count <= before + CROWD // 10:
            self._frozen = count
            gc.freeze()
        elif count < self._frozen // 2:
            self._frozen = 0
            gc.unfreeze()


async def _in_slices(followers: Iterable[Follower]) -> AsyncIterator[Follower]:
    for count, follower in enumerate(followers, 1):
        yield follower
        if count % SLICE == 0:
            await asyncio.sleep(0)
