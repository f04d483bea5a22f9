"""Emergency stops: tried, started, escalated, released and followed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from pilothouse.v1 import emergency_stops_pb2 as pb
from pilothouse.v1 import emergency_stops_pb2_grpc
from pilothouse_server.domain.stops import Stage, TargetState
from pilothouse_server.services.stop_ports import StopView
from pilothouse_server.services.stops import EmergencyStops, StopRequest
from pilothouse_server.services.watch import Items, watch
from pilothouse_server.transport.caller import actor
from pilothouse_server.transport.watching import Signs, Watching, responses
from pilothouse_server.wire.emergency_stops import (
    preview_to_proto,
    scope_from_proto,
    stop_to_proto,
    target_to_proto,
)

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 50


class EmergencyStopServicer(emergency_stops_pb2_grpc.EmergencyStopServiceServicer):
    """`pilothouse.v1.EmergencyStopService`."""

    def __init__(self, stops: EmergencyStops, watching: Watching) -> None:
        self._stops = stops
        self._watching = watching

    async def PreviewEmergencyStop(
        self, request: pb.PreviewEmergencyStopRequest, context: Context
    ) -> pb.PreviewEmergencyStopResponse:
        stage = Stage(request.stage)
        preview = await self._stops.preview(stage, scope_from_proto(request.scope))
        return preview_to_proto(preview, stage)

    async def StartEmergencyStop(
        self, request: pb.StartEmergencyStopRequest, context: Context
    ) -> pb.StartEmergencyStopResponse:
        asked = StopRequest(
            actor=actor(context),
            reason=request.reason,
            stage=Stage(request.stage),
            scope=scope_from_proto(request.scope),
            confirmation=request.confirmation.strip(),
            request_id=request.request_id.lower(),
        )
        view = await self._stops.start(asked)
        return pb.StartEmergencyStopResponse(emergency_stop=stop_to_proto(view))

    async def EscalateEmergencyStop(
        self, request: pb.EscalateEmergencyStopRequest, context: Context
    ) -> pb.EscalateEmergencyStopResponse:
        asked = StopRequest(
            actor=actor(context),
            reason=request.reason,
            stop_id=request.emergency_stop_id,
            stage=Stage(request.stage),
            confirmation=request.confirmation.strip(),
            request_id=request.request_id.lower(),
            etag=request.etag,
        )
        view = await self._stops.escalate(asked)
        return pb.EscalateEmergencyStopResponse(emergency_stop=stop_to_proto(view))

    async def ReleaseEmergencyStop(
        self, request: pb.ReleaseEmergencyStopRequest, context: Context
    ) -> pb.ReleaseEmergencyStopResponse:
        asked = StopRequest(
            actor=actor(context),
            reason=request.reason,
            stop_id=request.emergency_stop_id,
            request_id=request.request_id.lower(),
            etag=request.etag,
        )
        view = await self._stops.release(asked)
        return pb.ReleaseEmergencyStopResponse(emergency_stop=stop_to_proto(view))

    async def GetEmergencyStop(
        self, request: pb.GetEmergencyStopRequest, context: Context
    ) -> pb.GetEmergencyStopResponse:
        view = await self._stops.get(request.emergency_stop_id)
        return pb.GetEmergencyStopResponse(emergency_stop=stop_to_proto(view))

    async def ListEmergencyStops(
        self, request: pb.ListEmergencyStopsRequest, context: Context
    ) -> pb.ListEmergencyStopsResponse:
        views, following = await self._stops.page(
            request.page_size or PAGE_SIZE, request.page_token, released=request.include_released
        )
        return pb.ListEmergencyStopsResponse(
            emergency_stops=map(stop_to_proto, views), next_page_token=following
        )

    async def ListEmergencyStopTargets(
        self, request: pb.ListEmergencyStopTargetsRequest, context: Context
    ) -> pb.ListEmergencyStopTargetsResponse:
        states = [TargetState(state) for state in request.states if state]
        targets, following = await self._stops.targets(
            request.emergency_stop_id, states, request.page_size or PAGE_SIZE, request.page_token
        )
        return pb.ListEmergencyStopTargetsResponse(
            targets=map(target_to_proto, targets), next_page_token=following
        )

    async def WatchEmergencyStops(
        self, request: pb.WatchEmergencyStopsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEmergencyStopsResponse]:
        token = request.resume_token
        source = self._stops.follow(not token)
        updates = watch(source, self._watching.changes, token, backlog=0)
        async for response in responses(updates, self._watching.clock, _items, _sign):
            yield response


def _items(items: Items[StopView]) -> list[pb.WatchEmergencyStopsResponse]:
    return [
        pb.WatchEmergencyStopsResponse(resume_token=token, emergency_stop=stop_to_proto(view))
        for token, view in items.items
    ]


def _sign(token: str, signs: Signs) -> pb.WatchEmergencyStopsResponse:
    return pb.WatchEmergencyStopsResponse(
        resume_token=token,
        caught_up=signs.caught_up,
        heartbeat=signs.heartbeat,
        reset=signs.reset,
    )
