"""A grpc channel over several others; see `routes`. The twin of `aio_routes`."""

# Calls have the arguments that grpc gives them.

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc

from pilothouse.routes import Callables, Route, addresses

Req = TypeVar("Req")
Res = TypeVar("Res")

Options = Sequence[tuple[str, int | str]]


def open_channel(
    target: str, options: Options, credentials: grpc.ChannelCredentials | None = None
) -> grpc.Channel:
    """A channel to the address, or over the addresses, of `target`. Raises ValueError when there is none."""

    def one(address: str) -> grpc.Channel:
        if credentials is None:
            return grpc.insecure_channel(address, options)
        return grpc.secure_channel(address, credentials, options)

    channels = [one(address) for address in addresses(target)]
    return channels[0] if len(channels) == 1 else AnyOf(channels)


class AnyOf(grpc.Channel):
    """See the module."""

    def __init__(self, channels: Sequence[grpc.Channel]) -> None:
        self._route = Route(channels)

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryUnaryMultiCallable[Req, Res]:
        """See grpc.Channel."""
        made = _Method(
            self._route, "unary_unary", method, request_serializer, response_deserializer
        )
        return cast("grpc.UnaryUnaryMultiCallable[Req, Res]", made)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryStreamMultiCallable[Req, Res]:
        """See grpc.Channel."""
        made = _Method(
            self._route, "unary_stream", method, request_serializer, response_deserializer
        )
        return cast("grpc.UnaryStreamMultiCallable[Req, Res]", made)

    def stream_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamUnaryMultiCallable[Req, Res]:
        """See grpc.Channel."""
        made = _Method(
            self._route, "stream_unary", method, request_serializer, response_deserializer
        )
        return cast("grpc.StreamUnaryMultiCallable[Req, Res]", made)

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamStreamMultiCallable[Req, Res]:
        """See grpc.Channel."""
        made = _Method(
            self._route, "stream_stream", method, request_serializer, response_deserializer
        )
        return cast("grpc.StreamStreamMultiCallable[Req, Res]", made)

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool = False,
    ) -> None:
        """See grpc.Channel; of every connection."""
        for channel in self._route.channels:
            channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """See grpc.Channel."""
        for channel in self._route.channels:
            channel.unsubscribe(callback)

    def close(self) -> None:
        """See grpc.Channel."""
        for channel in self._route.channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Method:
    """A method of any of the four kinds: a call begins where calls go now, and its end says whether they go on
    there."""

    def __init__(self, route: Route[grpc.Channel], kind: str, *arguments: Any) -> None:
        self._route = route

        def make(channel: grpc.Channel) -> Any:
            return getattr(channel, kind)(*arguments)

        self._callables: Callables[grpc.Channel, Any] = Callables(route, make)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """A call that is waited for, or a stream."""
        at, begin = self._callables.pick()
        return self._watched(at, self._judged(at, begin, given, named))

    def with_call(self, *given: Any, **named: Any) -> Any:
        """See grpc.UnaryUnaryMultiCallable."""
        at, begin = self._callables.pick()
        return self._judged(at, begin.with_call, given, named)

    def future(self, *given: Any, **named: Any) -> Any:
        """See grpc.UnaryUnaryMultiCallable."""
        at, begin = self._callables.pick()
        return self._watched(at, self._judged(at, begin.future, given, named))

    def _judged(self, at: int, begin: Any, given: Any, named: Any) -> Any:
        try:
            return begin(*given, **named)
        except grpc.RpcError as error:
            self._route.judge(at, cast("grpc.Call", error).code())
            raise

    def _watched(self, at: int, begun: Any) -> Any:
        """What began; an answer that was waited for is not a call any more."""
        if isinstance(begun, grpc.RpcContext):
            call = cast("grpc.Call", begun)
            if not call.add_callback(lambda: self._route.judge(at, call.code())):
                self._route.judge(at, call.code())
        return begun
