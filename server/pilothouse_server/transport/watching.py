"""A watch as a stream of the contract's responses, whichever service it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple, TypeVar

from pilothouse.v1 import events_pb2
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.watch import CaughtUp, Heartbeat, Items, Reset, Update
from pilothouse_server.wire.times import timestamp

T = TypeVar("T")
R = TypeVar("R")


class Watching(NamedTuple):
    """What every watch needs."""

    changes: Changes
    """Notified when rows changed."""
    clock: Clock


class Signs(NamedTuple):
    """An update that is no item, as the contract's message; at most one is set."""

    caught_up: events_pb2.CaughtUp | None = None
    heartbeat: events_pb2.Heartbeat | None = None
    reset: events_pb2.Reset | None = None


async def responses(
    updates: AsyncIterator[Update[T]],
    clock: Clock,
    of_items: Callable[[Items[T]], Iterable[R]],
    of_sign: Callable[[str, Signs], R],
) -> AsyncIterator[R]:
    """The responses for the updates of one watch."""
    async for update in updates:
        match update:
            case Items():
                for response in of_items(update):
                    yield response
                    # Many rows at once are encoded one by one: others get their turn in between.
                    await asyncio.sleep(0)
            case CaughtUp(token=token):
                yield of_sign(token, Signs(caught_up=events_pb2.CaughtUp()))
            case Heartbeat(token=token):
                now = timestamp(clock.now_us())
                yield of_sign(token, Signs(heartbeat=events_pb2.Heartbeat(send_time=now)))
            case Reset(token=token, reason=reason):
                yield of_sign(token, Signs(reset=events_pb2.Reset(reason=reason)))
