"""What has to hold: comparisons of metrics with thresholds, joined by all and any.

A verdict has four values. TRUE and FALSE are what they say; with a recovery threshold FALSE means that the recovery
condition holds, and BETWEEN that neither does; NO_DATA that there is nothing to judge by. `all` is FALSE as soon as one
is, `any` TRUE as soon as one is; so what is not known matters only where it could decide.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from pilothouse_server.domain.alerts.matchers import Matcher
from pilothouse_server.domain.metrics.snapshot import Dimension


class AlertMetric(IntEnum):
    """What a rule looks at. The numbers are those of the contract; times are in seconds, rates from 0 to 1."""

    LATENCY_P50 = 1
    LATENCY_P95 = 2
    LATENCY_P99 = 3
    ERROR_RATE = 4
    SUCCESS_RATE = 5
    THROUGHPUT = 6
    QUEUE_DEPTH = 7
    AGENT_SILENCE = 8


class Comparison(IntEnum):
    """How a value is compared with a threshold. The numbers are those of the contract."""

    GREATER_THAN = 1
    GREATER_OR_EQUAL = 2
    LESS_THAN = 3
    LESS_OR_EQUAL = 4

    def holds(self, value: float, threshold: float) -> bool:
        """Whether `value` stands so to `threshold`; nothing holds of what is not a number."""
        return _HOLDS[self](value, threshold)


_HOLDS: dict[Comparison, Callable[[float, float], bool]] = {
    Comparison.GREATER_THAN: operator.gt,
    Comparison.GREATER_OR_EQUAL: operator.ge,
    Comparison.LESS_THAN: operator.lt,
    Comparison.LESS_OR_EQUAL: operator.le,
}


class Verdict(IntEnum):
    """Whether a condition holds."""

    NO_DATA = 0
    FALSE = 1
    BETWEEN = 2
    TRUE = 3


class Observation(NamedTuple):
    """What one threshold is compared with, of one instance in one slot; None when it is not known."""

    value: float | None
    samples: int = 0


NOTHING = Observation(None)


@dataclass(frozen=True, slots=True)
class Threshold:
    """One comparison of one metric."""

    metric: AlertMetric
    comparison: Comparison
    threshold: float
    dimension: Dimension = Dimension.FLEET
    matchers: tuple[Matcher, ...] = ()
    window_us: int = 0
    recovery_threshold: float | None = None
    min_samples: int = 0

    def judge(self, observation: Observation) -> Verdict:
        """What the comparison makes of it."""
        value = observation.value
        if value is None or observation.samples < self.min_samples:
            return Verdict.NO_DATA
        if self.comparison.holds(value, self.threshold):
            return Verdict.TRUE
        recovery = self.recovery_threshold
        if recovery is not None and self.comparison.holds(value, recovery):
            return Verdict.BETWEEN
        return Verdict.FALSE


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of them hold."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of them holds."""

    conditions: tuple[Condition, ...]


Condition = Threshold | AllOf | AnyOf


def thresholds(condition: Condition) -> Iterator[Threshold]:
    """The comparisons of the tree in their order; what is observed of an instance is in the same order."""
    if isinstance(condition, Threshold):
        yield condition
    else:
        for each in condition.conditions:
            yield from thresholds(each)


def judge(condition: Condition, observed: Sequence[Observation]) -> Verdict:
    """Whether it holds, given one observation for each threshold."""
    if isinstance(condition, Threshold):
        return condition.judge(observed[0])
    return _judge(condition, iter(observed))


def _judge(condition: Condition, observed: Iterator[Observation]) -> Verdict:
    if isinstance(condition, Threshold):
        return condition.judge(next(observed))
    return _joined(condition, {_judge(each, observed) for each in condition.conditions})


def _joined(group: AllOf | AnyOf, verdicts: set[Verdict]) -> Verdict:
    if isinstance(group, AllOf):
        decisive, whole = Verdict.FALSE, Verdict.TRUE
    else:
        decisive, whole = Verdict.TRUE, Verdict.FALSE
    if decisive in verdicts:
        return decisive
    if verdicts == {whole}:
        return whole
    return Verdict.NO_DATA if Verdict.NO_DATA in verdicts else Verdict.BETWEEN


def decisive(condition: Condition, observed: Sequence[Observation]) -> Observation:
    """What the condition is shown by: the observation at `decisive_place`."""
    return observed[decisive_place(condition, observed)]


def decisive_place(condition: Condition, observed: Sequence[Observation]) -> int:
    """Where the comparison is that the condition is shown by: of `all` the first, as Prometheus' `and` keeps what is on
    its left; of `any` the first that holds, else the first that is not over, else the first that has a value. So a text
    that was written for one comparison is not filled with the value of another only because the first recovered."""
    if isinstance(condition, Threshold):
        return 0
    return _decisive(condition, enumerate(observed))[1]


def _decisive(
    condition: Condition, observed: Iterator[tuple[int, Observation]]
) -> tuple[Verdict, int, bool]:
    """The verdict, the place, and whether there is a value."""
    if isinstance(condition, Threshold):
        place, seen = next(observed)
        return condition.judge(seen), place, seen.value is not None
    parts = [_decisive(each, observed) for each in condition.conditions]
    verdict = _joined(condition, {each for each, _, _ in parts})
    shown = parts[0] if isinstance(condition, AllOf) else max(parts, key=_tells)
    return verdict, shown[1], shown[2]


def _tells(part: tuple[Verdict, int, bool]) -> tuple[bool, Verdict]:
    verdict, _, valued = part
    return valued, max(verdict, Verdict.FALSE)
