"""What alerts say: labels, annotations, evidence, and why they fire and until when."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.alerts.conditions import (
    NOTHING,
    AlertMetric,
    AllOf,
    AnyOf,
    Observation,
)
from pilothouse_server.domain.alerts.rules import NoDataPolicy, Rule
from pilothouse_server.domain.alerts.shipped import HEARTBEAT_MISSED, OVER_LIMIT, SHIPPED
from pilothouse_server.domain.alerts.words import (
    AlertKind,
    Evidence,
    annotations_of,
    clears_when,
    evidence_of,
    labels_of,
    summary_of,
)
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension
from tests.alerts.build import SECOND, over, rule

M = AlertMetric
FAILS = over(
    0.05, metric=M.ERROR_RATE, dimension=Dimension.STAGE, window_us=5 * MINUTE_US, min_samples=20
)
SLOW = over(2, metric=M.LATENCY_P95, dimension=Dimension.STAGE, window_us=MINUTE_US)
WAITS = over(1000, recovery_threshold=800.0)


def shipped(rule_id: str) -> Rule:
    return next(each for each in SHIPPED if each.id == rule_id)


@pytest.mark.parametrize(
    ("rule_id", "name", "value", "summary", "clears"),
    [
        (
            "latency-p95",
            "",
            0.612,
            "Latency p95 612 ms over 5 min, fleet; limit 500 ms",
            "Latency p95 at or below 500 ms (of at least 20 that ended) for 1 min",
        ),
        (
            "error-rate",
            "",
            0.0725,
            "Error rate 7.25 % over 5 min, fleet; limit 5 %",
            "Error rate at or below 5 % (of at least 20 that ended) for 1 min",
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
            "Success rate at or above 99.5 % (of at least 200 that ended) for 5 min",
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
    assert summary_of(shipped(rule_id), name, [Observation(value, 300)]) == summary
    assert clears_when(shipped(rule_id)) == clears


def test_an_alert_about_one_stage_names_it() -> None:
    tested = rule(metric=M.LATENCY_P50, dimension=Dimension.STAGE, window_us=MINUTE_US, threshold=2)
    assert summary_of(tested, "build", [Observation(61.25)]) == (
        "Latency p50 61.2 s over 1 min, stage build; limit 2,000 ms"
    )


def test_several_comparisons_are_said_in_the_order_of_the_tree() -> None:
    tested = rule(condition=AllOf((FAILS, AnyOf((SLOW, WAITS)))), keep_firing_us=30 * SECOND)
    observed = [Observation(0.07, 40), NOTHING, Observation(1200.0, 1200)]
    assert summary_of(tested, "build", observed) == (
        "All of: Error rate 7 % over 5 min, stage build; limit 5 %; "
        "any of (Latency p95 no value over 1 min, stage build; limit 2,000 ms; Queue depth 1,200, fleet; limit 1,000)"
    )
    assert clears_when(tested) == (
        "Any of: Error rate at or below 5 % (of at least 20 that ended); "
        "all of (Latency p95 at or below 2,000 ms; Queue depth at or below 800) for 30 s"
    )


def test_where_no_value_resolves_that_is_said() -> None:
    tested = rule(no_data_policy=NoDataPolicy.RESOLVE)
    assert clears_when(tested) == "Queue depth at or below 10, or there is no value"


def test_that_there_is_no_value_has_its_own_words() -> None:
    tested = rule(condition=AnyOf((FAILS, WAITS)), no_data_policy=NoDataPolicy.ALERT)
    assert summary_of(tested, "build", [NOTHING, NOTHING], AlertKind.NO_DATA) == (
        "No value to judge by: "
        "any of (Error rate over 5 min, stage build, fewer than 20 that ended; Queue depth, fleet)"
    )
    assert clears_when(tested, AlertKind.NO_DATA) == "There is a value again"
    assert labels_of(tested, "build", AlertKind.NO_DATA) == {
        "stage": "build",
        "alert_kind": "no_data",
    }


def test_evidence_is_in_numbers_and_in_words() -> None:
    tested = rule(condition=AllOf((FAILS, WAITS)))
    assert evidence_of(tested, "build", [Observation(0.07, 40), NOTHING]) == (
        Evidence("Error rate over 5 min, stage build", 0.07, "7 %", "> 5 %", 0.05, 40, 0),
        Evidence("Queue depth, fleet", None, "no value", "> 1,000", 1000, 0, 1),
    )


def test_labels_and_annotations_are_filled_in() -> None:
    tested = rule(
        metric=M.AGENT_SILENCE,
        dimension=Dimension.AGENT,
        labels={"who": "{{ $labels.agent_id }}/{{ $labels.agent_type }}", "team": "core"},
        annotations={"said": "{{ $labels.who }} is at {{ $value }}"},
    )
    labels = labels_of(tested, "a1", agent_type="coder")
    assert labels == {"agent_id": "a1", "agent_type": "coder", "who": "a1/coder", "team": "core"}
    assert annotations_of(tested, labels, 12.5) == {"said": "a1/coder is at 12.5"}


def test_what_tells_instances_apart_is_never_overwritten_by_a_label_of_the_rule() -> None:
    tested = rule(dimension=Dimension.STAGE, labels={"stage": "all"})
    assert labels_of(tested, "build") == {"stage": "build"}
    assert labels_of(rule(labels={"a": "b"}), "") == {"a": "b"}


def test_the_rules_that_are_built_in_speak_for_themselves() -> None:
    assert summary_of(OVER_LIMIT, "r", [Observation(2.0)]) == (
        "Rule r: 2 instances over the limit were refused"
    )
    assert labels_of(OVER_LIMIT, "r") == {"rule": "r"}
    assert clears_when(OVER_LIMIT) == "The rule has no more instances than are kept"
    late = rule(id=HEARTBEAT_MISSED.id, metric=M.AGENT_SILENCE, threshold=60.0)
    assert summary_of(late, "backup", [Observation(75.0)]) == (
        "Heartbeat backup not heard for 1 min 15 s; limit 1 min"
    )
    assert labels_of(late, "backup") == {"heartbeat": "backup"}
    assert clears_when(late) == "The heartbeat is heard again"
    assert evidence_of(late, "backup", [Observation(75.0)]) == ()
