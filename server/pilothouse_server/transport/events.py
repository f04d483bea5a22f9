"""Events in, by one, in batches and as a stream of batches; and the stored events out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.ingest import Ingest, Receipt
from pilothouse_server.services.views import EventViews, PageRequest
from pilothouse_server.transport.event_export import EventExport
from pilothouse_server.transport.event_watch import EventWatch
from pilothouse_server.wire.event_counts import counts_to_proto
from pilothouse_server.wire.events import stored_to_proto
from pilothouse_server.wire.publishing import PublishedBatch
from pilothouse_server.wire.times import optional_timestamp

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE: Final = pb.DESCRIPTOR.services_by_name["EventService"]
PAGE_SIZE = 100
BATCHES_UNDER_WAY = 16
"""Batches of one stream that are being written while the next is read; more wait in the network."""


class EventServicer:
    """`pilothouse.v1.EventService`."""

    def __init__(
        self,
        ingest: Ingest,
        views: EventViews,
        watch: EventWatch,
        *,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._ingest = ingest
        self._views = views
        self._watch = watch
        self._new_id = new_id

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the methods. `WatchEvents` leaves as bytes, so generated code cannot do it."""
        one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "PublishEvent": one(
                self.PublishEvent,
                pb.PublishEventRequest.FromString,
                pb.PublishEventResponse.SerializeToString,
            ),
            "PublishEvents": one(
                self.PublishEvents,
                pb.PublishEventsRequest.FromString,
                pb.PublishEventsResponse.SerializeToString,
            ),
            "PublishEventStream": grpc.stream_stream_rpc_method_handler(
                self.PublishEventStream,
                pb.PublishEventStreamRequest.FromString,
                pb.PublishEventStreamResponse.SerializeToString,
            ),
            "ListEvents": one(
                self.ListEvents,
                pb.ListEventsRequest.FromString,
                pb.ListEventsResponse.SerializeToString,
            ),
            "GetEvent": one(
                self.GetEvent, pb.GetEventRequest.FromString, pb.GetEventResponse.SerializeToString
            ),
            "CountEvents": one(
                self.CountEvents,
                pb.CountEventsRequest.FromString,
                pb.CountEventsResponse.SerializeToString,
            ),
            "ExportEvents": many(
                EventExport(self._views).export,
                pb.ExportEventsRequest.FromString,
                pb.ExportEventsResponse.SerializeToString,
            ),
            "WatchEvents": many(self._watch.watch, pb.WatchEventsRequest.FromString, bytes),
        }
        generic = grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)
        server.add_generic_rpc_handlers((generic,))

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
        page = await self._views.page(
            asked, ascending=request.ascending, start_id=request.start_event_id
        )
        return pb.ListEventsResponse(
            events=map(stored_to_proto, page.events),
            next_page_token=page.next_token,
            looked_time=optional_timestamp(page.looked_us),
        )

    async def GetEvent(self, request: pb.GetEventRequest, context: Context) -> pb.GetEventResponse:
        event = await self._views.get(request.event_id)
        return pb.GetEventResponse(event=stored_to_proto(event))

    async def CountEvents(
        self, request: pb.CountEventsRequest, context: Context
    ) -> pb.CountEventsResponse:
        return counts_to_proto(await self._views.counts(request.filter))

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


def _rejected(receipt: Receipt) -> list[pb.RejectedEvent]:
    return [
        pb.RejectedEvent(index=rejection.index, id=rejection.id, reason=rejection.reason)
        for rejection in receipt.rejected
    ]
