"""Events in: each is judged by itself, those that pass are stamped and made durable together, the rest are named.

The answer comes after the log's commit, never before. Publishes that run at once share its group commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import LimitExceeded, Unavailable
from pilothouse_server.ports import Clock, Intake

MAX_EVENTS: Final = 1000
"""Events in one batch."""
MAX_BATCH_BYTES: Final = 4 << 20
"""Bytes of one batch."""
MAX_EVENT_BYTES: Final = 64 << 10
"""Bytes of one event."""
MAX_BYTES_UNDER_WAY: Final = 128 << 20
"""Bytes of all batches that are neither answered nor refused yet."""
SLICE: Final = 250
"""Events judged before others get their turn: some two milliseconds."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that was not taken."""

    index: int
    """Its place in the batch, from 0."""
    id: str
    reason: str


class Sealed(NamedTuple):
    """A judged batch: what goes into the log, and what does not."""

    parts: Mapping[int, bytes]
    """One entry for each shard of the log that it has events of."""
    ids: Sequence[str]
    """Of those that were taken, in order."""
    rejected: Sequence[Rejection]


class Batch(Protocol):
    """Events as they came, in whatever form."""

    @property
    def count(self) -> int: ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def judge(self, start: int, stop: int, receive_us: int) -> None:
        """Judges some of the events and stamps those that pass."""
        ...

    def seal(self, shards: int) -> Sealed:
        """What came of it, once all are judged, cut for a log of so many shards."""
        ...


class Receipt(NamedTuple):
    """What became of a batch."""

    ids: Sequence[str]
    """Of the events that are in the log, in order."""
    rejected: Sequence[Rejection]
    cursor: str
    """The place of those in the log; empty when none was taken. Opaque: in a log of several shards it names several
    places."""


@dataclass(slots=True)
class IngestCounts:
    """For `/metrics`."""

    accepted: int = 0
    rejected: int = 0
    batches: int = 0


class Ingest:
    """Takes batches of events into the log."""

    def __init__(self, intake: Intake, clock: Clock) -> None:
        self._intake = intake
        self._clock = clock
        self._last_us = 0
        self._under_way = 0
        self._judging = asyncio.Lock()
        self.counts = IngestCounts()

    async def publish(self, batch: Batch) -> Receipt:
        """Returns when what was taken is durable. Raises LimitExceeded for a batch that is too large as a whole, and
        Unavailable when the log cannot take it; then nothing of it was taken, and the same may be sent again."""
        if batch.count > MAX_EVENTS:
            raise LimitExceeded("events", MAX_EVENTS, batch.count)
        size = batch.size
        if size > MAX_BATCH_BYTES:
            raise LimitExceeded("batch_bytes", MAX_BATCH_BYTES, size)
        if self._under_way + size > MAX_BYTES_UNDER_WAY:
            raise Unavailable("log", "more events are coming in than can be taken")
        self._under_way += size
        try:
            sealed = await self._seal(batch)
            cursor = await self._intake.append(sealed.parts) if sealed.ids else ""
        finally:
            self._under_way -= size
        self.counts.batches += 1
        self.counts.accepted += len(sealed.ids)
        self.counts.rejected += len(sealed.rejected)
        return Receipt(sealed.ids, sealed.rejected, cursor)

    async def _seal(self, batch: Batch) -> Sealed:
        """Batches are judged one after another, so that they reach the log as they came, and a large one in slices."""
        async with self._judging:
            receive_us = self._receive_us()
            for start in range(0, batch.count, SLICE):
                if start:
                    await asyncio.sleep(0)
                batch.judge(start, min(start + SLICE, batch.count), receive_us)
            return batch.seal(self._intake.shards)

    def _receive_us(self) -> int:
        # Folds take the receipt as their clock, so it must not go backwards when the wall clock does.
        self._last_us = max(self._last_us, self._clock.now_us())
        return self._last_us
