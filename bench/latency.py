"""From published to seen: how long until an accepted event is in the snapshot, and until a browser
has its frame.

`python -m bench.latency [--seconds 60] [--rates 100,1000,10000] [--redis] [--postgres]`

One server process, one generator process (this one) on the same machine. An event counts as
published when it is handed to the
channel, and as accepted when its acknowledgement, which means that it is durable, has come back.
It is in the snapshot when `GetMetrics`,
asked every 5 ms, answers with a snapshot that covers it; so up to 5 ms of each figure is the
question's own. Its frame is received
when the WebSocket client has the binary frame of `events:live` that holds it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, field

import grpc
import websockets

from bench.load import Load
from bench.process import Server, running_server
from bench.report import milliseconds, percentile, provenance, table
from bench.storage import Storage, add_storage, running_storage
from pilothouse.v1 import events_pb2, live_pb2, metrics_pb2, metrics_pb2_grpc

POLL = 0.005


@dataclass(slots=True)
class Seen:
    """When snapshots and frames were seen, monotonic seconds."""

    snapshots: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    """(events covered, when)"""
    frames: list[float] = field(default_factory=list[float])
    """Delays from published to received, one for each event that was sampled."""
    missed: int = 0
    """Events that the socket was told it would not get."""


async def poll_snapshots(server: Server, seen: Seen, load: Load) -> None:
    """Asks for the newest snapshot every `POLL` seconds until one covers the whole load."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub = metrics_pb2_grpc.MetricsServiceStub(channel)
        covered = -1
        while not load.finished or covered < load.published[-1].total:
            begin = time.monotonic()
            try:
                answer = await stub.GetMetrics(metrics_pb2.GetMetricsRequest())
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                total = answer.snapshot.totals.events
                if total != covered:
                    covered = total
                    seen.snapshots.append((total, time.monotonic()))
            await asyncio.sleep(max(0.0, begin + POLL - time.monotonic()))


async def follow_frames(server: Server, seen: Seen, marks: dict[str, float]) -> None:
    """Follows `events:live` over a WebSocket and notes when the marked events arrive."""
    subscribe = live_pb2.LiveRequest(subscribe=live_pb2.Subscribe(channels=["events:live"]))
    async with websockets.connect(f"ws://{server.http}/ws/monitoring", max_size=None) as socket:
        await socket.send(subscribe.SerializeToString())
        async for message in socket:
            now = time.monotonic()
            assert isinstance(message, bytes)
            frame = live_pb2.LiveFrame.FromString(message)
            if frame.HasField("gap"):
                seen.missed += frame.gap.missed_count
            for event in frame.events.events:
                sent = marks.pop(event.id, None)
                if sent is not None:
                    seen.frames.append(now - sent)


async def measure(storage: Storage, rate: int, seconds: float) -> list[str]:
    """One row of the table."""
    marks: dict[str, float] = {}
    seen = Seen()

    def mark(events: list[events_pb2.Event], sent: float) -> None:
        marks[events[-1].id] = sent

    async with running_server(storage) as server:
        load = Load(server.grpc, rate, seconds, on_sent=mark)
        poller = asyncio.create_task(poll_snapshots(server, seen, load))
        follower = asyncio.create_task(follow_frames(server, seen, marks))
        cpu_before, begin = server.cpu_seconds(), time.monotonic()
        await load.run()
        cpu = (server.cpu_seconds() - cpu_before) / (time.monotonic() - begin)
        async with asyncio.timeout(30):
            await poller
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        rss = server.rss_mib()
    return _row(rate, load, seen, cpu, rss)


def _row(rate: int, load: Load, seen: Seen, cpu: float, rss: float) -> list[str]:
    accepted: list[float] = []
    published: list[float] = []
    snapshots = iter(seen.snapshots)
    covered, when = next(snapshots)
    for batch in load.published:
        while covered < batch.total:
            covered, when = next(snapshots)
        accepted.append(max(0.0, when - batch.acknowledged))
        published.append(when - batch.sent)
    acknowledged = [batch.acknowledged - batch.sent for batch in load.published]
    pairs = [acknowledged, accepted, published, seen.frames]
    return [
        f"{rate:,}",
        *(
            f"{milliseconds(percentile(values, 0.5))} / {milliseconds(percentile(values, 0.99))}"
            if values
            else "none came"
            for values in pairs
        ),
        f"{seen.missed:,}",
        f"{cpu * 100:.0f} %",
        f"{rss:.0f} MiB",
        f"{load.late_slots:,}",
    ]


async def run(storage: Storage, rates: list[int], seconds: float) -> str:
    """The whole table."""
    rows = [await measure(storage, rate, seconds) for rate in rates]
    header = [
        "events/s",
        "acknowledged p50 / p99",
        "accepted → snapshot p50 / p99",
        "published → snapshot p50 / p99",
        "published → frame p50 / p99",
        "events not sent to the socket",
        "server CPU",
        "server RSS",
        "late slots of the generator",
    ]
    title = f"Published to seen, {seconds:.0f} s each ({', '.join(storage.names)})"
    return table(title, header, rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rates", default="100,1000,10000")
    add_storage(parser)
    given = parser.parse_args()
    rates = [int(rate) for rate in given.rates.split(",")]
    with running_storage(with_redis=given.redis, with_postgres=given.postgres) as storage:
        print(provenance(*storage.names), flush=True)
        print(asyncio.run(run(storage, rates, given.seconds)))


if __name__ == "__main__":
    main()
