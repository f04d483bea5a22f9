"""Traces by RPC: pages, chosen spans, everything of a span, and as documents that other tools read."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from prometheus_client import CollectorRegistry

from pilothouse.v1 import traces_pb2 as pb
from pilothouse.v1 import traces_pb2_grpc
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.trace_summaries import SqlTraceSummaries
from pilothouse_server.adapters.sql.trace_views import SqlTraces
from pilothouse_server.domain.events import Event, EventError, Usage
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.trace_analysis import TraceAnalysis
from pilothouse_server.services.traces import TraceDesk
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer, Service
from pilothouse_server.transport.trace_analysis import TraceAnalysisCalls
from pilothouse_server.transport.traces import TraceServicer
from pilothouse_server.transport.watching import Watching
from pilothouse_server.wire.events import decode_one, decode_stored, encode_events
from tests.projection.build import NOON, SECOND, event
from tests.services.conftest import SetClock
from tests.traces.build import TRACE, E, otel, task

ODD = '\u202eright to left\u0001, "quoted" \\ <b>'


@pytest.fixture
async def stub(database: Database) -> AsyncIterator[traces_pb2_grpc.TraceServiceAsyncStub]:
    clock = SetClock()
    desk = TraceDesk(SqlTraces(database, clock), decode_one)
    analysis = TraceAnalysis(desk, SqlTraceSummaries(database), clock)
    servicer = TraceServicer(desk, TraceAnalysisCalls(analysis, clock), Watching(Changes(), clock))
    service = Service(
        pb.DESCRIPTOR.services_by_name["TraceService"],
        lambda server: traces_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server),
    )
    server = RpcServer([service], CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield traces_pb2_grpc.TraceServiceStub(channel)
    await server.drain(1)


async def tell(database: Database, *events: Event) -> None:
    store = SqlProjectionStore(database, decode_stored)
    await store.apply([LogEntry("c", encode_events(events))])


def run() -> list[Event]:
    return [
        event(E.WORKFLOW_CREATED, trace_id=TRACE, workflow_name=ODD, workflow_type="feature"),
        event(E.WORKFLOW_STARTED, at=1),
        event(E.STAGE_STARTED, at=1, stage="build"),
        task("t", E.TASK_QUEUED, 1),
        task("t", E.TASK_STARTED, 2, span_id="00000000000000aa", agent_id="a"),
        task("t", E.TASK_RETRYING, 3, 2, error=EventError("E", ODD)),
        task("t", E.TASK_STARTED, 4, 2, span_id="00000000000000bb"),
        *otel("00000000000000cc", 4, 5, "00000000000000bb", attributes={"http.url": ODD}),
        task("t", E.TASK_COMPLETED, 6, 2, usage=Usage(1, 2, 3)),
    ]


async def test_pages_give_all_spans_once_and_end_when_there_is_something_new(
    database: Database, stub: traces_pb2_grpc.TraceServiceAsyncStub
) -> None:
    await tell(database, *run())
    whole = await stub.GetTrace(pb.GetTraceRequest(id="w"))
    assert whole.trace.span_count == len(whole.spans) == 5
    assert (whole.trace.name, list(whole.trace.trace_ids)) == (ODD, [TRACE])
    assert not whole.next_page_token
    first = await stub.GetTrace(pb.GetTraceRequest(id="w", page_size=2))
    found = [*first.spans]
    token = first.next_page_token
    while token:
        page = await stub.GetTrace(pb.GetTraceRequest(id="w", page_size=2, page_token=token))
        found, token = [*found, *page.spans], page.next_page_token
    assert found == list(whole.spans)
    await tell(database, event(E.WORKFLOW_COMPLETED, at=7))
    for wrong in (first.next_page_token, "made up", "\u202e.1.2.3"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetTrace(pb.GetTraceRequest(id="w", page_token=wrong))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "first page again" in (refused.value.details() or "")


async def test_chosen_spans_come_with_their_attributes(
    database: Database, stub: traces_pb2_grpc.TraceServiceAsyncStub
) -> None:
    await tell(database, *run())
    asked = ["00000000000000cc", "task:t:1", "unknown", "task:t:1"]
    full = pb.SpanView.SPAN_VIEW_FULL
    found = (await stub.GetTrace(pb.GetTraceRequest(id=TRACE, span_ids=asked, view=full))).spans
    assert [span.span_id for span in found] == asked[:2]
    assert dict(found[0].attributes) == {"http.url": ODD}
    assert (found[1].error.message, found[1].end_offset.seconds) == (ODD, 3)
    basic = (await stub.GetTrace(pb.GetTraceRequest(id=TRACE, span_ids=asked))).spans
    assert not basic[0].attributes


async def test_an_unknown_trace_is_named(stub: traces_pb2_grpc.TraceServiceAsyncStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetTrace(pb.GetTraceRequest(id="nobody"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == "there is no trace 'nobody'"


async def test_lists_and_watches_are_served(
    database: Database, stub: traces_pb2_grpc.TraceServiceAsyncStub
) -> None:
    await tell(database, *run(), *otel("00000000000000ff", 9, 10, trace_id="f" * 32))
    listed = await stub.ListTraces(pb.ListTracesRequest(order_by="start_time"))
    assert [each.id for each in listed.traces] == ["w", "f" * 32]
    seen: list[str] = []
    async for update in stub.WatchTrace(pb.WatchTraceRequest(id="w")):
        seen.append(update.WhichOneof("update") or "")
        if seen[-1] == "caught_up":
            break
    assert seen == ["change", "caught_up"]


async def exported(
    stub: traces_pb2_grpc.TraceServiceAsyncStub, trace_format: pb.TraceFormat.ValueType
) -> str:
    text = ""
    async for part in stub.ExportTrace(pb.ExportTraceRequest(id="w", format=trace_format)):
        text += part.text
    return text


async def test_opentelemetry_reads_what_is_exported(
    database: Database, stub: traces_pb2_grpc.TraceServiceAsyncStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilothouse_server.services.trace_export.LETTERS", 100)
    await tell(database, *run())
    text = await exported(stub, pb.TraceFormat.TRACE_FORMAT_OTLP_JSON)
    plain = json.loads(text)
    spans = {span.span_id: span for span in _otlp_spans(plain)}
    assert len(spans) == 5
    http = spans[bytes.fromhex("00000000000000cc")]
    assert http.trace_id == bytes.fromhex(TRACE)
    assert {each.key: each.value.string_value for each in http.attributes}["http.url"] == ODD
    second = spans[http.parent_span_id]
    assert [event.name for event in second.events] == ["pilothouse.wait"]
    assert second.start_time_unix_nano == (NOON + 3 * SECOND) * 1000
    failed = spans[second.links[0].span_id]
    assert (failed.status.code, failed.status.message) == (2, ODD)
    assert "\u202eright to left" in text, "as it is, and not as an escape"


def _otlp_spans(plain: dict[str, Any]) -> list[OtlpSpan]:
    """By OpenTelemetry's own messages. OTLP/JSON has ids in hex where protobuf's JSON has base64."""
    for resource in plain["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in (*scope["spans"], *(link for s in scope["spans"] for link in s["links"])):
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = _base64(span[name])
    data = Parse(json.dumps(plain), TracesData())
    return [span for r in data.resource_spans for scope in r.scope_spans for span in scope.spans]


def _base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


async def test_jaeger_reads_what_is_exported(
    database: Database, stub: traces_pb2_grpc.TraceServiceAsyncStub
) -> None:
    await tell(database, *run())
    answer = json.loads(await exported(stub, pb.TraceFormat.TRACE_FORMAT_JAEGER_JSON))
    (trace,) = answer["data"]
    assert set(answer) == {"data", "total", "limit", "offset", "errors"}
    assert set(trace) == {"traceID", "spans", "processes", "warnings"}
    ids = {span["spanID"] for span in trace["spans"]}
    roots = 0
    for span in trace["spans"]:
        assert set(span) == {
            "traceID", "spanID", "operationName", "references", "startTime", "duration", "tags", "logs", "processID",
            "warnings",
        }  # fmt: skip
        assert span["traceID"] == TRACE
        assert span["processID"] in trace["processes"]
        assert span["duration"] >= 0
        assert all(ref["spanID"] in ids for ref in span["references"])
        assert all(set(tag) == {"key", "type", "value"} for tag in span["tags"])
        roots += not any(ref["refType"] == "CHILD_OF" for ref in span["references"])
    assert roots == 1
    assert {each["serviceName"] for each in trace["processes"].values()} == {"engine", "svc"}
