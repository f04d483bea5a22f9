"""An event of somebody else, made such that it would pass ingest, or refused with what ingest would say.

Texts that are too long are cut, and what no database takes is replaced: the producer is not there to be told. Ids and
names that are too long are refused, because a shortened one would be another's.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.events import FAILURE_TYPES
from pilothouse_server.foreign.entries import Undecodable
from pilothouse_server.wire.publishing import NAMES, is_plainly_valid, needed_reason, reason_against

MESSAGE_BYTES: Final = 4096
"""Of a message, an error's message and an attribute's value."""
MOST_ATTRIBUTES: Final = 64
LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, the last that a Timestamp can say."""

_ERROR, _INFO = enums_pb2.SEVERITY_ERROR, enums_pb2.SEVERITY_INFO
_REPLACED: Final = dict.fromkeys((*range(32), *range(127, 160)), "�")
_NUL_REPLACED: Final = {0: "\ufffd"}


class Origin(NamedTuple):
    """Where an event comes from."""

    stream: str
    entry_id: str
    number: int = -1
    """Its place in an entry of several."""
    latest_ms: int = LAST_MS
    """No entry was received later, whatever its id says."""

    @property
    def event_id(self) -> str:
        """The id of an event that has none: the same each time it is read."""
        whole = f"{self.stream}/{self.entry_id}"
        return whole if self.number < 0 else f"{whole}/{self.number}"


def judge(event: pb.Event, origin: Origin) -> pb.Event:
    """The event, stamped. Raises Undecodable."""
    if is_plainly_valid(event):
        reason = needed_reason(event)
    else:
        _mend(event)
        reason = reason_against(event)
    if reason:
        raise Undecodable(reason)
    ms = min(int(origin.entry_id.partition("-")[0]), origin.latest_ms)
    received = event.receive_time
    received.seconds, received.nanos = ms // 1000, ms % 1000 * 1_000_000
    if not event.HasField("occur_time"):
        event.occur_time.CopyFrom(received)
    if not event.severity:
        kind: int = event.type
        event.severity = _ERROR if kind in FAILURE_TYPES else _INFO
    if event.cursor:
        event.ClearField("cursor")
    event.DiscardUnknownFields()
    if not event.id:
        event.id = origin.event_id
    return event


def clipped(text: str, limit: int = MESSAGE_BYTES) -> str:
    """The beginning of a text, in at most so many bytes of UTF-8."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode(errors="ignore") + "…"


def _mend(event: pb.Event) -> None:
    """Replaces and cuts what would be refused and can be without becoming something else."""
    for name in NAMES:
        value: str = getattr(event, name)
        if value and not value.isprintable():
            setattr(event, name, value.translate(_REPLACED))
    for index, stage in enumerate(event.stage_plan):
        if not stage.isprintable():
            event.stage_plan[index] = stage.translate(_REPLACED)
    event.message = _mended(event.message)
    if event.HasField("error"):
        error = event.error
        error.code = clipped(error.code.translate(_REPLACED), 256)
        error.message = _mended(error.message)
    if event.attributes:
        mended = {
            clipped(key.translate(_REPLACED), 128): _mended(value)
            for key, value in event.attributes.items()
            if key
        }
        event.ClearField("attributes")
        for key in sorted(mended)[:MOST_ATTRIBUTES]:
            event.attributes[key] = mended[key]


def _mended(text: str) -> str:
    return clipped(text.translate(_NUL_REPLACED))
