"""Alerting rules of Prometheus over the series of a test, one evaluation after the other.

Where an alert stands is decided by the step that decides it in a running server; what differs is only where the verdict
comes from. An alert is known by its labels after the rule's were applied, as in Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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


class AlertSeries:
    """The series `ALERTS` and `ALERTS_FOR_STATE` that Prometheus writes of alerts. Two rules of one name may write the
    same series, and a different value in the same slot is an error of the one that writes later."""

    def __init__(self) -> None:
        self._before: dict[int, set[_Key]] = {}
        self._written: dict[_Key, int | None] = {}

    def begin_slot(self) -> None:
        """Nothing is written in the new slot yet."""
        self._written = {}

    def write(self, run: RuleRun) -> None:
        """What one rule writes, in the order of rules. Raises SameLabels."""
        values: dict[_Key, int | None] = {}
        for identity, state, active_us in run.active():
            labels = tuple(each for each in identity if each[0] != "alertstate")
            values[state, labels] = 1
            values["since", labels] = active_us // 1_000_000
        for key, value in values.items():
            if key in self._written and self._written[key] != value:
                said = shown(dict(key[1]))
                raise SameLabels(
                    f"another rule of its name has an alert {said} that began or ended at another time"
                )
        gone = self._before.get(id(run), set()) - values.keys()
        self._before[id(run)] = set(values)
        # That a series ended is written where nothing else is.
        self._written = dict.fromkeys(gone) | self._written | values


_Key = tuple[str, Identity]
