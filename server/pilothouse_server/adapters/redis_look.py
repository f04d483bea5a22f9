"""What is known about a stream at a moment, and what follows from it for whoever has read up to a place."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from redis.asyncio import Redis

from pilothouse_server.adapters.redis_scripts import LOOK
from pilothouse_server.adapters.redis_streams import (
    START,
    Names,
    Place,
    before,
    cursor_of,
    place_of_id,
)


class StreamGap(NamedTuple):
    """Entries that were removed before somebody had read them."""

    after: str
    """The cursor from which it was read."""
    before: str
    """The cursor of the entry that is read next; "" when there is none."""


class Look(NamedTuple):
    """What is known about a stream at a moment."""

    last: Place
    """The greatest id that was ever given."""
    first: Place | None
    """The oldest entry; None when there is none."""
    deleted: Place
    """The greatest id that was deleted on its own, where the server tells (Redis 7)."""
    trimmed: Place
    """Entries below this one may have been removed by us."""
    followed: str
    """The place up to which it is dealt with, as it is written."""
    length: int
    there: bool
    """Whether it has the entry that was asked for."""


async def look_at(redis: Redis, names: Names, place: Place = START) -> Look:
    """What is known about a stream, and whether it has the entry at `place`."""
    evaluate = cast("Any", redis).execute_command
    keys = (names.stream, names.trimmed, names.followed)
    found = cast("list[Any]", await evaluate("EVAL", LOOK, 3, *keys, cursor_of(place)))
    last, first, deleted, trimmed, followed, length, there = found
    return Look(
        place_of_id(last),
        place_of_id(first) if first else None,
        place_of_id(deleted),
        place_written(trimmed.decode()),
        followed.decode(),
        length,
        bool(there),
    )


def gap_after(place: Place, look: Look) -> StreamGap | None:
    """The gap that a reader meets which has read up to `place`, and whose entry is not there; None when there is none.

    Who trims on its own leaves no note. So entries are gone too where the reader's own place was removed by nobody that
    is known of.
    """
    if place == START or place >= look.last:
        return None
    removed = max(look.deleted, before(look.trimmed))
    beyond = look.first is None or look.first > place
    if not beyond or (removed == place and look.first is not None):
        return None
    return StreamGap(cursor_of(place), cursor_of(look.first) if look.first else "")


def place_written(text: str) -> Place:
    """What a string beside the stream says."""
    if not text:
        return START
    return place_of_id(text.encode())
