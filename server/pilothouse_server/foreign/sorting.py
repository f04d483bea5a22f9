"""Sorts an entry that somebody else wrote: which of its events belong to which shard, and what cannot be taken.

Each event is judged as ingest judges it. The good ones of an entry are taken and the others are refused, so that one
wrong event costs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.shards import shard_of, stream_of
from pilothouse_server.foreign.dialects import Reading, read_entry
from pilothouse_server.foreign.entries import NOTHING, Refused, Sorted, Undecodable

ENTRY_BYTES = 4 << 20
"""An entry that is larger is not looked into."""


class Sorter:
    """For the reader of one shard; `Sorter(shard, shards)(id, fields)`. Whatever comes, it does not raise."""

    def __init__(self, shard: int = 0, shards: int = 1) -> None:
        self._shard = shard
        self._shards = shards
        self._stream = stream_of(shard)

    def __call__(self, entry_id: bytes, fields: Sequence[bytes]) -> Sorted:
        if sum(map(len, fields)) > ENTRY_BYTES:
            told = f"the entry is larger than {ENTRY_BYTES:,} bytes"
            return Sorted(b"", refused=Refused(told, fields))
        try:
            reading = read_entry(self._stream, entry_id.decode(), fields)
        except Undecodable as error:
            return Sorted(b"", refused=Refused(error.reason, fields))
        if self._shards == 1:
            return Sorted(_batch(reading.events), NOTHING, reading.refused, len(reading.events))
        return self._by_shard(reading, fields)

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
    return pb.EventBatch(events=events).SerializeToString() if events else b""
