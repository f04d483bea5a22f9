"""Clients of several replicas: when one is gone or cannot serve, the next one is asked, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

import pilothouse
from pilothouse import aio
from pilothouse.errors import Unavailable
from pilothouse.executor import Executor, ExecutorOptions
from pilothouse.retry import NO_RETRY, RetryPolicy
from pilothouse.routes import Route, addresses
from pilothouse.v1.agents_pb2 import Agent, ListAgentsRequest
from pilothouse.v1.events_pb2 import EventType
from pilothouse.watching import WatchOptions
from tests.client.support import NOBODY, Failure, Server
from tests.support import wait_until

QUICK = RetryPolicy(initial_delay=0.01, max_delay=0.05)


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[Server, Server]]:
    """Two servers that know the same."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Server())
        second = await stack.enter_async_context(Server())
        second.agents, second.events, second.log = first.agents, first.events, first.log
        first.agents.add(Agent(id="a"))
        yield first, second


def target(*servers: Server) -> str:
    return ",".join(server.target for server in servers)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("127.0.0.1:1", ("127.0.0.1:1",)),
        (" a:1, b:2 ,[::1]:3,", ("a:1", "b:2", "[::1]:3")),
        ("dns:///a:1", ("dns:///a:1",)),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", ("ipv4:10.0.0.1:1,10.0.0.2:1",)),
        ("unix:/tmp/a,b", ("unix:/tmp/a,b",)),
    ],
)
def test_addresses_are_separated_by_commas(written: str, expected: tuple[str, ...]) -> None:
    assert addresses(written) == expected


def test_no_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="host:port"):
        addresses(" , ")


def test_of_many_calls_that_fail_together_only_the_first_moves_on() -> None:
    route = Route(["a", "b", "c"])
    for _ in range(5):
        route.failed(0)
    assert route.current == 1
    route.failed(0)
    route.failed(1)
    route.failed(2)
    assert route.current == 0


async def test_a_call_goes_to_the_next_replica_when_one_is_gone(
    replicas: tuple[Server, Server],
) -> None:
    first, second = replicas
    async with aio.Client(target(first, second), retry=QUICK) as client:
        await client.agents.ListAgents(ListAgentsRequest())
        await first.stop()
        for _ in range(3):
            await client.agents.ListAgents(ListAgentsRequest())
    assert (len(first.requests("ListAgents")), len(second.requests("ListAgents"))) == (1, 3)


async def test_the_synchronous_client_does_the_same(replicas: tuple[Server, Server]) -> None:
    first, second = replicas

    def ask(client: pilothouse.Client) -> list[str]:
        return [agent.id for agent in client.list_agents()]

    with pilothouse.Client(target(first, second), retry=QUICK) as client:
        assert await asyncio.to_thread(ask, client) == ["a"]
        await first.stop()
        assert await asyncio.to_thread(ask, client) == ["a"]
    assert (len(first.requests("ListAgents")), len(second.requests("ListAgents"))) == (1, 1)


async def test_a_synchronous_watch_goes_on_at_the_other_replica(
    replicas: tuple[Server, Server],
) -> None:
    first, second = replicas
    options = WatchOptions(max_delay=0.05)
    with pilothouse.Client(target(first, second), retry=QUICK) as client:
        items = client.watch_agents(options=options).items()
        assert (await asyncio.to_thread(next, items)).id == "a"
        await first.stop()
        first.agents.add(Agent(id="b"))
        assert (await asyncio.to_thread(next, items)).id == "b"
        await asyncio.to_thread(items.close)


async def test_a_replica_that_cannot_serve_is_left_although_it_answers(
    replicas: tuple[Server, Server],
) -> None:
    first, second = replicas
    first.gate = lambda _: Failure(reason="DATABASE_UNAVAILABLE", retry_after=0.01)
    async with aio.Client(target(first, second), retry=QUICK) as client:
        for _ in range(5):
            await client.agents.ListAgents(ListAgentsRequest())
    assert len(first.requests("ListAgents")) == 1


async def test_no_replica_is_asked_sooner_than_it_said(replicas: tuple[Server, Server]) -> None:
    first, second = replicas
    for each in replicas:
        each.fail("ListAgents", Failure(reason="LOG_UNAVAILABLE", retry_after=0.2))
    clock = asyncio.get_running_loop().time
    async with aio.Client(target(first, second), retry=QUICK) as client:
        began = clock()
        await client.agents.ListAgents(ListAgentsRequest())
    assert clock() - began >= 0.4


async def test_a_watch_goes_on_from_its_token_at_the_other_replica(
    replicas: tuple[Server, Server],
) -> None:
    first, second = replicas
    got: list[str] = []

    async def follow(client: aio.Client) -> None:
        async for agent in client.watch_agents(options=WatchOptions(max_delay=0.05)).items():
            got.append(agent.id)  # noqa: PERF401 - looked at meanwhile

    async with (
        aio.Client(target(first, second), retry=QUICK) as client,
        asyncio.TaskGroup() as group,
    ):
        reader = group.create_task(follow(client))
        await wait_until(lambda: got == ["a"])
        await first.stop()
        first.agents.add(Agent(id="b"))
        await wait_until(lambda: got == ["a", "b"])
        reader.cancel()
    assert [str(getattr(each, "resume_token")) for each in second.requests("WatchAgents")] == [  # noqa: B009
        second.agents.token(1)
    ]


async def test_an_executor_delivers_each_event_once_whatever_replica_takes_it(
    replicas: tuple[Server, Server],
) -> None:
    first, second = replicas
    options = ExecutorOptions(max_delay=0.05, batch_events=10, close_timeout=30)
    async with Executor(target(first, second), source="engine", options=options) as executor:
        for number in range(200):
            executor.report(type=EventType.EVENT_TYPE_LOG, message=str(number))
            if number == 100:
                await wait_until(lambda: first.events)
                await first.stop()
            await asyncio.sleep(0)
        await executor.flush(30)
    assert [event.message for event in first.log.items] == [str(number) for number in range(200)]


async def test_when_no_replica_is_there_it_is_said() -> None:
    async with aio.Client(f"{NOBODY},127.0.0.1:2", retry=NO_RETRY, timeout=5) as client:
        with pytest.raises(Unavailable):
            await client.agents.ListAgents(ListAgentsRequest())
