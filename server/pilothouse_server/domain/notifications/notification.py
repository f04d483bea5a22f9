"""What is told to a channel: complete in itself, so that a stored one can be sent years later and to anybody.

Its id is the idempotency key: the same in every try, and another for everything else that is ever told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final, Literal

Status = Literal["firing", "resolved"]

FIRING: Final = "firing"
RESOLVED: Final = "resolved"


class DeliveryKind(IntEnum):
    """Why something is told. The numbers are those of the contract."""

    CHANGE = 1
    """Something began or ended in a group of alerts."""
    REPEAT = 2
    """A group that did not change is told again."""
    ESCALATION = 3
    """Nobody acknowledged in time."""
    FLAPPING = 4
    """Alerts begin, or end, to flap."""
    HEARTBEAT = 5
    """All is well."""


@dataclass(frozen=True, slots=True)
class NotifiedAlert:
    """One alert as it is told."""

    alert_id: str
    fingerprint: str
    """Of its labels: the same for each alert that the same instance ever raises."""
    status: Status
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_us: int
    ends_us: int | None = None
    value: float | None = None
    generator_url: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """Something told to one channel about one group of alerts."""

    id: str
    kind: DeliveryKind
    channel_id: str
    group_key: str
    """What tells the group from every other one, of every channel."""
    group_labels: Mapping[str, str]
    status: Status
    """Firing when any alert of it does."""
    alerts: tuple[NotifiedAlert, ...]
    truncated: int = 0
    """Alerts that are counted and not listed."""
    reason: str = ""
    """Why it is told, in words."""
    create_us: int = 0
    firing_count: int = 0
    """With those that are not listed."""
    resolved_count: int = 0

    @property
    def common_labels(self) -> dict[str, str]:
        """What all listed alerts have in common."""
        return _common([alert.labels for alert in self.alerts])

    @property
    def common_annotations(self) -> dict[str, str]:
        """What all listed alerts have in common."""
        return _common([alert.annotations for alert in self.alerts])

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        alerts = [_fields_of(alert) for alert in self.alerts]
        return _fields_of(self) | {"kind": int(self.kind), "alerts": alerts}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Notification:
        """What was stored."""
        given = dict(document)
        given["kind"] = DeliveryKind(document["kind"])
        given["alerts"] = tuple(NotifiedAlert(**each) for each in document["alerts"])
        return cls(**given)


def _fields_of(told: NotifiedAlert | Notification) -> dict[str, Any]:
    """Not `asdict`, which copies everything that is in it: of a thousand alerts that takes a third of a second."""
    return {field.name: getattr(told, field.name) for field in fields(told)}


def _common(maps: Sequence[Mapping[str, str]]) -> dict[str, str]:
    if not maps:
        return {}
    first, *others = maps
    return {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }
