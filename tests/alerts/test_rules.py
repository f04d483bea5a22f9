"""What rules see of a snapshot and how they say it; the five that ship."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.alerts.observing import (
    SHIPPED,
    Listening,
    clears_when,
    labels_of,
    observe,
    summary_of,
    unseen,
)
from pilothouse_server.domain.alerts.states import (
    AlertMetric,
    AlertState,
    Comparison,
    Instance,
    Observation,
    Rule,
    breached,
    step,
)
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension, MetricsSnapshot
from tests.alerts.build import SECOND, T0, agent, rule, series, snapshot, window

LISTENING = Listening(since_us=0, offline_after_us=30 * SECOND)
M = AlertMetric


def seen(
    tested: Rule, of: MetricsSnapshot, listening: Listening = LISTENING
) -> dict[str, Observation]:
    return {each.name: each.observation for each in observe(tested, of, T0, listening)}


def shipped(rule_id: str) -> Rule:
    return next(each for each in SHIPPED if each.id == rule_id)


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
    assert seen(tested, fleet) == {"": Observation(value, samples)}


@pytest.mark.parametrize("metric", [M.LATENCY_P95, M.ERROR_RATE, M.SUCCESS_RATE])
def test_no_data_is_no_value(metric: AlertMetric) -> None:
    tested = rule(metric=metric, window_us=5 * MINUTE_US)
    assert breached(seen(tested, snapshot())[""], tested) is None


def test_a_rule_about_a_dimension_has_an_instance_for_each_name() -> None:
    of = snapshot(
        series(Dimension.STAGE, "build", windows=(window(5, 1, 1),)),
        series(Dimension.STAGE, "test", windows=(window(5, 3, 1),)),
        series(Dimension.AGENT, "a1"),
    )
    tested = rule(metric=M.ERROR_RATE, dimension=Dimension.STAGE, window_us=5 * MINUTE_US)
    assert {name: each.value for name, each in seen(tested, of).items()} == {
        "build": 0.5,
        "test": 0.25,
    }
    assert labels_of(tested, "build") == {"stage": "build"}


def test_an_agent_is_silent_since_it_was_heard_last() -> None:
    agents = (agent("quiet", T0 - 130 * SECOND), agent("here", T0 - 29 * SECOND))
    values = {
        n: o.value for n, o in seen(shipped("agent-offline"), snapshot(agents=agents)).items()
    }
    assert values == {"quiet": 130.0, "here": 0.0}


def test_an_agent_that_said_goodbye_or_is_forgotten_is_not_silent() -> None:
    tested = shipped("agent-offline")
    gone = snapshot(agents=(agent("gone", T0 - 999 * SECOND, deregistered=True),))
    assert breached(seen(tested, gone)["gone"], tested) is False
    assert breached(unseen(tested), tested) is False
    assert breached(unseen(rule()), rule()) is None


def test_silence_while_the_server_itself_was_down_is_not_held_against_an_agent() -> None:
    tested = shipped("agent-offline")
    agents = (agent("a", T0 - 500 * SECOND),)
    up_for = Listening(T0 - 119 * SECOND, 30 * SECOND)
    assert breached(seen(tested, snapshot(agents=agents), up_for)["a"], tested) is None
    longer = Listening(T0 - 120 * SECOND, 30 * SECOND)
    assert breached(seen(tested, snapshot(agents=agents), longer)["a"], tested) is True


def test_the_five_rules_that_ship() -> None:
    assert [
        (each.id, each.metric, each.comparison, each.threshold, each.window_us // MINUTE_US)
        for each in SHIPPED
    ] == [
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
        for name, observation in seen(each, idle).items():
            assert step(None, observation, T0, each) is None, (each.id, name)


@pytest.mark.parametrize(
    ("rule_id", "name", "value", "summary", "clears"),
    [
        (
            "latency-p95",
            "",
            0.612,
            "Latency p95 612 ms over 5 min, fleet; limit 500 ms",
            "Latency p95 at or below 500 ms for 1 min",
        ),
        (
            "error-rate",
            "",
            0.0725,
            "Error rate 7.25 % over 5 min, fleet; limit 5 %",
            "Error rate at or below 5 % for 1 min",
        ),
        (
            "agent-offline",
            "a1",
            150.0,
            "Agent a1 silent for 2 min 30 s; limit 2 min",
            "The agent is heard again, or says goodbye",
        ),
        (
            "success-rate-sla",
            "",
            0.9901,
            "Success rate 99.01 % over 1 h, fleet; limit 99.5 %",
            "Success rate at or above 99.5 % for 5 min",
        ),
        (
            "queue-depth",
            "",
            2048.0,
            "Queue depth 2,048, fleet; limit 1,000",
            "Queue depth at or below 1,000 for 1 min",
        ),
    ],
)
def test_an_alert_says_in_plain_words_why_and_until_when(
    rule_id: str, name: str, value: float, summary: str, clears: str
) -> None:
    instance = Instance(AlertState.FIRING, T0, fire_us=T0, value=value)
    assert summary_of(shipped(rule_id), name, instance) == summary
    assert clears_when(shipped(rule_id)) == clears


def test_an_alert_about_one_stage_names_it() -> None:
    tested = rule(metric=M.LATENCY_P50, dimension=Dimension.STAGE, window_us=MINUTE_US, threshold=2)
    instance = Instance(AlertState.FIRING, T0, value=61.25)
    assert summary_of(tested, "build", instance) == (
        "Latency p50 61.2 s over 1 min, stage build; limit 2,000 ms"
    )
