"""What watchers of events are sent, put together from events that were encoded once for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pilothouse.v1 import events_pb2 as pb

_BATCH: Final = pb.WatchEventsResponse.DESCRIPTOR.fields_by_name["batch"]
_LENGTH_DELIMITED: Final = 2


def batch_frame(token: str, encoded: Iterable[bytes]) -> bytes:
    """A serialized WatchEventsResponse with a batch, of batches in their serialized form."""
    batch = b"".join(encoded)
    token_part = pb.WatchEventsResponse(resume_token=token).SerializeToString()
    return b"".join((token_part, _TAG, _varint(len(batch)), batch))


def _varint(number: int) -> bytes:
    """As protobuf writes a number that is not negative."""
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


_TAG: Final = _varint(_BATCH.number << 3 | _LENGTH_DELIMITED)
