"""Engines connected to different replicas: each is offered its commands once, wherever they were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from pilothouse_server.domain.commands import Capability, Command, CommandState
from pilothouse_server.domain.errors import ExecutorReplaced, NoExecutor, RequestIdReused
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.control import ControlRequest
from pilothouse_server.services.executors import Absence, Offered, StreamItem
from pilothouse_server.services.watch import Heartbeat
from tests.several.conftest import Replica
from tests.support import wait_until

ALL = [Capability(action) for action in Action]
Pair = tuple[Replica, Replica]


class Engine:
    """An engine's stream."""

    def __init__(self, items: AsyncIterator[StreamItem]) -> None:
        self._items = items
        self.token = ""

    async def next(self) -> StreamItem:
        while True:
            async with asyncio.timeout(30):
                item = await anext(self._items)
            self.token = item.token
            if not isinstance(item, Heartbeat):
                return item

    async def command(self) -> Command:
        item = await self.next()
        assert isinstance(item, Offered), item
        return item.command


@asynccontextmanager
async def engine(at: Replica, token: str = "") -> AsyncGenerator[Engine]:
    async with aclosing(at.executors.watch("e", ALL, token)) as items:
        yield Engine(items)


def pause(workflow_id: str = "w", request_id: str = "", reason: str = "") -> ControlRequest:
    return ControlRequest(workflow_id, Action.PAUSE, request_id=request_id, reason=reason)


async def test_what_is_asked_on_one_replica_is_taken_on_another(pair: Pair) -> None:
    one, other = pair
    await one.begin("w")
    with pytest.raises(NoExecutor):
        await one.control.request(pause())
    async with engine(other) as stream:
        await stream.next()
        asked = await one.control.request(pause())
        assert (await stream.command()).id == asked.id
        taken = await one.control.accept(asked.id, "e")
        assert taken.state == CommandState.ACCEPTED
        failed = await other.control.fail(asked.id, "e", EventError("BUSY"))
        assert failed.state == CommandState.FAILED


async def test_a_newer_stream_on_another_replica_takes_over(pair: Pair) -> None:
    one, other = pair
    await one.begin("w")
    async with engine(one) as older:
        await older.next()
        async with engine(other) as newer:
            await newer.next()
            with pytest.raises(ExecutorReplaced):
                await older.next()
            asked = await one.control.request(pause())
            assert (await newer.command()).id == asked.id
            await one.executors.save()
            listed = [(e.connected, e.replica) for e in await one.executors.list()]
            assert listed == [(True, "other")], "the older one's goodbye changes nothing"


async def test_a_replaced_stream_offers_nothing_even_when_nobody_rings(
    replicas: Callable[[str], Replica],
) -> None:
    one, other = replicas("one"), replicas("other")
    await one.begin("w")
    async with engine(one) as older, engine(other) as newer:
        await older.next()
        await newer.next()
        asked = await one.control.request(pause())
        with pytest.raises(ExecutorReplaced):
            await older.next()
        assert (await newer.command()).id == asked.id


async def test_an_engine_that_changes_replicas_is_offered_each_command_once(pair: Pair) -> None:
    one, other = pair
    names = [f"w{n}" for n in range(12)]
    await one.begin(*names)
    async with engine(one) as stream:
        await stream.next()
        token = stream.token
    offered: list[str] = []
    asked: list[str] = []
    for turn, name in enumerate(names):
        asked.append((await pair[turn % 2].control.request(pause(name))).id)
        async with engine(other if turn % 3 else one, token) as stream:
            offered.append((await stream.command()).id)
            token = stream.token
    assert offered == asked


async def test_the_replicas_agree_on_who_is_connected(pair: Pair) -> None:
    one, other = pair
    async with engine(other) as stream:
        await stream.next()
        for replica in pair:
            listed = [(e.source, e.connected) for e in await replica.executors.list()]
            assert listed == [("e", True)]
    await other.executors.stop()
    for replica in pair:
        assert [e.connected for e in await replica.executors.list()] == [False]
    assert one.executors is not other.executors


async def test_who_was_connected_to_a_replica_that_is_gone_is_not_any_more(pair: Pair) -> None:
    one, other = pair

    async def alive() -> list[str]:
        return living

    living = ["one", "other"]
    absence = Absence(one.store, alive, one.clock, one.signals)
    async with engine(other) as stream:
        await stream.next()
        await absence.look()
        await absence.look()
        living = ["one"]
        await absence.look()
        assert [e.connected for e in await one.executors.list()] == [True], "one look may err"
        await absence.look()
        assert [e.connected for e in await one.executors.list()] == [False]
        # It was only frozen: its next look at the row puts that right.
        heartbeat = asyncio.create_task(stream.next())

        async def back() -> bool:
            await other.executors.save()
            return (await one.executors.list())[0].connected

        await wait_until(back, what="the engine to be shown as connected again")
        heartbeat.cancel()
        await asyncio.gather(heartbeat, return_exceptions=True)


async def test_a_request_sent_to_two_replicas_is_one_command(pair: Pair) -> None:
    one, other = pair
    await one.begin("w")
    async with engine(one) as stream:
        await stream.next()
        asked = await asyncio.gather(
            *(replica.control.request(pause(request_id="r")) for replica in pair * 3)
        )
    assert len({command.id for command in asked}) == 1
    assert len(await one.told()) == 1
    with pytest.raises(RequestIdReused):
        await other.control.request(pause(request_id="r", reason="another"))
