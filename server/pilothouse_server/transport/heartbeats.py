"""Heartbeats from outside."""

from __future__ import annotations

from typing import Any

import grpc

from pilothouse.v1 import heartbeats_pb2 as pb
from pilothouse.v1 import heartbeats_pb2_grpc
from pilothouse_server.services.heartbeats import Heartbeats
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.heartbeats import heartbeat_from_proto, heartbeat_to_proto
from pilothouse_server.wire.times import timestamp

Context = grpc.aio.ServicerContext[Any, Any]


class HeartbeatServicer(heartbeats_pb2_grpc.HeartbeatServiceServicer):
    """`pilothouse.v1.HeartbeatService`."""

    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats

    async def SetHeartbeat(
        self, request: pb.SetHeartbeatRequest, context: Context
    ) -> pb.SetHeartbeatResponse:
        stored = await self._heartbeats.put(heartbeat_from_proto(request.heartbeat), actor(context))
        return pb.SetHeartbeatResponse(
            heartbeat=heartbeat_to_proto(stored, self._heartbeats.now_us())
        )

    async def BeatHeartbeat(
        self, request: pb.BeatHeartbeatRequest, context: Context
    ) -> pb.BeatHeartbeatResponse:
        due_us = await self._heartbeats.beat(request.heartbeat_id)
        return pb.BeatHeartbeatResponse(due_time=timestamp(due_us))

    async def ListHeartbeats(
        self, request: pb.ListHeartbeatsRequest, context: Context
    ) -> pb.ListHeartbeatsResponse:
        found, now_us = await self._heartbeats.every(), self._heartbeats.now_us()
        return pb.ListHeartbeatsResponse(
            heartbeats=[heartbeat_to_proto(each, now_us) for each in found]
        )

    async def DeleteHeartbeat(
        self, request: pb.DeleteHeartbeatRequest, context: Context
    ) -> pb.DeleteHeartbeatResponse:
        await self._heartbeats.delete(request.heartbeat_id, actor(context))
        return pb.DeleteHeartbeatResponse()
