"""Ten thousand workflows paused in one batch: how long each part takes, and where the time goes.

    python -m bench.batch [--workflows 10000] [--rate 10000] [--redis] [--postgres]

An executor in this process takes the commands as the server offers them and reports each pause at once, as many
together as have gathered: so what is measured is the server, from the frozen set to the last command that the engine's
own event made EFFECTIVE. Times of commands are the server's own.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.process import Server, running_server
from bench.report import milliseconds, percentile, provenance, table
from bench.storage import Storage, add_storage, running_storage
from pilothouse import aio
from pilothouse.v1 import batches_pb2, commands_pb2, enums_pb2, events_pb2
from tests.support import wait_until

SOURCE = "bench"
PAUSE = enums_pb2.CONTROL_ACTION_PAUSE
AT_ONCE = 500
"""Events in one call."""


@dataclass(slots=True)
class Figures:
    """What was measured, in seconds."""

    create: float = 0.0
    given: float = 0.0
    done: float = 0.0
    cpu: float = 0.0
    effects: Sequence[float] = field(default_factory=list[float])


def event(
    kind: events_pb2.EventType.ValueType, workflow_id: str, command_id: str = ""
) -> events_pb2.Event:
    made = events_pb2.Event(
        type=kind, source=SOURCE, workflow_id=workflow_id, attempt=1, command_id=command_id
    )
    made.occur_time.FromNanoseconds(time.time_ns())
    return made


async def publish(client: aio.Client, events: Sequence[events_pb2.Event]) -> None:
    """All of them, some at a time."""
    for first in range(0, len(events), AT_ONCE):
        some = events[first : first + AT_ONCE]
        await client.events.PublishEvents(events_pb2.PublishEventsRequest(events=some))


async def obey(client: aio.Client) -> None:
    """Reports each pause as soon as it is asked for."""
    asked: asyncio.Queue[commands_pb2.Command] = asyncio.Queue()

    async def report() -> None:
        while True:
            some = [await asked.get()]
            while not asked.empty() and len(some) < AT_ONCE:
                some.append(asked.get_nowait())
            kind = events_pb2.EVENT_TYPE_WORKFLOW_PAUSED
            await publish(client, [event(kind, each.workflow_id, each.id) for each in some])

    able = commands_pb2.Capability(action=PAUSE, scope=commands_pb2.COMMAND_SCOPE_RUN)
    request = commands_pb2.WatchCommandsRequest(source=SOURCE, capabilities=[able])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(report())
        async for message in client.commands.WatchCommands(request):
            if message.HasField("command"):
                asked.put_nowait(message.command)


async def ready(client: aio.Client, workflows: int) -> None:
    """All of them run, and their engine is there."""
    started = events_pb2.EVENT_TYPE_WORKFLOW_STARTED
    await publish(client, [event(started, f"wf-{number:06}") for number in range(workflows)])

    async def running() -> bool:
        executors = await client.commands.ListExecutors(commands_pb2.ListExecutorsRequest())
        preview = await client.batches.CreateBatch(
            batches_pb2.CreateBatchRequest(action=PAUSE, filter="state = RUNNING")
        )
        abandon = batches_pb2.AbandonBatchRequest(batch_id=preview.batch.id)
        await client.batches.AbandonBatch(abandon)
        return bool(executors.executors) and preview.batch.size == workflows

    await wait_until(running, within=120, what="every workflow runs")


async def measure(client: aio.Client, server: Server, rate: float) -> Figures:
    """One batch of all that runs."""
    figures = Figures()
    begun, used = time.perf_counter(), server.cpu_seconds()
    asked = batches_pb2.CreateBatchRequest(action=PAUSE, filter="state = RUNNING", rate=rate)
    batch = (await client.batches.CreateBatch(asked)).batch
    figures.create = time.perf_counter() - begun
    begun = time.perf_counter()
    await client.batches.StartBatch(
        batches_pb2.StartBatchRequest(batch_id=batch.id, confirm_size=batch.size)
    )
    async for update in client.batches.WatchBatch(batches_pb2.WatchBatchRequest(batch_id=batch.id)):
        counts = {each.outcome: each.count for each in update.batch.counts}
        if update.HasField("batch") and batches_pb2.BATCH_OUTCOME_WAITING not in counts:
            figures.given = figures.given or time.perf_counter() - begun
    figures.done = time.perf_counter() - begun
    figures.cpu = server.cpu_seconds() - used
    commands = [each async for each in client.list_commands(filter=f'batch_id = "{batch.id}"')]
    effective = commands_pb2.COMMAND_STATE_EFFECTIVE
    assert [each.state for each in commands] == [effective] * batch.size
    figures.effects = [
        (each.end_time.ToMicroseconds() - each.request_time.ToMicroseconds()) / 1e6
        for each in commands
    ]
    return figures


async def run(given: argparse.Namespace, storage: Storage) -> None:
    """Prints the table."""
    async with (
        running_server(storage, command="serve") as server,
        aio.Client(server.grpc) as client,
        asyncio.TaskGroup() as tasks,
    ):
        engine = tasks.create_task(obey(client))
        await ready(client, given.workflows)
        figures = await measure(client, server, given.rate)
        engine.cancel()
    count = given.workflows
    rows = [
        ["frozen and previewed (CreateBatch)", f"{figures.create:.2f} s"],
        ["every command given", f"{figures.given:.2f} s, {count / figures.given:,.0f}/s"],
        ["every command EFFECTIVE", f"{figures.done:.2f} s, {count / figures.done:,.0f}/s"],
        ["REQUESTED to EFFECTIVE, p50", milliseconds(percentile(figures.effects, 0.5))],
        ["REQUESTED to EFFECTIVE, p99", milliseconds(percentile(figures.effects, 0.99))],
        [
            "processor time of the server",
            f"{figures.cpu:.1f} s, {figures.cpu / count * 1e6:.0f} µs a command",
        ],
    ]
    print(
        table(
            f"{count:,} workflows paused in one batch, at most {given.rate:,.0f}/s", ("", ""), rows
        )
    )


async def main() -> None:
    """Ends when the figures are printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workflows", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=10_000)
    add_storage(parser)
    given = parser.parse_args()
    with running_storage(with_redis=given.redis, with_postgres=given.postgres) as storage:
        print(provenance(*storage.names), flush=True)
        await run(given, storage)


if __name__ == "__main__":
    asyncio.run(main())
