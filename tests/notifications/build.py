"""Alerts and channels for the tests of notifications, with everything that does not matter filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.states import AlertState, Instance
from pilothouse_server.domain.alerts.suppression import LOUD, Suppression
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.notifications.channels import Channel, Escalation, Webhook
from pilothouse_server.domain.notifications.gathering import Sources, Wanted

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
T0 = 1_700_000_000 * SECOND

SILENCED = Suppression(silenced_by=("s",))
INHIBITED = Suppression(inhibited_by=("other",))
FLAPPING = Suppression(flapping=True)


def channel(id: str = "hook", **given: Any) -> Channel:
    """A webhook that everything goes to."""
    plain: dict[str, Any] = {
        "name": id,
        "target": Webhook("http://127.0.0.1:9/"),
        "is_default": True,
        "group_interval_us": 5 * SECOND,
        "rate_per_minute": 6_000,
    }
    return Channel(id=id, **(plain | given))


def alert(
    id: str,
    *,
    rule: str = "depth",
    labels: Mapping[str, str] | None = None,
    severity: Severity = Severity.WARNING,
    fire_us: int = T0,
    resolve_us: int | None = None,
    suppression: Suppression = LOUD,
) -> Alert:
    """One that fires, or that is resolved."""
    state = AlertState.FIRING if resolve_us is None else AlertState.RESOLVED
    return Alert(
        id=id,
        rule_id=rule,
        rule_name=rule.title(),
        name=id,
        labels={"agent": id} if labels is None else labels,
        severity=severity,
        threshold=10.0,
        instance=Instance(state, fire_us, fire_us=fire_us, resolve_us=resolve_us, value=12.0),
        summary=f"{id} is wrong",
        clears_when=f"{id} is right",
        update_us=fire_us,
        suppression=suppression,
    )


def sources(
    channels: Iterable[Channel],
    *,
    escalations: Iterable[Escalation] = (),
    wanted: Mapping[str, Wanted] | None = None,
) -> Sources:
    """What people said."""
    return Sources(
        {each.id: each for each in channels}, {each.id: each for each in escalations}, wanted or {}
    )
