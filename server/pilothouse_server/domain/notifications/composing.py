"""From what is to be told of a group to the notification: with its words as they are now, and an id that follows from
what is told and when, so that no two ever have the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.notifications.grouping import Group, Member, Telling
from pilothouse_server.domain.notifications.notification import (
    FIRING,
    RESOLVED,
    DeliveryKind,
    Notification,
    NotifiedAlert,
)

WATCHDOG = "Watchdog"

Link = Callable[[str], str]
"""Where people see an alert, by its id."""


class Told(NamedTuple):
    """Something to be told of a group."""

    group: Group
    id: str
    telling: Telling


def told(group: Group, telling: Telling, now_us: int) -> Told:
    """With its id, which is another one for everything else that is ever told. The number alone does not do: a group
    that is over, or whose channel was deleted, may come back and counts anew."""
    listed = [(member.alert_id, member.ends_us is not None) for member in telling.members]
    decided = [now_us, int(telling.kind), telling.number, telling.reason, listed]
    return Told(group, _digest([group.channel_id, group.key, *decided]), telling)


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """The same for each alert that the same instance ever raises."""
    return _digest(sorted(labels.items()))[:16]


def compose(told: Told, alerts: Mapping[str, Alert], link: Link, now_us: int) -> Notification:
    """The notification. An alert that is not there any more is told by its labels."""
    group, telling = told.group, told.telling
    return Notification(
        id=told.id,
        kind=telling.kind,
        channel_id=group.channel_id,
        group_key=group.text,
        group_labels=dict(group.labels),
        status=FIRING if telling.firing_count else RESOLVED,
        alerts=tuple(
            _notified(member, alerts.get(member.alert_id), link) for member in telling.members
        ),
        truncated=telling.truncated,
        reason=telling.reason,
        create_us=now_us,
        firing_count=telling.firing_count,
        resolved_count=telling.resolved_count,
    )


def watchdog(channel_id: str, slot_us: int, now_us: int) -> Notification:
    """All is well."""
    labels = {"alertname": WATCHDOG, "severity": "info"}
    said = "Alerts are being judged. When this stops coming, they are not."
    fingerprint = fingerprint_of(labels)
    alert = NotifiedAlert(
        alert_id=fingerprint,
        fingerprint=fingerprint,
        status=FIRING,
        labels=labels,
        annotations={"summary": said},
        starts_us=slot_us,
    )
    return Notification(
        id=_digest([channel_id, WATCHDOG, slot_us]),
        kind=DeliveryKind.HEARTBEAT,
        channel_id=channel_id,
        group_key=f'{channel_id}:{{alertname="{WATCHDOG}"}}',
        group_labels={"alertname": WATCHDOG},
        status=FIRING,
        alerts=(alert,),
        reason="all is well",
        create_us=now_us,
        firing_count=1,
    )


def _notified(member: Member, alert: Alert | None, link: Link) -> NotifiedAlert:
    annotations: dict[str, str] = {}
    if alert is not None:
        annotations = {"summary": alert.summary, "clears_when": alert.clears_when}
        annotations = {name: said for name, said in annotations.items() if said}
        annotations |= alert.annotations
    return NotifiedAlert(
        alert_id=member.alert_id,
        fingerprint=fingerprint_of(member.labels),
        status=FIRING if member.ends_us is None else RESOLVED,
        labels=dict(member.labels),
        annotations=annotations,
        starts_us=member.starts_us,
        ends_us=member.ends_us,
        value=None if alert is None else alert.instance.value,
        generator_url=link(member.alert_id),
    )


def _digest(told: object) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
