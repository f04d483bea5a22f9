"""Backtests ⇄ the contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pilothouse.v1 import rules_pb2 as pb
from pilothouse_server.domain.alerts.backtest import WouldBe
from pilothouse_server.domain.alerts.caveats import source_of
from pilothouse_server.domain.alerts.charting import Line
from pilothouse_server.domain.alerts.rules import LABEL_OF, Rule
from pilothouse_server.services.alerts.backtest import Progress, Source, Summary, Update
from pilothouse_server.wire.times import duration, optional_timestamp, timestamp

POINTS_AT_ONCE: Final = 500
"""Points of a line in one message."""


def update_to_proto(update: Update, rule: Rule) -> Iterator[pb.BacktestRuleResponse]:
    """The contract's messages of an update."""
    match update:
        case Progress(share, time_us):
            progress = pb.BacktestProgress(share=share, time=timestamp(time_us))
            yield pb.BacktestRuleResponse(progress=progress)
        case Source(start_us, end_us, step_us):
            source = pb.BacktestSource(
                start_time=timestamp(start_us),
                end_time=timestamp(end_us),
                step=duration(step_us),
                description=source_of(step_us),
            )
            yield pb.BacktestRuleResponse(source=source)
        case WouldBe():
            yield pb.BacktestRuleResponse(alert=_alert(update))
        case Line():
            for series in _series(update, rule):
                yield pb.BacktestRuleResponse(series=series)
        case Summary():
            summary = pb.BacktestSummary(
                fired=update.fired,
                instances=update.instances,
                firing_duration=duration(update.firing_us),
                evaluations=update.evaluations,
                caveats=update.caveats,
            )
            yield pb.BacktestRuleResponse(summary=summary)


def _alert(alert: WouldBe) -> pb.BacktestAlert:
    return pb.BacktestAlert(
        labels=alert.labels,
        active_time=timestamp(alert.active_us),
        fire_time=optional_timestamp(alert.fire_us),
        resolve_time=optional_timestamp(alert.resolve_us),
        worst_value=alert.worst,
        summary=alert.summary,
    )


def _series(line: Line, rule: Rule) -> Iterator[pb.BacktestSeries]:
    label = LABEL_OF.get(rule.dimension)
    for begin in range(0, len(line.times_us), POINTS_AT_ONCE):
        points = slice(begin, begin + POINTS_AT_ONCE)
        yield pb.BacktestSeries(
            labels={label: line.name} if label else {},
            threshold_index=line.threshold_index,
            times=map(timestamp, line.times_us[points]),
            values=line.values[points],
        )
