"""Clients that stall, dawdle or are only half there cost themselves, and nobody else."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from typing import cast

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from pilothouse.v1.events_pb2 import Event, EventBatch
from tests.bridge.support import Stage, frame, staged, subscribe
from tests.support import wait_until

BATCHES = 300
PER_BATCH = 4


def narrow(stage: Stage) -> socket.socket:
    """A connection whose kernel takes little before it says stop."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    one.connect(("127.0.0.1", stage.port))
    return one


async def flood(stage: Stage) -> None:
    """More than any buffer on the way holds: about 5 MB."""
    for number in range(BATCHES):
        events = [Event(id=f"{number}-{i}", message="x" * 4_000) for i in range(PER_BATCH)]
        await stage.server.events.add(EventBatch(events=events))


async def read_on(client: ClientConnection) -> None:
    """Read until the end, whatever comes."""
    while True:
        await client.recv()


async def counter(stage: Stage, name: str) -> float:
    """One number of the bridge's own."""
    async with stage.http() as http:
        lines = (await http.get("/metrics")).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


async def test_a_stalled_client_is_closed_with_a_reason_while_another_gets_everything() -> None:
    async with staged(stall_limit=0.2, linger=5.0, events_pending=5_000) as stage:
        sock = narrow(stage)
        async with stage.live(sock=sock, max_queue=1) as stalled, stage.live() as healthy:
            await subscribe(stalled, "events:live")
            await subscribe(healthy, "events:live")
            await frame(healthy, "events:snapshot")
            feeding = asyncio.create_task(flood(stage))
            seen: list[str] = []
            while len(seen) < BATCHES * PER_BATCH:
                got = await frame(healthy)
                assert got["type"] in {"events:append", "progress"}
                if got["type"] == "events:append":
                    seen += [event["id"] for event in got["data"]["events"]]
            assert seen == [f"{n}-{i}" for n in range(BATCHES) for i in range(PER_BATCH)]
            await feeding

            async def closed_it() -> bool:
                return await counter(stage, "pilothouse_bridge_stalled_closed_total") == 1

            await wait_until(closed_it)
            with pytest.raises(ConnectionClosed) as closed:
                await read_on(stalled)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4408
            assert "did not keep up" in closed.value.rcvd.reason


async def test_a_slow_client_that_goes_on_reading_is_told_exactly_how_much_it_lost() -> None:
    async with staged(ring_frames=4, events_pending=5_000) as stage:
        sock = narrow(stage)
        async with stage.live(sock=sock, max_queue=1) as slow, stage.live() as healthy:
            await subscribe(slow, "events:live")
            await subscribe(healthy, "events:live")
            await frame(healthy, "events:snapshot")
            await flood(stage)
            seen = 0
            while seen < BATCHES * PER_BATCH:
                seen += len((await frame(healthy, "events:append"))["data"]["events"])
            received, lost = 0, 0
            await frame(slow, "events:snapshot")
            while received + lost < BATCHES * PER_BATCH:
                got = await frame(slow)
                if got["type"] == "gap":
                    assert got["data"]["reason"] == "SLOW_CLIENT"
                    lost += int(got["data"]["missed_count"])
                else:
                    received += len(got["data"].get("events", []))
            assert received + lost == BATCHES * PER_BATCH
            assert lost > 0


async def handshake(
    stage: Stage, one: socket.socket
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket by hand, so that nothing answers pings."""
    reader, writer = await asyncio.open_connection(sock=one)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /ws/monitoring HTTP/1.1\r\nHost: 127.0.0.1:{stage.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return reader, writer


async def test_a_half_open_client_is_closed_and_forgotten() -> None:
    async with staged(ping_interval=0.05, ping_timeout=0.1) as stage:
        reader, writer = await handshake(stage, narrow(stage))
        async with asyncio.timeout(10):
            rest = await reader.read()
        assert b"keepalive ping timeout" in rest

        async def forgotten() -> bool:
            return await counter(stage, "pilothouse_bridge_connections") == 0

        await wait_until(forgotten)
        writer.close()


async def test_a_half_open_client_with_bytes_waiting_is_cut_off() -> None:
    async with staged(ping_interval=0.2, ping_timeout=0.2, linger=0.2, stall_limit=60) as stage:
        one = narrow(stage)
        _, writer = await handshake(stage, one)
        ask = b'{"type":"subscribe","channels":["events:live"]}'
        writer.write(bytes((0x81, 0x80 | len(ask), 0, 0, 0, 0)) + ask)
        cast("asyncio.Transport", writer.transport).pause_reading()
        await flood(stage)

        async def forgotten() -> bool:
            return await counter(stage, "pilothouse_bridge_connections") == 0

        await wait_until(forgotten)
        writer.transport.abort()


async def test_a_client_that_closes_and_reads_no_more_is_cut_off() -> None:
    async with staged(linger=0.2, stall_limit=60) as stage:
        _, writer = await handshake(stage, narrow(stage))
        ask = b'{"type":"subscribe","channels":["events:live"]}'
        writer.write(bytes((0x81, 0x80 | len(ask), 0, 0, 0, 0)) + ask)
        cast("asyncio.Transport", writer.transport).pause_reading()
        await flood(stage)
        writer.write(bytes((0x88, 0x80, 0, 0, 0, 0)))

        async def forgotten() -> bool:
            return await counter(stage, "pilothouse_bridge_connections") == 0

        await wait_until(forgotten)
        writer.transport.abort()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
async def test_a_request_that_never_comes_whole_is_given_up(sent: bytes) -> None:
    async with staged(request_timeout=0.1) as stage, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(sent)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"DEADLINE_EXCEEDED" in answer
        writer.close()


async def test_a_body_that_never_comes_whole_is_given_up() -> None:
    async with staged(body_timeout=0.1) as stage, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(
            b"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: 100\r\n\r\n{"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_connection_is_used_again_and_again() -> None:
    async with staged(request_timeout=0.1) as stage, stage.http() as http:
        for _ in range(3):
            assert (await http.get("/healthz")).status_code == 200
