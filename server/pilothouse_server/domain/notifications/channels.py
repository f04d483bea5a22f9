"""Channels, escalations and heartbeats from outside: where notifications go, whom to tell next, what must be heard.

A channel carries nothing secret that could be read: its target says what may be shown, and all else (the whole URL,
signing secret, values of headers) is in `sealed`, which only the sender opens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse_server.domain.alerts.matchers import Matcher
from pilothouse_server.domain.events import Severity

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US

GROUP_INTERVAL_US = 5 * SECOND_US
REPEAT_INTERVAL_US = 4 * HOUR_US
RATE_PER_MINUTE = 60
MOST_CHANNELS = 200
MOST_ESCALATIONS = 200
MOST_HEARTBEATS = 1_000
MOST_ALERTS = 100
"""Alerts in one request of a webhook, where the channel does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """The JSON of Alertmanager's webhook, version 4."""

    url: str
    """As it may be shown; the whole one is sealed where that hides something."""
    headers: tuple[str, ...] = ()
    """Names only."""
    signed: bool = False
    max_alerts: int = MOST_ALERTS


@dataclass(frozen=True, slots=True)
class CloudEvents:
    """CloudEvents 1.0, structured, one for each alert."""

    url: str
    """As of a webhook."""
    headers: tuple[str, ...] = ()
    signed: bool = False
    source: str = "pilothouse"


@dataclass(frozen=True, slots=True)
class Apprise:
    """Any service that the library Apprise knows."""

    services: tuple[str, ...]
    """Their names, one for each URL."""


Target = Webhook | CloudEvents | Apprise


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is sealed of a channel; never shown, not even by repr."""

    url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    urls: tuple[str, ...] = field(default=(), repr=False)
    """Apprise's."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A place that notifications go to, and how they are gathered for it. Times are microseconds."""

    id: str
    name: str
    target: Target
    enabled: bool = True
    is_default: bool = False
    matchers: tuple[Matcher, ...] = ()
    min_severity: Severity | None = None
    group_by: tuple[str, ...] = ()
    group_wait_us: int = 0
    group_interval_us: int = GROUP_INTERVAL_US
    repeat_interval_us: int = REPEAT_INTERVAL_US
    skip_resolved: bool = False
    rate_per_minute: int = RATE_PER_MINUTE
    heartbeat_us: int | None = None
    version: int = 1
    create_us: int = 0
    update_us: int = 0
    updated_by: str = ""
    sealed: str = field(default="", repr=False)
    """Its Secrets, encrypted; "" when it has none."""


@dataclass(frozen=True, slots=True)
class EscalationStep:
    """Who is told how long after the alert fired."""

    after_us: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Escalation:
    """Steps that are taken one after another until the alert is acknowledged or resolved."""

    id: str
    name: str
    steps: tuple[EscalationStep, ...]
    """By their time."""
    repeat_us: int | None = None
    """After the last step its channels are told again so often."""
    version: int = 1
    create_us: int = 0
    update_us: int = 0
    updated_by: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Something that has to be heard of at an interval."""

    id: str
    interval_us: int
    grace_us: int = 0
    description: str = ""
    severity: Severity = Severity.CRITICAL
    channels: tuple[str, ...] = ()
    """Ids; empty are those that are the default."""
    create_us: int = 0
    last_us: int | None = None
    due_us: int = 0
    """When it is late, if it is not heard before. Later than one would count where the server could not hear it."""
    count: int = 0
