"""Calls about what traces tell; `TraceServicer` passes them on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from pilothouse.v1 import trace_analysis_pb2 as pb
from pilothouse_server.domain.traces.model import Trace
from pilothouse_server.ports import Clock
from pilothouse_server.services.trace_analysis import WEEK_US, TraceAnalysis, Window
from pilothouse_server.wire.times import timestamp_us
from pilothouse_server.wire.trace_analysis import (
    aggregate_to_proto,
    comparison_to_proto,
    told_to_proto,
)


class TraceAnalysisCalls:
    """AnalyzeTrace, CompareTraces, AggregateTraces; and the slack of a trace's spans."""

    def __init__(self, analysis: TraceAnalysis, clock: Clock) -> None:
        self._analysis = analysis
        self._clock = clock

    async def slack(self, trace: Trace) -> Mapping[str, int]:
        """By the id of a span, in microseconds, as far as it is known."""
        return await self._analysis.slack(trace)

    async def analyze(self, request: pb.AnalyzeTraceRequest) -> pb.AnalyzeTraceResponse:
        """Where the time of one trace went. Raises NotFound."""
        told = await self._analysis.analyse(request.id)
        # Ten thousand steps are some milliseconds of writing.
        return await asyncio.to_thread(told_to_proto, told)

    async def compare(self, request: pb.CompareTracesRequest) -> pb.CompareTracesResponse:
        """Traces side by side. Raises NotFound, InvalidArgument."""
        comparison = await self._analysis.compare(
            list(request.ids), with_median=request.type_median
        )
        return await asyncio.to_thread(comparison_to_proto, comparison)

    async def aggregate(self, request: pb.AggregateTracesRequest) -> pb.AggregateTracesResponse:
        """Many runs of a type. Raises InvalidArgument."""
        # What ended in this microsecond too.
        until_us = self._clock.now_us() + 1
        if request.HasField("end_time"):
            until_us = timestamp_us(request.end_time)
        from_us = until_us - WEEK_US
        if request.HasField("start_time"):
            from_us = timestamp_us(request.start_time)
        window = Window(from_us, until_us)
        current, previous = await self._analysis.aggregate(request.workflow_type, window)
        return aggregate_to_proto(current, previous)
