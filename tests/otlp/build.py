"""Spans as OpenTelemetry has them, in one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.foreign.otlp.mapping import Mapper
from pilothouse_server.foreign.otlp.reading import read_request
from pilothouse_server.foreign.otlp.runs import Runs

Value = str | int | bool | float

NOON_NS = 1_790_000_000_000_000_000
NOW_US = NOON_NS // 1000 + 3_600_000_000
MS = 1_000_000
TRACE = bytes(range(1, 17))
TRACE_HEX = TRACE.hex()


def key_values(attributes: Mapping[str, Value]) -> list[KeyValue]:
    """Attributes."""

    def value(of: Value) -> AnyValue:
        match of:
            case bool():
                return AnyValue(bool_value=of)
            case int():
                return AnyValue(int_value=of)
            case float():
                return AnyValue(double_value=of)
            case str():
                return AnyValue(string_value=of)

    return [KeyValue(key=key, value=value(each)) for key, each in attributes.items()]


def span(
    number: int,
    parent: int = 0,
    name: str = "work",
    *,
    start_ms: int = 0,
    ms: int | None = 10,
    error: str = "",
    kind: Span.SpanKind.ValueType = Span.SPAN_KIND_INTERNAL,
    trace: bytes = TRACE,
    more: Mapping[str, Value] | None = None,
    **attributes: Value,
) -> Span:
    """One span; of attributes, some of which may be in `more`, `__` is a dot. Without `ms` it runs."""
    start = NOON_NS + start_ms * MS
    named = {key.replace("__", "."): value for key, value in {**attributes, **(more or {})}.items()}
    made = Span(
        trace_id=trace,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=kind,
        start_time_unix_nano=start,
        end_time_unix_nano=0 if ms is None else start + ms * MS,
        attributes=key_values(named),
    )
    if error:
        made.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=error))
    return made


def genai(
    number: int,
    parent: int,
    operation: str,
    *,
    start_ms: int = 0,
    ms: int = 10,
    more: Mapping[str, Value] | None = None,
    **attributes: Value,
) -> Span:
    """A span of GenAI."""
    named = {"gen_ai__operation__name": operation, **attributes, **(more or {})}
    return span(number, parent, operation, start_ms=start_ms, ms=ms, more=named)


def request(
    *spans: Span, service: str = "desk", resource: Mapping[str, Value] | None = None
) -> ExportTraceServiceRequest:
    """A request with spans of one resource."""
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    names = {"service.name": service} if service else {}
    group.resource.attributes.extend(key_values({**names, **(resource or {})}))
    scope = group.scope_spans.add()
    scope.scope.name = "tests"
    scope.spans.extend(spans)
    return made


def events_of(
    *requests: ExportTraceServiceRequest, mapper: Mapper | None = None
) -> dict[str, pb.Event]:
    """What requests that came one after another say, by the end of the events' ids; a repeat changes nothing."""
    mapper = mapper or Mapper(Runs())
    found: dict[str, pb.Event] = {}
    for each in requests:
        for reported in read_request(each.SerializeToString()):
            for event in mapper.events_of(reported, NOW_US):
                found.setdefault(event.id.partition(":")[2].partition(":")[2], event)
    return found


def types_of(events: Iterable[pb.Event]) -> list[str]:
    """Their types, in words."""
    return [pb.EventType.Name(event.type).removeprefix("EVENT_TYPE_") for event in events]


def id_of(number: int) -> str:
    """A span's id as events have it."""
    return number.to_bytes(8, "big").hex()
