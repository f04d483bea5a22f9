"""Notifications on their way, as rows of a log: when one is tried again, and when it is given up.

WAITING ──taken──▶ DELIVERED
   │ ▲
   │ └──retry── DEAD ◀──given up── WAITING
   └──drop──▶ DROPPED ◀──drop── DEAD
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pilothouse_server.domain.notifications.notification import DeliveryKind
from pilothouse_server.domain.notifications.receipts import DeliveryFailed

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US

FIRST_PAUSE_US: Final = SECOND_US
"""At most so long after the first failure, doubled with each."""
LAST_PAUSE_US: Final = 5 * MINUTE_US
LONGEST_RETRY_AFTER_US: Final = HOUR_US
"""A receiver that wants to be left alone for longer is asked again all the same."""
MOST_TRIES: Final = 500
GIVE_UP_US: Final = 24 * HOUR_US
"""After so long, or so many tries, a delivery is given up."""
MOST_ERROR: Final = 1_000
"""Characters of an error that are kept."""


class DeliveryState(IntEnum):
    """Where a delivery stands. The numbers are those of the contract."""

    WAITING = 1
    DELIVERED = 2
    DEAD = 3
    DROPPED = 4


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification to one channel, as people see it."""

    id: str
    channel_id: str
    channel_name: str
    kind: DeliveryKind
    state: DeliveryState
    group_labels: Mapping[str, str]
    alert_ids: Sequence[str]
    firing_count: int
    resolved_count: int
    create_us: int
    end_us: int | None
    retry_us: int | None
    attempts: int
    error: str
    status_code: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a try begins from."""

    since_us: int
    """Since when it is tried."""
    attempts: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a delivery after a try."""

    state: DeliveryState
    attempts: int
    at_us: int
    retry_us: int | None = None
    error: str = ""
    status_code: int = 0


def taken(standing: Standing, status_code: int | None, now_us: int) -> Verdict:
    """It arrived."""
    return Verdict(
        DeliveryState.DELIVERED, standing.attempts + 1, now_us, status_code=status_code or 0
    )


def failed(standing: Standing, failure: DeliveryFailed, now_us: int, jitter: float) -> Verdict:
    """It did not arrive, or nobody knows; `jitter` is a random number from 0 to 1. Full jitter, so that what failed
    together does not come back together."""
    attempts = standing.attempts + 1
    error, status = failure.description[:MOST_ERROR], failure.status_code or 0
    over = attempts >= MOST_TRIES or now_us - standing.since_us >= GIVE_UP_US
    if over or not failure.retryable:
        return Verdict(DeliveryState.DEAD, attempts, now_us, error=error, status_code=status)
    if failure.retry_after_us is not None:
        pause_us = min(failure.retry_after_us, LONGEST_RETRY_AFTER_US)
    else:
        pause_us = round(jitter * min(LAST_PAUSE_US, FIRST_PAUSE_US << min(attempts - 1, 20)))
    return Verdict(DeliveryState.WAITING, attempts, now_us, now_us + pause_us, error, status)
