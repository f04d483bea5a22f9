"""Unit tests of rules, as files, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pilothouse_server.__main__ import main
from pilothouse_server.rulefiles.reports import lines
from pilothouse_server.rulefiles.rule_tests import run_file

RULES = """\
rules:
- id: imports
  name: Imports fail
  condition:
    all:
    - {metric: error_rate, window: 5m, dimension: workflow_type, matchers: ['workflow_type=~"im.*"'],
       comparison: ">", threshold: 0.05, recovery_threshold: 0.02, min_samples: 20}
    - {metric: queue_depth, comparison: ">", threshold: 10}
  for: 1m
  keep_firing_for: 1m
  labels: {team: "{{ $labels.workflow_type | toUpper }}"}
  annotations: {said: "{{ $value | humanizePercentage }} of {{ $labels.workflow_type }}"}
- id: silent
  name: Agent is silent
  condition: {metric: agent_silence, comparison: ">=", threshold: 120}
- id: blind
  name: Nothing is known
  no_data: alert
  condition: {metric: throughput, window: 1m, comparison: "<", threshold: 1}
"""

TESTS = """\
rules: [rules.yml]
tests:
- name: a bad import pages after a minute
  step: 30s
  series:
  - {metric: error_rate, window: 5m, workflow_type: import, values: 0.01x1 0.2x4 0.03x10 0.01x10, samples: 100}
  - {metric: error_rate, window: 5m, workflow_type: export, values: 0.2x40}
  - {metric: queue_depth, values: 20x40}
  expect:
  - {at: 30s, rule: imports, alerts: []}
  - at: 1m
    rule: Imports fail
    alerts: [{state: pending, labels: {workflow_type: import, team: IMPORT}}]
  - at: 2m
    rule: imports
    alerts: [{labels: {workflow_type: import, team: IMPORT}, annotations: {said: 20% of import}}]
  - {at: 8m30s, rule: imports, alerts: [{labels: {workflow_type: import, team: IMPORT}}]}
  - {at: 9m10s, rule: imports, alerts: [{state: recovering, labels: {workflow_type: import, team: IMPORT}}]}
  - {at: 10m, rule: imports}
- name: too few samples say nothing
  step: 1m
  series:
  - {metric: error_rate, window: 5m, workflow_type: import, values: 0.9x9, samples: 19}
  - {metric: queue_depth, values: 20x9}
  expect: [{at: 9m, rule: imports, alerts: []}]
- name: silence
  series: [{metric: agent_silence, agent_id: a-1, values: 0 119 120 _ 130}]
  expect:
  - {at: 5s, rule: silent}
  - {at: 10s, rule: silent, alerts: [{labels: {agent_id: a-1}}]}
  - {at: 15s, rule: silent}
  - {at: 20s, rule: silent, alerts: [{labels: {agent_id: a-1}}]}
- name: without a value there is an alert of its own
  series: [{metric: throughput, window: 1m, values: 5 _ 5}]
  expect:
  - {at: 0s, rule: blind}
  - {at: 5s, rule: blind, alerts: [{labels: {alert_kind: no_data}}]}
  - {at: 10s, rule: blind}
"""


def files(into: Path, tests: str, rules: str = RULES) -> Path:
    """A test file beside its rules."""
    (into / "rules.yml").write_text(rules, "utf-8")
    path = into / "tests.yml"
    path.write_text(tests, "utf-8")
    return path


def test_our_unit_tests_step_rules_as_a_server_does(tmp_path: Path) -> None:
    report = run_file(files(tmp_path, TESTS))
    assert list(lines(report)) == [f"{tmp_path}/tests.yml: ok, 14 expectations in 4 tests"]


def test_a_difference_says_which_test_which_time_and_what(tmp_path: Path) -> None:
    wrong = TESTS.replace("said: 20% of", "said: 30% of").replace(
        "state: recovering", "state: firing"
    )
    wrong = wrong.replace(
        "at: 10m, rule: imports", "at: 10m, rule: imports, alerts: [{labels: {a: b}}]"
    )
    wrong = wrong.replace(
        "{at: 30s, rule: imports, alerts: []}", "{at: 1m30s, rule: imports, alerts: []}"
    )
    path = files(tmp_path, wrong)
    assert list(lines(run_file(path))) == [
        f"{path}: FAILED, 4 of 14 expectations in 4 tests",
        "",
        f"  {path}:10: a bad import pages after a minute",
        "    imports at 1m30s, expected (-) and got (+):",
        '    + pending {team="IMPORT", workflow_type="import"} with {said="20% of import"}',
        "",
        f"  {path}:14: a bad import pages after a minute",
        "    imports at 2m, expected (-) and got (+):",
        '      {team="IMPORT", workflow_type="import"}',
        "      - said: 30% of import",
        "      + said: 20% of import",
        "",
        f"  {path}:18: a bad import pages after a minute",
        "    imports at 9m10s, expected (-) and got (+):",
        '      {team="IMPORT", workflow_type="import"}',
        "      - firing",
        "      + recovering",
        "",
        f"  {path}:19: a bad import pages after a minute",
        "    imports at 10m, expected (-) and got (+):",
        '    - firing {a="b"}',
    ]


HEAD = "rules: [rules.yml]\ntests:\n- "


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("rules: [none.yml]", "tests.yml:1: there is no rule file 'none.yml'"),
        ("rules: ['']", "tests.yml:1: there is no rule file ''"),
        ("tests: []\nsurprise: 1", "tests.yml:2: 'surprise' is not known here"),
        ("rules: []\ntests: {}", "tests.yml:2: tests is a list"),
        ("rules: []\ntests: [1]", "tests.yml:2: expected a test"),
        (HEAD + "expect: [{at: 0s, rule: nobody}]", "tests.yml:3: there is no rule 'nobody'"),
        (HEAD + "expect: [{rule: silent}]", "tests.yml:3: at is missing"),
        (HEAD + "expect: [{at: soon, rule: silent}]", "tests.yml:3: at: 'soon' is no duration"),
        (HEAD + "expect: [{at: 0s, rule: silent, alerts: [{state: odd}]}]", "tests.yml:3: state: 'odd' is none of"),
        (HEAD + "series: [{metric: cats, values: 1}]", "tests.yml:3: metric: 'cats' is none of"),
        (HEAD + "series: [{metric: error_rate, values: 1}]", "tests.yml:3: window is one of"),
        (HEAD + "series: [{metric: queue_depth, window: 5m, values: 1}]", "tests.yml:3: queue_depth has no window"),
        (HEAD + "series: [{metric: queue_depth, stage: a, agent_id: b, values: 1}]", "names several"),
        (HEAD + "series: [{metric: agent_silence, values: 1}]", "agent_id is missing"),
        (HEAD + "series: [{metric: queue_depth}]", "values is missing"),
        (HEAD + "series: [{metric: queue_depth, values: x}]", "values, character 1: 'x' is none of"),
        (HEAD + "series: [{metric: queue_depth, values: stale}]", "stale has no meaning"),
        (HEAD + "series: [{metric: queue_depth, values: Inf}]", "never NaN or infinite"),
        (HEAD + "series: [{metric: queue_depth, values: 1}, {metric: queue_depth, values: 2}]", "comes twice"),
        (HEAD + "step: 1ms\n  expect: [{at: 1h, rule: silent}]", "more than 1,000,000 evaluations"),
        (HEAD + "expect: [{at: 200y, rule: silent}]", "longer than 100 years"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_with_its_line(
    tmp_path: Path, tests: str, said: str
) -> None:
    report = run_file(files(tmp_path, tests))
    assert not report.passed
    assert said in report.refused


def test_a_rule_that_a_server_would_not_take_is_refused_in_its_own_file(tmp_path: Path) -> None:
    rules = RULES.replace("threshold: 120", "threshold: -1")
    report = run_file(files(tmp_path, TESTS, rules))
    assert report.refused.startswith(f"{tmp_path}/rules.yml:13: Agent is silent.condition")
    long = run_file(files(tmp_path, TESTS, RULES.replace("for: ", "for: 9d")))
    assert "for_duration: must be greater than or equal to 0s and less than" in long.refused


PROMTOOL_RULES = """\
groups:
- name: g
  rules:
  - alert: Slow
    expr: m{zone=~"eu.*"} > 1 and other >= 0
    for: 2m
    labels: {severity: warning}
    annotations: {summary: "{{ $labels.zone }} at {{ $value }}"}
"""
PROMTOOL_TESTS = """\
rule_files: ["*.yml.rules"]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series:
  - {series: 'm{zone="eu-1"}', values: 0+1x10}
  - {series: 'other{zone="eu-1"}', values: 1x10 stale}
  alert_rule_test:
  - eval_time: 4m30s
    alertname: Slow
    exp_alerts: [{exp_labels: {zone: eu-1, severity: warning}, exp_annotations: {summary: eu-1 at 4}}]
  - {eval_time: 3m, alertname: Slow}
  - {eval_time: 11m, alertname: Slow}
"""


def promtool_files(into: Path, tests: str, rules: str = PROMTOOL_RULES) -> Path:
    """A test file of promtool's beside its rules."""
    (into / "a.yml.rules").write_text(rules, "utf-8")
    path = into / "tests.yml"
    path.write_text(tests, "utf-8")
    return path


def test_the_unit_tests_of_promtool_are_run(tmp_path: Path) -> None:
    report = run_file(promtool_files(tmp_path, PROMTOOL_TESTS))
    assert list(lines(report)) == [f"{tmp_path}/tests.yml: ok, 3 expectations in 1 tests"]


def test_two_alerts_with_the_same_labels_end_a_test(tmp_path: Path) -> None:
    rules = PROMTOOL_RULES.replace("{severity: warning}", "{zone: ''}")
    more = PROMTOOL_TESTS.replace("x10}", "x10}\n  - {series: 'm{zone=\"eu-2\"}', values: 5}")
    more = more.replace("stale}", "stale}\n  - {series: 'other{zone=\"eu-2\"}', values: 5}")
    report = run_file(promtool_files(tmp_path, more, rules))
    assert [(each.alert, each.at_us) for each in report.failures] == [("Slow", 120_000_000)]
    assert report.failures[0].problem.endswith(
        'two alerts would have the labels {alertname="Slow"}'
    )


def test_two_rules_of_one_name_cannot_write_one_series_differently(tmp_path: Path) -> None:
    """promtool fails here too: both would write ALERTS_FOR_STATE, each since another time."""
    twice = """\
groups:
- {name: late, rules: [{alert: A, expr: m > 1, labels: {x: ""}}]}
- {name: early, rules: [{alert: A, expr: m > 0}]}
"""
    tests = """\
rule_files: ["*.yml.rules"]
group_eval_order: [early, late]
tests:
- {interval: 1m, input_series: [{series: m, values: 1 2}], alert_rule_test: [{eval_time: 9m, alertname: A}]}
"""
    report = run_file(promtool_files(tmp_path, tests, twice))
    assert [(each.alert, each.at_us) for each in report.failures] == [("A", 60_000_000)]
    assert "another rule of this name has an alert" in report.failures[0].problem


T = "rule_files: [a.yml.rules]\ntests:\n- "


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("rule_files: [none]", "there is no rule file 'none'"),
        ("group_eval_order: [a, b, a]", "the group 'a' comes twice"),
        (T + "promql_expr_test: [{expr: m}]", "tests.yml:3: promql_expr_test is not taken here"),
        (T + "input_series: [{series: m, values: 1}]", "tests.yml:3: interval"),
        (T + "interval: 1m\n  input_series: [{series: 'm{', values: 1}]", "tests.yml:4: series, character 3"),
        (T + "interval: 1m\n  input_series: [{series: m, values: '{{schema:1}}'}]", "histograms"),
        (T + "interval: 1m\n  input_series: [{series: m}, {series: 'm{}'}]", "comes twice"),
        (T + "alert_rule_test: [{eval_time: 1m}]", "alertname is missing"),
        (T + "alert_rule_test: [{eval_time: 1m, alertname: A, exp_alerts: [{labels: {}}]}]", "'labels' is not known"),
        (T + "surprise: 1", "'surprise' is not known"),
        (T + "start_timestamp: 1", "start_timestamp is not taken"),
        ("fuzzy_compare: true", "fuzzy_compare is not taken"),
        ("evaluation_interval: 1ms\n" + T + "alert_rule_test: [{eval_time: 1h, alertname: A}]", "evaluations"),
    ],
)  # fmt: skip
def test_what_promtool_has_beyond_the_subset_is_refused_with_its_line(
    tmp_path: Path, tests: str, said: str
) -> None:
    report = run_file(promtool_files(tmp_path, tests))
    assert not report.passed
    assert said in report.refused


def test_the_command_ends_as_promtool_does(tmp_path: Path) -> None:
    right = str(promtool_files(tmp_path, PROMTOOL_TESTS))
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(PROMTOOL_TESTS.replace("eu-1 at 4", "eu-1 at 5"), "utf-8")
    done = {
        arguments: CliRunner().invoke(main, ["rules", "test", *arguments])
        for arguments in [(right,), (str(wrong), right), (right, str(tmp_path / "none.yml")), ()]
    }
    assert [each.exit_code for each in done.values()] == [0, 1, 1, 2]
    assert f"{right}: ok" in done[str(wrong), right].output
    assert "none.yml: No such file or directory" in done[right, str(tmp_path / "none.yml")].output


def test_a_file_that_is_no_text_or_a_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.yml"
    path.write_bytes(b"rules: []\n\xff")
    assert run_file(path).refused == f"{path}:2: no UTF-8"
    assert run_file(tmp_path).refused == f"{tmp_path}: Is a directory"
