"""Reads the log, folds it into metrics, and makes a snapshot at each tick.

One task owns the state: it reads, folds in slices, ticks, and gathers checkpoints between two entries, so that
a snapshot and a checkpoint always belong to one cursor. Ticks are slots on a grid of the monotonic clock: a
slot in which events came is ticked, and an idle reader ticks once a second. When a tick costs much, slots
become longer instead of the reader falling behind.

While the reader catches up with the log, "now" is the receipt of what it reads, and what is the case now is not
sampled for history: it is not known. When it has caught up, now is the wall clock.

The reader of one of several shards makes parts in place of snapshots; `merging` makes the snapshots of them. So that no
part is waited for, there is a tick whenever a bucket begins.

While the database is away the numbers stay live, up to the moment from which history would be lost: what follows is
not stored, and once the database is back, all is folded again from the last checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.gauges import GaugeTable
from pilothouse_server.domain.metrics.limits import BUCKET_US, SECOND_US, Limits
from pilothouse_server.domain.metrics.part import PartMaker, PartMoment, ShardPart
from pilothouse_server.domain.metrics.snapshot import FiringAlerts, MetricsSnapshot
from pilothouse_server.domain.metrics.summary import Moment, SnapshotMaker
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock, DecodeSignals, EventLog, LogEntry
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.metrics_keeper import SLICE, MetricsKeeper, MetricsStore, paced
from pilothouse_server.services.pace import EventRate, Pace

SLOT_US = 100_000
"""The grid of `as_of_us`: alert rules are evaluated at most once in each."""

OnTick = Callable[[MetricsSnapshot, int], None]
"""Called with each snapshot and its slot."""

_CATCH_UP_TICK_US = 300 * SECOND_US
_CATCH_UP_CHECKPOINT_US = 1200 * SECOND_US
"""Event time after which a reader that catches up ticks and checkpoints, so that no bucket slides out of memory
unseen.
"""

_SILENCE_US = 1800 * SECOND_US
"""Event time after which it is looked at what an entry would push out of memory: half of what is there."""

_LARGE_READ = 4 << 20
"""Bytes in one read beyond which there may be more: half of what a log gives at once at least."""

_RETRY = 0.2
"""Seconds between two attempts to read a log that cannot be reached."""


@dataclass(frozen=True, slots=True)
class AggregatorSettings:
    """How often, and how much at once."""

    tick: float = 0.05
    """Seconds between two ticks when events come: half a slot, so that an event is seen well within a tenth of
    a second.
    """
    idle_tick: float = 1.0
    """Seconds between two ticks at most, whatever is configured."""
    load_share: float = 0.25
    """The share of the time that ticks may take; beyond it they come less often."""
    checkpoint: float = 5.0
    """Seconds between two checkpoints."""
    checkpoint_rows: int = 500
    """Changed workflows after which a checkpoint is made before its time, so that gathering it stays short."""
    unsaved_rows: int = 1_000_000
    """Changed workflows that wait for a database that is away, at most."""
    read_limit: int = 512
    """Entries read at once."""
    limits: Limits = field(default_factory=Limits)


class Aggregator:
    """Runs until cancelled. `latest` is None until the first tick."""

    def __init__(
        self,
        log: EventLog,
        store: MetricsStore,
        decode: DecodeSignals,
        clock: Clock,
        *,
        epoch: str,
        firing: Callable[[], FiringAlerts] = FiringAlerts,
        troubles: Callable[[], Sequence[str]] = tuple,
        settings: AggregatorSettings | None = None,
        configured: Callable[[], PlatformConfig] = PlatformConfig,
        shard: int = 0,
        shards: int = 1,
    ) -> None:
        self.settings = settings or AggregatorSettings()
        self.configured = configured
        self.shard = shard
        self.latest: MetricsSnapshot | None = None
        """The newest snapshot; None for as long as there is none, and always with several shards."""
        self.part: ShardPart | None = None
        """The newest part, with several shards."""
        self.shown: MetricsSnapshot | None = None
        """What is the case now, to be sampled for history: the newest snapshot of all shards, for the first of them."""
        self.changes = Changes()
        self.state = MetricsState(self.settings.limits)
        self.gauges = GaugeTable()
        self.keeper = MetricsKeeper(store, clock, self.state, self.gauges)
        self.waiting_for = ""
        """Why the log cannot be read; "" when it can."""
        self.cursor = ""
        self._log = log
        self._decode = decode
        self._clock = clock
        self._firing = firing
        self._troubles = troubles
        self._callbacks: list[OnTick] = []
        self._alone = shards == 1
        self._maker = SnapshotMaker(epoch, clock.now_us())
        self._part_maker = PartMaker(shard, clock.now_us())
        self._pace = Pace(self.settings.tick, self.idle_tick, self.settings.load_share)
        self._rate = EventRate()
        self._caught_up = False
        self._caught_up_us: int | None = None
        self._events_ticked = -1
        self._ticked_clock_us = 0
        self._gathered_clock_us = 0
        self._gathered_at = clock.monotonic()
        self._as_of_us = 0

    def subscribe_ticks(self, callback: OnTick) -> None:
        """`callback` is called on the loop with each snapshot; it must be quick and not raise."""
        self._callbacks.append(callback)

    @property
    def reader_lag_us(self) -> int | None:
        """How far the reader is behind the log; None while that is not known."""
        if self._caught_up:
            return 0
        known = max(self.state.clock_us, self._caught_up_us or 0)
        return max(self._clock.now_us() - known, 0) if known else None

    def idle_tick(self) -> float:
        """Seconds between two ticks while nothing happens."""
        return min(self.configured().idle_tick_us / SECOND_US, self.settings.idle_tick)

    async def run(self) -> None:
        """Recovers, then reads, folds, ticks and keeps, until cancelled; then keeps the rest. Raises Unavailable when
        the rest cannot be kept, and when the database was away too long: all is folded again by the next who begins.
        Raises LeaseLost, and stores nothing, when somebody else reads the shard by now."""
        self.cursor = await self.keeper.recover()
        self._ticked_clock_us = self._gathered_clock_us = self.state.clock_us
        self._gathered_at = self._clock.monotonic()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.keeper.run(), name="metrics-keeper")
                tasks.create_task(self._read_on(), name="aggregator")
        except asyncio.CancelledError:
            # Only now: after a fault the state may hold a part of an entry, and belongs to no cursor.
            with suppress(LeaseLost):
                await self.keeper.close(self.cursor)
            raise
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _read_on(self) -> None:
        while True:
            entries = await self._read()
            await self._fold(entries)
            if not self.waiting_for and self._are_the_last(entries):
                self._caught_up = True
                self._caught_up_us = self._clock.now_us()
            if self._tick_is_due():
                await self._tick()
            if self._checkpoint_is_due() and self.keeper.idle:
                await self._gather()
            self._look_back()

    def _look_back(self) -> None:
        """Stops keeping what changes when the database has been away for too long. Raises Unavailable when it is back
        after that."""
        if self.keeper.gave_up:
            self.keeper.forget_changes()
            if self.keeper.idle:
                told = "it was away for so long that history is made again from the last checkpoint"
                raise Unavailable("database", told)
        elif not self.keeper.idle and len(self.state.memory.dirty) > self.settings.unsaved_rows:
            self.keeper.give_up()

    async def _read(self) -> Sequence[LogEntry]:
        """The next entries; none when nothing came until the next tick is due."""
        wait = max(self._due_at() - self._clock.monotonic(), 0.0) if self._caught_up else 0.0
        limit = self.settings.read_limit
        try:
            entries = await self._log.read(self.cursor, limit=limit, wait=wait)
        except Unavailable as error:
            self.waiting_for = error.message
            self._caught_up = False
            await self._clock.sleep(_RETRY)
            return ()
        self.waiting_for = ""
        if not self._are_the_last(entries):
            self._caught_up = False
        return entries

    def _are_the_last(self, entries: Sequence[LogEntry]) -> bool:
        """Whether there was no more to read. A log also gives fewer than it is asked for when those are large."""
        size = sum(len(entry.payload) for entry in entries)
        return len(entries) < self.settings.read_limit and size < _LARGE_READ

    async def _fold(self, entries: Sequence[LogEntry]) -> None:
        """Folds entries whole, letting others run after each slice of time."""
        begun = self._clock.monotonic()
        for entry in entries:
            if self._clock.monotonic() - begun > SLICE:
                await asyncio.sleep(0)
                await self._stay_fresh()
                begun = self._clock.monotonic()
            try:
                signals = self._decode(entry.payload)
            except Exception:  # noqa: BLE001 - whatever the decoder says, the entry is not one of ours
                self.state.undecodable += 1
            else:
                if signals and signals[0].receive_us - self._gathered_clock_us > _SILENCE_US:
                    await self._keep_before(min(signals[0].receive_us, self._clock.now_us()))
                self.state.fold(signals)
            self.cursor = entry.cursor

    async def _stay_fresh(self) -> None:
        """Between two entries of many: the reader has not caught up, and ticks all the same."""
        clock_us = self.state.clock_us
        if self._tick_is_due() or clock_us - self._ticked_clock_us > _CATCH_UP_TICK_US:
            self._caught_up = False
            await self._tick()
        if clock_us - self._gathered_clock_us > _CATCH_UP_CHECKPOINT_US:
            await self._gather()
            self._look_back()

    def _tick_is_due(self) -> bool:
        return self._clock.monotonic() >= self._due_at()

    def _due_at(self) -> float:
        """The monotonic time of the next tick: at the latest when the next bucket begins, by the wall clock."""
        due = self._pace.due_at(fresh=self._is_fresh)
        if not self._caught_up or not self._as_of_us:
            return due
        border_us = (self._as_of_us // BUCKET_US + 1) * BUCKET_US
        left_us = border_us - self._clock.now_us()
        return min(due, self._clock.monotonic() + left_us / SECOND_US)

    @property
    def _is_fresh(self) -> bool:
        """Whether there is something that the newest snapshot does not show."""
        return self.state.events != self._events_ticked

    async def _tick(self) -> None:
        begun = self._clock.monotonic()
        fresh = self._is_fresh
        self._events_ticked = self.state.events
        self._ticked_clock_us = self.state.clock_us
        now_us = self._clock.now_us()
        reached_us = now_us if self._caught_up else min(self.state.clock_us, now_us)
        await self._keep_before(reached_us)
        moment = self._moment(now_us, reached_us, fresh=fresh)
        if self._alone:
            await self._show(moment)
        else:
            self.part = await paced(self._part_maker.steps(self.state, moment), self._clock)
        if self.shown is not None:
            self.gauges.sample(self.shown)
            self.shown = None
        self.changes.notify()
        if self.latest is not None:
            for callback in self._callbacks:
                callback(self.latest, self.latest.as_of_us)
        self._pace.ticked(begun, self._clock.monotonic())

    async def _show(self, moment: PartMoment) -> None:
        whole = Moment(
            as_of_us=moment.as_of_us,
            cursor=moment.cursor,
            reader_lag_us=moment.reader_lag_us,
            caught_up=moment.caught_up,
            tick_interval_us=moment.tick_interval_us,
            firing=self._firing(),
            troubles=tuple(self._troubles()),
            events_per_second=moment.events_per_second,
            offline_after_us=self.configured().agent_offline_after_us,
        )
        steps = self._maker.steps(self.state, whole)
        self.latest = self.shown = await paced(steps, self._clock)

    def _moment(self, now_us: int, reached_us: int, *, fresh: bool) -> PartMoment:
        self._as_of_us = max(self._as_of_us, reached_us // SLOT_US * SLOT_US)
        if self._caught_up and not self.state.since_us:
            self.state.since_us = self._as_of_us
        interval = self._pace.interval if fresh else self.idle_tick()
        return PartMoment(
            as_of_us=self._as_of_us,
            cursor=self.cursor,
            reader_lag_us=self.reader_lag_us,
            caught_up=self._caught_up,
            tick_interval_us=round(max(interval, SLOT_US / SECOND_US) * SECOND_US),
            events_per_second=self._rate.at(now_us, self.state.events),
        )

    def _checkpoint_is_due(self) -> bool:
        if len(self.state.memory.dirty) >= self.settings.checkpoint_rows:
            return True
        return self._clock.monotonic() - self._gathered_at >= self.settings.checkpoint

    async def _gather(self) -> None:
        begun = self._clock.monotonic()
        if await self.keeper.gather(self.cursor):
            self._gathered_at, self._gathered_clock_us = begun, self.state.clock_us

    async def _keep_before(self, to_us: int) -> None:
        """Between two entries, before the time goes on."""
        begun = self._clock.monotonic()
        if await self.keeper.keep_before(to_us, self.cursor):
            self._gathered_at, self._gathered_clock_us = begun, self.state.clock_us


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended a group of tasks."""
    first: BaseException = group.exceptions[0]
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    return first
