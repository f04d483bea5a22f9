"""Dead events of the domain → the contract's messages."""

from __future__ import annotations

from typing import Final

from pilothouse.v1 import dead_events_pb2 as pb
from pilothouse_server.services.dead_events import DeadEvent
from pilothouse_server.wire.times import LAST_SECOND, timestamp

SHOWN_BYTES: Final = 4096
"""Of each value; a page of dead events fits into a message."""
SHOWN_FIELDS: Final = 16


def dead_event_to_proto(event: DeadEvent) -> pb.DeadEvent:
    """The contract's message of one."""
    message = pb.DeadEvent(
        id=event.id,
        reason=event.reason,
        receive_time=timestamp(min(event.receive_us, LAST_SECOND * 1_000_000)),
        stream=event.stream,
        truncated=event.truncated,
    )
    for name, value in event.fields[:SHOWN_FIELDS]:
        field = message.fields.add(name=name[:256].decode(errors="replace"), size=len(value))
        shown = value[:SHOWN_BYTES]
        try:
            value.decode()
        except UnicodeDecodeError:
            field.data = shown
        else:
            field.text = shown.decode(errors="ignore")
    return message
