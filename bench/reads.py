"""How long `GetMetrics` and the REST fallback take while events come at 10,000 a second.

`python -m bench.reads [--seconds 30] [--rate 10000] [--redis] [--postgres]`

Four callers of each kind, each asking again 20 ms after its answer, from the process that
generates the load.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import grpc
import httpx

from bench.load import Load
from bench.process import running_server
from bench.report import milliseconds, percentile, provenance, table
from bench.storage import Storage, add_storage, running_storage
from pilothouse.v1 import metrics_pb2, metrics_pb2_grpc

CALLERS = 4
PAUSE = 0.02
WARM_UP = 2.0


async def _ask(call: Callable[[], Awaitable[object]], load: Load, delays: list[float]) -> None:
    await asyncio.sleep(WARM_UP)
    while not load.finished:
        begin = time.monotonic()
        await call()
        delays.append(time.monotonic() - begin)
        await asyncio.sleep(PAUSE)


async def run(storage: Storage, rate: int, seconds: float) -> str:
    """The whole table."""
    over_grpc: list[float] = []
    over_rest: list[float] = []
    async with (
        running_server(storage) as server,
        grpc.aio.insecure_channel(server.grpc) as channel,
        httpx.AsyncClient(base_url=f"http://{server.http}", trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        stub = metrics_pb2_grpc.MetricsServiceStub(channel)

        async def get_metrics() -> object:
            return await stub.GetMetrics(metrics_pb2.GetMetricsRequest())

        async def get_rest() -> object:
            answer = await client.get("/api/v1/monitoring/metrics/realtime")
            return answer.raise_for_status()

        load = Load(server.grpc, rate, seconds + WARM_UP)
        group.create_task(load.run())
        for _ in range(CALLERS):
            group.create_task(_ask(get_metrics, load, over_grpc))
            group.create_task(_ask(get_rest, load, over_rest))
    rows = [
        [
            name,
            f"{len(delays):,}",
            milliseconds(percentile(delays, 0.5)),
            milliseconds(percentile(delays, 0.99)),
            milliseconds(max(delays)),
        ]
        for name, delays in (("GetMetrics", over_grpc), ("REST realtime", over_rest))
    ]
    title = f"Reads under {rate:,} events/s for {seconds:.0f} s ({', '.join(storage.names)})"
    return table(title, ["call", "calls", "p50", "p99", "max"], rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=10_000)
    add_storage(parser)
    given = parser.parse_args()
    with running_storage(with_redis=given.redis, with_postgres=given.postgres) as storage:
        print(provenance(*storage.names), flush=True)
        print(asyncio.run(run(storage, given.rate, given.seconds)))


if __name__ == "__main__":
    main()
