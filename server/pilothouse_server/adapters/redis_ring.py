"""The newest entries of a stream, in memory, within a bound."""

from __future__ import annotations

import time
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
        self.read_at = float("-inf")
        """When something was read last, by the monotonic clock."""
        self._read_to = place
        self._places: list[Place] = []
        self._entries: list[LogEntry] = []
        self._ends: list[int] = []
        """How many bytes were added up to and with each entry."""
        self._front = 0
        self._added = self._gone = 0

    def add(self, place: Place, cursor: str, payload: bytes) -> None:
        """Adds the next entry; the oldest go when there are too many."""
        self._places.append(place)
        self._entries.append(LogEntry(cursor, payload))
        self._added += len(payload)
        self._ends.append(self._added)
        self.newest = place
        while (
            self._added - self._gone > self._most_bytes
            or len(self._places) - self._front > self._most
        ):
            front = self._front
            self.start = self._places[front]
            self._gone = self._ends[front]
            self._entries[front] = _GONE
            self._front += 1
        if self._front > _LOOSE:
            del self._places[: self._front], self._entries[: self._front], self._ends[: self._front]
            self._front = 0

    def __contains__(self, place: Place) -> bool:
        """Whether it can be read on from exactly here."""
        if place == self.start:
            return True
        at = bisect_left(self._places, place, self._front)
        return at < len(self._places) and self._places[at] == place

    def after(self, place: Place, limit: int) -> Sequence[LogEntry]:
        """At most `limit` entries after a place that is in the ring."""
        at = bisect_right(self._places, place, self._front)
        entries = self._entries[at : at + limit]
        if entries:
            self._read_to = max(self._read_to, self._places[at + len(entries) - 1])
            self.read_at = time.monotonic()
        return entries

    @property
    def unread(self) -> float:
        """The share of the room that is taken by what the fastest reader has not read."""
        at = bisect_right(self._places, self._read_to, self._front)
        size = self._added - (self._ends[at - 1] if at > self._front else self._gone)
        return max((len(self._places) - at) / self._most, size / self._most_bytes)


_GONE: Final = LogEntry("", b"")
