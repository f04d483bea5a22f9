"""A channel: an epoch, a dense sequence, a ring of its last frames, and the state that they add up to.

Neither I/O nor a clock is in here. Followers have no queues: each is a place in the channel, and `step` says
what comes after a place, and what when the ring does not reach back to it:

    state  (metrics)                    the newest frame          the rest is a gap, CONFLATED
    log    (events)                     the frames after it       a counted gap, then the ring
    must   (workflows, agents, alerts)  the frames after it       a gap, then a snapshot

A place of another epoch always gets a gap and a snapshot. Changes are gathered by `put` and become frames
with `flush`, so that a burst costs its followers one round, and a state that changed twice in between is sent
once.
"""

import math
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import cast

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from pilothouse.v1.events_pb2 import Event, EventBatch
from pilothouse.v1.live_pb2 import LiveFrame, LiveGap, LiveProgress
from pilothouse_server.bridge.frames import Datum, Form, Frame, list_json, plain_frame
from pilothouse_server.bridge.latest import Latest
from pilothouse_server.bridge.plain_json import Names

LEDGER = 16_384
WallClock = Callable[[], int]


class Kind(Enum):
    """What a follower may miss."""

    STATE = "state"
    LOG = "log"
    MUST = "must"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a follower is."""

    epoch: str
    sequence: int
    total: int | None = None
    """Changes up to here; None when not known."""
    resumed: bool = False
    """Whether the client named it, rather than got there by following."""


class Channel:
    """One channel. `wall` is the clock in nanoseconds since 1970."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        item: str,
        *,
        latest: Latest | None,
        key: Callable[[Message], str] | None = None,
        ring_frames: int = 2_048,
        ring_bytes: int = 8 * 1024 * 1024,
        batch: int = 200,
        pending: int = 2_000,
        wall: WallClock,
    ) -> None:
        self.name = name
        self.kind = kind
        self.epoch = secrets.token_hex(8)
        self.sequence = 0
        self.ready = False
        self.dropped = 0
        self._subject = name.partition(":")[0]
        self._item = item
        self._latest = latest
        self._key = key
        self._wall = wall
        self._ring: deque[Frame] = deque()
        self._ring_frames = 1 if kind is Kind.STATE else ring_frames
        self._ring_bytes = ring_bytes
        self._size = 0
        self._total = 0
        self._ledger: deque[int] = deque(maxlen=LEDGER)
        self._batch = batch
        self._pending_limit = pending
        self._pending: dict[str, Datum] = {}
        self._queue: deque[Datum] = deque()
        self._missed = 0
        self._snapshot: Frame | None = None
        self._previous_epoch = ""
        self._end = Place(self.epoch, 0, 0)
        self._before_end: Place | None = None
        self._last: list[Frame] = []

    # What comes in.

    def put(self, message: Message) -> None:
        """A newer value or a new event. Before the channel is ready it belongs to the first snapshot."""
        datum = Datum(message)
        if not self.ready and self._latest is not None:
            self._latest.put(datum)
            return
        self.ready = True
        match self.kind:
            case Kind.STATE:
                self._pending = {"": datum}
            case Kind.MUST:
                key = self._key(message) if self._key else ""
                self._pending.pop(key, None)
                self._pending[key] = datum
            case Kind.LOG:
                self._queue.append(datum)
                if len(self._queue) > self._pending_limit:
                    self._queue.popleft()
                    self._missed += 1
                    self.dropped += 1

    def skip(self, count: int) -> None:
        """That many events will not come, because too many came at once."""
        self._missed += count
        self.dropped += count

    def caught_up(self) -> None:
        """The state is whole: snapshots can be made of it."""
        self.ready = True

    def begin(self) -> None:
        """A history begins that does not join the one before it."""
        if self.ready:
            self._previous_epoch = self.epoch
        self.epoch = secrets.token_hex(8)
        self.sequence = self._total = self._size = self._missed = 0
        self.ready = False
        self._ring.clear()
        self._ledger.clear()
        self._pending.clear()
        self._queue.clear()
        self._snapshot = None
        self._end, self._before_end = Place(self.epoch, 0, 0), None
        if self._latest is not None:
            self._latest.clear()

    def flush(self) -> int:
        """Make frames of what was put; returns how many."""
        before = self.sequence
        if self._missed:
            self._append_loss()
        for datum in self._pending.values():
            if self._latest is not None:
                self._latest.put(datum)
            live = self._live(self.sequence + 1)
            getattr(live, self._item).CopyFrom(datum.message)
            self._append(Frame(f"{self._subject}:update", live, datum.json, self._total + 1))
        self._pending.clear()
        while self._queue:
            self._append_batch(
                [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            )
        return self.sequence - before

    # What goes out.

    @property
    def place(self) -> Place:
        """The end of the channel."""
        return self._end

    @property
    def newest(self) -> Frame | None:
        """The frame at the end of the channel."""
        return self._ring[-1] if self._ring else None

    def unprepared(self, names: Names) -> list[Datum]:
        """The parts of a snapshot whose JSON is still to be made."""
        data = [] if self._latest is None else self._latest.data()
        return [datum for datum in data if not datum.has_json(names)]

    def step(
        self, place: Place | None, form: Form, budget: int
    ) -> tuple[list[Frame], Place | None]:
        """What a follower at `place` gets next, about `budget` bytes, and its place then; nothing at the end."""
        if place is self._before_end and place is not None:
            # Nearly everyone is one frame behind: they share the place, the list and the frame.
            return self._last, self._end
        if not self.ready:
            return [], place
        if place is None:
            return self._snapshot_step([])
        if place.epoch != self.epoch or place.sequence > self.sequence:
            joined = place.epoch == self._previous_epoch and not place.resumed
            reason = "UPSTREAM_RESET" if joined else "OTHER_EPOCH"
            return self._snapshot_step([self._gap(0, self.sequence, None, reason)])
        if place.sequence == self.sequence:
            return [], place
        return self._behind_step(place, form, budget)

    def progress(self, upstream_age: float | None, *, connected: bool) -> Frame:
        """Nothing new: a heartbeat, a place to resume from, and how fresh the bridge's knowledge is."""
        live = self._live(self.sequence)
        live.progress.CopyFrom(LiveProgress(upstream_connected=connected))
        if upstream_age is not None:
            live.progress.upstream_age.FromMilliseconds(math.ceil(upstream_age * 1000))
        return plain_frame("progress", live)

    def _behind_step(
        self, place: Place, form: Form, budget: int
    ) -> tuple[list[Frame], Place | None]:
        oldest = self.sequence - len(self._ring) + 1
        if self.kind is Kind.STATE:
            return self._newest_step(place)
        if place.sequence >= oldest - 1:
            return self._replay_step(place, oldest, [], form, budget)
        reason = "TOO_OLD" if place.resumed else "SLOW_CLIENT"
        if self.kind is Kind.MUST:
            snapshot = self._make_snapshot()
            last = snapshot.live.sequence
            return self._snapshot_step(
                [self._gap(place.sequence + 1, last, last - place.sequence, reason)]
            )
        gap = self._gap(place.sequence + 1, oldest - 1, self._count(place, oldest - 1), reason)
        there = Place(self.epoch, oldest - 1, self._total_at(oldest - 1))
        return self._replay_step(there, oldest, [gap], form, budget)

    def _snapshot_step(self, before: list[Frame]) -> tuple[list[Frame], Place | None]:
        if self._latest is None:
            newest = self.newest
            return ([*before, newest], self.place) if newest else (before, self.place)
        frame = self._make_snapshot()
        return [*before, frame], self._place_at(frame)

    def _newest_step(self, place: Place) -> tuple[list[Frame], Place]:
        frames = [self._ring[-1]]
        if place.sequence + 1 < self.sequence:
            missed = self.sequence - place.sequence - 1
            reason = "TOO_OLD" if place.resumed else "CONFLATED"
            frames.insert(0, self._gap(place.sequence + 1, self.sequence - 1, missed, reason))
        return frames, self.place

    def _replay_step(
        self, place: Place, oldest: int, frames: list[Frame], form: Form, budget: int
    ) -> tuple[list[Frame], Place]:
        first = place.sequence + 1 - oldest
        for frame in islice(self._ring, first, None):
            frames.append(frame)
            budget -= len(frame.wire(form))
            if budget <= 0:
                break
        last = frames[-1]
        return frames, self._place_at(last)

    def _make_snapshot(self) -> Frame:
        """A snapshot, made again only when the one there is too far behind for the ring or a few frames."""
        kept = self._snapshot
        behind = self.sequence - kept.live.sequence if kept else 0
        if kept is not None and behind <= min(len(self._ring), self._batch):
            return kept
        if self._latest is None:
            text = f"{self.name} has no snapshots"
            raise ValueError(text)
        live = self._live(self.sequence)
        message, json = self._latest.snapshot()
        live.snapshot.CopyFrom(message)
        self._snapshot = Frame(f"{self._subject}:snapshot", live, json, self._total)
        return self._snapshot

    def _append_batch(self, data: list[Datum]) -> None:
        batch = EventBatch()
        for datum in data:
            batch.events.append(cast("Event", datum.message))
            if self._latest is not None:
                self._latest.put(datum)
        live = self._live(self.sequence + 1)
        live.events.CopyFrom(batch)

        def json(names: Names) -> bytes:
            return list_json("events", [datum.json(names) for datum in data])

        self._append(Frame(f"{self._subject}:append", live, json, self._total + len(data)))

    def _append_loss(self) -> None:
        """What came faster than it could be sent takes a place in the sequence, so that nobody misses it silently."""
        at = self.sequence + 1
        live = self._live(at)
        live.gap.CopyFrom(
            LiveGap(from_sequence=at, to_sequence=at, missed_count=self._missed, reason="OVERFLOW")
        )
        frame = plain_frame("gap", live)
        frame.total = self._total + self._missed
        self._missed = 0
        self._append(frame)

    def _append(self, frame: Frame) -> None:
        self.sequence += 1
        self._total = frame.total
        self._before_end, self._end = self._end, Place(self.epoch, self.sequence, self._total)
        self._last = [frame]
        self._ledger.append(frame.total)
        self._ring.append(frame)
        self._size += frame.live.ByteSize()
        while len(self._ring) > self._ring_frames or (
            self._size > self._ring_bytes and len(self._ring) > 1
        ):
            self._size -= self._ring.popleft().live.ByteSize()

    def _place_at(self, frame: Frame) -> Place:
        at_end = frame.live.sequence == self.sequence
        return self._end if at_end else Place(self.epoch, frame.live.sequence, frame.total)

    def _gap(self, first: int, last: int, count: int | None, reason: str) -> Frame:
        live = self._live(last)
        live.gap.CopyFrom(
            LiveGap(from_sequence=first, to_sequence=last, missed_count=count, reason=reason)
        )
        return plain_frame("gap", live)

    def _count(self, place: Place, last: int) -> int | None:
        before = place.total if place.total is not None else self._total_at(place.sequence)
        after = self._total_at(last)
        return None if before is None or after is None else after - before

    def _total_at(self, sequence: int) -> int | None:
        """How many changes there were up to a frame; None when that was too long ago."""
        if sequence == 0:
            return 0
        index = sequence - (self.sequence - len(self._ledger)) - 1
        return self._ledger[index] if 0 <= index < len(self._ledger) else None

    def _live(self, sequence: int) -> LiveFrame:
        stamp = Timestamp()
        stamp.FromNanoseconds(self._wall())
        return LiveFrame(channel=self.name, epoch=self.epoch, sequence=sequence, send_time=stamp)
