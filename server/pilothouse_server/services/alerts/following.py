"""How the replica that leads takes up what became of the rules, whoever changed them and wherever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes

LOOK: Final = 3.0
"""Seconds between two looks when nobody rings."""
RETRY: Final = 0.5
"""Seconds after which it looks again when the database did not answer."""


class CountedRules(NamedTuple):
    """All rules, and how many changes of rules there were until then."""

    changes: int
    rules: Sequence[Rule]


class RuleSource(Protocol):
    """Where rules come from."""

    async def since(self, changes: int | None) -> CountedRules | None:
        """The rules, when there was a change since so many. Raises Unavailable."""
        ...


class Ruled(Protocol):
    """What goes by the rules."""

    def apply(self, rules: Sequence[Rule], ts_us: int) -> None:
        """From now on these are the rules."""
        ...


class RuleFollower:
    """Gives each change of the rules to the engine, within one turn of the loop: never in the midst of a tick."""

    def __init__(self, source: RuleSource, engine: Ruled, clock: Clock, rules: Changes) -> None:
        self._source = source
        self._engine = engine
        self._clock = clock
        self._rules = rules
        self._changes: int | None = None

    async def run(self) -> None:
        """Follows until it is cancelled."""
        while True:
            seen = self._rules.version
            try:
                await self.look()
            except Unavailable:
                await self._clock.sleep(RETRY)
                continue
            await self._rules.wait(seen, LOOK)

    async def look(self) -> bool:
        """Whether there was a change, which the engine has by then. Raises Unavailable."""
        found = await self._source.since(self._changes)
        if found is None:
            return False
        self._engine.apply(found.rules, self._clock.now_us())
        self._changes = found.changes
        return True
