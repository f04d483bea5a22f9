"""Keeps the state of the metrics in a store: what changed, with the cursor, in one transaction; and takes it up
after a restart.

Rows are gathered by the task that folds, in slices, so that they belong to one cursor; a second task stores
them, so that folding does not wait for the disk. At any moment the store holds one whole checkpoint, and a
restart folds on from there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Protocol, TypeVar

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.metrics.checkpoint import (
    AgentRow,
    BucketRow,
    Checkpoint,
    Restorer,
    WorkflowRow,
    clear_changes,
    close_ahead,
    collect,
    would_forget,
)
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.gauges import GaugeTable
from pilothouse_server.domain.metrics.history import MINUTE_BUCKETS
from pilothouse_server.domain.metrics.limits import BUCKET_US, BUCKETS
from pilothouse_server.domain.metrics.snapshot import MINUTE_US
from pilothouse_server.ports import Clock

T = TypeVar("T")

SLICE = 0.004
"""Seconds after which work on the loop lets others run."""

PAGE = 2_000
"""Workflows read at once after a restart."""

PAGE_BUCKETS = 60
"""Buckets, of all series, read at once after a restart."""

_EVER = 1 << 40
"""After all buckets. The running one is followed by few: what was not shown yet, and what clocks that are ahead say."""

FIRST_RETRY, LAST_RETRY = 0.2, 2.0
"""Seconds to wait when the store cannot be reached, doubled each time."""

KEPT_BUCKETS = 2 * BUCKETS
KEPT_MINUTES = 30 * 24 * 60
PRUNE_EVERY = 60.0
"""Seconds between two prunings."""


class MetricsStore(Protocol):
    """Where checkpoints are kept, and history. Every call may raise Unavailable."""

    async def head(self) -> tuple[str, str] | None:
        """The cursor and the counters of the last checkpoint; None when there was none."""
        ...

    async def workflows(self, after: str, limit: int) -> Sequence[WorkflowRow]:
        """A page of workflows, by id."""
        ...

    async def agents(self) -> Sequence[AgentRow]:
        """All agents."""
        ...

    async def buckets(self, start: int, end: int) -> Sequence[BucketRow]:
        """Buckets of all series from `start` to before `end`."""
        ...

    async def minutes(self, dimension: int, name: str, start: int, end: int) -> Sequence[BucketRow]:
        """Minutes of one series from `start` to before `end`."""
        ...

    async def save(self, checkpoint: Checkpoint) -> None:
        """All or nothing."""
        ...

    async def prune(self, bucket: int, minute: int) -> int:
        """Deletes some of the buckets and minutes before these; returns how many."""
        ...


async def paced(steps: Generator[None, None, T], clock: Clock) -> T:
    """Runs steps to their end, letting others run after each slice of time."""
    begun = clock.monotonic()
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: T = stop.value
            return value
        if clock.monotonic() - begun > SLICE:
            await asyncio.sleep(0)
            begun = clock.monotonic()


class MetricsKeeper:
    """Owns the checkpoints of one state. `waiting_for` tells what it retries, "" when all is well."""

    def __init__(
        self, store: MetricsStore, clock: Clock, state: MetricsState, gauges: GaugeTable
    ) -> None:
        self.waiting_for = ""
        self.failures = 0
        self.gave_up = False
        """Whether changes are not kept any more, since the store was away too long: then `close` keeps none either."""
        self.saved = 0
        """Checkpoints stored by this process."""
        self._store = store
        self._clock = clock
        self._state = state
        self._gauges = gauges
        self._rolled = 0
        self._pending: Checkpoint | None = None
        self._given = asyncio.Event()
        self._stored = asyncio.Event()
        self._pruned_at = clock.monotonic()

    async def recover(self) -> str:
        """Builds the state from the last checkpoint and returns its cursor, "" when there was none. Waits while
        the store cannot be reached.
        """
        head = await self._until_reached(self._store.head)
        if head is None:
            self._have_rolled(0)
            return ""
        cursor, counters = head
        restorer = Restorer(self._state, self._gauges, counters)
        self._have_rolled(restorer.rolled)
        await self._read_workflows(restorer)
        restorer.agents(await self._until_reached(self._store.agents))
        at = restorer.at
        for start in range(at - BUCKETS, at, PAGE_BUCKETS):
            await self._read_buckets(restorer, start, start + PAGE_BUCKETS)
        await self._read_buckets(restorer, at, _EVER)
        restorer.finish()
        return cursor

    def _have_rolled(self, minute: int) -> None:
        self._rolled = minute
        self._state.series.unrolled = minute * MINUTE_BUCKETS

    async def _read_workflows(self, restorer: Restorer) -> None:
        after = ""
        while True:
            page = await self._read_page(after)
            if not page:
                return
            await paced(_each(restorer.workflow, page), self._clock)
            after = page[-1].workflow_id

    async def _read_page(self, after: str) -> Sequence[WorkflowRow]:
        return await self._until_reached(lambda: self._store.workflows(after, PAGE))

    async def _read_buckets(self, restorer: Restorer, start: int, end: int) -> None:
        rows = await self._until_reached(lambda: self._store.buckets(start, end))
        await paced(_each(restorer.bucket, rows), self._clock)

    @property
    def idle(self) -> bool:
        """Whether nothing is being stored."""
        return self._pending is None

    async def gather(self, cursor: str) -> bool:
        """Gathers what changed and gives it to be stored, when what was given before is. Returns False, and gathers
        nothing, when that cannot be stored now, and after `give_up`. The state must not change meanwhile.
        """
        while self._pending is not None:
            if self.waiting_for:
                return False
            self._stored.clear()
            await self._stored.wait()
        if self.gave_up:
            return False
        steps = collect(self._state, self._gauges, cursor, self._rolled)
        checkpoint = await paced(steps, self._clock)
        self._have_rolled(checkpoint.rolled)
        self._pending = checkpoint
        self._given.set()
        return True

    async def keep_before(self, to_us: int, cursor: str) -> bool:
        """To be called before the time goes on to `to_us`: by a step of the clock, a sleep of the machine, or a silence
        of the log. What would be forgotten without having been rolled up is gathered first; if that cannot be
        stored now, nothing is kept any more. Returns whether it was gathered.
        """
        if self.gave_up or not would_forget(self._state, self._rolled, to_us):
            return False
        await paced(close_ahead(self._state, to_us), self._clock)
        kept = await self.gather(cursor)
        if not kept:
            self.give_up()
        return kept

    def give_up(self) -> None:
        """Keeps no changes any more but those that were gathered."""
        self.gave_up = True
        self._state.series.unrolled = sys.maxsize
        self.forget_changes()

    def forget_changes(self) -> None:
        """Frees what was noted for the next checkpoint."""
        clear_changes(self._state, self._gauges)

    async def run(self) -> None:
        """Stores what is given, in turn, and prunes; until cancelled."""
        while True:
            await self._given.wait()
            self._given.clear()
            await self._store_pending()
            if self._clock.monotonic() - self._pruned_at >= PRUNE_EVERY:
                self._pruned_at = self._clock.monotonic()
                await self._prune()

    async def _store_pending(self) -> None:
        checkpoint = self._pending
        if checkpoint is not None:
            await self._until_reached(lambda: self._store.save(checkpoint))
            self.saved += 1
            self._pending = None
            self._stored.set()

    async def close(self, cursor: str) -> None:
        """Stores what is left, when neither `run` nor the fold run any more. Raises Unavailable."""
        if self._pending is not None:
            await self._store.save(self._pending)
            self._pending = None
        if self.gave_up:
            return
        steps = collect(self._state, self._gauges, cursor, self._rolled)
        checkpoint = await paced(steps, self._clock)
        await self._store.save(checkpoint)
        self._have_rolled(checkpoint.rolled)

    async def _prune(self) -> None:
        bucket = self._state.series.at - KEPT_BUCKETS
        minute = self._state.series.at * BUCKET_US // MINUTE_US - KEPT_MINUTES
        deleted = 1
        while deleted:
            deleted = await self._until_reached(lambda: self._store.prune(bucket, minute))

    async def _until_reached(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks again while the store cannot be reached."""
        pause = FIRST_RETRY
        while True:
            try:
                answer = await ask()
            except Unavailable as error:
                self.failures += 1
                self.waiting_for = error.message
                self._stored.set()
                await self._clock.sleep(pause)
                pause = min(2 * pause, LAST_RETRY)
            else:
                self.waiting_for = ""
                return answer


def _each(take: Callable[[T], None], rows: Sequence[T]) -> Generator[None, None, None]:
    for row in rows:
        take(row)
        yield
