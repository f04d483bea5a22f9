"""A draft that looks at many instances: in steps that are short, and with the right ones on the chart."""

from __future__ import annotations

import math

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.backtest_store import SqlBacktestStore
from pilothouse_server.domain.alerts.backtest import STEP, Backtest
from pilothouse_server.domain.alerts.charting import MOST_POINTS, MOST_VALUES, Chart
from pilothouse_server.domain.alerts.conditions import AlertMetric, AnyOf, Observation
from pilothouse_server.domain.errors import LimitExceeded
from pilothouse_server.domain.metrics.limits import BUCKET_US
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension, MetricsSnapshot
from pilothouse_server.services.alerts.backtest import BacktestLimits, Backtests
from tests.alerts.build import SECOND, T0, over, rule, series, snapshot, window
from tests.backtest import history
from tests.backtest.conftest import Lives

MANY = 1_000
DEEP = over(10.0, dimension=Dimension.WORKFLOW_TYPE)


def types(depth_of_last: int) -> MetricsSnapshot:
    """Many types of workflows, in the last of which so much waits."""
    named = (series(Dimension.WORKFLOW_TYPE, f"t{number:04}") for number in range(MANY - 1))
    last = series(Dimension.WORKFLOW_TYPE, "the last", depth=depth_of_last)
    return snapshot(*named, last)


def test_many_instances_are_judged_a_few_at_a_time() -> None:
    test = Backtest(rule(condition=DEEP), offline_after_us=0, slots=2, names=MANY)
    assert len(list(test.slot(types(20), T0, SECOND))) == MANY // STEP
    assert len(list(test.slot(types(0), T0 + SECOND, SECOND))) == MANY // STEP
    assert test.tally.evaluations == 2 * MANY
    everywhere = Backtest(
        rule(condition=over(-1.0, dimension=Dimension.WORKFLOW_TYPE)),
        offline_after_us=0,
        slots=1,
        names=MANY,
    )
    list(everywhere.slot(types(0), T0, SECOND))
    assert len(list(everywhere.close(T0))) == MANY // STEP
    assert len(everywhere.ended) == MANY


def test_the_one_that_fires_is_on_the_chart_however_many_do_not() -> None:
    test = Backtest(rule(condition=DEEP), offline_after_us=0, slots=3, names=MANY)
    for place, depth in enumerate((3, 20, 4)):
        list(test.slot(types(depth), T0 + place * SECOND, SECOND))
    lines = list(test.lines())
    assert len(lines) == 20
    assert (lines[0].name, list(lines[0].values)) == ("the last", [3.0, 20.0, 4.0])
    assert list(lines[1].values) == [0.0, 0.0, 0.0]


def test_the_worst_value_is_of_one_comparison() -> None:
    errors = over(0.1, metric=AlertMetric.ERROR_RATE, window_us=5 * MINUTE_US)
    either = rule(condition=AnyOf((errors, over(1000.0))))
    test = Backtest(either, offline_after_us=0, slots=2, names=1)
    failing = snapshot(series(windows=(window(5, completed=4, failed=1),)))
    for place, shown in enumerate((failing, snapshot(series(depth=2000)))):
        list(test.slot(shown, T0 + place * SECOND, SECOND))
    list(test.close(T0 + SECOND))
    assert [each.worst for each in test.ended] == [0.2]


def test_a_chart_keeps_the_values_furthest_beyond_and_no_more_than_it_may() -> None:
    two = (over(10.0), over(5.0))
    chart = Chart(two, slots=2 * MOST_POINTS, names=1)
    for slot in range(2 * MOST_POINTS):
        chart.begin_slot(slot)
        if slot not in {2, 3}:
            chart.note("a", [Observation(float(slot)), Observation(None)])
    one, other = chart.lines(["a"])
    assert len(one.times_us) == MOST_POINTS
    assert list(one.values)[:1] + list(one.values)[2:4] == [1.0, 5.0, 7.0]
    assert math.isnan(one.values[1])
    assert all(map(math.isnan, other.values))
    wide = rule(condition=AnyOf(two * 10)).thresholds
    crowded = Chart(wide, slots=MOST_POINTS, names=2_000)
    for slot in range(MOST_POINTS):
        crowded.begin_slot(slot)
    crowded.note("b", [Observation(1.0)] * 20)
    (points,) = {len(line.times_us) for line in crowded.lines([])}
    assert points * 2_000 * 20 <= MOST_VALUES
    assert points >= 90


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_agents_are_counted_as_they_are_heard(lives: Lives) -> None:
    life = lives(())
    await life.begin()
    begin_us, end = life.bucket * BUCKET_US, life.bucket + 60
    await life.live(history.fleet(3, 5), end + 1, project=True)
    silent = rule(
        condition=over(120.0, metric=AlertMetric.AGENT_SILENCE, dimension=Dimension.AGENT)
    )
    for limits, named in (
        (BacktestLimits(names=3), "instances of one backtest: at most 3"),
        (BacktestLimits(evaluations=100), "evaluations of one backtest: at most 100"),
    ):
        store = SqlBacktestStore(life.tower.database)
        backtests = Backtests(store, SystemClock(), limits=limits)
        with pytest.raises(LimitExceeded, match=named):
            async for _ in backtests.run(silent, begin_us, end * BUCKET_US):
                pass
