"""What a backtest compared, for a chart: few enough points to be drawn, and none of them hides a breach.

Several slots in a row share a point, which keeps of each comparison the value furthest beyond its threshold.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import repeat
from math import nan
from typing import NamedTuple

from pilothouse_server.domain.alerts.conditions import Comparison, Observation, Threshold

MOST_POINTS = 2_000
"""Of one line."""
MOST_VALUES = 4_000_000
"""Of all lines together. It is not known before the end which instances fire, so each of them is kept, and where there
are many of them with many comparisons, the points of each are fewer."""
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


class Chart:
    """`note` what was observed; `lines` are there at the end."""

    def __init__(self, thresholds: Sequence[Threshold], slots: int, names: int) -> None:
        self._thresholds = thresholds
        self._most_names = max(1, names)
        room = MOST_VALUES // (self._most_names * len(thresholds))
        self._stride = max(1, -(-slots // max(1, min(MOST_POINTS, room))))
        self._slot = -1
        self._times_us: list[int] = []
        self._values: dict[str, array[float]] = {}
        """For each point a value for each comparison; shorter where nothing was noted of late."""

    def begin_slot(self, ts_us: int) -> None:
        """What is noted from now on was observed at `ts_us`."""
        self._slot += 1
        if self._slot % self._stride:
            self._times_us[-1] = ts_us
        else:
            self._times_us.append(ts_us)

    def note(self, name: str, observed: Sequence[Observation]) -> None:
        """What an instance was compared by."""
        values = self._values.get(name)
        if values is None:
            if len(self._values) >= self._most_names:
                return
            values = self._values[name] = array("d")
        width = len(self._thresholds)
        first = (len(self._times_us) - 1) * width
        if len(values) <= first:
            values.extend(repeat(nan, first + width - len(values)))
        for index, threshold in enumerate(self._thresholds, first):
            value = observed[index - first].value
            if value is not None and further(threshold, value, values[index]):
                values[index] = value

    def lines(self, fired: Collection[str]) -> Iterator[Line]:
        """Of the instances that fired first, and of others while there is room."""
        names = [name for name in fired if name in self._values]
        names += (name for name in self._values if name not in fired)
        for name in names[:SHOWN]:
            for index in range(len(self._thresholds)):
                values = self._values[name][index :: len(self._thresholds)].tolist()
                values += repeat(nan, len(self._times_us) - len(values))
                yield Line(name, index, self._times_us, values)
