"""How often a snapshot is made: on a grid of the monotonic clock, which is coarser when making one costs much."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from pilothouse_server.domain.metrics.limits import BUCKET_US, SECOND_US


class Pace:
    """When the next tick is due: in the next slot of the grid."""

    def __init__(self, tick: float, idle_tick: Callable[[], float], load_share: float) -> None:
        self.interval = tick
        self._tick = tick
        self._idle_tick = idle_tick
        self._load_share = load_share
        self._at = float("-inf")

    def due_at(self, *, fresh: bool) -> float:
        """The monotonic time of the next tick, with or without something new to show."""
        if self._at == float("-inf"):
            return self._at
        return self._next(self.interval if fresh else self._idle_tick())

    def _next(self, interval: float) -> float:
        return (self._at // interval + 1) * interval

    def ticked(self, begun: float, ended: float) -> None:
        """A tick was made: what it cost decides how long the slots are."""
        self._at = begun
        wished = (ended - begun) / self._load_share
        slots = max(1, ceil(wished / self._tick - 1e-9))
        self.interval = min(slots * self._tick, self._idle_tick())


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
