"""What could not be read from the log: to be looked at, put back or dropped."""

from __future__ import annotations

from typing import Any

import grpc
import structlog

from pilothouse.v1 import dead_events_pb2 as pb
from pilothouse.v1 import dead_events_pb2_grpc
from pilothouse_server.services.dead_events import DeadEvents
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.dead_events import dead_event_to_proto

PAGE_SIZE = 50

Context = grpc.aio.ServicerContext[Any, Any]

_log = structlog.get_logger(__name__)


class DeadEventServicer(dead_events_pb2_grpc.DeadEventServiceServicer):
    """`pilothouse.v1.DeadEventService`."""

    def __init__(self, dead: DeadEvents) -> None:
        self._dead = dead

    async def ListDeadEvents(
        self, request: pb.ListDeadEventsRequest, context: Context
    ) -> pb.ListDeadEventsResponse:
        page = await self._dead.page(request.page_size or PAGE_SIZE, request.page_token)
        events = [dead_event_to_proto(event) for event in page.events]
        return pb.ListDeadEventsResponse(dead_events=events, next_page_token=page.next_token)

    async def RetryDeadEvent(
        self, request: pb.RetryDeadEventRequest, context: Context
    ) -> pb.RetryDeadEventResponse:
        cursor = await self._dead.retry(request.dead_event_id, request.request_id.lower())
        self._say("a dead event was put back", request, context)
        return pb.RetryDeadEventResponse(cursor=cursor)

    async def DropDeadEvent(
        self, request: pb.DropDeadEventRequest, context: Context
    ) -> pb.DropDeadEventResponse:
        await self._dead.drop(request.dead_event_id, request.request_id.lower())
        self._say("a dead event was dropped", request, context)
        return pb.DropDeadEventResponse()

    def _say(
        self,
        what: str,
        request: pb.RetryDeadEventRequest | pb.DropDeadEventRequest,
        context: Context,
    ) -> None:
        _log.info(what, dead_event=request.dead_event_id, actor=actor(context), why=request.reason)
