"""Channels and escalations as the plain values that are stored; what the server knows of them is in other columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.notifications.channels import (
    Apprise,
    Channel,
    CloudEvents,
    Escalation,
    EscalationStep,
    Target,
    Webhook,
)

Document = dict[str, Any]


def channel_to_document(channel: Channel) -> Document:
    """Nothing of it is secret."""
    return {
        "target": _target_to_document(channel.target),
        "enabled": channel.enabled,
        "is_default": channel.is_default,
        "matchers": [[each.name, int(each.type), each.value] for each in channel.matchers],
        "min_severity": None if channel.min_severity is None else int(channel.min_severity),
        "group_by": list(channel.group_by),
        "group_wait_us": channel.group_wait_us,
        "group_interval_us": channel.group_interval_us,
        "repeat_interval_us": channel.repeat_interval_us,
        "skip_resolved": channel.skip_resolved,
        "rate_per_minute": channel.rate_per_minute,
        "heartbeat_us": channel.heartbeat_us,
    }


def channel_from_document(id: str, name: str, document: Mapping[str, Any]) -> Channel:
    """What was stored."""
    values = dict(document)
    severity = values.pop("min_severity")
    return Channel(
        id,
        name,
        _target_from_document(values.pop("target")),
        matchers=tuple(
            Matcher(label, MatchType(kind), value) for label, kind, value in values.pop("matchers")
        ),
        min_severity=None if severity is None else Severity(severity),
        group_by=tuple(values.pop("group_by")),
        **values,
    )


def escalation_to_document(escalation: Escalation) -> Document:
    """Its steps."""
    steps = [
        {"after_us": step.after_us, "channels": list(step.channels)} for step in escalation.steps
    ]
    return {"steps": steps, "repeat_us": escalation.repeat_us}


def escalation_from_document(id: str, name: str, document: Mapping[str, Any]) -> Escalation:
    """What was stored."""
    steps = tuple(
        EscalationStep(step["after_us"], tuple(step["channels"])) for step in document["steps"]
    )
    return Escalation(id, name, steps, document["repeat_us"])


def _target_to_document(target: Target) -> Document:
    match target:
        case Webhook():
            return {
                "kind": "webhook",
                "url": target.url,
                "headers": list(target.headers),
                "signed": target.signed,
                "max_alerts": target.max_alerts,
            }
        case CloudEvents():
            return {
                "kind": "cloud_events",
                "url": target.url,
                "headers": list(target.headers),
                "signed": target.signed,
                "source": target.source,
            }
        case Apprise():
            return {"kind": "apprise", "services": list(target.services)}


def _target_from_document(document: Mapping[str, Any]) -> Target:
    if document["kind"] == "apprise":
        return Apprise(tuple(document["services"]))
    url, headers, signed = document["url"], tuple(document["headers"]), document["signed"]
    if document["kind"] == "webhook":
        return Webhook(url, headers, signed, document["max_alerts"])
    return CloudEvents(url, headers, signed, document["source"])
