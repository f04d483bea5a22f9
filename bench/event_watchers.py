"""How long until a thousand watchers with filters of their own are sent what they want, and what that costs.

`python -m bench.event_watchers [--watchers 1000] [--rates 1000,5000] [--seconds 15] [--tree PATH] [--postgres]`

One server process, one process that watches over gRPC, and this one, which publishes. Filters are about a workflow, an
agent, a word, or a severity and a stage, a quarter of the watchers each; every event is wanted by exactly one of them.
The delay is from the event's own time, taken just before it is published, until the watcher has the bytes of the
message: so it holds ingest, log and projector too. `--tree` measures the server of another checkout, such as one from
before. "Sent to nobody" is the same flow with nobody watching: what is above its CPU is what the watchers cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import psutil

from bench.process import Server, running_server
from bench.report import milliseconds, percentile, provenance, table
from bench.storage import Storage, add_storage, running_storage
from pilothouse.v1 import enums_pb2, events_pb2_grpc
from pilothouse.v1 import events_pb2 as pb

SLOT = 0.02
"""Seconds between two batches."""
SETTLING = 3.0
"""Seconds after which nothing more is waited for."""
CHANNELS = 8
"""Connections of the watchers, together."""


class Measured(NamedTuple):
    """One flow."""

    delays: list[float]
    cpu: float
    """Of the server, in processors."""
    rss: float
    """MiB."""
    published: int


def filter_of(number: int) -> str:
    """What a watcher asks for."""
    return (
        f"workflow_id = w{number}",
        f"agent_id = a{number}",
        f"word{number}x",
        f"severity >= WARNING stage = s{number}",
    )[number % 4]


def event_for(watchers: int, number: int, prefix: str) -> pb.Event:
    """An event that one of them wants."""
    to = number % watchers
    event = pb.Event(
        id=f"{prefix}-{number}",
        type=pb.EVENT_TYPE_LOG,
        severity=enums_pb2.SEVERITY_ERROR,
        source="bench",
        workflow_id=f"w{to}",
        agent_id=f"a{to}",
        stage=f"s{to}",
        message=f"step {number} of word{to}x has taken longer than it should",
    )
    event.occur_time.FromNanoseconds(time.time_ns())
    return event


async def watch(address: str, watchers: int) -> None:
    """The process of the watchers: says when all are at the tip, ends with its input, and prints all delays."""
    arrived: list[tuple[float, bytes]] = []
    ready = 0

    async def follow(channel: grpc.aio.Channel, number: int) -> None:
        nonlocal ready
        method: Any = channel.unary_stream(  # pyright: ignore[reportUnknownVariableType]
            "/pilothouse.v1.EventService/WatchEvents",
            request_serializer=pb.WatchEventsRequest.SerializeToString,
        )
        request = pb.WatchEventsRequest(filter=filter_of(number))
        async for message in method(request):
            arrived.append((time.time(), message))
            if len(arrived) <= watchers:
                response = pb.WatchEventsResponse.FromString(message)
                ready += response.HasField("caught_up")
                if ready == watchers:
                    print("ready", flush=True)

    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(CHANNELS)]
    tasks = [
        asyncio.create_task(follow(channels[number % CHANNELS], number))
        for number in range(watchers)
    ]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    delays = [
        at - event.occur_time.ToNanoseconds() / 1e9
        for at, message in arrived
        for event in pb.WatchEventsResponse.FromString(message).batch.events
    ]
    print(json.dumps(delays), flush=True)
    for channel in channels:
        await channel.close()


async def publish(address: str, watchers: int, rate: int, seconds: float, prefix: str) -> int:
    """Returns how many events there were."""
    published = 0
    async with grpc.aio.insecure_channel(address) as channel:
        stub = events_pb2_grpc.EventServiceStub(channel)
        begun = time.monotonic()
        pending: set[asyncio.Task[pb.PublishEventsResponse]] = set()
        while (passed := time.monotonic() - begun) < seconds:
            due = int(passed * rate) - published
            events = [event_for(watchers, published + n, prefix) for n in range(min(due, 1000))]
            published += len(events)
            if events:
                call = stub.PublishEvents(pb.PublishEventsRequest(events=events))
                task: asyncio.Task[pb.PublishEventsResponse] = asyncio.ensure_future(_answer(call))
                pending.add(task)
                task.add_done_callback(pending.discard)
            await asyncio.sleep(SLOT)
        await asyncio.gather(*pending)
    return published


async def _answer(
    call: grpc.aio.UnaryUnaryCall[pb.PublishEventsRequest, pb.PublishEventsResponse],
) -> pb.PublishEventsResponse:
    return await call


async def measure(server: Server, watchers: int, all_: int, rate: int, seconds: float) -> Measured:
    """One flow to so many watchers."""
    arguments = (sys.executable, "-m", "bench.event_watchers", "--watch", server.grpc)
    child = await asyncio.create_subprocess_exec(
        *arguments,
        f"--watchers={watchers}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 28,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    if watchers:
        async with asyncio.timeout(120):
            await child.stdout.readline()
    cpu, begun = server.cpu_seconds(), time.monotonic()
    published = await publish(server.grpc, all_, rate, seconds, f"{rate}-{watchers}-{begun}")
    cpu, rss = (server.cpu_seconds() - cpu) / (time.monotonic() - begun), server.rss_mib()
    await asyncio.sleep(SETTLING)
    child.stdin.close()
    delays: list[float] = json.loads(await child.stdout.readline())
    await child.wait()
    return Measured(delays, cpu, rss, published)


def _row(name: str, rate: int, found: Measured) -> list[str]:
    delays = found.delays
    times = (
        [milliseconds(percentile(delays, share)) for share in (0.5, 0.99)] if delays else ["–"] * 2
    )
    sent = f"{len(delays) / found.published:.1%}"
    return [name, str(rate), *times, sent, f"{found.cpu:.0%}", f"{found.rss:.0f} MiB"]


async def run(
    storage: Storage, rates: list[int], watchers: int, seconds: float, tree: Path | None
) -> str:
    """The table."""
    rows: list[list[str]] = []
    path = f"{tree / 'server'}:{tree / 'clients/python'}" if tree else ""
    for rate in rates:
        for count in (0, watchers):
            async with running_server(storage, command="serve", PYTHONPATH=path) as server:
                await publish(server.grpc, watchers, rate, 2.0, "warm")
                found = await measure(server, count, watchers, rate, seconds)
            name = f"{count:,} watchers" if count else "sent to nobody"
            rows.append(_row(name, rate, found))
    header = ("", "events/s", "p50", "p99", "sent", "CPU of the server", "memory")
    return table(f"Watchers of events, {' and '.join(storage.names)}", header, rows)


def main() -> None:
    """Prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--rates", default="1000,5000")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--tree", type=Path, help="a checkout whose server is measured")
    parser.add_argument("--watch", metavar="ADDRESS", help=argparse.SUPPRESS)
    add_storage(parser)
    options = parser.parse_args()
    if options.watch:
        asyncio.run(watch(options.watch, options.watchers))
        return
    rates = [int(rate) for rate in options.rates.split(",")]
    print(provenance())
    print(f"{psutil.cpu_count()} processors are shared by all three processes.\n")
    with running_storage(with_redis=options.redis, with_postgres=options.postgres) as storage:
        found = run(storage, rates, options.watchers, options.seconds, options.tree)
        print(asyncio.run(found), flush=True)


if __name__ == "__main__":
    main()
