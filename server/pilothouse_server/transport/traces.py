"""Traces: seen here, analysed in `trace_analysis`."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import grpc

from pilothouse.v1 import trace_analysis_pb2 as analysis_pb
from pilothouse.v1 import traces_pb2 as pb
from pilothouse.v1 import traces_pb2_grpc
from pilothouse_server.domain.errors import InvalidPageToken
from pilothouse_server.domain.traces.model import Span, Trace
from pilothouse_server.ports import Clock
from pilothouse_server.services.trace_export import Document, export
from pilothouse_server.services.trace_watch import Changed, TraceUpdate, watch_trace
from pilothouse_server.services.traces import Shown, TraceDesk, TraceRow
from pilothouse_server.services.views import PageRequest
from pilothouse_server.services.watch import CaughtUp, Heartbeat, Reset
from pilothouse_server.transport.trace_analysis import TraceAnalysisCalls
from pilothouse_server.transport.watching import Watching
from pilothouse_server.wire.times import timestamp
from pilothouse_server.wire.trace_analysis import shares_to_proto
from pilothouse_server.wire.trace_exports import JaegerDocument, OtlpDocument
from pilothouse_server.wire.traces import span_to_proto, trace_to_proto, whole_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 1_000
LIST_SIZE = 100
IN_ONE_GO = 50
"""Spans that are encoded before others get their turn."""
_NO_ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {}
_NO_SLACK: Final[Mapping[str, int]] = {}


class TraceServicer(traces_pb2_grpc.TraceServiceServicer):
    """`pilothouse.v1.TraceService`."""

    def __init__(self, desk: TraceDesk, calls: TraceAnalysisCalls, watching: Watching) -> None:
        self._desk = desk
        self._calls = calls
        self._watching = watching

    async def ListTraces(
        self, request: pb.ListTracesRequest, context: Context
    ) -> pb.ListTracesResponse:
        size = request.page_size or LIST_SIZE
        asked = PageRequest(size, request.page_token, request.filter, request.order_by)
        page = await self._desk.page(asked)
        return pb.ListTracesResponse(
            traces=[_row_to_proto(row) for row in page.traces],
            next_page_token=page.next_token,
        )

    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        shown = await self._desk.show(request.id)
        trace = shown.trace
        if request.span_ids:
            if request.page_token:
                raise InvalidPageToken("spans by their ids come on one page")
            chosen = dict.fromkeys(request.span_ids)
            asked = [shown.by_id[each] for each in chosen if each in shown.by_id]
            spans = await self._spans(shown, asked, request.view)
            return pb.GetTraceResponse(trace=whole_to_proto(trace), spans=spans)
        first = _offset(request.page_token, shown) if request.page_token else 0
        last = first + (request.page_size or PAGE_SIZE)
        spans = await self._spans(shown, trace.spans[first:last], request.view)
        token = _page_token(shown, last) if last < len(trace.spans) else ""
        return pb.GetTraceResponse(trace=whole_to_proto(trace), spans=spans, next_page_token=token)

    async def WatchTrace(
        self, request: pb.WatchTraceRequest, context: Context
    ) -> AsyncIterator[pb.WatchTraceResponse]:
        changes, clock = self._watching
        async for update in watch_trace(self._desk, request.id, changes, request.resume_token):
            yield await _update_to_proto(update, clock)

    async def AnalyzeTrace(
        self, request: analysis_pb.AnalyzeTraceRequest, context: Context
    ) -> analysis_pb.AnalyzeTraceResponse:
        return await self._calls.analyze(request)

    async def CompareTraces(
        self, request: analysis_pb.CompareTracesRequest, context: Context
    ) -> analysis_pb.CompareTracesResponse:
        return await self._calls.compare(request)

    async def AggregateTraces(
        self, request: analysis_pb.AggregateTracesRequest, context: Context
    ) -> analysis_pb.AggregateTracesResponse:
        return await self._calls.aggregate(request)

    async def ExportTrace(
        self, request: pb.ExportTraceRequest, context: Context
    ) -> AsyncIterator[pb.ExportTraceResponse]:
        jaeger = request.format == pb.TraceFormat.TRACE_FORMAT_JAEGER_JSON
        form: Callable[[Trace], Document] = JaegerDocument if jaeger else OtlpDocument
        async for text, exported in export(self._desk, request.id, form):
            yield pb.ExportTraceResponse(text=text, exported=exported)

    async def _spans(
        self, shown: Shown, spans: Sequence[Span], view: pb.SpanView.ValueType
    ) -> list[pb.Span]:
        full = view == pb.SpanView.SPAN_VIEW_FULL
        attributes = await self._desk.attributes(spans) if full else {}
        slack = await self._calls.slack(shown.trace)
        return await _encoded(spans, shown.trace.start_us, attributes, slack)


def _row_to_proto(row: TraceRow) -> pb.Trace:
    found = trace_to_proto(row.trace, spans=row.spans, errors=row.errors)
    found.time_split.extend(shares_to_proto(row.split))
    return found


async def _encoded(
    spans: Sequence[Span],
    start_us: int,
    attributes: Mapping[str, Mapping[str, str]] = _NO_ATTRIBUTES,
    slack: Mapping[str, int] = _NO_SLACK,
) -> list[pb.Span]:
    encoded: list[pb.Span] = []
    for place, span in enumerate(spans, 1):
        encoded.append(span_to_proto(span, start_us, attributes.get(span.id), slack.get(span.id)))
        if place % IN_ONE_GO == 0:
            await asyncio.sleep(0)
    return encoded


async def _update_to_proto(update: TraceUpdate, clock: Clock) -> pb.WatchTraceResponse:
    response = pb.WatchTraceResponse(resume_token=update.token)
    match update:
        case Changed(trace=trace, spans=spans):
            response.change.trace.CopyFrom(whole_to_proto(trace))
            response.change.spans.extend(await _encoded(spans, trace.start_us))
        case CaughtUp():
            response.caught_up.SetInParent()
        case Heartbeat():
            response.heartbeat.send_time.CopyFrom(timestamp(clock.now_us()))
        case Reset(reason=reason):
            response.reset.reason = reason
    return response


def _page_token(shown: Shown, offset: int) -> str:
    trace = shown.trace
    return f"{zlib.crc32(trace.id.encode()):08x}.{shown.database_id}.{trace.revision}.{offset}"


def _offset(token: str, shown: Shown) -> int:
    """Where a page begins. Raises InvalidPageToken."""
    said, _, offset = token.rpartition(".")
    known, _, _ = _page_token(shown, 0).rpartition(".")
    if said == known and offset.isascii() and offset.isdigit() and len(offset) < 10:
        return int(offset)
    if said.rpartition(".")[0] == known.rpartition(".")[0]:
        raise InvalidPageToken("there is something new in the trace since the page before")
    raise InvalidPageToken
