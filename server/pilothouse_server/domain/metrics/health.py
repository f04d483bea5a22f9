"""The state of the fleet in one word, always with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pilothouse_server.domain.metrics.limits import SECOND_US
from pilothouse_server.domain.metrics.snapshot import (
    AgentCounts,
    FiringAlerts,
    Health,
    HealthState,
    SeriesMetrics,
    rate,
)

UNHEALTHY_LAG_US = 30 * SECOND_US
DEGRADED_LAG_US = 5 * SECOND_US


class Behind(NamedTuple):
    """A shard whose numbers are older than those of the others, or than they may be."""

    lag_us: int
    reason: str


def judge(
    *,
    has_data: bool,
    fleet: SeriesMetrics,
    agents: AgentCounts,
    firing: FiringAlerts,
    reader_lag_us: int | None,
    shards: Sequence[Behind] = (),
    troubles: Sequence[str] = (),
) -> Health:
    """UNHEALTHY for any grave reason, else DEGRADED for any other, else HEALTHY; UNKNOWN without data. With several
    shards, those that are behind are named in place of the one reader. `troubles` is what is wrong with the server
    itself: numbers or rows may be old then, but the fleet need not be worse for it."""
    score = _score(fleet, agents)
    if not has_data:
        behind = (shard.reason for shard in shards)
        reasons = ("no event has been read yet", *troubles, *behind)
        return Health(HealthState.UNKNOWN, reasons, score)
    lag_us = reader_lag_us or 0
    grave = [*_grave(fleet, agents, firing)]
    if lag_us > UNHEALTHY_LAG_US:
        grave.append(f"the reader is {seconds(lag_us)} behind the log")
    grave += [shard.reason for shard in shards if shard.lag_us > UNHEALTHY_LAG_US]
    minor = [*troubles, *_minor(agents, firing)]
    if DEGRADED_LAG_US < lag_us <= UNHEALTHY_LAG_US:
        minor.append(f"the reader is {seconds(lag_us)} behind the log")
    minor += [shard.reason for shard in shards if shard.lag_us <= UNHEALTHY_LAG_US]
    if grave:
        return Health(HealthState.UNHEALTHY, (*grave, *minor), score)
    if minor:
        return Health(HealthState.DEGRADED, tuple(minor), score)
    return Health(HealthState.HEALTHY, (), score)


def _grave(fleet: SeriesMetrics, agents: AgentCounts, firing: FiringAlerts) -> list[str]:
    reasons: list[str] = []
    if firing.critical:
        reasons.append(_count(firing.critical, "critical alert fires", "critical alerts fire"))
    queued = fleet.states.queue_depth if fleet.states else 0
    # A fleet that never named an agent is run without any: nothing is known to be missing.
    if queued and agents.seen and not agents.online:
        reasons.append(f"no agent is online while {queued:,} wait")
    return reasons


def _minor(agents: AgentCounts, firing: FiringAlerts) -> list[str]:
    reasons: list[str] = []
    if firing.warning:
        reasons.append(_count(firing.warning, "warning fires", "warnings fire"))
    offline = agents.known - agents.online
    if offline > 0:
        reasons.append(
            f"{_count(offline, 'agent is', 'agents are')} offline, of {agents.known:,} known"
        )
    return reasons


def _score(fleet: SeriesMetrics, agents: AgentCounts) -> float | None:
    known = [
        share
        for share in (fleet.windows[1].success_rate, rate(agents.online, agents.known))
        if share is not None
    ]
    return min(known, default=None)


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def seconds(us: int) -> str:
    """A time in words."""
    return f"{us / SECOND_US:,.0f} s"
