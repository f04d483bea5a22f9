"""What is sent, as plain values: Alertmanager's webhook, CloudEvents, and the text of a message to people.

The webhook is that of Alertmanager, `template.Data` with `version`, `groupKey` and `truncatedAlerts` of
notify/webhook: the same names, types and order, so that whatever takes its webhooks takes ours. A firing alert has no
end, which Go writes as the year 1.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pilothouse_server.domain.notifications.fingerprints import label_fingerprint
from pilothouse_server.domain.notifications.notification import (
    FIRING,
    DeliveryKind,
    Notification,
    NotifiedAlert,
)

NO_END: Final = "0001-01-01T00:00:00Z"
EVENT_TYPE: Final = "io.pilothouse.alert"
TEXT_ALERTS: Final = 20
"""Alerts that a message to people lists; the others are counted."""
MOST_TITLE: Final = 250
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(us: int) -> str:
    """RFC 3339, as Go writes it: no more digits than there are."""
    text = (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{text.rstrip('0').rstrip('.')}Z"


def webhook(
    notification: Notification, *, receiver: str, external_url: str, max_alerts: int
) -> dict[str, Any]:
    """The webhook of version 4."""
    listed = notification.alerts[:max_alerts]
    return {
        "receiver": receiver,
        "status": notification.status,
        "alerts": [
            {
                "status": alert.status,
                "labels": _sorted(alert.labels),
                "annotations": _sorted(alert.annotations),
                "startsAt": time_text(alert.starts_us),
                "endsAt": NO_END if alert.ends_us is None else time_text(alert.ends_us),
                "generatorURL": generator_url(alert, external_url),
                "fingerprint": label_fingerprint(alert.labels),
            }
            for alert in listed
        ],
        "groupLabels": _sorted(notification.group_labels),
        "commonLabels": _sorted(notification.common_labels),
        "commonAnnotations": _sorted(notification.common_annotations),
        "externalURL": external_url,
        "version": "4",
        "groupKey": notification.group_key,
        "truncatedAlerts": notification.truncated + len(notification.alerts) - len(listed),
    }


def cloud_events(
    notification: Notification, *, source: str, external_url: str
) -> list[dict[str, Any]]:
    """One event for each alert; in every try of a notification the same ids."""
    return [
        {
            "specversion": "1.0",
            "id": f"{notification.id}/{alert.alert_id or position}",
            "source": source,
            "type": f"{EVENT_TYPE}.{alert.status}",
            "subject": alert.labels.get("alertname", alert.alert_id) or "alert",
            "time": time_text(notification.create_us),
            "datacontenttype": "application/json",
            "data": {
                "alert_id": alert.alert_id,
                "fingerprint": label_fingerprint(alert.labels),
                "status": alert.status,
                "kind": notification.kind.name.lower(),
                "reason": notification.reason,
                "labels": _sorted(alert.labels),
                "annotations": _sorted(alert.annotations),
                "value": alert.value,
                "start_time": time_text(alert.starts_us),
                "end_time": None if alert.ends_us is None else time_text(alert.ends_us),
                "url": generator_url(alert, external_url),
                "group_labels": _sorted(notification.group_labels),
                "truncated_alerts": notification.truncated,
            },
        }
        for position, alert in enumerate(notification.alerts)
    ]


def title(notification: Notification) -> str:
    """One line for people."""
    if notification.kind == DeliveryKind.HEARTBEAT:
        return "Pilothouse: all is well"
    firing = sum(alert.status == FIRING for alert in notification.alerts)
    resolved = len(notification.alerts) - firing
    told = [
        f"{count:,} {word}"
        for count, word in (
            (notification.firing_count or firing, "FIRING"),
            (notification.resolved_count or resolved, "RESOLVED"),
        )
        if count
    ]
    names = sorted({alert.labels.get("alertname", "") for alert in notification.alerts} - {""})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    said = f"[{', '.join(told) or notification.status.upper()}] {', '.join(names[:3])}{more}"
    # It becomes the subject of a message, which is one line.
    return " ".join(said.split())[:MOST_TITLE]


def body(notification: Notification, external_url: str) -> str:
    """Plain text for people, an alert a paragraph."""
    parts = [notification.reason] if notification.reason else []
    listed = notification.alerts[:TEXT_ALERTS]
    parts += [_paragraph(alert, external_url) for alert in listed]
    left_out = notification.truncated + len(notification.alerts) - len(listed)
    if left_out:
        parts.append(f"… and {left_out:,} more")
    return "\n\n".join(parts) or "All is well."


def signature(secret: str, timestamp: str, sent: bytes) -> str:
    """The value of X-Pilothouse-Signature for what is sent at that time (seconds since the epoch)."""
    signed = timestamp.encode() + b"." + sent
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def generator_url(alert: NotifiedAlert, external_url: str) -> str:
    """Where the alert is seen."""
    return alert.generator_url or external_url


def _paragraph(alert: NotifiedAlert, external_url: str) -> str:
    name = alert.labels.get("alertname", alert.alert_id)
    severity = alert.labels.get("severity", "")
    head = f"{alert.status.upper()}: {name}" + (f" ({severity})" if severity else "")
    lines = [head]
    lines += [
        alert.annotations[key] for key in ("summary", "description") if alert.annotations.get(key)
    ]
    if alert.status == FIRING and alert.annotations.get("clears_when"):
        lines.append(f"Clears when: {alert.annotations['clears_when']}")
    others = [
        f"{key}={value}"
        for key, value in sorted(alert.labels.items())
        if key not in ("alertname", "severity")
    ]
    if others:
        lines.append(", ".join(others))
    times = f"since {time_text(alert.starts_us)}"
    if alert.ends_us is not None:
        times = f"from {time_text(alert.starts_us)} to {time_text(alert.ends_us)}"
    lines.append(times)
    runbook = alert.annotations.get("runbook_url", "")
    lines += [link for link in (runbook, generator_url(alert, external_url)) if link]
    return "\n".join(lines)


def _sorted(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: texts[name] for name in sorted(texts)}
