"""One rule's instances, from slot to slot.

Most slots change nothing, so an instance is looked at again only when what its rule sees of it is another object or
when time could change its state. One evaluation is bounded: by the instances that a rule may have, by those that may
begin at once, and by time (`AlertLimits`); what did not get its turn is looked at first in the next slot. An instance
that fails keeps its state and stops no other.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from pilothouse_server.domain.alerts import records, states
from pilothouse_server.domain.alerts.conditions import Observation, Verdict, decisive
from pilothouse_server.domain.alerts.observing import ALWAYS, Observer, Seen, Subject, View
from pilothouse_server.domain.alerts.records import Alert, AlertKind, Beginning
from pilothouse_server.domain.alerts.rules import NoDataPolicy, Rule
from pilothouse_server.domain.alerts.states import RETENTION_US, AlertState, Instance
from pilothouse_server.services.alerts.book import Book, over
from pilothouse_server.services.alerts.ledger import Group
from pilothouse_server.services.alerts.limits import SECOND_US, RuleMeters

GONE = Subject(None)
"""Stands for what the snapshot does not show any more."""
LOOKS = 64
"""Instances between two looks at the time."""


class _Step(NamedTuple):
    """One instance in one slot."""

    rule: Rule
    kind: AlertKind
    name: str
    observed: Sequence[Observation]
    verdict: Verdict
    value: float | None
    agent_type: str


class RuleInstances:
    """A rule, its alerts, and what became of its evaluations."""

    def __init__(self, rule: Rule, book: Book, meters: RuleMeters | None = None) -> None:
        self.rule = rule
        self.meters = meters or RuleMeters()
        self.refused_now = 0
        """Instances refused in the newest slot; where not all had their turn in it, as many as before at least."""
        self._book = book
        self._limits = book.limits
        self._observer = Observer(rule)
        self._alerts = book.ledger.group(rule.id, AlertKind.CONDITION)
        self._absences = book.ledger.group(rule.id, AlertKind.NO_DATA)
        self._begun_now = 0
        self._settled: dict[str, tuple[Subject, int]] = {}
        self._seen_before: tuple[object, int] = (None, 0)
        self._others: set[str] = set()
        self._resume = 0
        self._waits_since_us: int | None = None

    @property
    def names(self) -> Collection[str]:
        """The instances that have an alert."""
        return self._alerts.keys()

    def wait(self, ts_us: int) -> None:
        """There was no time for the rule in this slot."""
        self._waits_since_us = self._waits_since_us or ts_us

    def evaluate(self, view: View) -> None:
        """Steps every instance to the slot of the view."""
        refused, cut = self.refused_now, self.meters.cut
        began = self._begin_slot(view.ts_us)
        error: Exception | None = None
        try:
            error = self._look_at_all(view, began + self._limits.rule_ns)
        except Exception as raised:  # noqa: BLE001 - a rule that fails keeps its state, says so, and stops no other
            error = raised
        if error is not None or self.meters.cut > cut:
            self.refused_now = max(refused, self.refused_now)
        self._end_slot(began, error)

    def judge(self, seen: Iterable[tuple[Rule, Seen]], ts_us: int) -> None:
        """The same for a rule that is built in: each instance comes with the rule as it is for it."""
        began = self._begin_slot(ts_us)
        error: Exception | None = None
        try:
            left = set(self._alerts)
            self.meters.instances = 0
            for rule, (name, observed) in seen:
                self.meters.instances += 1
                left.discard(name)
                self._step(rule, name, observed, ts_us)
            for name in left:
                self._step(self.rule, name, self._observer.unseen, ts_us)
        except Exception as raised:  # noqa: BLE001 - as above
            error = raised
        self._end_slot(began, error)

    def _begin_slot(self, ts_us: int) -> int:
        if self._waits_since_us is not None:
            self.meters.missed += max(0, ts_us - self._waits_since_us) // SECOND_US
            self._waits_since_us = None
        self.refused_now = self._begun_now = 0
        return time.perf_counter_ns()

    def _end_slot(self, began: int, error: Exception | None) -> None:
        meters = self.meters
        meters.run += error is None
        meters.errors += error is not None
        meters.error = "" if error is None else f"{type(error).__name__}: {error}"
        meters.last_us = (time.perf_counter_ns() - began) // 1000
        meters.total_us += meters.last_us

    def _look_at_all(self, view: View, deadline: int) -> Exception | None:
        """The first error that an instance made."""
        subjects = view.subjects(self._observer.dimension)
        self._unsettle(view)
        observer, settled, ts_us = self._observer, self._settled, view.ts_us
        looked, error = 0, None
        for position, (name, subject) in enumerate(self._in_turn(subjects)):
            entry = settled.get(name)
            if entry is not None and ts_us < entry[1] and observer.same(entry[0], subject):
                continue
            looked += 1
            if not looked % LOOKS and time.perf_counter_ns() > deadline:
                self._resume += position
                self.meters.cut += 1
                break
            try:
                self._look(name, subject, view)
            except Exception as raised:  # noqa: BLE001 - one that fails keeps its state and stops no other
                settled.pop(name, None)
                error = error or raised
        else:
            self._resume = 0
        self._look_at_gone(subjects, view)
        self.meters.instances = len(subjects) - len(self._others)
        return error

    def _in_turn(self, subjects: Mapping[str, Subject]) -> Iterable[tuple[str, Subject]]:
        """All of them, beginning with those that had no turn in the slot before."""
        if not self._resume:
            return subjects.items()
        every = list(subjects.items())
        self._resume %= len(every) or 1
        return every[self._resume :] + every[: self._resume]

    def _unsettle(self, view: View) -> None:
        """Looks at everything again when what all of them depend on is another."""
        fleet = view.snapshot.fleet if self._observer.of_fleet else None
        if self._seen_before[0] is not fleet or self._seen_before[1] != view.listening.since_us:
            self._settled.clear()
            self._seen_before = (fleet, view.listening.since_us)

    def _look_at_gone(self, subjects: Mapping[str, Subject], view: View) -> None:
        """What has an alert and is not shown any more."""
        for name in (
            *self._alerts.keys() - subjects.keys(),
            *self._absences.keys() - subjects.keys(),
        ):
            entry = self._settled.get(name)
            if entry is None or entry[0] is not GONE or view.ts_us >= entry[1]:
                self._look(name, GONE, view)
        if self._others:
            self._others &= subjects.keys()
        if len(self._settled) > 2 * len(subjects) + 1000:
            kept = (subjects, self._alerts, self._absences)
            for name in [each for each in self._settled if not any(each in one for one in kept)]:
                del self._settled[name]

    def _look(self, name: str, subject: Subject, view: View) -> None:
        observed = None if subject is GONE else self._observer.observe(name, subject, view)
        if observed is None:
            if subject is not GONE:
                self._others.add(name)
            if name not in self._alerts and name not in self._absences:
                self._settled[name] = (subject, ALWAYS)
                return
            observed = self._observer.unseen
        agent = subject.agent
        kind = "" if agent is None else agent.agent_type
        until = self._step(self.rule, name, observed, view.ts_us, agent_type=kind)
        if until > view.ts_us and subject is not GONE:
            until = min(until, self._until(name, subject, view))
        self._settled[name] = (subject, until)

    def _until(self, name: str, subject: Subject, view: View) -> int:
        until = self._observer.until(subject, view)
        alert = self._alerts.get(name)
        if alert is None or alert.instance.state != AlertState.FIRING or not self._observer.grows:
            return until
        # Silence only grows, so what fires of it fires on; its value is another at each slot.
        return max(until, alert.update_us + self._limits.value_every_us)

    def _step(
        self,
        rule: Rule,
        name: str,
        observed: Sequence[Observation],
        ts_us: int,
        *,
        agent_type: str = "",
    ) -> int:
        """Steps one instance, and the one about its missing values where the policy has such; returns before when it
        need not be looked at again if what is seen of it stays the same."""
        until = ALWAYS
        verdict = states.verdict_of(rule, observed)
        if verdict == Verdict.TRUE or name in self._alerts:
            value = decisive(rule.condition, observed).value
            step = _Step(rule, AlertKind.CONDITION, name, observed, verdict, value, agent_type)
            until = self._stepped(self._alerts, step, ts_us)
        if rule.no_data_policy == NoDataPolicy.ALERT:
            verdict = states.absence_of(rule, observed)
            if verdict == Verdict.TRUE or name in self._absences:
                step = _Step(rule, AlertKind.NO_DATA, name, observed, verdict, None, agent_type)
                until = min(until, self._stepped(self._absences, step, ts_us))
        return until

    def _stepped(self, group: Group, step: _Step, ts_us: int) -> int:
        alert = group.get(step.name)
        if alert is not None:
            self._advance(alert, step, ts_us)
        elif step.verdict == Verdict.TRUE:
            self._begin(step, ts_us)
        alert = group.get(step.name)
        if alert is not None:
            return self._again(alert, step, ts_us)
        # What holds and has no alert was refused, or has to wait for its turn to begin.
        return ts_us if step.verdict == Verdict.TRUE else ALWAYS

    def _again(self, alert: Alert, step: _Step, ts_us: int) -> int:
        """Before when its state and its value stay as they are while the same is seen."""
        instance = alert.instance
        match instance.state:
            case AlertState.FIRING:
                if instance.value == step.value or step.verdict == Verdict.NO_DATA:
                    return ALWAYS
                return alert.update_us + self._limits.value_every_us
            case AlertState.RESOLVED:
                if instance.latched or instance.resolve_us is None:
                    return ALWAYS
                return instance.resolve_us + RETENTION_US
            case AlertState.PENDING | AlertState.RECOVERING:
                return ts_us

    def _begin(self, step: _Step, ts_us: int) -> None:
        if not self._room():
            self.meters.refused += 1
            self.refused_now += 1
            return
        if self._begun_now >= self._limits.begun_at_once:
            return
        instance = states.after(None, step.verdict, step.value, ts_us, step.rule)
        if instance is not None:
            self._begun_now += 1
            of = Beginning(self._book.new_id(), step.rule, step.name, step.kind, step.agent_type)
            self._book.note(records.begin(of, instance, step.observed), ts_us)

    def _room(self) -> bool:
        """Whether one more instance fits, after forgetting what is over; that is tried once a slot."""
        limit = self.rule.instance_limit
        if len(self._alerts) + len(self._absences) >= limit and not self.refused_now:
            for group in (self._alerts, self._absences):
                for alert in [each for each in group.values() if over(each)]:
                    self._book.ledger.forget(alert)
        return len(self._alerts) + len(self._absences) < limit

    def _advance(self, alert: Alert, step: _Step, ts_us: int) -> None:
        before, book = alert.instance, self._book
        value_is_due = ts_us - alert.update_us >= self._limits.value_every_us
        may_store_value = value_is_due and book.values_left > 0
        if (
            before.state == AlertState.FIRING
            and step.verdict == Verdict.TRUE
            and not may_store_value
        ):
            # Most slots find what fires still firing; only its value is another.
            return
        after = states.after(before, step.verdict, step.value, ts_us, step.rule)
        if after is before:
            return
        if not before.live and (after is None or after.live):
            # What was over is forgotten; what holds anew is another alert.
            book.ledger.forget(alert)
            if after is not None:
                self._begin(step, ts_us)
            return
        if after is not None and (after.state, after.latched) == (before.state, before.latched):
            # No step looks at the value before: until it is stored it need not be kept.
            if not may_store_value:
                return
            book.values_left -= 1
        self._changed(alert, after, step, ts_us)

    def _changed(self, alert: Alert, after: Instance | None, step: _Step, ts_us: int) -> None:
        change = records.advance(alert, step.rule, after, step.observed, ts_us)
        if after is None:
            self._book.gone(change)
        else:
            self._book.note(change, ts_us)
