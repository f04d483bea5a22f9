"""What services need of the world. Every adapter of a port passes the same contract tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
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


class LogKeep(NamedTuple):
    """How much of a log is kept. What a consumer has not read yet stays, unless the log is larger than `cap_bytes`."""

    age_us: int
    """What was appended longer ago may go; 0 is no limit."""
    size_bytes: int
    """What is beyond this size may go, the oldest first; 0 is no limit."""
    cap_bytes: int
    """Beyond this size the oldest goes, read or not: a counted gap for whoever had not read it. 0 is no limit."""


class TrimmedLog(Protocol):
    """A log, or one shard of it, whose oldest entries can be removed."""

    async def trim(self, slowest: str, keep: LogKeep) -> int:
        """Removes some of the oldest entries, so few that nobody has to wait for it, and returns how many: 0 when
        there is nothing left to remove. `slowest` is the cursor of the consumer that is furthest behind. The newest
        entry always stays. Raises Unavailable."""
        ...

    def position(self, cursor: str) -> tuple[int, ...]:
        """As in `EventLog`."""
        ...


class ShardLog(EventLog, TrimmedLog, Protocol):
    """One shard of the log, as whoever owns it needs it."""


class Intake(Protocol):
    """Where entries are put into a log of one or more shards. A workflow is in one shard only, which
    `domain.shards.shard_of` tells, so that its events stay in order."""

    @property
    def shards(self) -> int:
        """How many there are."""
        ...

    async def append(self, parts: Mapping[int, bytes]) -> str:
        """Makes one entry for each shard durable, all or none, and returns the cursor of what was put in. Raises
        Unavailable when the log cannot take it."""
        ...


class Fence(NamedTuple):
    """One tenure of a lease. Whoever holds the lease next has a greater epoch, and from then on nothing is taken of
    the tenures before."""

    lease: str
    epoch: int


class Tenure(Protocol):
    """Work that only one replica may do, while it is ours."""

    @property
    def fence(self) -> Fence: ...

    @property
    def waiting_for(self) -> str:
        """Why it is not certain that the lease is ours, as while the database cannot be reached; "" when it is."""
        ...

    async def lost(self) -> None:
        """Returns when it is over: somebody else holds the lease, or should."""
        ...

    def surrender(self) -> None:
        """Ends it: we were told from elsewhere that somebody else holds the lease."""
        ...


class Leases(Protocol):
    """Who does the work that only one replica may do."""

    def hold(self, name: str) -> AbstractAsyncContextManager[Tenure]:
        """Waits until the lease is ours, and gives it back on leaving."""
        ...


class Board(Protocol):
    """Values under names that every replica sees: of each the newest only, and none of a tenure that is over."""

    async def post(self, name: str, value: bytes, fence: Fence) -> bool:
        """Puts a value up. False when a later tenure of the same lease has posted under this name. Raises
        Unavailable."""
        ...

    def follow(self, name: str) -> AsyncIterator[bytes]:
        """The value that is there, when there is one, and then each newer one; who is slow is given the newest only.
        Goes on through times when the board cannot be reached."""
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
