"""How much a reader may have: a rate, and what was saved up while less was wanted."""

from __future__ import annotations

from pilothouse_server.ports import Clock

SAVED = 5.0
"""Seconds of the rate that can be saved up."""


class Allowance:
    """A token bucket of `rate` a second; it begins full."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._most = rate * SAVED
        self._left = self._most
        self._at = clock.monotonic()

    @property
    def left(self) -> int:
        """How many may be had now."""
        now = self._clock.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return int(self._left)

    def spend(self, count: int) -> None:
        """Takes what was had; at most `left`."""
        self._left -= count
