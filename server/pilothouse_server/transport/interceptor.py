"""What every call has in common: it is judged by the contract, its errors are named, and it is counted.

Servicers raise what the domain refuses; of any other error a caller learns only that it is a fault of the
server, and under which request id the server logged it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import status_pb2
from prometheus_client import CollectorRegistry, Counter, Histogram

from pilothouse_server.domain import errors
from pilothouse_server.transport.draining import CallsUnderWay
from pilothouse_server.transport.status import (
    abort,
    bad_request,
    code_of,
    internal,
    no_such_method,
    status_of,
)
from pilothouse_server.transport.validation import violations_of

Context = grpc.aio.ServicerContext[Any, Any]
REQUEST_ID_KEY = "x-request-id"
_MAX_REQUEST_ID = 128
GUARDED = ("/pilothouse.v1.", "/opentelemetry.proto.collector.")
"""Beginnings of the methods that are ours to answer."""
_log = structlog.get_logger(__name__)


class _InvalidRequest(Exception):
    def __init__(self, violations: list[tuple[str, str]]) -> None:
        super().__init__(violations)
        self.violations = violations


class CallMeters:
    """Counters of calls, for `/metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "pilothouse_grpc_calls",
            "Calls ended, by method and code.",
            ["method", "code"],
            registry=registry,
        )
        self.seconds = Histogram(
            "pilothouse_grpc_call_seconds",
            "Duration of unary calls.",
            ["method"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0),
            registry=registry,
        )
        self.streams = Counter(
            "pilothouse_grpc_streams_opened",
            "Streaming calls opened, by method.",
            ["method"],
            registry=registry,
        )


class CallGuard(grpc.aio.ServerInterceptor):
    """Wraps every handler but those of health and reflection, which pass as they are."""

    def __init__(self, meters: CallMeters) -> None:
        self.meters = meters
        self.under_way = CallsUnderWay()

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None:
            return grpc.unary_unary_rpc_method_handler(_refuse_unknown(method))
        if not method.startswith(GUARDED):
            return handler
        request_id = _request_id(handler_call_details)
        return self._wrap(handler, method, request_id)

    def _wrap(
        self, handler: grpc.RpcMethodHandler[Any, Any], method: str, request_id: str
    ) -> grpc.RpcMethodHandler[Any, Any]:
        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            call = _Call(self, handler.unary_unary, method, request_id)
            return grpc.unary_unary_rpc_method_handler(call.unary, **codecs)
        if handler.stream_unary:
            call = _Call(self, handler.stream_unary, method, request_id)
            return grpc.stream_unary_rpc_method_handler(call.unary, **codecs)
        if handler.unary_stream:
            call = _Call(self, handler.unary_stream, method, request_id)
            return grpc.unary_stream_rpc_method_handler(call.watch, **codecs)
        call = _Call(self, handler.stream_stream, method, request_id)
        return grpc.stream_stream_rpc_method_handler(call.stream, **codecs)


class _Call:
    """One call of one method."""

    def __init__(self, guard: CallGuard, behaviour: Any, method: str, request_id: str) -> None:
        self._meters = guard.meters
        self._under_way = guard.under_way
        self._behaviour = behaviour
        self._method = method
        self._request_id = request_id

    async def unary(self, request: Any, context: Context) -> Any:
        begin = time.perf_counter()
        try:
            with self._under_way.call():
                answer = await self._behaviour(self._checked(request), context)
        except Exception as error:
            await self._end(error, context)
            raise
        self._meters.seconds.labels(self._method).observe(time.perf_counter() - begin)
        self._meters.calls.labels(self._method, "OK").inc()
        return answer

    async def stream(self, request: Any, context: Context) -> AsyncGenerator[Any]:
        self._meters.streams.labels(self._method).inc()
        try:
            with self._under_way.call():
                async with aclosing(self._behaviour(self._checked(request), context)) as answers:
                    async for answer in answers:
                        yield answer
        except Exception as error:
            await self._end(error, context)
            raise
        self._meters.calls.labels(self._method, "OK").inc()

    async def watch(self, request: Any, context: Context) -> AsyncGenerator[Any]:
        """A stream that never ends by itself: a drain sends it away, and its token lets it go on elsewhere."""
        try:
            with self._under_way.waiting():
                async with aclosing(self.stream(request, context)) as answers:
                    async for answer in answers:
                        yield answer
        except errors.Unavailable as error:
            await self._end(error, context)
            raise

    def _checked(self, request: Any) -> Any:
        """The request, or for a stream of them an iterator that judges each."""
        if isinstance(request, Message):
            return _valid(request)
        if isinstance(request, AsyncIterator):
            requests: AsyncIterator[Any] = request  # pyright: ignore[reportUnknownVariableType] - of any method
            return self._checked_stream(requests)
        return request

    async def _checked_stream(self, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async with aclosing(self._under_way.requests(stream)) as requests:
            async for request in requests:
                yield _valid(request)

    async def _end(self, error: Exception, context: Context) -> None:
        """Tells the caller what was wrong. Raises AbortError."""
        if isinstance(error, grpc.aio.AbortError):
            self._meters.calls.labels(self._method, "ABORTED_BY_SERVICER").inc()
            return
        status = self._status(error)
        self._meters.calls.labels(self._method, code_of(status).name).inc()
        await abort(context, status)

    def _status(self, error: Exception) -> status_pb2.Status:
        match error:
            case _InvalidRequest(violations=violations):
                return bad_request(violations)
            case errors.PilothouseError():
                return status_of(error)
            case _:
                _log.error(
                    "call failed",
                    method=self._method,
                    request_id=self._request_id,
                    exc_info=error,
                )
                return internal(self._request_id)


def _valid(request: Any) -> Any:
    violations = violations_of(request)
    if violations:
        raise _InvalidRequest(violations)
    return request


def _request_id(details: grpc.HandlerCallDetails) -> str:
    metadata: Any = details.invocation_metadata or ()
    for key, value in metadata:
        if key == REQUEST_ID_KEY and isinstance(value, str):
            return value[:_MAX_REQUEST_ID]
    return str(uuid4())


def _refuse_unknown(method: str) -> Callable[[Any, Context], Awaitable[Any]]:
    async def refuse(request: Any, context: Context) -> Any:
        del request
        await abort(context, no_such_method(method))

    return refuse
