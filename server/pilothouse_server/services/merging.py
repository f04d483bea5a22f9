"""One snapshot of all shards, made where the reader of the first shard runs, of its parts and those on the board.

Parts of different running buckets are not mixed: at the border of two buckets the shards that have not come as far
are waited for, which is one tick of theirs. One that does not come within `patience` is left behind and named, until it
is there again, so that the others stay live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pilothouse_server.domain.metrics.limits import SECOND_US
from pilothouse_server.domain.metrics.merged import Gathering, PartMerger
from pilothouse_server.domain.metrics.part import ShardPart
from pilothouse_server.domain.metrics.part_codec import NotAPart, PartDecoder
from pilothouse_server.domain.metrics.snapshot import FiringAlerts, MetricsSnapshot
from pilothouse_server.ports import Board, Clock
from pilothouse_server.services.aggregate import SLOT_US, Aggregator, OnTick
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.metrics_keeper import paced
from pilothouse_server.services.pace import Pace
from pilothouse_server.services.posting import LOOK, part_name

IDLE: Final = 60.0
"""Seconds to wait while nothing is there to be merged."""


@dataclass(frozen=True, slots=True)
class MergingSettings:
    """How often, and how long to wait."""

    patience: float = 2.0
    """Seconds for which a shard is waited for: two of its slowest ticks."""
    hold: float = 15.0
    """Seconds for which nothing is judged by parts that do not belong together. While another replica takes a shard
    over, what it has read is of an earlier moment than the parts of others, and together they are what never was."""


class MergedMetrics:
    """Runs until cancelled, beside the reader of shard 0. `latest` is None until that has made its first part."""

    def __init__(
        self,
        first: Aggregator,
        board: Board,
        clock: Clock,
        *,
        shards: int,
        epoch: str,
        firing: Callable[[], FiringAlerts] = FiringAlerts,
        troubles: Callable[[], Sequence[str]] = tuple,
        settings: MergingSettings | None = None,
    ) -> None:
        self.latest: MetricsSnapshot | None = None
        self.changes = Changes()
        self.refused = 0
        """Parts that could not be read."""
        self.refused_for = ""
        """Why, the last time."""
        self._settings = settings or MergingSettings()
        self._first = first
        self._board = board
        self._clock = clock
        self._shards = shards
        self._firing = firing
        self._troubles = troubles
        self._callbacks: list[OnTick] = []
        read = first.settings
        self._pace = Pace(read.tick, first.idle_tick, read.load_share)
        self._merger = PartMerger(epoch, clock.now_us(), read.limits)
        self._begun_us = clock.now_us()
        self._parts: dict[int, ShardPart] = {}
        self._arrived = Changes()
        self._merged_version = -1
        self._left_behind: frozenset[int] = frozenset()
        self._waits_since: float | None = None
        self._older_since: dict[int, float] = {}
        self._whole_at = clock.monotonic()

    def subscribe_ticks(self, callback: OnTick) -> None:
        """`callback` is called on the loop with each snapshot of parts that belong together, and after the hold with
        any; it must be quick and not raise."""
        self._callbacks.append(callback)

    async def run(self) -> None:
        """Until it is cancelled."""
        self._begun_us = self._clock.now_us()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take_first(), name="shard-0")
            for shard in range(1, self._shards):
                tasks.create_task(self._follow(shard), name=f"shard-{shard}")
            tasks.create_task(self._merge_on(), name="merger")

    async def _take_first(self) -> None:
        changes = self._first.changes
        while True:
            seen = changes.version
            if self._first.part is not None:
                self._take(self._first.part)
            await changes.wait(seen, LOOK)

    async def _follow(self, shard: int) -> None:
        decoder = PartDecoder()
        async for encoded in self._board.follow(part_name(shard)):
            try:
                part = await paced(decoder.steps(encoded), self._clock)
            except NotAPart as error:
                self.refused += 1
                self.refused_for = f"shard {shard}: {error}"
                continue
            self._take(part)

    def _take(self, part: ShardPart) -> None:
        before = self._parts.get(part.shard)
        if before is part or self._is_older(part, before):
            return
        self._older_since.pop(part.shard, None)
        self._parts[part.shard] = part
        self._arrived.notify()

    def _is_older(self, part: ShardPart, before: ShardPart | None) -> bool:
        """Whether the part's maker has not read yet what an earlier one had; for as long as the hold at most."""
        if before is None or part.totals.events >= before.totals.events:
            return False
        now = self._clock.monotonic()
        return now - self._older_since.setdefault(part.shard, now) < self._settings.hold

    async def _merge_on(self) -> None:
        while True:
            seen = self._arrived.version
            wait = self._due_in()
            if wait <= 0:
                await self._tick()
            else:
                await self._arrived.wait(seen, wait)

    def _due_in(self) -> float:
        """Seconds until there is to be a snapshot, as far as is known now."""
        now = self._clock.monotonic()
        if 0 not in self._parts:
            return IDLE
        behind = frozenset(self._gathering().behind)
        self._left_behind &= behind
        if behind == self._left_behind:
            self._waits_since = None
            fresh = self._arrived.version != self._merged_version
            return self._pace.due_at(fresh=fresh) - now
        if self._waits_since is None:
            self._waits_since = now
        left = self._waits_since + self._settings.patience - now
        if left <= 0:
            self._left_behind = behind
        return left

    def _gathering(self) -> Gathering:
        slot_us = max(round(self._pace.interval * SECOND_US), SLOT_US)
        intervals = [part.moment.tick_interval_us for part in self._parts.values()]
        return Gathering(
            parts=dict(self._parts),
            shards=self._shards,
            now_us=self._clock.now_us(),
            looked_since_us=self._begun_us,
            not_before_us=self.latest.as_of_us if self.latest else 0,
            tick_interval_us=max(slot_us, *intervals),
            firing=self._firing(),
            troubles=tuple(self._troubles()),
            offline_after_us=self._first.configured().agent_offline_after_us,
        )

    async def _tick(self) -> None:
        begun = self._clock.monotonic()
        self._merged_version = self._arrived.version
        snapshot = await paced(self._merger.steps(self._gathering()), self._clock)
        self.latest = self._first.shown = snapshot
        self.changes.notify()
        if snapshot.caught_up:
            self._whole_at = begun
        if snapshot.caught_up or begun - self._whole_at > self._settings.hold:
            for callback in self._callbacks:
                callback(snapshot, snapshot.as_of_us)
        self._pace.ticked(begun, self._clock.monotonic())
