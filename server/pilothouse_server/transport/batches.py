"""Batches: made, seen, started, stopped and given up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from pilothouse.v1 import batches_pb2 as pb
from pilothouse.v1 import batches_pb2_grpc, events_pb2
from pilothouse_server.domain.batches import ItemOutcome
from pilothouse_server.ports import Clock
from pilothouse_server.services.batches import Batches
from pilothouse_server.services.views import PageRequest
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.batches import act_of, batch_to_proto, draft_of, item_to_proto
from pilothouse_server.wire.times import timestamp

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 50


class BatchServicer(batches_pb2_grpc.BatchServiceServicer):
    """`pilothouse.v1.BatchService`."""

    def __init__(self, batches: Batches, clock: Clock) -> None:
        self._batches = batches
        self._clock = clock

    async def CreateBatch(
        self, request: pb.CreateBatchRequest, context: Context
    ) -> pb.CreateBatchResponse:
        view = await self._batches.create(draft_of(request, actor(context)))
        return pb.CreateBatchResponse(batch=batch_to_proto(view))

    async def StartBatch(
        self, request: pb.StartBatchRequest, context: Context
    ) -> pb.StartBatchResponse:
        act = act_of(request, actor(context))
        view = await self._batches.start(act, request.confirm_size)
        return pb.StartBatchResponse(batch=batch_to_proto(view))

    async def StopBatch(
        self, request: pb.StopBatchRequest, context: Context
    ) -> pb.StopBatchResponse:
        view = await self._batches.stop(act_of(request, actor(context)))
        return pb.StopBatchResponse(batch=batch_to_proto(view))

    async def ContinueBatch(
        self, request: pb.ContinueBatchRequest, context: Context
    ) -> pb.ContinueBatchResponse:
        view = await self._batches.go_on(act_of(request, actor(context)))
        return pb.ContinueBatchResponse(batch=batch_to_proto(view))

    async def AbandonBatch(
        self, request: pb.AbandonBatchRequest, context: Context
    ) -> pb.AbandonBatchResponse:
        view = await self._batches.abandon(act_of(request, actor(context)))
        return pb.AbandonBatchResponse(batch=batch_to_proto(view))

    async def GetBatch(self, request: pb.GetBatchRequest, context: Context) -> pb.GetBatchResponse:
        view = await self._batches.get(request.batch_id)
        return pb.GetBatchResponse(batch=batch_to_proto(view))

    async def ListBatches(
        self, request: pb.ListBatchesRequest, context: Context
    ) -> pb.ListBatchesResponse:
        asked = PageRequest(request.page_size or PAGE_SIZE, request.page_token, request.filter)
        page = await self._batches.page(asked)
        batches = map(batch_to_proto, page.items)
        return pb.ListBatchesResponse(batches=batches, next_page_token=page.next_token)

    async def ListBatchItems(
        self, request: pb.ListBatchItemsRequest, context: Context
    ) -> pb.ListBatchItemsResponse:
        outcomes = [ItemOutcome(outcome) for outcome in request.outcomes if outcome]
        asked = PageRequest(request.page_size or PAGE_SIZE, request.page_token)
        page = await self._batches.items(request.batch_id, outcomes, asked)
        items = map(item_to_proto, page.items)
        return pb.ListBatchItemsResponse(items=items, next_page_token=page.next_token)

    async def WatchBatch(
        self, request: pb.WatchBatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchBatchResponse]:
        async for view in self._batches.watch(request.batch_id):
            if view is not None:
                yield pb.WatchBatchResponse(batch=batch_to_proto(view))
                continue
            now = timestamp(self._clock.now_us())
            yield pb.WatchBatchResponse(heartbeat=events_pb2.Heartbeat(send_time=now))
