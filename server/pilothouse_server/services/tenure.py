"""Does, for as long as a lease is ours, the work that belongs to it; and waits for the lease again.

Each tenure makes its parts anew, from what is stored: what an earlier one had in memory is not to be trusted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, cast

from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.ports import Clock, Leases, Tenure

PAUSE: Final = 0.5
"""Seconds after a tenure that ended before its time until the lease is asked for again."""

Part = Coroutine[Any, Any, None]
"""What runs until it is cancelled."""

Parts = Mapping[str, Part]
"""By name."""

Begin = Callable[[Tenure], AbstractAsyncContextManager[Parts]]
"""Makes the parts of one tenure; on leaving, what they have left is stored."""

_log = logging.getLogger(__name__)


async def serve(leases: Leases, lease: str, begin: Begin, clock: Clock) -> None:
    """Runs until it is cancelled. A part that fails for any other reason than a lost lease or a database that is away
    ends it with its exception."""
    while True:
        async with leases.hold(lease) as tenure:
            try:
                await _serve_one(tenure, begin)
            except* LeaseLost as lost:
                _log.warning("tenure ends: %s", _first(lost))
            except* Unavailable as away:
                # Whatever it was that could not be stored is made again from the log.
                _log.warning("tenure of %s ends: %s", lease, _first(away))
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        await clock.sleep(PAUSE)


async def _serve_one(tenure: Tenure, begin: Begin) -> None:
    async with begin(tenure) as parts, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(part, name=name) for name, part in parts.items()]
        await tenure.lost()
        for each in running:
            each.cancel()


def _first(error: BaseException) -> str:
    match error:
        case BaseExceptionGroup(exceptions=(first, *_)):
            return _first(cast("BaseException", first))
        case _:
            return str(error)
