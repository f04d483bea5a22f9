"""What a rule may say: each line of the table is refused where it says, with what is allowed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from pilothouse_server.domain.alerts.conditions import (
    AllOf,
    AnyOf,
    Condition,
    Observation,
    Verdict,
    judge,
    thresholds,
)
from pilothouse_server.domain.alerts.matchers import parse_matcher
from pilothouse_server.domain.alerts.rules import NoDataPolicy, Rule
from pilothouse_server.domain.alerts.shipped import SHIPPED
from pilothouse_server.domain.alerts.validation import MOST_BYTES, MOST_RULES, check, check_alone
from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension
from tests.rules.build import all_of, any_of, inhibited_by, rule, threshold


def refused(tested: Rule, *others: Rule) -> tuple[str, str]:
    with pytest.raises(InvalidArgument) as refusal:
        check(tested, others, ["ops", "web"], ["on-call"])
    return refusal.value.field, refusal.value.description


def matching(*texts: str) -> dict[str, Any]:
    return {"matchers": tuple(parse_matcher(each, "m") for each in texts)}


STAGE, AGENT = {"dimension": Dimension.STAGE}, {"dimension": Dimension.AGENT}


def nested(depth: int) -> Condition:
    inner: Condition = threshold("queue_depth > 10")
    for level in range(depth):
        inner = AllOf((inner,)) if level % 2 else AnyOf((inner,))
    return inner


@pytest.mark.parametrize("each", SHIPPED, ids=lambda each: each.id)
def test_the_shipped_rules_may_be_as_they_are(each: Rule) -> None:
    check(each, SHIPPED, [], [])


@pytest.mark.parametrize(
    "condition",
    [
        threshold("error_rate >= 1"),
        threshold("success_rate < 1"),
        threshold("queue_depth < 1"),
        threshold("latency_p95 > 0", min_samples=1),
        threshold("latency_p99 > 2", recovery_threshold=1.5),
        threshold("success_rate < 0.9", recovery_threshold=0.95),
        threshold("throughput <= 0", **STAGE),
        threshold("error_rate > 0.1", **STAGE, **matching('stage=~"build|test"')),
        threshold("error_rate > 0.1", **AGENT, **matching('agent_id!="a1"')),
        threshold("queue_depth > 1", dimension=Dimension.WORKFLOW_TYPE),
        all_of("queue_depth > 5", "queue_depth < 8"),
        all_of("error_rate > 0.5", threshold("error_rate < 0.1", window_us=MINUTE_US)),
        any_of("queue_depth > 5", "queue_depth < 3"),
        all_of("queue_depth > 100", threshold("error_rate > 0.1", **STAGE)),
        nested(5),
    ],
    ids=str,
)
def test_what_can_hold_and_be_over_may_be(condition: Condition) -> None:
    check(rule(condition), (), [], [])


T, C = "rule.condition.threshold", "rule.condition"


@pytest.mark.parametrize(
    ("condition", "field", "said"),
    [
        (threshold("queue_depth > 1", **STAGE), f"{T}.dimension", "known of fleet or workflow_type only"),
        (threshold("agent_silence > 1", **STAGE), f"{T}.dimension", "known of agent only"),
        (threshold("error_rate > 0.1", window_us=0), f"{T}.window", "one of 1 min, 5 min, 15 min, 60 min"),
        (threshold("error_rate > 0.1", window_us=7), f"{T}.window", "one of 1 min"),
        (threshold("queue_depth > 1", window_us=MINUTE_US), f"{T}.window", "no meaning for queue_depth"),
        (threshold("agent_silence > 60", window_us=MINUTE_US), f"{T}.window", "no meaning"),
        (threshold("queue_depth > 1", min_samples=2), f"{T}.min_samples", "only for rates and latencies"),
        (threshold("throughput < 1", min_samples=2), f"{T}.min_samples", "no meaning for throughput"),
        (threshold("error_rate > 0.1", min_samples=-1), f"{T}.min_samples", "from 0"),
        (threshold("error_rate > 0.1", **matching("stage=x")), f"{T}.matchers[0].name", "fleet has no labels"),
        (threshold("error_rate > 0.1", **STAGE, **matching("agent_id=x")), f"{T}.matchers[0].name", "only stage"),
        (threshold("error_rate > 1"), f"{T}.threshold", "can never hold: error_rate is from 0 to 1"),
        (threshold("success_rate < 0"), f"{T}.threshold", "can never hold"),
        (threshold("latency_p95 < 0"), f"{T}.threshold", "latency_p95 is 0 or more"),
        (threshold("queue_depth >= 0"), f"{T}.threshold", "always holds: queue_depth is 0 or more"),
        (threshold("error_rate <= 1"), f"{T}.threshold", "always holds"),
        (threshold("agent_silence > -5"), f"{T}.threshold", "always holds"),
        (threshold("queue_depth > inf"), f"{T}.threshold", "finite"),
        (threshold("queue_depth > nan"), f"{T}.threshold", "finite"),
        (threshold("queue_depth > 9", recovery_threshold=10.0), f"{T}.recovery_threshold", "10 is above"),
        (threshold("success_rate < 0.9", recovery_threshold=0.8), f"{T}.recovery_threshold", "is below"),
        (threshold("queue_depth > 9", recovery_threshold=-1.0), f"{T}.recovery_threshold", "never be over"),
        (threshold("queue_depth > 9", recovery_threshold=float("nan")), f"{T}.recovery_threshold", "finite"),
        (all_of("queue_depth > 5", "queue_depth < 3"), f"{C}.all", "cannot be all of that at once"),
        (all_of("queue_depth > 5", "queue_depth < 6"), f"{C}.all", "cannot be all of that at once"),
        (all_of("error_rate > 0.5", any_of("error_rate < 0.5", "error_rate <= 0.2")), f"{C}.all", "can never hold"),
        (any_of("queue_depth > 5", "queue_depth <= 5"), f"{C}.any", "always holds, whatever queue_depth is"),
        (
            any_of("queue_depth > 1", all_of("throughput > 5", "throughput < 1")),
            f"{C}.any.conditions[1].all",
            "cannot be all of that",
        ),
        (
            all_of(threshold("error_rate > 0.1", **STAGE), threshold("error_rate > 0.1", **AGENT)),
            f"{C}.all.conditions[1].threshold.dimension",
            "is agent, and another threshold has stage",
        ),
        (
            all_of("queue_depth > 1", threshold("error_rate > 0.1", window_us=1)),
            f"{C}.all.conditions[1].threshold.window",
            "is one of",
        ),
        (AllOf(()), f"{C}.all.conditions", "one condition or more"),
        (any_of(*["queue_depth > 1"] * 21), C, "has 21 thresholds; 20 are allowed"),
        (nested(6), f"{C}.all.conditions[0].any.conditions[0]", "5 deep at most"),
    ],
    ids=str,
)  # fmt: skip
def test_a_condition_that_makes_no_sense_is_refused(
    condition: Condition, field: str, said: str
) -> None:
    found, description = refused(rule(condition))
    assert found.startswith(field)
    assert said in description


R = "rule"


@pytest.mark.parametrize(
    ("tested", "field", "said"),
    [
        (rule(severity=Severity.ERROR), f"{R}.severity", "is warning or critical, not error"),
        (rule(severity=Severity.INFO), f"{R}.severity", "is warning or critical"),
        (rule(labels={"severity": "x"}), f'{R}.labels["severity"]', "alerts have 'severity'"),
        (rule(labels={"alertname": "x"}), f'{R}.labels["alertname"]', "from the server"),
        (rule(labels={"__x": "x"}), f'{R}.labels["__x"]', "from the server"),
        (rule("agent_silence > 9", labels={"agent_id": "x"}), f'{R}.labels["agent_id"]', "server"),
        (
            rule("agent_silence > 9", labels={"agent_type": "x"}),
            f'{R}.labels["agent_type"]',
            "server",
        ),
        (
            rule(labels={"alert_kind": "x"}, no_data_policy=NoDataPolicy.ALERT),
            f'{R}.labels["alert_kind"]',
            "server",
        ),
        (rule(name="a\nb"), f"{R}.name", "control characters"),
        (rule(name="a\x1b[31m"), f"{R}.name", "control characters"),
        (rule(name="right\u202eleft"), f"{R}.name", "control characters"),
        (rule(name=" A"), f"{R}.name", "white space"),
        (rule(name="A\u00a0"), f"{R}.name", "white space"),
        (rule(labels={"v": "{{ $value }}"}), f'{R}.labels["v"]', "$value"),
        (rule(annotations={"s": "{{ range }}"}), f'{R}.annotations["s"]', "range"),
        (rule(channels=("ops", "x")), f"{R}.channels[1]", "no channel 'x'; there are ops, web"),
        (rule(channels=("ops", "ops")), f"{R}.channels[1]", "twice"),
        (rule(escalation="x"), f"{R}.escalation", "no escalation 'x'; there are on-call"),
        (rule(inhibited_by=(inhibited_by(),)), f"{R}.inhibited_by[0].source_matchers", "one"),
        (
            rule(inhibited_by=(inhibited_by("rule_id=x", equal=("a", "a")),)),
            f"{R}.inhibited_by[0].equal[1]",
            "twice",
        ),
        (
            rule(inhibited_by=(inhibited_by("alertname=Rule"),)),
            f"{R}.inhibited_by[0]",
            "only alerts of this rule itself",
        ),
    ],
    ids=str,
)
def test_a_rule_that_names_what_is_not_or_may_not_be_is_refused(
    tested: Rule, field: str, said: str
) -> None:
    found, description = refused(tested)
    assert found == field
    assert said in description


def test_a_label_of_another_dimension_may_be_given() -> None:
    check(rule(labels={"agent_id": "x", "v": "{{ $labels.stage }}"}), (), [], [])


def test_what_is_not_known_offline_is_not_held_against_a_rule() -> None:
    check(rule(channels=("x",), escalation="y"), (), None, None)


def test_rules_that_could_keep_each_other_quiet_are_refused_by_name() -> None:
    a = rule(id="a", name="A", inhibited_by=(inhibited_by("alertname=B"),))
    b = rule(id="b", name="B", inhibited_by=(inhibited_by("rule_id=c"),))
    c = rule(id="c", name="C", labels={"team": "web"})
    check(c, [a, b], [], [])
    closing = replace(c, inhibited_by=(inhibited_by('team!="web"', "alertname=~A|C"),))
    field, description = refused(closing, a, b)
    assert field == "rule.inhibited_by"
    assert "'c' by 'a', 'a' by 'b', 'b' by 'c'" in description


@pytest.mark.parametrize(
    ("back", "circle"),
    [
        (inhibited_by("alertname=A", "team=web"), True),
        (inhibited_by("alertname=A", "team=ops"), False),
        (inhibited_by("alertname=A", 'owner=""'), True),
        (inhibited_by("alertname=A", 'owner!=""'), False),
        (inhibited_by("alertname=A", "stage=build"), True),
        (inhibited_by("alertname=A", "who=anybody"), True),
        (inhibited_by("severity=~w.*|c.*", equal=("team",)), False),
        (inhibited_by("severity=~w.*|c.*", equal=("stage",)), True),
        (inhibited_by("severity=~w.*|c.*", equal=("who",)), True),
        (inhibited_by("severity=critical"), False),
    ],
    ids=str,
)
def test_what_is_the_same_for_all_alerts_of_a_rule_decides(back: Any, circle: bool) -> None:
    a = rule(
        threshold("error_rate > 0.1", **STAGE),
        id="a",
        name="A",
        labels={"team": "web", "who": "{{ $labels.stage }}"},
        inhibited_by=(inhibited_by("alertname=B"),),
    )
    b = rule(id="b", name="B", labels={"team": "ops"}, inhibited_by=(back,))
    c = rule(id="c", name="C", labels={"team": "ops"}, severity=Severity.CRITICAL)
    if circle:
        assert "'b' by 'a', 'a' by 'b'" in refused(b, a, c)[1]
    else:
        check(b, [a, c], [], [])


def test_inhibition_is_judged_in_bounded_time() -> None:
    """1,000 rules that all look at all others, by as many regular expressions as there may be."""
    each = inhibited_by(*(f'alertname=~"N.*[^{n}]?"' for n in range(20)))
    rules = [
        rule(id=f"r{n}", name=f"N{n}", labels={"n": str(n)}, inhibited_by=(each,))
        for n in range(MOST_RULES - 1)
    ]
    began = time.thread_time()
    assert "quiet" in refused(rule(name="N", inhibited_by=(each,)), *rules)[1]
    assert time.thread_time() - began < 5


def test_more_comparisons_than_are_allowed_are_refused() -> None:
    rules = [
        rule(
            id=f"r{n}",
            name=f"N{n}",
            labels={"n": str(n)},
            inhibited_by=(inhibited_by(*(f'n=~"x{n}-{m}"' for m in range(20))),),
        )
        for n in range(MOST_RULES - 1)
    ]
    chain = rule(inhibited_by=(inhibited_by('rule_id!="r"'),))
    with pytest.raises(LimitExceeded, match="comparisons of inhibitions"):
        check(chain, rules, [], [])


def test_a_rule_and_their_number_are_bounded() -> None:
    with pytest.raises(LimitExceeded, match="bytes of rule as JSON"):
        check_alone(rule(annotations={"a": "x" * MOST_BYTES}), [], [])
    others = [rule(id=f"r{n}", name=str(n)) for n in range(MOST_RULES)]
    check(replace(others[0], description="x"), others, [], [])
    with pytest.raises(LimitExceeded, match="rules: at most 1,000"):
        check(rule(), others, [], [])
    large = [replace(each, description="x" * 3200) for each in others]
    with pytest.raises(LimitExceeded, match="bytes of all rules"):
        check(large[0], large, [], [])


def test_a_condition_that_is_refused_as_impossible_holds_for_no_value() -> None:
    """And one that always holds, for all."""
    tested = all_of("queue_depth > 5", any_of("queue_depth < 3", "queue_depth <= 5"))
    count = len(list(thresholds(tested)))
    for value in range(12):
        assert judge(tested, [Observation(float(value), 1)] * count) == Verdict.FALSE
