"""The alerts that the engine keeps in mind: those that are not over, those that are latched, and for a while those that
are over.

What is counted of them is kept up with each change, so that no slot has to look at all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pilothouse_server.domain.alerts.records import Alert, AlertKind
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import FiringAlerts

FIRING = (AlertState.FIRING, AlertState.RECOVERING)
WAITING = (AlertState.PENDING, AlertState.RECOVERING)

Group = dict[str, Alert]
"""The alerts of one rule and kind, by the name of their instance."""


class Ledger:
    """Alerts by rule, kind and name, and by id."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, AlertKind], Group] = {}
        self._by_id: dict[str, Alert] = {}
        self._firing: dict[str, Alert] = {}
        self._critical = 0
        self._live: dict[str, int] = {}
        self._waiting: set[str] = set()
        self._expiring: dict[str, int] = {}
        self.firing_version = 0
        """Changes when an alert begins or ends to fire."""

    def group(self, rule_id: str, kind: AlertKind) -> Group:
        """To be read only."""
        return self._groups.setdefault((rule_id, kind), {})

    def of_rule(self, rule_id: str) -> list[Alert]:
        """All alerts of a rule."""
        return [alert for kind in AlertKind for alert in self.group(rule_id, kind).values()]

    def rule_ids(self) -> set[str]:
        """The rules of which there are alerts."""
        return {rule_id for (rule_id, _), group in self._groups.items() if group}

    def find(self, alert_id: str) -> Alert | None:
        """One alert."""
        return self._by_id.get(alert_id)

    def every(self) -> Iterable[Alert]:
        """All of them."""
        return self._by_id.values()

    @property
    def firing(self) -> Mapping[str, Alert]:
        """Those that fire, by id."""
        return self._firing

    @property
    def firing_counts(self) -> FiringAlerts:
        """How many of them there are, by what they mean for health."""
        return FiringAlerts(self._critical, len(self._firing) - self._critical)

    def live(self, rule_id: str) -> int:
        """How many alerts of a rule are not over."""
        return self._live.get(rule_id, 0)

    @property
    def waits(self) -> bool:
        """Whether any alert waits for its time."""
        return bool(self._waiting)

    def expired(self, ts_us: int) -> list[Alert]:
        """Those of which the acknowledgement is over."""
        return [self._by_id[each] for each, at in self._expiring.items() if at <= ts_us]

    def keep(self, alert: Alert) -> None:
        """A new alert, or one that changed; the one before it of the same instance is forgotten."""
        group = self.group(alert.rule_id, alert.kind)
        before = group.get(alert.name)
        fired = None
        if before is not None:
            self._uncount(before)
            fired = self._firing.pop(before.id, None)
        group[alert.name] = alert
        fires = self._count(alert)
        if fires != (fired is not None) or (fired is not None and fired.id != alert.id):
            self.firing_version += 1

    def forget(self, alert: Alert) -> None:
        """It is not kept in mind any more."""
        group = self.group(alert.rule_id, alert.kind)
        self._uncount(group.pop(alert.name))
        if self._firing.pop(alert.id, None) is not None:
            self.firing_version += 1

    def _count(self, alert: Alert) -> bool:
        """Whether it fires."""
        state = alert.instance.state
        self._by_id[alert.id] = alert
        if state in WAITING:
            self._waiting.add(alert.id)
        if state != AlertState.RESOLVED:
            self._live[alert.rule_id] = self._live.get(alert.rule_id, 0) + 1
            if alert.acknowledge_expire_us is not None:
                self._expiring[alert.id] = alert.acknowledge_expire_us
        if state not in FIRING:
            return False
        self._firing[alert.id] = alert
        self._critical += alert.severity >= Severity.CRITICAL
        return True

    def _uncount(self, alert: Alert) -> None:
        del self._by_id[alert.id]
        self._waiting.discard(alert.id)
        self._expiring.pop(alert.id, None)
        if alert.instance.live:
            self._live[alert.rule_id] -= 1
        if alert.instance.state in FIRING:
            self._critical -= alert.severity >= Severity.CRITICAL
