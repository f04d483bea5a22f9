"""Events in, by one, in batches and as a stream of batches; and the stored events out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from pilothouse.v1 import events_pb2 as pb
from pilothouse.v1 import events_pb2_grpc
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.ports import StoredEvent
from pilothouse_server.services.allowance import Allowance
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.ingest import Ingest, Receipt
from pilothouse_server.services.views import EventViews, PageRequest
from pilothouse_server.services.watch import Items, watch
from pilothouse_server.transport.watching import Signs, Watching, responses
from pilothouse_server.wire.events import batch_to_proto, stored_to_proto
from pilothouse_server.wire.publishing import PublishedBatch

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 100
RESET_BACKLOG = 1000
"""Events that are sent anew when a token is of another history."""
BATCHES_UNDER_WAY = 16
"""Batches of one stream that are being written while the next is read; more wait in the network."""


class EventServicer(events_pb2_grpc.EventServiceServicer):
    """`pilothouse.v1.EventService`."""

    def __init__(
        self,
        ingest: Ingest,
        views: EventViews,
        watching: Watching,
        *,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._ingest = ingest
        self._views = views
        self._watching = watching
        self._new_id = new_id

    async def PublishEvent(
        self, request: pb.PublishEventRequest, context: Context
    ) -> pb.PublishEventResponse:
        receipt = await self._publish(pb.PublishEventsRequest(events=[request.event]))
        for rejection in receipt.rejected:
            field, _, wrong = rejection.reason.partition(": ")
            raise InvalidArgument(f"event.{field}", wrong)
        return pb.PublishEventResponse(id=receipt.ids[0], cursor=receipt.cursor)

    async def PublishEvents(
        self, request: pb.PublishEventsRequest, context: Context
    ) -> pb.PublishEventsResponse:
        receipt = await self._publish(request)
        return pb.PublishEventsResponse(
            accepted_count=len(receipt.ids), rejected=_rejected(receipt), cursor=receipt.cursor
        )

    async def PublishEventStream(
        self, request_iterator: AsyncIterator[pb.PublishEventStreamRequest], context: Context
    ) -> AsyncIterator[pb.PublishEventStreamResponse]:
        """Answers in the order of the batches. What is refused as a whole ends the stream, after the answers to all
        batches before it."""
        under_way: asyncio.Queue[asyncio.Task[pb.PublishEventStreamResponse] | None] = (
            asyncio.Queue(BATCHES_UNDER_WAY)
        )
        reading = asyncio.create_task(self._take(request_iterator, under_way))
        try:
            while (answer := await under_way.get()) is not None:
                yield await answer
            await reading
        finally:
            reading.cancel()
            left: list[asyncio.Task[Any]] = [reading]
            while not under_way.empty():
                if (task := under_way.get_nowait()) is not None:
                    left.append(task)
            await asyncio.gather(*left, return_exceptions=True)

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Context
    ) -> pb.ListEventsResponse:
        asked = PageRequest(request.page_size or PAGE_SIZE, request.page_token, request.filter)
        page = await self._views.page(asked, ascending=request.ascending)
        events = [stored_to_proto(event) for event in page.events]
        return pb.ListEventsResponse(events=events, next_page_token=page.next_token)

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        token = request.resume_token
        rate = request.max_events_per_second
        allowance = Allowance(rate, self._watching.clock) if rate else None
        updates = watch(
            self._views.follow(request.filter, allowance),
            self._watching.changes,
            token,
            backlog=request.backlog or (RESET_BACKLOG if token else 0),
            reset_backlog=request.backlog or RESET_BACKLOG,
        )
        async for response in responses(updates, self._watching.clock, _items, _sign):
            yield response

    async def _take(
        self,
        requests: AsyncIterator[pb.PublishEventStreamRequest],
        under_way: asyncio.Queue[asyncio.Task[pb.PublishEventStreamResponse] | None],
    ) -> None:
        try:
            async for request in requests:
                await under_way.put(asyncio.create_task(self._answer(request)))
        finally:
            await under_way.put(None)

    async def _answer(self, request: pb.PublishEventStreamRequest) -> pb.PublishEventStreamResponse:
        sequence = request.batch_sequence
        receipt = await self._publish(request)
        return pb.PublishEventStreamResponse(
            batch_sequence=sequence,
            accepted_count=len(receipt.ids),
            rejected=_rejected(receipt),
            cursor=receipt.cursor,
        )

    async def _publish(
        self, request: pb.PublishEventsRequest | pb.PublishEventStreamRequest
    ) -> Receipt:
        return await self._ingest.publish(PublishedBatch(request, self._new_id))


def _items(items: Items[StoredEvent]) -> list[pb.WatchEventsResponse]:
    responses = [
        # Without a token: what is left out here is not to be resumed after.
        pb.WatchEventsResponse(skipped=pb.SkippedEvents(count=count))
        for count in (items.skipped,)
        if count
    ]
    if items.items:
        batch = batch_to_proto(event for _token, event in items.items)
        responses.append(pb.WatchEventsResponse(resume_token=items.items[-1][0], batch=batch))
    return responses


def _sign(token: str, signs: Signs) -> pb.WatchEventsResponse:
    return pb.WatchEventsResponse(
        resume_token=token,
        caught_up=signs.caught_up,
        heartbeat=signs.heartbeat,
        reset=signs.reset,
    )


def _rejected(receipt: Receipt) -> list[pb.RejectedEvent]:
    return [
        pb.RejectedEvent(index=rejection.index, id=rejection.id, reason=rejection.reason)
        for rejection in receipt.rejected
    ]
