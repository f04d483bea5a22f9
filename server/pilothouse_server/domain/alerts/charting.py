"""What a backtest compared, for a chart: few enough points to be drawn, and none of them hides a breach.

Several slots in a row share a point, which keeps of each comparison the value furthest beyond its threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

from pilothouse_server.domain.alerts.conditions import Comparison, Observation, Threshold

MOST_POINTS = 2_000
"""Of one line."""
REMEMBERED = 200
"""Instances that are kept until it is known which of them fire."""
SHOWN = 20
"""Instances that are shown: those that fired before those that did not."""


def further(threshold: Threshold, value: float, than: float | None) -> bool:
    """Whether a value is further beyond the threshold than another."""
    if than is None or than != than:  # noqa: PLR0124 - not a number
        return True
    if threshold.comparison in (Comparison.GREATER_THAN, Comparison.GREATER_OR_EQUAL):
        return value > than
    return value < than


class Line(NamedTuple):
    """What one instance was compared with in one threshold; NaN where there was no value."""

    name: str
    threshold_index: int
    times_us: Sequence[int]
    values: Sequence[float]


@dataclass(slots=True)
class _Point:
    place: int
    values: list[float]


class Chart:
    """`note` what was observed; `lines` are there at the end."""

    def __init__(self, thresholds: Sequence[Threshold], slots: int) -> None:
        self._thresholds = thresholds
        self._stride = max(1, -(-slots // MOST_POINTS))
        self._slot = -1
        self._times_us: list[int] = []
        self._points: dict[str, list[_Point]] = {}

    def begin_slot(self, ts_us: int) -> None:
        """What is noted from now on was observed at `ts_us`."""
        self._slot += 1
        if self._slot % self._stride:
            self._times_us[-1] = ts_us
        else:
            self._times_us.append(ts_us)

    def note(self, name: str, observed: Sequence[Observation]) -> None:
        """What an instance was compared by."""
        points = self._points.get(name)
        if points is None:
            if len(self._points) >= REMEMBERED:
                return
            points = self._points[name] = []
        place = len(self._times_us) - 1
        if not points or points[-1].place != place:
            points.append(_Point(place, [nan if e.value is None else e.value for e in observed]))
            return
        values = points[-1].values
        for index, (threshold, seen) in enumerate(zip(self._thresholds, observed, strict=True)):
            if seen.value is not None and further(threshold, seen.value, values[index]):
                values[index] = seen.value

    def lines(self, fired: Sequence[str]) -> Iterator[Line]:
        """Of the instances that fired first, and of others while there is room."""
        first = [name for name in dict.fromkeys(fired) if name in self._points]
        names = [*first, *(name for name in self._points if name not in set(first))]
        for name in names[:SHOWN]:
            for index in range(len(self._thresholds)):
                values = [nan] * len(self._times_us)
                for point in self._points[name]:
                    values[point.place] = point.values[index]
                yield Line(name, index, self._times_us, values)
