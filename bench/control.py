"""How long a control takes: the call itself, and from REQUESTED to EFFECTIVE with a real engine.

`python -m bench.control [--controls 300] [--redis] [--postgres]`

The engine is that of the demo, in a process of its own: its journal is written to disk before it says that it holds
something. Holds of a type of which nothing is there take effect at once, so what is measured is the way there and back:
command, stream, accept, journal, event, log, projector. Sizes of its agents' pools likewise. The calls are made one
after another over one channel. Times from REQUESTED to EFFECTIVE are the server's own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.process import running_server
from bench.report import milliseconds, percentile, provenance, table
from bench.storage import Storage, add_storage, running_storage
from pilothouse import aio
from pilothouse.v1 import agents_pb2, commands_pb2, queues_pb2
from tests.support import wait_until

EFFECTIVE = commands_pb2.COMMAND_STATE_EFFECTIVE
Ask = Callable[[int], Awaitable[commands_pb2.Command]]


@asynccontextmanager
async def demo_engine(server: str) -> AsyncGenerator[None]:
    """The demo's engine; hardly any workflow arrives."""
    with tempfile.TemporaryDirectory() as directory:
        words = [
            "--server",
            server,
            "--data-dir",
            directory,
            "--pace",
            "1",
            "--parent",
            str(os.getpid()),
        ]
        log = Path(directory) / "engine.log"
        with log.open("wb") as said:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pilothouse_server.demo", *words, stdout=said, stderr=said
            )
        try:
            yield
        finally:
            if child.returncode is None:
                child.terminate()
            await child.wait()


async def ready(client: aio.Client) -> tuple[str, str]:
    """The engine's name and one of its agents, once both are there."""

    async def there() -> bool:
        executors = await client.commands.ListExecutors(commands_pb2.ListExecutorsRequest())
        agents = await client.agents.ListAgents(agents_pb2.ListAgentsRequest())
        return any(each.connected for each in executors.executors) and bool(agents.agents)

    await wait_until(there, within=60, what="the demo engine")
    agents = await client.agents.ListAgents(agents_pb2.ListAgentsRequest())
    return agents.agents[0].source, agents.agents[0].id


async def measure(client: aio.Client, ask: Ask, count: int) -> tuple[list[float], list[float]]:
    """Seconds of each call, and from each request to its effect; one after another."""
    calls: list[float] = []
    effects: list[float] = []
    for number in range(count):
        begun = time.perf_counter()
        command = await ask(number)
        calls.append(time.perf_counter() - begun)
        command_id = command.id

        async def ended(command_id: str = command_id) -> bool:
            nonlocal command
            request = commands_pb2.GetCommandRequest(command_id=command_id)
            command = (await client.commands.GetCommand(request)).command
            return command.HasField("end_time")

        await wait_until(ended, within=30, what="the command to end")
        assert command.state == EFFECTIVE, command
        taken_us = command.end_time.ToMicroseconds() - command.request_time.ToMicroseconds()
        effects.append(taken_us / 1e6)
    return calls, effects


async def run(storage: Storage, count: int) -> str:
    """The whole table."""
    async with (
        running_server(storage, command="serve") as server,
        aio.Client(server.grpc) as client,
        demo_engine(server.grpc),
    ):
        source, agent_id = await ready(client)
        held = {"source": source, "workflow_type": "bench"}

        async def hold(number: int) -> commands_pb2.Command:
            if number % 2:
                request = queues_pb2.ResumeQueueRequest(**held)
                return (await client.queues.ResumeQueue(request)).command
            return (await client.queues.PauseQueue(queues_pb2.PauseQueueRequest(**held))).command

        async def resize(number: int) -> commands_pb2.Command:
            request = agents_pb2.ResizeAgentRequest(agent_id=agent_id, pool_size=1 + number % 2)
            return (await client.agents.ResizeAgent(request)).command

        asked: Sequence[tuple[str, Ask]] = [
            ("hold and release of a type", hold),
            ("size of a pool", resize),
        ]
        rows = [[name, *_row(*await measure(client, ask, count))] for name, ask in asked]
    header = ["control", "call p50", "call p99", "REQUESTED to EFFECTIVE p50", "p99"]
    return table(f"{count:,} controls each, with the demo engine", header, rows)


def _row(calls: Sequence[float], effects: Sequence[float]) -> list[str]:
    return [
        milliseconds(percentile(values, share))
        for values in (calls, effects)
        for share in (0.5, 0.99)
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--controls", type=int, default=300)
    add_storage(parser)
    given = parser.parse_args()
    with running_storage(with_redis=given.redis, with_postgres=given.postgres) as storage:
        print(provenance(*storage.names), flush=True)
        print(asyncio.run(run(storage, given.controls)))


if __name__ == "__main__":
    main()
