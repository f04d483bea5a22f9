"""A stream of the server over plain HTTP: one JSON object on each line, as it comes.

The head is sent with the first line, so that a refusal is an ordinary HTTP error; what breaks off later ends with
`{"error": …}`. A client that goes away, or does not read, ends the call to the server.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import Message
from starlette.responses import StreamingResponse
from starlette.types import Message as Sent
from starlette.types import Receive, Scope, Send

from pilothouse_server.bridge.errors import BridgeError, from_rpc
from pilothouse_server.bridge.frames import dumps
from pilothouse_server.bridge.plain_json import plain_json
from pilothouse_server.bridge.settings import BridgeSettings

NDJSON = "application/x-ndjson"


class Stream:
    """One call whose answers are read in turn. BridgeError is what the server refused, or that it says nothing."""

    def __init__(self, call: Any, settings: BridgeSettings) -> None:
        self._call = call
        self._settings = settings

    async def next(self) -> Message | None:
        """The next answer; None at the end."""
        try:
            async with asyncio.timeout(self._settings.call_timeout):
                answer = await self._call.read()
        except TimeoutError:
            text = f"the server said nothing for {self._settings.call_timeout:g} s"
            raise BridgeError("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", text) from None
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, self._settings.server) from None
        return None if answer is grpc.aio.EOF else answer

    def close(self) -> None:
        """Ends the call; nothing when it has ended."""
        self._call.cancel()


class LinesResponse(StreamingResponse):
    """The lines of a stream; `closed` is called when nothing more is read of it, however it ended."""

    def __init__(
        self, stream: Stream, first: Message | None, stall_limit: float, closed: Callable[[], None]
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_lines(stream, first), media_type=NDJSON, headers=headers)
        self._stall_limit = stall_limit
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""

        async def send_in_time(message: Sent) -> None:
            try:
                async with asyncio.timeout(self._stall_limit):
                    await send(message)
            except TimeoutError:
                raise _StalledError from None

        try:
            # What is not complete when the application returns is cut off by the server.
            with suppress(_StalledError):
                await super().__call__(scope, receive, send_in_time)
        finally:
            self._closed()


class _StalledError(Exception):
    """The client does not read."""


async def _lines(stream: Stream, answer: Message | None) -> AsyncGenerator[bytes]:
    try:
        while answer is not None:
            yield plain_json(answer) + b"\n"
            answer = await stream.next()
    except BridgeError as error:
        yield dumps({"error": error.body()}) + b"\n"
