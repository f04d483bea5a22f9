"""`pilothouse.v1.MetricsService`. Snapshots leave as bytes that were made once, whoever asked first.

So it is not registered through the generated function, which would serialise a message for each call: `add_to`
registers the same methods with a serializer that passes bytes through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from pilothouse.v1 import metrics_pb2 as pb
from pilothouse_server.domain.metrics.snapshot import Dimension
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock
from pilothouse_server.services.metric_history import MetricHistory
from pilothouse_server.services.snapshot_desk import SnapshotDesk
from pilothouse_server.wire.metrics import history_to_proto
from pilothouse_server.wire.times import duration_us, timestamp_us

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = pb.DESCRIPTOR.services_by_name["MetricsService"]


class MetricsServicer:
    """Answers with the newest snapshot, once or again and again, and with history."""

    def __init__(
        self,
        desk: SnapshotDesk,
        history: MetricHistory,
        clock: Clock,
        configured: Callable[[], PlatformConfig] = PlatformConfig,
    ) -> None:
        self._configured = configured
        self._desk = desk
        self._history = history
        self._clock = clock

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the methods."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "GetMetrics": grpc.unary_unary_rpc_method_handler(
                self.GetMetrics, pb.GetMetricsRequest.FromString, bytes
            ),
            "SubscribeMetrics": grpc.unary_stream_rpc_method_handler(
                self.SubscribeMetrics, pb.SubscribeMetricsRequest.FromString, bytes
            ),
            "QueryMetrics": grpc.unary_unary_rpc_method_handler(
                self.QueryMetrics,
                pb.QueryMetricsRequest.FromString,
                pb.QueryMetricsResponse.SerializeToString,
            ),
        }
        generic = grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)
        server.add_generic_rpc_handlers((generic,))

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Context) -> bytes:
        """A serialized GetMetricsResponse. Raises Unavailable while there is no snapshot."""
        return await self._desk.nearly_newest()

    async def SubscribeMetrics(
        self, request: pb.SubscribeMetricsRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Serialized SubscribeMetricsResponses: the newest at once, then at each point of a grid that begins
        with the call. Points that a slow reader missed are left out. Raises Unavailable while there is no
        snapshot.
        """
        asked_us = duration_us(request.interval) if request.HasField("interval") else None
        begun = self._clock.monotonic()
        while True:
            yield await self._desk.newest()
            usual_us = self._configured().subscribe_interval_us
            interval = (usual_us if asked_us is None else asked_us) / 1_000_000
            passed = self._clock.monotonic() - begun
            point = begun + (passed // interval + 1) * interval
            while (left := point - self._clock.monotonic()) > 0:
                await self._clock.sleep(left)

    async def QueryMetrics(
        self, request: pb.QueryMetricsRequest, context: Context
    ) -> pb.QueryMetricsResponse:
        """History of one series."""
        history = await self._history.query(
            Dimension(request.dimension or Dimension.FLEET),
            request.name,
            start_us=timestamp_us(request.start_time) if request.HasField("start_time") else None,
            end_us=timestamp_us(request.end_time) if request.HasField("end_time") else None,
            step_us=duration_us(request.step) if request.HasField("step") else None,
        )
        return history_to_proto(history)
