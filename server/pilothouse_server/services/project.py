"""The projector: follows the log and folds it into the database, a batch and its cursor in one
transaction.

Under load it takes larger batches, which cost less for each event; when it is idle a batch is what
just came.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock, EventLog, LogEntry
from pilothouse_server.services.fanout import Changes

ENTRIES_IN_BATCH: Final = 1024
"""Entries of one event each that share a transaction: with 256 each event cost half as much again."""
BYTES_IN_BATCH: Final = 256 << 10
"""Entries are applied together up to this size: some thousand events. A larger entry is applied
alone."""
WAIT: Final = 1.0
"""Seconds that one read of the log waits."""
PACE: Final = 0.025
"""Seconds from one batch to the next at least: a transaction costs as much as a hundred events,
and what comes meanwhile
shares one. The first event after a pause does not wait.
"""
FIRST_RETRY, LAST_RETRY = 0.1, 1.0
"""Seconds to wait when the log or the database cannot be reached, doubled each time."""
SWEEP: Final = 1.0
"""Seconds between two looks for agents that fell silent."""
SWEPT_AT_ONCE: Final = 500


class Applied(NamedTuple):
    """What came of some entries."""

    events: int
    """Events that were new."""
    duplicates: int
    """Events that had been there before."""
    undecodable: int = 0
    """Entries that are no batch of events; they are passed over."""
    beyond_horizon: int = 0
    """Events from before the oldest that are kept: whether they are new cannot be told, so they are not stored, and
    only states are taken from them."""


class ProjectionStore(Protocol):
    """Where the projection is kept."""

    async def cursor(self) -> str: ...

    async def apply(self, entries: Sequence[LogEntry]) -> Applied: ...

    async def mark_overdue(self, before_us: int, limit: int) -> int: ...

    async def mark_in_time(self, since_us: int, limit: int) -> int: ...


@dataclass(slots=True)
class ProjectorCounts:
    """For `/metrics`."""

    events: int = 0
    duplicates: int = 0
    undecodable: int = 0
    beyond_horizon: int = 0
    batches: int = 0
    failures: int = 0


class Projector:
    """`changes` is notified after each commit. `waiting_for` tells what it retries, "" when all is
    well."""

    def __init__(
        self, log: EventLog, store: ProjectionStore, clock: Clock, changes: Changes
    ) -> None:
        self._log = log
        self._store = store
        self._clock = clock
        self._changes = changes
        self.counts = ProjectorCounts()
        self.cursor = ""
        self.waiting_for = ""

    async def run(self) -> None:
        """Follows the log until it is cancelled. Raises ValueError when the database was made from
        another log."""
        retry = FIRST_RETRY
        started = False
        while True:
            try:
                if not started:
                    self.cursor, started = await self._store.cursor(), True
                begun = self._clock.monotonic()
                if await self.step(WAIT):
                    await self._clock.sleep(max(0.0, begun + PACE - self._clock.monotonic()))
            except Unavailable as error:
                self.counts.failures += 1
                self.waiting_for = error.message
                await self._clock.sleep(retry)
                retry = min(2 * retry, LAST_RETRY)
                continue
            retry, self.waiting_for = FIRST_RETRY, ""

    async def step(self, wait: float) -> int:
        """Applies what comes next; returns how many entries it were."""
        entries = await self._log.read(self.cursor, limit=ENTRIES_IN_BATCH, wait=wait)
        applied = 0
        while applied < len(entries):
            batch = _batch(entries, applied)
            done = await self._store.apply(batch)
            applied += len(batch)
            self.cursor = batch[-1].cursor
            self.counts.batches += 1
            self.counts.events += done.events
            self.counts.duplicates += done.duplicates
            self.counts.undecodable += done.undecodable
            self.counts.beyond_horizon += done.beyond_horizon
            self._changes.notify()
        return applied


class SilenceSweeper:
    """Tells those who watch agents when one fell silent, or is not silent any more because it is given more time:
    nothing happens then that would tell them."""

    def __init__(
        self,
        store: ProjectionStore,
        clock: Clock,
        changes: Changes,
        configured: Callable[[], PlatformConfig] = PlatformConfig,
    ) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._configured = configured
        self._given_us = 0
        """The time that agents had at the last look; 0: who marked them before is not known."""

    async def run(self) -> None:
        """Looks once a second until it is cancelled."""
        while True:
            with contextlib.suppress(Unavailable):  # the next look comes soon
                await self.sweep()
            await self._clock.sleep(SWEEP)

    async def sweep(self) -> int:
        """Marks agents whose last heartbeat is too old, and those whose is not any more; returns how many."""
        given_us = self._configured().agent_offline_after_us
        before_us = self._clock.now_us() - given_us
        found = await self._store.mark_overdue(before_us, SWEPT_AT_ONCE)
        if given_us > self._given_us or not self._given_us:
            forgiven = await self._store.mark_in_time(before_us, SWEPT_AT_ONCE)
            found += forgiven
            if forgiven < SWEPT_AT_ONCE:
                self._given_us = given_us
        else:
            self._given_us = given_us
        if found:
            self._changes.notify()
        return found


def _batch(entries: Sequence[LogEntry], start: int) -> Sequence[LogEntry]:
    size = 0
    for stop in range(start, len(entries)):
        size += len(entries[stop].payload)
        if size > BYTES_IN_BATCH and stop > start:
            return entries[start:stop]
    return entries[start:]
