"""Buckets of one series and its sliding sums, kept incrementally.

The fold writes into `fresh` cells only. `settle` adds what is fresh to the buckets and to the four window sums,
and `advance` takes out what slid from a window: so an event costs one addition whatever the number of windows,
and a window is never summed anew.
"""

from __future__ import annotations

from pilothouse_server.domain.histogram import Histogram, Packed
from pilothouse_server.domain.metrics.limits import BUCKETS, WINDOW_BUCKETS
from pilothouse_server.domain.metrics.snapshot import Dimension

COMPLETED, FAILED, CANCELLED, SKIPPED = range(4)
"""How something ended. What was skipped is counted nowhere."""

PackedCell = tuple[int, int, int, int, Packed]
"""(started, completed, failed, cancelled, durations)"""

StateTuple = tuple[int, int, int, int, int]
"""(queued, running, waiting, paused, tasks that wait)"""


class Cell:
    """What happened in one bucket, in one window, or since the last settlement (then it may be negative)."""

    __slots__ = ("cancelled", "completed", "durations", "failed", "started")

    def __init__(self) -> None:
        self.started = 0
        self.completed = 0
        self.failed = 0
        self.cancelled = 0
        self.durations = Histogram()

    def add_end(self, outcome: int, duration_us: int, times: int = 1) -> None:
        """Counts an end and, unless it is negative, the duration; `times` -1 takes it back."""
        if outcome == COMPLETED:
            self.completed += times
        elif outcome == FAILED:
            self.failed += times
        elif outcome == CANCELLED:
            self.cancelled += times
        if duration_us >= 0:
            self.durations.add(duration_us, times)

    def merge(self, other: Cell, times: int = 1) -> None:
        """Adds all that `other` counted; `times` -1 takes it back."""
        self.started += other.started * times
        self.completed += other.completed * times
        self.failed += other.failed * times
        self.cancelled += other.cancelled * times
        self.durations.merge(other.durations, times)

    def merge_packed(self, packed: PackedCell, times: int = 1) -> None:
        """Adds what `pack` of another cell returned; `times` -1 takes it back."""
        self.started += packed[0] * times
        self.completed += packed[1] * times
        self.failed += packed[2] * times
        self.cancelled += packed[3] * times
        self.durations.merge_packed(packed[4], times)

    @property
    def blank(self) -> bool:
        """Whether nothing is counted."""
        counts = self.started or self.completed or self.failed or self.cancelled
        return not counts and not self.durations.count

    def pack(self) -> PackedCell:
        """A compact form: what a closed bucket is kept as."""
        return (self.started, self.completed, self.failed, self.cancelled, self.durations.pack())


EMPTY: PackedCell = (0, 0, 0, 0, ())


class Series:
    """One hour of one thing, in buckets numbered since the epoch, and its states now."""

    __slots__ = (
        "_at",
        "_closed",
        "_closed_before",
        "_open",
        "dimension",
        "fresh",
        "live",
        "name",
        "unsaved",
        "version",
        "windows",
    )

    def __init__(self, dimension: Dimension, name: str, at: int) -> None:
        self.dimension = dimension
        self.name = name
        self.fresh: dict[int, Cell] = {}
        self.live = [0, 0, 0, 0, 0]
        self.windows = tuple(Cell() for _ in WINDOW_BUCKETS)
        self.version = 0
        """Grows when anything a snapshot shows has changed."""
        self.unsaved: set[int] = set()
        """Buckets that changed since the last checkpoint."""
        self._at = at
        self._open: dict[int, Cell] = {}
        self._closed: dict[int, PackedCell] = {}
        self._closed_before = 0

    def cell(self, index: int) -> Cell:
        """The fresh cell of a bucket."""
        cell = self.fresh.get(index)
        if cell is None:
            cell = self.fresh[index] = Cell()
        return cell

    def settle(self, now: int) -> None:
        """Adds what is fresh to buckets and windows; `now` is the running bucket."""
        self.advance(now)
        if not self.fresh:
            return
        for index, fresh in self.fresh.items():
            if index <= self._at - BUCKETS:
                continue
            if index in self._closed:
                self._reopen(index)
            bucket = self._open.get(index)
            if bucket is None:
                bucket = self._open[index] = Cell()
            bucket.merge(fresh)
            self.unsaved.add(index)
            if index <= self._at:
                for window, length in zip(self.windows, WINDOW_BUCKETS, strict=True):
                    if index > self._at - length:
                        window.merge(fresh)
        self.fresh.clear()
        self.version += 1

    def advance(self, now: int) -> None:
        """Slides the windows so that `now` is the running bucket. Time does not go back."""
        steps = now - self._at
        if steps <= 0:
            return
        if not self._open and not self._closed:
            self._at = now
        elif steps >= BUCKETS:
            self._restart(now)
        else:
            for at in range(self._at + 1, now + 1):
                self._step(at)
            self._at = now

    def _step(self, at: int) -> None:
        for window, length in zip(self.windows, WINDOW_BUCKETS, strict=True):
            self._slide(window, at - length, -1)
            self._slide(window, at, 1)
        self._open.pop(at - BUCKETS, None)
        self._closed.pop(at - BUCKETS, None)

    def _slide(self, window: Cell, index: int, times: int) -> None:
        packed = self._closed.get(index)
        if packed is not None:
            window.merge_packed(packed, times)
            self.version += 1
            return
        bucket = self._open.get(index)
        if bucket is not None:
            window.merge(bucket, times)
            self.version += 1

    def _restart(self, now: int) -> None:
        """Sums the windows anew: after a gap, and after a load."""
        self._at = now
        self._open = {i: cell for i, cell in self._open.items() if i > now - BUCKETS}
        self._closed = {i: packed for i, packed in self._closed.items() if i > now - BUCKETS}
        self.windows = tuple(Cell() for _ in WINDOW_BUCKETS)
        for window, length in zip(self.windows, WINDOW_BUCKETS, strict=True):
            for index, cell in self._open.items():
                if now - length < index <= now:
                    window.merge(cell)
            for index, packed in self._closed.items():
                if now - length < index <= now:
                    window.merge_packed(packed)
        self.version += 1

    def close(self, before: int) -> None:
        """Buckets under `before` will not change any more: keeps them in their compact form."""
        if before <= self._closed_before:
            return
        self._closed_before = before
        for index in [index for index in self._open if index < before]:
            self._closed[index] = self._open.pop(index).pack()

    def _reopen(self, index: int) -> None:
        cell = Cell()
        cell.merge_packed(self._closed.pop(index))
        self._open[index] = cell

    def load(self, buckets: dict[int, PackedCell], now: int) -> None:
        """Takes over stored buckets; they are open until they are closed."""
        for index, packed in buckets.items():
            cell = self._open[index] = Cell()
            cell.merge_packed(packed)
        self._restart(now)

    def packed(self, index: int) -> PackedCell:
        """One settled bucket; EMPTY when nothing happened in it."""
        bucket = self._open.get(index)
        return bucket.pack() if bucket is not None else self._closed.get(index, EMPTY)

    def buckets(self) -> dict[int, PackedCell]:
        """All settled buckets in which something was counted."""
        packed = self._closed | {index: cell.pack() for index, cell in self._open.items()}
        return {index: cell for index, cell in sorted(packed.items()) if cell != EMPTY}

    @property
    def blank(self) -> bool:
        """Whether there is nothing to show: nothing in flight, and nothing in the longest window."""
        return not any(self.live) and self.windows[-1].blank

    def idle(self, since: int) -> bool:
        """Whether nothing happened in bucket `since` or later and nothing is in flight."""
        if any(self.live):
            return False
        return not any(
            index >= since for group in (self.fresh, self._open, self._closed) for index in group
        )
