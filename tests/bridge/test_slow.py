"""Clients that stall, dawdle or are only half there cost themselves, and nobody else."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Iterator
from typing import cast

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from pilothouse.v1.events_pb2 import Event, EventBatch
from tests.bridge.support import PATIENCE, Stage, frame, read_on, staged, subscribe
from tests.support import wait_until

BATCHES = 300
PER_BATCH = 4


def narrow(stage: Stage) -> socket.socket:
    """A connection whose kernel takes little before it says stop."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    one.connect(("127.0.0.1", stage.port))
    return one


def batches() -> Iterator[EventBatch]:
    """More than any buffer on the way holds: about 5 MB."""
    for number in range(BATCHES):
        events = [Event(id=f"{number}-{i}", message="x" * 4_000) for i in range(PER_BATCH)]
        yield EventBatch(events=events)


async def flood(stage: Stage) -> None:
    """All of it at once."""
    for batch in batches():
        await stage.server.events.add(batch)


async def tell(stage: Stage, healthy: ClientConnection) -> list[str]:
    """All of it, as fast as a client takes it that keeps up: one that has all of a batch before the next is told cannot
    be the one that stalls, however long the machine stands still. The ids that it got."""
    seen: list[str] = []
    for batch in batches():
        await stage.server.events.add(batch)
        while not seen or seen[-1] != batch.events[-1].id:
            got = await frame(healthy)
            assert got["type"] in {"events:append", "progress"}
            seen += [event["id"] for event in got["data"].get("events", [])]
    return seen


async def counter(stage: Stage, name: str) -> float:
    """One number of the bridge's own."""
    async with stage.http() as http:
        lines = (await http.get("/metrics")).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


async def test_a_stalled_client_is_closed_with_a_reason_while_another_gets_everything() -> None:
    async with staged(stall_limit=0.2, linger=PATIENCE) as stage:
        sock = narrow(stage)
        async with stage.live(sock=sock, max_queue=1) as stalled, stage.live() as healthy:
            for each in (stalled, healthy):
                await subscribe(each, "events:live")
                await frame(each, "events:snapshot")
            seen = await tell(stage, healthy)
            assert seen == [f"{n}-{i}" for n in range(BATCHES) for i in range(PER_BATCH)]

            async def closed_it() -> bool:
                return await counter(stage, "pilothouse_bridge_stalled_closed_total") == 1

            await wait_until(closed_it, within=PATIENCE)
            with pytest.raises(ConnectionClosed) as closed:
                await read_on(stalled)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4408
            assert "did not keep up" in closed.value.rcvd.reason


async def test_a_slow_client_that_goes_on_reading_is_told_exactly_how_much_it_lost() -> None:
    async with staged(ring_frames=4) as stage:
        sock = narrow(stage)
        async with stage.live(sock=sock, max_queue=1) as slow, stage.live() as healthy:
            for each in (slow, healthy):
                await subscribe(each, "events:live")
                await frame(each, "events:snapshot")
            await tell(stage, healthy)
            received, lost = 0, 0
            while received + lost < BATCHES * PER_BATCH:
                got = await frame(slow)
                if got["type"] == "gap":
                    assert got["data"]["reason"] == "SLOW_CLIENT"
                    lost += int(got["data"]["missed_count"])
                else:
                    received += len(got["data"].get("events", []))
            assert received + lost == BATCHES * PER_BATCH
            assert lost > 0


@contextlib.asynccontextmanager
async def connected(
    stage: Stage, sent: bytes = b"", one: socket.socket | None = None
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which these bytes wait before the bridge hears of it."""
    one = one or socket.create_connection(("127.0.0.1", stage.port))
    one.sendall(sent)
    reader, writer = await asyncio.open_connection(sock=one)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def handmade(
    stage: Stage,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A WebSocket by hand, so that nothing answers pings."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET /ws/monitoring HTTP/1.1\r\nHost: 127.0.0.1:{stage.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with connected(stage, request.encode(), narrow(stage)) as (reader, writer):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        yield reader, writer


async def until_forgotten(stage: Stage) -> None:
    """Wait until the bridge counts no WebSocket."""

    async def forgotten() -> bool:
        return await counter(stage, "pilothouse_bridge_connections") == 0

    await wait_until(forgotten, within=PATIENCE)


async def test_a_half_open_client_is_closed_and_forgotten() -> None:
    async with (
        staged(ping_interval=0.05, ping_timeout=0.1) as stage,
        handmade(stage) as (reader, _),
    ):
        async with asyncio.timeout(PATIENCE):
            rest = await reader.read()
        assert b"keepalive ping timeout" in rest
        await until_forgotten(stage)


async def test_a_half_open_client_with_bytes_waiting_is_cut_off() -> None:
    async with (
        staged(ping_interval=0.2, ping_timeout=0.2, linger=0.2) as stage,
        handmade(stage) as (_, writer),
    ):
        ask = b'{"type":"subscribe","channels":["events:live"]}'
        writer.write(bytes((0x81, 0x80 | len(ask), 0, 0, 0, 0)) + ask)
        cast("asyncio.Transport", writer.transport).pause_reading()
        await flood(stage)
        await until_forgotten(stage)


async def test_a_client_that_closes_and_reads_no_more_is_cut_off() -> None:
    async with staged(linger=0.2) as stage, handmade(stage) as (_, writer):
        ask = b'{"type":"subscribe","channels":["events:live"]}'
        writer.write(bytes((0x81, 0x80 | len(ask), 0, 0, 0, 0)) + ask)
        cast("asyncio.Transport", writer.transport).pause_reading()
        await flood(stage)
        writer.write(bytes((0x88, 0x80, 0, 0, 0, 0)))
        await until_forgotten(stage)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
async def test_a_request_that_never_comes_whole_is_given_up(sent: bytes) -> None:
    async with staged(request_timeout=0.1) as stage, asyncio.timeout(PATIENCE):
        async with connected(stage, sent) as (reader, _):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"DEADLINE_EXCEEDED" in answer


async def test_a_body_that_never_comes_whole_is_given_up() -> None:
    sent = (
        b"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: 100\r\n\r\n{"
    )
    async with staged(body_timeout=0.1) as stage, asyncio.timeout(PATIENCE):
        async with connected(stage, sent) as (reader, _):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_connection_is_used_again_however_long_nothing_was_asked_on_it() -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    async with (
        staged(request_timeout=0.1) as stage,
        asyncio.timeout(PATIENCE),
        connected(stage, request) as (reader, writer),
    ):
        assert await reader.readuntil(b'{"alive":true}')
        # One that came later is given up: for the first the time is over as well.
        async with connected(stage) as (other, _):
            assert (await other.read()).startswith(b"HTTP/1.1 408 ")
        writer.write(request)
        assert (await reader.readuntil(b'{"alive":true}')).startswith(b"HTTP/1.1 200 ")
