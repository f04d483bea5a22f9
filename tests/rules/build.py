"""Rules for tests, with everything that does not matter filled in."""

from __future__ import annotations

from typing import Any

from pilothouse_server.domain.alerts.conditions import (
    AlertMetric,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Threshold,
)
from pilothouse_server.domain.alerts.matchers import parse_matcher
from pilothouse_server.domain.alerts.rules import Inhibition, Rule
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension

SIGNS = {
    ">": Comparison.GREATER_THAN,
    ">=": Comparison.GREATER_OR_EQUAL,
    "<": Comparison.LESS_THAN,
    "<=": Comparison.LESS_OR_EQUAL,
}
UNWINDOWED = (AlertMetric.QUEUE_DEPTH, AlertMetric.AGENT_SILENCE)


def threshold(text: str, **fields: Any) -> Threshold:
    """`error_rate > 0.05`; over 5 minutes where a window has a meaning."""
    name, sign, limit = text.split()
    metric = AlertMetric[name.upper()]
    given: dict[str, Any] = {
        "metric": metric,
        "comparison": SIGNS[sign],
        "threshold": float(limit),
        "window_us": 0 if metric in UNWINDOWED else 5 * MINUTE_US,
        "dimension": Dimension.AGENT if metric == AlertMetric.AGENT_SILENCE else Dimension.FLEET,
    }
    return Threshold(**(given | fields))


def all_of(*texts: str | Condition) -> AllOf:
    return AllOf(tuple(threshold(each) if isinstance(each, str) else each for each in texts))


def any_of(*texts: str | Condition) -> AnyOf:
    return AnyOf(tuple(threshold(each) if isinstance(each, str) else each for each in texts))


def rule(condition: str | Condition = "queue_depth > 10", **fields: Any) -> Rule:
    given: dict[str, Any] = {"id": "r", "name": "Rule"}
    made = threshold(condition) if isinstance(condition, str) else condition
    return Rule(condition=made, **(given | fields))


def inhibited_by(*matchers: str, equal: tuple[str, ...] = ()) -> Inhibition:
    return Inhibition(tuple(parse_matcher(each, "matcher") for each in matchers), equal)
