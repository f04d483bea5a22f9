"""Events of spans on their way into the log. They were made to pass, so they are not judged a second time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.events import FAILURE_TYPES
from pilothouse_server.domain.shards import shard_of
from pilothouse_server.services.ingest import MAX_BATCH_BYTES, MAX_EVENTS, Sealed

_ERROR, _INFO = enums_pb2.SEVERITY_ERROR, enums_pb2.SEVERITY_INFO
_FRAME: Final = 8
"""Bytes around an event in a batch."""
_STAMP: Final = 32
"""Bytes that the server adds to an event."""


class MappedBatch:
    """As many events as go into one entry of the log."""

    def __init__(self, events: Sequence[pb.Event], size: int) -> None:
        self._events = events
        self._size = size

    @property
    def count(self) -> int:
        return len(self._events)

    @property
    def size(self) -> int:
        return self._size

    def judge(self, start: int, stop: int, receive_us: int) -> None:
        """Gives these events what the server gives: the time of receipt, and a severity."""
        seconds, micros = divmod(receive_us, 1_000_000)
        nanos = micros * 1000
        for event in self._events[start:stop]:
            received = event.receive_time
            received.seconds, received.nanos = seconds, nanos
            if not event.severity:
                kind: int = event.type
                event.severity = _ERROR if kind in FAILURE_TYPES else _INFO

    def seal(self, shards: int) -> Sealed:
        """An entry for each shard; spans that belong to no workflow are with the others of their trace."""
        parts: dict[int, list[pb.Event]] = {}
        for event in self._events:
            shard = shard_of(event.workflow_id or event.trace_id, "", shards)
            parts.setdefault(shard, []).append(event)
        return Sealed(
            {
                shard: pb.EventBatch(events=part).SerializeToString()
                for shard, part in parts.items()
            },
            [event.id for event in self._events],
            (),
        )


def batches_of(events: Sequence[pb.Event]) -> Iterator[MappedBatch]:
    """All events, in batches that ingest takes."""
    start = size = 0
    for index, event in enumerate(events):
        own = event.ByteSize() + _FRAME + _STAMP
        if index - start == MAX_EVENTS or size + own > MAX_BATCH_BYTES:
            yield MappedBatch(events[start:index], size)
            start, size = index, 0
        size += own
    if start < len(events):
        yield MappedBatch(events[start:], size)
