"""Alerting rules of Prometheus over the series of a test, one evaluation after the other.

Where an alert stands is decided by the step that decides it in a running server; what differs is only where the verdict
comes from. An alert is known by its labels after the rule's were applied, as in Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pilothouse_server.domain.alerts import templates
from pilothouse_server.domain.alerts.conditions import (
    AlertMetric,
    Comparison,
    Threshold,
    Verdict,
)
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.states import AlertState, Instance, after
from pilothouse_server.rulefiles.prometheus import AlertingRule
from pilothouse_server.rulefiles.reports import Told, shown
from pilothouse_server.rulefiles.series import NAME, Series
from pilothouse_server.rulefiles.vectors import Identity, Selected

FIRING = (AlertState.FIRING, AlertState.RECOVERING)
"""What Prometheus calls firing: while it keeps firing an alert fires."""
_JUDGED_ELSEWHERE = Threshold(AlertMetric.QUEUE_DEPTH, Comparison.GREATER_THAN, 0)


class SameLabels(Exception):
    """Two alerts of a rule would have the same labels."""


@dataclass(frozen=True, slots=True)
class _Alert:
    instance: Instance
    told: Told


class RuleRun:
    """One rule in one test."""

    def __init__(self, rule: AlertingRule, series: Sequence[Series]) -> None:
        self.rule = rule
        self._selected = Selected(rule.expression, series)
        self._step = Rule(
            id=rule.name,
            name=rule.name,
            condition=_JUDGED_ELSEWHERE,
            for_us=rule.for_us,
            keep_firing_us=rule.keep_firing_us,
        )
        self._alerts: dict[Identity, _Alert] = {}
        self._labels: dict[Identity, tuple[Identity, Mapping[str, str]]] = {}

    def evaluate(self, ts_us: int) -> None:
        """One slot. Raises SameLabels."""
        found: dict[Identity, Told] = {}
        for series, value in self._selected.at(ts_us).values():
            identity, labels = self._labelled(series)
            if identity in found:
                raise SameLabels(f"two alerts would have the labels {shown(labels)}")
            annotations = {
                name: templates.expand(text, series.labels, value)
                for name, text in self.rule.annotations.items()
            }
            found[identity] = Told(labels, annotations)
        for identity, told in found.items():
            known = self._alerts.get(identity)
            instance = after(
                known.instance if known else None, Verdict.TRUE, None, ts_us, self._step
            )
            if instance is not None:
                self._alerts[identity] = _Alert(instance, told)
        for identity in [each for each in self._alerts if each not in found]:
            known = self._alerts[identity]
            instance = after(known.instance, Verdict.FALSE, None, ts_us, self._step)
            if instance is None or not instance.live:
                del self._alerts[identity]
            else:
                self._alerts[identity] = replace(known, instance=instance)

    def firing(self) -> list[Told]:
        """The alerts that fire."""
        return [each.told for each in self._alerts.values() if each.instance.state in FIRING]

    def active(self) -> Iterator[tuple[Identity, str, int]]:
        """Labels, state and beginning of each alert that is pending or fires, in Prometheus' words."""
        for identity, each in self._alerts.items():
            state = "firing" if each.instance.state in FIRING else "pending"
            yield identity, state, each.instance.active_us

    def _labelled(self, series: Series) -> tuple[Identity, Mapping[str, str]]:
        """The alert's labels, which are made of the series' alone. By the name too: `or` may leave another metric with
        the same labels, and a template may look at it."""
        key = (*series.identity, (NAME, series.labels[NAME]))
        known = self._labels.get(key)
        if known is None:
            labels = dict(series.labels)
            for name, text in self.rule.labels.items():
                labels[name] = templates.expand(text, series.labels, None)
            labels |= {"alertname": self.rule.name, NAME: ""}
            kept = {name: value for name, value in labels.items() if value}
            known = self._labels[key] = (tuple(sorted(kept.items())), kept)
        return known


class NotEvaluated(NamedTuple):
    """A rule that failed in a slot, and why."""

    rule: str
    why: str


class Evaluation:
    """All rules over the series of one test, in the order of the rules.

    Prometheus writes the series `ALERTS` and `ALERTS_FOR_STATE` of each rule. Two rules of one name may come to write
    the same one, and another value in the same slot is an error of the rule that writes later.
    """

    def __init__(self, rules: Sequence[AlertingRule], series: Sequence[Series]) -> None:
        self._runs = [RuleRun(rule, series) for rule in rules]
        self._before: list[set[_Key]] = [set() for _ in rules]

    def slot(self, ts_us: int) -> list[NotEvaluated]:
        """One slot, and which rules failed in it."""
        written: dict[_Key, int | None] = {}
        failed: list[NotEvaluated] = []
        for place, run in enumerate(self._runs):
            try:
                run.evaluate(ts_us)
            except SameLabels as error:
                failed.append(NotEvaluated(run.rule.name, str(error)))
                continue
            values = dict(_series_of(run))
            clash = next((k for k, value in values.items() if written.get(k, value) != value), None)
            if clash is not None:
                told = f"another rule of this name has an alert {shown(dict(clash[1]))}"
                why = f"{told} that began or ended at another time"
                failed.append(NotEvaluated(run.rule.name, why))
            gone = self._before[place] - values.keys()
            self._before[place] = set(values)
            # That a series ended is written where nothing else is; the rest stays as it was written first.
            written = dict.fromkeys(gone) | values | written
        return failed

    def firing(self, alert: str) -> list[Told]:
        """The alerts of that name that fire."""
        return [told for run in self._runs if run.rule.name == alert for told in run.firing()]


def _series_of(run: RuleRun) -> Iterator[tuple[_Key, int]]:
    for identity, state, active_us in run.active():
        # A label whose template gave nothing is none of the alert's, and stands in the series as it was written.
        all_labels = {**run.rule.labels, **dict(identity), "alertstate": ""}
        labels = tuple(sorted((name, value) for name, value in all_labels.items() if value))
        yield (state, labels), 1
        yield ("since", labels), active_us // 1_000_000


_Key = tuple[str, Identity]
