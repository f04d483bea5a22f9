"""One shard of the event log in a Redis: a stream, read through one follower by all who read it.

A cursor is the id of an entry. Who is behind what the follower keeps in memory reads the stream itself, through a
connection of its own. A reader whose cursor the Redis does not know any more is told apart from one whose next entries
were removed: the first is a `rewound` log (the Redis lost entries), the second a gap. Both are counted, and both go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, cast

from pilothouse_server.adapters.redis_client import (
    FAILURES,
    apart,
    connect,
    ended,
    leave_answers,
    unavailable,
)
from pilothouse_server.adapters.redis_follower import (
    ANSWER,
    SLICE,
    Follower,
    FollowLimits,
    Sort,
    StreamCounts,
)
from pilothouse_server.adapters.redis_intake import RedisIntake
from pilothouse_server.adapters.redis_look import StreamGap, gap_after, look_at
from pilothouse_server.adapters.redis_scripts import TRIM
from pilothouse_server.adapters.redis_streams import (
    START,
    Place,
    RawEntry,
    after,
    check_version,
    cursor_of,
    names_of,
    place_of,
    place_of_id,
    sealed_payload,
)
from pilothouse_server.domain.addresses import shown
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.foreign.sorting import Sorter
from pilothouse_server.ports import LogEntry, LogKeep
from pilothouse_server.services.status import LogShard

ATTACH: Final = 4.0
"""Seconds that a reader waits for the first answer of the Redis."""
CLOCKS_DIFFER: Final = 600_000
"""Milliseconds by which the clock of a Redis that took over may be behind that of the one before."""
TRIMMED_AT_ONCE: Final = 1000
"""Entries that one step of trimming removes at most."""


class RedisLog:
    """An `EventLog`, and a `TrimmedLog`: the stream of `shard` out of `shards`. Nothing is connected before it is
    needed, and the follower begins with the first read: only who owns a shard reads. Raises Misconfigured for a URL
    that cannot be one."""

    def __init__(
        self,
        url: str,
        shard: int = 0,
        *,
        shards: int = 1,
        sort: Sort | None = None,
        limits: FollowLimits | None = None,
    ) -> None:
        self._url = url
        self._shard = shard
        self._limits = limits or FollowLimits()
        self._sort = sort or Sorter(shard, shards)
        self.names = names_of(shard)
        self._redis = connect("log", url, timeout=ANSWER, connections=4)
        leave_answers(self._redis, "XRANGE")
        self._trim_script = self._redis.register_script(TRIM)
        self._follower = Follower(url, shard, self._sort, self._limits)
        self._following: asyncio.Task[None] | None = None
        self._intake: RedisIntake | None = None
        self._average = 1024.0
        self._closed = False

    @property
    def stream(self) -> str:
        """The key of the stream."""
        return self.names.stream

    @property
    def counts(self) -> StreamCounts:
        """For `/metrics`."""
        return self._follower.counts

    @property
    def gap(self) -> StreamGap | None:
        """The last gap that a reader met."""
        return self._follower.gap

    @property
    def waiting_for(self) -> str:
        """Why it cannot be read; "" when it can, or nobody has asked yet."""
        return self._follower.waiting_for if self._following is not None else ""

    @property
    def following(self) -> bool:
        """Whether it reads its stream now: only while somebody reads from it."""
        return self._following is not None and not self._following.done()

    async def check(self) -> None:
        """Whether this Redis will do. Raises Unavailable when it cannot be reached, and Misconfigured when it is of the
        wrong kind or refuses us."""
        try:
            info = await apart(cast("Any", self._redis).info("server"))
            check_version(info, "log", f"the Redis at {shown(self._url)}")
            await apart(look_at(self._redis, self.names))
            await apart(cast("Any", self._redis.xread)({self.stream: "0-0"}, count=1))
        except FAILURES as error:
            raise unavailable("log", self._url, error) from error

    async def append(self, payload: bytes) -> str:
        """Returns the id of the entry. For more than one shard, or many publishers, use a `RedisIntake`."""
        if self._closed:
            raise Unavailable("log", "it is closed")
        if self._intake is None:
            self._intake = RedisIntake(self._url, shards=self._shard + 1)
        return await self._intake.append({self._shard: payload})

    async def read(self, after: str, *, limit: int, wait: float = 0.0) -> Sequence[LogEntry]:
        """From memory where possible. Raises ValueError for what is no cursor of a Redis log, and Unavailable while the
        Redis cannot be reached. An entry without events of this shard has an empty payload. Fewer entries than `limit`
        are all there are, unless they are very large."""
        place = place_of(after)
        follower = self._follow()
        begun = time.monotonic()
        while not self._closed:
            self._raise_fault()
            follower.asked_at = time.monotonic()
            seen = follower.changes.version
            place, entries, whole = await self._look_for(place, limit)
            if entries and whole:
                return entries
            if follower.waiting_for and (follower.attached or follower.counts.reconnects):
                if entries:
                    return entries
                raise Unavailable("log", follower.waiting_for)
            # That there is nothing more is only said when it is known.
            left = begun + (wait if whole else max(wait, ATTACH)) - time.monotonic()
            if left <= 0 or not await follower.changes.wait(seen, left):
                if not (entries or whole or self._closed) and place in follower.ring:
                    raise Unavailable("log", f"the Redis at {shown(self._url)} does not answer")
                return entries
        return ()

    async def tail(self) -> str:
        """The cursor of the newest entry that there ever was."""
        try:
            look = await apart(look_at(self._redis, self.names))
        except FAILURES as error:
            raise unavailable("log", self._url, error) from error
        return cursor_of(look.last)

    async def status(self) -> LogShard:
        """How it is. What readers met is known where they are."""
        try:
            look = await apart(look_at(self._redis, self.names))
            dead = await apart(cast("Any", self._redis).xlen(self.names.dead))
        except FAILURES as error:
            raise unavailable("log", self._url, error) from error
        read_here = self._following is not None
        return LogShard(
            shard=self._shard,
            stream=self.stream,
            cursor=cursor_of(look.last),
            dead_events=int(dead),
            gaps=self.counts.gaps if read_here else None,
            rewinds=self.counts.rewound if read_here else None,
        )

    def position(self, cursor: str) -> tuple[int, ...]:
        """The two numbers of the id."""
        return place_of(cursor)

    async def close(self) -> None:
        """Ends the follower and the connections, and lets readers go. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._follower.changes.notify()
        if self._following is not None:
            await ended(self._following)
        if self._intake is not None:
            await self._intake.close()
        await self._follower.close()
        await self._redis.aclose()

    async def trim(self, slowest: str, keep: LogKeep) -> int:
        """One step, as `TrimmedLog` says. What was not sorted yet counts as not read."""
        try:
            return await apart(self._trim(place_of(slowest), keep))
        except FAILURES as error:
            raise unavailable("log", self._url, error) from error

    def _follow(self) -> Follower:
        self._raise_fault()
        if (self._following is None or self._following.done()) and not self._closed:
            self._follower.asked_at = time.monotonic()
            self._following = asyncio.create_task(
                self._follower.run(), name=f"log-follow-{self._shard}"
            )
        return self._follower

    def _raise_fault(self) -> None:
        if self._following is not None and self._following.done() and not self._closed:
            # A fault of ours: whoever reads must not take it for silence.
            self._following.result()

    async def _look_for(self, place: Place, limit: int) -> tuple[Place, Sequence[LogEntry], bool]:
        """What is there after a place now, and whether that is as much as was asked for or all there is; and from which
        place it was read: another one, when the Redis has lost what was read before."""
        follower = self._follower
        if not follower.attached:
            return place, (), False
        while place not in follower.ring:
            there, entries = await self._read_stream(place, limit)
            if there == place:
                # At the end, but something may still be about to be put into other shards.
                return place, entries, bool(entries) or follower.caught_up
            place = there
        entries = follower.ring.after(place, limit)
        if entries:
            follower.read.notify()
        return place, entries, follower.caught_up or len(entries) == limit

    async def _read_stream(self, place: Place, limit: int) -> tuple[Place, Sequence[LogEntry]]:
        """What the stream has after a place, and the place from which it was read: another one, when the Redis has lost
        what was read before."""
        found: list[LogEntry] = []
        size = 0
        at = place
        try:
            while len(found) < limit and size < self._limits.bytes_in_answer:
                entries, whole = await self._range(at, limit - len(found))
                if at != START:
                    if entries and place_of_id(entries[0][0]) == at:
                        del entries[0]
                    elif at == place and (there := await apart(self._resolve(place))) != place:
                        return there, ()
                found += await self._sorted(entries[: limit - len(found)])
                size = sum(len(entry.payload) for entry in found)
                if not whole:
                    break
                at = place_of(found[-1].cursor)
        except FAILURES as error:
            raise unavailable("log", self._url, error) from error
        return place, found

    async def _range(self, place: Place, limit: int) -> tuple[list[RawEntry], bool]:
        """Raw entries from a place on, with it, and whether there may be more."""
        count = 1 + max(1, min(limit, int(self._limits.bytes_in_read / self._average)))
        command = cast("Any", self._redis).execute_command
        first = cursor_of(place) or "-"
        found = cast(
            "list[RawEntry]",
            await apart(command("XRANGE", self.stream, first, "+", "COUNT", count)),
        )
        if found:
            size = sum(len(value) for _, fields in found for value in fields)
            self._average = max(size / len(found), self._average * 0.9, 64.0)
        return found, len(found) == count

    async def _resolve(self, place: Place) -> Place:
        """Where to read on for somebody whose entry is not in the stream."""
        follower = self._follower
        look = await look_at(self._redis, self.names, place)
        if look.there:
            return place
        for begin, end in reversed(follower.rewinds):
            if begin < place <= end:
                return begin
        if look.last < place:
            # What came since has greater ids, but for how much the clock of another server may be behind.
            begin = min(look.last, (max(place[0] - CLOCKS_DIFFER, 0), 0))
            follower.rewind(begin, place)
            return begin
        gap = gap_after(place, look)
        if gap is not None:
            follower.met(gap)
        elif look.first is not None and look.first < place and look.deleted < place:
            follower.rewind(place, place)
        return place

    async def _sorted(self, entries: Sequence[RawEntry]) -> list[LogEntry]:
        found: list[LogEntry] = []
        begun = time.monotonic()
        for entry_id, fields in entries:
            payload = sealed_payload(fields)
            if payload is None:
                payload = self._sort(entry_id, fields).payload
                if time.monotonic() - begun > SLICE:
                    await asyncio.sleep(0)
                    begun = time.monotonic()
            found.append(LogEntry(entry_id.decode(), payload))
        return found

    async def _trim(self, slowest: Place, keep: LogKeep) -> int:
        look = await look_at(self._redis, self.names)
        if look.first is None:
            return 0
        command = cast("Any", self._redis).execute_command
        size = int(await command("MEMORY", "USAGE", self.stream, "SAMPLES", 64) or 0)
        seconds, _ = await command("TIME")
        read = min(slowest, place_of(look.followed))
        below = min(after(read), look.last)
        wanted = START
        if keep.age_us:
            wanted = (max(int(seconds) * 1000 - keep.age_us // 1000, 0), 0)
        if keep.size_bytes and size > keep.size_bytes:
            # Where the size would be right if entries were spread evenly over time; the next look is nearer.
            span = below[0] - look.first[0]
            wanted = max(wanted, (look.first[0] + round(span * (1 - keep.size_bytes / size)), 0))
        threshold = min(wanted, below)
        removed = 0
        if threshold > look.first:
            noted = cursor_of(max(threshold, look.trimmed))
            removed = await self._run_trim("MINID", cursor_of(threshold), noted)
        if not removed and keep.cap_bytes and size > keep.cap_bytes:
            kept = max(1, int(look.length * keep.cap_bytes / size))
            removed = await self._run_trim("MAXLEN", kept, "")
        return removed

    async def _run_trim(self, how: str, threshold: str | int, noted: str) -> int:
        arguments = [how, threshold, TRIMMED_AT_ONCE, noted]
        keys = [self.names.stream, self.names.trimmed]
        return int(await self._trim_script(keys=keys, args=arguments))
