"""What services need of the world. Every adapter of a port passes the same contract tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.events import Event, Signal

T = TypeVar("T")


class LogEntry(NamedTuple):
    """One entry of the log: a serialized batch of events and its place."""

    cursor: str
    payload: bytes


class EventLog(Protocol):
    """An ordered, durable log of entries."""

    async def append(self, payload: bytes) -> str:
        """Makes one entry durable and returns its cursor. Raises Unavailable when the log cannot
        take it."""
        ...

    async def read(self, after: str, *, limit: int, wait: float = 0.0) -> Sequence[LogEntry]:
        """Up to `limit` entries after the cursor ("" is the beginning), waiting at most `wait`
        seconds for the first one."""
        ...

    async def tail(self) -> str:
        """The cursor of the newest entry; "" while there is none."""
        ...

    def position(self, cursor: str) -> tuple[int, ...]:
        """What orders cursors: a later entry has a greater position. Raises ValueError when it is
        not a cursor of this log."""
        ...


class Clock(Protocol):
    """The time. Tests drive their own."""

    stepped_us: int
    """By how much the wall clock was put forward since the start, all times together."""

    def now_us(self) -> int:
        """Microseconds since the epoch, by the wall; it never goes backwards and never stands still."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after that many seconds."""
        ...


class StoredEvent(NamedTuple):
    """One event as it was published, and where it is."""

    position: int
    """Its place among all stored events, without holes."""
    cursor: str
    """The place of its entry in the log."""
    payload: bytes


DecodeEvents = Callable[[bytes], Sequence[Event]]
"""All that a log entry says."""

DecodeSignals = Callable[[bytes], Sequence[Signal]]
"""What metrics need of a log entry; cheap."""

EncodeEvents = Callable[[Sequence[Event]], bytes]
"""A log entry of events that the server itself makes."""

DecodeStored = Callable[[bytes], Sequence[tuple[Event, bytes]]]
"""All that a log entry says, each event with the bytes by which it is stored."""
