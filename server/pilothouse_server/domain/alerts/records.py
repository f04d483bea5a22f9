"""An alert as people see it: an instance with its name, its words and what was done about it, and each step of its
life.

The condition (`Instance`) and the human side (acknowledged, resolved by whom) are two axes that are never merged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple

from pilothouse_server.domain.alerts.conditions import Observation
from pilothouse_server.domain.alerts.documents import fingerprint
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.states import AlertState, Instance, resolve_by_hand
from pilothouse_server.domain.alerts.suppression import LOUD, Suppression
from pilothouse_server.domain.alerts.words import AlertKind as AlertKind  # noqa: PLC0414
from pilothouse_server.domain.alerts.words import Evidence as Evidence  # noqa: PLC0414
from pilothouse_server.domain.alerts.words import (
    annotations_of,
    clears_when,
    evidence_of,
    labels_of,
    summary_of,
)
from pilothouse_server.domain.events import Event, EventType, Severity
from pilothouse_server.domain.notifications.intents import Intent, IntentKind
from pilothouse_server.domain.settling import SERVER_SOURCE


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
        """Changes with its state and with what was done about it; not with its value, and not with what was said."""
        done = (self.acknowledge_us, self.assignee)
        decided = (self.instance.state, *done, self.instance.resolve_us)
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
    request_id: str = ""
    """Under which an act was asked for, so that a repeat is known as one; empty where there was none."""


class Change(NamedTuple):
    """An alert that changed, the step that it took, and the event that tells of it; None when only its value did."""

    alert: Alert
    step: AlertStep | None = None
    event: Event | None = None
    intents: tuple[Intent, ...] = ()
    """What somebody may want to be notified of."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What an alert is about, from its first slot to its last."""

    alert_id: str
    rule: Rule
    name: str
    kind: AlertKind = AlertKind.CONDITION
    agent_type: str = ""
    """Of the agent that it is about, where it is about one."""


def begin(of: Beginning, instance: Instance, observed: Sequence[Observation]) -> Change:
    """A new alert."""
    rule, name, kind = of.rule, of.name, of.kind
    labels = labels_of(rule, name, kind, agent_type=of.agent_type)
    alert = Alert(
        id=of.alert_id,
        rule_id=rule.id,
        rule_name=rule.name,
        name=name,
        labels=labels,
        severity=rule.severity,
        threshold=rule.first.threshold,
        kind=kind,
        fingerprint=fingerprint(rule),
        rule_version=rule.version,
        instance=instance,
        summary=summary_of(rule, name, observed, kind),
        clears_when=clears_when(rule, kind),
        annotations=annotations_of(rule, labels, instance.value),
        evidence=evidence_of(rule, name, observed),
        update_us=instance.active_us,
        steps=1,
    )
    step = AlertStep(of.alert_id, 0, instance.active_us, 0, instance.state, instance.value)
    return _told(alert, step)


def advance(
    alert: Alert,
    rule: Rule,
    instance: Instance | None,
    observed: Sequence[Observation],
    ts_us: int,
) -> Change:
    """The alert after its instance took a step; None is a PENDING one that is gone. Its words and evidence are of the
    newest slot in which it was not over."""
    before = alert.instance
    if instance is None:
        instance = replace(before, state=AlertState.RESOLVED, resolve_us=ts_us)
    after = replace(alert, instance=instance, update_us=ts_us)
    if instance.live:
        after = replace(
            after,
            summary=summary_of(rule, alert.name, observed, alert.kind),
            evidence=evidence_of(rule, alert.name, observed),
            clears_when=clears_when(rule, alert.kind),
            annotations=annotations_of(rule, alert.labels, instance.value),
        )
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
    return _acted(after, alert, Act.ACKNOWLEDGE, actor, comment)


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
    return _acted(after, alert, Act.UNACKNOWLEDGE, actor, comment)


def assign(alert: Alert, assignee: str, actor: str, comment: str, now_us: int) -> Change:
    """Somebody has it; nobody when `assignee` is empty. The step says who, since the next one may give it away."""
    after = replace(alert, assignee=assignee, update_us=now_us)
    said = f"to {assignee or 'nobody'}"
    return _acted(after, alert, Act.ASSIGN, actor, f"{said}: {comment}" if comment else said)


def comment(alert: Alert, actor: str, said: str, now_us: int) -> Change:
    """Somebody says something."""
    return _acted(replace(alert, update_us=now_us), alert, Act.COMMENT, actor, said)


def flap(alert: Alert, ts_us: int, *, flapping: bool) -> Change:
    """It begins to flap, or flaps no more: each is told once."""
    kept = alert.suppression._replace(flapping=flapping)
    why = "begins and ends too often to be told each time" if flapping else "flaps no more"
    kind = IntentKind.FLAPPING if flapping else IntentKind.FLAPPED
    change = suppress(alert, kept, why, ts_us)
    return change._replace(intents=(Intent(alert.id, kind, ts_us),))


def suppress(alert: Alert, suppression: Suppression, why: str, ts_us: int) -> Change:
    """It begins or ends to be kept quiet."""
    after = replace(alert, suppression=suppression, update_us=ts_us)
    return _acted(after, alert, Act.SUPPRESSION, "", why)


def resolve(alert: Alert, actor: str, reason: str, now_us: int) -> Change:
    """Somebody ends it by hand."""
    instance = resolve_by_hand(alert.instance, now_us)
    after = replace(alert, instance=instance, resolved_by=actor, update_us=now_us)
    return _acted(after, alert, Act.RESOLVE, actor, reason)


def end_by_rule(alert: Alert, actor: str, why: str, ts_us: int) -> Change:
    """Its rule is another one now, or none: what was said of it holds no more. Nothing is latched."""
    instance = replace(resolve_by_hand(alert.instance, ts_us), latched=False)
    after = replace(alert, instance=instance, update_us=ts_us)
    return _acted(after, alert, Act.RULE_CHANGE, actor, why)


def matched_labels(alert: Alert) -> dict[str, str]:
    """What matchers of silences, inhibitions and channels, and groups, look at."""
    return matchable(alert.labels, alert.rule_name, alert.rule_id, alert.severity)


def matchable(
    labels: Mapping[str, str], rule_name: str, rule_id: str, severity: Severity
) -> dict[str, str]:
    """The same, of what is known of an alert."""
    named = {"alertname": rule_name, "rule_id": rule_id, "severity": severity.name.lower()}
    return {**labels, **named}


def fired(alert: Alert) -> bool:
    """Whether it ever fired: one that did not is no history."""
    return alert.instance.fire_us is not None


def _stepped(alert: Alert, from_state: int, occur_us: int) -> Change:
    """A step that the condition took."""
    step = AlertStep(
        alert.id, alert.steps, occur_us, from_state, alert.instance.state, alert.instance.value
    )
    return _told(replace(alert, steps=alert.steps + 1), step)


def _acted(after: Alert, before: Alert, act: Act, actor: str, said: str) -> Change:
    """A step that is no step of the condition."""
    states = (before.instance.state, after.instance.state)
    step = AlertStep(after.id, after.steps, after.update_us, *states, None, actor, said, act)
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
