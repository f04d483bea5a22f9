"""Reads the log, folds it into metrics, and makes a snapshot at each tick.

One task owns the state: it reads, folds in slices, ticks, and gathers checkpoints between two entries, so that
a snapshot and a checkpoint always belong to one cursor. Ticks are slots on a grid of the monotonic clock: a
slot in which events came is ticked, and an idle reader ticks once a second. When a tick costs much, slots
become longer instead of the reader falling behind.

While the reader catches up with the log, "now" is the receipt of what it reads, and what is the case now is not
sampled for history: it is not known. When it has caught up, now is the wall clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.gauges import GaugeTable
from pilothouse_server.domain.metrics.limits import BUCKET_US, SECOND_US, Limits
from pilothouse_server.domain.metrics.snapshot import FiringAlerts, MetricsSnapshot
from pilothouse_server.domain.metrics.summary import Moment, SnapshotMaker
from pilothouse_server.ports import Clock, DecodeSignals, EventLog, LogEntry
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.metrics_keeper import SLICE, MetricsKeeper, MetricsStore, paced

SLOT_US = 100_000
"""The grid of `as_of_us`: alert rules are evaluated at most once in each."""

OnTick = Callable[[MetricsSnapshot, int], None]
"""Called with each snapshot and its slot."""

_CATCH_UP_TICK_US = 300 * SECOND_US
_CATCH_UP_CHECKPOINT_US = 1200 * SECOND_US
"""Event time after which a reader that catches up ticks and checkpoints, so that no bucket slides out of memory
unseen.
"""

_RETRY = 0.2
"""Seconds between two attempts to read a log that cannot be reached."""


@dataclass(frozen=True, slots=True)
class AggregatorSettings:
    """How often, and how much at once."""

    offline_after_us: int = 30 * SECOND_US
    """An agent is offline when it was not heard for so long."""
    tick: float = 0.05
    """Seconds between two ticks when events come: half a slot, so that an event is seen well within a tenth of
    a second.
    """
    idle_tick: float = 1.0
    """Seconds between two ticks at most."""
    load_share: float = 0.25
    """The share of the time that ticks may take; beyond it they come less often."""
    checkpoint: float = 5.0
    """Seconds between two checkpoints."""
    checkpoint_rows: int = 500
    """Changed workflows after which a checkpoint is made before its time, so that gathering it stays short."""
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
        settings: AggregatorSettings | None = None,
    ) -> None:
        self.settings = settings or AggregatorSettings()
        self.latest: MetricsSnapshot | None = None
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
        self._callbacks: list[OnTick] = []
        self._maker = SnapshotMaker(epoch, clock.now_us(), self.settings.offline_after_us)
        self._pace = Pace(self.settings.tick, self.settings.idle_tick, self.settings.load_share)
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

    async def run(self) -> None:
        """Recovers, then reads, folds, ticks and keeps, until cancelled; then keeps the rest. Raises Unavailable when
        the rest cannot be kept: it is folded again at the next start."""
        self.cursor = await self.keeper.recover()
        self._ticked_clock_us = self._gathered_clock_us = self.state.clock_us
        self._gathered_at = self._clock.monotonic()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.keeper.run(), name="metrics-keeper")
                tasks.create_task(self._read_on(), name="aggregator")
        except asyncio.CancelledError:
            # Only now: after a fault the state may hold a part of an entry, and belongs to no cursor.
            await self.keeper.close(self.cursor)
            raise

    async def _read_on(self) -> None:
        while True:
            entries = await self._read()
            await self._fold(entries)
            if not self.waiting_for and len(entries) < self.settings.read_limit:
                self._caught_up = True
                self._caught_up_us = self._clock.now_us()
            if self._tick_is_due():
                await self._tick()
            if self._checkpoint_is_due() and self.keeper.idle:
                await self._gather()

    async def _read(self) -> Sequence[LogEntry]:
        """The next entries; none when nothing came until the next tick is due."""
        due = self._pace.due_at(fresh=self._is_fresh) - self._clock.monotonic()
        wait = max(due, 0.0) if self._caught_up else 0.0
        limit = self.settings.read_limit
        try:
            entries = await self._log.read(self.cursor, limit=limit, wait=wait)
        except Unavailable as error:
            self.waiting_for = error.message
            self._caught_up = False
            await self._clock.sleep(_RETRY)
            return ()
        self.waiting_for = ""
        if len(entries) == limit:
            self._caught_up = False
        return entries

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

    def _tick_is_due(self) -> bool:
        return self._clock.monotonic() >= self._pace.due_at(fresh=self._is_fresh)

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
        moment = self._moment(now_us, fresh=fresh)
        snapshot = await paced(self._maker.steps(self.state, moment), self._clock)
        if snapshot.caught_up:
            self.gauges.sample(self.state, snapshot.agents, moment.as_of_us // BUCKET_US)
        self.latest = snapshot
        self.changes.notify()
        for callback in self._callbacks:
            callback(snapshot, snapshot.as_of_us)
        self._pace.ticked(begun, self._clock.monotonic())

    def _moment(self, now_us: int, *, fresh: bool) -> Moment:
        reached_us = now_us if self._caught_up else min(self.state.clock_us, now_us)
        self._as_of_us = max(self._as_of_us, reached_us // SLOT_US * SLOT_US)
        if self._caught_up and not self.state.since_us:
            self.state.since_us = self._as_of_us
        interval = self._pace.interval if fresh else self.settings.idle_tick
        return Moment(
            as_of_us=self._as_of_us,
            cursor=self.cursor,
            reader_lag_us=self.reader_lag_us,
            caught_up=self._caught_up,
            tick_interval_us=round(max(interval, SLOT_US / SECOND_US) * SECOND_US),
            firing=self._firing(),
            events_per_second=self._rate.at(now_us, self.state.events),
        )

    def _checkpoint_is_due(self) -> bool:
        if len(self.state.memory.dirty) >= self.settings.checkpoint_rows:
            return True
        return self._clock.monotonic() - self._gathered_at >= self.settings.checkpoint

    async def _gather(self) -> None:
        self._gathered_at = self._clock.monotonic()
        self._gathered_clock_us = self.state.clock_us
        await self.keeper.gather(self.cursor)


class Pace:
    """When the next tick is due: in the next slot of the grid, which is coarser when ticks cost much."""

    def __init__(self, tick: float, idle_tick: float, load_share: float) -> None:
        self.interval = tick
        self._tick = tick
        self._idle_tick = idle_tick
        self._load_share = load_share
        self._at = float("-inf")

    def due_at(self, *, fresh: bool) -> float:
        """The monotonic time of the next tick, with or without something new to show."""
        if self._at == float("-inf"):
            return self._at
        return self._next(self.interval if fresh else self._idle_tick)

    def _next(self, interval: float) -> float:
        return (self._at // interval + 1) * interval

    def ticked(self, begun: float, ended: float) -> None:
        """A tick was made: what it cost decides how long the slots are."""
        self._at = begun
        wished = (ended - begun) / self._load_share
        slots = max(1, ceil(wished / self._tick - 1e-9))
        self.interval = min(slots * self._tick, self._idle_tick)


class EventRate:
    """Events read in the last whole 5 s of the wall clock, per second."""

    def __init__(self) -> None:
        self._bucket = -1
        self._events = 0
        self._whole = False
        self._rate: float | None = None

    def at(self, now_us: int, events: int) -> float | None:
        """The rate at a moment, given how many events were read by then; None until there was a whole bucket."""
        bucket = now_us // BUCKET_US
        if bucket != self._bucket:
            follows = self._whole and bucket == self._bucket + 1
            self._rate = (events - self._events) / (BUCKET_US / SECOND_US) if follows else None
            self._whole = self._bucket >= 0
            self._bucket, self._events = bucket, events
        return self._rate
