"""A grpc channel round another one: typed errors, default deadlines, and retries where a repeat does no harm.

The twin of `_aio_channel`, for the same reason a channel: the generated stubs work on it as they are.
"""

# Calls have the arguments that grpc gives them.
# ruff: noqa: PLR0917

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import grpc

from pilothouse.errors import from_rpc_error
from pilothouse.retry import Attempts, RetryPolicy, prepare

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpc import _CallFuture, _CallIterator  # pyright: ignore[reportPrivateUsage]

Req = TypeVar("Req")
Res = TypeVar("Res")

_Metadata = Any
"""grpc and its type stubs disagree on what a caller may pass as metadata."""


class Channel(grpc.Channel):
    """See the module."""

    def __init__(self, inner: grpc.Channel, *, timeout: float | None, retry: RetryPolicy) -> None:
        self._inner = inner
        self._timeout = timeout
        self._retry = retry

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryUnaryMultiCallable[Req, Res]:
        """See grpc.Channel."""
        inner = self._inner.unary_unary(method, request_serializer, response_deserializer)
        retrying = _UnaryUnary(method, inner, self._timeout, self._retry)
        # grpc's own class is generic for type checkers only, so it cannot be the base.
        return cast("grpc.UnaryUnaryMultiCallable[Req, Res]", retrying)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryStreamMultiCallable[Req, Res]:
        """See grpc.Channel. A stream has no deadline unless it is given one, and is not opened again."""
        inner = self._inner.unary_stream(method, request_serializer, response_deserializer)
        return cast("grpc.UnaryStreamMultiCallable[Req, Res]", _UnaryStream(inner))

    def stream_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamUnaryMultiCallable[Req, Res]:
        """See grpc.Channel. The contract has no such method; errors are grpc's own."""
        return self._inner.stream_unary(method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamStreamMultiCallable[Req, Res]:
        """See grpc.Channel. A stream has no deadline unless it is given one, and is not opened again."""
        inner = self._inner.stream_stream(method, request_serializer, response_deserializer)
        return cast("grpc.StreamStreamMultiCallable[Req, Res]", _StreamStream(inner))

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool = False,
    ) -> None:
        """See grpc.Channel."""
        self._inner.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """See grpc.Channel."""
        self._inner.unsubscribe(callback)

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _UnaryUnary(Generic[Req, Res]):
    def __init__(
        self,
        method: str,
        inner: grpc.UnaryUnaryMultiCallable[Req, Res],
        timeout: float | None,
        retry: RetryPolicy,
    ) -> None:
        self._method = method
        self._inner = inner
        self._timeout = timeout
        self._retry = retry

    def __call__(
        self,
        request: Req,
        timeout: float | None = None,
        metadata: _Metadata = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Res:
        options = _given(metadata, credentials, wait_for_ready, compression)
        return self.with_call(request, timeout, **options)[0]

    def with_call(
        self,
        request: Req,
        timeout: float | None = None,
        metadata: _Metadata = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[Res, grpc.Call]:
        options = _given(metadata, credentials, wait_for_ready, compression)
        limit = self._timeout if timeout is None else timeout
        prepared, repeatable = prepare(self._method, cast("Message", request))
        deadline = None if limit is None else time.monotonic() + limit
        attempts = Attempts(self._retry, repeatable=repeatable, deadline=deadline)
        while True:
            try:
                return self._inner.with_call(
                    cast("Req", prepared), attempts.timeout(time.monotonic()), **options
                )
            except grpc.RpcError as raw:
                error = from_rpc_error(raw)
                delay = attempts.after(error, time.monotonic())
                if delay is None:
                    raise error from raw
            time.sleep(delay)

    def future(
        self,
        request: Req,
        timeout: float | None = None,
        metadata: _Metadata = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> _CallFuture[Res]:
        """One try, with grpc's own errors: a future has nobody who could wait between two."""
        options = _given(metadata, credentials, wait_for_ready, compression)
        limit = self._timeout if timeout is None else timeout
        return self._inner.future(request, limit, **options)


def _given(
    metadata: _Metadata,
    credentials: grpc.CallCredentials | None,
    wait_for_ready: bool | None,
    compression: grpc.Compression | None,
) -> dict[str, Any]:
    """The options that were given: a channel of a test may not know the rest."""
    options = {
        "metadata": metadata,
        "credentials": credentials,
        "wait_for_ready": wait_for_ready,
        "compression": compression,
    }
    return {name: value for name, value in options.items() if value is not None}


class _Stream:
    """All is the inner call's, except its errors."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._inner)
        except grpc.RpcError as raw:
            raise from_rpc_error(raw) from raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _UnaryStream(Generic[Req, Res]):
    def __init__(self, inner: grpc.UnaryStreamMultiCallable[Req, Res]) -> None:
        self._inner = inner

    def __call__(
        self,
        request: Req,
        timeout: float | None = None,
        metadata: _Metadata = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> _CallIterator[Res]:
        options = _given(metadata, credentials, wait_for_ready, compression)
        return cast("_CallIterator[Res]", _Stream(self._inner(request, timeout, **options)))


class _StreamStream(Generic[Req, Res]):
    def __init__(self, inner: grpc.StreamStreamMultiCallable[Req, Res]) -> None:
        self._inner = inner

    def __call__(
        self,
        request_iterator: Iterator[Req],
        timeout: float | None = None,
        metadata: _Metadata = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> _CallIterator[Res]:
        options = _given(metadata, credentials, wait_for_ready, compression)
        return cast(
            "_CallIterator[Res]", _Stream(self._inner(request_iterator, timeout, **options))
        )
