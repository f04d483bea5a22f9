"""How an entry that somebody else wrote says its events; the fields tell which way it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.foreign.entries import Refused, Undecodable
from pilothouse_server.foreign.judging import Origin, judge


class Reading(NamedTuple):
    """What an entry says."""

    events: list[pb.Event]
    """Judged and stamped."""
    refused: Refused | None = None


def read_entry(stream: str, entry_id: str, fields: Sequence[bytes]) -> Reading:
    """The events of an entry. Raises Undecodable when there is none that can be taken."""
    named = dict(zip(fields[::2], fields[1::2], strict=False))
    origin = Origin(stream, entry_id)
    if (payload := named.get(b"event")) is not None:
        return Reading([judge(_event(payload), origin)])
    if (payload := named.get(b"batch")) is not None:
        return _batch(payload, origin)
    raise Undecodable(_nothing_known(named))


def _event(payload: bytes) -> pb.Event:
    try:
        return pb.Event.FromString(payload)
    except DecodeError as error:
        raise Undecodable("event: neither a serialized Event nor JSON") from error


def _batch(payload: bytes, origin: Origin) -> Reading:
    try:
        found = pb.EventBatch.FromString(payload).events
    except DecodeError as error:
        raise Undecodable("batch: not a serialized EventBatch") from error
    if not found:
        raise Undecodable("batch: holds no event")
    events: list[pb.Event] = []
    left: list[pb.Event] = []
    reasons: list[str] = []
    for index, event in enumerate(found):
        try:
            events.append(judge(event, origin._replace(index=index)))
        except Undecodable as error:
            reasons.append(f"event {index}: {error.reason}")
            left.append(event)
    if not events:
        raise Undecodable("; ".join(reasons[:5]))
    refused = None
    if left:
        again = pb.EventBatch(events=left).SerializeToString()
        refused = Refused("; ".join(reasons[:5]), [b"batch", again])
    return Reading(events, refused)


def _nothing_known(named: Mapping[bytes, bytes]) -> str:
    names = ", ".join(name[:40].decode(errors="replace") for name in list(named)[:8])
    known = "event, batch, data, payload or message"
    return f"no field that holds an event ({known}); it has: {names or 'none'}"
