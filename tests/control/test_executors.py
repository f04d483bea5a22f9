"""The stream of commands to an engine: nothing lost, nothing twice, one stream an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from pilothouse_server.domain.commands import Capability, CommandState
from pilothouse_server.domain.errors import ExecutorReplaced, InvalidResumeToken, NoExecutor
from pilothouse_server.domain.events import EventError, EventType
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.executors import Offered, StreamItem
from pilothouse_server.services.watch import CaughtUp, Heartbeat, Reset
from tests.control.build import event
from tests.control.conftest import Plant
from tests.support import wait_until

ALL = [Capability(action) for action in Action]


class Listener:
    """One stream; `next` is the next message that is no heartbeat."""

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

    async def command(self) -> str:
        item = await self.next()
        assert isinstance(item, Offered), item
        return item.command.id

    async def heartbeat(self) -> Heartbeat:
        while True:
            async with asyncio.timeout(30):
                item = await anext(self._items)
            if isinstance(item, Heartbeat):
                return item


@asynccontextmanager
async def listening(
    plant: Plant, token: str = "", *, source: str = "e", able: list[Capability] = ALL
) -> AsyncGenerator[Listener, None]:
    async with aclosing(plant.executors.watch(source, able, token)) as items:
        yield Listener(items)


async def test_what_has_not_ended_comes_first_then_what_is_new(plant: Plant) -> None:
    await plant.begin("v")
    first = await plant.ask(Action.PAUSE, "v")
    async with listening(plant) as stream:
        assert await stream.command() == first.id
        assert isinstance(await stream.next(), CaughtUp)
        second = await plant.ask(Action.PAUSE)
        assert await stream.command() == second.id


async def test_after_a_break_nothing_is_lost_and_nothing_comes_twice(plant: Plant) -> None:
    names = [f"w{n}" for n in range(50)]
    for name in names:
        await plant.begin(name)
    asked = [(await plant.ask(Action.PAUSE, name)).id for name in names]
    taken: list[str] = []
    token = ""
    for count in (1, 19, 0, 20, 10):
        async with listening(plant, token) as stream:
            taken += [await stream.command() for _ in range(count)]
            token = stream.token or token
    assert taken == asked


async def test_without_a_token_all_that_has_not_ended_comes_again(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    await plant.control.accept(command.id, "e")
    for _ in range(2):
        async with listening(plant) as stream:
            item = await stream.next()
            assert isinstance(item, Offered)
            assert (item.command.id, item.command.state) == (command.id, CommandState.ACCEPTED)


async def test_what_ended_is_never_sent(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    await plant.control.fail(command.id, "e", EventError("X"))
    async with listening(plant) as stream:
        assert isinstance(await stream.next(), CaughtUp)


async def test_each_engine_gets_its_own_commands(plant: Plant) -> None:
    await plant.register(source="f")
    await plant.report(event(EventType.WORKFLOW_STARTED, workflow_id="theirs", source="f"))
    await plant.ask(Action.PAUSE)
    theirs = await plant.ask(Action.PAUSE, "theirs")
    async with listening(plant, source="f") as stream:
        assert await stream.command() == theirs.id
        assert isinstance(await stream.next(), CaughtUp)


async def test_a_command_waits_for_an_engine_that_is_not_there(plant: Plant) -> None:
    async with listening(plant) as stream:
        await stream.next()
        token = stream.token
    command = await plant.ask(Action.PAUSE)
    await plant.restart()
    async with listening(plant, token) as stream:
        assert await stream.command() == command.id


async def test_a_token_of_another_database_starts_again_and_says_so(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    for token in ("otherdatabase.5", await token_from_the_future(plant)):
        async with listening(plant, token) as stream:
            reset = await stream.next()
            assert isinstance(reset, Reset)
            assert "another history" in reset.reason
            assert await stream.command() == command.id


async def token_from_the_future(plant: Plant) -> str:
    """As when the database was put back from a copy."""
    epoch, newest = await plant.store.read(lambda transaction: transaction.history())
    return f"{epoch}.{newest + 1000}"


@pytest.mark.parametrize("token", ["x", "x.y", ".5", "x.-1", "x." + "9" * 40, "x.٣"])
async def test_what_is_no_token_is_refused(plant: Plant, token: str) -> None:
    with pytest.raises(InvalidResumeToken):
        async with listening(plant, token) as stream:
            await stream.next()


async def test_a_quiet_stream_says_that_it_is_alive(plant: Plant) -> None:
    async with listening(plant) as stream:
        await stream.next()
        first = await stream.heartbeat()
        assert (await stream.heartbeat()).token == first.token == stream.token


async def test_the_newer_stream_of_an_engine_takes_over_and_the_older_is_told(
    plant: Plant,
) -> None:
    async with listening(plant) as older, listening(plant) as newer:
        await older.next()
        await newer.next()
        with pytest.raises(ExecutorReplaced, match="'e'"):
            await older.next()
        command = await plant.ask(Action.PAUSE)
        assert await newer.command() == command.id
    listed = await plant.executors.list()
    assert [each.connected for each in listed] == [False]


async def test_the_end_of_a_replaced_stream_does_not_disconnect_the_newer(plant: Plant) -> None:
    async with listening(plant) as newer:
        async with listening(plant) as older:
            await older.next()
            await newer.next()
        await plant.executors.save()
        assert [each.connected for each in await plant.executors.list()] == [True]


async def test_a_disconnected_engine_is_shown_so_and_remembered_so(plant: Plant) -> None:
    async with listening(plant) as stream:
        await stream.next()
        assert [each.connected for each in await plant.executors.list()] == [True]
    task = asyncio.create_task(plant.executors.run())

    async def stored() -> bool:
        executor = await plant.store.read(lambda transaction: transaction.executor("e"))
        return executor is not None and not executor.connected

    await wait_until(stored, what="the goodbye to be stored")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_after_a_kill_nobody_is_connected(plant: Plant) -> None:
    async with listening(plant) as stream:
        await stream.next()
        await plant.restart()
        assert [each.connected for each in await plant.executors.list()] == [False]


async def test_new_capabilities_show_the_engines_workflows_anew(plant: Plant) -> None:
    async def newest() -> int:
        return (await plant.store.read(lambda transaction: transaction.history()))[1]

    async with listening(plant) as stream:
        await stream.next()
    same = await newest()
    async with listening(plant) as stream:
        await stream.next()
    assert await newest() == same
    async with listening(plant, able=[Capability(Action.CANCEL)]) as stream:
        await stream.next()
    assert await newest() > same


async def test_an_engine_becomes_known_by_its_first_stream(plant: Plant) -> None:
    await plant.report(event(EventType.WORKFLOW_STARTED, workflow_id="n", source="new"))
    with pytest.raises(NoExecutor):
        await plant.ask(Action.PAUSE, "n")
    async with listening(plant, source="new") as stream:
        await stream.next()
        command = await plant.ask(Action.PAUSE, "n")
        assert await stream.command() == command.id


async def test_an_engine_is_given_no_more_than_it_may_have_at_once(plant: Plant) -> None:
    plant.configured = replace(plant.configured, dispatch_limit=2)
    names = [f"w{n}" for n in range(5)]
    for name in names:
        await plant.begin(name)
    asked = [(await plant.ask(Action.PAUSE, name)).id for name in names]
    async with listening(plant) as stream:
        assert [await stream.command(), await stream.command()] == asked[:2]
        # Nothing ended: it hears that the stream is alive, and no third command.
        await stream.heartbeat()
        assert stream.token
        await plant.control.fail(asked[0], "e", EventError("NO"))
        assert await stream.command() == asked[2]
        paused = event(EventType.WORKFLOW_PAUSED, command_id=asked[1], workflow_id=names[1])
        await plant.report(paused._replace(occur_us=plant.clock.us, receive_us=plant.clock.us))
        assert await stream.command() == asked[3]
        token = stream.token
    async with listening(plant, token) as stream:
        await stream.heartbeat()
        plant.configured = replace(plant.configured, dispatch_limit=4)
        assert await stream.command() == asked[4], (
            "a limit that is raised counts within a heartbeat"
        )
        assert isinstance(await stream.next(), CaughtUp)


async def test_what_an_emergency_stop_asks_for_waits_behind_nothing(plant: Plant) -> None:
    plant.configured = replace(plant.configured, dispatch_limit=2)
    names = [f"w{n}" for n in range(5)]
    for name in names:
        await plant.begin(name)
    asked = [(await plant.ask(Action.PAUSE, name)).id for name in names[:3]]
    async with listening(plant) as stream:
        assert [await stream.command(), await stream.command()] == asked[:2]
        first = await plant.ask(Action.PAUSE, names[3], stop_id="s")
        assert await stream.command() == first.id
        token = stream.token
    second = await plant.ask(Action.PAUSE, names[4], stop_id="s")
    async with listening(plant, token) as stream:
        assert await stream.command() == second.id, "what came before its turn comes once"
        token = stream.token
    for ended in asked[:2]:
        await plant.control.fail(ended, "e", EventError("NO"))
    plant.configured = replace(plant.configured, dispatch_limit=5)
    async with listening(plant, token) as stream:
        assert await stream.command() == asked[2], "what waited is not lost"
        assert isinstance(await stream.next(), CaughtUp)
        third = await plant.ask(Action.PAUSE, "w")
        assert await stream.command() == third.id
