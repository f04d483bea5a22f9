"""A signal that something changed, without saying what: whoever waits reads for itself from where it stands.

No queue, so no bound to hit: a slow waiter misses signals and never changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """A counter that can be awaited. `version` grows with each `notify`."""

    def __init__(self) -> None:
        self.version = 0
        self.elsewhere: Callable[[], None] | None = None
        """Called with each `notify`: tells those who wait in other processes."""
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Something changed here: wakes all who wait, wherever they are. Call it on the loop."""
        self.wake()
        if self.elsewhere is not None:
            self.elsewhere()

    def wake(self) -> None:
        """Something changed somewhere: wakes all who wait here, and tells nobody else of it."""
        self.version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait(self, seen: int, timeout: float) -> bool:
        """Returns True as soon as `version` differs from `seen`, False after `timeout` seconds."""
        if self.version != seen:
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
