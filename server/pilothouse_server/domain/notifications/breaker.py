"""Whether a channel is tried at all: after five failures in a row it is left alone, then tried with one notification at
a time until one arrives. A sliding minute bounds how many are sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from pilothouse_server.domain.notifications.deliveries import (
    LONGEST_RETRY_AFTER_US,
    MINUTE_US,
    MOST_ERROR,
    SECOND_US,
)
from pilothouse_server.domain.notifications.receipts import DeliveryFailed

OPENS_AFTER: Final = 5
"""Failures in a row."""
FIRST_REST_US: Final = 5 * SECOND_US
"""How long a channel is left alone at first, about; doubled with each probe that fails."""
LAST_REST_US: Final = 5 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Breaker:
    """How a channel did, and until when it is left alone."""

    failures: int = 0
    """Since the last success."""
    trips: int = 0
    """How often in a row it was left alone."""
    open_until_us: int | None = None
    """None while it is closed. Once it is over, one notification at a time is tried."""
    error: str = ""
    success_us: int | None = None
    beat_us: int | None = None
    """Of which slot the newest heartbeat was that arrived."""

    def room(self, now_us: int, under_way: int, most: int) -> int:
        """How many more may be sent now."""
        if self.open_until_us is None:
            return most - under_way
        # It never rests for longer; if it seems so, the clock was put back.
        rests = now_us < self.open_until_us <= now_us + LONGEST_RETRY_AFTER_US
        return 0 if rests else 1 - under_way

    def succeeded(self, now_us: int) -> Breaker:
        """One arrived."""
        return Breaker(success_us=now_us, beat_us=self.beat_us)

    def failed(self, failure: DeliveryFailed, now_us: int, jitter: float) -> Breaker:
        """One did not; `jitter` is a random number from 0 to 1. A receiver that says what is wrong with this one
        notification is there: it is not left alone for that."""
        after = replace(self, failures=self.failures + 1, error=failure.description[:MOST_ERROR])
        if failure.retry_after_us is not None:
            rest_us = min(failure.retry_after_us, LONGEST_RETRY_AFTER_US)
            return replace(after, open_until_us=max(now_us + rest_us, self.open_until_us or 0))
        if not failure.retryable or after.failures < OPENS_AFTER:
            return after
        if self.open_until_us is not None and now_us < self.open_until_us:
            return after  # others that were under way when it opened
        rest_us = min(LAST_REST_US, FIRST_REST_US << min(self.trips, 20))
        rest_us = round(rest_us * (0.5 + jitter / 2))
        return replace(after, trips=self.trips + 1, open_until_us=now_us + rest_us)


class Minute:
    """At most so many in any sixty seconds."""

    def __init__(self) -> None:
        self._sent: deque[int] = deque()

    def free_us(self, now_us: int, most: int) -> int:
        """When one more may be sent: now, or later."""
        while self._sent and self._sent[0] <= now_us - MINUTE_US:
            self._sent.popleft()
        return now_us if len(self._sent) < most else self._sent[-most] + MINUTE_US

    def note(self, now_us: int) -> None:
        """One is sent."""
        self._sent.append(now_us)
