"""promtool's unit tests, run by our step: the same file, the same verdict.

What it has beyond our subset is refused with its line. Stricter than promtool on purpose: a rule file that is not
there, a test without an interval, and the same series twice are refused, where promtool goes on with something else
than what was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilothouse_server.rulefiles.alerting import Evaluation
from pilothouse_server.rulefiles.fields import Fields, numbered, text_of
from pilothouse_server.rulefiles.prometheus import AlertingRule
from pilothouse_server.rulefiles.promql import NotInSubset
from pilothouse_server.rulefiles.reports import Failure, Told, same
from pilothouse_server.rulefiles.series import MOST_SAMPLES, Series, parse_series, parse_values
from pilothouse_server.rulefiles.vectors import Identity
from pilothouse_server.rulefiles.yaml_text import Node, Refused

MINUTE_US = 60_000_000
MOST_EVALUATIONS = 1_000_000
"""Of one test, over all rules."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The alerts of one name that fire at a time."""

    at_us: int
    alert: str
    alerts: tuple[Told, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Test:
    """Series, and what is expected over them."""

    name: str
    line: int
    series: tuple[Series, ...]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class TestFile:
    """One file."""

    rule_files: Sequence[tuple[str, int]]
    """Patterns of paths, with their lines."""
    interval_us: int
    group_order: Sequence[str]
    tests: Sequence[Test]


def read(node: Node) -> TestFile:
    """The tests in a file. Raises Refused."""
    file = Fields(node, "a mapping with rule_files and tests")
    paths = [(_path(each), each.line) for each in file.items("rule_files")]
    interval_us = file.duration("evaluation_interval") or MINUTE_US
    order = [_path(each) for each in file.items("group_eval_order")]
    for name in order:
        if order.count(name) > 1:
            raise Refused(
                file.line_of("group_eval_order"), f"the group {name!r} comes twice in the order"
            )
    for key in ("fuzzy_compare", "start_timestamp"):
        file.refuse(key, "is not taken here")
    tests = [
        _test(each, number)
        for number, each in enumerate(numbered(file.items("tests"), "a test: a mapping"), 1)
    ]
    file.end()
    return TestFile(paths, interval_us, order, tests)


def _path(node: Node) -> str:
    return text_of(node, "a name")


def _test(fields: Fields, number: int) -> Test:
    if fields.items("promql_expr_test"):
        raise Refused(
            fields.line_of("promql_expr_test"),
            "promql_expr_test is not taken here, only alert_rule_test",
        )
    fields.refuse("start_timestamp", "is not taken here")
    name = fields.text("name", "") or f"test {number}"
    # They would be seen by $externalLabels only, which no template here may use.
    fields.texts("external_labels")
    interval_us = fields.duration("interval")
    series = _all_series(fields, interval_us)
    expectations = [
        _expectation(each)
        for each in numbered(
            fields.items("alert_rule_test"), "a mapping with eval_time and alertname"
        )
    ]
    fields.end()
    return Test(name, fields.line, series, tuple(expectations))


def _all_series(fields: Fields, interval_us: int) -> tuple[Series, ...]:
    nodes = fields.items("input_series")
    if nodes and not interval_us:
        raise Refused(fields.line, "interval, the time between two values, is missing")
    found: dict[Identity, Series] = {}
    room = MOST_SAMPLES
    for each in numbered(nodes, "a mapping with series and values"):
        series = _series(each, interval_us, room)
        room -= len(series)
        identity = tuple(sorted(series.labels.items()))
        if identity in found:
            raise Refused(
                each.line_of("series"), "this series comes twice; promtool would overlook the first"
            )
        found[identity] = series
    return tuple(found.values())


def _series(fields: Fields, interval_us: int, room: int) -> Series:
    text, values = fields.text("series"), fields.text("values", "")
    fields.end()
    key = "series"
    try:
        labels = parse_series(text)
        key = "values"
        return Series(labels, parse_values(values, room), interval_us)
    except NotInSubset as error:
        raise Refused(fields.line_of(key), f"{key}, {error}") from error


def _expectation(fields: Fields) -> Expectation:
    name = fields.text("alertname", "")
    if not name:
        raise Refused(fields.line, "alertname is missing")
    at_us = fields.duration("eval_time")
    alerts: list[Told] = []
    for each in numbered(
        fields.items("exp_alerts"), "a mapping with exp_labels and exp_annotations"
    ):
        labels = each.texts("exp_labels") | {"alertname": name}
        alerts.append(Told(labels, each.texts("exp_annotations")))
        each.end()
    fields.end()
    return Expectation(at_us, name, tuple(alerts), fields.line)


def in_order(rules: Sequence[AlertingRule], order: Sequence[str]) -> list[AlertingRule]:
    """The rules as they are evaluated: by the order of their groups; those that it does not name are first."""
    return sorted(rules, key=lambda each: order.index(each.group) if each.group in order else 0)


def run(test: Test, rules: Sequence[AlertingRule], interval_us: int) -> list[Failure]:
    """Evaluates the rules at every interval and compares. A rule that cannot be evaluated ends the test. Raises Refused
    where that would be too much."""
    last_us = max((each.at_us for each in test.expectations), default=0)
    if (last_us // interval_us + 1) * (len(rules) + 1) > MOST_EVALUATIONS:
        raise Refused(test.line, f"more than {MOST_EVALUATIONS:,} evaluations of rules in one test")
    evaluation = Evaluation(rules, test.series)
    waiting = sorted(test.expectations, key=lambda each: each.at_us, reverse=True)
    failures: list[Failure] = []
    for ts_us in range(0, last_us + 1, interval_us):
        if failed := evaluation.slot(ts_us):
            told = "cannot be evaluated: "
            return failures + [
                Failure(test.name, test.line, rule, ts_us, problem=told + why)
                for rule, why in failed
            ]
        while waiting and waiting[-1].at_us < ts_us + interval_us:
            each = waiting.pop()
            got = evaluation.firing(each.alert)
            if not same(each.alerts, got):
                failures.append(
                    Failure(test.name, each.line, each.alert, each.at_us, each.alerts, got)
                )
    return failures
