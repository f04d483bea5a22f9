"""A grpc.aio channel round another one: typed errors, default deadlines, and retries where a repeat does no harm.

It is a channel, so that the generated stubs work on it as they are: every method of the contract is there, typed,
without a line for any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import grpc
import grpc.aio

from pilothouse.errors import from_rpc_error
from pilothouse.retry import Attempts, RetryPolicy, prepare

if TYPE_CHECKING:
    from google.protobuf.message import Message

Req = TypeVar("Req")
Res = TypeVar("Res")
T = TypeVar("T")

_Metadata = Any
"""grpc and its type stubs disagree on what a caller may pass as metadata."""


class Channel(grpc.aio.Channel):
    """See the module."""

    def __init__(
        self, inner: grpc.aio.Channel, *, timeout: float | None, retry: RetryPolicy
    ) -> None:
        self._inner = inner
        self._timeout = timeout
        self._retry = retry

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryUnaryMultiCallable[Req, Res]:
        """See grpc.aio.Channel."""
        inner = self._inner.unary_unary(method, request_serializer, response_deserializer)
        return _UnaryUnary(method, inner, self._timeout, self._retry)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryStreamMultiCallable[Req, Res]:
        """See grpc.aio.Channel. A stream has no deadline unless it is given one, and is not opened again."""
        return _UnaryStream(
            self._inner.unary_stream(method, request_serializer, response_deserializer)
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamUnaryMultiCallable[Req, Res]:
        """See grpc.aio.Channel. The contract has no such method; errors are grpc's own."""
        return self._inner.stream_unary(method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamStreamMultiCallable[Req, Res]:
        """See grpc.aio.Channel. A stream has no deadline unless it is given one, and is not opened again."""
        return _StreamStream(
            self._inner.stream_stream(method, request_serializer, response_deserializer)
        )

    async def close(self, grace: float | None = None) -> None:
        """Close the connection; calls under way are cancelled after `grace` seconds."""
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See grpc.aio.Channel."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio.Channel."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See grpc.aio.Channel."""
        await self._inner.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class _UnaryUnary(grpc.aio.UnaryUnaryMultiCallable[Req, Res]):
    def __init__(
        self,
        method: str,
        inner: grpc.aio.UnaryUnaryMultiCallable[Req, Res],
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
        *,
        timeout: float | None = None,
        metadata: _Metadata = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.aio.UnaryUnaryCall[Req, Res]:
        limit = self._timeout if timeout is None else timeout

        def begin(prepared: Req, left: float | None) -> grpc.aio.UnaryUnaryCall[Req, Res]:
            return self._inner(
                prepared,
                timeout=left,
                metadata=metadata,
                credentials=credentials,
                wait_for_ready=wait_for_ready,
                compression=compression,
            )

        return _Unary(self._method, request, begin, limit, self._retry)


class _Unary(grpc.aio.UnaryUnaryCall[Req, Res]):
    """A call that may be several. What it tells about itself is of the newest."""

    def __init__(
        self,
        method: str,
        request: Req,
        begin: Callable[[Req, float | None], grpc.aio.UnaryUnaryCall[Req, Res]],
        timeout: float | None,
        retry: RetryPolicy,
    ) -> None:
        self._begin = begin
        now = asyncio.get_running_loop().time()
        prepared, repeatable = prepare(method, cast("Message", request))
        self._request = cast("Req", prepared)
        self._attempts = Attempts(
            retry, repeatable=repeatable, deadline=None if timeout is None else now + timeout
        )
        self._newest = begin(self._request, self._attempts.timeout(now))
        # A call is under way from the moment it is made, as grpc's own is.
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> Res:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                return await self._newest
            except grpc.aio.AioRpcError as raw:
                error = from_rpc_error(raw)
                delay = self._attempts.after(error, clock())
                if delay is None:
                    raise error from raw
            await asyncio.sleep(delay)
            self._newest = self._begin(self._request, self._attempts.timeout(clock()))

    def __await__(self) -> Generator[Any, None, Res]:
        return self._task.__await__()

    def cancel(self) -> bool:
        return self._task.cancel()

    def cancelled(self) -> bool:
        return self._task.cancelled()

    def done(self) -> bool:
        return self._task.done()

    def time_remaining(self) -> float | None:
        return self._newest.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._task.add_done_callback(lambda _: callback(self))

    async def _settled(self) -> grpc.aio.UnaryUnaryCall[Req, Res]:
        await asyncio.wait([self._task])
        return self._newest

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return await (await self._settled()).initial_metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return await (await self._settled()).trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        return await (await self._settled()).code()

    async def details(self) -> str:
        return await (await self._settled()).details()

    async def wait_for_connection(self) -> None:
        await self._newest.wait_for_connection()


async def _typed(work: Awaitable[T]) -> T:
    try:
        return await work
    except grpc.aio.AioRpcError as raw:
        raise from_rpc_error(raw) from raw


class _Stream:
    """What both kinds of stream share: all is the inner call's, except its errors."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[Any]:
        # Not read(): that one asks whether the call is done before it looks for messages that came before the end.
        try:
            async for message in self._inner:
                yield message
        except grpc.aio.AioRpcError as raw:
            raise from_rpc_error(raw) from raw

    def read(self) -> Coroutine[Any, Any, Any]:
        return _typed(self._inner.read())

    def write(self, request: Any) -> Coroutine[Any, Any, None]:
        return _typed(self._inner.write(request))

    def done_writing(self) -> Coroutine[Any, Any, None]:
        return _typed(self._inner.done_writing())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _UnaryStream(grpc.aio.UnaryStreamMultiCallable[Req, Res]):
    def __init__(self, inner: grpc.aio.UnaryStreamMultiCallable[Req, Res]) -> None:
        self._inner = inner

    def __call__(
        self,
        request: Req,
        *,
        timeout: float | None = None,
        metadata: _Metadata = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.aio.UnaryStreamCall[Req, Res]:
        inner = self._inner(
            request,
            timeout=timeout,
            metadata=metadata,
            credentials=credentials,
            wait_for_ready=wait_for_ready,
            compression=compression,
        )
        return cast("grpc.aio.UnaryStreamCall[Req, Res]", _Stream(inner))


class _StreamStream(grpc.aio.StreamStreamMultiCallable[Req, Res]):
    def __init__(self, inner: grpc.aio.StreamStreamMultiCallable[Req, Res]) -> None:
        self._inner = inner

    def __call__(  # noqa: PLR0917 - as grpc has it
        self,
        request_iterator: AsyncIterator[Req] | Iterator[Req] | None = None,
        timeout: float | None = None,
        metadata: _Metadata = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.aio.StreamStreamCall[Req, Res]:
        inner = self._inner(
            request_iterator, timeout, metadata, credentials, wait_for_ready, compression
        )
        return cast("grpc.aio.StreamStreamCall[Req, Res]", _Stream(inner))
