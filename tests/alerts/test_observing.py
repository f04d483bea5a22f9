"""What rules see of a snapshot; the five that ship."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse_server.domain.alerts.conditions import (
    NOTHING,
    AlertMetric,
    AllOf,
    Comparison,
    Observation,
    Verdict,
)
from pilothouse_server.domain.alerts.matchers import parse_matcher
from pilothouse_server.domain.alerts.observing import (
    ALWAYS,
    Listening,
    Observer,
    Subject,
    View,
)
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.shipped import SHIPPED
from pilothouse_server.domain.alerts.states import step, verdict_of
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension, MetricsSnapshot
from tests.alerts.build import SECOND, T0, agent, over, rule, series, snapshot, window

LISTENING = Listening(since_us=0, offline_after_us=30 * SECOND)
M = AlertMetric
SILENT = rule(
    metric=M.AGENT_SILENCE,
    dimension=Dimension.AGENT,
    comparison=Comparison.GREATER_OR_EQUAL,
    threshold=120.0,
)


def seen(
    tested: Rule, of: MetricsSnapshot, listening: Listening = LISTENING
) -> dict[str, tuple[Observation, ...]]:
    observer, view = Observer(tested), View(of, T0, listening)
    every = {
        name: observer.observe(name, subject, view)
        for name, subject in view.subjects(observer.dimension).items()
    }
    return {name: observed for name, observed in every.items() if observed is not None}


def values(tested: Rule, of: MetricsSnapshot) -> dict[str, list[float | None]]:
    return {name: [each.value for each in observed] for name, observed in seen(tested, of).items()}


def shipped(rule_id: str) -> Rule:
    return next(each for each in SHIPPED if each.id == rule_id)


def matching(*written: str) -> dict[str, Any]:
    return {"matchers": tuple(parse_matcher(each, "m") for each in written)}


@pytest.mark.parametrize(
    ("metric", "value", "samples"),
    [
        (M.LATENCY_P95, 0.6, 40),
        (M.LATENCY_P50, 0.6, 40),
        (M.LATENCY_P99, 0.6, 40),
        (M.ERROR_RATE, 0.25, 40),
        (M.SUCCESS_RATE, 0.75, 40),
        (M.THROUGHPUT, None, 30),
        (M.QUEUE_DEPTH, 7.0, 7),
    ],
)
def test_each_metric_is_what_the_snapshot_shows(
    metric: AlertMetric, value: float | None, samples: int
) -> None:
    fleet = snapshot(series(depth=7, windows=(window(5, 30, 10, p95=0.6),)))
    tested = rule(metric=metric, window_us=5 * MINUTE_US)
    assert seen(tested, fleet) == {"": (Observation(value, samples),)}


def test_a_window_is_found_by_its_length_wherever_it_is() -> None:
    full = series(windows=(window(15, 1, 1),))
    tested = rule(metric=M.ERROR_RATE, window_us=15 * MINUTE_US)
    some = full._replace(windows=full.windows[2:])
    assert values(tested, snapshot(some)) == {"": [0.5]}
    none = full._replace(windows=full.windows[:2])
    assert values(tested, snapshot(none)) == {"": [None]}


@pytest.mark.parametrize("metric", [M.LATENCY_P95, M.ERROR_RATE, M.SUCCESS_RATE])
def test_no_data_is_no_value(metric: AlertMetric) -> None:
    tested = rule(metric=metric, window_us=5 * MINUTE_US)
    assert verdict_of(tested, seen(tested, snapshot())[""]) == Verdict.NO_DATA


def test_a_rule_about_a_dimension_has_an_instance_for_each_name() -> None:
    of = snapshot(
        series(Dimension.STAGE, "build", windows=(window(5, 1, 1),)),
        series(Dimension.STAGE, "test", windows=(window(5, 3, 1),)),
        series(Dimension.AGENT, "a1"),
    )
    tested = rule(metric=M.ERROR_RATE, dimension=Dimension.STAGE, window_us=5 * MINUTE_US)
    assert values(tested, of) == {"build": [0.5], "test": [0.25]}


def test_what_is_said_of_the_fleet_is_said_of_each_instance() -> None:
    of = snapshot(
        series(depth=7),
        series(Dimension.STAGE, "build", windows=(window(5, 1, 1),)),
        series(Dimension.STAGE, "test", windows=(window(5, 3, 1),)),
    )
    broken = over(0.1, metric=M.ERROR_RATE, dimension=Dimension.STAGE, window_us=5 * MINUTE_US)
    tested = rule(condition=AllOf((over(5.0), broken)))
    assert values(tested, of) == {"build": [7, 0.5], "test": [7, 0.25]}


def test_matchers_choose_among_the_series_and_an_instance_is_there_when_any_comparison_sees_it() -> (
    None
):
    stages = [series(Dimension.STAGE, name, depth=n) for n, name in enumerate(("a", "b", "c"), 1)]
    of = snapshot(*stages)
    some = over(0, dimension=Dimension.STAGE, **matching('stage=~"a|b"'))
    other = over(0, dimension=Dimension.STAGE, **matching('stage!="a"', 'stage!="c"'))
    assert values(rule(condition=some), of) == {"a": [1], "b": [2]}
    assert values(rule(condition=AllOf((some, other))), of) == {"a": [1, None], "b": [2, 2]}


def test_the_type_of_an_agent_is_a_label_of_it() -> None:
    coder, tester = agent("a1", T0 - 60 * SECOND), agent("a2", T0 - 60 * SECOND)
    of = snapshot(agents=(coder, tester._replace(agent_type="tester")))
    tested = rule(
        metric=M.AGENT_SILENCE,
        dimension=Dimension.AGENT,
        **matching('agent_type="tester"'),
    )
    assert values(tested, of) == {"a2": [60.0]}
    retyped = snapshot(agents=(coder._replace(agent_type="tester"),))
    assert values(tested, retyped) == {"a1": [60.0]}


def test_silence_and_series_of_an_agent_are_seen_together() -> None:
    busy = over(0.1, metric=M.ERROR_RATE, dimension=Dimension.AGENT, window_us=5 * MINUTE_US)
    tested = rule(condition=AllOf((SILENT.first, busy)))
    of = snapshot(
        series(Dimension.AGENT, "a1", windows=(window(5, 1, 1),)),
        agents=(agent("a1", T0 - 60 * SECOND), agent("a2", T0)),
    )
    assert values(tested, of) == {"a1": [60.0, 0.5], "a2": [0.0, None]}
    only_series = rule(condition=busy)
    assert values(only_series, of) == {"a1": [0.5]}, "an agent that did nothing has no series"


def test_an_agent_is_silent_since_it_was_heard_last() -> None:
    agents = (agent("quiet", T0 - 130 * SECOND), agent("here", T0 - 29 * SECOND))
    assert values(shipped("agent-offline"), snapshot(agents=agents)) == {
        "quiet": [130.0],
        "here": [0.0],
    }


def test_an_agent_that_said_goodbye_or_is_forgotten_is_not_silent() -> None:
    gone = snapshot(agents=(agent("gone", T0 - 999 * SECOND, deregistered=True),))
    assert verdict_of(SILENT, seen(SILENT, gone)["gone"]) == Verdict.FALSE
    assert verdict_of(SILENT, Observer(SILENT).unseen) == Verdict.FALSE
    assert Observer(rule()).unseen == (NOTHING,)


def test_silence_while_the_server_itself_was_down_is_not_held_against_an_agent() -> None:
    agents = (agent("a", T0 - 500 * SECOND),)
    up_for = Listening(T0 - 119 * SECOND, 30 * SECOND)
    assert seen(SILENT, snapshot(agents=agents), up_for)["a"] == (NOTHING,)
    longer = Listening(T0 - 120 * SECOND, 30 * SECOND)
    assert seen(SILENT, snapshot(agents=agents), longer)["a"] == (Observation(500.0, 1),)


def test_a_subject_is_the_same_while_nothing_that_the_rule_looks_at_changed() -> None:
    one, other = series(depth=1), series(depth=1)
    here, heard = agent("a", T0), agent("a", T0 + 1)
    of_series, of_agents = Observer(rule()), Observer(SILENT)
    assert of_series.same(Subject(one), Subject(one))
    assert not of_series.same(Subject(one), Subject(other)), "equal is not enough: too slow to tell"
    assert not of_series.same(None, Subject(one))
    assert of_agents.same(Subject(one, here), Subject(other, agent("a", T0)))
    assert not of_agents.same(Subject(one, here), Subject(one, heard))


@pytest.mark.parametrize(
    ("last_seen", "deregistered", "until"),
    [
        (T0 - 29 * SECOND, False, T0 + SECOND),
        (T0 - 31 * SECOND, False, T0),
        (T0 - 31 * SECOND, True, ALWAYS),
    ],
)
def test_an_agent_need_not_be_looked_at_before_it_can_be_offline(
    last_seen: int, deregistered: bool, until: int
) -> None:
    subject = Subject(None, agent("a", last_seen, deregistered=deregistered))
    view = View(snapshot(), T0, LISTENING)
    assert Observer(SILENT).until(subject, view) == until
    assert Observer(rule()).until(Subject(series()), view) == ALWAYS


def test_only_a_silence_that_is_too_long_goes_on_by_itself() -> None:
    assert Observer(SILENT).grows
    short = rule(metric=M.AGENT_SILENCE, dimension=Dimension.AGENT, comparison=Comparison.LESS_THAN)
    assert not Observer(short).grows


def test_the_five_rules_that_ship() -> None:
    of = [(each.id, each.first, each.first.window_us // MINUTE_US) for each in SHIPPED]
    assert [(id, one.metric, one.comparison, one.threshold, window) for id, one, window in of] == [
        ("latency-p95", M.LATENCY_P95, Comparison.GREATER_THAN, 0.5, 5),
        ("error-rate", M.ERROR_RATE, Comparison.GREATER_THAN, 0.05, 5),
        ("agent-offline", M.AGENT_SILENCE, Comparison.GREATER_OR_EQUAL, 120.0, 0),
        ("success-rate-sla", M.SUCCESS_RATE, Comparison.LESS_THAN, 0.995, 60),
        ("queue-depth", M.QUEUE_DEPTH, Comparison.GREATER_THAN, 1000.0, 0),
    ]
    assert shipped("latency-p95").for_us == 5 * MINUTE_US
    assert shipped("agent-offline").for_us == 0
    assert {each.severity for each in SHIPPED} == {Severity.WARNING, Severity.CRITICAL}
    assert all(each.description for each in SHIPPED)


def test_one_failure_in_an_idle_fleet_is_no_outage() -> None:
    idle = snapshot(series(windows=(window(5, 0, 1, p95=60), window(60, 10, 1, p95=60))))
    for each in SHIPPED:
        for name, observed in seen(each, idle).items():
            assert step(None, observed, T0, each) is None, (each.id, name)
