"""How long the last of many browsers waits for a snapshot, and what each costs the bridge in memory.

`python -m bench.ws_fanout [--clients 10000] [--rounds 20] [--interval 2]`

The bridge is a process of its own, before a small gRPC server that sends a snapshot of 46 series at each
interval. The clients are in this process and as cheap as can be: they share the machine with what they
measure. Latency is from the moment the frame was made, which the frame itself says, until a client has its
last byte.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import psutil
import uvloop
from google.protobuf import timestamp_pb2

from bench.report import machine, milliseconds, percentile, table
from pilothouse.v1 import live_pb2, metrics_pb2, metrics_pb2_grpc
from pilothouse_server.bridge.serve import serve_bridge
from pilothouse_server.bridge.settings import BridgeSettings

SERIES = 46
CONNECTING = 200
HEAD = 128
"""Bytes of a frame that tell it from others: channel, epoch and sequence are in them."""


class Snapshots(metrics_pb2_grpc.MetricsServiceServicer):
    """Sends a snapshot at each interval."""

    async def SubscribeMetrics(  # noqa: N802
        self,
        request: metrics_pb2.SubscribeMetricsRequest,
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[metrics_pb2.SubscribeMetricsResponse]:
        """The stream."""
        snapshot = metrics_pb2.MetricsSnapshot(epoch="bench")
        for number in range(SERIES):
            series = snapshot.series.add(dimension=cast("Any", 2), name=f"type-{number}")
            for minutes in (1, 5, 15, 60):
                window = series.windows.add(
                    started=9, completed=7, failed=1, throughput=0.11, error_rate=0.125
                )
                window.window.FromSeconds(minutes * 60)
                window.latency.count = 8
                window.latency.p50.FromMilliseconds(120)
                window.latency.p95.FromMilliseconds(480)
                window.latency.p99.FromMilliseconds(900)
        while True:
            snapshot.sequence += 1
            snapshot.as_of_time.GetCurrentTime()
            yield metrics_pb2.SubscribeMetricsResponse(snapshot=snapshot)
            await asyncio.sleep(request.interval.ToMilliseconds() / 1000)


async def serve(interval: float) -> None:
    """The bridge's process: prints its port, runs until it is ended."""
    server = grpc.aio.server()
    metrics_pb2_grpc.add_MetricsServiceServicer_to_server(cast("Any", Snapshots)(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settings = BridgeSettings(server=f"127.0.0.1:{port}", port=0, metrics_interval=interval)
    await serve_bridge(settings, started=lambda at: print(at, flush=True), stop=asyncio.Event())


class Got:
    """One frame: its bytes, and when each client had it."""

    __slots__ = ("payload", "times")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.times: list[float] = []


class Arrivals(dict[bytes, Got]):
    """Frames by their first bytes, which differ in their place."""


class Browser(asyncio.Protocol):
    """A client that counts."""

    def __init__(self, port: int, arrivals: Arrivals, form: str) -> None:
        self._port = port
        self._arrivals = arrivals
        self._form = form
        self._buffer = bytearray()
        self._shaken = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands and subscribe at once."""
        key = base64.b64encode(os.urandom(16)).decode()
        handshake = (
            f"GET /ws/monitoring HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(handshake)

    def _subscribe(self) -> None:
        if self._form == "json":
            ask, first = b'{"type":"subscribe","channels":["metrics:realtime"]}', 0x81
        else:
            request = live_pb2.LiveRequest(
                subscribe=live_pb2.Subscribe(channels=["metrics:realtime"])
            )
            ask, first = request.SerializeToString(), 0x82
        self._transport.write(bytes((first, 0x80 | len(ask), 0, 0, 0, 0)) + ask)

    def data_received(self, data: bytes) -> None:
        """Note when a frame is whole."""
        self._buffer += data
        if not self._shaken:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            del self._buffer[: end + 4]
            self._shaken = True
            self._subscribe()
        while len(self._buffer) >= 4:
            size, start = self._buffer[1], 2
            if size == 126:
                size, start = int.from_bytes(self._buffer[2:4], "big"), 4
            if len(self._buffer) < start + size:
                return
            if size > 1_000:
                self._arrived(bytes(self._buffer[start : start + HEAD]), start, size)
                if not self.ready.done():
                    self.ready.set_result(None)
            elif self._buffer[0] == 0x89:
                pong = bytes((0x8A, 0x80 | size, 0, 0, 0, 0)) + bytes(
                    self._buffer[start : start + size]
                )
                self._transport.write(pong)
            del self._buffer[: start + size]

    def _arrived(self, key: bytes, start: int, size: int) -> None:
        got = self._arrivals.get(key)
        if got is None:
            got = self._arrivals[key] = Got(bytes(self._buffer[start : start + size]))
        got.times.append(time.time())


def made_at(payload: bytes, form: str) -> float:
    """When a frame was made."""
    if form == "binary":
        return live_pb2.LiveFrame.FromString(payload).send_time.ToNanoseconds() / 1e9
    stamp = timestamp_pb2.Timestamp()
    stamp.FromJsonString(json.loads(payload)["timestamp"])
    return stamp.ToNanoseconds() / 1e9


async def connect_all(port: int, clients: int, form: str, arrivals: Arrivals) -> list[Browser]:
    """All browsers, a few at a time, each with its first snapshot."""
    loop = asyncio.get_running_loop()
    browsers: list[Browser] = []
    while len(browsers) < clients:
        count = min(CONNECTING, clients - len(browsers))
        made = await asyncio.gather(
            *(
                loop.create_connection(lambda: Browser(port, arrivals, form), "127.0.0.1", port)
                for _ in range(count)
            )
        )
        browsers += [browser for _, browser in made]
        await asyncio.gather(*(browser.ready for browser in browsers[-count:]))
    return browsers


async def run(clients: int, rounds: int, interval: float, form: str) -> list[str]:
    """One row of the table."""
    command = [sys.executable, "-m", "bench.ws_fanout", "--serve", "--interval", str(interval)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        bridge = psutil.Process(process.pid)
        await connect_all(port, 1, form, Arrivals())
        before = bridge.memory_info().rss
        arrivals = Arrivals()
        browsers = await connect_all(port, clients, form, arrivals)
        arrivals.clear()
        gc.freeze()
        await asyncio.sleep(interval * (rounds + 1.5))
        grown = (bridge.memory_info().rss - before) / clients
    finally:
        process.terminate()
        await process.wait()
    whole = [
        (made_at(got.payload, form), got.times)
        for got in arrivals.values()
        if len(got.times) >= clients
    ]
    last = [max(times) - made for made, times in whole]
    half = [percentile(times, 0.5) - made for made, times in whole]
    size = len(next(iter(arrivals.values())).payload)
    assert len(browsers) == clients
    return [
        form,
        f"{size:,} B",
        f"{len(whole)}",
        milliseconds(percentile(half, 0.5)),
        milliseconds(percentile(last, 0.5)),
        milliseconds(max(last)),
        f"{grown / 1000:.1f} kB",
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--interval", type=float, default=5.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.serve:
        uvloop.run(serve(options.interval))
        return
    rows = [
        uvloop.run(run(options.clients, options.rounds, options.interval, form))
        for form in ("binary", "json")
    ]
    title = f"{options.clients:,} browsers, a snapshot every {options.interval:g} s ({machine()})"
    header = [
        "form",
        "frame",
        "rounds",
        "half have it",
        "last has it, p50",
        "last has it, max",
        "memory each",
    ]
    print(table(title, header, rows))


if __name__ == "__main__":
    main()
