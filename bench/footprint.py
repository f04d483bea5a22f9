"""What it costs to run: processor and memory at rest, and at 10,000 events/s.

    python -m bench.footprint [--rate 10000] [--seconds 60]

Once as `up` on its own files, once as `serve` and `bridge` on Valkey and PostgreSQL, whose own cost is shown beside.
Rest begins ten seconds after the start, with one browser's connection (a WebSocket that follows the metrics). Memory is
what the process has to itself and its share of the rest (PSS), read at the end of each phase; for PostgreSQL of all
its processes. The producer's own processor time is shown, for it shares the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import websockets

from bench.load import Flow
from bench.process import Server, running_server, start_bridge
from bench.producers import GrpcBatches, Pace
from bench.progress import Progress, Rows
from bench.report import provenance, table
from bench.storage import Storage, cpu_seconds, memory_mib, running_storage
from pilothouse.v1 import live_pb2

WARM_UP = 10.0
DRAIN = 300.0


@asynccontextmanager
async def watched(http: str) -> AsyncGenerator[None]:
    """One browser that follows the metrics."""
    subscribe = live_pb2.LiveRequest(subscribe=live_pb2.Subscribe(channels=["metrics:realtime"]))

    async def follow() -> None:
        async with websockets.connect(f"ws://{http}/ws/monitoring", max_size=None) as socket:
            await socket.send(subscribe.SerializeToString())
            async for _ in socket:
                pass

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


class Phase:
    """Processor time of some processes from here on."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self._before = {name: cpu_seconds(process) for name, process in processes.items()}
        self._begun = time.monotonic()

    def rows(self, where: str, doing: str) -> list[list[str]]:
        """What each used since, as rows of the table."""
        seconds = time.monotonic() - self._begun
        return [
            [
                where,
                doing,
                name,
                f"{(cpu_seconds(process) - self._before[name]) / seconds * 100:.1f} %",
                "" if name == "producer" else f"{memory_mib(process):.0f} MiB",
            ]
            for name, process in self._processes.items()
        ]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What runs together."""

    where: str
    server: Server
    http: str
    """host:port of the bridge."""
    storage: Storage | None
    processes: dict[str, psutil.Process]


async def measure(arranged: Arrangement, rate: int, seconds: float) -> list[list[str]]:
    """Both phases of one arrangement."""
    where, server, storage = arranged.where, arranged.server, arranged.storage
    processes = arranged.processes | (storage.processes() if storage else {})
    async with watched(arranged.http):
        await asyncio.sleep(WARM_UP)
        resting = Phase(processes)
        await asyncio.sleep(seconds)
        found = resting.rows(where, "at rest")
        print(f"  {where}: rested for {seconds:.0f} s", flush=True)
        making, rows = GrpcBatches(server.grpc), Rows.of(server, storage)
        progress = Progress(server, rows, lambda: making.acknowledged)
        looking = asyncio.create_task(progress.run())
        try:
            flow = Flow(f"footprint-{time.time_ns():x}")
            await making.run(flow.take, Pace(rate, WARM_UP))
            progress.reset()
            working = Phase(processes | {"producer": psutil.Process()})
            had, begin = making.acknowledged, time.monotonic()
            await making.run(flow.take, Pace(rate, seconds))
            came = (making.acknowledged - had) / (time.monotonic() - begin)
            found += working.rows(where, f"{came:,.0f} events/s")
            print(
                f"  {where}: snapshot at most {progress.snapshot.worst:.2f} s behind, "
                f"rows {progress.rows.worst:.2f} s",
                flush=True,
            )
            await progress.caught_up(DRAIN)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            rows.close()
    return found


async def embedded(rate: int, seconds: float) -> list[list[str]]:
    """Everything in one process."""
    async with running_server() as server:
        parts = {"server and bridge": server.process}
        arranged = Arrangement("embedded", server, server.http, None, parts)
        return await measure(arranged, rate, seconds)


async def apart(storage: Storage, rate: int, seconds: float) -> list[list[str]]:
    """Server and bridge as processes of their own."""
    with tempfile.TemporaryDirectory(prefix="pilothouse-bench-") as directory:
        async with running_server(storage, command="serve") as server:
            bridge = await start_bridge(server, Path(directory))
            try:
                parts = {"server": server.process, "bridge": bridge.process}
                where = "Valkey and PostgreSQL"
                arranged = Arrangement(where, server, bridge.http, storage, parts)
                return await measure(arranged, rate, seconds)
            finally:
                await bridge.end()


async def run(given: argparse.Namespace) -> str:
    """The whole table."""
    found: list[list[str]] = []
    with running_storage(with_redis=True, with_postgres=True) as storage:
        print(provenance(*storage.names), flush=True)
        if not given.servers_only:
            found += await embedded(given.rate, given.seconds)
        if not given.embedded:
            found += await apart(storage, given.rate, given.seconds)
    title = f"Processor and memory, over {given.seconds:.0f} s each"
    return table(title, ["where", "doing", "process", "of one core", "memory"], found)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--embedded", action="store_true", help="only on the server's own files")
    parser.add_argument("--servers-only", action="store_true", help="only on Valkey and PostgreSQL")
    print(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
