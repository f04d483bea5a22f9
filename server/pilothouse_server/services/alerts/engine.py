"""The alert engine: every rule is stepped on each tick of the aggregator, in memory; only what changed is stored.

The engine is the only one that changes alerts, acts by hand included, so that no two can disagree. A tick never
waits for the database, and a rule that fails never stops another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pilothouse_server.domain.alerts import records
from pilothouse_server.domain.alerts.conditions import Observation, Verdict, judge
from pilothouse_server.domain.alerts.observing import Listening, Seen, observe, unseen
from pilothouse_server.domain.alerts.records import Alert, Change
from pilothouse_server.domain.alerts.requests import AlertRequest, Verb
from pilothouse_server.domain.alerts.rules import Rule, fingerprint
from pilothouse_server.domain.alerts.shipped import OVER_LIMIT, SHIPPED
from pilothouse_server.domain.alerts.states import AlertState, Instance, down, shifted, step
from pilothouse_server.domain.alerts.suppression import Suppression
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import FiringAlerts, MetricsSnapshot
from pilothouse_server.ports import Clock
from pilothouse_server.services.alerts.acts import Acts
from pilothouse_server.services.alerts.journal import AlertJournal, AlertStore

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """What bounds the engine."""

    instances: int = 10_000
    """Alerts of one rule at a time; those that exist stay, new ones are refused and counted."""
    value_every_us: int = 5 * SECOND_US
    """How often the mere value of an alert is stored."""
    values_at_once: int = 200
    """Mere values stored with one slot; the others follow with the next."""
    begun_at_once: int = 1_000
    """Alerts of one rule that begin in one slot; the others begin with the next, so that a storm holds up nobody."""
    slot_every_us: int = SECOND_US
    """How often the newest slot is stored while an alert waits for its time: what a restart may forget of it at
    most."""


class Suppressor(Protocol):
    """What keeps alerts quiet: silences and inhibition. It never changes their state."""

    @property
    def version(self) -> int:
        """Changes when the silences or the rules do."""
        ...

    @property
    def next_change_us(self) -> int | None:
        """When a silence begins or ends next; None when none will."""
        ...

    def judge(self, alerts: Iterable[Alert], ts_us: int) -> Mapping[str, Suppression]:
        """What keeps each of these quiet, by alert id; those that nothing does may be left out. They are all that are
        FIRING or RECOVERING."""
        ...


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule as people see it."""

    rule: Rule
    live: int
    """Alerts of it that are not over."""
    error: str
    """Why its newest evaluation failed; empty when it did not."""


@dataclass(slots=True)
class RuleMeters:
    """What became of a rule's evaluations."""

    run: int = 0
    missed: int = 0
    """Whole seconds in which it was not evaluated though the engine ran."""
    errors: int = 0
    refused: int = 0
    """Instances refused because there were too many."""
    last_us: int = 0
    """How long the newest evaluation took."""
    error: str = ""
    """Why the newest evaluation failed; empty when it did not."""


@dataclass(slots=True)
class _Ruled:
    """A rule, its alerts by the name of their instance, and its meters."""

    rule: Rule
    alerts: dict[str, Alert] = field(default_factory=dict[str, Alert])
    meters: RuleMeters = field(default_factory=RuleMeters)
    refused_now: int = 0
    begun_now: int = 0


class AlertEngine:
    """`start` once, `tick` on each tick, `journal.run` beside it."""

    def __init__(
        self,
        store: AlertStore,
        journal: AlertJournal,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        offline_after_us: int,
        limits: AlertLimits = AlertLimits(),
        suppressor: Suppressor | None = None,
    ) -> None:
        self._suppressor = suppressor
        self.journal = journal
        self._acts = Acts(self, store, journal, clock)
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._offline_after_us = offline_after_us
        self._limits = limits
        self._ruled: dict[str, _Ruled] = {}
        self._by_id: dict[str, tuple[str, str]] = {}
        self._last_us: int | None = None
        self._slot_saved_us = 0
        self._stepped_us = clock.stepped_us
        self._fresh_since_us: int | None = None
        self._firing = FiringAlerts()
        self._values_left = 0

    async def start(self) -> None:
        """Takes up what was stored. Raises Unavailable."""
        now_us = self._clock.now_us()
        shipped = [replace(rule, create_us=now_us, update_us=now_us) for rule in SHIPPED]
        restored = await self._store.restore(shipped)
        self._ruled = {rule.id: _Ruled(rule) for rule in (*restored.rules, OVER_LIMIT)}
        self._last_us = restored.slot_us
        for alert in restored.alerts:
            ruled = self._ruled.get(alert.rule_id)
            if ruled is not None:
                self.journal.know(alert.id)
                self._keep(ruled, alert)
        self.apply(restored.rules, restored.slot_us or now_us)

    def apply(self, rules: Sequence[Rule], ts_us: int) -> None:
        """From now on these are the rules. What was begun by another version of one that decides otherwise, or by one
        that is not there or not enabled any more, ends; everything else goes on untouched."""
        by_id = {rule.id: rule for rule in (*rules, OVER_LIMIT)}
        for rule_id, ruled in self._ruled.items():
            rule = by_id.get(rule_id)
            for alert in list(ruled.alerts.values()):
                why = _ended(alert, rule)
                if why:
                    self._forget(ruled, alert)
                    if alert.instance.live:
                        self.journal.note(
                            records.end_by_rule(alert, rule.updated_by if rule else "", why, ts_us)
                        )
        ruled_before = self._ruled
        self._ruled = {rule_id: _Ruled(rule) for rule_id, rule in by_id.items()}
        for rule_id, ruled in self._ruled.items():
            if before := ruled_before.get(rule_id):
                ruled.alerts, ruled.meters = before.alerts, before.meters
        self._count()

    @property
    def firing(self) -> FiringAlerts:
        """How many alerts fire now, by what they mean for health."""
        return self._firing

    def rules(self) -> Sequence[Rule]:
        """The rules, by name."""
        rules = [each.rule for each in self._ruled.values() if each.rule is not OVER_LIMIT]
        return sorted(rules, key=lambda rule: rule.name)

    def meters(self) -> Mapping[str, RuleMeters]:
        """What became of each rule's evaluations."""
        return {rule_id: ruled.meters for rule_id, ruled in self._ruled.items()}

    def live_count(self, rule_id: str) -> int:
        """Alerts of a rule that are not over."""
        ruled = self._ruled.get(rule_id)
        return 0 if ruled is None else sum(a.instance.live for a in ruled.alerts.values())

    def shown(self) -> Sequence[RuleView]:
        """The rules as people see them, by name."""
        meters = self.meters()
        return [
            RuleView(rule, self.live_count(rule.id), meters[rule.id].error) for rule in self.rules()
        ]

    def tick(self, snapshot: MetricsSnapshot, ts_us: int) -> None:
        """Steps every instance of every rule to the slot `ts_us`. Until the log was read to its end once, nothing is
        judged."""
        if self._fresh_since_us is None and not snapshot.caught_up:
            return
        if self.journal.full or ts_us == self._last_us:
            return
        missed = self._anchor(ts_us)
        self._values_left = self._limits.values_at_once
        listening = Listening(self._fresh_since_us or ts_us, self._offline_after_us)
        for ruled in self._ruled.values():
            ruled.meters.missed += missed
            self._evaluate(ruled, snapshot, ts_us, listening)
        self._count()
        self._note_slot(ts_us)

    async def acknowledge(self, alert_id: str, *, actor: str, comment: str, etag: str) -> Alert:
        """Somebody takes care of it; a repeat changes nothing. Raises NotFound, AlertResolved, EtagMismatch."""
        return await self.act(AlertRequest(Verb.ACKNOWLEDGE, alert_id, actor, comment, etag))

    async def resolve(self, alert_id: str, *, actor: str, reason: str, etag: str) -> Alert:
        """Somebody ends it; one that is over stays as it is. Raises NotFound, EtagMismatch."""
        return await self.act(AlertRequest(Verb.RESOLVE, alert_id, actor, reason, etag))

    async def act(self, asked: AlertRequest) -> Alert:
        """The alert after what was asked, once it is stored; see `Acts`."""
        return await self._acts.act(asked)

    def held(self, alert_id: str) -> Alert | None:
        """An alert that is not over, or was not until lately."""
        place = self._by_id.get(alert_id)
        return None if place is None else self._ruled[place[0]].alerts[place[1]]

    def take(self, change: Change) -> None:
        """What became of an alert that is held, by hand."""
        self._keep(self._ruled[change.alert.rule_id], change.alert)
        self._count()
        self.journal.know(change.alert.id)
        self.journal.note(change)

    def _anchor(self, ts_us: int) -> int:
        """Makes up for time in which nobody looked, and for a grid that was moved; returns the whole seconds that were
        missed while the engine ran."""
        before_us, self._stepped_us = self._stepped_us, self._clock.stepped_us
        last, self._last_us = self._last_us, ts_us
        first = self._fresh_since_us is None
        if first:
            self._fresh_since_us = ts_us
        if not last:
            return 0
        if ts_us < last:
            if not first:
                self._fresh_since_us = (self._fresh_since_us or ts_us) + ts_us - last
            self._move(lambda instance: shifted(instance, ts_us - last))
        elif first:
            self._move(lambda instance: down(instance, ts_us - last))
            return 0
        elif moved_us := self._stepped_us - before_us:
            # Nobody waited through the time that the wall clock left out, and in it no agent could be heard.
            last += moved_us
            self._fresh_since_us = ts_us
            self._move(lambda instance: shifted(instance, moved_us))
        return max(0, (ts_us - last) // SECOND_US - 1)

    def _move(self, moved: Callable[[Instance], Instance]) -> None:
        for ruled in self._ruled.values():
            for name, alert in ruled.alerts.items():
                ruled.alerts[name] = replace(alert, instance=moved(alert.instance))

    def _evaluate(
        self, ruled: _Ruled, snapshot: MetricsSnapshot, ts_us: int, listening: Listening
    ) -> None:
        rule, meters = ruled.rule, ruled.meters
        if not rule.enabled:
            return
        began = time.perf_counter_ns()
        ruled.refused_now = ruled.begun_now = 0
        try:
            if rule is OVER_LIMIT:
                self._judge(ruled, self._refusals(), ts_us)
            else:
                self._judge(ruled, observe(rule, snapshot, ts_us, listening), ts_us)
        except Exception as error:  # noqa: BLE001 - a rule that fails keeps its state, says so, and stops no other
            meters.errors += 1
            meters.error = f"{type(error).__name__}: {error}"
        else:
            meters.run += 1
            meters.error = ""
        meters.last_us = (time.perf_counter_ns() - began) // 1000

    def _judge(self, ruled: _Ruled, seen: Iterable[Seen], ts_us: int) -> None:
        rule, alerts = ruled.rule, ruled.alerts
        left = set(alerts)
        for name, observed in seen:
            alert = alerts.get(name)
            if alert is not None:
                left.discard(name)
                self._advance(ruled, alert, observed, ts_us)
            elif judge(rule.condition, observed) == Verdict.TRUE:
                self._begin(ruled, name, observed, ts_us)
        for name in left:
            if name in alerts:
                self._advance(ruled, alerts[name], unseen(rule), ts_us)

    def _begin(self, ruled: _Ruled, name: str, observed: Sequence[Observation], ts_us: int) -> None:
        if not self._room(ruled):
            ruled.meters.refused += 1
            ruled.refused_now += 1
            return
        if ruled.begun_now >= self._limits.begun_at_once:
            return
        instance = step(None, observed, ts_us, ruled.rule)
        if instance is not None:
            ruled.begun_now += 1
            change = records.begin(self._new_id(), ruled.rule, name, instance)
            self._keep(ruled, change.alert)
            self.journal.note(change)

    def _room(self, ruled: _Ruled) -> bool:
        """Whether one more instance fits, after forgetting what is over; that is tried once a slot."""
        if len(ruled.alerts) >= self._limits.instances and not ruled.refused_now:
            for alert in list(ruled.alerts.values()):
                if not alert.instance.live and not alert.instance.latched:
                    self._forget(ruled, alert)
        return len(ruled.alerts) < self._limits.instances

    def _advance(
        self, ruled: _Ruled, alert: Alert, observed: Sequence[Observation], ts_us: int
    ) -> None:
        before = alert.instance
        value_is_new = ts_us - alert.update_us >= self._limits.value_every_us
        waits = before.state == AlertState.FIRING and not (value_is_new and self._values_left)
        if waits and judge(ruled.rule.condition, observed) == Verdict.TRUE:
            # Most slots find what fires still firing; only its value is another.
            return
        after = step(before, observed, ts_us, ruled.rule)
        if after is before:
            return
        if not before.live and (after is None or after.live):
            # What was over is forgotten; what holds anew is another alert.
            self._forget(ruled, alert)
            if after is not None:
                self._begin(ruled, alert.name, observed, ts_us)
            return
        if after is not None and (after.state, after.latched) == (before.state, before.latched):
            # No step looks at the value before: until it is stored it need not be kept.
            if not (value_is_new and self._values_left):
                return
            self._values_left -= 1
        change = records.advance(alert, ruled.rule, after, ts_us)
        if after is None:
            self._forget(ruled, alert)
        else:
            self._keep(ruled, change.alert)
        self.journal.note(change)

    def _refusals(self) -> Iterator[Seen]:
        for rule_id, ruled in self._ruled.items():
            if ruled.rule is not OVER_LIMIT:
                yield Seen(rule_id, (Observation(float(ruled.refused_now), 1),))

    def _keep(self, ruled: _Ruled, alert: Alert) -> None:
        before = ruled.alerts.get(alert.name)
        if before is not None and before.id != alert.id:
            del self._by_id[before.id]
        ruled.alerts[alert.name] = alert
        self._by_id[alert.id] = (ruled.rule.id, alert.name)

    def _forget(self, ruled: _Ruled, alert: Alert) -> None:
        del ruled.alerts[alert.name]
        del self._by_id[alert.id]

    def _count(self) -> None:
        critical = warning = 0
        for ruled in self._ruled.values():
            for alert in ruled.alerts.values():
                if alert.instance.state in (AlertState.FIRING, AlertState.RECOVERING):
                    if alert.severity >= Severity.CRITICAL:
                        critical += 1
                    else:
                        warning += 1
        self._firing = FiringAlerts(critical, warning)

    def _note_slot(self, ts_us: int) -> None:
        self.journal.note_slot(ts_us)
        if abs(ts_us - self._slot_saved_us) < self._limits.slot_every_us:
            return
        waits = (AlertState.PENDING, AlertState.RECOVERING)
        alerts = (a for ruled in self._ruled.values() for a in ruled.alerts.values())
        if any(alert.instance.state in waits for alert in alerts):
            self._slot_saved_us = ts_us
            self.journal.wake()


def _ended(alert: Alert, rule: Rule | None) -> str:
    """Why the alert ends with its rule as it is now; empty when it does not."""
    if rule is None:
        return "the rule was deleted"
    if not rule.enabled:
        return "the rule was disabled"
    if alert.fingerprint and alert.fingerprint != fingerprint(rule):
        return f"the rule was changed by {rule.updated_by or 'the server'}"
    return ""
