"""Where every caller of this replica is given the newest snapshot: its own while it leads, else the leader's bytes.

Tenures come and go and callers stay: until a new leader has made its first snapshot, the last one there was is given,
and its `as_of_time` says how old it is. Health and firing alerts are in the snapshot, so only a leader makes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.domain.metrics.snapshot import MetricsSnapshot
from pilothouse_server.ports import Board, Clock, Fence
from pilothouse_server.services.aggregate import Aggregator, OnTick
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.metrics_keeper import paced
from pilothouse_server.services.posting import LOOK, SNAPSHOT, Place, Poster

ASKED_LATELY: Final = 1.0
"""Seconds after a call for which snapshots are encoded before anybody asks for them."""

NEARLY_US: Final = 100_000
"""One slot. While a newer snapshot is being encoded, callers are given the one before it if it is no older."""


class Encoder(Protocol):
    """Makes the bytes of a GetMetricsResponse once; `wire.metrics` has it."""

    def known(self, snapshot: MetricsSnapshot) -> bytes | None:
        """The bytes of this snapshot, when they have been made and no newer since."""
        ...

    def nearly(self, snapshot: MetricsSnapshot, within_us: int) -> bytes | None:
        """The newest bytes that were made, when they are of a slot at most that much before this snapshot's."""
        ...

    def steps(self, snapshot: MetricsSnapshot) -> Generator[None, None, bytes]:
        """Makes the bytes, in steps."""
        ...


class Source(Protocol):
    """What makes snapshots: the aggregator of the only shard, or the merger of several."""

    latest: MetricsSnapshot | None
    changes: Changes

    def subscribe_ticks(self, callback: OnTick) -> None:
        """`callback` is called on the loop with each snapshot."""
        ...


@dataclass(frozen=True, slots=True)
class _Lead:
    source: Source
    fence: Fence | None
    lost: Callable[[], None]


def _nothing() -> None:
    """Nobody wants to know."""


class SnapshotDesk:
    """Lives as long as the process. Without a board nobody else is told, and nothing is heard of others."""

    def __init__(self, encoder: Encoder, clock: Clock, board: Board | None = None) -> None:
        self.waiting_for = ""
        """Why snapshots cannot be put on the board; "" when they can."""
        self._encoder = encoder
        self._clock = clock
        self._board = board
        self._lead: _Lead | None = None
        self._turns = Changes()
        self._heard: bytes | None = None
        self._own: bytes | None = None
        """The last that was encoded of our own."""
        self._encoding = asyncio.Lock()
        self._asked_at = float("-inf")

    def lead(
        self, source: Source, fence: Fence | None = None, lost: Callable[[], None] = _nothing
    ) -> None:
        """From now on the snapshots of `source` are given, and those that are made are put on the board under the
        fence. `lost` is called when the board has seen a later tenure."""
        self._lead = _Lead(source, fence, lost)
        self._turns.notify()

    def follow(self) -> None:
        """From now on what others put on the board is given; until there is something, the last of our own."""
        self._heard, self._own = self._own or self._heard, None
        self._lead = None
        self._turns.notify()

    @property
    def latest(self) -> MetricsSnapshot | None:
        """The newest snapshot that was made here; None while another replica makes them."""
        return None if self._lead is None else self._lead.source.latest

    @property
    def memory(self) -> Aggregator | None:
        """The reader that remembers the last hour of the whole log, when it runs here."""
        source = None if self._lead is None else self._lead.source
        return source if isinstance(source, Aggregator) else None

    async def nearly_newest(self) -> bytes:
        """A serialized response no more than a slot older than the newest. Raises Unavailable while there is none."""
        self._asked_at = self._clock.monotonic()
        latest = self.latest
        nearly = None if latest is None else self._encoder.nearly(latest, NEARLY_US)
        return nearly if nearly is not None else await self.newest()

    async def newest(self) -> bytes:
        """The newest as a serialized response. Raises Unavailable while there is none."""
        latest = self.latest
        if latest is not None:
            return await self._encode(latest)
        if self._heard is None:
            raise Unavailable("snapshot", "the log has not been read yet; try again in a moment")
        return self._heard

    async def run(self) -> None:
        """Encodes ahead, posts and follows, until it is cancelled."""
        while True:
            seen = self._turns.version
            lead = self._lead
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(work) for work in self._work(lead)]
                while not await self._turns.wait(seen, LOOK):
                    pass
                for task in running:
                    task.cancel()

    def _work(self, lead: _Lead | None) -> list[Coroutine[Any, Any, None]]:
        if lead is None:
            return [] if self._board is None else [self._listen(self._board)]
        if self._board is None or lead.fence is None:
            return [self._encode_ahead(lead.source)]
        return [self._encode_ahead(lead.source), self._post(self._board, lead, lead.fence)]

    async def _listen(self, board: Board) -> None:
        async for value in board.follow(SNAPSHOT):
            self._heard = value

    async def _encode_ahead(self, source: Source) -> None:
        """While somebody asks, encodes each snapshot as it is made, so that no caller waits for it."""
        while True:
            seen = source.changes.version
            if source.latest and self._clock.monotonic() - self._asked_at < ASKED_LATELY:
                await self._encode(source.latest)
            await source.changes.wait(seen, LOOK)

    async def _post(self, board: Board, lead: _Lead, fence: Fence) -> None:
        async def encoded() -> bytes | None:
            self.waiting_for = poster.waiting_for
            latest = lead.source.latest
            return None if latest is None else await self._encode(latest)

        poster = Poster(Place(board, SNAPSHOT, fence), lead.source.changes, encoded, self._clock)
        try:
            await poster.run()
        except LeaseLost:
            lead.lost()
        finally:
            self.waiting_for = ""

    async def _encode(self, snapshot: MetricsSnapshot) -> bytes:
        """The bytes of the newest snapshot, `snapshot` or a later one."""
        async with self._encoding:
            snapshot = self.latest or snapshot
            encoded = self._encoder.known(snapshot)
            if encoded is None:
                encoded = await paced(self._encoder.steps(snapshot), self._clock)
            self._own = encoded
            return encoded
