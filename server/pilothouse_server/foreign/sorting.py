"""Sorts an entry that somebody else wrote: which of its events belong to which shard, and what cannot be taken.

Each event is judged as ingest judges it. The good ones of an entry are taken and the others are refused, so that one
wrong event costs nothing but itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.shards import shard_of, stream_of
from pilothouse_server.foreign.dialects import Reading, read_entry
from pilothouse_server.foreign.entries import NOTHING, Refused, Sorted, Undecodable
from pilothouse_server.foreign.judging import Origin

ENTRY_BYTES: Final = 4 << 20
"""An entry that is larger is not looked into."""
CLOCKS_DIFFER_MS: Final = 10_000
"""By how much the clock of a Redis may be ahead of ours. An id that is further ahead was made up by its producer, and
those that a Redis gives after it are as far ahead: such an entry was received when it is read."""

_log = logging.getLogger(__name__)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Sorter:
    """For the reader of one shard; `Sorter(shard, shards)(id, fields)`. Whatever comes, it does not raise."""

    def __init__(
        self, shard: int = 0, shards: int = 1, *, now_ms: Callable[[], int] = _wall_ms
    ) -> None:
        self._now_ms = now_ms
        self._shard = shard
        self._shards = shards
        self._stream = stream_of(shard)

    def __call__(self, entry_id: bytes, fields: Sequence[bytes]) -> Sorted:
        if sum(map(len, fields)) > ENTRY_BYTES:
            told = f"the entry is larger than {ENTRY_BYTES:,} bytes"
            return Sorted(b"", refused=Refused(told, fields))
        try:
            reading = read_entry(self._origin(entry_id.decode()), fields)
            if self._shards == 1:
                return Sorted(_batch(reading.events), NOTHING, reading.refused, len(reading.events))
            return self._by_shard(reading, fields)
        except Undecodable as error:
            return Sorted(b"", refused=Refused(error.reason, fields))
        except Exception as error:  # noqa: BLE001 - a fault of ours; what comes behind it is to be read all the same
            _log.exception("an entry cannot be sorted: %s", entry_id.decode())
            told = f"the server fails to read it ({type(error).__name__}); report this, and retry it then"
            return Sorted(b"", refused=Refused(told, fields))

    def _origin(self, entry_id: str) -> Origin:
        now_ms = self._now_ms()
        ahead = int(entry_id.partition("-")[0]) > now_ms + CLOCKS_DIFFER_MS
        return (
            Origin(self._stream, entry_id, latest_ms=now_ms)
            if ahead
            else Origin(self._stream, entry_id)
        )

    def _by_shard(self, reading: Reading, fields: Sequence[bytes]) -> Sorted:
        parts: dict[int, list[pb.Event]] = {}
        for event in reading.events:
            shard = shard_of(event.workflow_id, event.agent_id, self._shards)
            parts.setdefault(shard, []).append(event)
        own = _batch(parts.pop(self._shard, []))
        count = len(reading.events)
        if self._shard and parts:  # only what comes into shard 0 is passed on
            told = f"events of shard {min(parts)} in shard {self._shard}: write to shard 0, or to the right one"
            left = [event for events in parts.values() for event in events]
            refused = Refused(told, [b"batch", _batch(left)])
            if reading.refused is not None or not own:
                refused = Refused(told, fields)
            return Sorted(own, NOTHING, refused, count - len(left))
        elsewhere = {shard: _batch(events) for shard, events in parts.items()}
        return Sorted(own, elsewhere, reading.refused, count)


def _batch(events: Sequence[pb.Event]) -> bytes:
    if (
        len(events) == 1
    ):  # by hand, because most entries are of this kind: the tag, the length, the event
        event = events[0].SerializeToString()
        return b"\x0a" + _varint(len(event)) + event
    return pb.EventBatch(events=events).SerializeToString() if events else b""


def _varint(number: int) -> bytes:
    low = bytearray()
    while number > 0x7F:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    low.append(number)
    return bytes(low)
