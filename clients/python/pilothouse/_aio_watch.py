"""A watch in asyncio: the shell of `watching.WatchCore` that reads the stream, waits and tells time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pilothouse.errors import CallError
from pilothouse.watching import Item, Update, WatchCore

if TYPE_CHECKING:
    import grpc.aio
    from google.protobuf.message import Message

T = TypeVar("T")


class Watch(Generic[T]):
    """A stream that is opened again whenever it breaks. Iterate it for every Update, or `items()` for the values alone.

    It ends only by an error that trying again cannot mend, or when its reader stops; use `contextlib.aclosing` on the
    iterator to end the call at that moment.
    """

    def __init__(self, method: Callable[[Any], AsyncIterable[Any]], core: WatchCore[T]) -> None:
        self._method = method
        self._core = core

    @property
    def resume_token(self) -> str:
        """Where another watch would go on after the newest message of this one. Each Item has its own."""
        return self._core.token

    async def items(self) -> AsyncGenerator[T]:
        """The values alone, for readers to whom a value that comes again does no harm."""
        async with aclosing(self.__aiter__()) as updates:
            async for update in updates:
                if isinstance(update, Item):
                    yield update.value

    async def __aiter__(self) -> AsyncGenerator[Update[T]]:
        clock = asyncio.get_running_loop().time
        while True:
            error: CallError | None = None
            reason = "the server ended the stream"
            try:
                async with aclosing(self._messages(clock())) as messages:
                    async for message in messages:
                        for update in self._core.received(message):
                            yield update
            except CallError as raised:
                error, reason = raised, str(raised)
            except _SilenceError:
                reason = f"nothing came for {self._core.options.silence:g} s"
            delay, told = self._core.broke(error, reason, clock())
            for update in told:
                yield update
            await asyncio.sleep(delay)

    async def _messages(self, now: float) -> AsyncGenerator[Message]:
        """The messages of one stream. Raises _SilenceError when none comes for too long."""
        call = self._method(self._core.request(now))
        stream = aiter(call)
        try:
            while True:
                try:
                    async with asyncio.timeout(self._core.options.silence):
                        message = await anext(stream)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise _SilenceError from None
                yield message
        finally:
            cast("grpc.aio.Call", call).cancel()


class _SilenceError(Exception):
    """A stream said nothing for too long."""
