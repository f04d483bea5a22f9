"""Requests that are none, or too much."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded
from pilothouse_server.foreign.otlp.mapping import Mapper
from pilothouse_server.foreign.otlp.reading import MAX_SPANS, Refused, read_request
from pilothouse_server.foreign.otlp.runs import Runs
from tests.otlp.build import NOW_US, TRACE_HEX, genai, request, span
from tests.otlp.conftest import Station

on_server = pytest.mark.asyncio(loop_scope="package")


def framed(tag: int, body: bytes) -> bytes:
    """A field of protobuf that is bytes."""
    size = len(body)
    length = b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([tag]) + length + bytes([size]) + body


def of_span(made: Span, more: bytes) -> bytes:
    """A request of one span, with more fields."""
    return framed(0x0A, framed(0x12, framed(0x12, made.SerializeToString() + more)))


async def export(station: Station, body: bytes) -> otlp.ExportTraceServiceResponse:
    """The answer to a request of these bytes. Raises AioRpcError."""
    async with grpc.aio.insecure_channel(station.server.grpc) as opened:
        channel: Any = opened
        answer: bytes = await channel.unary_unary(PATH)(body)
        return otlp.ExportTraceServiceResponse.FromString(answer)


PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MILLION = framed(0x0A, framed(0x12, b"\x12\x00" * 1_000_000))
"""A request of a million spans, in two megabytes."""


def test_a_million_spans_are_refused_before_they_take_memory() -> None:
    begin = time.thread_time()
    with pytest.raises(LimitExceeded, match="spans"):
        read_request(MILLION)
    assert time.thread_time() - begin < 1


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x00" * 2_000_000,
        framed(0x0A, b"\x12\x00" * 2_000_000),
        framed(0x0A, framed(0x0A, b"\x0a\x00" * 2_000_000) + framed(0x12, b"\x12\x00")),
        of_span(span(1), b"\x4a\x00" * 2_000_000),
        of_span(span(1, 9, error="x"), b"\x5a\x0b\x12\x09exception" * 300_000),
    ],
    ids=["resources", "scopes", "resource", "attributes", "exceptions"],
)  # fmt: skip
def test_much_of_what_is_around_spans_costs_little(body: bytes) -> None:
    begin = time.thread_time()
    mapper = Mapper(Runs())
    with contextlib.suppress(LimitExceeded, Refused):
        for reported in read_request(body):
            mapper.events_of(reported, NOW_US)
    assert time.thread_time() - begin < 0.5


def test_as_many_as_are_allowed_are_read() -> None:
    body = framed(0x0A, framed(0x12, b"\x12\x00" * MAX_SPANS))
    assert len(read_request(body + framed(0x12, b"x" * 70_000))) == MAX_SPANS


@given(st.binary(max_size=200), st.integers(0, 90_000))
def test_what_is_cut_off_or_mixed_up_is_named(noise: bytes, cut: int) -> None:
    whole = request(*(genai(n + 1, 0, "chat", text="x" * 100) for n in range(400)))
    body = whole.SerializeToString()
    for damaged in (noise, body[:cut], body[:cut] + noise + body[cut:]):
        with contextlib.suppress(InvalidArgument, LimitExceeded):
            read_request(damaged)


@on_server
async def test_the_server_names_what_it_refuses_and_takes_the_rest(station: Station) -> None:
    bad = span(2)
    bad.span_id = b""
    right = span(1, trace=station.trace)
    sent = request(right, bad, span(3, ms=None), service=station.service).SerializeToString()
    answer = await export(station, sent)
    assert answer.partial_success.rejected_spans == 2
    assert answer.partial_success.error_message == (
        "2 of 3 spans were refused: span_id: not 8 bytes, or all of them 0 (1); end_time_unix_nano: not stated (1)"
    )
    assert len(await station.events()) == 1
    for body, code, words in (
        (MILLION, grpc.StatusCode.RESOURCE_EXHAUSTED, "spans"),
        (sent[:-3], grpc.StatusCode.INVALID_ARGUMENT, "not an Export"),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refused:
            await export(station, body)
        assert refused.value.code() is code


@on_server
async def test_spans_that_name_each_other_as_parents_are_taken(station: Station) -> None:
    looped = request(genai(1, 2, "chat"), genai(2, 1, "chat"), span(3, 3), service=station.service)
    answer = await export(station, looped.SerializeToString())
    assert not answer.partial_success.rejected_spans
    events = await station.events(5)
    assert {event["trace_id"] for event in events} == {TRACE_HEX}
