"""Commands to a real Celery app, and beside Flower: 1,000 tasks revoked, and what each shows after a restart of
itself.

    python -m bench.celery_control [--rounds 30] [--tasks 1000]

One prefork worker of two processes on Valkey. *To effect*: from the command's record on the server to the worker's
own word that it is so, by the server's clock. *Revoked*: all tasks wait in their queue or with the worker, each is a
workflow; from the first request until the worker has every id among its revoked ones, and for Pilothouse also until
each command is EFFECTIVE.
*After a restart*: killed with SIGKILL, started again, and asked how many of those tasks it shows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

from bench.flower_peer import RunningFlower, celery_versions
from bench.process import Server, running_server, start_server
from bench.report import milliseconds, percentile, provenance, seconds_of, table
from bench.storage import Storage, connected, running_storage
from pilothouse.aio import Client
from pilothouse.v1.agents_pb2 import ActivateAgentRequest, DrainAgentRequest
from pilothouse.v1.commands_pb2 import Command, CommandState, GetCommandRequest
from pilothouse.v1.queues_pb2 import ListQueuesRequest, PauseQueueRequest, ResumeQueueRequest
from pilothouse.v1.workflows_pb2 import CancelWorkflowRequest
from tests.celery.support import Child, connector, worker
from tests.support import wait_until

AT_ONCE = 16
"""Requests under way at a time, to either."""
HOST = "bench@test"


async def ended(client: Client, command: Command) -> Command:
    """The command once it took effect."""

    async def look() -> Command | None:
        request = GetCommandRequest(command_id=command.id)
        now = (await client.commands.GetCommand(request)).command
        return now if now.HasField("end_time") else None

    found = await wait_until(look, within=120, what="the end of a command")
    assert found is not None
    assert found.state == CommandState.COMMAND_STATE_EFFECTIVE, found
    return found


def seconds_to_effect(command: Command) -> float:
    """By the server's clock."""
    return (command.end_time.ToNanoseconds() - command.request_time.ToNanoseconds()) / 1e9


async def effects(client: Client, app: Any, rounds: int) -> list[list[str]]:
    """How long each kind of command takes."""
    queues = client.queues

    async def there() -> bool:
        return bool((await queues.ListQueues(ListQueuesRequest(source="celery"))).queues)

    await wait_until(there, within=60, what="the queue is shown")

    async def cancelled() -> Any:
        workflow_id = str(app.send_task("hold", args=(60,)).id)

        async def runs() -> bool:
            asked = client.list_workflows(filter=f'id = "{workflow_id}" AND state = RUNNING')
            return bool([each async for each in asked])

        await wait_until(runs, within=30, what="the task runs")
        return await client.workflows.CancelWorkflow(CancelWorkflowRequest(workflow_id=workflow_id))

    acts: dict[str, Callable[[], Awaitable[Any]]] = {
        "pause a queue": lambda: queues.PauseQueue(
            PauseQueueRequest(source="celery", queue="celery")
        ),
        "resume a queue": lambda: queues.ResumeQueue(
            ResumeQueueRequest(source="celery", queue="celery")
        ),
        "drain a worker": lambda: client.agents.DrainAgent(DrainAgentRequest(agent_id=HOST)),
        "activate a worker": lambda: client.agents.ActivateAgent(
            ActivateAgentRequest(agent_id=HOST)
        ),
        "cancel a task that runs": cancelled,
    }
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            times[name].append(seconds_to_effect(await ended(client, (await act()).command)))
    return [
        [
            name,
            str(len(took)),
            milliseconds(percentile(took, 0.5)),
            milliseconds(percentile(took, 0.99)),
        ]
        for name, took in times.items()
    ]


async def gathered(acts: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Does all of them, so many at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(act: Callable[[], Awaitable[Any]]) -> Any:
        async with gate:
            return await act()

    return await asyncio.gather(*(one(act) for act in acts))


async def all_revoked(app: Any, ids: set[str]) -> None:
    """Until the worker has them all among its revoked ones."""

    async def look() -> bool:
        inspect = app.control.inspect([HOST], timeout=2, limit=1)
        replies: Any = await asyncio.to_thread(inspect.revoked)
        return bool(replies) and ids <= set(replies[HOST])

    await wait_until(look, within=120, what="all are revoked")


def send(app: Any, count: int) -> list[str]:
    """Tasks that wait: the worker's two processes are busy."""
    for _ in range(2):
        app.send_task("hold", args=(600,))
    return [str(app.send_task("hold", args=(1,)).id) for _ in range(count)]


async def with_pilothouse(
    storage: Storage, app: Any, broker: str, count: int, rounds: int
) -> list[str]:
    """Its effects are printed, its row returned."""
    async with running_server(storage, command="up") as server, Client(server.grpc) as client:
        child = connector(broker, server.grpc, server.data_dir)
        await child.start()
        try:
            header = ["command", "times", "REQUESTED → EFFECTIVE p50", "p99"]
            print(
                table("Commands to Celery", header, await effects(client, app, rounds)), flush=True
            )
            return await _revoked_by_us(server, client, app, child, count)
        finally:
            child.kill()


async def _revoked_by_us(
    server: Server, client: Client, app: Any, child: Child, count: int
) -> list[str]:
    ids = send(app, count)

    async def shown() -> bool:
        return (
            len([each async for each in client.list_workflows(filter="type = hold", limit=5000)])
            >= count
        )

    await wait_until(shown, within=120, what="all are shown")
    begin = time.monotonic()
    requests = [CancelWorkflowRequest(workflow_id=each) for each in ids]
    answers = await gathered([partial(client.workflows.CancelWorkflow, each) for each in requests])
    answered = time.monotonic() - begin
    await all_revoked(app, set(ids))
    revoked = time.monotonic() - begin
    await gathered([partial(ended, client, each.command) for each in answers])
    effective = time.monotonic() - begin
    child.kill()
    await server.kill()
    again = await start_server("up", server.data_dir)
    try:
        async with Client(again.grpc) as reader:
            asked = reader.list_workflows(filter="state = CANCELLED", limit=5000)
            left = {each.id async for each in asked} & set(ids)
    finally:
        await again.end()
    times = [seconds_of(each) for each in (answered, revoked, effective)]
    return ["Pilothouse", *times, f"{len(left):,} of {count:,}, as CANCELLED"]


async def with_flower(storage: Storage, app: Any, count: int) -> list[str]:
    """Its HTTP API has one call for each task."""
    async with RunningFlower(storage, 10 * count, persistent=True) as flower:
        ids = send(app, count)
        base = flower.url
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:

            async def revoke(uuid: str) -> None:
                (await http.post(f"{base}/api/task/revoke/{uuid}")).raise_for_status()

            begin = time.monotonic()
            await gathered([partial(revoke, each) for each in ids])
            answered = time.monotonic() - begin
            await all_revoked(app, set(ids))
            revoked = time.monotonic() - begin
            await flower.kill()
            await flower.start()
            tasks: dict[str, Any] = (await http.get(f"{base}/api/tasks?limit=100000")).json()
        mine = [tasks[each] for each in ids if each in tasks]
        as_revoked = sum(each.get("state") == "REVOKED" for each in mine)
    shown = f"{len(mine):,} of {count:,}, {as_revoked:,} as REVOKED"
    return ["Flower", seconds_of(answered), seconds_of(revoked), "does not say", shown]


async def run(given: argparse.Namespace) -> None:
    """Both, one after the other, each with an empty broker and a worker of its own."""
    os.environ["FLOWER_UNAUTHENTICATED_API"] = "true"
    with running_storage(with_redis=True, with_postgres=False) as storage:
        print(provenance(*storage.names, celery_versions()), flush=True)
        broker = storage.redis_url.removesuffix("/0") + "/1"
        os.environ["CELERY_TEST_BROKER"] = broker
        app: Any = import_module("tests.celery.tasks").app
        rows: list[list[str]] = []
        for who in ("Flower", "Pilothouse"):
            with connected(broker) as connection:
                connection.flushdb()
            announcing = {"CELERY_TEST_ANNOUNCE": "1"}
            child = worker(broker, Path("/tmp"), "bench", **announcing)
            app.conf.task_send_sent_event = True
            await child.start()
            try:
                if who == "Flower":
                    rows.append(await with_flower(storage, app, given.tasks))
                else:
                    plain = Storage()
                    rows.append(
                        await with_pilothouse(plain, app, broker, given.tasks, given.rounds)
                    )
            finally:
                child.kill()
    header = ["who", "requests answered", "all revoked at the worker", "all known to be"]
    header.append("shown after a kill and a start")
    print(table(f"{given.tasks:,} tasks revoked", header, rows))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tasks", type=int, default=1000)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
