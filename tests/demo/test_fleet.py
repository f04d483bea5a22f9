"""Agents do what operators make of them, and what they have in hand is finished; the journal remembers all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from pilothouse.executor import CommandRefused, ReportedAgent
from pilothouse.v1.events_pb2 import Event
from pilothouse_server.demo.account import Account
from pilothouse_server.demo.fleet import LARGEST, Fleet
from pilothouse_server.demo.journal import Journal
from pilothouse_server.demo.line import Line
from tests.demo.support import kind_of
from tests.support import wait_until

ONE = "dependencies-1"
"""The only agent of its type; it can have one task."""


class Shop:
    """A fleet and its journal, as one life of an engine has them."""

    def __init__(self, folder: Path) -> None:
        self.told: list[Event] = []
        self.journal = Journal(folder, self.told.append)
        self.fleet = Fleet(self.journal, "demo", self._report, lambda _, __: True)
        self.fleet.begin(lambda _, __: None)

    def _report(self, event: Event) -> str:
        self.told.append(event)
        return event.id

    def story(self, agent_id: str = ONE) -> list[str]:
        """What was said of an agent but heartbeats that answer nothing: `AGENT_DRAINING c-1`."""
        return [
            f"{kind_of(event).removeprefix('AGENT_')} {event.command_id}".rstrip()
            for event in self.told
            if event.agent_id == agent_id
            and (kind_of(event) != "AGENT_HEARTBEAT" or event.command_id)
        ]

    @asynccontextmanager
    async def task(
        self, name: str, agent_type: str = "dependency"
    ) -> AsyncGenerator[asyncio.Event]:
        """A task that is asked for, and let go at the end; the event says that an agent has it."""
        has = asyncio.Event()
        done = asyncio.Event()

        def given(agent: ReportedAgent) -> None:
            assert agent.agent_type == agent_type
            has.set()

        async def work() -> None:
            lease = self.fleet.lease(
                agent_type, workflow_type="bugfix", workflow_id="wf", task_id=name, given=given
            )
            async with lease:
                await done.wait()

        working = asyncio.create_task(work())
        await asyncio.sleep(0)
        try:
            yield has
        finally:
            done.set()
            if not has.is_set():
                working.cancel()
            await asyncio.wait([working])


@contextmanager
def life(folder: Path) -> Generator[Shop]:
    """One life of an engine; nothing is said or written down at its end, as when it is killed."""
    shop = Shop(folder)
    with shop.journal:
        yield shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with life(tmp_path) as shop:
        yield shop


async def test_a_draining_agent_finishes_what_it_has_and_gets_nothing_new(shop: Shop) -> None:
    async with shop.task("first") as first:
        assert first.is_set()
        shop.fleet.drain(ONE, "c-1")
        second = shop.task("second")
        waits = await second.__aenter__()
        assert not waits.is_set()
    assert not waits.is_set(), "it has room, and is draining"
    shop.fleet.activate(ONE, "c-2")
    await wait_until(waits.is_set, what="the task that waits is given to it")
    await second.__aexit__(None, None, None)
    assert shop.story() == ["REGISTERED", "DRAINING c-1", "REGISTERED c-2"]


async def test_a_restart_waits_for_what_is_in_hand(shop: Shop) -> None:
    async with shop.task("first"):
        shop.fleet.restart(ONE, "c-1")
        async with shop.task("second") as second:
            assert not second.is_set()
            assert shop.story() == ["REGISTERED", "DRAINING"]
    assert shop.story() == ["REGISTERED", "DRAINING", "OFFLINE", "REGISTERED c-1"]
    async with shop.task("third") as third:
        assert third.is_set()


async def test_who_waited_for_a_restart_is_served_after_it(shop: Shop) -> None:
    async with shop.task("first"):
        shop.fleet.restart(ONE, "c-1")
        second = shop.task("second")
        waits = await second.__aenter__()
    await wait_until(waits.is_set)
    await second.__aexit__(None, None, None)


def test_an_idle_agent_restarts_at_once(shop: Shop) -> None:
    shop.fleet.restart(ONE, "c-1")
    assert shop.story() == ["REGISTERED", "OFFLINE", "REGISTERED c-1"]


def test_an_agent_that_was_draining_is_draining_after_its_restart(shop: Shop) -> None:
    shop.fleet.drain(ONE, "c-1")
    shop.fleet.restart(ONE, "c-2")
    assert shop.story()[-3:] == ["OFFLINE", "REGISTERED c-2", "DRAINING"]
    with pytest.raises(CommandRefused, match="takes nothing new already"):
        shop.fleet.drain(ONE, "c-3")


async def test_a_larger_agent_gets_more_at_once_and_a_smaller_one_when_it_has_room(
    shop: Shop,
) -> None:
    async with shop.task("first"), shop.task("second") as second:
        assert not second.is_set()
        shop.fleet.resize(ONE, 2, "c-1")
        await wait_until(second.is_set)
        shop.fleet.resize(ONE, 1, "c-2")
        async with shop.task("third") as third:
            assert not third.is_set()
    async with shop.task("fourth") as fourth, shop.task("fifth") as fifth:
        assert (fourth.is_set(), fifth.is_set()) == (True, False)
    answers = [event for event in shop.told if event.command_id]
    assert [(event.load.active, event.load.capacity) for event in answers] == [(1, 2), (2, 1)]


REFUSED: tuple[tuple[Callable[[Fleet], None], str], ...] = (
    (lambda fleet: fleet.drain("nobody", "c-1"), "UNKNOWN_AGENT"),
    (lambda fleet: fleet.activate(ONE, "c-1"), "NOT_DRAINING"),
    (lambda fleet: fleet.resize(ONE, 0, "c-1"), "SIZE_OUT_OF_RANGE"),
    (lambda fleet: fleet.resize(ONE, LARGEST + 1, "c-1"), "SIZE_OUT_OF_RANGE"),
    (lambda fleet: fleet.restart("nobody", "c-1"), "UNKNOWN_AGENT"),
)


@pytest.mark.parametrize(("act", "code"), REFUSED)
def test_what_cannot_be_done_to_an_agent_is_refused_and_leaves_no_trace(
    shop: Shop, act: Callable[[Fleet], None], code: str
) -> None:
    with pytest.raises(CommandRefused) as refused:
        act(shop.fleet)
    assert refused.value.code == code
    assert shop.story() == ["REGISTERED"]
    assert not shop.journal.was_applied("c-1")


def test_after_a_kill_each_agent_is_as_operators_made_it(tmp_path: Path) -> None:
    with life(tmp_path) as shop:
        shop.fleet.drain(ONE, "c-1")
        shop.fleet.resize("planner-1", 5, "c-2")
    with life(tmp_path) as shop:
        assert shop.story() == ["DRAINING"], "registered would say that it takes work"
        assert shop.story("planner-1") == ["REGISTERED"]
        sizes = {event.agent_id: event.load.capacity for event in shop.told}
        assert (sizes["planner-1"], sizes["packager-1"]) == (5, 2)
        assert shop.journal.was_applied("c-1")
        assert shop.journal.was_applied("c-2")


async def test_a_restart_that_waited_when_the_engine_was_killed_is_done_at_its_next_start(
    tmp_path: Path,
) -> None:
    with life(tmp_path) as shop:
        async with shop.task("first"):
            shop.fleet.restart(ONE, "c-1")
            shop.fleet.line.close()
        assert shop.story() == ["REGISTERED", "DRAINING"], "an engine that stops restarts nobody"
    with life(tmp_path) as shop:
        assert shop.story() == ["OFFLINE", "REGISTERED c-1"]
    with life(tmp_path) as shop:
        assert shop.story() == ["REGISTERED"]


async def test_what_cannot_be_written_down_is_not_done(shop: Shop) -> None:
    def full(_: ReportedAgent) -> None:
        raise OSError("the disk is full")

    lease = shop.fleet.lease(
        "dependency", workflow_type="bugfix", workflow_id="wf", task_id="t", given=full
    )
    with pytest.raises(OSError, match="the disk is full"):
        async with lease:
            pytest.fail("it was given")
    async with shop.task("next") as has:
        assert has.is_set(), "the agent is free again"


async def test_a_line_serves_in_the_order_of_asking_and_passes_over_who_cannot_go_on() -> None:
    line, served = Line(), list[str]()
    able = {"b"}

    def begin(name: str) -> Callable[[], bool]:
        def offer() -> bool:
            if name in able:
                served.append(name)
            return name in able

        return offer

    async with asyncio.TaskGroup() as group:
        waits = {name: group.create_task(line.wait(begin(name))) for name in "abcd"}
        await asyncio.sleep(0)
        assert served == ["b"]
        waits["c"].cancel()
        able |= {"a", "c", "d"}
        line.serve()
    assert served == ["b", "a", "d"]
    line.close()
    late = asyncio.create_task(line.wait(lambda: True))
    await asyncio.sleep(0)
    assert not late.done()
    late.cancel()
    await asyncio.wait([late])


def test_no_two_events_of_an_account_have_the_same_time() -> None:
    account = Account("demo")
    for _ in range(100):
        account.report(Event())
    times = [event.occur_time.ToMicroseconds() for event in account.take()]
    assert all(earlier < later for earlier, later in pairwise(times))
