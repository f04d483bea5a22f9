"""A real receiver of webhooks: it keeps what it was sent, and answers what it was told to."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support import wait_until


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)


@dataclass
class Answer:
    """What is answered to each request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    hangs: bool = False


@dataclass
class Receiver:
    """One that listens."""

    port: int
    scheme: str
    answer: Answer = field(default_factory=Answer)
    received: list[Received] = field(default_factory=list[Received])

    def url(self, path: str = "/hook", *, host: str = "127.0.0.1") -> str:
        """Where it is."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def has(self, count: int, *, within: float = 20.0) -> None:
        """Waits until it has got so many requests."""
        await wait_until(lambda: len(self.received) >= count, within=within)


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncGenerator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver(0, "https" if tls else "http")
    ended = asyncio.Event()
    server = await asyncio.start_server(_serving(receiver, ended), "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        ended.set()
        server.close()
        await server.wait_closed()


def _serving(receiver: Receiver, ended: asyncio.Event) -> Callable[..., Any]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            received = await _read(reader)
            receiver.received.append(received)
            answer = receiver.answer
            if answer.hangs:
                await ended.wait()
                return
            headers = {"Content-Length": str(len(answer.body)), "Connection": "close"}
            lines = [f"HTTP/1.1 {answer.status} As told"]
            lines += [
                f"{name}: {value}" for name, value in (headers | dict(answer.headers)).items()
            ]
            writer.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return serve


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)
    }
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)
