"""What rules see of a snapshot.

A rule never sees a number that the snapshot does not show: what is not known there is no value here. A rule about one
dimension has an instance for each name of it that at least one of its comparisons looks at; comparisons with the fleet
say the same of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Final, NamedTuple

from pilothouse_server.domain.alerts.conditions import (
    NOTHING,
    AlertMetric,
    Comparison,
    Observation,
    Threshold,
)
from pilothouse_server.domain.alerts.matchers import all_match
from pilothouse_server.domain.alerts.rules import LABEL_OF, Rule
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import (
    WINDOWS_US,
    AgentSeen,
    Dimension,
    MetricsSnapshot,
    SeriesMetrics,
    WindowMetrics,
)

SECOND_US = 1_000_000
ALWAYS: Final = 1 << 62
"""A time that does not come."""


class Seen(NamedTuple):
    """One instance that a rule looks at: the name that tells it from the others, and what is observed, one observation
    for each comparison."""

    name: str
    observed: tuple[Observation, ...]


class HeartbeatDue(NamedTuple):
    """A heartbeat from outside: since when it was not heard, and when that is too long."""

    id: str
    since_us: int
    due_us: int
    severity: Severity


HEARD = Observation(0.0, 1)


class Listening(NamedTuple):
    """Since when this engine hears the fleet, and after how much silence an agent is offline."""

    since_us: int
    offline_after_us: int


class Subject(NamedTuple):
    """What is known of one name: its series, and the agent that it is. The same as before when nothing changed."""

    series: SeriesMetrics | None
    agent: AgentSeen | None = None


class View:
    """One slot: a snapshot, read once for all rules."""

    def __init__(self, snapshot: MetricsSnapshot, ts_us: int, listening: Listening) -> None:
        self.snapshot = snapshot
        self.ts_us = ts_us
        self.listening = listening
        self._subjects: dict[Dimension, Mapping[str, Subject]] = {}

    def subjects(self, dimension: Dimension) -> Mapping[str, Subject]:
        """Every name of a dimension; for the fleet there is one, which is empty."""
        found = self._subjects.get(dimension)
        if found is None:
            found = self._subjects[dimension] = self._gathered(dimension)
        return found

    def _gathered(self, dimension: Dimension) -> Mapping[str, Subject]:
        if dimension == Dimension.FLEET:
            return {"": Subject(self.snapshot.fleet)}
        of = {
            each.name: Subject(each) for each in self.snapshot.series if each.dimension == dimension
        }
        if dimension != Dimension.AGENT:
            return of
        nobody = Subject(None)
        return of | {
            name: Subject(of.get(name, nobody).series, agent)
            for name, agent in self.snapshot.agents_seen.items()
        }


Measure = Callable[[Subject, View], Observation]


class Observer:
    """What one rule looks at, worked out once."""

    def __init__(self, rule: Rule) -> None:
        self.rule_id = rule.id
        self.dimension = rule.dimension
        self._thresholds = rule.thresholds
        self._measures: list[Measure] = [_measure_of(each) for each in self._thresholds]
        self._matched: dict[tuple[str, str], tuple[bool, ...]] = {}
        self._silence = [e for e in self._thresholds if e.metric == AlertMetric.AGENT_SILENCE]
        self.of_fleet = self.dimension != Dimension.FLEET and any(
            each.dimension == Dimension.FLEET for each in self._thresholds
        )
        """Whether it looks at the fleet beside its own dimension."""
        self._of_series = len(self._silence) < len(self._thresholds)
        self._narrowed = any(each.matchers for each in self._thresholds)

    @cached_property
    def unseen(self) -> tuple[Observation, ...]:
        """What to think of an instance that the snapshot shows no more. An agent that is not known any more is not
        silent; a series that was forgotten has no value."""
        return tuple(
            HEARD if each.metric == AlertMetric.AGENT_SILENCE else NOTHING
            for each in self._thresholds
        )

    def observe(self, name: str, subject: Subject, view: View) -> tuple[Observation, ...] | None:
        """One observation for each comparison; None when none of them looks at this name."""
        if not self._narrowed:
            if subject.series is None and not self._silence:
                return None
            if len(self._measures) == 1:
                return (self._measures[0](subject, view),)
            return tuple(measure(subject, view) for measure in self._measures)
        matched = self._matches(name, subject)
        own = [
            hit
            for hit, each in zip(matched, self._thresholds, strict=True)
            if each.dimension == self.dimension
        ]
        if not any(own):
            return None
        return tuple(
            measure(subject, view) if hit else NOTHING
            for measure, hit in zip(self._measures, matched, strict=True)
        )

    def until(self, subject: Subject, view: View) -> int:
        """Before when a subject that is the same gives the same verdict."""
        agent, listening = subject.agent, view.listening
        if not self._silence or agent is None or agent.deregistered:
            return ALWAYS
        offline_us = agent.last_seen_us + listening.offline_after_us
        return max(offline_us, view.ts_us)

    @cached_property
    def grows(self) -> bool:
        """Whether its condition, once it holds of a subject, holds until the subject is another: silence only
        grows."""
        more = (Comparison.GREATER_THAN, Comparison.GREATER_OR_EQUAL)
        return all(each.comparison in more for each in self._silence)

    def same(self, before: Subject | None, subject: Subject) -> bool:
        """Whether nothing that the rule looks at changed. A series that did not change is the same object; agents are
        made anew for each snapshot."""
        if before is None:
            return False
        if self._of_series and before.series is not subject.series:
            return False
        return before.agent == subject.agent

    def _matches(self, name: str, subject: Subject) -> tuple[bool, ...]:
        kind = subject.agent.agent_type if subject.agent is not None else ""
        found = self._matched.get((name, kind))
        if found is None:
            if len(self._matched) > MOST_MATCHED:
                self._matched.clear()
            labels = {LABEL_OF[self.dimension]: name} if self.dimension in LABEL_OF else {}
            labels |= {"agent_type": kind} if kind else {}
            found = tuple(
                each.dimension != self.dimension or all_match(each.matchers, labels)
                for each in self._thresholds
            )
            self._matched[name, kind] = found
        return found


MOST_MATCHED = 20_000
"""Names for which it is remembered whether they match."""


def _measure_of(threshold: Threshold) -> Measure:
    """How one comparison gets its observation."""
    if threshold.metric == AlertMetric.AGENT_SILENCE:
        wait_us = int(threshold.threshold * SECOND_US)
        return lambda subject, view: _silence(subject.agent, view, wait_us)
    of_series = _of_series(threshold)
    if threshold.dimension == Dimension.FLEET:
        return lambda _, view: of_series(view.snapshot.fleet)
    return lambda subject, _: NOTHING if subject.series is None else of_series(subject.series)


def _silence(agent: AgentSeen | None, view: View, wait_us: int) -> Observation:
    """While the server was down no agent could be heard. So one that was not heard since has no value until we have
    listened for as long as the rule would wait."""
    if agent is None or agent.deregistered:
        return HEARD
    silence_us, since_us = view.ts_us - agent.last_seen_us, view.listening.since_us
    if silence_us < view.listening.offline_after_us:
        return HEARD
    if agent.last_seen_us < since_us and view.ts_us - since_us < wait_us:
        return NOTHING
    return Observation(silence_us / SECOND_US, 1)


def _of_series(threshold: Threshold) -> Callable[[SeriesMetrics], Observation]:
    if threshold.metric == AlertMetric.QUEUE_DEPTH:
        return _queue_depth
    window_us, of_window = threshold.window_us, _OF_WINDOW[threshold.metric]
    place = WINDOWS_US.index(window_us) if window_us in WINDOWS_US else 0

    def measure(series: SeriesMetrics) -> Observation:
        windows = series.windows
        window: WindowMetrics | None
        # Nearly every series has all windows in their order.
        if place < len(windows) and windows[place].window_us == window_us:
            window = windows[place]
        else:
            window = series.window(window_us)
        return NOTHING if window is None else of_window(window)

    return measure


def _queue_depth(series: SeriesMetrics) -> Observation:
    states = series.states
    return NOTHING if states is None else Observation(float(states.queue_depth), states.queue_depth)


def _latency(field: str) -> Callable[[WindowMetrics], Observation]:
    def measure(window: WindowMetrics) -> Observation:
        latency = window.latency
        if latency is None:
            return NOTHING
        value: float = getattr(latency, field)
        return Observation(value / SECOND_US, latency.count)

    return measure


_OF_WINDOW: dict[AlertMetric, Callable[[WindowMetrics], Observation]] = {
    AlertMetric.LATENCY_P50: _latency("p50_us"),
    AlertMetric.LATENCY_P95: _latency("p95_us"),
    AlertMetric.LATENCY_P99: _latency("p99_us"),
    AlertMetric.ERROR_RATE: lambda w: Observation(w.error_rate, w.completed + w.failed),
    AlertMetric.SUCCESS_RATE: lambda w: Observation(w.success_rate, w.completed + w.failed),
    AlertMetric.THROUGHPUT: lambda w: Observation(w.throughput, w.completed),
}
