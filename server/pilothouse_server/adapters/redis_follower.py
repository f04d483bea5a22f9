"""Reads a stream once for all who follow it: sorts each entry, deals with what is not the shard's, keeps the newest.

How far the stream was dealt with is a string in the Redis that moves in the same script in which dead entries are
written and those of other shards are forwarded. So each of these happens once, in order, whatever dies in between, and
also when a frozen owner of the shard wakes up beside its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog

from pilothouse_server.adapters.redis_client import (
    FAILURES,
    Backoff,
    apart,
    connect,
    leave_answers,
    unavailable,
)
from pilothouse_server.adapters.redis_look import (
    Look,
    StreamGap,
    gap_after,
    look_at,
    place_written,
)
from pilothouse_server.adapters.redis_ring import Ring
from pilothouse_server.adapters.redis_scripts import DEAL, IDS
from pilothouse_server.adapters.redis_streams import (
    START,
    Names,
    Place,
    RawEntry,
    cursor_of,
    names_of,
    place_of_id,
    sealed_payload,
)
from pilothouse_server.foreign.entries import Sorted
from pilothouse_server.services.fanout import Changes

ANSWER: Final = 3.0
"""Seconds that an answer of the Redis is waited for; a frozen one is noticed after that."""
BLOCK: Final = 0.5
"""Seconds that the Redis waits for the next entry before it says that there is none."""
CHECK: Final = 2.0
"""Seconds between two looks at what became of the stream, and between two notes of how far it was dealt with."""
JOINED_ENTRIES: Final = 64
JOINED_BYTES: Final = 64 << 10
"""Entries of others that come one after another are given on together, up to so many: batches cost less."""
READING: Final = 0.25
"""Seconds after which who has read nothing more is not taken for a reader."""
LAST_NOTE: Final = 1.0
"""Seconds that the last note may take."""
SLICE: Final = 0.003
"""Seconds of sorting after which others get their turn."""
SAID_EVERY: Final = 1.0
"""Seconds between two lines about dead entries."""
IDS_AT_ONCE: Final = 1000
"""Ids compared when the Redis has lost entries: where they agree, reading goes on."""
STORED_FIELDS: Final = 256
"""Fields and values of a dead entry that are kept."""
STORED_BYTES: Final = 32 << 10
"""Bytes of a dead entry that are kept; one that is longer cannot be retried."""

Sort = Callable[[bytes, Sequence[bytes]], Sorted]
"""What becomes of an entry of somebody else, by its id and its fields. Does not raise."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FollowLimits:
    """What bounds the memory of a follower."""

    entries_in_read: int = 512
    bytes_in_read: int = 8 << 20
    """About so much is read at once, judged by what came before."""
    bytes_in_answer: int = 32 << 20
    """About so much is given to a reader at once."""
    recent_entries: int = 8192
    """Entries kept in memory for those who follow."""
    recent_bytes: int = 32 << 20
    dead_entries: int = 10_000
    """About so many dead entries are kept, the newest."""
    unasked_seconds: float = 60.0
    """For which nobody reads, before the stream is followed no more; longer than any read waits."""


@dataclass(slots=True)
class StreamCounts:
    """For `/metrics`."""

    entries: int = 0
    """Entries read."""
    foreign: int = 0
    """Those among them that are not the server's own."""
    dead: int = 0
    """Entries that could not be decoded, wholly or in part."""
    forwarded: int = 0
    """Entries of which a part was put into another shard."""
    gaps: int = 0
    """Gaps that a reader met."""
    rewound: int = 0
    """Times that the Redis had less than was read from it."""
    reconnects: int = 0


@dataclass(slots=True)
class _Deed:
    """An entry to be written because of one that was read."""

    place: Place
    stream: str
    id: str
    fields: list[bytes]


@dataclass(slots=True)
class _Taken:
    """An entry for readers, of one entry of the stream or of several of others."""

    place: Place
    entry_id: bytes
    payloads: list[bytes]
    entries: int
    size: int

    def join(self, place: Place, entry_id: bytes, payload: bytes) -> bool:
        """Takes one more in, where there is room: what a serialized batch is followed by belongs to it."""
        if self.entries >= JOINED_ENTRIES or self.size + len(payload) > JOINED_BYTES:
            return False
        self.place, self.entry_id = place, entry_id
        self.payloads.append(payload)
        self.entries += 1
        self.size += len(payload)
        return True


class Follower:
    """Follows the stream of one shard, once `start`ed. `newest` is the last entry that was sorted.

    `waiting_for` tells why it cannot read, "" when it can; `changes` is notified of both and of each entry.
    """

    def __init__(self, url: str, shard: int, sort: Sort, limits: FollowLimits) -> None:
        self._url = url
        self._names: Names = names_of(shard)
        self._sort = sort
        self._limits = limits
        self._redis = connect("log", url, timeout=BLOCK + ANSWER, connections=1)
        leave_answers(self._redis, "XREAD")
        self._deal_script = self._redis.register_script(DEAL)
        self.ring = Ring(limits.recent_entries, limits.recent_bytes)
        self.changes = Changes()
        self.read = Changes()
        """Notified by those who read from the ring."""
        self.waiting_for = "it was not reached yet"
        self.attached = False
        self.caught_up = False
        self.asked_at = time.monotonic()
        """When somebody read last; whoever reads sets it."""
        self.counts = StreamCounts()
        self.gap: StreamGap | None = None
        """The last one that a reader met."""
        self.rewinds: list[tuple[Place, Place]] = []
        """What was read and is not there any more, by where it begins and ends; the newest few."""
        self._followed: str | None = None
        self._done_elsewhere = START
        """Up to where another owner of the shard, who is further, has dealt with what is read here."""
        self._noted_at = self._checked_at = self._said_at = 0.0
        self._unsaid = 0
        self._average = 1024.0

    @property
    def newest(self) -> Place:
        """The last entry that was sorted."""
        return self.ring.newest

    async def run(self) -> None:
        """Follows until it is cancelled, or nobody has asked for a while. What it raises is a fault, and wakes whoever
        waits."""
        try:
            await apart(self._follow())
        finally:
            self.changes.notify()

    async def _follow(self) -> None:
        backoff = Backoff()
        while self._is_asked:
            try:
                await self._attach()
                while self._is_asked:
                    await self._step()
                    # Not before: who may look at a stream need not be allowed to read it.
                    backoff.reset()
            except FAILURES as error:
                told = unavailable("log", self._url, error).detail
                if not self.counts.reconnects or not self.waiting_for:
                    _log.warning("the log cannot be read", stream=self._names.stream, why=told)
                self.counts.reconnects += 1
                self.waiting_for, self.caught_up = told, False
                self.changes.notify()
            await backoff.wait()
        # Whoever asks next attaches anew: what is in memory may be old by then.
        self.attached = self.caught_up = False
        self.waiting_for = ""

    @property
    def _is_asked(self) -> bool:
        """Whether somebody reads: a shard that was given up is another replica's to follow."""
        return time.monotonic() - self.asked_at < self._limits.unasked_seconds

    async def close(self) -> None:
        """Notes how far the stream is dealt with, where that can be done at once, and ends the connection."""
        if self.attached and not self.waiting_for:
            self._noted_at = 0.0
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(LAST_NOTE):
                    await apart(self._deal([], self.newest))
        await self._redis.aclose()

    def met(self, gap: StreamGap) -> None:
        """Counts a gap, once however many meet it."""
        if gap != self.gap:
            self.gap = gap
            self.counts.gaps += 1
            _log.warning(
                "entries of the log are gone unread",
                stream=self._names.stream,
                after=gap.after,
                before=gap.before,
            )

    def rewind(self, to: Place, read: Place) -> None:
        """Counts that what was read after `to` is not there any more."""
        if (to, read) in self.rewinds:
            return
        self.counts.rewound += 1
        self.rewinds = [*self.rewinds[-7:], (to, read)]
        _log.error(
            "the Redis has lost entries that were read; reading goes on with what it has",
            stream=self._names.stream,
            read=cursor_of(read),
            newest=cursor_of(to),
        )

    async def _attach(self) -> None:
        look = await look_at(self._redis, self._names, self.newest)
        if self.attached:
            await self._agree(look)
        else:
            place = place_written(look.followed)
            if place > look.last:
                self.rewind(look.last, place)
                place = look.last
            self._begin(place, look)
        self._note_gap(look)
        self.attached = True
        if self.waiting_for:
            self.waiting_for = ""
        self.changes.notify()

    def _begin(self, place: Place, look: Look) -> None:
        self.ring.begin(place)
        self._followed = look.followed
        # What comes now may have ids below that place, when the Redis has lost entries.
        self._done_elsewhere = START

    async def _agree(self, look: Look) -> None:
        """Whether what was read is still there; if not, goes back to where it agrees with what is."""
        newest = self.newest
        if newest == START or look.there:
            return
        if newest <= look.last and (
            look.first is None or look.first > newest or look.deleted >= newest
        ):
            return  # it was trimmed, or somebody removed it by hand
        # What it has may be what was read, or what came since, under ids that are not greater when its clock is behind.
        ids = await self._ids(min(newest, look.last))
        agreed = max((place for place in ids if place in self.ring), default=START)
        self.rewind(agreed, newest)
        self._begin(agreed, look)
        self.changes.notify()

    async def _ids(self, last: Place) -> list[Place]:
        """The newest ids up to a place."""
        if last == START:
            return []
        evaluate = cast("Any", self._redis).execute_command
        between = (cursor_of(self.ring.start) or "-", cursor_of(last))
        found = await evaluate("EVAL", IDS, 1, self._names.stream, *between, IDS_AT_ONCE)
        return [place_of_id(entry) for entry in found]

    def _note_gap(self, look: Look) -> None:
        gap = gap_after(self.newest, look)
        if gap is not None:
            self.met(gap)

    async def _step(self) -> None:
        await self._wait_for_readers()
        count = max(
            1, min(self._limits.entries_in_read, int(self._limits.bytes_in_read / self._average))
        )
        answer = await cast("Any", self._redis).execute_command(
            "XREAD", "COUNT", count, "BLOCK", round(BLOCK * 1000),
            "STREAMS", self._names.stream, cursor_of(self.newest) or "0-0",
        )  # fmt: skip
        now = time.monotonic()
        if now - self._checked_at > CHECK and not answer:
            self._checked_at = now
            await self._agree(await look_at(self._redis, self._names, self.newest))
        if not answer:
            await self._take([], idle=True)
            return
        entries = cast("list[RawEntry]", answer[0][1])
        await self._take(entries, idle=len(entries) < count)

    async def _take(self, entries: Sequence[RawEntry], *, idle: bool) -> None:
        deeds: list[_Deed] = []
        begun = time.monotonic()
        sizes = 0
        taken: list[_Taken] = []
        for entry_id, fields in entries:
            payload = sealed_payload(fields)
            place = place_of_id(entry_id)
            sizes += sum(map(len, fields))
            if payload is not None:
                taken.append(_Taken(place, entry_id, [payload], JOINED_ENTRIES, 0))
                continue
            payload = self._foreign(entry_id, place, fields, deeds)
            if time.monotonic() - begun > SLICE:
                await asyncio.sleep(0)
                begun = time.monotonic()
            if not (taken and taken[-1].join(place, entry_id, payload)):
                taken.append(_Taken(place, entry_id, [payload], 1, len(payload)))
        newest = taken[-1].place if taken else self.newest
        await self._deal(deeds, newest)
        for each in taken:
            self.ring.add(each.place, each.entry_id.decode(), b"".join(each.payloads))
        self.counts.entries += len(entries)
        if entries:
            self._average = max(sizes / len(entries), self._average * 0.9, 64.0)
        if taken or idle != self.caught_up:
            self.caught_up = idle
            self.changes.notify()

    async def _wait_for_readers(self) -> None:
        """Goes no further ahead of the fastest reader than memory reaches, so that it need not read and sort the same
        entries itself; one that stands still is not waited for."""
        ring = self.ring
        while ring.unread > 0.5 and time.monotonic() - ring.read_at < READING:
            seen = self.read.version
            await self.read.wait(seen, READING)

    def _foreign(
        self, entry_id: bytes, place: Place, fields: Sequence[bytes], deeds: list[_Deed]
    ) -> bytes:
        self.counts.foreign += 1
        found = self._sort(entry_id, fields)
        for shard, payload in found.elsewhere.items():
            fields_there = [b"batch", payload, b"sealed", b"1"]
            deeds.append(_Deed(place, names_of(shard).stream, "*", fields_there))
        if found.elsewhere:
            self.counts.forwarded += 1
        if found.refused is not None:
            kept = dead_fields(found.refused.fields, found.refused.reason, self._names.stream)
            deeds.append(_Deed(place, self._names.dead, entry_id.decode(), kept))
            self.counts.dead += 1
            self._say(entry_id, found.refused.reason)
        return found.payload

    def _say(self, entry_id: bytes, reason: str) -> None:
        self._unsaid += 1
        now = time.monotonic()
        if now - self._said_at < SAID_EVERY:
            return
        _log.warning(
            "entries of the log cannot be decoded",
            stream=self._names.stream,
            entries=self._unsaid,
            newest=entry_id.decode(),
            why=reason,
        )
        self._said_at, self._unsaid = now, 0

    async def _deal(self, deeds: list[_Deed], newest: Place) -> None:
        """Writes what has to be written and notes the place, from where it was noted before."""
        if newest <= self._done_elsewhere:
            return
        deeds = [deed for deed in deeds if deed.place > self._done_elsewhere]
        now = time.monotonic()
        written = cursor_of(newest)
        if not deeds and (written == self._followed or now - self._noted_at < CHECK):
            return
        self._noted_at = now
        while True:
            done, held = await self._deal_from(self._followed or "", written, deeds)
            self._followed = held
            if done:
                return
            self._done_elsewhere = place_written(held)
            if self._done_elsewhere >= newest:
                return
            deeds = [deed for deed in deeds if deed.place > self._done_elsewhere]

    async def _deal_from(self, held: str, written: str, deeds: Sequence[_Deed]) -> tuple[bool, str]:
        keys = [self._names.followed, *dict.fromkeys(deed.stream for deed in deeds)]
        arguments: list[str | int | bytes] = [held, written, len(deeds)]
        for deed in deeds:
            arguments += [
                keys.index(deed.stream) + 1,
                deed.id,
                self._limits.dead_entries,
                len(deed.fields),
            ]
            arguments += deed.fields
        answer = cast("list[Any]", await self._deal_script(keys=keys, args=arguments))
        return bool(answer[0]), cast("bytes", answer[1]).decode()


def dead_fields(fields: Sequence[bytes], reason: str, stream: str) -> list[bytes]:
    """A dead entry: what it was, shortened when it is long, and why and where."""
    kept: list[bytes] = []
    left = STORED_BYTES
    truncated = len(fields) > STORED_FIELDS
    for value in fields[:STORED_FIELDS]:
        if len(value) > left:
            truncated = True
        kept.append(value[:left])
        left = max(left - len(value), 0)
    if truncated:
        kept += [b"truncated", b"1"]
    return [*kept, b"reason", reason.encode(errors="replace"), b"stream", stream.encode()]
