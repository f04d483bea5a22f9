"""Rules read from files and written to files."""

from __future__ import annotations

import dataclasses
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse_server.domain.alerts.conditions import (
    AlertMetric,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Threshold,
)
from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.rules import LABEL_OF, Inhibition, NoDataPolicy, Rule
from pilothouse_server.domain.alerts.shipped import SHIPPED
from pilothouse_server.domain.alerts.validation import UNWINDOWED
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import WINDOWS_US, Dimension
from pilothouse_server.rulefiles.formats import RuleFormat, read, write

# What YAML readers take for something else is among them, and what has to be escaped.
texts = st.one_of(
    st.sampled_from(["yes", "null", "~", "1e3", "0x10", "1:30", "2026-01-01", ".inf", "", " a ", "#", "- a", "&a"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], include_characters="\n\t"), max_size=30),
)  # fmt: skip
names = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
matchers = st.builds(Matcher, names, st.sampled_from([MatchType.EQUAL, MatchType.NOT_EQUAL]), texts)
numbers = st.floats(allow_nan=False, allow_infinity=False)
durations = st.integers(0, 10**13)
thresholds: st.SearchStrategy[Condition] = st.builds(
    Threshold,
    metric=st.sampled_from([each for each in AlertMetric if each != AlertMetric.AGENT_SILENCE]),
    comparison=st.sampled_from(Comparison),
    threshold=numbers,
    dimension=st.sampled_from(Dimension),
    matchers=st.lists(matchers, max_size=2).map(tuple),
    window_us=durations,
    recovery_threshold=st.none() | numbers,
    min_samples=st.integers(0, 10**9),
)
conditions = st.recursive(
    thresholds,
    lambda inner: (
        st.builds(AllOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=4,
)
rules = st.builds(
    Rule,
    id=names,
    name=texts.filter(bool),
    condition=conditions,
    description=texts,
    enabled=st.booleans(),
    for_us=durations,
    keep_firing_us=durations,
    no_data_policy=st.sampled_from(NoDataPolicy),
    severity=st.sampled_from(Severity),
    labels=st.dictionaries(names, texts, max_size=3),
    annotations=st.dictionaries(names, texts, max_size=3),
    channels=st.lists(names, max_size=2).map(tuple),
    escalation=texts,
    inhibited_by=st.lists(
        st.builds(Inhibition, st.lists(matchers, max_size=2).map(tuple), st.lists(names, max_size=2).map(tuple)),
        max_size=2,
    ).map(tuple),
    instance_limit=st.integers(1, 10**5),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(rules, max_size=3, unique_by=(lambda each: each.id, lambda each: each.name)))
def test_what_is_written_is_read_again(written: list[Rule]) -> None:
    document, left_out = write(written)
    assert (read(document), left_out) == (written, [])
    assert read(document, RuleFormat.PILOTHOUSE) == written


def test_the_shipped_rules_are_a_document_that_is_read_again() -> None:
    assert read(write(SHIPPED)[0]) == list(SHIPPED)


@st.composite
def sayable(draw: st.DrawFn) -> Rule:
    """A rule that Prometheus has words for."""
    dimension = draw(st.sampled_from(Dimension))

    def threshold() -> st.SearchStrategy[Condition]:
        named = st.builds(
            Matcher, st.just(LABEL_OF.get(dimension, "")), st.sampled_from([MatchType.EQUAL, MatchType.NOT_EQUAL]),
            texts.filter(bool),
        )  # fmt: skip
        of = st.sampled_from([each for each in AlertMetric if each != AlertMetric.AGENT_SILENCE])
        return of.flatmap(
            lambda metric: st.builds(
                Threshold,
                metric=st.just(metric),
                comparison=st.sampled_from(Comparison),
                threshold=numbers,
                dimension=st.just(dimension),
                matchers=st.just(())
                if dimension == Dimension.FLEET
                else st.lists(named, max_size=2).map(tuple),
                window_us=st.just(0) if metric in UNWINDOWED else st.sampled_from(WINDOWS_US),
            )
        )

    groups = st.recursive(
        threshold(),
        lambda inner: (
            st.builds(AllOf, st.lists(inner, min_size=2, max_size=3).map(tuple))
            | st.builds(AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple))
        ),
        max_leaves=4,
    )
    plain = texts.filter(lambda text: "{{" not in text)
    return Rule(
        id="",
        name=draw(texts.filter(bool)),
        condition=draw(groups),
        for_us=draw(durations) // 1000 * 1000,
        keep_firing_us=draw(durations) // 1000 * 1000,
        no_data_policy=NoDataPolicy.RESOLVE,
        severity=draw(st.sampled_from([Severity.WARNING, Severity.CRITICAL])),
        labels=draw(st.dictionaries(names, plain, max_size=2)),
        annotations=draw(st.dictionaries(names, plain, max_size=2)),
    )


@settings(max_examples=40)
@given(sayable())
def test_what_prometheus_can_say_is_the_same_rule_when_it_comes_back(rule: Rule) -> None:
    document, left_out = write([rule], RuleFormat.PROMETHEUS)
    assert left_out == []
    assert read(document) == [rule]


SILENCE = dataclasses.replace(SHIPPED[2], no_data_policy=NoDataPolicy.RESOLVE)


def test_a_rule_is_written_as_somebody_would_write_it_for_prometheus() -> None:
    builds = Rule(
        id="builds",
        name="Builds fail",
        description="Somebody should look.",
        condition=AllOf(
            (
                Threshold(
                    AlertMetric.ERROR_RATE, Comparison.GREATER_THAN, 0.05, Dimension.STAGE,
                    (Matcher("stage", MatchType.NOT_REGEX, "x.*"),), WINDOWS_US[1],
                ),
                Threshold(
                    AlertMetric.LATENCY_P50, Comparison.GREATER_OR_EQUAL, 1e6, Dimension.STAGE, (), WINDOWS_US[0]
                ),
            )
        ),
        for_us=90_000_000,
        no_data_policy=NoDataPolicy.RESOLVE,
    )  # fmt: skip
    document, left_out = write([SILENCE, builds], RuleFormat.PROMETHEUS)
    assert left_out == []
    assert (
        document
        == """\
groups:
- name: pilothouse
  rules:
  - alert: Agent offline
    expr: pilothouse:agent_silence_seconds >= 120
    labels:
      severity: warning
    annotations:
      description: Nothing was heard of an agent for 2 minutes, and it did not say goodbye. One alert
        for each agent.
  - alert: Builds fail
    expr: pilothouse:error_ratio:5m{stage!~"x.*",stage!=""} > 0.05 and pilothouse:latency_p50_seconds:1m{stage!=""}
      >= 1e+06
    for: 1m30s
    labels:
      severity: warning
    annotations:
      description: Somebody should look.
"""
    )


CONDITION = Threshold(AlertMetric.QUEUE_DEPTH, Comparison.GREATER_THAN, 1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"no_data_policy": NoDataPolicy.KEEP}, "no_data keep"),
        ({"no_data_policy": NoDataPolicy.ALERT}, "no_data alert"),
        ({"enabled": False}, "disabled"),
        ({"for_us": 1}, "microseconds"),
        ({"channels": ("pager",)}, "channels"),
        ({"escalation": "night"}, "escalation"),
        ({"instance_limit": 5}, "instance_limit"),
        ({"description": "{{ x"}, "{{ in a description"),
        ({"description": "x", "annotations": {"description": "y"}}, "annotation of that name"),
        ({"condition": dataclasses.replace(CONDITION, recovery_threshold=0.5)}, "recovery_threshold"),
        ({"condition": dataclasses.replace(CONDITION, min_samples=5)}, "min_samples"),
        (
            {"condition": AllOf((CONDITION, dataclasses.replace(CONDITION, dimension=Dimension.WORKFLOW_TYPE)))},
            "about the fleet",
        ),
    ],
)  # fmt: skip
def test_what_prometheus_has_no_word_for_is_left_out_with_the_reason(
    changes: dict[str, object], named: str
) -> None:
    plain = Rule(id="q", name="Queue", condition=CONDITION, no_data_policy=NoDataPolicy.RESOLVE)
    rule = dataclasses.replace(plain, **changes)  # type: ignore[arg-type]
    document, left_out = write([rule], RuleFormat.PROMETHEUS)
    assert read(document) == []
    assert len(left_out) == 1
    assert left_out[0].startswith("q: Prometheus cannot say")
    assert named in left_out[0]


ODD = """\
rules:
- name: x
  condition: {{metric: queue_depth, comparison: ">", threshold: 1}}
  {}
"""
DEEP = """\
rules:
- name: x
  condition:
    all:
    - metric: queue_depth
      comparison: ">"
      threshold: many
"""


@pytest.mark.parametrize(
    ("document", "line", "named"),
    [
        ("", 1, "empty"),
        ("# nothing", 1, "empty"),
        ("[]", 1, "expected rules:"),
        ("text", 1, "expected rules:"),
        ("other: []", 1, "expected rules:"),
        ("rules: []\nrules: []", 2, "'rules' comes twice"),
        ("rules:\n- &a {name: x}\n- *a", 2, "anchor &a"),
        ("rules:\n- *a", 2, "alias *a"),
        ("rules: !!set {a}", 1, "tag"),
        ("rules: []\n---\nrules: []", 2, "second document"),
        ("rules:\n  - [a]: b", 2, "a key is a text"),
        ("rules:\n- name: 'x\n", 3, "no YAML"),
        ("rules: " + "[" * 40, 1, "in one another"),
        ("rules: \x00", 1, "printed"),
        ("rules: []\n# " + "x" * 2**20, 1, "1,048,576"),
        ("rules:\n- name: x\n  surprise: 1\n  condition: {metric: queue_depth, comparison: '>', threshold: 1}",
         3, "surprise: is not known"),
        ("rules:\n- name: x\n", 2, "condition: is missing"),
        ("rules:\n- name: 5\n", 2, "5 is not a text"),
        (DEEP, 7, "'many' is not a number"),
        ("rules:\n- name: x\n  condition: {metric: cats, comparison: '>', threshold: 1}", 3, "'cats' is none of"),
        ("rules:\n" + "- name: x\n  condition: {metric: queue_depth, comparison: '>', threshold: 1}\n" * 2, 4,
         "that of the rule in line 2"),
        (ODD.format("for: " + "9" * 5000 + "s"), 4, "is no duration"),
        (ODD.format("for: 99999999999999999999s"), 4, "longer than 100 years"),
        (ODD.format("for: ٣s"), 4, "is no duration"),
        (ODD.format("instance_limit: -5"), 4, "instance_limit: -5 is not from 0 to 4,294,967,295"),
        (ODD.format("instance_limit: 999999999999"), 4, "is not from 0"),
        (ODD.format("instance_limit: 1e9"), 4, "is not a whole number"),
        (ODD.format("").replace("1}", "1, min_samples: -1}"), 3, "min_samples: -1 is not from 0"),
        ("rules:\n" + "- {}\n" * 10_001, 1, "10,000 at most"),
        ("extra: 1\nrules: []", 1, "'extra' is not known"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_document_is_said_with_its_line(
    document: str, line: int, named: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(document)
    assert refused.value.field == "document"
    assert refused.value.description.startswith(f"line {line}: ")
    assert named in refused.value.description


def test_a_limit_of_nothing_is_the_usual_one() -> None:
    assert read(ODD.format("instance_limit: 0")) == read(ODD.format(""))


HEAD = "groups:\n- name: g\n  rules:\n  - alert: A\n"


@pytest.mark.parametrize(
    ("document", "line", "named"),
    [
        ("groups:\n- rules: []", 2, "name is missing"),
        ("groups:\n- name: g\n- name: g", 3, "two groups"),
        ("groups:\n- name: g\n  interval: 30s", 3, "judged all the time"),
        ("groups:\n- name: g\n  limit: 5", 3, "limit"),
        ("groups:\n- name: g\n  query_offset: 5m", 3, "query_offset"),
        ("groups:\n- name: g\n  rules:\n  - record: x\n    expr: y", 4, "recording rules"),
        (HEAD, 4, "expr is missing"),
        (HEAD + "    expr: [1]", 5, "expr is a text"),
        (HEAD + "    expr: sum(a) > 1", 5, "character 1: the aggregation sum"),
        (HEAD + "    expr: |\n      a > 1\n        and rate(b) > 1", 7, "character 7: the function rate"),
        (HEAD + "    expr: cats > 1", 5, "there is no metric cats"),
        (HEAD + "    expr: pilothouse:queue_depth == 1", 5, "== is not taken"),
        (HEAD + "    expr: pilothouse:queue_depth{zone='x'} > 1", 5, "no label zone"),
        (HEAD + "    expr: pilothouse:queue_depth{stage='x',agent_id='y'} > 1", 5, "both stage and agent_id"),
        (HEAD + "    expr: pilothouse:agent_silence_seconds{stage='x'} > 1", 5, "has the label agent_id only"),
        (HEAD + "    expr: pilothouse:queue_depth{workflow_type!='x'} > 1", 5, 'add workflow_type!=""'),
        (HEAD + "    expr: pilothouse:queue_depth > 1 and pilothouse:agent_silence_seconds > 1", 5, "never meet"),
        (HEAD + "    expr: pilothouse:queue_depth > 1\n    for: soon", 6, "no duration"),
        (HEAD + "    expr: pilothouse:queue_depth > 1\n    for: ''", 6, "no duration"),
        (HEAD + "    expr: pilothouse:queue_depth > 1\n    labels: {severity: page}", 6, "'page'"),
        (HEAD + "    expr: pilothouse:queue_depth > 1\n    labels: {a-b: x}", 6, "'a-b'"),
        (HEAD + "    expr: pilothouse:queue_depth > 1\n    labels: {x: '{{ $value }}'}", 6, "alert of its own"),
        (HEAD + "    expr: pilothouse:queue_depth > 1\n    annotations: {x: '{{ query `up` }}'}", 6, "query"),
        (HEAD + "    expr: pilothouse:queue_depth > 1\n    surprise: 1", 6, "'surprise'"),
        (HEAD + "    expr: pilothouse:queue_depth > 1\n  - alert: A\n    expr: pilothouse:queue_depth > 2", 6,
         "in line 4 already"),
    ],
)  # fmt: skip
def test_what_is_no_rule_here_is_refused_with_its_line(
    document: str, line: int, named: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(document, RuleFormat.PROMETHEUS)
    assert refused.value.description.startswith(f"line {line}: ")
    assert named in refused.value.description


def test_an_alerting_rule_of_prometheus_becomes_a_rule_with_the_same_meaning() -> None:
    (rule,) = read(
        HEAD
        + """\
    expr: pilothouse:latency_p95_seconds:5m{workflow_type=~"im.*"} > 0.5 or
      (pilothouse:error_ratio:1h{workflow_type!=""} >= 1e-2)
    for: 1m
    keep_firing_for: 5m
    labels: {severity: critical, team: "{{ $labels.workflow_type }}"}
    annotations: {summary: "{{ $value | humanize }}"}
"""
    )
    matcher = Matcher("workflow_type", MatchType.REGEX, "im.*")
    of = Dimension.WORKFLOW_TYPE
    assert rule == Rule(
        id="",
        name="A",
        condition=AnyOf(
            (
                Threshold(AlertMetric.LATENCY_P95, Comparison.GREATER_THAN, 0.5, of, (matcher,), WINDOWS_US[1]),
                Threshold(AlertMetric.ERROR_RATE, Comparison.GREATER_OR_EQUAL, 0.01, of, (), WINDOWS_US[3]),
            )
        ),
        for_us=60_000_000,
        keep_firing_us=300_000_000,
        no_data_policy=NoDataPolicy.RESOLVE,
        severity=Severity.CRITICAL,
        labels={"team": "{{ $labels.workflow_type }}"},
        annotations={"summary": "{{ $value | humanize }}"},
    )  # fmt: skip
