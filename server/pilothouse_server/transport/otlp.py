"""OpenTelemetry's own service on the server's port: spans in.

The request is read from its bytes here, so that what is wrong with it has a name, and what is too much of it is refused
before it takes memory. One span that cannot be taken is named in the answer, and the others are taken.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Tally
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from prometheus_client import CollectorRegistry, Counter

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.foreign.otlp.batch import batches_of
from pilothouse_server.foreign.otlp.mapping import Mapper
from pilothouse_server.foreign.otlp.reading import Refused, Reported, read_request
from pilothouse_server.foreign.otlp.runs import Runs
from pilothouse_server.ports import Clock
from pilothouse_server.services.ingest import Ingest

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE: Final = otlp.DESCRIPTOR.services_by_name["TraceService"]
SLICE_S: Final = 0.003
"""For so long spans are mapped before others get their turn."""
MOST_REASONS: Final = 5
"""Different reasons that one answer tells."""


class OtlpMeters:
    """Counters of spans, for `/metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.spans = Counter(
            "pilothouse_otlp_spans",
            "Spans of OpenTelemetry, by whether they were taken.",
            ["result"],
            registry=registry,
        )
        self.cut = Counter(
            "pilothouse_otlp_attributes_cut",
            "Attributes of spans that were shortened or left out.",
            registry=registry,
        )
        self.forgotten = Counter(
            "pilothouse_otlp_traces_forgotten",
            "Traces that were forgotten before their root was heard of, because there were too many.",
            registry=registry,
        )


class OtlpServicer:
    """`opentelemetry.proto.collector.trace.v1.TraceService`."""

    def __init__(self, ingest: Ingest, clock: Clock, meters: OtlpMeters) -> None:
        self._ingest = ingest
        self._clock = clock
        self._meters = meters
        self._runs = Runs()
        self._mapper = Mapper(self._runs)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the method."""
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            self.Export, None, otlp.ExportTraceServiceResponse.SerializeToString
        )
        generic = grpc.method_handlers_generic_handler(SERVICE.full_name, {"Export": handler})
        server.add_generic_rpc_handlers((generic,))

    async def Export(self, request: bytes, context: Context) -> otlp.ExportTraceServiceResponse:
        """Takes a serialized ExportTraceServiceRequest; answers once its spans are durable."""
        spans = read_request(request)
        events, refused = await self._map(spans)
        for batch in batches_of(events):
            await self._ingest.publish(batch)
        rejected = refused.total()
        self._count(len(spans) - rejected, rejected)
        answer = otlp.ExportTraceServiceResponse()
        if rejected:
            answer.partial_success.rejected_spans = rejected
            answer.partial_success.error_message = _told(refused, len(spans))
        return answer

    async def _map(self, spans: list[Reported]) -> tuple[list[pb.Event], Tally[str]]:
        events: list[pb.Event] = []
        refused: Tally[str] = Tally()
        now_us = self._clock.now_us()
        until = time.monotonic() + SLICE_S
        for reported in spans:
            if time.monotonic() > until:
                await asyncio.sleep(0)
                until = time.monotonic() + SLICE_S
            try:
                events += self._mapper.events_of(reported, now_us)
            except Refused as error:
                refused[error.reason] += 1
        return events, refused

    def _count(self, taken: int, refused: int) -> None:
        meters = self._meters
        meters.spans.labels("accepted").inc(taken)
        meters.spans.labels("rejected").inc(refused)
        cut, self._mapper.cut = self._mapper.cut, 0
        meters.cut.inc(cut)
        forgotten, self._runs.forgotten = self._runs.forgotten, 0
        meters.forgotten.inc(forgotten)


def _told(refused: Tally[str], spans: int) -> str:
    reasons = [f"{reason} ({count})" for reason, count in refused.most_common(MOST_REASONS)]
    if len(refused) > MOST_REASONS:
        reasons.append("…")
    return f"{refused.total()} of {spans} spans were refused: {'; '.join(reasons)}"
