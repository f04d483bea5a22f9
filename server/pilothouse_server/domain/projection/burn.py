"""What a workflow used in each of its last minutes, by the server's clock: how fast it goes on.

Minutes that are too far behind the newest one are forgotten, which comes to the same in whatever order they are told.
"""

from __future__ import annotations

from typing import Any, Final

from pilothouse_server.domain.events import Usage

MINUTE_US: Final = 60_000_000
MINUTES: Final = 6
"""The five that are over, and the one that runs."""


class Burn:
    """By the number of the minute: (tokens, cost)."""

    __slots__ = ("minutes",)

    def __init__(self) -> None:
        self.minutes: dict[int, tuple[int, int]] = {}

    def add(self, at_us: int, usage: Usage) -> None:
        """It used this at that time."""
        minute = at_us // MINUTE_US
        tokens, cost = self.minutes.get(minute, (0, 0))
        added = usage.input_tokens + usage.output_tokens
        self.minutes[minute] = (tokens + added, cost + usage.cost_micros)
        oldest = max(self.minutes) - MINUTES + 1
        if min(self.minutes) < oldest:
            self.minutes = {each: used for each, used in self.minutes.items() if each >= oldest}

    def within(self, since_us: int) -> tuple[int, int]:
        """Tokens and cost of the minutes that began at `since_us` or later."""
        first = -(-since_us // MINUTE_US)
        found = [used for minute, used in self.minutes.items() if minute >= first]
        return sum(tokens for tokens, _ in found), sum(cost for _, cost in found)

    def dump(self) -> list[Any]:
        """For JSON; `loaded` reads it."""
        return [[minute, *used] for minute, used in sorted(self.minutes.items())]

    @classmethod
    def loaded(cls, dumped: list[Any]) -> Burn:
        """What `dump` returned, again."""
        burn = cls()
        burn.minutes = {minute: (tokens, cost) for minute, tokens, cost in dumped}
        return burn
