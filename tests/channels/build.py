"""Channels and notifications of these tests."""

from __future__ import annotations

from dataclasses import replace

from pilothouse_server.domain.notifications.channels import Apprise, Channel, CloudEvents, Webhook
from pilothouse_server.domain.notifications.notification import (
    DeliveryKind,
    Notification,
    NotifiedAlert,
    Status,
)

SECOND = 1_000_000
NOW_US = 1_700_000_000 * SECOND
PATIENCE = 30.0


def webhook(url: str = "", **fields: object) -> Channel:
    """A channel of a webhook."""
    return replace(Channel("ops", "Ops", Webhook(url)), **fields)  # type: ignore[arg-type]


def events(url: str = "") -> Channel:
    """A channel of CloudEvents."""
    return Channel("events", "Events", CloudEvents(url))


def apprise(*services: str) -> Channel:
    """A channel of Apprise."""
    return Channel("people", "People", Apprise(services))


def alert(name: str = "ErrorRate", *, status: Status = "firing", **labels: str) -> NotifiedAlert:
    """One alert."""
    return NotifiedAlert(
        alert_id=f"alert-{name}-{'-'.join(labels.values())}",
        fingerprint="",
        status=status,
        labels={"alertname": name, "severity": "critical", **labels},
        annotations={"summary": f"{name} is high", "clears_when": "it is below 5 %"},
        starts_us=NOW_US - 60 * SECOND,
        ends_us=NOW_US if status == "resolved" else None,
        value=0.25,
    )


def notification(*alerts: NotifiedAlert, id: str = "delivery-1") -> Notification:
    """One that tells of these alerts."""
    told = alerts or (alert(),)
    firing = sum(each.status == "firing" for each in told)
    return Notification(
        id=id,
        kind=DeliveryKind.CHANGE,
        channel_id="ops",
        group_key='{}:{alertname="ErrorRate"}',
        group_labels={"alertname": "ErrorRate"},
        status="firing" if firing else "resolved",
        alerts=told,
        create_us=NOW_US,
        firing_count=firing,
        resolved_count=len(told) - firing,
    )
