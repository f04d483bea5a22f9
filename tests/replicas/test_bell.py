"""Whoever waits in one replica is woken by what changed in another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from pilothouse_server.adapters.sql.bell import ANSWER, CHANNEL, PING, Bell
from pilothouse_server.services.fanout import Changes
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.support import wait_until


class Replica:
    """Two topics and their bell."""

    def __init__(self, url: str, *, answer: float = ANSWER) -> None:
        self.commands, self.alerts = Changes(), Changes()
        topics = {"commands": self.commands, "alerts": self.alerts}
        self.bell = Bell(url, topics, answer=answer)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Replica]:
        task = asyncio.create_task(self.bell.run())
        try:
            await self.listens()
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def listens(self) -> None:
        await wait_until(
            lambda: self.bell.connections and not self.bell.waiting_for,
            within=30,
            what="the bell's connection",
        )

    async def woken(self, changes: Changes, seen: int) -> bool:
        """Whether it is woken by a ring: before a ping, with which it would hear of it too."""
        return await changes.wait(seen, 0.9 * PING)


@pytest.fixture
async def pair(database_url: str) -> AsyncIterator[tuple[Replica, Replica]]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(Replica(database_url).running())
        other = await stack.enter_async_context(Replica(database_url).running())
        yield one, other


async def test_what_changes_in_one_replica_wakes_the_other(pair: tuple[Replica, Replica]) -> None:
    one, other = pair
    seen, quiet = other.commands.version, other.alerts.version
    one.commands.notify()
    assert await other.woken(other.commands, seen)
    assert other.alerts.version == quiet


async def test_a_ring_is_not_rung_back(pair: tuple[Replica, Replica]) -> None:
    one, other = pair
    for turn in range(5):
        ringer, hearer = (one, other) if turn % 2 == 0 else (other, one)
        seen = hearer.commands.version
        ringer.commands.notify()
        assert await hearer.woken(hearer.commands, seen)
    # Who was rung may know it before the one who rang has its answer.
    await wait_until(lambda: one.bell.given + other.bell.given >= 5, what="the last ring's answer")
    assert (one.bell.given, other.bell.given) == (3, 2)
    assert (one.bell.heard, other.bell.heard) == (2, 3)


async def test_many_changes_are_few_rings(pair: tuple[Replica, Replica]) -> None:
    one, other = pair
    seen = other.commands.version
    for _ in range(1000):
        one.commands.notify()
        one.alerts.notify()
    assert await other.woken(other.commands, seen)
    assert one.bell.given <= 2


async def test_after_its_connection_was_cut_every_topic_is_woken(
    pair: tuple[Replica, Replica], database_url: str
) -> None:
    one, other = pair
    seen = one.alerts.version, other.commands.version
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'pilothouse-bell' AND datname = current_database()"
        )
    assert await one.woken(one.alerts, seen[0])
    assert await other.woken(other.commands, seen[1])
    heard = other.alerts.version
    one.alerts.notify()
    assert await other.woken(other.alerts, heard)


@pytest.mark.timeout(180)
async def test_what_changes_while_the_server_is_away_is_rung_when_it_is_back(
    servers_directory: Path,
) -> None:
    server = Postgres(servers_directory / "bell", fsync="off")
    await asyncio.to_thread(server.start)
    try:
        async with Replica(server.url()).running() as one, Replica(server.url()).running() as other:
            await asyncio.to_thread(server.kill)
            await wait_until(lambda: one.bell.waiting_for and other.bell.waiting_for)
            assert "password" not in one.bell.waiting_for
            one.commands.notify()
            tries = one.bell.connections
            await asyncio.to_thread(server.start)
            await one.listens()
            await other.listens()
            assert one.bell.connections == tries + 1
            await wait_until(lambda: one.bell.given == 1, what="the ring that waited")
    finally:
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize("end", ["thaw", "stop"])
async def test_a_server_that_stands_still_is_noticed_and_holds_up_nobody(
    database_url: str, end: str
) -> None:
    place = urlsplit(database_url)
    assert place.hostname is not None
    assert place.port is not None
    async with Proxy(place.hostname, place.port) as proxy:
        netloc = place.netloc.replace(str(place.port), str(proxy.port))
        url = urlunsplit(place._replace(netloc=netloc))
        async with asyncio.timeout(45), Replica(url, answer=1.0).running() as one:
            proxy.mode = "freeze"
            one.commands.notify()
            await wait_until(lambda: one.bell.waiting_for, within=8, what="the silence")
            if end == "thaw":
                proxy.mode = "pass"
                await one.listens()
                await wait_until(lambda: one.bell.given == 1, what="the ring that waited")


async def test_strange_rings_are_passed_over(
    pair: tuple[Replica, Replica], database_url: str
) -> None:
    one, _ = pair
    seen = one.commands.version
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
        for payload in ("", "somebody", "somebody unheard-of", "somebody commands"):
            await admin.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
    assert await one.woken(one.commands, seen)
    assert not one.bell.waiting_for
