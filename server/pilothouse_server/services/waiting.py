"""Tells those who watch workflows when the reason why one waits became another without an event of that workflow: an
engine fell silent or was heard again, a queue was paused, agents of a type came, went or have room again.

What such reasons depend on is a handful of *conditions*, one for each engine and for each type of agents that somebody
waits for. The lead compares them look by look, and gives the workflows that may wait for one that changed a new
revision. So the cost is bounded by what there is to compare and by `TOUCHED`, however many watch. A condition counts
when two looks in a row find it so: a pool that is full for a moment concerns nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import Clock
from pilothouse_server.services.configuration import Configured
from pilothouse_server.services.fanout import Changes

LOOK: Final = 1.0
"""Seconds between two looks."""
TOUCHED: Final = 2_000
"""Workflows, the newest ones, that are shown again when a condition changed; others are right when they are read."""
AT_ONCE: Final = 500
"""Of them in one transaction."""
HOUR_US: Final = 3600 * 1_000_000
KEPT_US: Final = 32 * 24 * HOUR_US
"""An engine that was not heard for longer is forgotten; that is looked after once an hour."""


class Kind(IntEnum):
    """What a condition is of."""

    ENGINE = 1
    AGENTS = 2


class Condition(NamedTuple):
    """What reasons depend on: an engine, or the agents of a type."""

    kind: Kind
    name: str


class WaitingStore(Protocol):
    """Where conditions are read, and workflows are shown again."""

    async def conditions(
        self, now_us: int, offline_after_us: int, silent_after_us: int
    ) -> Mapping[Condition, str]:
        """How each is now, in a word; one that concerns nobody is left out."""
        ...

    async def concerned(self, changed: Sequence[Condition], limit: int) -> Sequence[str]:
        """The newest workflows that may wait for one of them."""
        ...

    async def show(self, workflow_ids: Sequence[str]) -> None:
        """Gives them new revisions."""
        ...

    async def forget(self, before_us: int) -> None:
        """Forgets engines that were not heard since."""
        ...


class WaitingKeeper:
    """The duty, of one replica only. `waiting_for` tells what it retries, "" when all is well."""

    def __init__(
        self, store: WaitingStore, clock: Clock, changes: Changes, configured: Configured
    ) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._configured = configured
        self._told: dict[Condition, str] = {}
        self._seen: Mapping[Condition, str] = {}
        self._forgot_us = 0
        self.waiting_for = ""

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            try:
                await self.look()
                await self._forget(self._clock.now_us())
                self.waiting_for = ""
            except Unavailable as error:
                self.waiting_for = error.message
            await self._clock.sleep(LOOK)

    async def look(self) -> int:
        """Shows workflows again that a change concerns; returns how many. What changed while nobody led is found by
        the first two looks, to which everything is new."""
        config = self._configured()
        now = await self._store.conditions(
            self._clock.now_us(), config.agent_offline_after_us, config.engine_silent_after_us
        )
        steady = {each: how for each, how in now.items() if self._seen.get(each) == how}
        changed = [each for each, how in steady.items() if self._told.get(each) != how]
        self._seen = now
        shown = 0
        if changed:
            shown = await self._show(changed)
        self._told = {each: how for each, how in (self._told | steady).items() if each in now}
        return shown

    async def _forget(self, now_us: int) -> None:
        if now_us - self._forgot_us >= HOUR_US:
            await self._store.forget(now_us - KEPT_US)
            self._forgot_us = now_us

    async def _show(self, changed: Sequence[Condition]) -> int:
        concerned = await self._store.concerned(sorted(changed), TOUCHED)
        for start in range(0, len(concerned), AT_ONCE):
            await self._store.show(concerned[start : start + AT_ONCE])
        if concerned:
            self._changes.notify()
        return len(concerned)
