"""Alerts to which things happen, and what is told of them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.suppression import LOUD, Suppression
from pilothouse_server.domain.notifications import gathering
from pilothouse_server.domain.notifications.channels import Channel, Escalation
from pilothouse_server.domain.notifications.composing import Told, compose
from pilothouse_server.domain.notifications.gathering import Gatherer, Wanted
from pilothouse_server.domain.notifications.intents import Intent, IntentKind
from pilothouse_server.domain.notifications.notification import DeliveryKind, Notification
from tests.notifications.build import FLAPPING, SECOND, T0, alert, channel, sources


@dataclass
class Desk:
    """Alerts to which things happen, and what is told of them as it is told. Notifications arrive at once."""

    channels: list[Channel] = field(default_factory=lambda: [channel()])
    escalations: list[Escalation] = field(default_factory=list[Escalation])
    wanted: dict[str, Wanted] = field(default_factory=dict[str, Wanted])
    arrives: bool = True

    def __post_init__(self) -> None:
        self.us = T0
        self.alerts: dict[str, Alert] = {}
        self.gatherer = Gatherer()
        self.gatherer.begin(self._sources, self.us)
        self.log: list[tuple[int, Notification]] = []
        self.open: list[Told] = []

    def fire(self, *ids: str, suppression: Suppression = LOUD, **given: Any) -> None:
        for id in ids:
            self.alerts[id] = alert(id, fire_us=self.us, suppression=suppression, **given)
            self._apply(id, IntentKind.FIRING)

    def resolve(self, *ids: str) -> None:
        for id in ids:
            instance = replace(self.alerts[id].instance, resolve_us=self.us)
            self.alerts[id] = replace(self.alerts[id], instance=instance)
            self._apply(id, IntentKind.RESOLVED)

    def acknowledge(self, id: str) -> None:
        self._apply(id, IntentKind.ACKNOWLEDGED)

    def unacknowledge(self, id: str) -> None:
        self._apply(id, IntentKind.UNACKNOWLEDGED)

    def suppress(self, id: str, suppression: Suppression) -> None:
        self.alerts[id] = replace(self.alerts[id], suppression=suppression)
        self._apply(id, IntentKind.SUPPRESSION)

    def flap(self, id: str, *, begins: bool, silenced: bool = False) -> None:
        suppression = FLAPPING if begins else LOUD
        if silenced:
            suppression = suppression._replace(silenced_by=("s",))
        self.alerts[id] = replace(self.alerts[id], suppression=suppression)
        self._apply(id, IntentKind.FLAPPING if begins else IntentKind.FLAPPED)

    def wait(self, seconds: float) -> None:
        """Time goes on, and everybody who is due is told."""
        until = self.us + round(seconds * SECOND)
        while True:
            self._flush()
            due = self.gatherer.next_us()
            if due is None or due > until:
                break
            self.us = max(self.us, due)
        self.us = until

    def restart(self) -> None:
        """Goes on with nothing but what is stored."""
        groups = [deepcopy(group) for group in self.gatherer.groups.values()]
        for group in groups:
            group.changed.clear()
            group.gone.clear()
        self.gatherer = Gatherer(groups, self.gatherer.runs.values())
        self.gatherer.begin(self._sources, self.us)
        opened = {(each.group.channel_id, each.group.key): each for each in self.open}
        self.open = [
            each._replace(group=self.gatherer.groups[place]) for place, each in opened.items()
        ]

    def arrive(self) -> None:
        """What is on its way arrives."""
        opened, self.open = self.open, []
        for each in opened:
            place = (each.group.channel_id, each.group.key)
            self.gatherer.ended(place, each.id, self.us)

    def told(self) -> list[str]:
        """Since the last time that somebody asked: kind, then alerts, with a minus those that ended."""
        self.wait(0)
        log, self.log = self.log, []
        return [line_of(each) for _, each in log]

    @property
    def _sources(self) -> gathering.Sources:
        return sources(self.channels, escalations=self.escalations, wanted=self.wanted)

    def _apply(self, id: str, kind: IntentKind) -> None:
        intent = Intent(id, kind, self.us)
        self.gatherer.apply(intent, self.alerts[id], self._sources, self.us)

    def _flush(self) -> None:
        while told := self.gatherer.flush(self._sources, self.us, 100):
            for each in told:
                found = compose(each, self.alerts, lambda id: f"/alerts/{id}", self.us)
                self.log.append((self.us, found))
                self.open.append(each)
            if self.arrives:
                self.arrive()
        self.gatherer.vanish(self.us)
        self.gatherer.stored()


def line_of(told: Notification) -> str:
    kind = "" if told.kind == DeliveryKind.CHANGE else f"{told.kind.name.lower()} "
    marks = {"firing": "", "resolved": "-"}
    listed = " ".join(marks[each.status] + each.alert_id for each in told.alerts)
    more = f" and {told.truncated}" if told.truncated else ""
    where = "" if told.channel_id == "hook" else f" to {told.channel_id}"
    return kind + listed + more + where
