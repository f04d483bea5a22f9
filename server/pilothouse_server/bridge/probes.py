"""For those who run the bridge: is it alive, is it of use, and what does it count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from google.protobuf import json_format
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pilothouse.v1.platform_pb2 import GetServerStatusRequest, GetServerStatusResponse
from pilothouse_server.bridge.switchboard import Switchboard
from pilothouse_server.bridge.tally import TallyCollector

CHECK = "/grpc.health.v1.Health/Check"
STATUS = "/pilothouse.v1.PlatformService/GetServerStatus"
CHECK_TIMEOUT = 2.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Probes:
    """Three answers."""

    def __init__(
        self,
        board: Switchboard,
        rpc: grpc.aio.Channel,
        extra_metrics: Callable[[], bytes] | None = None,
    ) -> None:
        self._board = board
        self._rpc = rpc
        self._extra = extra_metrics
        self._registry = CollectorRegistry()
        self._registry.register(
            TallyCollector(board.tally, lambda: len(board.connections), board.states)
        )

    async def healthz(self, _: Request) -> Response:
        """The process answers."""
        return JSONResponse({"alive": True}, headers={"cache-control": "no-store"})

    async def readyz(self, _: Request) -> Response:
        """What is wrong, in words. 503 only when the bridge is of no use: it is about to stop, or no server behind it
        can serve; with less than it should have a server still serves."""
        found = await self._ask_server()
        if self._board.draining:
            found = replace(found, ready=False, reasons=["the bridge is draining", *found.reasons])
        channels = {
            state.name: {"connected": state.connected, "age_seconds": state.age}
            for state in self._board.states()
        }
        body = {
            "ready": found.ready,
            "reasons": found.reasons,
            "components": found.components,
            "channels": channels,
        }
        return JSONResponse(body, 200 if found.ready else 503, {"cache-control": "no-store"})

    async def metrics(self, _: Request) -> Response:
        """Prometheus text."""
        text = generate_latest(self._registry) + (self._extra() if self._extra else b"")
        return Response(text, media_type=METRICS_TYPE, headers={"cache-control": "no-store"})

    async def _ask_server(self) -> _Server:
        ask = self._rpc.unary_unary(
            STATUS,
            request_serializer=GetServerStatusRequest.SerializeToString,
            response_deserializer=GetServerStatusResponse.FromString,
        )
        try:
            answer = await ask(GetServerStatusRequest(), timeout=CHECK_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return await self._ask_older_server()
            return self._silent(error)
        components: list[dict[str, Any]] = [
            json_format.MessageToDict(each, preserving_proto_field_name=True)
            for each in answer.status.components
        ]
        return _Server(answer.status.ready, list(answer.status.reasons), components)

    async def _ask_older_server(self) -> _Server:
        """Of one that cannot say more than whether it serves."""
        check = self._rpc.unary_unary(
            CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=CHECK_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            return self._silent(error)
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return _Server(ready=True)
        said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return _Server(
            ready=False, reasons=[f"the server at {self._board.settings.server} says {said}"]
        )

    def _silent(self, error: grpc.aio.AioRpcError) -> _Server:
        server = self._board.settings.server
        return _Server(
            ready=False, reasons=[f"the server at {server} does not answer: {error.code().name}"]
        )


@dataclass(frozen=True)
class _Server:
    """What the server says of itself."""

    ready: bool
    reasons: list[str] = field(default_factory=list[str])
    components: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
