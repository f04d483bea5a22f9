"""For those who run the bridge: is it alive, is it of use, and what does it count."""

from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pilothouse_server.bridge.switchboard import Switchboard
from pilothouse_server.bridge.tally import TallyCollector

CHECK = "/grpc.health.v1.Health/Check"
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
        """The server answers too, and the bridge is not about to stop."""
        reasons = ["the bridge is draining"] if self._board.draining else []
        reasons += await self._server_reasons()
        channels = {
            state.name: {"connected": state.connected, "age_seconds": state.age}
            for state in self._board.states()
        }
        body = {"ready": not reasons, "reasons": reasons, "channels": channels}
        return JSONResponse(body, 503 if reasons else 200, {"cache-control": "no-store"})

    async def metrics(self, _: Request) -> Response:
        """Prometheus text."""
        text = generate_latest(self._registry) + (self._extra() if self._extra else b"")
        return Response(text, media_type=METRICS_TYPE, headers={"cache-control": "no-store"})

    async def _server_reasons(self) -> list[str]:
        server = self._board.settings.server
        check = self._rpc.unary_unary(
            CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=CHECK_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return []
            return [f"the server at {server} does not answer: {error.code().name}"]
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return []
        return [
            f"the server at {server} says {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"
        ]
