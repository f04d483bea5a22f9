"""An exponential histogram of durations, after OpenTelemetry's data model, at scale 5: sparse, exact to merge
and to subtract.

With b = 2^(1/32), bucket i holds the durations x with b^i < x <= b^(i+1), in microseconds; zero has its own
count. The value that stands for a bucket is r = 2·b^(i+1) / (1 + b), the harmonic mean of its bounds. |r - x| /
x is greatest at the bounds, where it is (b - 1) / (b + 1) = 1.083 % on both sides, so no percentile is off by
more than 1.1 %. Count and sum are kept apart and are exact.

Counts may be negative in between: a histogram can be a difference to be merged into another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, exp2, log2

SCALE = 5
BASE: float = 2.0 ** (2.0**-SCALE)
MAX_RELATIVE_ERROR = (BASE - 1) / (BASE + 1)

_PER_DOUBLING = 1 << SCALE
_TO_REPRESENTATIVE: float = 2 / (1 + BASE)

Packed = tuple[int, ...]
"""(count, sum_us, zero, index, n, index, n, …), indexes ascending; () when empty."""


def index_of(duration_us: int) -> int:
    """The bucket of a duration greater than zero."""
    return ceil(log2(duration_us) * _PER_DOUBLING) - 1


def representative(index: int) -> float:
    """The duration in microseconds that stands for a bucket."""
    return exp2((index + 1) / _PER_DOUBLING) * _TO_REPRESENTATIVE


class Histogram:
    """Durations in microseconds, from 0."""

    __slots__ = ("count", "counts", "sum_us", "zero")

    def __init__(self) -> None:
        self.count = 0
        self.sum_us = 0
        self.zero = 0
        self.counts: dict[int, int] = {}

    def add(self, duration_us: int, times: int = 1) -> None:
        """Counts a duration; `times` -1 takes it back."""
        self.count += times
        self.sum_us += duration_us * times
        if duration_us == 0:
            self.zero += times
            return
        index = ceil(log2(duration_us) * _PER_DOUBLING) - 1
        counts = self.counts
        total = counts.get(index, 0) + times
        if total:
            counts[index] = total
        else:
            del counts[index]

    def merge(self, other: Histogram, times: int = 1) -> None:
        """Adds all that `other` counted; `times` -1 takes it back."""
        if not (other.count or other.counts or other.sum_us):
            return
        self.count += other.count * times
        self.sum_us += other.sum_us * times
        self.zero += other.zero * times
        self._merge_counts(other.counts.items(), times)

    def merge_packed(self, packed: Packed, times: int = 1) -> None:
        """Adds what `pack` of another histogram returned; `times` -1 takes it back."""
        if packed:
            self.count += packed[0] * times
            self.sum_us += packed[1] * times
            self.zero += packed[2] * times
            self._merge_counts(zip(packed[3::2], packed[4::2], strict=True), times)

    def _merge_counts(self, items: Iterable[tuple[int, int]], times: int) -> None:
        counts = self.counts
        for index, n in items:
            total = counts.get(index, 0) + n * times
            if total:
                counts[index] = total
            else:
                del counts[index]

    @property
    def mean_us(self) -> float | None:
        """Exact; None when empty."""
        return self.sum_us / self.count if self.count > 0 else None

    def quantiles(self, fractions: Sequence[float]) -> list[float] | None:
        """For each fraction q (ascending, 0 < q <= 1) the value of rank ceil(q·count) in ascending order,
        within the error stated above; None when empty.
        """
        if self.count <= 0:
            return None
        found: list[float] = []
        ranks = iter([max(1, ceil(fraction * self.count)) for fraction in fractions])
        rank = next(ranks, None)
        passed = self.zero
        while rank is not None and rank <= passed:
            found.append(0.0)
            rank = next(ranks, None)
        for index in sorted(self.counts):
            if rank is None:
                break
            passed += self.counts[index]
            while rank is not None and rank <= passed:
                found.append(representative(index))
                rank = next(ranks, None)
        return found

    def quantile(self, fraction: float) -> float | None:
        """The value of rank ceil(fraction·count); None when empty."""
        found = self.quantiles((fraction,))
        return found[0] if found else None

    def pack(self) -> Packed:
        """A compact form that JSON can carry."""
        if not (self.count or self.counts or self.sum_us):
            return ()
        packed = [self.count, self.sum_us, self.zero]
        for index in sorted(self.counts):
            packed += (index, self.counts[index])
        return tuple(packed)

    @classmethod
    def unpack(cls, packed: Packed) -> Histogram:
        """The histogram of which `pack` made this."""
        histogram = cls()
        histogram.merge_packed(packed)
        return histogram

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.pack() == other.pack()

    __hash__ = None  # type: ignore[assignment]
