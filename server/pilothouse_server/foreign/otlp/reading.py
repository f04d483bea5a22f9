"""A request of OpenTelemetry's as spans with what they stand in, each judged by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded
from pilothouse_server.foreign.otlp.attributes import name_of, texts_of
from pilothouse_server.foreign.otlp.conventions import NO_SERVICE, SERVICE

MAX_SPANS: Final = 20_000
"""Spans in one request."""
FARTHEST_US: Final = 86_400_000_000
"""A time this far ahead of the server is nobody's clock; up to there it is told as it is."""

_COUNTED_FROM: Final = 64 << 10
"""Bytes; a smaller request cannot hold so many that reading it costs much."""
_RESOURCE_SPANS, _SCOPE_SPANS, _SPAN = 1, 2, 2
"""Field numbers, each in the message that the one before it names."""


class Origin(NamedTuple):
    """Where spans come from."""

    source: str
    """The name of the service."""
    resource: Mapping[str, str]
    scope: str
    """The library that made them, and its version."""


class Reported(NamedTuple):
    """A span as it came."""

    origin: Origin
    span: Span


class Times(NamedTuple):
    """Of a span, in microseconds since the epoch."""

    start_us: int
    end_us: int | None
    """None while it runs; before the start where it was told so."""


class Refused(Exception):
    """A span that cannot be taken; the reason names the field."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_request(body: bytes) -> list[Reported]:
    """All spans, by their start: so the outer ones come before those within. Raises LimitExceeded, InvalidArgument."""
    try:
        if len(body) > _COUNTED_FROM:
            _count(body)
        request = ExportTraceServiceRequest.FromString(body)
    except (DecodeError, ValueError) as error:
        raise InvalidArgument("request", "not an ExportTraceServiceRequest") from error
    found = [
        Reported(origin, span)
        for group in request.resource_spans
        for origin, spans in _scopes(group)
        for span in spans.spans
    ]
    if len(found) > MAX_SPANS:
        raise LimitExceeded("spans", MAX_SPANS, len(found))
    found.sort(key=_start)
    return found


def times_of(span: Span, heartbeat: bool, now_us: int) -> Times:
    """When it began and ended. Raises Refused."""
    start, end = span.start_time_unix_nano // 1000, span.end_time_unix_nano // 1000
    if not start:
        raise Refused("start_time_unix_nano: not stated")
    if not end and not heartbeat:
        raise Refused("end_time_unix_nano: not stated")
    if max(start, end) > now_us + FARTHEST_US:
        raise Refused(
            "start_time_unix_nano, end_time_unix_nano: more than a day ahead of the server"
        )
    return Times(start, end or None)


def ids_of(span: Span) -> tuple[str, str, str]:
    """Of the trace, the span and the one above it ("" for none), in hexadecimal digits. Raises Refused."""
    trace_id, span_id, parent = span.trace_id, span.span_id, span.parent_span_id
    if len(trace_id) != 16 or not any(trace_id):
        raise Refused("trace_id: not 16 bytes, or all of them 0")
    if len(span_id) != 8 or not any(span_id):
        raise Refused("span_id: not 8 bytes, or all of them 0")
    if parent and len(parent) != 8:
        raise Refused("parent_span_id: not 8 bytes")
    return trace_id.hex(), span_id.hex(), parent.hex() if any(parent) else ""


def _scopes(group: ResourceSpans) -> list[tuple[Origin, ScopeSpans]]:
    resource = texts_of(group.resource.attributes)
    source = name_of(resource.get(SERVICE, "")) or NO_SERVICE
    return [
        (Origin(source, resource, name_of(f"{each.scope.name} {each.scope.version}".strip())), each)
        for each in group.scope_spans
    ]


def _start(reported: Reported) -> int:
    return reported.span.start_time_unix_nano


def _count(body: bytes) -> None:
    """Looks how many spans there are, and what they stand in, before they take memory: two bytes may be one. Raises
    LimitExceeded, and ValueError where the bytes are none of this message."""
    found = around = 0
    for resource_at, resource_end in _fields(body, 0, len(body), _RESOURCE_SPANS):
        around += 1
        for scope_at, scope_end in _fields(body, resource_at, resource_end, _SCOPE_SPANS):
            around += 1
            if around > MAX_SPANS:
                break
            for _ in _fields(body, scope_at, scope_end, _SPAN):
                found += 1
                if found > MAX_SPANS:
                    raise LimitExceeded("spans", MAX_SPANS, found)
        if around > MAX_SPANS:
            raise LimitExceeded("resources_and_scopes", MAX_SPANS, around)


def _fields(body: bytes, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the values of one field of a message begin and end, the field being bytes or a message."""
    while at < end:
        tag, at = _varint(body, at, end)
        wire_type = tag & 7
        if wire_type == 2:
            size, at = _varint(body, at, end)
            if at + size > end:
                raise ValueError("cut off")
            if tag >> 3 == wanted:
                yield at, at + size
            at += size
        elif wire_type == 0:
            _, at = _varint(body, at, end)
        elif wire_type in {1, 5}:
            at += 8 if wire_type == 1 else 4
        else:
            raise ValueError("no field")


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("cut off")
