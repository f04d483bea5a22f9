"""The alert engine: every rule is judged on each tick of the aggregator, in memory; only what changed is stored.

The engine is the only one that changes alerts, acts by hand included, so that no two can disagree. A tick never
waits for the database. No rule delays another: each is bounded by itself (see `instances`), one that fails keeps its
state, and when all of them together take longer than a slot may, those that are left come first in the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from pilothouse_server.domain.alerts import records
from pilothouse_server.domain.alerts.conditions import Observation
from pilothouse_server.domain.alerts.documents import fingerprint
from pilothouse_server.domain.alerts.observing import HeartbeatDue, Listening, Seen, View
from pilothouse_server.domain.alerts.records import Alert, Change, fired
from pilothouse_server.domain.alerts.requests import AlertRequest, Verb
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.shipped import BUILT_IN, HEARTBEAT_MISSED, OVER_LIMIT, SHIPPED
from pilothouse_server.domain.metrics.snapshot import FiringAlerts, MetricsSnapshot
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock
from pilothouse_server.services.alerts.acts import Acts
from pilothouse_server.services.alerts.book import Book, Suppressor
from pilothouse_server.services.alerts.grid import Grid
from pilothouse_server.services.alerts.instances import RuleInstances
from pilothouse_server.services.alerts.journal import AlertJournal, AlertStore
from pilothouse_server.services.alerts.limits import SECOND_US, AlertLimits, RuleMeters


class AlertEngine:
    """`start` once, `tick` on each tick, `journal.run` beside it."""

    def __init__(
        self,
        store: AlertStore,
        journal: AlertJournal,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        configured: Callable[[], PlatformConfig] = PlatformConfig,
        limits: AlertLimits | None = None,
        suppressor: Suppressor | None = None,
        heartbeats: Callable[[], Sequence[HeartbeatDue]] = tuple,
    ) -> None:
        self.journal = journal
        self.judged_us = 0
        """When rules were judged last, by the clock."""
        self._store = store
        self._acts = Acts(self, store, journal, clock)
        self._clock = clock
        self._configured = configured
        self._limits = limits = limits or AlertLimits()
        self._heartbeats = heartbeats
        self._book = Book(journal, new_id, limits, suppressor)
        self._ledger = self._book.ledger
        self._grid = Grid(clock)
        self._ruled: dict[str, RuleInstances] = {}
        self._built_in = {rule.id: RuleInstances(rule, self._book) for rule in BUILT_IN}
        self._turn = 0
        self._slot_saved_us = 0

    async def start(self) -> None:
        """Takes up what was stored. Raises Unavailable."""
        now_us = self._clock.now_us()
        shipped = [replace(rule, create_us=now_us, update_us=now_us) for rule in SHIPPED]
        restored = await self._store.restore(shipped)
        self._grid.last_us = restored.slot_us
        self._book.restore(restored)
        self.apply(restored.rules, max(now_us, restored.slot_us or 0))

    def apply(self, rules: Sequence[Rule], ts_us: int) -> None:
        """From now on these are the rules. What was begun by another version of one that decides otherwise, or by one
        that is not there or not enabled any more, ends; everything else goes on untouched."""
        by_id = {rule.id: rule for rule in rules}
        for rule_id in self._ledger.rule_ids() - self._built_in.keys():
            rule = by_id.get(rule_id)
            begun_by = "" if rule is None else fingerprint(rule)
            for alert in self._ledger.of_rule(rule_id):
                why = _ended(alert, rule, begun_by)
                if why:
                    self._end(alert, rule.updated_by if rule else "", why, ts_us)
        before, self._ruled = self._ruled, {}
        for rule in rules:
            known = before.get(rule.id)
            if known is None or known.rule != rule:
                known = RuleInstances(rule, self._book, known.meters if known else None)
            self._ruled[rule.id] = known

    @property
    def firing(self) -> FiringAlerts:
        """How many alerts fire now, by what they mean for health."""
        return self._ledger.firing_counts

    def rules(self) -> Sequence[Rule]:
        """The rules, by name."""
        return sorted((each.rule for each in self._ruled.values()), key=lambda rule: rule.name)

    def meters(self) -> Mapping[str, RuleMeters]:
        """What became of each rule's evaluations."""
        return {rule_id: each.meters for rule_id, each in (self._ruled | self._built_in).items()}

    def live_count(self, rule_id: str) -> int:
        """Alerts of a rule that are not over."""
        return self._ledger.live(rule_id)

    def tick(self, snapshot: MetricsSnapshot, ts_us: int) -> None:
        """Steps every instance of every rule to the slot `ts_us`. Until the log was read to its end once, nothing is
        judged."""
        grid = self._grid
        if grid.since_us is None and not snapshot.caught_up:
            return
        if self.journal.full or ts_us == grid.last_us:
            return
        passage = grid.reach(ts_us)
        if passage.down_us or passage.shift_us:
            self._book.move(passage.down_us, passage.shift_us)
        self._book.values_left = self._limits.values_at_once
        listening = Listening(grid.since_us or ts_us, self._configured().agent_offline_after_us)
        self._evaluate(View(snapshot, ts_us, listening), passage.missed)
        self._book.sweep(ts_us)
        self._book.quieten(ts_us)
        self._note_slot(ts_us)
        self.judged_us = self._clock.now_us()

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
        return self._ledger.find(alert_id)

    def take(self, change: Change) -> None:
        """What became of an alert that is held, by hand."""
        self.journal.know(change.alert.id)
        self._book.note(change, change.alert.update_us)

    def take_history(self, change: Change) -> None:
        """What was said of an alert that is not held."""
        self._book.note_history(change)

    def _evaluate(self, view: View, missed: int) -> None:
        """All rules, beginning with those that had no turn in the slot before, and then what is built in."""
        every = [each for each in self._ruled.values() if each.rule.enabled]
        self._turn %= len(every) or 1
        began = time.perf_counter_ns()
        late = False
        for position, each in enumerate(every[self._turn :] + every[: self._turn]):
            each.meters.missed += missed
            if position and not late and time.perf_counter_ns() - began > self._limits.slot_ns:
                late = True
                self._turn += position
            if late:
                each.wait(view.ts_us)
            else:
                each.evaluate(view)
        for each in self._built_in.values():
            each.meters.missed += missed
        self._built_in[OVER_LIMIT.id].judge(self._refusals(), view.ts_us)
        self._built_in[HEARTBEAT_MISSED.id].judge(self._overdue(view), view.ts_us)

    def _refusals(self) -> Iterator[tuple[Rule, Seen]]:
        """A rule that is gone refuses nothing."""
        refused = dict.fromkeys(self._built_in[OVER_LIMIT.id].names, 0)
        refused |= {rule_id: ruled.refused_now for rule_id, ruled in self._ruled.items()}
        for rule_id, many in refused.items():
            yield OVER_LIMIT, Seen(rule_id, (Observation(float(many), 1),))

    def _overdue(self, view: View) -> Iterator[tuple[Rule, Seen]]:
        """Each heartbeat with a rule of its own severity and patience. That none could be heard while no server ran is
        in the time when it is due already."""
        for each in self._heartbeats():
            patience_us = each.due_us - each.since_us
            silent = Observation((view.ts_us - each.since_us) / SECOND_US, 1)
            condition = replace(HEARTBEAT_MISSED.first, threshold=patience_us / SECOND_US)
            rule = replace(HEARTBEAT_MISSED, severity=each.severity, condition=condition)
            yield rule, Seen(each.id, (silent,))

    def _end(self, alert: Alert, actor: str, why: str, ts_us: int) -> None:
        if not alert.instance.live:
            if alert.instance.latched:
                # Else it would hold back, after a restart, what is begun from now on.
                free = replace(alert.instance, latched=False)
                self._book.note(Change(replace(alert, instance=free)), ts_us)
            self._ledger.forget(alert)
            return
        change = records.end_by_rule(alert, actor, why, ts_us)
        if fired(alert):
            self._book.note(change, ts_us)
            self._ledger.forget(change.alert)
        else:
            self._book.gone(change)

    def _note_slot(self, ts_us: int) -> None:
        self.journal.note_slot(ts_us)
        if abs(ts_us - self._slot_saved_us) >= self._limits.slot_every_us and self._ledger.waits:
            self._slot_saved_us = ts_us
            self.journal.wake()


def _ended(alert: Alert, rule: Rule | None, begun_by: str) -> str:
    """Why the alert ends with its rule as it is now, of that fingerprint; empty when it does not."""
    if rule is None:
        return "the rule was deleted"
    if not rule.enabled:
        return "the rule was disabled"
    if alert.fingerprint and alert.fingerprint != begun_by:
        return f"the rule was changed by {rule.updated_by or 'the server'}"
    return ""
