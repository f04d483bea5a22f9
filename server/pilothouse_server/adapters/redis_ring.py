"""The newest entries of a stream, in memory, within a bound."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from pilothouse_server.adapters.redis_streams import START, Place
from pilothouse_server.ports import LogEntry

_LOOSE: Final = 1024
"""Entries that may be gone from the front before the lists are cut: each cut moves all that is behind."""


class Ring:
    """Entries in order: all there are after `start`, up to and with `newest`."""

    def __init__(self, entries: int, size: int) -> None:
        self._most = entries
        self._most_bytes = size
        self.begin(START)

    def begin(self, place: Place) -> None:
        """Forgets everything; what is added next comes after `place`."""
        self.start = self.newest = place
        self._places: list[Place] = []
        self._entries: list[LogEntry] = []
        self._front = 0
        self._size = 0

    def add(self, place: Place, cursor: str, payload: bytes) -> None:
        """Adds the next entry; the oldest go when there are too many."""
        self._places.append(place)
        self._entries.append(LogEntry(cursor, payload))
        self._size += len(payload)
        self.newest = place
        while self._size > self._most_bytes or len(self._places) - self._front > self._most:
            self.start = self._places[self._front]
            self._size -= len(self._entries[self._front].payload)
            self._entries[self._front] = _GONE
            self._front += 1
        if self._front > _LOOSE:
            del self._places[: self._front], self._entries[: self._front]
            self._front = 0

    def __contains__(self, place: Place) -> bool:
        """Whether it can be read on from exactly here."""
        if place == self.start:
            return True
        at = bisect_left(self._places, place, self._front)
        return at < len(self._places) and self._places[at] == place

    def after(self, place: Place, limit: int, size: int) -> Sequence[LogEntry]:
        """The entries after a place that is in the ring: at most `limit`, and of at most `size` bytes unless the first
        alone is larger."""
        at = bisect_right(self._places, place, self._front)
        stop = at
        left = size
        end = min(len(self._entries), at + limit)
        while stop < end:
            left -= len(self._entries[stop].payload)
            if left < 0 and stop > at:
                break
            stop += 1
        return self._entries[at:stop]


_GONE: Final = LogEntry("", b"")
