"""Which values a condition can hold for: what can never hold raises no alert, what always holds says nothing.

A comparison divides the values of its series at its threshold, so between two neighbouring thresholds all values are
alike. It is enough to look at one value of each stretch: each threshold, one between two of them, and the ends. What a
tree allows a series to be is then a set of those values, over all series at once too large rather than too small: what
is refused here can indeed never hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from pilothouse_server.domain.alerts.conditions import (
    AlertMetric,
    AllOf,
    Condition,
    Threshold,
    thresholds,
)
from pilothouse_server.domain.alerts.matchers import Matcher
from pilothouse_server.domain.metrics.snapshot import Dimension


class Range(NamedTuple):
    """What a metric can be."""

    low: float
    high: float
    whole: bool = False
    """Only whole numbers."""

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{self.low:g} or more"
        return f"from {self.low:g} to {self.high:g}"


_SHARE = Range(0.0, 1.0)
_AMOUNT = Range(0.0, math.inf)
RANGES: Mapping[AlertMetric, Range] = {
    AlertMetric.LATENCY_P50: _AMOUNT,
    AlertMetric.LATENCY_P95: _AMOUNT,
    AlertMetric.LATENCY_P99: _AMOUNT,
    AlertMetric.ERROR_RATE: _SHARE,
    AlertMetric.SUCCESS_RATE: _SHARE,
    AlertMetric.THROUGHPUT: _AMOUNT,
    AlertMetric.QUEUE_DEPTH: Range(0.0, math.inf, whole=True),
    AlertMetric.AGENT_SILENCE: _AMOUNT,
}


class Series(NamedTuple):
    """What a threshold looks at; two that look at the same see the same value."""

    metric: AlertMetric
    dimension: Dimension
    matchers: tuple[Matcher, ...]
    window_us: int


Values = Mapping[Series, frozenset[float]]
"""What each series may be; one that is not named may be anything."""


def never(condition: Condition) -> Series | None:
    """A series that cannot be what the condition wants, so that it never holds; None when it can hold."""
    return _nothing_left(condition, negated=False)


def always(condition: Condition) -> Series | None:
    """A series that cannot be anything else, so that the condition holds whenever there is a value."""
    return _nothing_left(condition, negated=True)


def series_of(threshold: Threshold) -> Series:
    """What it looks at."""
    return Series(threshold.metric, threshold.dimension, threshold.matchers, threshold.window_us)


def _nothing_left(condition: Condition, *, negated: bool) -> Series | None:
    limits: dict[Series, set[float]] = {}
    for each in thresholds(condition):
        limits.setdefault(series_of(each), set()).add(each.threshold)
    whole = {
        series: frozenset(_telling(RANGES[series.metric], found))
        for series, found in limits.items()
    }
    allowed = _allowed(condition, whole, negated=negated)
    return next((series for series, values in allowed.items() if not values), None)


def _allowed(condition: Condition, whole: Values, *, negated: bool) -> Values:
    if isinstance(condition, Threshold):
        series, limit = series_of(condition), condition.threshold
        holds = condition.comparison.holds
        return {series: frozenset(v for v in whole[series] if holds(v, limit) != negated)}
    parts = [_allowed(each, whole, negated=negated) for each in condition.conditions]
    # Not all of them is any of them not, and the other way round.
    if isinstance(condition, AllOf) != negated:
        together: dict[Series, frozenset[float]] = {}
        for part in parts:
            for series, values in part.items():
                together[series] = together.get(series, values) & values
        return together
    everywhere = set[Series].intersection(*(set(part) for part in parts))
    return {
        series: frozenset[float]().union(*(part[series] for part in parts)) for series in everywhere
    }


def _telling(of: Range, limits: set[float]) -> Iterator[float]:
    """One value of each stretch that the limits divide a range into."""
    found = {of.low, of.high if math.isfinite(of.high) else max(*limits, of.low) + 1}
    if of.whole:
        for limit in limits:
            found |= {math.floor(limit), math.ceil(limit)}
            found |= {math.floor(limit) - 1.0, math.ceil(limit) + 1.0}
    else:
        found |= limits
        ordered = sorted(found)
        found |= {low / 2 + high / 2 for low, high in pairwise(ordered)}
    yield from (value for value in found if of.low <= value <= of.high)
