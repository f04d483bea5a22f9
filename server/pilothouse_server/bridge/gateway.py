"""REST and unary calls over HTTP, one generic path from descriptors.

`/api/v1/…` speaks JSON with the field names of the contract (`workflow_id`) and with zeros written out, so
that what is absent is what is not known. `POST /pilothouse.v1.Service/Method` speaks canonical proto JSON
(`workflowId`; `?defaults=true` has it write zeros too), or protobuf for `content-type: application/proto`, as
generated clients expect. Both accept either spelling. 64-bit numbers are text and durations like "1.5s", as
proto JSON has them. A method that answers with a stream and has a path under `/api/v1/` answers there with one
JSON object on each line; where these are parts of a document, `?alt=file` answers with the document.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from pilothouse.retry import prepare
from pilothouse.routes import addresses
from pilothouse_server.bridge import fields, lines, packing
from pilothouse_server.bridge.bindings import Binding, Call, load_bindings, load_calls
from pilothouse_server.bridge.errors import BridgeError, from_rpc, malformed, over_limit, word
from pilothouse_server.bridge.frames import dumps
from pilothouse_server.bridge.lines import Stream, StreamResponse
from pilothouse_server.bridge.plain_json import Names, plain_json
from pilothouse_server.bridge.rate import TokenBucket
from pilothouse_server.bridge.settings import BridgeSettings

JSON = "application/json"
ALT = "alt"
NO_STORE = {"cache-control": "no-store"}
BINARY = frozenset({"application/proto", "application/protobuf", "application/x-protobuf"})
Clock = Callable[[], float]


class Gateway:
    """Answers requests by calls to the server."""

    def __init__(
        self, settings: BridgeSettings, channel: grpc.aio.Channel, clock: Clock = time.monotonic
    ) -> None:
        self._settings = settings
        self._channel = channel
        self._clock = clock
        self._bucket = TokenBucket(settings.calls_per_second, settings.call_burst, clock())
        self._in_flight = 0
        self._streams = 0
        self._replicas = len(addresses(settings.server))
        self.calls = load_calls()
        self.bindings = load_bindings(self.calls)

    async def rest(self, request: Request) -> Response:
        """Answer a request to /api/v1/…"""
        return await _answer(self._rest, request)

    async def unary(self, request: Request) -> Response:
        """Answer POST /pilothouse.v1.Service/Method."""
        return await _answer(self._unary, request)

    async def _rest(self, request: Request) -> Response:
        binding, variables = self._find(request)
        message = binding.call.request_type()
        if binding.body:
            await self._read_body(request, binding, message, variables)
        if binding.body == "*" and request.query_params:
            raise malformed(
                "this path takes its fields in the body", next(iter(request.query_params))
            )
        query = [] if binding.body == "*" else request.query_params.multi_items()
        as_file = _wants_file(query, binding.call)
        for name, _ in query:
            if name in variables or name.split(".")[0] == binding.body:
                raise malformed("this field is not a query parameter here", name)
        texts = binding.call.request_type()
        fields.fill_texts(texts, [*variables.items(), *query])
        message.MergeFrom(texts)
        if binding.call.streaming:
            return await self._stream(binding.call, message, as_file=as_file)
        answer = await self.call(binding.call, message)
        if binding.response_body:
            answer = getattr(answer, binding.response_body)
        return packing.answer(request, plain_json(answer), JSON, NO_STORE)

    def _find(self, request: Request) -> tuple[Binding, dict[str, str]]:
        raw = bytes(request.scope["raw_path"]).decode("latin-1")
        verb = "GET" if request.method == "HEAD" else request.method
        allowed: set[str] = set()
        for binding in self.bindings:
            try:
                variables = binding.template.match(raw)
            except ValueError:
                raise malformed("the path is not UTF-8") from None
            if variables is None:
                continue
            if binding.verb == verb:
                return binding, variables
            allowed.add(binding.verb)
        raise no_such_method(request, allowed)

    async def _read_body(
        self, request: Request, binding: Binding, message: Message, variables: dict[str, str]
    ) -> None:
        body = await self.body(request)
        if body.strip() and _content_type(request) != JSON:
            text = "the body must be JSON and say so: content-type: application/json"
            raise malformed(text, http_status=415)
        value = fields.parse_json(body)
        if binding.body != "*":
            value = {binding.body: value}
        fields.fill(message, value)
        for name, text in variables.items():
            if binding.body == "*" and str(_get(message, name)) not in {"", text}:
                raise malformed("the body and the path disagree", name)

    async def _unary(self, request: Request) -> Response:
        call = self.calls.get(request.url.path)
        if call is None:
            raise no_such_method(request, set())
        if call.streaming:
            text = "this method is a stream: use gRPC, or the WebSocket at /ws/monitoring"
            raise BridgeError("UNIMPLEMENTED", "NO_SUCH_METHOD", text)
        if request.method != "POST":
            raise no_such_method(request, {"POST"})
        kind = _content_type(request)
        body = await self.body(request)
        message = call.request_type()
        if kind in BINARY:
            try:
                message.MergeFromString(body)
            except DecodeError:
                raise malformed(
                    f"the body is not a {call.request_type.DESCRIPTOR.full_name}"
                ) from None
            answer = await self.call(call, message)
            return Response(answer.SerializeToString(), media_type=kind)
        if kind != JSON:
            text = "content-type must be application/json or application/proto"
            raise malformed(text, http_status=415)
        fields.fill(message, fields.parse_json(body))
        whole = _wants_defaults(request)
        answer = await self.call(call, message)
        body = plain_json(answer, Names.JSON) if whole else dumps(json_format.MessageToDict(answer))
        return packing.answer(request, body, JSON, NO_STORE)

    async def call(self, call: Call, message: Message) -> Message:
        """Call the server. BridgeError is what it refused, or that it did not answer."""
        method: Any = self._channel.unary_unary(
            call.path,
            request_serializer=call.request_type.SerializeToString,
            response_deserializer=call.response_type.FromString,
        )
        async with self._admitted():
            return await self._asked(method, call.path, message)

    async def pass_on(self, path: str, body: bytes) -> bytes:
        """Call a method of the server that is not of our contract, and does nothing more when it is called again;
        its request and answer are bytes here."""
        channel: Any = self._channel
        method = channel.unary_unary(path)
        async with self._admitted():
            answer: bytes = await self._tried(method, body, repeatable=self._replicas > 1)
            return answer

    @asynccontextmanager
    async def _admitted(self) -> AsyncGenerator[None]:
        """Room for one call, within the limits; what the server refuses in it is a BridgeError."""
        if self._in_flight >= self._settings.max_calls or not self._bucket.take(self._clock()):
            text = "too many requests at once: try again shortly"
            raise BridgeError("RESOURCE_EXHAUSTED", "RATE_LIMITED", text)
        self._in_flight += 1
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self._settings.server) from None
        finally:
            self._in_flight -= 1

    async def _stream(self, call: Call, message: Message, *, as_file: bool) -> StreamResponse:
        """The answers of a stream as lines or as a file; a refusal before the first is an ordinary error."""
        if self._streams >= self._settings.max_streams or not self._bucket.take(self._clock()):
            text = "too many streams at once: try again shortly"
            raise BridgeError("RESOURCE_EXHAUSTED", "RATE_LIMITED", text)
        method: Any = self._channel.unary_stream(
            call.path,
            request_serializer=call.request_type.SerializeToString,
            response_deserializer=call.response_type.FromString,
        )
        self._streams += 1
        stream = Stream(method(message, timeout=self._settings.stream_timeout), self._settings)

        def closed() -> None:
            stream.close()
            self._streams -= 1

        try:
            first = await stream.next()
        except BaseException:
            closed()
            raise
        made = (
            lines.as_file(stream, first, message, call.method.name)
            if as_file
            else lines.as_lines(stream, first)
        )
        return StreamResponse(*made, self._settings.stall_limit, closed)

    async def _asked(self, method: Any, path: str, message: Message) -> Message:
        """The answer; of the next replica where there is one, when the first cannot serve and a repeat does no harm."""
        prepared, repeatable = prepare(path, message) if self._replicas > 1 else (message, False)
        answer: Message = await self._tried(method, prepared, repeatable=repeatable)
        return answer

    async def _tried(self, method: Any, request: object, *, repeatable: bool) -> Any:
        timeout = self._settings.call_timeout
        try:
            return await method(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if not repeatable or error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return await method(request, timeout=timeout)

    async def body(self, request: Request) -> bytes:
        """The body, within the limits of size and time."""
        limit = self._settings.max_body
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and len(declared) < 20 and int(declared) > limit:
            raise over_limit(f"the body is larger than {limit} bytes", limit, int(declared))
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        raise over_limit(f"the body is larger than {limit} bytes", limit)
                    parts.append(part)
        except TimeoutError:
            text = f"the body did not come within {self._settings.body_timeout:g} s"
            raise BridgeError(
                "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", text, http_status=408
            ) from None
        return b"".join(parts)


async def _answer(handler: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    try:
        return await handler(request)
    except BridgeError as error:
        return error.response()
    except ClientDisconnect:
        return Response(status_code=499)


def no_such_method(request: Request, allowed: set[str]) -> BridgeError:
    """There is nothing at this path, or not for this HTTP method."""
    path = word(request.url.path)
    if allowed:
        verbs = ", ".join(sorted(allowed))
        text = f"{path} does not take {word(request.method)}, only {verbs}"
        return BridgeError(
            "UNIMPLEMENTED",
            "NO_SUCH_METHOD",
            text,
            {"path": path},
            http_status=405,
            headers={"allow": verbs},
        )
    return BridgeError("NOT_FOUND", "NO_SUCH_METHOD", f"there is nothing at {path}", {"path": path})


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _wants_defaults(request: Request) -> bool:
    """Whether a unary call is to be answered with the fields that hold their default."""
    asked = request.query_params.get("defaults", "false")
    if asked not in {"true", "false"}:
        raise malformed("expected true or false", "defaults")
    return asked == "true"


def _wants_file(query: list[tuple[str, str]], call: Call) -> bool:
    """Whether the document itself is asked for; takes that out of the query."""
    asked = [value for name, value in query if name == ALT]
    if not asked:
        return False
    if asked != ["file"] or not call.streaming or not lines.is_document(call.method.output_type):
        raise malformed("only exports can be had as a file: alt=file", ALT)
    query[:] = [each for each in query if each[0] != ALT]
    return True


def _get(message: Message, path: str) -> Any:
    value: Any = message
    for name in path.split("."):
        value = getattr(value, name)
    return value
