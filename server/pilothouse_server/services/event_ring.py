"""The newest events in memory: as many as the limits allow, each encoded at most once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from pilothouse_server.domain.filters import Value
from pilothouse_server.ports import StoredEvent

ROW_BYTES: Final = 1_500
"""What an event in the ring takes beside its payload."""

Encode = Callable[[StoredEvent], bytes]
"""An event as watchers are sent it."""


@dataclass(frozen=True, slots=True)
class TailLimits:
    """How much is kept."""

    ring_events: int = 10_000
    """Events in the ring."""
    ring_bytes: int = 32 * 1024 * 1024
    """What they take, nearly."""
    waiting: int = 2_000
    """Events that wait for one watcher; one that has more is behind and reads the table."""


class TailRow(NamedTuple):
    """One event with what filters ask of it."""

    stored: StoredEvent
    values: Mapping[str, Value | None]


class Entry:
    """An event of the ring; encoded when somebody wants it, and then only once."""

    __slots__ = ("_encode", "_encoded", "_stored", "position", "size", "values")

    def __init__(self, row: TailRow, encode: Encode) -> None:
        self.position = row.stored.position
        self.values = row.values
        self.size = ROW_BYTES + 2 * len(row.stored.payload)
        self._stored = row.stored
        self._encode = encode
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        if self._encoded is None:
            self._encoded = self._encode(self._stored)
        return self._encoded


class Ring:
    """The newest events, without a hole from `base` on, which is not in it."""

    def __init__(self, base: int, limits: TailLimits) -> None:
        self._limits = limits
        self.base = base
        self.tip = base
        """Up to where there is nothing that is not here."""
        self.bytes = 0
        self._by_position: dict[int, Entry] = {}
        self._order: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._order)

    def add(self, entry: Entry) -> None:
        """One that is newer than the tip, and comes next."""
        self._by_position[entry.position] = entry
        self._order.append(entry.position)
        self.bytes += entry.size
        self.tip = entry.position
        while len(self) > self._limits.ring_events or self.bytes > self._limits.ring_bytes:
            self.base = self._order.popleft()
            self.bytes -= self._by_position.pop(self.base).size

    def get(self, position: int) -> Entry | None:
        return self._by_position.get(position)
