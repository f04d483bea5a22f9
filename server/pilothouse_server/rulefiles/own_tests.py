"""Unit tests of our rules: values of metrics in slots, and the alerts that there are at a time.

    rules: [rules.yml]
    tests:
    - name: an import that fails for a minute pages somebody
      step: 30s
      series:
      - {metric: error_rate, window: 5m, workflow_type: import, values: 0.01x2 0.2x4, samples: 100}
      expect:
      - at: 2m30s
        rule: error-rate
        alerts:
        - {state: firing, labels: {workflow_type: import}}

There is a value and an evaluation in every step; `_` is a slot without a value. Labels are looked at whole, annotations
where an expected alert has any. Alerts are begun and changed by the functions that do so in a running server.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pilothouse_server.domain.alerts import records, states
from pilothouse_server.domain.alerts.conditions import (
    NOTHING,
    AlertMetric,
    Observation,
    Threshold,
    Verdict,
    decisive,
)
from pilothouse_server.domain.alerts.matchers import all_match
from pilothouse_server.domain.alerts.observing import HEARD
from pilothouse_server.domain.alerts.records import Alert, Beginning
from pilothouse_server.domain.alerts.rules import LABEL_OF, Rule
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.alerts.validation import UNWINDOWED
from pilothouse_server.domain.alerts.words import AlertKind
from pilothouse_server.domain.metrics.snapshot import WINDOWS_US, Dimension
from pilothouse_server.rulefiles.fields import Fields, numbered, text_of
from pilothouse_server.rulefiles.promql import NotInSubset
from pilothouse_server.rulefiles.reports import Failure, Told, same
from pilothouse_server.rulefiles.series import MOST_SAMPLES, Gap, Sample, parse_values
from pilothouse_server.rulefiles.yaml_text import Node, Refused

STEP_US = 5_000_000
PLENTY = 1_000_000_000
"""Samples behind a value of which the test does not say how many there are: enough for every min_samples."""
MOST_EVALUATIONS = 1_000_000
STATES = ("pending", "firing", "recovering")


@dataclass(frozen=True, slots=True)
class Given:
    """The values of one series, one for each step."""

    metric: AlertMetric
    window_us: int
    dimension: Dimension
    name: str
    values: Sequence[Sample]
    samples: Sequence[Sample]

    def at(self, slot: int) -> Observation:
        """What is seen in a slot."""
        value = self.values[slot] if slot < len(self.values) else Gap.OMITTED
        if isinstance(value, Gap):
            return NOTHING
        samples = self.samples[slot] if slot < len(self.samples) else PLENTY
        return Observation(value, 0 if isinstance(samples, Gap) else int(samples))


@dataclass(frozen=True, slots=True)
class Expectation:
    """The alerts of one rule, by its id or name, that are not over at a time."""

    at_us: int
    rule: str
    alerts: tuple[Told, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Test:
    """Series, and what is expected over them."""

    name: str
    line: int
    step_us: int
    series: tuple[Given, ...]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class TestFile:
    """One file; rule files are patterns of paths with their lines."""

    rule_files: Sequence[tuple[str, int]]
    tests: Sequence[Test]


def read(node: Node) -> TestFile:
    """The tests in a file. Raises Refused."""
    file = Fields(node, "a mapping with rules and tests")
    paths = [(text_of(each, "rules"), each.line) for each in file.items("rules")]
    tests = [_test(each, n) for n, each in enumerate(numbered(file.items("tests"), "a test"), 1)]
    file.end()
    return TestFile(paths, tests)


def _test(fields: Fields, number: int) -> Test:
    name = fields.text("name", "") or f"test {number}"
    step_us = fields.duration("step") or STEP_US
    room = MOST_SAMPLES
    found: dict[tuple[AlertMetric, int, Dimension, str], Given] = {}
    for each in numbered(fields.items("series"), "a mapping with metric and values"):
        given = _given(each, room)
        room -= len(given.values)
        key = (given.metric, given.window_us, given.dimension, given.name)
        if key in found:
            raise Refused(each.line, "this series comes twice")
        found[key] = given
    expected = [
        _expectation(each)
        for each in numbered(fields.items("expect"), "a mapping with at and rule")
    ]
    fields.end()
    return Test(name, fields.line, step_us, tuple(found.values()), tuple(expected))


def _given(fields: Fields, room: int) -> Given:
    metrics = {each.name.lower(): each for each in AlertMetric}
    said = fields.text("metric")
    if said not in metrics:
        raise Refused(fields.line_of("metric"), f"metric: {said!r} is none of {', '.join(metrics)}")
    metric = metrics[said]
    window_us = fields.duration("window")
    if (window_us not in WINDOWS_US) != (metric in UNWINDOWED) or (
        metric in UNWINDOWED and window_us
    ):
        told = (
            f"{said} has no window" if metric in UNWINDOWED else "window is one of 1m, 5m, 15m, 1h"
        )
        raise Refused(fields.line_of("window"), told)
    names = {dimension: fields.text(label, "") for dimension, label in LABEL_OF.items()}
    named = [(dimension, name) for dimension, name in names.items() if name]
    if len(named) > 1:
        raise Refused(fields.line, "a series is about one thing; this one names several")
    if metric == AlertMetric.AGENT_SILENCE and not names[Dimension.AGENT]:
        raise Refused(fields.line, "agent_id is missing")
    dimension, name = named[0] if named else (Dimension.FLEET, "")
    values = _samples(fields, "values", room)
    samples = _samples(fields, "samples", room)
    if samples and len(samples) == 1:
        samples *= len(values)
    fields.end()
    return Given(metric, window_us, dimension, name, values, samples)


def _samples(fields: Fields, key: str, room: int) -> list[Sample]:
    try:
        found = parse_values(fields.text(key, "" if key == "samples" else None), room)
    except NotInSubset as error:
        raise Refused(fields.line_of(key), f"{key}, {error}") from error
    if Gap.STALE in found:
        raise Refused(
            fields.line_of(key), f"{key}: stale has no meaning here; _ is a slot without a value"
        )
    if not all(isinstance(each, Gap) or math.isfinite(each) for each in found):
        raise Refused(
            fields.line_of(key),
            f"{key}: a metric is never NaN or infinite; _ is a slot without a value",
        )
    return found


def _expectation(fields: Fields) -> Expectation:
    at_us, rule = fields.duration("at", None), fields.text("rule")
    alerts: list[Told] = []
    for each in numbered(fields.items("alerts"), "a mapping with labels"):
        state = each.text("state", "firing")
        if state not in STATES:
            raise Refused(each.line_of("state"), f"state: {state!r} is none of {', '.join(STATES)}")
        alerts.append(Told(each.texts("labels"), each.texts("annotations"), state))
        each.end()
    fields.end()
    return Expectation(at_us, rule, tuple(alerts), fields.line)


class RuleRun:
    """One rule in one test."""

    def __init__(self, rule: Rule, test: Test) -> None:
        self.rule = rule
        self._given = {
            (each.metric, each.window_us, each.dimension, each.name): each for each in test.series
        }
        self._names = [""] if rule.dimension == Dimension.FLEET else list(self._seen(test))
        self._alerts: dict[tuple[str, AlertKind], Alert] = {}

    def evaluate(self, slot: int, ts_us: int) -> None:
        """One slot."""
        for name in self._names:
            observed = [self._observation(each, name, slot) for each in self.rule.thresholds]
            verdict = states.verdict_of(self.rule, observed)
            self._step(name, AlertKind.CONDITION, verdict, observed, ts_us)
            verdict = states.absence_of(self.rule, observed)
            self._step(name, AlertKind.NO_DATA, verdict, observed, ts_us)

    def told(self) -> list[Told]:
        """The alerts that are not over."""
        return [
            Told(each.labels, each.annotations, each.instance.state.name.lower())
            for each in self._alerts.values()
            if each.instance.live
        ]

    def _step(
        self,
        name: str,
        kind: AlertKind,
        verdict: Verdict,
        observed: Sequence[Observation],
        ts_us: int,
    ) -> None:
        known = self._alerts.pop((name, kind), None)
        instance = known.instance if known and known.instance.live else None
        value = (
            decisive(self.rule.condition, observed).value if kind == AlertKind.CONDITION else None
        )
        after = states.after(instance, verdict, value, ts_us, self.rule)
        if after is None:
            return
        if known is None or instance is None:
            change = records.begin(Beginning("", self.rule, name, kind), after, observed)
        else:
            change = records.advance(known, self.rule, after, observed, ts_us)
        if after.state != AlertState.RESOLVED:
            self._alerts[name, kind] = change.alert

    def _observation(self, threshold: Threshold, name: str, slot: int) -> Observation:
        fleet = threshold.dimension == Dimension.FLEET
        labels = {} if fleet else {LABEL_OF[threshold.dimension]: name}
        if not all_match(threshold.matchers, labels):
            return NOTHING
        key = (threshold.metric, threshold.window_us, threshold.dimension, "" if fleet else name)
        seen = self._given[key].at(slot) if key in self._given else NOTHING
        if threshold.metric == AlertMetric.AGENT_SILENCE and seen.value is None:
            return HEARD
        return seen

    def _seen(self, test: Test) -> Iterator[str]:
        """The names that at least one of its comparisons looks at."""
        own = [each for each in self.rule.thresholds if each.dimension == self.rule.dimension]
        names = dict.fromkeys(e.name for e in test.series if e.dimension == self.rule.dimension)
        for name in names:
            labels = {LABEL_OF[self.rule.dimension]: name}
            if any(all_match(each.matchers, labels) for each in own):
                yield name


def run(test: Test, rules: Sequence[Rule]) -> list[Failure]:
    """Evaluates the rules at every step and compares. Raises Refused."""
    last_us = max((each.at_us for each in test.expectations), default=0)
    series = len(test.series) + 1
    if (last_us // test.step_us + 1) * (len(rules) + 1) * series > MOST_EVALUATIONS:
        raise Refused(test.line, f"more than {MOST_EVALUATIONS:,} evaluations of rules in one test")
    runs = _named(rules, test)
    for each in test.expectations:
        if each.rule not in runs:
            known = ", ".join(sorted({rule.name for rule in rules})) or "none"
            raise Refused(each.line, f"there is no rule {each.rule!r}; there are {known}")
    running = list({id(each): each for each in runs.values()}.values())
    waiting = sorted(test.expectations, key=lambda each: each.at_us, reverse=True)
    failures: list[Failure] = []
    for slot, ts_us in enumerate(range(0, last_us + 1, test.step_us)):
        for one in running:
            one.evaluate(slot, ts_us)
        while waiting and waiting[-1].at_us < ts_us + test.step_us:
            expectation = waiting.pop()
            got = _looked_at(expectation.alerts, runs[expectation.rule].told())
            if not same(expectation.alerts, got):
                failures.append(
                    Failure(
                        test.name,
                        expectation.line,
                        expectation.rule,
                        expectation.at_us,
                        expectation.alerts,
                        got,
                    )
                )
    return failures


def _named(rules: Sequence[Rule], test: Test) -> Mapping[str, RuleRun]:
    """Each rule that is evaluated, by its id and by its name."""
    runs = [RuleRun(rule, test) for rule in rules if rule.enabled]
    return {each.rule.name: each for each in runs} | {
        each.rule.id: each for each in runs if each.rule.id
    }


def _looked_at(expected: Sequence[Told], got: Sequence[Told]) -> list[Told]:
    """What there is, without annotations where the expected alert says nothing of them."""
    silent = [each.labels for each in expected if not each.annotations]
    return [each._replace(annotations={}) if each.labels in silent else each for each in got]
