"""OTLP over HTTP: `POST /v1/traces`, as exporters of OpenTelemetry send it, passed on to the server's gRPC service.

Protobuf passes as it is; JSON, whose ids are in hexadecimal where protobuf's own JSON has base64, becomes protobuf
here.
Answers, errors among them, are in the encoding of the request, as the protocol has it: errors as google.rpc.Status.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from google.protobuf import any_pb2, duration_pb2, json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from pilothouse_server.bridge.errors import BridgeError, malformed, over_limit
from pilothouse_server.bridge.gateway import JSON, Gateway

PATH: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF: Final = "application/x-protobuf"
DEEPEST: Final = 64
"""Lists and maps in an attribute, one in another."""
MOST_OBJECTS: Final = 250_000
"""In a request in JSON: a full one has half of that, and one of nothing else would take many seconds to read."""
MOST_MEMBERS: Final = 64
"""Pieces that a packed body may be packed in; exporters make one."""
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
RETRIED: Final = frozenset({429, 502, 503, 504})
"""States after which exporters send the same again."""
_DOMAIN: Final = "pilothouse.dev"


class OtlpGateway:
    """Answers `POST /v1/traces`."""

    def __init__(self, gateway: Gateway, max_body: int) -> None:
        self._gateway = gateway
        self._max_body = max_body

    async def traces(self, request: Request) -> Response:
        """Pass a request on, or say what is wrong with it."""
        kind = _content_type(request)
        try:
            return await self._answer(request, kind)
        except BridgeError as error:
            return _refusal(error, kind)
        except ClientDisconnect:
            return Response(status_code=499)

    async def other(self, request: Request) -> Response:
        """Metrics and logs: a name for why they are not taken."""
        text = f"Pilothouse takes traces, at /v1/traces, and nothing at {request.url.path[:128]}"
        error = BridgeError("UNIMPLEMENTED", "NO_SUCH_METHOD", text, http_status=404)
        return _refusal(error, _content_type(request))

    async def _answer(self, request: Request, kind: str) -> Response:
        if request.method != "POST":
            raise BridgeError(
                "UNIMPLEMENTED", "NO_SUCH_METHOD", "/v1/traces takes POST",
                http_status=405, headers={"allow": "POST"},
            )  # fmt: skip
        if kind not in {PROTOBUF, JSON}:
            text = f"content-type must be {PROTOBUF} or {JSON}"
            raise malformed(text, http_status=415)
        body = unpacked(
            await self._gateway.body(request),
            request.headers.get("content-encoding", ""),
            self._max_body,
        )
        if kind == JSON:
            # Reading some megabytes of JSON takes as long as thousands of frames; others are served meanwhile.
            body = await asyncio.to_thread(protobuf_of, body)
        answer = otlp.ExportTraceServiceResponse.FromString(await self._gateway.pass_on(PATH, body))
        return _response(answer, kind, 200)


def unpacked(body: bytes, coding: str, limit: int) -> bytes:
    """The body as it was before it was packed, of which no more than `limit` bytes are ever made."""
    coding = coding.strip().lower()
    if coding in {"", "identity"}:
        return body
    if coding != "gzip":
        raise malformed("content-encoding must be gzip or identity", http_status=415)
    parts: list[bytes] = []
    size = 0
    try:
        while body:
            unpacking = zlib.decompressobj(wbits=31)
            part = unpacking.decompress(body, limit - size + 1)
            size += len(part)
            if size > limit:
                raise over_limit(
                    f"the body is larger than {limit} bytes when it is unpacked", limit
                )
            if not unpacking.eof:
                raise malformed("the body is not whole: gzip ends too early")
            parts.append(part)
            body = unpacking.unused_data
            if len(parts) == MOST_MEMBERS and body:
                raise over_limit(
                    f"the body is packed in more than {MOST_MEMBERS} pieces", MOST_MEMBERS
                )
    except zlib.error:
        raise malformed("the body is not gzip, as content-encoding says") from None
    return b"".join(parts)


def protobuf_of(body: bytes) -> bytes:
    """A request in OTLP's JSON, as protobuf. BridgeError says what is wrong with it."""
    if body.count(b"{") > MOST_OBJECTS:
        raise over_limit(f"the body has more than {MOST_OBJECTS} objects", MOST_OBJECTS)
    try:
        found: object = json.loads(body)
        if not isinstance(found, dict):
            raise malformed("the body is not a JSON object")
        request = cast("dict[str, Any]", found)
        _hex_to_base64(request)
        message = otlp.ExportTraceServiceRequest()
        json_format.ParseDict(
            request, message, ignore_unknown_fields=True, max_recursion_depth=2 * DEEPEST
        )
        return message.SerializeToString()
    except json_format.ParseError as error:
        raise malformed(
            f"the body is not an ExportTraceServiceRequest: {str(error)[:200]}"
        ) from None
    except RecursionError:
        raise malformed("the body is nested too deeply") from None
    except (ValueError, UnicodeDecodeError):
        raise malformed("the body is not JSON") from None


def _hex_to_base64(request: dict[str, Any]) -> None:
    for span in _spans(request):
        for holder in (span, *_objects(span, "links")):
            for key in ("traceId", "spanId", "parentSpanId"):
                if (value := holder.get(key)) is not None:
                    holder[key] = _base64(key, value)


def _spans(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in _objects(request, "resourceSpans"):
        for scope in _objects(group, "scopeSpans"):
            yield from _objects(scope, "spans")


def _objects(holder: dict[str, Any], key: str) -> Iterable[dict[str, Any]]:
    """What is there of the type that belongs there; the rest is for the parser to refuse."""
    found: object = holder.get(key)
    if not isinstance(found, list):
        return ()
    listed = cast("list[object]", found)
    return [cast("dict[str, Any]", each) for each in listed if isinstance(each, dict)]


def _base64(key: str, value: object) -> str:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return base64.b64encode(bytes.fromhex(value)).decode()
    raise malformed("not text in hexadecimal digits", key)


def _response(
    message: Message, kind: str, status: int, headers: Mapping[str, str] = NO_HEADERS
) -> Response:
    as_json = kind == JSON
    body = json_format.MessageToJson(message) if as_json else message.SerializeToString()
    return Response(body, status, {"cache-control": "no-store", **headers}, kind)


def _refusal(error: BridgeError, kind: str) -> Response:
    """What a google.rpc.Status says of it; in protobuf where the request said neither, since exporters read that."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=_DOMAIN, metadata=dict(error.metadata)
    )
    details: list[Message] = [info]
    headers = dict(error.headers)
    if error.status in RETRIED:
        headers.setdefault("retry-after", "1")
        seconds = int(headers["retry-after"])
        details.append(
            error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds))
        )
    for violation in error.violations:
        fault = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field, description=violation.description
        )
        details.append(error_details_pb2.BadRequest(field_violations=[fault]))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return _response(status, JSON if kind == JSON else PROTOBUF, error.status, headers)


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()
