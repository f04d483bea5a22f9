"""The clock of the machine."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Implements the Clock port with the wall and the monotonic clock of the operating system."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns after that many seconds."""
        await asyncio.sleep(seconds)
