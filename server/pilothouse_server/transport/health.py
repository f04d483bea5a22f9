"""What health checks are told, kept in step with how the server is; and each change of it said once, in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from pilothouse_server.ports import Clock
from pilothouse_server.services.status import NOT_SERVING, Readiness, StatusSource

INTERVAL = 1.0
"""Seconds between two looks."""

_log = structlog.get_logger(__name__)


class HealthKeeper:
    """`run` it for as long as the server takes calls."""

    def __init__(
        self, source: StatusSource, set_serving: Callable[[bool], Awaitable[None]], clock: Clock
    ) -> None:
        self._source = source
        self._set_serving = set_serving
        self._clock = clock
        self._told = NOT_SERVING

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(INTERVAL)

    async def look(self) -> None:
        """Tells what has changed since the look before."""
        found, before = self._source.readiness(), self._told
        if found.ready != before.ready:
            await self._set_serving(found.ready)
        self._told = found
        _say(found, before)


def _say(found: Readiness, before: Readiness) -> None:
    for reason in found.reasons:
        # What is wrong often has numbers in it that change; who is wrong does not.
        if _who(reason) not in map(_who, before.reasons):
            _log.warning("degraded", what=reason, serving=found.ready)
    for reason in before.reasons:
        # That the server has started says itself.
        if reason not in NOT_SERVING.reasons and _who(reason) not in map(_who, found.reasons):
            _log.info("well again", what=_who(reason))


def _who(reason: str) -> str:
    return reason.partition(":")[0]
