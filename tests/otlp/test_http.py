"""`POST /v1/traces`."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp

from pilothouse_server.bridge.errors import BridgeError
from pilothouse_server.bridge.otlp import protobuf_of, unpacked
from tests.otlp.build import genai, request, span
from tests.otlp.conftest import Station

on_server = pytest.mark.asyncio(loop_scope="package")

PROTOBUF, JSON = "application/x-protobuf", "application/json"
LIMIT = 1 << 20


def as_json(of: otlp.ExportTraceServiceRequest) -> dict[str, Any]:
    """A request as OTLP writes it: ids in hexadecimal digits, kinds as numbers."""
    found: dict[str, Any] = json_format.MessageToDict(of, use_integers_for_enums=True)
    for each in found["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for key in ("traceId", "spanId", "parentSpanId"):
            if key in each:
                each[key] = base64.b64decode(each[key]).hex().upper()
    return found


def test_json_is_the_same_request() -> None:
    told = request(genai(1, 0, "chat", gen_ai__usage__input_tokens=7, ratio=0.5), span(2, 1))
    written = as_json(told)
    written["unknown"] = {"of": "a later version"}
    read = otlp.ExportTraceServiceRequest.FromString(protobuf_of(json.dumps(written).encode()))
    assert read == told


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('"\\ud800"', "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ("{}" * 250_001, "more than 250000 objects"),
        ('{"resourceSpans": {"a": 1}}', "resourceSpans"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}', "hexadecimal"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"spanId": "xyz"}]}]}]}', "hexadecimal"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": -1}]}]}]}', "-1"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": {}}]}]}]}', "name"),
    ],
)
def test_json_with_wrong_types_is_refused_by_name(body: str, words: str) -> None:
    with pytest.raises(BridgeError, match=words):
        protobuf_of(body.encode())


def test_packed_bodies_are_unpacked_and_bombs_are_not() -> None:
    packed = gzip.compress(b"spans")
    assert unpacked(packed + gzip.compress(b" more"), "GZIP", LIMIT) == b"spans more"
    bomb = gzip.compress(gzip.compress(bytes(64 << 20)) + bytes(64 << 20))
    with pytest.raises(BridgeError, match="larger than 1048576 bytes when it is unpacked"):
        unpacked(bomb, "gzip", LIMIT)
    with pytest.raises(BridgeError, match="larger than"):
        unpacked(gzip.compress(bytes(LIMIT // 2)) * 3, "gzip", LIMIT)
    with pytest.raises(BridgeError, match="more than 64 pieces"):
        unpacked(gzip.compress(b"") * 65, "gzip", LIMIT)
    for body, words in ((packed[:-9], "ends too early"), (b"spans", "not gzip")):
        with pytest.raises(BridgeError, match=words):
            unpacked(body, "gzip", LIMIT)
    with pytest.raises(BridgeError, match="must be gzip"):
        unpacked(b"", "zstd", LIMIT)


@on_server
@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_both_encodings_packed_or_not(station: Station, kind: str, coding: str) -> None:
    told = request(span(1, trace=station.trace), span(0, 1), service=station.service)
    body = json.dumps(as_json(told)).encode() if kind == JSON else told.SerializeToString()
    body = gzip.compress(body) if coding == "gzip" else body
    answer = await station.post(body, kind, content_encoding=coding)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    if kind == JSON:
        partial = answer.json()["partialSuccess"]
        assert partial["rejectedSpans"] == "1"
    else:
        said = otlp.ExportTraceServiceResponse.FromString(answer.content)
        assert said.partial_success.rejected_spans == 1
    assert await station.types() == {"SPAN_ENDED"}


@on_server
@pytest.mark.parametrize(
    ("body", "kind", "headers", "status", "reason"),
    [
        (b"\xff", PROTOBUF, {}, 400, "INVALID_ARGUMENT"),
        (b"{", JSON, {}, 400, "MALFORMED_REQUEST"),
        (b"", "text/plain", {}, 415, "MALFORMED_REQUEST"),
        (b"", PROTOBUF, {"content_encoding": "br"}, 415, "MALFORMED_REQUEST"),
        (b"x" * (5 << 20), PROTOBUF, {}, 413, "LIMIT_EXCEEDED"),
        (gzip.compress(bytes(50 << 20)), PROTOBUF, {"content_encoding": "gzip"}, 413, "LIMIT_EXCEEDED"),
        (b"\x0a\x82\x80\x40\x12\xfe\xff\x3f" + b"\x12\x00" * 524_287, PROTOBUF, {}, 413, "LIMIT_EXCEEDED"),
    ],
)  # fmt: skip
async def test_errors_are_a_status_as_exporters_read_it(
    station: Station, body: bytes, kind: str, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = await station.post(body, kind, **headers)
    assert answer.status_code == status, answer.content
    said = status_pb2.Status()
    if kind == JSON:
        json_format.Parse(answer.content, said)
    else:
        said.ParseFromString(answer.content)
    info = error_details_pb2.ErrorInfo()
    assert said.details[0].Unpack(info)
    assert info.reason == reason
    assert said.message


@on_server
async def test_metrics_and_logs_are_refused_by_name(station: Station) -> None:
    answer = await station.server.post("/v1/metrics", {})
    assert answer.status_code == 404
    assert "takes traces" in answer.json()["message"]
