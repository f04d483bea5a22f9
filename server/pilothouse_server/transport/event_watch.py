"""Events as they come. Each leaves as bytes that were made once, however many watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.services.allowance import Allowance
from pilothouse_server.services.event_tail import EventTail
from pilothouse_server.services.watch import Items, watch
from pilothouse_server.transport.watching import Signs, Watching, responses
from pilothouse_server.wire.event_frames import batch_frame

Context = grpc.aio.ServicerContext[Any, Any]

RESET_BACKLOG: Final = 1000
"""Events that are sent anew when a token is of another history."""


class EventWatch:
    """`WatchEvents`."""

    def __init__(self, tail: EventTail, watching: Watching) -> None:
        self._tail = tail
        self._clock = watching.clock

    async def watch(self, request: pb.WatchEventsRequest, context: Context) -> AsyncIterator[bytes]:
        """Serialized WatchEventsResponses. Raises InvalidFilter, InvalidResumeToken, Unavailable."""
        token, rate = request.resume_token, request.max_events_per_second
        allowance = Allowance(rate, self._clock) if rate else None
        with self._tail.follow(request.filter, allowance) as follower:
            updates = watch(
                follower,
                follower.changes,
                token,
                backlog=request.backlog or (RESET_BACKLOG if token else 0),
                reset_backlog=request.backlog or RESET_BACKLOG,
            )
            async for response in responses(updates, self._clock, _items, _sign):
                yield response


def _items(items: Items[bytes]) -> list[bytes]:
    frames: list[bytes] = []
    if items.skipped:
        # Without a token: what is left out here is not to be resumed after.
        skipped = pb.SkippedEvents(count=items.skipped)
        frames.append(pb.WatchEventsResponse(skipped=skipped).SerializeToString())
    if items.items:
        frames.append(batch_frame(items.items[-1][0], (event for _token, event in items.items)))
    return frames


def _sign(token: str, signs: Signs) -> bytes:
    return pb.WatchEventsResponse(
        resume_token=token,
        caught_up=signs.caught_up,
        heartbeat=signs.heartbeat,
        reset=signs.reset,
    ).SerializeToString()
