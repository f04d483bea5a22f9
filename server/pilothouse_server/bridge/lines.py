"""A stream of the server over plain HTTP: one JSON object on each line, as it comes; or the document that its answers
are parts of, to be saved as a file.

The head is sent with the first line, so that a refusal is an ordinary HTTP error; what breaks off later ends with
`{"error": …}`, and a document that breaks off has no end, so that whoever saves it knows. A client that goes away, or
does not read, ends the call to the server.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from starlette.responses import StreamingResponse
from starlette.types import Message as Sent
from starlette.types import Receive, Scope, Send

from pilothouse_server.bridge.errors import BridgeError, from_rpc
from pilothouse_server.bridge.frames import dumps
from pilothouse_server.bridge.plain_json import plain_json
from pilothouse_server.bridge.settings import BridgeSettings

NDJSON = "application/x-ndjson"
TEXT = "text"
"""The field of an answer that is a part of a document."""


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


class StreamResponse(StreamingResponse):
    """What is made of a stream; `closed` is called when nothing more is read of it, however it ended."""

    def __init__(
        self,
        parts: AsyncGenerator[bytes],
        headers: Mapping[str, str],
        stall_limit: float,
        closed: Callable[[], None],
    ) -> None:
        common = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(parts, headers=common | dict(headers))
        self._stall_limit = stall_limit
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""

        async def send_in_time(message: Sent) -> None:
            try:
                async with asyncio.timeout(self._stall_limit):
                    await send(message)
            except TimeoutError:
                raise _CutOffError from None

        try:
            # What is not complete when the application returns is cut off by the server.
            with suppress(_CutOffError):
                await super().__call__(scope, receive, send_in_time)
        finally:
            self._closed()


class _CutOffError(Exception):
    """The client does not read, or what it reads broke off."""


def as_lines(stream: Stream, first: Message | None) -> tuple[AsyncGenerator[bytes], dict[str, str]]:
    """Each answer as a line, and the headers."""
    return _lines(stream, first), {"content-type": NDJSON}


def is_document(response: Descriptor) -> bool:
    """Whether such answers are parts of a document."""
    field = response.fields_by_name.get(TEXT)
    return field is not None and field.type == FieldDescriptor.TYPE_STRING


def as_file(
    stream: Stream, first: Message | None, request: Message, method: str
) -> tuple[AsyncGenerator[bytes], dict[str, str]]:
    """The document, and headers that say under which name to save it: that of what is exported."""
    written = "JSON_LINES"
    field = request.DESCRIPTOR.fields_by_name.get("format")
    if field is not None and field.enum_type is not None:
        # What is not stated is the first.
        number = getattr(request, field.name) or 1
        written = field.enum_type.values_by_number[number].name
    ending, kind = next(each for word, each in _ENDINGS.items() if written.endswith(word))
    name = f"{method.removeprefix('Export').lower()}.{ending}"
    headers = {"content-type": kind, "content-disposition": f'attachment; filename="{name}"'}
    return _document(stream, first), headers


_ENDINGS = {
    "_CSV": ("csv", "text/csv; charset=utf-8"),
    "_JSON": ("json", "application/json"),
    "": ("jsonl", NDJSON),
}


async def _document(stream: Stream, answer: Message | None) -> AsyncGenerator[bytes]:
    complete = True
    try:
        while answer is not None:
            complete = getattr(answer, "complete", True)
            yield getattr(answer, TEXT).encode()
            answer = await stream.next()
    except BridgeError:
        raise _CutOffError from None
    if not complete:
        raise _CutOffError


async def _lines(stream: Stream, answer: Message | None) -> AsyncGenerator[bytes]:
    try:
        while answer is not None:
            yield plain_json(answer) + b"\n"
            answer = await stream.next()
    except BridgeError as error:
        yield dumps({"error": error.body()}) + b"\n"
