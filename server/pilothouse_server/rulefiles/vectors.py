"""A condition in PromQL, judged over the series of a test: which of them it leaves, each with its value."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse_server.domain.alerts.matchers import all_match
from pilothouse_server.rulefiles.promql import And, Compared, Expression, Or
from pilothouse_server.rulefiles.series import NAME, Series

Identity = tuple[tuple[str, str], ...]
Vector = dict[Identity, tuple[Series, float]]
"""By the labels without the metric's name. A selector has one metric, so no two of its series have the same; `and` and
`or` keep it so."""


class Selected:
    """The series that the comparisons of an expression look at, found once."""

    def __init__(self, expression: Expression, series: Sequence[Series]) -> None:
        self._expression = expression
        self._series = series
        self._of: dict[int, list[Series]] = {}

    def at(self, ts_us: int) -> Vector:
        """What the expression leaves at a moment."""
        return self._judged(self._expression, ts_us)

    def _judged(self, expression: Expression, ts_us: int) -> Vector:
        match expression:
            case And(operands):
                first, *others = (self._judged(each, ts_us) for each in operands)
                return {
                    identity: kept
                    for identity, kept in first.items()
                    if all(identity in other for other in others)
                }
            case Or(operands):
                joined: Vector = {}
                for each in operands:
                    joined = self._judged(each, ts_us) | joined
                return joined
            case Compared():
                return self._compared(expression, ts_us)

    def _compared(self, compared: Compared, ts_us: int) -> Vector:
        of = self._of.get(id(compared))
        if of is None:
            of = self._of[id(compared)] = [
                each
                for each in self._series
                if each.labels.get(NAME) == compared.metric
                and all_match(compared.matchers, each.labels)
            ]
        values = ((each, each.at(ts_us)) for each in of)
        return {
            each.identity: (each, value)
            for each, value in values
            if value is not None and compared.holds(value)
        }
