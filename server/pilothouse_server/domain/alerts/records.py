"""An alert as people see it: an instance with its name, its words and what was done about it, and each step of its
life.

The condition (`Instance`) and the human side (acknowledged, resolved by whom) are two axes that are never merged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple

from pilothouse_server.domain.alerts.rules import Rule, fingerprint
from pilothouse_server.domain.alerts.states import AlertState, Instance, resolve_by_hand
from pilothouse_server.domain.alerts.suppression import LOUD, Suppression
from pilothouse_server.domain.alerts.words import clears_when, labels_of, summary_of
from pilothouse_server.domain.events import Event, EventType, Severity
from pilothouse_server.domain.notifications.intents import Intent, IntentKind
from pilothouse_server.domain.settling import SERVER_SOURCE


class AlertKind(IntEnum):
    """What an alert is about. The numbers are those of the contract."""

    CONDITION = 1
    NO_DATA = 2


class Act(IntEnum):
    """What a step in the life of an alert was. The numbers are those of the contract."""

    CONDITION = 0
    ACKNOWLEDGE = 1
    UNACKNOWLEDGE = 2
    RESOLVE = 3
    ASSIGN = 4
    COMMENT = 5
    RULE_CHANGE = 6
    SUPPRESSION = 7


class Evidence(NamedTuple):
    """One comparison that decided, in numbers and in words."""

    subject: str
    value: float | None
    value_text: str
    comparison_text: str
    threshold: float
    samples: int
    threshold_index: int


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: one rule, one set of labels, from its first breach to its end."""

    id: str
    rule_id: str
    rule_name: str
    name: str
    """What tells it from the rule's other alerts; empty for the fleet."""
    labels: Mapping[str, str]
    severity: Severity
    threshold: float
    instance: Instance
    summary: str
    clears_when: str
    update_us: int
    steps: int = 0
    """How many steps its life has had so far."""
    acknowledge_us: int | None = None
    acknowledged_by: str = ""
    acknowledge_comment: str = ""
    resolved_by: str = ""
    kind: AlertKind = AlertKind.CONDITION
    fingerprint: str = ""
    """Of the rule as it was when the alert began: of another one its condition says nothing any more."""
    rule_version: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    evidence: tuple[Evidence, ...] = ()
    acknowledge_expire_us: int | None = None
    assignee: str = ""
    suppression: Suppression = LOUD
    revision: int = 0

    @property
    def etag(self) -> str:
        """Changes with its state and with what was done about it; not with its value."""
        decided = (self.instance.state, self.acknowledge_us, self.instance.resolve_us)
        return hashlib.sha256(repr((self.id, *decided)).encode()).hexdigest()[:16]


class AlertStep(NamedTuple):
    """One step in the life of an alert; `from_state` is 0 at its beginning, an act by hand has an actor."""

    alert_id: str
    position: int
    occur_us: int
    from_state: int
    to_state: int
    value: float | None = None
    actor: str = ""
    comment: str = ""
    act: Act = Act.CONDITION


class Change(NamedTuple):
    """An alert that changed, the step that it took, and the event that tells of it; None when only its value did."""

    alert: Alert
    step: AlertStep | None = None
    event: Event | None = None
    intents: tuple[Intent, ...] = ()
    """What somebody may want to be notified of."""


def begin(alert_id: str, rule: Rule, name: str, instance: Instance) -> Change:
    """A new alert."""
    alert = Alert(
        id=alert_id,
        rule_id=rule.id,
        rule_name=rule.name,
        name=name,
        labels=labels_of(rule, name),
        severity=rule.severity,
        threshold=rule.first.threshold,
        fingerprint=fingerprint(rule),
        rule_version=rule.version,
        instance=instance,
        summary=summary_of(rule, name, instance),
        clears_when=clears_when(rule),
        update_us=instance.active_us,
    )
    return _stepped(alert, 0, instance.active_us)


def advance(alert: Alert, rule: Rule, instance: Instance | None, ts_us: int) -> Change:
    """The alert after its instance took a step; None is a PENDING one that is gone."""
    before = alert.instance
    if instance is None:
        instance = replace(before, state=AlertState.RESOLVED, resolve_us=ts_us)
    summary = summary_of(rule, alert.name, instance) if instance.live else alert.summary
    after = replace(alert, instance=instance, summary=summary, update_us=ts_us)
    if instance.state == before.state:
        return Change(after)
    return _stepped(after, before.state, ts_us)


def acknowledge(
    alert: Alert, actor: str, comment: str, now_us: int, expire_us: int | None = None
) -> Change:
    """Somebody takes care of it, until `expire_us` when there is one."""
    after = replace(
        alert,
        acknowledge_us=now_us,
        acknowledged_by=actor,
        acknowledge_comment=comment,
        acknowledge_expire_us=expire_us,
        update_us=now_us,
    )
    return _acted(after, alert, Act.ACKNOWLEDGE, now_us, actor, comment)


def unacknowledge(alert: Alert, actor: str, comment: str, now_us: int) -> Change:
    """Nobody takes care of it any more; without an actor its time was over."""
    after = replace(
        alert,
        acknowledge_us=None,
        acknowledged_by="",
        acknowledge_comment="",
        acknowledge_expire_us=None,
        update_us=now_us,
    )
    return _acted(after, alert, Act.UNACKNOWLEDGE, now_us, actor, comment)


def assign(alert: Alert, assignee: str, actor: str, comment: str, now_us: int) -> Change:
    """Somebody has it; nobody when `assignee` is empty."""
    after = replace(alert, assignee=assignee, update_us=now_us)
    return _acted(after, alert, Act.ASSIGN, now_us, actor, comment)


def comment(alert: Alert, actor: str, said: str, now_us: int) -> Change:
    """Somebody says something."""
    return _acted(replace(alert, update_us=now_us), alert, Act.COMMENT, now_us, actor, said)


def suppress(alert: Alert, suppression: Suppression, why: str, ts_us: int) -> Change:
    """It begins or ends to be kept quiet."""
    after = replace(alert, suppression=suppression, update_us=ts_us)
    return _acted(after, alert, Act.SUPPRESSION, ts_us, "", why)


def resolve(alert: Alert, actor: str, reason: str, now_us: int) -> Change:
    """Somebody ends it by hand."""
    instance = resolve_by_hand(alert.instance, now_us)
    after = replace(alert, instance=instance, resolved_by=actor, update_us=now_us)
    return _acted(after, alert, Act.RESOLVE, now_us, actor, reason)


def end_by_rule(alert: Alert, actor: str, why: str, ts_us: int) -> Change:
    """Its rule is another one now, or none: what was said of it holds no more. Nothing is latched."""
    instance = replace(resolve_by_hand(alert.instance, ts_us), latched=False)
    after = replace(alert, instance=instance, update_us=ts_us)
    return _acted(after, alert, Act.RULE_CHANGE, ts_us, actor, why)


def matched_labels(alert: Alert) -> dict[str, str]:
    """What matchers of silences, inhibitions and channels, and groups, look at."""
    return {
        **alert.labels,
        "alertname": alert.rule_name,
        "rule_id": alert.rule_id,
        "severity": alert.severity.name.lower(),
    }


def fired(alert: Alert) -> bool:
    """Whether it ever fired: one that did not is no history."""
    return alert.instance.fire_us is not None


def _stepped(alert: Alert, from_state: int, occur_us: int) -> Change:
    """A step that the condition took."""
    step = AlertStep(
        alert.id, alert.steps, occur_us, from_state, alert.instance.state, alert.instance.value
    )
    return _told(replace(alert, steps=alert.steps + 1), step)


def _acted(
    after: Alert, before: Alert, act: Act, occur_us: int, actor: str, comment: str
) -> Change:
    """A step that is no step of the condition."""
    states = (before.instance.state, after.instance.state)
    step = AlertStep(after.id, after.steps, occur_us, *states, None, actor, comment, act)
    return _told(replace(after, steps=after.steps + 1), step)


_TOLD = {
    Act.ACKNOWLEDGE: IntentKind.ACKNOWLEDGED,
    Act.UNACKNOWLEDGE: IntentKind.UNACKNOWLEDGED,
    Act.SUPPRESSION: IntentKind.SUPPRESSION,
}


def _told(alert: Alert, step: AlertStep) -> Change:
    event = _event_of(alert, step.from_state, step.occur_us)
    if event is not None:
        firing = event.type == EventType.ALERT_FIRING
        kind: IntentKind | None = IntentKind.FIRING if firing else IntentKind.RESOLVED
    else:
        kind = _TOLD.get(step.act)
    intents = () if kind is None else (Intent(alert.id, kind, step.occur_us),)
    return Change(alert, step, event, intents)


def _event_of(alert: Alert, from_state: int, occur_us: int) -> Event | None:
    """FIRING once, and RESOLVED where a FIRING was; the ids follow from that, so publishing twice is harmless."""
    state = alert.instance.state
    if state == from_state or not fired(alert):
        return None
    if state == AlertState.FIRING and from_state in (0, AlertState.PENDING):
        kind, severity = EventType.ALERT_FIRING, alert.severity
    elif state == AlertState.RESOLVED:
        kind, severity = EventType.ALERT_RESOLVED, Severity.INFO
    else:
        return None
    by = f" by {alert.resolved_by}" if alert.resolved_by else ""
    said = alert.summary if kind == EventType.ALERT_FIRING else f"Resolved{by}: {alert.summary}"
    return Event(
        id=f"{alert.id}:{state.name.lower()}",
        type=kind,
        occur_us=occur_us,
        receive_us=occur_us,
        source=SERVER_SOURCE,
        agent_id=alert.labels.get("agent_id", ""),
        severity=severity,
        message=said,
        attributes={
            **alert.labels,
            "alert_id": alert.id,
            "rule_id": alert.rule_id,
            "rule_name": alert.rule_name,
        },
    )
