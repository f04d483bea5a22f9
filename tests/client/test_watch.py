"""A watch goes on after a break: nothing is lost, nothing comes twice, and a new history is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
import pytest

from pilothouse import aio
from pilothouse.errors import InvalidArgument, NotFound, Unavailable
from pilothouse.v1.agents_pb2 import Agent
from pilothouse.v1.events_pb2 import Event, EventBatch, WatchEventsRequest, WatchEventsResponse
from pilothouse.watching import (
    CaughtUp,
    Interruption,
    Item,
    Reset,
    Update,
    WatchCore,
    WatchOptions,
    items_of,
)
from tests.client.support import NOBODY, Failure, Server
from tests.support import wait_until

QUICK = WatchOptions(silence=30, max_delay=0.05)
"""Quick to try again; on a busy machine silence is no break."""


async def collect(updates: AsyncIterator[Update[Agent]], into: list[Update[Agent]]) -> None:
    async for update in updates:
        into.append(update)  # noqa: PERF401 - others look at it meanwhile


def ids(updates: list[Update[Agent]]) -> list[str]:
    return [each.value.id for each in updates if isinstance(each, Item)]


@pytest.mark.parametrize("cleanly", [False, True])
async def test_a_broken_stream_loses_and_repeats_nothing(
    server: Server, client: aio.Client, cleanly: bool
) -> None:
    server.faults.end_cleanly = cleanly
    got: list[Update[Agent]] = []
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(collect(aiter(client.watch_agents(options=QUICK)), got))
        for number in range(40):
            server.agents.add(Agent(id=str(number)))
            if number % 10 == 9:
                await wait_until(lambda: ids(got)[-1:] == [str(number)])  # noqa: B023
                server.break_streams()
        await wait_until(lambda: len(server.requests("WatchAgents")) == 5)
        server.agents.add(Agent(id="40"))
        await wait_until(lambda: ids(got)[-1:] == ["40"])
        reader.cancel()
    assert ids(got) == [str(number) for number in range(41)]
    assert [each for each in got if isinstance(each, CaughtUp)] == [CaughtUp()]


async def test_a_server_that_restarts_is_found_again(server: Server, client: aio.Client) -> None:
    server.agents.add(Agent(id="before"))
    got: list[Update[Agent]] = []
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(collect(aiter(client.watch_agents(options=QUICK)), got))
        await wait_until(lambda: ids(got) == ["before"])
        await server.stop()
        server.agents.add(Agent(id="after"))
        await server.start()
        await wait_until(lambda: ids(got) == ["before", "after"])
        reader.cancel()


async def test_silence_is_a_broken_stream(server: Server, client: aio.Client) -> None:
    told: list[Interruption] = []
    options = WatchOptions(silence=0.2, max_delay=0.05, on_interruption=told.append)
    got: list[Update[Agent]] = []
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(collect(aiter(client.watch_agents(options=options)), got))
        await wait_until(lambda: got)
        server.faults.stall = True
        await wait_until(lambda: told)
        server.faults.stall = False
        server.agents.add(Agent(id="new"))
        await wait_until(lambda: ids(got) == ["new"])
        reader.cancel()
    assert told[0].reason == "nothing came for 0.2 s"
    assert told[0].error is None


async def test_a_new_history_is_a_reset_and_then_all_of_it(
    server: Server, client: aio.Client
) -> None:
    server.agents.add(Agent(id="one"))
    got: list[Update[Agent]] = []
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(collect(aiter(client.watch_agents(options=QUICK)), got))
        await wait_until(lambda: CaughtUp() in got)
        server.agents.lose_history()
        server.break_streams()
        await wait_until(lambda: got.count(CaughtUp()) == 2)
        reader.cancel()
    assert [type(each).__name__ for each in got] == [
        "Item",
        "CaughtUp",
        "Reset",
        "Item",
        "CaughtUp",
    ]


async def test_a_token_of_its_own_that_is_not_known_any_more_is_a_reset(
    server: Server, client: aio.Client
) -> None:
    server.agents.add(Agent(id="one"))
    got: list[Update[Agent]] = []
    unknown = Failure(grpc.StatusCode.INVALID_ARGUMENT, "another stream's", "INVALID_RESUME_TOKEN")
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(collect(aiter(client.watch_agents(options=QUICK)), got))
        await wait_until(lambda: CaughtUp() in got)
        server.fail("WatchAgents", unknown)
        server.break_streams()
        await wait_until(lambda: got.count(CaughtUp()) == 2)
        reader.cancel()
    assert Reset("another stream's") in got


async def test_a_token_of_the_caller_that_is_not_known_is_an_error(
    server: Server, client: aio.Client
) -> None:
    unknown = Failure(grpc.StatusCode.INVALID_ARGUMENT, "what is this", "INVALID_RESUME_TOKEN")
    server.fail("WatchAgents", unknown)
    with pytest.raises(InvalidArgument, match="INVALID_RESUME_TOKEN: what is this"):
        await anext(aiter(client.watch_agents(resume_token="mine", options=QUICK)))


async def test_another_watch_goes_on_where_an_item_was(server: Server, client: aio.Client) -> None:
    for name in ("a", "b", "c"):
        server.agents.add(Agent(id=name))
    async with aclosing(aiter(client.watch_agents(options=QUICK))) as updates:
        first = await anext(updates)
    assert isinstance(first, Item)
    assert first.value.id == "a"
    later = client.watch_agents(resume_token=first.resume_token, options=QUICK)
    async with aclosing(later.items()) as items:
        assert [(await anext(items)).id, (await anext(items)).id] == ["b", "c"]


async def test_a_refusal_ends_the_watch(server: Server, client: aio.Client) -> None:
    server.fail("WatchAgents", Failure(grpc.StatusCode.NOT_FOUND, "no such thing"))
    with pytest.raises(NotFound):
        await anext(client.watch_agents(options=QUICK).items())


async def test_patience_ends_a_watch_that_never_began() -> None:
    options = WatchOptions(patience=0.2, max_delay=0.05)
    async with aio.Client(NOBODY) as client:
        with pytest.raises(Unavailable):
            await anext(client.watch_agents(options=options).items())


async def test_metrics_are_watched_without_a_token(server: Server, client: aio.Client) -> None:
    sequences: list[int] = []
    async with aclosing(client.watch_metrics(interval=0.25, options=QUICK).items()) as snapshots:
        async for snapshot in snapshots:
            sequences.append(snapshot.sequence)
            if len(sequences) == 2:
                server.break_streams()
            if len(sequences) > 2 and sequences[-2:] == [1, 2]:
                break
    # The stream that breaks may have sent more by then.
    assert sequences == [*range(1, len(sequences) - 1), 1, 2]


def test_inside_a_batch_the_token_is_the_one_before_it() -> None:
    core: WatchCore[Event] = WatchCore(
        WatchEventsRequest(resume_token="t0"),
        items_of,  # type: ignore[arg-type]  # the kind of items is for the caller to say
        WatchOptions(),
    )
    batch = EventBatch(events=[Event(id="a"), Event(id="b")])
    updates = core.received(WatchEventsResponse(resume_token="t1", batch=batch))
    assert [(each.value.id, each.resume_token) for each in updates if isinstance(each, Item)] == [
        ("a", "t0"),
        ("b", "t1"),
    ]
