"""The platform: how the server is."""

from __future__ import annotations

from typing import Any

import grpc

from pilothouse.v1 import platform_pb2 as pb
from pilothouse.v1 import platform_pb2_grpc
from pilothouse_server.services.status import StatusSource
from pilothouse_server.wire.platform import status_to_proto


class PlatformServicer(platform_pb2_grpc.PlatformServiceServicer):
    """`pilothouse.v1.PlatformService`."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source

    async def GetServerStatus(
        self,
        request: pb.GetServerStatusRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pb.GetServerStatusResponse:
        return pb.GetServerStatusResponse(status=status_to_proto(await self._source.status()))
