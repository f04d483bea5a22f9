"""How regular the 5 s broadcast is: the deviation of each arrival from the grid that the first one
sets.

`python -m bench.broadcast [--seconds 300] [--rate 100] [--redis] [--postgres]`

Measured at two receivers at once: a `SubscribeMetrics` stream with an interval of 5 s, and a
WebSocket on `metrics:realtime` of a bridge whose
interval is set to 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import grpc
import websockets
from google.protobuf import duration_pb2

from bench.load import Load
from bench.process import Server, running_server
from bench.report import milliseconds, percentile, provenance, table
from bench.storage import Storage, add_storage, running_storage
from pilothouse.v1 import live_pb2, metrics_pb2, metrics_pb2_grpc

INTERVAL = 5.0


async def _over_grpc(server: Server, arrivals: list[float]) -> None:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub = metrics_pb2_grpc.MetricsServiceStub(channel)
        interval = duration_pb2.Duration(seconds=int(INTERVAL))
        async for _ in stub.SubscribeMetrics(
            metrics_pb2.SubscribeMetricsRequest(interval=interval)
        ):
            arrivals.append(time.monotonic())


async def _over_websocket(server: Server, arrivals: list[float]) -> None:
    subscribe = live_pb2.LiveRequest(subscribe=live_pb2.Subscribe(channels=["metrics:realtime"]))
    async with websockets.connect(f"ws://{server.http}/ws/monitoring", max_size=None) as socket:
        await socket.send(subscribe.SerializeToString())
        async for message in socket:
            assert isinstance(message, bytes)
            if live_pb2.LiveFrame.FromString(message).HasField("metrics"):
                arrivals.append(time.monotonic())


def deviations(arrivals: list[float]) -> list[float]:
    """Seconds between each arrival and the nearest point of the grid. The first two arrivals are
    left out: the first is the snapshot that a
    subscriber gets at once, and the second sets the grid."""
    anchor = arrivals[1]
    return [abs((when - anchor + INTERVAL / 2) % INTERVAL - INTERVAL / 2) for when in arrivals[2:]]


async def run(storage: Storage, rate: int, seconds: float) -> str:
    """The whole table."""
    grpc_arrivals: list[float] = []
    socket_arrivals: list[float] = []
    async with running_server(storage, live_interval=INTERVAL) as server:
        load = Load(server.grpc, rate, seconds)
        receivers = [
            asyncio.create_task(_over_grpc(server, grpc_arrivals)),
            asyncio.create_task(_over_websocket(server, socket_arrivals)),
        ]
        await load.run()
        for receiver in receivers:
            receiver.cancel()
        await asyncio.gather(*receivers, return_exceptions=True)
    rows: list[list[str]] = []
    for name, arrivals in (("gRPC stream", grpc_arrivals), ("WebSocket", socket_arrivals)):
        found = deviations(arrivals)
        figures = [milliseconds(percentile(found, share)) for share in (0.5, 0.99)]
        rows.append([name, f"{len(found)}", *figures, milliseconds(max(found))])
    title = f"Broadcast every {INTERVAL:.0f} s over {seconds:.0f} s at {rate:,} events/s ({', '.join(storage.names)})"
    return table(title, ["receiver", "arrivals", "deviation p50", "p99", "max"], rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rate", type=int, default=100)
    add_storage(parser)
    given = parser.parse_args()
    with running_storage(with_redis=given.redis, with_postgres=given.postgres) as storage:
        print(provenance(*storage.names), flush=True)
        print(asyncio.run(run(storage, given.rate, given.seconds)))


if __name__ == "__main__":
    main()
