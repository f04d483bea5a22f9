"""The newest events, read once for all who watch them.

While anybody watches, one reader follows the table by position and keeps the newest events in a bounded ring. A watcher
at the tip is told only of what it wants; one that is behind what the ring has reads the table itself, and joins as soon
as the ring reaches back to where it stands. Positions are what both have in common, so that nothing is missed or sent
twice where one becomes the other. When nobody watches nothing is read and nothing is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.event_fields import EVENT_FIELDS
from pilothouse_server.domain.filter_routes import Crossroads, Route, routes
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import Filter, matches
from pilothouse_server.ports import Clock, StoredEvent
from pilothouse_server.services.allowance import Allowance
from pilothouse_server.services.event_ring import Encode, Entry, Ring, TailLimits, TailRow
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.views import EventViews
from pilothouse_server.services.watch import HEARTBEAT, Read, Start, WatchSource

AT_ONCE: Final = 1_000
"""Events in one look at the table."""
SLICE: Final = 200
"""Events of the ring that are looked through before others have their turn."""
TURN: Final = 0.003
"""Seconds of it, at most by one event."""
REST: Final = 0.0004
"""Seconds of rest for each watcher that was woken, about twice what sending to it takes: of a flood that many want,
more comes at once, and whoever makes it is not held up."""
LONGEST_REST: Final = 0.5
RETRY: Final = 1.0
"""Seconds until the table is read again after that failed."""

LIMITS: Final = TailLimits()

_log = logging.getLogger(__name__)


class TailRead(NamedTuple):
    """What came, by position, and the place of the newest event of all."""

    rows: Sequence[TailRow]
    newest: int


class TailSource(Protocol):
    """The table of events. Both raise Unavailable."""

    async def newest(self) -> int: ...

    async def after(self, position: int, limit: int) -> TailRead: ...


@dataclass(slots=True)
class TailCounts:
    """What happened since the start."""

    events: int = 0
    """Events that were read."""
    asked: int = 0
    """Filters that were asked about them."""
    behind: int = 0
    """Times that a watcher fell behind."""
    failures: int = 0
    """Times that the table could not be read."""


class EventTail:
    """One for each process. `run` belongs beside it."""

    def __init__(
        self,
        source: TailSource,
        views: EventViews,
        changes: Changes,
        clock: Clock,
        encode: Encode,
        *,
        limits: TailLimits = LIMITS,
    ) -> None:
        self.counts = TailCounts()
        self.limits = limits
        self._source = source
        self._views = views
        self._changes = changes
        self._clock = clock
        self.encode = encode
        self._followers: set[Follower] = set()
        self._wanted = asyncio.Event()
        self._crossroads: Crossroads[Follower] = Crossroads(EVENT_FIELDS)
        self.ring: Ring | None = None
        """None while nobody watches."""

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._followers)

    @property
    def kept(self) -> tuple[int, int]:
        """Events in the ring, and the bytes that they take."""
        return (len(self.ring), self.ring.bytes) if self.ring else (0, 0)

    @contextmanager
    def follow(self, filter_text: str, allowance: Allowance | None = None) -> Generator[Follower]:
        """A watcher, for as long as it watches. Raises InvalidFilter."""
        tree = parse(filter_text, EVENT_FIELDS, self._clock.now_us())
        follower = Follower(self, self._views.follow(filter_text, allowance), tree, allowance)
        self._followers.add(follower)
        self._wanted.set()
        try:
            yield follower
        finally:
            follower.leave()
            self._followers.discard(follower)

    def join(self, follower: Follower) -> None:
        """Tells it of every event from here on that it may want."""
        self._crossroads.add(follower, follower.ways)

    def leave(self, follower: Follower) -> None:
        """Tells it nothing any more."""
        self._crossroads.remove(follower, follower.ways)

    async def run(self) -> None:
        """Reads for as long as somebody watches, again and again until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self._read()
            except Unavailable as away:
                self.counts.failures += 1
                _log.warning("events cannot be followed: %s", away)
                await self._clock.sleep(RETRY)
            finally:
                self._stop()

    async def _read(self) -> None:
        ring = self.ring = Ring(await self._source.newest(), self.limits)
        self._wake(self._followers)
        woken = 0
        while self._followers:
            seen = self._changes.version
            read = await self._source.after(ring.tip, AT_ONCE)
            if read.newest < ring.tip:
                # Another database has taken its place, with other events at places that were read.
                return
            woken += await self._distribute(ring, read.rows)
            if len(read.rows) < AT_ONCE:
                ring.tip = max(ring.tip, read.newest)
                await self._clock.sleep(min(LONGEST_REST, woken * REST))
                woken = 0
                await self._changes.wait(seen, HEARTBEAT)
        self._wanted.clear()

    def _stop(self) -> None:
        """Everybody is on its own: who is there reads the table, and learns what happened to it."""
        self.ring = None
        for follower in self._followers:
            follower.leave()
            follower.ask_table()
        self._wake(self._followers)

    async def _distribute(self, ring: Ring, rows: Sequence[TailRow]) -> int:
        """Returns how many watchers were woken."""
        woken: set[Follower] = set()
        told: set[Follower] = set()
        until = self._clock.monotonic() + TURN
        for row in rows:
            entry = Entry(row, self.encode)
            ring.add(entry)
            self.counts.events += 1
            for follower in tuple(self._crossroads.wanting(entry.values)):
                self.counts.asked += 1
                if follower.offer(entry):
                    told.add(follower)
            if self._clock.monotonic() >= until:
                self._wake(told)
                woken |= told
                told.clear()
                await asyncio.sleep(0)
                until = self._clock.monotonic() + TURN
        self._wake(told)
        return len(woken | told)

    @staticmethod
    def _wake(followers: set[Follower]) -> None:
        for follower in followers:
            follower.changes.wake()


class Follower:
    """One watcher: a source for `watch` of encoded events, which has to wait for the `changes` of this one."""

    def __init__(
        self,
        tail: EventTail,
        table: WatchSource[StoredEvent],
        tree: Filter,
        allowance: Allowance | None,
    ) -> None:
        self.changes = Changes()
        self.ways: frozenset[Route] | None = routes(tree, EVENT_FIELDS)
        self._tail = tail
        self._table = table
        self._tree = tree
        self._allowance = allowance
        self._at_tip = False
        self._told = 0
        """The place up to which it is told of everything, or has read it."""
        self._waiting: deque[int] = deque()
        self._left_out = 0
        self._doubtful = False
        """Whether places may mean other events than before, which the table knows and a ring does not."""

    async def start(self, backlog: int) -> Start:
        """Where it begins, by the table."""
        self.leave()
        return await self._table.start(backlog)

    async def after(self, mark: int, limit: int) -> Read[bytes]:
        """What it wants behind the mark."""
        if not self._at_tip and not self._doubtful and self._reached(mark):
            full = await self._catch_up(mark, limit)
            if full is not None:
                return full
        if self._at_tip:
            live = self._live(mark, limit)
            if live is not None:
                return live
        self._doubtful = False
        read = await self._table.after(mark, limit)
        encode = self._tail.encode
        items = [(at, encode(stored)) for at, stored in read.items]
        # At the end of the table it has to join, or nobody would wake it.
        more = read.more or self._tail.ring is not None
        return Read(items, read.mark, more, read.skipped, read.oldest)

    def offer(self, entry: Entry) -> bool:
        """Takes note of an event that may be wanted. Returns whether there is something to be sent."""
        if entry.position <= self._told:
            return False
        self._told = entry.position
        if not matches(self._tree, entry.values.get):
            return False
        self._waiting.append(entry.position)
        if len(self._waiting) > self._tail.limits.waiting:
            if self._allowance is None:
                self._tail.counts.behind += 1
                self.leave()
            else:
                self._waiting.popleft()
                self._left_out += 1
        return True

    def leave(self) -> None:
        """It is told nothing any more: what waited is read from the table."""
        if self._at_tip:
            self._tail.leave(self)
        self._at_tip = False
        self._forget()

    def ask_table(self) -> None:
        """Has it read the table before it joins again."""
        self._doubtful = True

    def _forget(self) -> None:
        self._waiting.clear()
        self._left_out = 0

    def _reached(self, mark: int) -> bool:
        ring = self._tail.ring
        return ring is not None and mark >= ring.base

    async def _catch_up(self, mark: int, limit: int) -> Read[bytes] | None:
        """Looks through the ring, and joins at its tip. Returns what fills a look, without having joined; None when it
        joined, or when the ring went on without it."""
        self._forget()
        self._told = mark
        most = min(limit, self._tail.limits.waiting)
        while (ring := self._tail.ring) is not None and self._told >= ring.base:
            for position in range(self._told + 1, min(ring.tip, self._told + SLICE) + 1):
                entry = ring.get(position)
                if entry is not None:
                    self.offer(entry)
                self._told = position
                if self._allowance is None and len(self._waiting) == most:
                    full = self._live(mark, limit)
                    self._forget()
                    return full and full._replace(mark=min(full.mark, position), more=True)
            if self._told >= ring.tip:
                self._at_tip = True
                self._tail.join(self)
                return None
            await asyncio.sleep(0)
        self._forget()
        return None

    def _live(self, mark: int, limit: int) -> Read[bytes] | None:
        """What waits. None when that is not in the ring any more: it is behind."""
        ring = self._tail.ring
        if ring is None:
            return None
        if self._allowance is not None:
            allowed = self._allowance.left
            while len(self._waiting) > allowed:
                self._waiting.popleft()
                self._left_out += 1
        items: list[tuple[int, bytes]] = []
        while self._waiting and len(items) < limit:
            entry = ring.get(self._waiting[0])
            if entry is None:
                break
            items.append((self._waiting.popleft(), entry.encoded))
        if self._allowance is not None:
            self._allowance.spend(len(items))
        skipped, self._left_out = self._left_out, 0
        if not self._waiting:
            return Read(items, max(mark, ring.tip), more=False, skipped=skipped)
        # What comes before what waits was sent, left out or not wanted.
        at = max(mark, self._waiting[0] - 1)
        if ring.get(self._waiting[0]) is None:
            self._tail.counts.behind += 1
            self.leave()
        return (
            Read(items, at, more=True, skipped=skipped)
            if items or skipped or self._at_tip
            else None
        )
