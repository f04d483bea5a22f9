"""The clock of the machine, as the server keeps it: it never goes backwards and never stands still.

Folds, alert slots and deadlines all count on time that goes on. So when the wall clock is put back, ours runs at half
its speed until the two agree again; when it is put forward, ours follows at once and says by how much.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

STEP_US: Final = 1_000_000
"""A wall clock that moved by more than this against the monotonic one was put."""

_log = structlog.get_logger(__name__)


class SystemClock:
    """Implements the Clock port with the wall and the monotonic clock of the operating system."""

    stepped_us = 0

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._lock = threading.Lock()
        self._ran_us = monotonic_ns() // 1000
        self._wall_offset_us = self._offset_us = wall_ns() // 1000 - self._ran_us

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        with self._lock:
            ran_us = self._monotonic_ns() // 1000
            wall_offset_us = self._wall_ns() // 1000 - ran_us
            moved_us = wall_offset_us - self._wall_offset_us
            slowest_us = self._offset_us - (ran_us - self._ran_us) // 2
            before_us, self._offset_us = self._offset_us, max(wall_offset_us, slowest_us)
            self._ran_us, self._wall_offset_us = ran_us, wall_offset_us
            if self._offset_us - before_us > STEP_US:
                self.stepped_us += self._offset_us - before_us
        if abs(moved_us) > STEP_US:
            _say(moved_us)
        return ran_us + self._offset_us

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns after that many seconds."""
        await asyncio.sleep(seconds)


def _say(moved_us: int) -> None:
    seconds = abs(moved_us) / 1_000_000
    if moved_us > 0:
        _log.warning("the wall clock was put forward", seconds=round(seconds, 3))
    else:
        _log.warning(
            "the wall clock was put back; the server's time runs at half speed until they agree",
            seconds=round(seconds, 3),
        )
