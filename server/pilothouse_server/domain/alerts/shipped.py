"""The rules of a new database, and those that are built in: about rules, and about heartbeats from outside."""

from __future__ import annotations

from pilothouse_server.domain.alerts.conditions import AlertMetric, Comparison, Threshold
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension

OVER_LIMIT = Rule(
    id="rule-over-limit",
    name="RuleOverLimit",
    description="A rule has more instances than are kept: those that exist stay, new ones are refused.",
    condition=Threshold(
        metric=AlertMetric.QUEUE_DEPTH, comparison=Comparison.GREATER_THAN, threshold=0
    ),
    severity=Severity.WARNING,
)
"""The rule about rules; its instances are rule ids, its value how many instances were refused in the slot."""

HEARTBEAT_MISSED = Rule(
    id="heartbeat-missed",
    name="HeartbeatMissed",
    description=(
        "A heartbeat that should come in from outside is overdue. One alert for each, of the heartbeat's own severity."
    ),
    condition=Threshold(
        metric=AlertMetric.AGENT_SILENCE, comparison=Comparison.GREATER_OR_EQUAL, threshold=1
    ),
    severity=Severity.CRITICAL,
)
"""Its instances are ids of heartbeats; the threshold of each is how long its heartbeat may be away, in seconds."""

BUILT_IN = (OVER_LIMIT, HEARTBEAT_MISSED)
"""Rules that nobody makes, changes or deletes."""


SHIPPED: tuple[Rule, ...] = (
    Rule(
        id="latency-p95",
        name="Latency p95",
        description=(
            "95 % of the workflows that ended in the last 5 minutes should have taken no longer than "
            "500 ms. Fires when that is not so for 5 minutes; fewer than 20 ended workflows in the "
            "window say too little to judge by."
        ),
        condition=Threshold(
            metric=AlertMetric.LATENCY_P95,
            comparison=Comparison.GREATER_THAN,
            threshold=0.5,
            window_us=5 * MINUTE_US,
            min_samples=20,
        ),
        for_us=5 * MINUTE_US,
        keep_firing_us=MINUTE_US,
        severity=Severity.WARNING,
    ),
    Rule(
        id="error-rate",
        name="Error rate",
        description=(
            "More than 5 % of the workflows that ended in the last 5 minutes failed. Fires after 1 "
            "minute; fewer than 20 ended workflows say too little to judge by, so that one failure in"
            " an idle fleet is no outage."
        ),
        condition=Threshold(
            metric=AlertMetric.ERROR_RATE,
            comparison=Comparison.GREATER_THAN,
            threshold=0.05,
            window_us=5 * MINUTE_US,
            min_samples=20,
        ),
        for_us=MINUTE_US,
        keep_firing_us=MINUTE_US,
        severity=Severity.CRITICAL,
    ),
    Rule(
        id="agent-offline",
        name="Agent offline",
        description=(
            "Nothing was heard of an agent for 2 minutes, and it did not say goodbye. One alert for "
            "each agent."
        ),
        condition=Threshold(
            metric=AlertMetric.AGENT_SILENCE,
            comparison=Comparison.GREATER_OR_EQUAL,
            threshold=120.0,
            dimension=Dimension.AGENT,
        ),
        severity=Severity.WARNING,
    ),
    Rule(
        id="success-rate-sla",
        name="Success rate (SLA)",
        description=(
            "Less than 99.5 % of the workflows that ended in the last hour completed. Fires after 5 "
            "minutes; fewer than 200 ended workflows say too little, since one failure among them "
            "would be more than 0.5 %."
        ),
        condition=Threshold(
            metric=AlertMetric.SUCCESS_RATE,
            comparison=Comparison.LESS_THAN,
            threshold=0.995,
            window_us=60 * MINUTE_US,
            min_samples=200,
        ),
        for_us=5 * MINUTE_US,
        keep_firing_us=5 * MINUTE_US,
        severity=Severity.CRITICAL,
        labels={"sla": "success-rate"},
    ),
    Rule(
        id="queue-depth",
        name="Queue depth",
        description=(
            "More than 1,000 workflows and tasks wait. Fires after 1 minute, so that a burst that is "
            "taken at once does not."
        ),
        condition=Threshold(
            metric=AlertMetric.QUEUE_DEPTH, comparison=Comparison.GREATER_THAN, threshold=1000.0
        ),
        for_us=MINUTE_US,
        keep_firing_us=MINUTE_US,
        severity=Severity.WARNING,
    ),
)
"""The rules of a new database. Their ids are stable."""
