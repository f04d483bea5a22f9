"""How the log lies in a Redis: a stream for each shard, and beside it what is known about it.

`workflow:events` is shard 0, `workflow:events:k` shard k. An entry of ours has the fields `batch` (a serialized
EventBatch) and `sealed`, in this order: the server judged and stamped it, and readers trust it. All else is foreign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pilothouse_server.domain.errors import Misconfigured
from pilothouse_server.domain.shards import STREAM, stream_of

SEALED: Final = b"sealed"
BATCH: Final = b"batch"
OLDEST_SERVER: Final = (6, 2)

Place = tuple[int, int]
"""The milliseconds and the number of an entry's id."""
START: Final[Place] = (0, 0)
_LARGEST = (1 << 64) - 1

RawEntry = tuple[bytes, Sequence[bytes]]
"""An id, and fields and values in turn."""


class Names(NamedTuple):
    """The keys of one shard."""

    stream: str
    dead: str
    followed: str
    """The string that tells how far the stream was sorted: what is dead, or another shard's, is dealt with up to it."""
    trimmed: str
    """The string that tells below which id entries may have been removed by us."""


def names_of(shard: int) -> Names:
    """The keys of a shard."""
    stream = stream_of(shard)
    dead = f"{STREAM}:dead:{shard}" if shard else f"{STREAM}:dead"
    return Names(stream, dead, f"{stream}:followed", f"{stream}:trimmed")


def place_of(cursor: str) -> Place:
    """What a cursor says; "" is before everything. Raises ValueError when it is not a cursor of a Redis log."""
    if not cursor:
        return START
    ms, dash, number = cursor.partition("-")
    if dash and _is_number(ms) and _is_number(number):
        place = (int(ms), int(number))
        if place > START and max(place) <= _LARGEST:
            return place
    raise ValueError(f"{cursor!r} is not a cursor of this log")


def place_of_id(entry_id: bytes) -> Place:
    """What the Redis said."""
    ms, _, number = entry_id.partition(b"-")
    return int(ms), int(number)


def cursor_of(place: Place) -> str:
    """The cursor of a place."""
    return "" if place == START else f"{place[0]}-{place[1]}"


def before(place: Place) -> Place:
    """The greatest place that is smaller."""
    ms, number = place
    if number:
        return ms, number - 1
    return (ms - 1, _LARGEST) if ms else START


def after(place: Place) -> Place:
    """The smallest place that is greater."""
    ms, number = place
    return (ms, number + 1) if number < _LARGEST else (ms + 1, 0)


def sealed_payload(fields: Sequence[bytes]) -> bytes | None:
    """The payload of an entry of ours; None for a foreign one."""
    if len(fields) == 4 and fields[0] == BATCH and fields[2] == SEALED:
        return fields[1]
    return None


def check_version(info: dict[str, Any], what: str, where: str) -> None:
    """Raises Misconfigured for a server that is too old."""
    version = str(info.get("redis_version", ""))
    parts = version.split(".")
    if len(parts) >= 2 and all(part.isdigit() for part in parts[:2]):
        found = (int(parts[0]), int(parts[1]))
        if found < OLDEST_SERVER:
            raise Misconfigured(
                what, f"{where} is version {version}; use Redis 6.2 or newer, or Valkey"
            )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20
