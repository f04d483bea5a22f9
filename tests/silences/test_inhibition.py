"""Which alerts keep which others quiet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.alerts.inhibition import Firing, Inhibitions
from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.rules import Inhibition

Rules = Mapping[str, Sequence[Inhibition]]


def by(rule_id: str, *equal: str) -> Inhibition:
    """While an alert of this rule fires."""
    return Inhibition((Matcher("rule_id", MatchType.EQUAL, rule_id),), equal)


def firing(alert_id: str, rule_id: str, **labels: str) -> Firing:
    return Firing(alert_id, rule_id, {**labels, "rule_id": rule_id})


def judged(rules: Rules, *alerts: Firing) -> dict[str, tuple[str, ...]]:
    return Inhibitions().judge(alerts, rules)


def test_an_alert_is_inhibited_while_another_one_fires() -> None:
    rules = {"low": [by("high")]}
    assert judged(rules, firing("1", "low"), firing("2", "high")) == {"1": ("2",)}
    assert judged(rules, firing("1", "low")) == {}
    assert judged(rules, firing("2", "high")) == {}


def test_the_labels_that_count_have_to_be_equal_and_a_missing_one_is_empty() -> None:
    rules = {"low": [by("high", "agent", "zone")]}
    sources = (firing("h7", "high", agent="7"), firing("h8", "high", agent="8", zone=""))
    found = judged(
        rules,
        *sources,
        firing("l7", "low", agent="7"),
        firing("l8", "low", agent="8"),
        firing("l9", "low", agent="9"),
        firing("lz", "low", agent="7", zone="eu"),
    )
    assert found == {"l7": ("h7",), "l8": ("h8",)}


def test_an_alert_never_inhibits_itself() -> None:
    assert judged({"a": [by("a")]}, firing("1", "a")) == {}


@pytest.mark.parametrize("length", [2, 3, 7])
def test_a_circle_keeps_none_of_its_members_quiet(length: int) -> None:
    rules = {f"r{at}": [by(f"r{(at + 1) % length}")] for at in range(length)}
    rules |= {"outside": [by("r0")]}
    alerts = [firing(str(at), f"r{at}") for at in range(length)]
    assert judged(rules, *alerts, firing("o", "outside")) == {"o": ("0",)}
    rules["r1"] = [*rules["r1"], by("outer")]
    found = judged(rules, *alerts, firing("x", "outer"))
    assert found == {"1": ("x",)}, "who is not in the circle counts"


def test_alerts_of_one_rule_that_inhibit_each_other_are_all_told_of() -> None:
    rules = {"a": [by("a")]}
    assert judged(rules, *(firing(str(at), "a") for at in range(50))) == {}


def test_a_chain_inhibits_step_by_step() -> None:
    rules = {"c": [by("b")], "b": [by("a")]}
    found = judged(rules, firing("1", "a"), firing("2", "b"), firing("3", "c"))
    assert found == {"2": ("1",), "3": ("2",)}, "who is inhibited inhibits all the same"


def test_at_most_ten_are_named() -> None:
    rules = {"low": [by("high")]}
    alerts = [firing(f"h{at:02}", "high") for at in range(50)]
    assert judged(rules, firing("l", "low"), *alerts) == {
        "l": tuple(f"h{at:02}" for at in range(10))
    }


def naive(rules: Rules, alerts: Sequence[Firing]) -> dict[str, set[str]]:
    """As it is said, without any thought of time."""
    edges = {
        (source.id, target.id)
        for target in alerts
        for inhibition in rules.get(target.rule_id, ())
        for source in alerts
        if source.id != target.id
        and all(each.matches(source.labels) for each in inhibition.source_matchers)
        and all(source.labels.get(e, "") == target.labels.get(e, "") for e in inhibition.equal)
    }
    reach = set(edges)
    for _ in alerts:
        reach |= {(a, d) for a, b in reach for c, d in edges if b == c}
    found: dict[str, set[str]] = {}
    for source, target in edges:
        if (target, source) not in reach:
            found.setdefault(target, set()).add(source)
    return found


def by_labels(rule_id: str, equal: set[str]) -> Inhibition:
    return by(rule_id, *sorted(equal))


RULE_IDS = st.sampled_from("abcd")
LABELS = st.dictionaries(st.sampled_from("xy"), st.sampled_from("12"))


@given(
    st.dictionaries(
        RULE_IDS,
        st.lists(st.builds(by_labels, RULE_IDS, st.sets(st.sampled_from("xy"))), max_size=3),
    ),
    st.lists(st.tuples(RULE_IDS, LABELS), max_size=8),
)  # fmt: skip
def test_it_is_what_the_words_say(rules: Rules, some: list[tuple[str, dict[str, str]]]) -> None:
    alerts = [firing(str(at), rule_id, **labels) for at, (rule_id, labels) in enumerate(some)]
    found = {each: set(sources) for each, sources in judged(rules, *alerts).items()}
    assert found == naive(rules, alerts)


def test_what_is_remembered_of_an_alert_changes_nothing() -> None:
    rules = {"low": [by("high", "agent")]}
    inhibitions = Inhibitions()
    alerts: list[Firing] = []
    for turn in range(300):
        alerts = [firing(f"l{turn}", "low", agent="7"), firing(f"h{turn}", "high", agent="7")]
        assert inhibitions.judge(alerts, rules) == {f"l{turn}": (f"h{turn}",)}
    assert inhibitions.judge(alerts, {"low": [by("high", "zone")]}) == {"l299": ("h299",)}


def test_ten_thousand_alerts_that_all_inhibit_each_other_take_no_time() -> None:
    rules = {"a": [by("b"), by("a", "agent")], "b": [by("a"), by("c")]}
    alerts = [firing(f"{at}", "abc"[at % 3], agent=str(at % 100)) for at in range(10_000)]
    inhibitions = Inhibitions()
    inhibitions.judge(alerts, rules)
    begin = time.thread_time()
    found = inhibitions.judge(alerts, rules)
    assert time.thread_time() - begin < 1
    assert set(found) == {alert.id for alert in alerts if alert.rule_id == "b"}
