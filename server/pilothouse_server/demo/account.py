"""Events of the change that is being made, before they are written down with it."""

from __future__ import annotations

import time
import uuid

from pilothouse.v1.events_pb2 import Event


class Account:
    """Each event gets its id, time and source here, so that it stays the same however often it is delivered.

    No two of one account have the same microsecond: which of two that follow at once is the newer one decides, for an
    agent, whether it is there.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._events: list[Event] = []
        self._newest_us = 0

    def report(self, event: Event) -> str:
        """Add one."""
        self._newest_us = max(time.time_ns() // 1_000, self._newest_us + 1)
        event.id = str(uuid.uuid4())
        event.source = self._source
        event.occur_time.FromMicroseconds(self._newest_us)
        self._events.append(event)
        return event.id

    def take(self) -> list[Event]:
        """All that were added since the last time."""
        events, self._events = self._events, []
        return events
