"""Keeps a name of the board at the newest of something: at most ten times a second, and never waited for.

What makes the value goes on at its own pace: while the board is slow or away, values are left out, and the newest is
put up when it can be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.domain.metrics.part_codec import PartEncoder
from pilothouse_server.ports import Board, Clock, Fence
from pilothouse_server.services.aggregate import Aggregator
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.metrics_keeper import paced

SNAPSHOT: Final = "monitoring:metrics:realtime"
"""The serialized GetMetricsResponse that every replica answers with."""

EVERY: Final = 0.1
"""Seconds between two postings at least."""

FIRST_RETRY, LAST_RETRY = 0.2, 1.0
"""Seconds to wait when the board cannot be reached, doubled each time."""

LOOK: Final = 3600.0


def part_name(shard: int) -> str:
    """Where the part of a shard is."""
    return f"monitoring:metrics:shard:{shard}"


class Place(NamedTuple):
    """Where something is put up, and by which tenure."""

    board: Board
    name: str
    fence: Fence


class Poster:
    """Posts what `make` gives whenever `changes` tells that there is something new. `waiting_for` tells why it cannot,
    "" when all is well."""

    def __init__(
        self,
        place: Place,
        changes: Changes,
        make: Callable[[], Awaitable[bytes | None]],
        clock: Clock,
    ) -> None:
        self.waiting_for = ""
        self.failures = 0
        self.posted = 0
        self._place = place
        self._changes = changes
        self._make = make
        self._clock = clock

    async def run(self) -> None:
        """Until it is cancelled. Raises LeaseLost when somebody else posts under this name by now."""
        pause = FIRST_RETRY
        while True:
            seen = self._changes.version
            value = await self._make()
            if value is not None:
                try:
                    await self._post(value)
                except Unavailable as error:
                    self.failures += 1
                    self.waiting_for = error.message
                    await self._clock.sleep(pause)
                    pause = min(2 * pause, LAST_RETRY)
                    continue
            self.waiting_for, pause = "", FIRST_RETRY
            await self._clock.sleep(EVERY)
            while not await self._changes.wait(seen, LOOK):
                pass

    async def _post(self, value: bytes) -> None:
        board, name, fence = self._place
        if not await board.post(name, value, fence):
            raise LeaseLost(fence.lease, fence.epoch)
        self.posted += 1


def part_poster(aggregator: Aggregator, board: Board, fence: Fence, clock: Clock) -> Poster:
    """Puts up the parts of one shard, for whoever merges them."""
    encoder = PartEncoder()

    async def encoded() -> bytes | None:
        part = aggregator.part
        return None if part is None else await paced(encoder.steps(part), clock)

    place = Place(board, part_name(aggregator.shard), fence)
    return Poster(place, aggregator.changes, encoded, clock)
