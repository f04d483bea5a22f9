"""A grpc.aio channel over several others; see `routes`."""

# Calls have the arguments that grpc gives them.

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc
import grpc.aio

from pilothouse.routes import Callables, Route, addresses

Req = TypeVar("Req")
Res = TypeVar("Res")

Options = Sequence[tuple[str, int | str]]


def open_channel(
    target: str, options: Options, credentials: grpc.ChannelCredentials | None = None
) -> grpc.aio.Channel:
    """A channel to the address, or over the addresses, of `target`. Raises ValueError when there is none."""

    def one(address: str) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(address, options)
        return grpc.aio.secure_channel(address, credentials, options)

    channels = [one(address) for address in addresses(target)]
    return channels[0] if len(channels) == 1 else AnyOf(channels)


class AnyOf(grpc.aio.Channel):
    """See the module."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._route = Route(channels)

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryUnaryMultiCallable[Req, Res]:
        """See grpc.aio.Channel."""
        made = self._method("unary_unary", method, request_serializer, response_deserializer)
        return cast("grpc.aio.UnaryUnaryMultiCallable[Req, Res]", made)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryStreamMultiCallable[Req, Res]:
        """See grpc.aio.Channel."""
        made = self._method("unary_stream", method, request_serializer, response_deserializer)
        return cast("grpc.aio.UnaryStreamMultiCallable[Req, Res]", made)

    def stream_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamUnaryMultiCallable[Req, Res]:
        """See grpc.aio.Channel."""
        made = self._method("stream_unary", method, request_serializer, response_deserializer)
        return cast("grpc.aio.StreamUnaryMultiCallable[Req, Res]", made)

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamStreamMultiCallable[Req, Res]:
        """See grpc.aio.Channel."""
        made = self._method("stream_stream", method, request_serializer, response_deserializer)
        return cast("grpc.aio.StreamStreamMultiCallable[Req, Res]", made)

    def _method(self, kind: str, *arguments: Any) -> Callable[..., grpc.aio.Call]:
        """A method of any of the four kinds: a call begins where calls go now, and its end says whether they go on
        there."""

        def make(channel: grpc.aio.Channel) -> Callable[..., grpc.aio.Call]:
            made: Callable[..., grpc.aio.Call] = getattr(channel, kind)(*arguments)
            return made

        callables = Callables(self._route, make)

        def call(*given: Any, **named: Any) -> grpc.aio.Call:
            at, begin = callables.pick()
            begun = begin(*given, **named)
            begun.add_done_callback(lambda ended: self._ended(at, ended))
            return begun

        return call

    def _ended(self, at: int, call: Any) -> None:
        """A call is over. Its code is there, so the coroutine that alone can have it returns without waiting; and
        who awaits the call finds the route moved on."""
        asking: Coroutine[Any, Any, grpc.StatusCode] = call.code()
        try:
            asking.send(None)
        except StopIteration as answered:
            self._route.judge(at, answered.value)
        else:
            asking.close()

    async def close(self, grace: float | None = None) -> None:
        """See grpc.aio.Channel."""
        for channel in self._route.channels:
            await channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the connection that is used now."""
        return self._now.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio.Channel; of the connection that is used now."""
        await self._now.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Returns when any of the servers is connected, and uses that one."""
        waits = {
            asyncio.ensure_future(channel.channel_ready()): at
            for at, channel in enumerate(self._route.channels)
        }
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            self._route.current = min(waits[task] for task in done)
        finally:
            for task in waits:
                task.cancel()

    @property
    def _now(self) -> grpc.aio.Channel:
        return self._route.channels[self._route.current]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
